"""The file as a whole: valid, complete, the same every time, safe with whatever people write."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import ifcopenshell
import ifcopenshell.util.element as elements
import ifctester.ids
import numpy as np
import pytest
from ifcopenshell.util import geolocation
from ifcopenshell.validate import json_logger, validate

from contracts.building_settings import BuildingSettings, IfcSettings
from contracts.clouds import CloudManifest, Row
from services.bim.ifc import writer
from services.bim.ifc.writer import ElementIds
from services.bim.model import Building, Opening, OpeningKind, Polygon
from tests.services.bim.handmade_house import GROUND_M, UPPER_M, Pose, house
from tests.services.bim.ifc_meshes import open_ifc

CREATED = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
IDS = Path(writer.__file__).with_name("alidade.ids")
IDENTITY: tuple[Row, Row, Row, Row] = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


class Listener:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.logs: list[str] = []
        self.done: list[tuple[int, int]] = []

    def step(self, name: str) -> None:
        raise AssertionError("a writer begins no step")

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.done.append((done, total))

    def log(self, message: str) -> None:
        self.logs.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def manifest(
    file_from_cloud: tuple[Row, Row, Row, Row] = IDENTITY,
    *,
    up_axis: Literal["z", "y"] = "z",
    unit_m: float = 1.0,
    crs: str | None = None,
) -> CloudManifest:
    return CloudManifest(
        file_name="house.ply",
        format="ply",
        points=1000,
        points_in_file=1000,
        file_from_cloud=file_from_cloud,
        up_axis=up_axis,
        unit_m=unit_m,
        bounds_m=((0, 0, 0), (10, 8, 7)),
        spacing_m=0.01,
        crs=crs,
    )


def shifted(east: float, north: float, up: float) -> tuple[Row, Row, Row, Row]:
    return ((1, 0, 0, east), (0, 1, 0, north), (0, 0, 1, up), (0, 0, 0, 1))


def write(
    path: Path,
    building: Building,
    cloud: CloudManifest | None = None,
    settings: IfcSettings | None = None,
) -> tuple[ElementIds, Listener]:
    listener = Listener()
    chosen = BuildingSettings(ifc=settings if settings is not None else IfcSettings())
    return writer.main(building, cloud or manifest(), chosen, path, listener, created=CREATED), listener


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ElementIds]:
    path = tmp_path_factory.mktemp("ifc") / "model.ifc"
    ids, listener = write(path, house())
    assert listener.warnings == []
    assert listener.done[-1][0] == listener.done[-1][1] > 0
    return path, ids


@pytest.fixture(scope="module")
def model(written: tuple[Path, ElementIds]) -> ifcopenshell.file:
    return open_ifc(written[0])


def complaints(path: Path, *, express_rules: bool) -> list[str]:
    logger = json_logger()
    validate(str(path), logger, express_rules=express_rules)
    return [str(statement["message"]) for statement in logger.statements]


def test_the_file_is_valid(written: tuple[Path, ElementIds]) -> None:
    assert complaints(written[0], express_rules=False) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves its file of rules open
@pytest.mark.parametrize("turn_deg", [0.0, 17.0])
def test_the_file_keeps_the_express_rules(tmp_path: Path, turn_deg: float) -> None:
    write(tmp_path / "model.ifc", house(Pose(turn_deg)), manifest(shifted(5e5, 6e6, 300.0)))
    assert complaints(tmp_path / "model.ifc", express_rules=True) == []


def test_the_validator_would_complain(tmp_path: Path, written: tuple[Path, ElementIds]) -> None:
    model = open_ifc(written[0])
    model.by_type("IfcRelVoidsElement")[0].RelatingBuildingElement = None
    model.write(str(tmp_path / "broken.ifc"))
    assert complaints(tmp_path / "broken.ifc", express_rules=False)


def test_the_file_passes_our_ids(model: ifcopenshell.file) -> None:
    rules = ifctester.ids.open(str(IDS), validate=True)
    rules.validate(model)
    failed = [rule.name for rule in rules.specifications if rule.status is not True]
    assert failed == []
    assert all(rule.applicable_entities for rule in rules.specifications)


def test_our_ids_finds_what_is_missing(written: tuple[Path, ElementIds]) -> None:
    model = open_ifc(written[0])
    common = next(p for p in model.by_type("IfcPropertySet") if p.Name == "Pset_WallCommon")
    model.remove(common.DefinesOccurrence[0])
    model.by_type("IfcSpace")[0].LongName = None
    rules = ifctester.ids.open(str(IDS), validate=True)
    rules.validate(model)
    assert {rule.name for rule in rules.specifications if rule.status is not True} == {"Walls", "Spaces"}


def test_the_tree_from_project_to_storeys(model: ifcopenshell.file) -> None:
    (project,) = model.by_type("IfcProject")
    (site,) = elements.get_decomposition(project, is_recursive=False)
    (building,) = elements.get_decomposition(site, is_recursive=False)
    storeys = sorted(elements.get_decomposition(building, is_recursive=False), key=lambda storey: storey.Elevation)
    assert [site.is_a(), building.is_a()] == ["IfcSite", "IfcBuilding"]
    assert [(storey.Name, storey.Elevation) for storey in storeys] == [
        ("Ground floor", 0.0),
        ("Floor 1", pytest.approx(UPPER_M - GROUND_M, abs=1e-6)),
    ]
    counts = {
        storey.Name: [
            sum(part.is_a(kind) for part in elements.get_decomposition(storey))
            for kind in ("IfcWall", "IfcSlab", "IfcDoor", "IfcWindow", "IfcColumn", "IfcSpace")
        ]
        for storey in storeys
    }
    assert counts == {"Ground floor": [7, 1, 3, 4, 2, 4], "Floor 1": [8, 2, 1, 2, 0, 1]}


def test_spaces_are_aggregated_and_not_contained(model: ifcopenshell.file) -> None:
    for space in model.by_type("IfcSpace"):
        assert space.Decomposes[0].RelatingObject.is_a("IfcBuildingStorey")
    contained = {e for rel in model.by_type("IfcRelContainedInSpatialStructure") for e in rel.RelatedElements}
    assert not [element for element in contained if element.is_a("IfcSpace") or element.is_a("IfcOpeningElement")]


def test_units_owner_and_header(model: ifcopenshell.file) -> None:
    units = {unit.UnitType: (unit.Prefix, unit.Name) for unit in model.by_type("IfcUnitAssignment")[0].Units}
    assert units == {
        "LENGTHUNIT": (None, "METRE"),
        "AREAUNIT": (None, "SQUARE_METRE"),
        "VOLUMEUNIT": (None, "CUBIC_METRE"),
        "PLANEANGLEUNIT": (None, "RADIAN"),
    }
    (owner,) = model.by_type("IfcOwnerHistory")
    assert owner.OwningApplication.ApplicationFullName == "Alidade"
    assert owner.CreationDate == int(CREATED.timestamp())
    header = model.header.file_name
    assert (header.name, header.time_stamp) == ("model.ifc", "2026-11-21T09:30:00+00:00")
    assert header.originating_system.startswith("Alidade ")


def test_names_are_those_of_people(model: ifcopenshell.file) -> None:
    def names(kind: str) -> list[str]:
        return sorted(element.Name for element in model.by_type(kind))

    assert names("IfcWall")[:2] == ["W-0-001", "W-0-002"]
    assert names("IfcDoor") == ["D-0-001", "D-0-002", "D-0-003", "D-1-001"]
    assert names("IfcSlab") == ["R-1-001", "S-0-001", "S-1-001"]
    assert names("IfcSpace") == ["0.01", "0.02", "0.03", "0.04", "1.01"]
    assert names("IfcColumn") == ["C-0-001", "C-0-002"]
    passages = [hole.Name for hole in model.by_type("IfcOpeningElement") if not hole.HasFillings]
    assert passages == ["P-0-001"]


def test_every_element_is_known_by_its_id(written: tuple[Path, ElementIds], model: ifcopenshell.file) -> None:
    _, ids = written
    building = house()
    expected = {wall.wall_id for wall in building.walls} | {slab.slab_id for slab in building.slabs}
    expected |= {opening.opening_id for opening in building.openings}
    expected |= {space.space_id for space in building.spaces} | {column.column_id for column in building.columns}
    assert set(ids) == expected
    for model_id, element in ids.items():
        entity = model.by_guid(element.global_id)
        assert (entity.is_a(), entity.Name) == (element.ifc_class, element.name)
        recognition = elements.get_pset(entity, "Alidade_Recognition")
        assert recognition["ModelId"] == model_id
        assert 0 < recognition["Confidence"] <= 1
    assert len({element.name for element in ids.values()}) == len(ids)


def test_a_wall_tells_how_it_was_found(written: tuple[Path, ElementIds], model: ifcopenshell.file) -> None:
    _, ids = written
    outer, inner = (model.by_guid(ids[wall].global_id) for wall in ("0e0", "0p0"))
    found = elements.get_pset(outer, "Alidade_Recognition")
    assert (found["MeasuredFaces"], found["ThicknessMeasured"]) == (1, False)
    assert found["Residual"] == pytest.approx(0.0021)
    assert elements.get_pset(inner, "Alidade_Recognition")["ThicknessMeasured"] is True
    assert elements.get_pset(outer, "Pset_WallCommon")["IsExternal"] is True
    assert elements.get_pset(inner, "Pset_WallCommon")["IsExternal"] is False


def type_of(element: ifcopenshell.entity_instance) -> ifcopenshell.entity_instance:
    found = elements.get_type(element)
    assert found is not None
    return found


def test_walls_of_one_thickness_share_type_and_layer(model: ifcopenshell.file) -> None:
    for wall in model.by_type("IfcWall"):
        usage = elements.get_material(wall)
        assert usage is not None
        assert usage.is_a("IfcMaterialLayerSetUsage")
        thickness = usage.ForLayerSet.MaterialLayers[0].LayerThickness
        assert thickness == pytest.approx(elements.get_pset(wall, "Qto_WallBaseQuantities")["Width"], abs=6e-4)
        assert usage.OffsetFromReferenceLine == pytest.approx(-thickness / 2)
        assert elements.get_material(type_of(wall)) == usage.ForLayerSet
    names = {wall_type.Name for wall_type in model.by_type("IfcWallType")}
    assert names == {"Exterior wall 300 mm", "Interior wall 240 mm", "Interior wall 115 mm", "Interior wall 100 mm"}


def test_doors_and_windows_have_types_that_agree(model: ifcopenshell.file) -> None:
    operations = []
    for door in model.by_type("IfcDoor"):
        assert type_of(door).OperationType == door.OperationType
        operations.append(door.OperationType)
    assert operations.count("DOUBLE_DOOR_SINGLE_SWING") == 1
    partitions = {
        round(window.OverallWidth, 3): type_of(window).PartitioningType for window in model.by_type("IfcWindow")
    }
    assert partitions[1.0] == "SINGLE_PANEL"
    assert partitions[1.8] == "DOUBLE_PANEL_VERTICAL"
    assert partitions[3.3] == "TRIPLE_PANEL_VERTICAL"


def test_the_same_building_makes_the_same_file(tmp_path: Path, written: tuple[Path, ElementIds]) -> None:
    ids, _ = write(tmp_path / "model.ifc", house())
    assert (tmp_path / "model.ifc").read_bytes() == written[0].read_bytes()
    assert ids == written[1]


def test_another_building_shares_no_identity(tmp_path: Path, model: ifcopenshell.file) -> None:
    write(tmp_path / "model.ifc", house(Pose(17.001)))
    other = open_ifc(tmp_path / "model.ifc")
    identities = [{root.GlobalId for root in each.by_type("IfcRoot")} for each in (model, other)]
    assert len(identities[0]) == len(model.by_type("IfcRoot"))
    assert not identities[0] & identities[1]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ('It\'s "quoted"; #1=IFCWALL();', 'It\'s "quoted"; #1=IFCWALL();'),
        ("back\\slash \\X2\\0041\\X0\\", "back\\slash \\X2\\0041\\X0\\"),
        ("Čapek, 東京タワー, 🏠", "Čapek, 東京タワー, 🏠"),
        ("two\nlines\tand\x00nul\x7f", "two lines and nul"),
        ("  ", "Unnamed"),
    ],
)
def test_hostile_names_stay_names(tmp_path: Path, asked: str, kept: str) -> None:
    settings = IfcSettings(project_name=asked, site_name=asked, author_name=asked, author_organization=asked)
    write(tmp_path / "model.ifc", house(), settings=settings)
    model = open_ifc(tmp_path / "model.ifc")
    assert model.by_type("IfcProject")[0].Name == kept
    assert model.by_type("IfcSite")[0].Name == kept
    assert len(model.by_type("IfcWall")) == 15
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []


def test_names_and_version_of_the_settings(tmp_path: Path) -> None:
    settings = IfcSettings(
        project_name="P", project_long_name="Long", project_version="2.1", building_name="B", author_surname="Brunel"
    )
    write(tmp_path / "model.ifc", house(), settings=settings)
    model = open_ifc(tmp_path / "model.ifc")
    project = model.by_type("IfcProject")[0]
    assert (project.Name, project.LongName, project.Description) == ("P", "Long", "Version 2.1")
    assert model.by_type("IfcBuilding")[0].Name == "B"
    assert [person.FamilyName for person in model.by_type("IfcPerson")] == ["Brunel"]
    assert model.header.file_name.author == ("Brunel",)


def test_a_national_grid_comes_out_as_a_map_conversion(tmp_path: Path) -> None:
    write(tmp_path / "model.ifc", house(), manifest(shifted(-680_000.125, -1_150_000.5, 251.75), crs="epsg:5514"))
    model = open_ifc(tmp_path / "model.ifc")
    (conversion,) = model.by_type("IfcMapConversion")
    assert (conversion.Eastings, conversion.Northings, conversion.OrthogonalHeight) == (
        -680_000.125,
        -1_150_000.5,
        251.75,
    )
    assert (conversion.XAxisAbscissa, conversion.XAxisOrdinate, conversion.Scale) == (1.0, 0.0, 1.0)
    assert conversion.TargetCRS.Name == "EPSG:5514"
    assert conversion.TargetCRS.MapUnit.Name == "METRE"
    assert model.by_type("IfcBuilding")[0].ElevationOfRefHeight == pytest.approx(251.75 + GROUND_M)
    assert geolocation.auto_xyz2enh(model, 1.0, 2.0, 3.0) == pytest.approx((-679_999.125, -1_149_998.5, 254.75))
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []


def test_settings_name_the_reference_system_first(tmp_path: Path) -> None:
    write(tmp_path / "model.ifc", house(), manifest(crs="EPSG:5514"), IfcSettings(crs="EPSG:25833"))
    model = open_ifc(tmp_path / "model.ifc")
    (crs,) = model.by_type("IfcProjectedCRS")
    assert crs.Name == "EPSG:25833"


@pytest.mark.parametrize(
    ("written_crs", "name"),
    [
        (
            'PROJCS["S-JTSK / Krovak East North",GEOGCS["S-JTSK",AUTHORITY["EPSG","4156"]],AUTHORITY["EPSG","5514"]]',
            "EPSG:5514",
        ),
        ('PROJCRS["ETRS89 / UTM zone 33N",BASEGEOGCRS["ETRS89",ID["EPSG",4258]],ID["EPSG",25833]]', "EPSG:25833"),
        ('PROJCS["Site grid",GEOGCS["S-JTSK",AUTHORITY["EPSG","4156"]],UNIT["metre",1]]', "Site grid"),
        ("local grid of the town", "local grid of the town"),
    ],
)
def test_reference_systems_as_files_name_them(tmp_path: Path, written_crs: str, name: str) -> None:
    write(tmp_path / "model.ifc", house(), manifest(crs=written_crs))
    model = open_ifc(tmp_path / "model.ifc")
    (crs,) = model.by_type("IfcProjectedCRS")
    assert crs.Name == name


def test_an_offset_without_a_reference_system_is_kept_and_called_unknown(tmp_path: Path) -> None:
    write(tmp_path / "model.ifc", house(), manifest(shifted(5000.0, 6000.0, 0.0)))
    model = open_ifc(tmp_path / "model.ifc")
    (conversion,) = model.by_type("IfcMapConversion")
    assert conversion.TargetCRS.Name == "unknown"
    assert "No coordinate reference system is known" in conversion.TargetCRS.Description
    assert (conversion.Eastings, conversion.Northings) == (5000.0, 6000.0)
    assert model.by_type("IfcBuilding")[0].ElevationOfRefHeight is None


def test_a_cloud_at_the_origin_has_no_map(model: ifcopenshell.file) -> None:
    assert not model.by_type("IfcCoordinateOperation")


def test_millimetres_and_y_up_are_undone(tmp_path: Path) -> None:
    # The file has x, y up, z towards the viewer: (x, y, z) = (X, Z, -Y) + shift; the manifest has it in metres already.
    file_from_cloud: tuple[Row, Row, Row, Row] = (
        (1, 0, 0, 2_000),
        (0, 0, 1, 30),
        (0, -1, 0, -4_000),
        (0, 0, 0, 1),
    )
    write(tmp_path / "model.ifc", house(), manifest(file_from_cloud, up_axis="y", unit_m=0.001))
    model = open_ifc(tmp_path / "model.ifc")
    (conversion,) = model.by_type("IfcMapConversion")
    assert (conversion.Eastings, conversion.Northings, conversion.OrthogonalHeight) == pytest.approx((2000, 4000, 30))
    assert (conversion.XAxisAbscissa, conversion.XAxisOrdinate) == pytest.approx((1, 0))


def test_a_turned_cloud_keeps_its_turn(tmp_path: Path) -> None:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turned: tuple[Row, Row, Row, Row] = ((cosine, -sine, 0, 10), (sine, cosine, 0, 20), (0, 0, 1, 0), (0, 0, 0, 1))
    write(tmp_path / "model.ifc", house(), manifest(turned, crs="EPSG:25833"))
    model = open_ifc(tmp_path / "model.ifc")
    east, north = 10 + cosine * 3 - sine * 4, 20 + sine * 3 + cosine * 4
    assert geolocation.auto_xyz2enh(model, 3.0, 4.0, 5.0) == pytest.approx((east, north, 5.0))


def changed(building: Building, *more: Opening) -> Building:
    return Building(building.storeys, building.slabs, building.walls, (*building.openings, *more))


def test_an_opening_that_sticks_out_is_cut_and_said(tmp_path: Path) -> None:
    far = Opening("far", "0e0", 0, OpeningKind.WINDOW, 9.2, 10.4, GROUND_M + 0.8, GROUND_M + 3.5, 0.5)
    ids, listener = write(tmp_path / "model.ifc", changed(house(), far))
    model = open_ifc(tmp_path / "model.ifc")
    window = model.by_guid(ids["far"].global_id)
    assert window.OverallWidth == pytest.approx(9.7 - 9.2)
    assert window.OverallHeight == pytest.approx(1.8)
    assert ["far" in warning and "cut to fit" in warning for warning in listener.warnings] == [True]


def test_an_opening_beside_its_wall_is_left_out_and_said(tmp_path: Path) -> None:
    beside = Opening("beside", "0e0", 0, OpeningKind.WINDOW, 12.0, 13.0, GROUND_M, GROUND_M + 1, 0.5)
    ids, listener = write(tmp_path / "model.ifc", changed(house(), beside))
    assert "beside" not in ids
    assert ["beside" in warning and "left out" in warning for warning in listener.warnings] == [True]
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []


def test_a_building_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    building = house()
    twice = Opening("0e0", "0e0", 0, OpeningKind.DOOR, 4.0, 5.0, GROUND_M, GROUND_M + 2, 0.5)
    with pytest.raises(ValueError, match="two elements of the building have the id 0e0"):
        write(tmp_path / "model.ifc", changed(building, twice))
    stray = Opening("x", "0e9", 0, OpeningKind.DOOR, 4.0, 5.0, GROUND_M, GROUND_M + 2, 0.5)
    with pytest.raises(ValueError, match="0e9, which is not in the building"):
        write(tmp_path / "model.ifc", changed(building, stray))
    with pytest.raises(ValueError, match=r"storeys \[1\], which the building does not have"):
        write(tmp_path / "model.ifc", Building(building.storeys[:1], building.slabs, building.walls))
    assert not list(tmp_path.iterdir())


def test_an_outline_that_crosses_itself_is_mended_and_said(tmp_path: Path) -> None:
    building = house()
    bow = Polygon(np.array([[0, 0], [3, 0], [3, 3], [1, -1]], float))
    spaces = (replace(building.spaces[0], outline=bow), *building.spaces[1:])
    ids, listener = write(tmp_path / "model.ifc", replace(building, spaces=spaces))
    model = open_ifc(tmp_path / "model.ifc")
    room = model.by_guid(ids["0r0"].global_id)
    # The line from (3, 3) to (1, -1) crosses the base at x = 1.5: the larger triangle is 1.5 wide and 3 high.
    assert elements.get_pset(room, "Qto_SpaceBaseQuantities")["GrossFloorArea"] == pytest.approx(2.25)
    assert ["0r0" in warning and "2.25" in warning for warning in listener.warnings] == [True]
    flat = Polygon(np.array([[0, 0], [3, 0], [6, 0]], float))
    with pytest.raises(ValueError, match="space 0r0 encloses nothing"):
        write(tmp_path / "flat.ifc", replace(building, spaces=(replace(building.spaces[0], outline=flat),)))


def test_a_missing_residual_is_left_out(tmp_path: Path) -> None:
    building = house()
    first = replace(building.walls[0], residual_m=float("nan"))
    ids, _ = write(tmp_path / "model.ifc", replace(building, walls=(first, *building.walls[1:])))
    model = open_ifc(tmp_path / "model.ifc")
    found = elements.get_pset(model.by_guid(ids["0e0"].global_id), "Alidade_Recognition")
    assert {"MeasuredFaces", "Residual"} & set(found) == {"MeasuredFaces"}
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []


def test_storeys_without_elements_are_still_a_model(tmp_path: Path) -> None:
    building = house()
    ids, _ = write(tmp_path / "model.ifc", Building(building.storeys, building.slabs))
    assert {element.ifc_class for element in ids.values()} == {"IfcSlab"}
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []


def test_a_storey_in_which_nothing_was_found_leaves_the_others(tmp_path: Path) -> None:
    building = house()
    ground, upper = building.storeys
    nothing = Polygon(np.empty((0, 2)))
    walls = tuple(wall for wall in building.walls if wall.storey == ground.index)
    ids, listener = write(
        tmp_path / "model.ifc", Building((ground, replace(upper, footprint=nothing)), building.slabs, walls)
    )
    model = open_ifc(tmp_path / "model.ifc")
    areas = [
        elements.get_pset(storey, "Qto_BuildingStoreyBaseQuantities")["GrossFloorArea"]
        for storey in model.by_type("IfcBuildingStorey")
    ]
    assert areas[0] > 60
    assert areas[1] == 0
    assert sum(element.ifc_class == "IfcWall" for element in ids.values()) == len(walls)
    assert listener.warnings == []
    assert complaints(tmp_path / "model.ifc", express_rules=False) == []
    rules = ifctester.ids.open(str(IDS), validate=True)
    rules.validate(model)
    assert next(rule for rule in rules.specifications if rule.name == "Storeys").status is True


def test_nothing_is_logged_by_the_library(written: tuple[Path, ElementIds], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_ifc(written[0])
    assert caplog.records == []
