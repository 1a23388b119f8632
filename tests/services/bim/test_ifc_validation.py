"""Buildings of the catalogue from the uploaded file to what is delivered, checked with other people's readers.

The files differ in format, coordinates and up axis. What the model says of itself must agree with the meshes that IfcOpenShell
makes of it, with the uploaded file as numpy reads it, and with the truth.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import ifcopenshell
import ifcopenshell.util.element as elements
import ifctester.ids
import numpy as np
import pytest
import trimesh
from ifcopenshell.util import geolocation
from numpy.typing import NDArray

from contracts.building_settings import BuildingRequest, BuildingSettings
from contracts.progress import Silence
from samples.building import BuildingSpec, ScannedCloud, ScanSpec, make_building, scan
from samples.building_files import (
    XyzStyle,
    write_las,
    write_ply,
    write_ply_double,
    write_ptx,
    write_xyz,
    y_up,
)
from samples.scanner import Coverage
from services.bim import pipeline
from services.ingest.clouds import conversion
from tests.services.bim.ifc_meshes import meshes, open_ifc
from tests.services.bim.test_ifc import IDS, complaints

Floats = NDArray[np.float64]
NEAR_M = 0.1
"""Points of an element lie within this of its box: the reach of labels, and half a tile at the edges of slabs."""
CREATED = "2026-11-21T09:30:00+00:00"


def write_millimetres(cloud: ScannedCloud, path: Path) -> None:
    write_xyz(replace(cloud, points=(cloud.points * 1000).round()), path, XyzStyle(columns=("x", "y", "z")))


def write_survey(cloud: ScannedCloud, path: Path) -> None:
    columns = XyzStyle(";", ("x", "y", "z", "intensity"), "//X;Y;Z;Intensity")
    write_xyz(cloud, path, columns)


def write_y_up(cloud: ScannedCloud, path: Path) -> None:
    write_ply(y_up(cloud), path)


def read_ptx(path: Path) -> Floats:
    """(n, 3) all rows of all scans in the world, NaN where nothing came back."""
    lines = path.read_text().splitlines()
    scans = []
    while lines:
        rows = int(lines[0]) * int(lines[1])
        matrix = np.array([[float(value) for value in line.split()] for line in lines[6:10]])
        points = np.loadtxt(lines[10 : 10 + rows], usecols=(0, 1, 2))
        world = points @ matrix[:3, :3] + matrix[3, :3]
        world[~points.any(axis=1)] = np.nan
        scans.append(world)
        lines = lines[10 + rows :]
    assert len(scans) > 3
    return np.concatenate(scans)


@dataclass(frozen=True)
class Case:
    """A building, how it is scanned and handed over. `file_m` reads the file's rows (n, 3), z up, metres; None: as scanned."""

    name: str
    seed: int
    coverage: Coverage
    ending: str
    write: Callable[[ScannedCloud, Path], None]
    file_m: Callable[[Path], Floats] | None = None
    crs: str | None = None
    spacing_m: float = 0.03


QUICK = (
    Case("national_grid_house", 5, "both", ".xyz", write_survey, crs="EPSG:5514", spacing_m=0.04),
    Case("rotated_house", 5, "both", ".ply", write_y_up),
    Case("garage", 5, "both", ".ptx", write_ptx, read_ptx, spacing_m=0.04),
)
LONG = (
    Case("two_storey_house", 6, "both", ".ply", write_ply_double),
    Case("office", 6, "both", ".ply", write_ply),
    Case("curved_house", 6, "both", ".ply", write_ply),
    Case("attached_house", 6, "both", ".las", write_las),
    Case("split_level_house", 6, "both", ".ply", write_ply),
    Case("column_hall", 6, "both", ".las", write_las),
    Case("national_grid_house", 6, "indoors", ".xyz", write_millimetres),
    Case("rotated_house", 6, "both", ".ply", write_y_up),
)


class Delivered:
    """What a job on a case delivers, and the cloud it came from."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        spec = ScanSpec(spacing_m=case.spacing_m, coverage=case.coverage, seed=case.seed)
        self.cloud = scan(make_building(BuildingSpec(case.name, case.seed)), spec)
        upload = folder / f"{case.name}{case.ending}"
        case.write(self.cloud, upload)
        settings = BuildingSettings.model_validate({"ifc": {"crs": case.crs}})
        conversion.main(settings, upload, upload.name, folder / "cloud", Silence())
        request = BuildingRequest(dataset_id="d", file_name=upload.name, settings=settings)
        arguments: dict[str, object] = {
            "job_id": "j",
            "created_at": CREATED,
            "request": request.model_dump(mode="json"),
            "cloud": str(folder / "cloud"),
            "out": str(folder / "out"),
        }
        pipeline.run(arguments, Silence())
        self.path = folder / "out" / pipeline.IFC_NAME
        self.model = open_ifc(self.path)
        self.mapping = json.loads((folder / "out" / pipeline.MAPPING_NAME).read_bytes())
        self.file_m = self.cloud.points if case.file_m is None else case.file_m(upload)
        """(n, 3): the rows of the uploaded file, in its order, z up, metres."""

    @cached_property
    def cut(self) -> dict[str, trimesh.Trimesh]:
        return meshes(self.model)

    @cached_property
    def whole(self) -> dict[str, trimesh.Trimesh]:
        return meshes(self.model, cut=False)

    def mesh(self, element: ifcopenshell.entity_instance) -> trimesh.Trimesh:
        return self.cut[element.GlobalId]

    def quantities(self, element: ifcopenshell.entity_instance) -> dict[str, float]:
        found = elements.get_psets(element, qtos_only=True)
        (values,) = found.values()
        return {name: float(value) for name, value in values.items() if name != "id"}

    @property
    def file_from_model(self) -> Floats:
        """(4, 4), by IfcOpenShell's own reading of the map conversion."""
        if not self.model.by_type("IfcMapConversion"):
            return np.eye(4)
        corners = [geolocation.auto_xyz2enh(self.model, *axis) for axis in (*np.eye(3).tolist(), (0.0, 0.0, 0.0))]
        matrix = np.eye(4)
        matrix[:3, :3] = (np.array(corners[:3]) - corners[3]).T
        matrix[:3, 3] = corners[3]
        return matrix

    def in_model(self, rows: NDArray[np.int64]) -> Floats:
        """Rows (m,) of the uploaded file in the model's frame (m, 3)."""
        matrix = self.file_from_model
        return np.asarray((self.file_m[rows] - matrix[:3, 3]) @ matrix[:3, :3], np.float64)


@pytest.fixture(
    scope="module",
    params=[*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in LONG)],
    ids=lambda case: f"{case.name}{case.ending}",
)
def delivered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    assert isinstance(request.param, Case)
    return Delivered(request.param, tmp_path_factory.mktemp("delivered"))


def test_the_schema_is_kept(delivered: Delivered) -> None:
    assert complaints(delivered.path, express_rules=False) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves its file of rules open
def test_the_express_rules_are_kept(delivered: Delivered) -> None:
    assert complaints(delivered.path, express_rules=True) == []


def test_our_ids_is_passed(delivered: Delivered) -> None:
    rules = ifctester.ids.open(str(IDS), validate=True)
    rules.validate(delivered.model)
    assert [rule.name for rule in rules.specifications if rule.status is not True] == []


def test_storeys_lie_where_the_building_has_them(delivered: Delivered) -> None:
    truth = delivered.cloud.truth
    if delivered.case.coverage == "outdoors":
        return
    floors = sorted(storey.floor_m for storey in truth.storeys)
    height = delivered.file_from_model[2, 3]
    placed = sorted(
        elements_height(storey) + height - floors[0] for storey in delivered.model.by_type("IfcBuildingStorey")
    )
    assert placed == pytest.approx([floor - floors[0] for floor in floors], abs=0.015)


def elements_height(product: ifcopenshell.entity_instance) -> float:
    """The z of a product's placement in the model's frame."""
    z, at = 0.0, product.ObjectPlacement
    while at is not None:
        z += float(at.RelativePlacement.Location.Coordinates[2])
        at = at.PlacementRelTo
    return z


def test_walls_have_the_size_they_say(delivered: Delivered) -> None:
    walls = delivered.model.by_type("IfcWall")
    assert len(walls) >= 4
    for wall in walls:
        said, mesh = delivered.quantities(wall), delivered.mesh(wall)
        assert mesh.is_watertight, wall.Name
        assert mesh.volume == pytest.approx(said["NetVolume"], rel=0.01, abs=1e-4)
        assert delivered.whole[wall.GlobalId].volume == pytest.approx(said["GrossVolume"], rel=0.01, abs=1e-4)
        assert mesh.volume / said["Width"] == pytest.approx(said["NetSideArea"], rel=0.01, abs=1e-3)
        assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(said["Height"], rel=0.01)
        assert said["Length"] * said["Width"] == pytest.approx(said["GrossFootprintArea"], rel=0.01)


def test_slabs_have_the_size_they_say(delivered: Delivered) -> None:
    slabs = delivered.model.by_type("IfcSlab")
    assert len(slabs) >= 2
    for slab in slabs:
        said, mesh = delivered.quantities(slab), delivered.mesh(slab)
        assert mesh.volume == pytest.approx(said["NetVolume"], rel=0.01)
        assert upward_m2(mesh) == pytest.approx(said["NetArea"], rel=0.01)
        assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(said["Width"], rel=0.01)
        assert said["GrossArea"] >= said["NetArea"] - 1e-6


def test_spaces_have_the_size_they_say(delivered: Delivered) -> None:
    spaces = delivered.model.by_type("IfcSpace")
    assert spaces
    for space in spaces:
        said, mesh = delivered.quantities(space), delivered.mesh(space)
        assert mesh.volume == pytest.approx(said["GrossVolume"], rel=0.01)
        assert upward_m2(mesh) == pytest.approx(said["GrossFloorArea"], rel=0.01)
        assert said["NetFloorArea"] == pytest.approx(said["NetVolume"] / said["Height"], rel=0.01)


def upward_m2(mesh: trimesh.Trimesh) -> float:
    return float(mesh.area_faces[mesh.face_normals[:, 2] > 0.99].sum())


def test_openings_are_cut(delivered: Delivered) -> None:
    """In the middle of every opening there is no wall; without cutting there would be."""
    relations = delivered.model.by_type("IfcRelVoidsElement")
    assert relations
    for relation in relations:
        hole = delivered.whole[relation.RelatedOpeningElement.GlobalId].bounds.mean(axis=0)
        wall = relation.RelatingBuildingElement.GlobalId
        assert not delivered.cut[wall].contains([hole])[0]
        assert delivered.whole[wall].contains([hole])[0]


def test_the_preview_shows_every_element(delivered: Delivered) -> None:
    scene = trimesh.load_scene(delivered.folder / "out" / pipeline.GLB_NAME)
    kinds = ("IfcWall", "IfcSlab", "IfcColumn", "IfcDoor", "IfcWindow")
    expected = {element.Name for kind in kinds for element in delivered.model.by_type(kind)}
    nodes = set(scene.graph.nodes_geometry)
    shown = {node if node in expected else node.rsplit("_", 1)[0] for node in nodes}
    assert shown == expected
    boxes = np.array([delivered.mesh(element).bounds for element in solids(delivered)])
    low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
    assert scene.bounds[0] == pytest.approx([low[0], low[2], -high[1]], abs=1e-3)
    assert scene.bounds[1] == pytest.approx([high[0], high[2], -low[1]], abs=1e-3)


def solids(delivered: Delivered) -> list[ifcopenshell.entity_instance]:
    kinds = ("IfcWall", "IfcSlab", "IfcColumn", "IfcDoor", "IfcWindow")
    return [element for kind in kinds for element in delivered.model.by_type(kind)]


def test_the_mapping_has_the_documented_form_and_true_counts(delivered: Delivered) -> None:
    found = delivered.mapping
    assert list(found) == ["total_points", "mapped_points", "elements"]
    assert found["total_points"] == len(delivered.file_m)
    listed = []
    indices = []
    for element in found["elements"]:
        assert list(element) == ["element_id", "element_type", "point_indices", "point_count"]
        assert element["point_count"] == len(element["point_indices"])
        assert element["point_indices"] == sorted(element["point_indices"])
        (entity,) = [
            each for each in delivered.model.by_type(element["element_type"]) if each.Name == element["element_id"]
        ]
        listed.append(entity.GlobalId)
        indices += element["point_indices"]
    assert len(set(indices)) == len(indices) == found["mapped_points"] > 0.2 * np.isfinite(delivered.file_m[:, 0]).sum()
    fillings = {relation.RelatingOpeningElement.GlobalId for relation in delivered.model.by_type("IfcRelFillsElement")}
    passages = [each.GlobalId for each in delivered.model.by_type("IfcOpeningElement") if each.GlobalId not in fillings]
    voids = {
        relation.RelatedOpeningElement.GlobalId
        for relation in delivered.model.by_type("IfcRelVoidsElement")
        if relation.RelatingBuildingElement.is_a("IfcSlab")
    }
    assert sorted(listed) == sorted(
        [each.GlobalId for each in solids(delivered)] + [p for p in passages if p not in voids]
    )


def test_indices_are_those_of_the_uploaded_file(delivered: Delivered) -> None:
    """Points of an element, looked up in the file by somebody else, lie on it."""
    compared = 0
    for element in delivered.mapping["elements"]:
        if element["element_type"] not in ("IfcWall", "IfcSlab") or not element["point_count"]:
            continue
        (entity,) = [
            each for each in delivered.model.by_type(element["element_type"]) if each.Name == element["element_id"]
        ]
        points = delivered.in_model(np.array(element["point_indices"]))
        low, high = delivered.mesh(entity).bounds
        assert ((points > low - NEAR_M) & (points < high + NEAR_M)).all(), entity.Name
        compared += len(points)
    assert compared > 10_000


def test_points_of_walls_lie_on_walls_in_truth(delivered: Delivered) -> None:
    if delivered.case.file_m is not None:
        pytest.skip("the file's rows are those of grids, not of the scan's points")
    kinds = np.array([element.element_class for element in delivered.cloud.elements] + ["none"])
    rows = [
        row
        for each in delivered.mapping["elements"]
        if each["element_type"] == "IfcWall"
        for row in each["point_indices"]
    ]
    classes, counts = np.unique(kinds[delivered.cloud.element[rows]], return_counts=True)
    shares = dict(zip(classes.tolist(), (counts / counts.sum()).tolist(), strict=True))
    assert shares["wall"] > 0.85, shares
