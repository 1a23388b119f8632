"""Walls of boxes whose thickness and places are known by construction."""

from pathlib import Path

import numpy as np
import pytest

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.bim.cloud import open_cloud
from services.bim.levels import find_storeys
from services.bim.model import Wall
from services.bim.preprocessing import preprocess
from services.bim.reveals import agreed_m, surely_agreed_m, usual_m
from services.bim.walls import close_walls, find_storey_runs
from tests.services.bim.boxed_cloud import BoxedCloud, Floats, turn_about

FLOOR, CEILING = 0.0, 2.6


def walls_of(cloud: BoxedCloud, folder: Path, turn: Floats | None = None, **settings: float) -> list[Wall]:
    """The walls of the lowest storey; exterior ones without an outer face as thick as the settings say."""
    chosen = BuildingSettings.model_validate(settings)
    working = preprocess(open_cloud(cloud.write(folder, turn)), chosen, Silence())
    runs = find_storey_runs(working, find_storeys(working), 0, chosen, Silence())
    return list(close_walls(runs, None, chosen, Silence()))


def house(spacing_m: float = 0.03) -> BoxedCloud:
    """Outer faces of 10.6 x 6.6 m, 30 cm walls; a 12 cm wall at x = 4 from south to north, a 20 cm one at y = 3 east of it."""
    cloud = BoxedCloud(spacing_m=spacing_m)
    cloud.room((0.0, 0.0), (3.94, 6.0), FLOOR, CEILING)
    cloud.room((4.06, 0.0), (10.0, 2.9), FLOOR, CEILING)
    cloud.room((4.06, 3.1), (10.0, 6.0), FLOOR, CEILING)
    cloud.sides((-0.3, -0.3), (10.3, 6.3), FLOOR - 0.3, CEILING + 0.3)
    return cloud


TRUE_HOUSE = {
    ((-0.15, -0.15), (10.15, -0.15)): 0.30,
    ((10.15, -0.15), (10.15, 6.15)): 0.30,
    ((-0.15, 6.15), (10.15, 6.15)): 0.30,
    ((-0.15, -0.15), (-0.15, 6.15)): 0.30,
    ((4.0, -0.15), (4.0, 6.15)): 0.12,
    ((4.0, 3.0), (10.15, 3.0)): 0.20,
}


def assert_house(walls: list[Wall], turn: Floats | None = None, thickness_m: float = 0.004) -> None:
    back = np.eye(2) if turn is None else turn[:2, :2].T
    assert len(walls) == len(TRUE_HOUSE)
    for ends, thickness in TRUE_HOUSE.items():
        errors = [_end_error_m(back @ wall.start, back @ wall.end, np.array(ends)) for wall in walls]
        nearest = int(np.argmin(errors))
        assert errors[nearest] < 0.005, ends
        assert walls[nearest].thickness_m == pytest.approx(thickness, abs=thickness_m)


def _end_error_m(start: Floats, end: Floats, true: Floats) -> float:
    """The largest coordinate error of two ends, whichever way the wall runs."""
    return min(float(np.abs(np.stack(ends) - true).max()) for ends in ((start, end), (end, start)))


def test_walls_seen_from_both_sides(tmp_path: Path) -> None:
    walls = walls_of(house(), tmp_path)
    assert_house(walls)
    assert all(wall.measured_faces == 2 for wall in walls)
    assert all(wall.base_m == pytest.approx(FLOOR, abs=0.003) for wall in walls)
    assert all(wall.top_m == pytest.approx(CEILING, abs=0.003) for wall in walls)


def test_corners_close_exactly(tmp_path: Path) -> None:
    ends = [tuple(end) for wall in walls_of(house(), tmp_path) for end in (wall.start, wall.end)]
    corners = [end for end in set(ends) if ends.count(end) == 2]
    assert len(corners) == 4


@pytest.mark.parametrize("degrees", [0.4, 23.0, 45.0, 117.0])
def test_a_turned_house_is_no_harder(tmp_path: Path, degrees: float) -> None:
    turn = turn_about(np.array([0.0, 0.0, 1.0]), np.deg2rad(degrees))
    assert_house(walls_of(house(), tmp_path, turn), turn)


def test_the_same_cloud_gives_the_same_walls(tmp_path: Path) -> None:
    one, other = walls_of(house(), tmp_path / "one"), walls_of(house(), tmp_path / "other")
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.start, second.start)
        assert np.array_equal(first.end, second.end)
        assert first.thickness_m == second.thickness_m


def test_furniture_makes_no_walls_and_hides_none(tmp_path: Path) -> None:
    cloud = house()
    cloud.box((0.02, 0.5), (0.6, 3.5), FLOOR, 2.2)
    cloud.box((4.08, 0.02), (7.5, 0.62), FLOOR, 2.3)
    cloud.box((6.0, 4.0), (7.6, 4.8), FLOOR, 0.75)
    cloud.face((2.0, 2.0), (2.0, 2.9), FLOOR, 1.9)
    # What the wardrobes hide.
    for low, high, top in (((-0.02, 0.5), (0.02, 3.5), 2.2), ((4.04, -0.02), (7.5, 0.02), 2.3)):
        cloud.parts = [_without(part, low, high, top) for part in cloud.parts]
    assert_house(walls_of(cloud, tmp_path))


def _without(part: Floats, low: tuple[float, float], high: tuple[float, float], top: float) -> Floats:
    return part[~((part[:, :2] > low).all(1) & (part[:, :2] < high).all(1) & (part[:, 2] < top))]


def test_doors_and_windows_do_not_break_walls(tmp_path: Path) -> None:
    cloud = house()
    cloud.parts = [_without(part, (3.9, 1.0), (4.1, 1.9), 2.05) for part in cloud.parts]
    # Up to the ceiling.
    cloud.parts = [_without(part, (7.0, 2.85), (8.2, 3.15), 2.55) for part in cloud.parts]
    cloud.level((7.0, 2.9), (8.2, 3.1), CEILING)
    cloud.level((7.0, 2.9), (8.2, 3.1), FLOOR)
    assert_house(walls_of(cloud, tmp_path))


def test_exterior_walls_seen_from_inside_get_the_thickness_of_the_settings(tmp_path: Path) -> None:
    cloud = house()
    cloud.parts = cloud.parts[:-4]
    walls = walls_of(cloud, tmp_path, exterior_walls_thickness=0.30)
    assert_house(walls)
    assert sorted(wall.measured_faces for wall in walls) == [1, 1, 1, 1, 2, 2]


def test_a_wall_of_two_thicknesses_is_two_walls(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.03)
    cloud.room((0.0, 0.0), (8.0, 3.0), FLOOR, CEILING)
    cloud.room((0.0, 3.1), (3.9, 6.0), FLOOR, CEILING)
    cloud.room((4.0, 3.25), (8.0, 6.0), FLOOR, CEILING)
    middle = sorted(
        wall.thickness_m
        for wall in walls_of(cloud, tmp_path)
        if abs(wall.direction[0]) > 0.9 and 3.0 < wall.start[1] < 3.2
    )
    assert middle == [pytest.approx(0.10, abs=0.004), pytest.approx(0.25, abs=0.004)]


def test_a_beam_is_no_wall(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.03)
    cloud.room((0.0, 0.0), (8.0, 5.0), FLOOR, CEILING)
    cloud.parts[1] = _without(cloud.parts[1], (3.9, -1.0), (4.1, 6.0), 9.0)
    cloud.face((3.9, 0.0), (3.9, 5.0), CEILING - 0.35, CEILING)
    cloud.face((4.1, 0.0), (4.1, 5.0), CEILING - 0.35, CEILING)
    cloud.level((3.9, 0.0), (4.1, 5.0), CEILING - 0.35)
    assert len(walls_of(cloud, tmp_path)) == 4


def test_a_column_is_no_wall(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.03)
    cloud.room((0.0, 0.0), (8.0, 5.0), FLOOR, CEILING)
    cloud.sides((3.8, 2.3), (4.2, 2.7), FLOOR, CEILING)
    cloud.parts[1] = _without(cloud.parts[1], (3.8, 2.3), (4.2, 2.7), 9.0)
    assert len(walls_of(cloud, tmp_path)) == 4


def test_an_outer_wall_beside_floors_and_ceilings_that_nobody_saw(tmp_path: Path) -> None:
    cloud = house()
    for number in (6, 7, 12, 13):
        hidden = (cloud.parts[number][:, 0] > 8.3) & (np.abs(cloud.parts[number][:, 1] - 3.0) < 1.6)
        cloud.parts[number] = cloud.parts[number][~hidden]
    assert_house(walls_of(cloud, tmp_path))


def test_the_frame_of_a_tall_window_is_no_wall(tmp_path: Path) -> None:
    cloud = house()
    cloud.parts = [_without(part, (9.9, 0.8), (10.4, 2.4), 2.58) for part in cloud.parts]
    cloud.face((10.15, 0.8), (10.15, 2.4), FLOOR, 2.58)
    cloud.level((10.0, 0.8), (10.3, 2.4), FLOOR)
    assert_house(walls_of(cloud, tmp_path))


def test_walls_go_on_along_the_dark_end_of_a_corridor(tmp_path: Path) -> None:
    cloud = BoxedCloud(spacing_m=0.03)
    cloud.room((0.0, 2.92), (12.0, 4.8), FLOOR, CEILING)
    # One saw the corridor's floor and ceiling, and its sides, from 4.5 m on only.
    cloud.parts = [part[part[:, 0] > 4.5] for part in cloud.parts]
    cloud.room((0.0, 0.0), (12.0, 2.8), FLOOR, CEILING)
    cloud.room((0.0, 5.0), (12.0, 8.0), FLOOR, CEILING)
    cloud.sides((-0.3, -0.3), (12.3, 8.3), FLOOR - 0.3, CEILING + 0.3)
    walls = walls_of(cloud, tmp_path)
    inner = sorted(
        (wall for wall in walls if abs(wall.direction[0]) > 0.9 and 1.0 < wall.start[1] < 6.0),
        key=lambda wall: float(wall.start[1]),
    )
    assert len(walls) == 6
    assert [wall.start[1] for wall in inner] == pytest.approx([2.86, 4.9], abs=0.005)
    assert [wall.thickness_m for wall in inner] == pytest.approx([0.12, 0.2], abs=0.004)
    assert [wall.length_m for wall in inner] == pytest.approx([12.3, 12.3], abs=0.01)


def test_reveals_that_fall_short_do_not_agree_by_chance() -> None:
    depths = (0.396, 0.304, 0.268, 0.262, 0.245)
    assert agreed_m(depths) == pytest.approx(0.265)
    assert surely_agreed_m(depths) is None
    assert surely_agreed_m((0.301, 0.296, 0.2)) == pytest.approx(0.2985)
    assert surely_agreed_m((0.42, 0.304, 0.301, 0.299)) == pytest.approx(0.301)
    assert usual_m((0.234, 0.15)) == 0.234
    assert usual_m((0.15,)) is None


def test_the_other_face_of_a_wall_hidden_by_a_full_height_cupboard(tmp_path: Path) -> None:
    cloud = house()
    # North-east room: a cupboard up to the ceiling hides the last two metres of the 20 cm wall, and the ceiling over it.
    cloud.parts = [_without(part, (8.0, 3.08), (10.01, 3.7), 9.0) for part in cloud.parts]
    cloud.face((8.0, 3.7), (10.0, 3.7), FLOOR, CEILING - 0.12)
    cloud.face((8.0, 3.1), (8.0, 3.7), FLOOR, CEILING - 0.12)
    assert_house(walls_of(cloud, tmp_path))
