"""report.json: counts, sizes and fit, against the drawing of the house."""

import json
import math
from pathlib import Path

import pytest

from contracts.building_settings import BuildingSettings, IfcSettings
from contracts.clouds import CloudManifest
from services.bim import report
from services.bim.ifc.writer import ElementIds
from services.bim.model import Building
from services.bim.report import BuildingReport, PointFit
from tests.services.bim.handmade_house import (
    CEILING_M,
    EXTERIOR_M,
    GROUND_M,
    INSIDE,
    OUTSIDE,
    PARTITION_M,
    ROOF_M,
    UPPER_M,
    house,
)
from tests.services.bim.test_ifc import manifest, shifted, write


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> ElementIds:
    return write(tmp_path_factory.mktemp("report") / "model.ifc", house())[0]


def build(
    ids: ElementIds,
    building: Building | None = None,
    cloud: CloudManifest | None = None,
    fits: dict[str, PointFit] | None = None,
    settings: BuildingSettings | None = None,
) -> BuildingReport:
    return report.build(
        building=building or house(),
        manifest=cloud or manifest(),
        settings=settings or BuildingSettings(),
        ids=ids,
        fits=fits or {},
        seconds={"wall_detection": 1.23456},
        unknown_settings=("colour",),
        warnings=("something", "something"),
    )


def test_counts(ids: ElementIds) -> None:
    found = build(ids)
    assert found.counts.model_dump() == {
        "storeys": 2,
        "slabs": 3,
        "walls": 15,
        "doors": 4,
        "windows": 6,
        "passages": 1,
        "columns": 2,
        "spaces": 5,
    }
    ground, upper = found.storeys
    assert (ground.name, upper.name) == ("Ground floor", "Floor 1")
    assert (ground.elevation_m, ground.height_m) == pytest.approx((0.0, 2.6))
    assert upper.elevation_m == pytest.approx(UPPER_M - GROUND_M)
    assert (ground.counts.walls, ground.counts.windows, ground.counts.passages) == (7, 4, 1)
    assert (upper.counts.walls, upper.counts.slabs, upper.counts.spaces) == (8, 2, 1)


def test_sizes_are_those_of_the_drawing(ids: ElementIds) -> None:
    sizes = build(ids).sizes
    assert sizes.height_m == pytest.approx(ROOF_M - GROUND_M)
    assert sizes.footprint_m2 == pytest.approx(OUTSIDE.area, abs=1e-3)
    assert sizes.gross_floor_m2 == pytest.approx(2 * OUTSIDE.area, abs=1e-3)
    partitions = INSIDE.bounds[2] - INSIDE.bounds[0] + INSIDE.bounds[3] - INSIDE.bounds[1] - PARTITION_M
    columns = 0.3 * 0.4 + math.pi * 0.175**2
    ground = INSIDE.area - partitions * PARTITION_M - columns
    # A round column is drawn with 64 corners.
    assert build(ids).storeys[0].net_floor_m2 == pytest.approx(ground, abs=1e-3)
    around = (OUTSIDE.area - INSIDE.area) / EXTERIOR_M
    assert sizes.wall_length_m == pytest.approx(2 * around + partitions + 3.68 + 3.54 + 3.23, abs=0.1)
    assert 0 < sizes.wall_net_volume_m3 < sizes.wall_length_m * EXTERIOR_M * (CEILING_M - GROUND_M)


def test_the_fit_is_weighted_by_points(ids: ElementIds) -> None:
    fits = {
        "0e0": PointFit(700, 0.002, 0.9),
        "0e1": PointFit(200, 0.005, 0.7),
        "s0": PointFit(50, 0.020, 0.5),
        "0p0": PointFit(0, math.nan, 0.0),
        "0p2": PointFit(0, math.nan, math.nan),
    }
    found = build(ids, fits=fits).fit
    assert found.mapped_points == 950
    assert found.mapped_share == pytest.approx(0.95)
    assert found.residual_median_m == pytest.approx(0.002)
    assert found.residual_p90_m == pytest.approx(0.005)
    assert found.coverage == pytest.approx((0.9 + 0.7 + 0.5 + 0.0) / 4)


def test_without_points_there_is_no_residual(ids: ElementIds) -> None:
    found = build(ids).fit
    assert (found.mapped_points, found.residual_median_m, found.residual_p90_m, found.coverage) == (0, None, None, None)


def test_elements_join_the_mapping_with_the_model(ids: ElementIds) -> None:
    found = {element.element_id: element for element in build(ids, fits={"0e0": PointFit(7, 0.002, 0.9)}).elements}
    assert set(found) == {element.name for element in ids.values()}
    wall = found["W-0-001"]
    assert (wall.global_id, wall.element_type, wall.storey) == (ids["0e0"].global_id, "IfcWall", 0)
    assert (wall.points, wall.residual_m, wall.coverage, wall.confidence) == (7, 0.002, 0.9, 0.93)
    assert found["W-0-002"].residual_m is None


def test_what_is_unusual_about_the_file_is_said(ids: ElementIds) -> None:
    assert build(ids).cloud.notes == ()
    notes = build(ids, cloud=manifest(shifted(0, 0, 0), up_axis="y", unit_m=0.001)).cloud.notes
    assert ["+y up" in notes[0], "0.001 m" in notes[1], len(notes)] == [True, True, 2]


def test_georeference_is_that_of_the_model(ids: ElementIds) -> None:
    assert build(ids).georeference is None
    unknown = build(ids, cloud=manifest(shifted(5000, 6000, 7))).georeference
    assert unknown is not None
    assert (unknown.crs, unknown.known, unknown.eastings_m, unknown.height_m) == ("unknown", False, 5000, 7)
    named = build(ids, settings=BuildingSettings(ifc=IfcSettings(crs="EPSG:5514"))).georeference
    assert named is not None
    assert (named.crs, named.known) == ("EPSG:5514", True)


def test_warnings_are_told_once_and_the_report_survives_json(ids: ElementIds, tmp_path: Path) -> None:
    building = Building(house().storeys, house().slabs, warnings=("thin",), failed_storeys=("Floor 1",))
    found = build(ids, building=building)
    assert found.warnings == ("thin", "something")
    assert (found.failed_storeys, found.unknown_settings) == (("Floor 1",), ("colour",))
    assert found.seconds == {"wall_detection": 1.235}
    (tmp_path / "report.json").write_text(found.model_dump_json(indent=2))
    assert BuildingReport.model_validate(json.loads((tmp_path / "report.json").read_text())) == found
