"""Storeys from floors and ceilings, among furniture, landings and outdoor ground."""

from pathlib import Path

import pytest

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.bim.cloud import open_cloud
from services.bim.levels import Layering, find_storeys
from services.bim.preprocessing import preprocess
from tests.services.bim.boxed_cloud import BoxedCloud


def storeys_of(cloud: BoxedCloud, folder: Path) -> Layering:
    return find_storeys(preprocess(open_cloud(cloud.write(folder)), BuildingSettings(), Silence()))


def heights(layering: Layering) -> list[tuple[float, float]]:
    return [(storey.floor_m, storey.ceiling_m) for storey in layering.storeys]


def house(ceilings: tuple[float, float] = (2.6, 2.6)) -> BoxedCloud:
    """Two rooms of 20 m² side by side."""
    cloud = BoxedCloud(spacing_m=0.04)
    cloud.room((0.0, 0.0), (5.0, 4.0), 0.0, ceilings[0])
    cloud.room((5.12, 0.0), (10.0, 4.0), 0.0, ceilings[1])
    return cloud


def test_two_storeys(tmp_path: Path) -> None:
    cloud = house()
    cloud.room((0.0, 0.0), (5.0, 4.0), 2.87, 5.4)
    cloud.room((5.12, 0.0), (10.0, 4.0), 2.87, 5.4)
    found = heights(storeys_of(cloud, tmp_path))
    assert found == [pytest.approx((0.0, 2.6), abs=0.003), pytest.approx((2.87, 5.4), abs=0.003)]


def test_furniture_and_the_ground_outside_make_no_storey(tmp_path: Path) -> None:
    cloud = house()
    cloud.level((-8.0, -8.0), (18.0, -0.5), -0.15)
    for x in (0.5, 2.5, 6.0, 8.0):
        cloud.box((x, 0.5), (x + 1.6, 1.3), 0.0, 0.74)
        cloud.box((x, 3.3), (x + 1.6, 3.9), 0.0, 2.1)
    layering = storeys_of(cloud, tmp_path)
    assert heights(layering) == [pytest.approx((0.0, 2.6), abs=0.003)]
    assert {round(layer.floor_m, 2) for layer in layering.storeys[0].layers} == {0.0}


def test_a_bed_that_fills_a_room_is_no_platform(tmp_path: Path) -> None:
    cloud = house()
    cloud.box((5.2, 0.1), (7.6, 2.4), 0.0, 0.45)
    layering = storeys_of(cloud, tmp_path)
    assert {round(layer.floor_m, 2) for layer in layering.storeys[0].layers} == {0.0}


def test_a_false_ceiling_leaves_the_structural_one(tmp_path: Path) -> None:
    layering = storeys_of(house(ceilings=(2.6, 2.35)), tmp_path)
    assert heights(layering) == [pytest.approx((0.0, 2.6), abs=0.003)]
    assert sorted(round(layer.ceiling_m, 2) for layer in layering.storeys[0].layers) == [2.35, 2.6]


@pytest.mark.parametrize("shift_m", [0.0, 0.0025, 0.005, 0.0075])
def test_ceilings_four_centimetres_apart_are_two(tmp_path: Path, shift_m: float) -> None:
    layering = storeys_of(house(ceilings=(2.60 + shift_m, 2.56 + shift_m)), tmp_path)
    assert len(layering.storeys) == 1
    found = sorted(layer.ceiling_m for layer in layering.storeys[0].layers)
    assert found == [pytest.approx(2.56 + shift_m, abs=0.003), pytest.approx(2.60 + shift_m, abs=0.003)]
    areas = [layer.area_m2 for layer in layering.storeys[0].layers]
    assert areas == [pytest.approx(20.0, rel=0.1), pytest.approx(19.5, rel=0.1)]


def test_a_lower_annexe_belongs_to_its_storey(tmp_path: Path) -> None:
    cloud = house()
    cloud.room((10.3, 0.0), (13.0, 4.0), -0.4, 2.2)
    layering = storeys_of(cloud, tmp_path)
    assert heights(layering) == [pytest.approx((0.0, 2.6), abs=0.003)]
    assert {round(layer.floor_m, 2) for layer in layering.storeys[0].layers} == {0.0, -0.4}


def test_what_one_sees_up_a_stairwell_is_not_the_ceiling(tmp_path: Path) -> None:
    cloud = house()
    cloud.level((0.0, 0.0), (3.0, 4.0), 2.87)
    cloud.level((5.12, 0.0), (10.0, 4.0), 2.87)
    cloud.level((0.0, 0.0), (5.0, 4.0), 5.4)
    cloud.level((5.12, 0.0), (10.0, 4.0), 5.4)
    # The lower ceiling has a hole from x = 3 to 5.
    cloud.parts[1] = cloud.parts[1][cloud.parts[1][:, 0] < 3.0]
    layering = storeys_of(cloud, tmp_path)
    assert heights(layering) == [pytest.approx((0.0, 2.6), abs=0.003), pytest.approx((2.87, 5.4), abs=0.003)]
    assert layering.storeys[0].top_m == pytest.approx(2.6, abs=0.003)


def test_no_ceiling_no_storey(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.04)
    cloud.level((0.0, 0.0), (10.0, 8.0), 0.0)
    assert storeys_of(cloud, tmp_path).storeys == ()
