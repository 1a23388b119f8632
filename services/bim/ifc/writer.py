"""The building as an IFC4 file.

Lengths are metres, z is up, coordinates are those of the cloud, near the origin; where the cloud lies on a map goes into an
IfcMapConversion. Walls are cut at their joins, so that no two share volume. The same building, settings and time of creation
give the same file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from contracts.building_settings import BuildingSettings
from contracts.clouds import CloudManifest
from contracts.progress import Reporter
from services.bim import boundaries, fitting, footprints, numbering, quantities, swings
from services.bim.ifc import georeference, openings, project, slabs, spaces, walls
from services.bim.ifc.draft import Draft, Types
from services.bim.ifc.file import Entity, IfcFile, class_of
from services.bim.ifc.georeference import MapFrame
from services.bim.ifc.properties import describe_building, describe_storey
from services.bim.ifc.styles import Styles
from services.bim.model import Building
from services.bim.quantities import Quantities


@dataclass(frozen=True)
class ElementId:
    """An element of the model and what it is called in the file."""

    model_id: str
    name: str
    """The entity's Name and Tag, for instance W-0-012; unique in the file. Of a space the Name, for instance 0.01."""
    ifc_class: str
    global_id: str


ElementIds = Mapping[str, ElementId]
"""By ids of the model. Openings that could not be placed are not in it."""


def main(
    building: Building,
    manifest: CloudManifest,
    settings: BuildingSettings,
    out_file: Path,
    report: Reporter,
    *,
    created: datetime,
) -> ElementIds:
    """Write the building to `out_file`. `created`, with a time zone, is what the file says of its making.

    Raises ValueError if the building contradicts itself: an id given twice, an element on a storey that is not there.
    """
    _check_storeys(building)
    whole = fitting.main(building, report)
    frame = georeference.map_frame(manifest, settings)
    ifc = IfcFile(_digest(whole, manifest, settings))
    foundation = project.main(ifc, whole, settings.ifc, created, _reference_height_m(whole, frame))
    if frame is not None:
        georeference.write(ifc, foundation.contexts, foundation.metre, frame)
    draft = Draft(
        ifc=ifc,
        contexts=foundation.contexts,
        structure=foundation.structure,
        names=numbering.main(whole),
        types=Types(ifc),
        styles=Styles(ifc),
    )
    entities = _write_elements(draft, whole, report)
    draft.finish()
    project.write_header(ifc, out_file.name, settings.ifc, created)
    unfinished = out_file.with_name(out_file.name + ".part")
    ifc.file.write(str(unfinished))
    unfinished.replace(out_file)
    report.log(f"  ✓ IFC: {len(whole.walls)} walls, {len(whole.openings)} openings, {len(whole.spaces)} spaces")
    return {
        model_id: ElementId(model_id, draft.names[model_id], class_of(entity), str(entity.GlobalId))
        for model_id, entity in entities.items()
    }


def _check_storeys(building: Building) -> None:
    known = {storey.index for storey in building.storeys}
    of_elements = {
        element.storey
        for elements in (building.slabs, building.walls, building.openings, building.columns, building.spaces)
        for element in elements
    }
    if not of_elements <= known:
        raise ValueError(f"elements are on storeys {sorted(of_elements - known)}, which the building does not have")


def _reference_height_m(building: Building, frame: MapFrame | None) -> float | None:
    """Height of the lowest floor above the datum; known only on a map that somebody named."""
    if frame is None or not frame.named or not building.storeys:
        return None
    return frame.height_m + min(storey.floor_m for storey in building.storeys)


def _write_elements(draft: Draft, building: Building, report: Reporter) -> dict[str, Entity]:
    shapes = footprints.main(building.walls)
    for wall_id in shapes.swallowed:
        report.warn(f"Wall {draft.names[wall_id]} lies inside another wall.")
    measured = quantities.main(building, shapes)
    total = len(building.slabs) + len(building.walls) + len(building.openings) + len(building.spaces)
    entities: dict[str, Entity] = {}
    entities |= slabs.write_slabs(draft, building, measured)
    entities |= slabs.write_columns(draft, building, measured)
    report.progress(len(building.slabs), total, "walls")
    written_walls = walls.write(draft, building, shapes, measured)
    entities |= written_walls
    report.progress(len(building.slabs) + len(written_walls), total, "openings")
    entities |= openings.write(draft, building, written_walls, swings.main(building))
    report.progress(total - len(building.spaces), total, "spaces")
    written_spaces = spaces.write(draft, building, measured)
    spaces.write_boundaries(draft, building, boundaries.main(building), written_spaces, entities)
    _describe_whole(draft, building, measured)
    report.progress(total, total, "spaces")
    return entities | written_spaces


def _describe_whole(draft: Draft, building: Building, measured: Quantities) -> None:
    for index, entity in draft.structure.storeys.items():
        describe_storey(draft.ifc, entity, index, measured.storeys[index])
    describe_building(draft.ifc, draft.structure.building, len(building.storeys), measured.building)


def _digest(building: Building, manifest: CloudManifest, settings: BuildingSettings) -> str:
    """Of everything that the file is made from."""
    content: dict[str, JsonValue] = {
        "manifest": manifest.model_dump(mode="json"),
        "settings": settings.ifc.model_dump(mode="json"),
    }
    told = json.dumps(content, sort_keys=True) + json.dumps(asdict(building), default=_plain)
    return hashlib.sha256(told.encode()).hexdigest()


def _plain(value: object) -> JsonValue:
    if isinstance(value, np.ndarray):
        return [_plain(each) for each in value] if value.ndim > 1 else [float(each) for each in value]
    if isinstance(value, np.generic):
        return float(value)
    raise TypeError(f"{type(value).__name__} in a building")
