"""Whole buildings of the catalogue, scanned coarsely, against their truth."""

from pathlib import Path

import numpy as np
import pytest

from contracts.building_settings import BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.progress import Silence
from samples.building import BuildingSpec, make_building, scan
from samples.building_files import write_canonical
from samples.building_truth import load_building_truth
from samples.evaluate_building import BuildingScore, evaluate
from samples.scanner import Coverage, ScanSpec
from services.bim import recognition
from services.bim.junctions import close_junctions
from services.bim.model import Building, SlabKind
from tests.services.bim.boxed_cloud import BoxedCloud


class Kept(Silence):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def recognised(folder: Path, name: str, seed: int, coverage: Coverage) -> tuple[Building, BuildingScore]:
    cloud = scan(make_building(BuildingSpec(name, seed)), ScanSpec(spacing_m=0.04, coverage=coverage, seed=seed))
    write_canonical(cloud, folder)
    building = recognition.recognise(folder, BuildingSettings(), Silence()).building
    return building, evaluate(building, load_building_truth(folder / "truth.json"), name)


@pytest.mark.parametrize(
    ("name", "seed", "coverage"),
    [("garage", 5, "both"), ("skewed_house", 5, "indoors"), ("split_level_house", 5, "both")],
)
def test_buildings_of_the_catalogue(tmp_path: Path, name: str, seed: int, coverage: Coverage) -> None:
    building, score = recognised(tmp_path, name, seed, coverage)
    assert score.storeys.f1 == 1
    assert score.floor_error_m.max() < 0.01
    assert score.ceiling_error_m.max() < 0.01
    assert score.walls.f1 >= 0.97, score.details()
    assert np.median(score.thickness_error_m) < 0.01
    assert score.external_accuracy == 1
    assert building.failed_storeys == ()


def test_a_building_seen_from_outside(tmp_path: Path) -> None:
    cloud = scan(make_building(BuildingSpec("simple_house", 2)), ScanSpec(spacing_m=0.04, coverage="outdoors", seed=2))
    write_canonical(cloud, tmp_path)
    report = Kept()
    building = recognition.recognise(tmp_path, BuildingSettings(), report).building
    score = evaluate(building, load_building_truth(tmp_path / "truth.json"))
    assert any("outside only" in warning for warning in report.warnings)
    assert len(building.storeys) == 1
    assert score.walls.precision == 1, score.details()
    assert len(score.walls.pairs) == 4


def test_a_lower_part_seen_from_outside(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.04)
    cloud.level((-6.0, -6.0), (20.0, 14.0), 0.0)
    cloud.sides((0.0, 0.0), (8.0, 8.0), 0.0, 4.0)
    for start, end in (((8.0, 1.0), (14.0, 1.0)), ((14.0, 1.0), (14.0, 7.0)), ((14.0, 7.0), (8.0, 7.0))):
        cloud.face(start, end, 0.0, 2.9)
    # The wall between the two parts is seen above the lower one only.
    hidden = (np.abs(cloud.parts[2][:, 1] - 4.0) < 3.0) & (cloud.parts[2][:, 2] < 2.9)
    cloud.parts[2] = cloud.parts[2][~hidden]
    building = recognition.recognise(cloud.write(tmp_path), BuildingSettings(), Silence()).building
    for middle, along in (((11.0, 1.15), (1.0, 0.0)), ((13.85, 4.0), (0.0, 1.0)), ((11.0, 6.85), (1.0, 0.0))):
        found = [
            wall
            for wall in building.walls
            if abs(float(wall.direction @ along)) > 0.999
            and abs(float((wall.start - middle) @ wall.normal)) < 0.01
            and wall.length_m > 5.0
        ]
        assert len(found) == 1, middle


def boxes() -> BoxedCloud:
    """Two storeys of one room, 5 x 4 m, a slab of 25 cm between them, and the upper side of the roof."""
    cloud = BoxedCloud(spacing_m=0.04)
    cloud.room((0.0, 0.0), (5.0, 4.0), 0.0, 2.5)
    cloud.room((0.0, 0.0), (5.0, 4.0), 2.75, 5.2)
    cloud.sides((-0.3, -0.3), (5.3, 4.3), -0.2, 5.6)
    cloud.level((-0.3, -0.3), (5.3, 4.3), 5.55)
    return cloud


def test_slabs_lie_between_floors_and_ceilings(tmp_path: Path) -> None:
    building = recognition.recognise(boxes().write(tmp_path), BuildingSettings(bfs_thickness=0.2), Silence()).building
    found = [(slab.kind, slab.bottom_m, slab.top_m, slab.measured_bottom, slab.measured_top) for slab in building.slabs]
    about = [(kind, round(low, 2), round(high, 2), *measured) for kind, low, high, *measured in found]
    assert about == [
        (SlabKind.FLOOR, -0.2, 0.0, False, True),
        (SlabKind.INTERMEDIATE, 2.5, 2.75, True, True),
        (SlabKind.ROOF, 5.2, 5.55, True, True),
    ]
    for slab in building.slabs:
        assert slab.outline.outer.min(0) == pytest.approx([-0.3, -0.3], abs=0.01)
        assert slab.outline.outer.max(0) == pytest.approx([5.3, 4.3], abs=0.01)


def test_a_stairwell_is_a_hole_in_the_slab(tmp_path: Path) -> None:
    cloud = boxes()
    for part in (1, 6):
        inside = (cloud.parts[part][:, :2] > [1.0, 1.0]).all(1) & (cloud.parts[part][:, :2] < [3.0, 2.2]).all(1)
        cloud.parts[part] = cloud.parts[part][~inside]
    cloud.sides((1.0, 1.0), (3.0, 2.2), 2.5, 2.75)
    building = recognition.recognise(cloud.write(tmp_path), BuildingSettings(), Silence()).building
    (slab,) = [slab for slab in building.slabs if slab.kind is SlabKind.INTERMEDIATE]
    (hole,) = slab.outline.holes
    assert hole.min(0) == pytest.approx([1.0, 1.0], abs=0.12)
    assert hole.max(0) == pytest.approx([3.0, 2.2], abs=0.12)


def test_one_storeys_failure_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = 0

    def fail_once(*arguments: object) -> object:
        nonlocal closed
        closed += 1
        if closed == 1:
            raise np.linalg.LinAlgError("this geometry is beyond us")
        return close_junctions(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("services.bim.walls.close_junctions", fail_once)
    report = Kept()
    building = recognition.recognise(boxes().write(tmp_path), BuildingSettings(), report).building
    assert building.failed_storeys == ("Storey 0",)
    assert "beyond us" in report.warnings[0]
    assert building.warnings == tuple(report.warnings)
    assert {wall.storey for wall in building.walls} == {1}


def test_a_single_plane_is_no_building(tmp_path: Path) -> None:
    cloud = BoxedCloud()
    cloud.level((0.0, 0.0), (10.0, 8.0), 0.0)
    with pytest.raises(UserError, match="nowhere does a ceiling") as raised:
        recognition.recognise(cloud.write(tmp_path), BuildingSettings(), Silence())
    assert raised.value.code is ErrorCode.INVALID_CLOUD


def test_noise_without_surfaces_is_no_building(tmp_path: Path) -> None:
    cloud = BoxedCloud()
    cloud.parts.append(np.random.default_rng(0).uniform(0, 5, (60_000, 3)))
    with pytest.raises(UserError, match="No storey"):
        recognition.recognise(cloud.write(tmp_path), BuildingSettings(), Silence())
