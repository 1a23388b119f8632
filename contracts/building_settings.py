"""Everything a person may set on a building job: the configuration file of the Cloud2BIM API, and what we add to it."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from contracts.model import Message

Number = StrictInt | StrictFloat
"""A number, and not a text or a truth value that looks like one."""


class PreprocessingSettings(Message):
    """Block `preprocessing`."""

    voxel_size: Annotated[Number, Field(gt=0, le=0.5)] = 0.002
    """Metres; points nearer to each other than this count once."""
    noise_threshold: Annotated[Number, Field(gt=0, le=0.5)] = 0.02
    """Metres; how far points may lie from the surface they belong to."""


class DetectionSettings(Message):
    """Block `detection`."""

    grid_coefficient: Annotated[Number, Field(ge=1, le=100)] = 5
    """Cells of detection grids are this many times `pc_resolution`, and never finer than the cloud."""


class IfcSettings(Message):
    """Block `ifc`: names that go into the model."""

    project_name: Annotated[StrictStr, Field(min_length=1, max_length=255)] = "Building project"
    project_long_name: Annotated[StrictStr, Field(max_length=255)] | None = None
    project_version: Annotated[StrictStr, Field(max_length=255)] | None = None
    site_name: Annotated[StrictStr, Field(min_length=1, max_length=255)] = "Site"
    building_name: Annotated[StrictStr, Field(min_length=1, max_length=255)] = "Building"
    author_name: Annotated[StrictStr, Field(max_length=255)] | None = None
    author_surname: Annotated[StrictStr, Field(max_length=255)] | None = None
    author_organization: Annotated[StrictStr, Field(max_length=255)] | None = None
    crs: Annotated[StrictStr, Field(max_length=255)] | None = None
    """Coordinate reference system of the cloud, for instance EPSG:5514; without it the file's own, if it names one."""


class BuildingSettings(Message):
    """Settings of a building job, with the documented defaults. Lengths in metres."""

    dilute: StrictBool = False
    dilution_factor: Annotated[StrictInt, Field(ge=1, le=10_000)] = 10
    """With `dilute`: every n-th point is used."""
    exterior_scan: StrictBool = False
    """The cloud shows the building's outside. Outer faces are looked for in any case; this says that there are some."""
    pc_resolution: Annotated[Number, Field(gt=0, le=0.5)] = 0.002
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    detection: DetectionSettings = DetectionSettings()
    bfs_thickness: Annotated[Number, Field(gt=0, le=3)] = 0.3
    """Thickness of the bottom floor slab, whose underside no scanner sees."""
    tfs_thickness: Annotated[Number, Field(gt=0, le=3)] = 0.4
    """Thickness of the top floor slab (the roof), where its upper side was not seen."""
    min_wall_length: Annotated[Number, Field(gt=0, le=100)] = 0.10
    min_wall_thickness: Annotated[Number, Field(gt=0, le=3)] = 0.05
    max_wall_thickness: Annotated[Number, Field(gt=0, le=3)] = 0.75
    exterior_walls_thickness: Annotated[Number, Field(gt=0, le=3)] = 0.3
    """Thickness of exterior walls of which one face only was seen."""
    up_axis: Literal["auto", "z", "y"] = "auto"
    ifc: IfcSettings = IfcSettings()


class BuildingRequest(Message):
    """What a building job was asked to do."""

    kind: Literal["building"] = "building"
    dataset_id: str
    file_name: str
    """As uploaded, without folders."""
    settings: BuildingSettings = BuildingSettings()
    unknown_settings: tuple[str, ...] = ()
    """Keys of the configuration file that mean nothing here; the job's messages name them."""
