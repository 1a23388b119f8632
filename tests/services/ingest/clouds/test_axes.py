"""Units, degenerate clouds, the axis that points up, and the distance between points."""

from pathlib import Path

import numpy as np
import pytest

from services.ingest.clouds.axes import find_up_axis
from services.ingest.clouds.extent import find_degeneracy, is_in_millimetres
from services.ingest.clouds.spacing import measure_spacing
from tests.services.ingest.clouds.cloud_files import Floats, room

Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def boxes(*placed: tuple[tuple[float, float, float], tuple[float, float, float]], seed: int = 0) -> Floats:
    """Rooms of given sizes at given corners, 200 points a square metre at most."""
    parts = []
    for number, (size, corner) in enumerate(placed):
        x, y, z = size
        count = int(min(200 * 2 * (x * y + x * z + y * z), 15_000))
        parts.append(room(count, size, 0.0, 0.004, seed + number) + np.array(corner))
    return np.concatenate(parts)


def turned(points: Floats, heading_rad: float) -> Floats:
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    return np.asarray(points @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]))


def gabled_house(ground_m: float) -> Floats:
    """The outside of a house 12 x 9 m with a steep roof, its ridge along y; with a strip of ground around it."""
    rng = np.random.default_rng(2)
    parts = []
    for sign in (-1, 1):
        n = 20_000
        parts.append(np.column_stack([np.full(n, sign * 4.5), rng.uniform(0, 12, n), rng.uniform(0, 3, n)]))
        across = rng.uniform(0, 4.5, n)
        parts.append(np.column_stack([sign * across, rng.uniform(0, 12, n), 3 + (4.5 - across) * 1.2]))
        x = rng.uniform(-4.5, 4.5, n)
        z = rng.uniform(0, 1, n) * (3 + (4.5 - np.abs(x)) * 1.2)
        parts.append(np.column_stack([x, np.full(n, 6 + sign * 6.0), z]))
    if ground_m:
        n = 30_000
        ground = np.column_stack(
            [rng.uniform(-4.5 - ground_m, 4.5 + ground_m, n), rng.uniform(-ground_m, 12 + ground_m, n), np.zeros(n)]
        )
        parts.append(ground[(np.abs(ground[:, 0]) > 4.5) | (ground[:, 1] < 0) | (ground[:, 1] > 12)])
    points = np.concatenate(parts)
    return np.asarray(points + rng.normal(0, 0.005, points.shape))


FLAT = boxes(
    ((5.0, 4.0, 2.6), (0.0, 0.0, 0.0)), ((3.0, 4.0, 2.6), (5.1, 0.0, 0.0)), ((8.1, 1.4, 2.6), (0.0, 4.1, 0.0)),
    ((4.0, 3.5, 2.6), (0.0, 5.6, 0.0)), ((4.0, 3.5, 2.6), (4.1, 5.6, 0.0)),
)  # fmt: skip
TWO_STOREYS = np.concatenate([FLAT, FLAT + np.array([0, 0, 2.9])])
CASES = {
    "flat": FLAT,
    "two storeys": TWO_STOREYS,
    "room": boxes(((4.0, 3.0, 2.5), (0.0, 0.0, 0.0))),
    "hall": boxes(((40.0, 25.0, 9.0), (0.0, 0.0, 0.0))),
    "corridor": boxes(((1.5, 25.0, 2.6), (0.0, 0.0, 0.0))),
    "stairwell": boxes(((2.5, 5.0, 11.0), (0.0, 0.0, 0.0))),
    "tall narrow house": boxes(*[((4.4, 9.0, 2.5), (0.0, 0.0, 2.8 * storey)) for storey in range(3)]),
    "floor and walls only": FLAT[FLAT[:, 2] < 2.3],
    "in its garden": np.concatenate(
        [TWO_STOREYS + np.array([0, 0, 0.4]), boxes(((40.0, 40.0, 0.0), (-15.0, -15.0, 0.0)))]
    ),
}


@pytest.mark.parametrize("heading_deg", [0, 12, 45, 137])
@pytest.mark.parametrize("case", CASES)
def test_clouds_with_z_up_stay_as_they_are(case: str, heading_deg: float) -> None:
    points = turned(CASES[case], np.radians(heading_deg))
    assert not find_up_axis(points.astype(np.float32)).is_y


@pytest.mark.parametrize("ground_m", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("heading_deg", [0, 20, 90])
def test_roofs_are_not_taken_for_walls(ground_m: float, heading_deg: float) -> None:
    points = turned(gabled_house(ground_m), np.radians(heading_deg))
    assert not find_up_axis(points.astype(np.float32)).is_y


@pytest.mark.parametrize("heading_deg", [15, 110])
@pytest.mark.parametrize(
    "case", ["flat", "two storeys", "room", "hall", "corridor", "floor and walls only", "in its garden"]
)
def test_clouds_of_phones_are_found_to_have_y_up(case: str, heading_deg: float) -> None:
    points = turned(CASES[case], np.radians(heading_deg)) @ Y_UP_FROM_Z_UP.T
    found = find_up_axis(points.astype(np.float32))
    assert found.is_y, found.evidence


@pytest.mark.parametrize("heading_deg", [0, 2, 90])
def test_a_flat_on_its_side_is_found_along_the_axes_too(heading_deg: float) -> None:
    points = turned(FLAT, np.radians(heading_deg))
    assert find_up_axis((points @ Y_UP_FROM_Z_UP.T).astype(np.float32)).is_y
    standing = find_up_axis(points.astype(np.float32))
    assert (standing.is_y, standing.may_be_y) == (False, False)


def test_a_flat_without_ceilings_along_the_axes_is_left_with_a_doubt() -> None:
    found = find_up_axis((CASES["floor and walls only"] @ Y_UP_FROM_Z_UP.T).astype(np.float32))
    assert (found.is_y, found.may_be_y) == (False, True)


def test_a_facade_along_the_axes_stands() -> None:
    """20 m wide and 9 m high, with balconies 1.5 m deep before it and a strip of the street."""
    balconies = [((4.0, 1.5, 1.1), (3.0 + 7 * column, -1.5, 2.8 + 3 * row)) for column in range(2) for row in range(2)]
    street = ((20.0, 3.0, 0.0), (0.0, -3.0, 0.0))
    points = boxes(((20.0, 0.0, 9.0), (0.0, 0.0, 0.0)), street, *balconies)
    assert not find_up_axis(points.astype(np.float32)).is_y


def test_a_room_along_the_axes_could_be_either_and_stays() -> None:
    assert not find_up_axis((CASES["room"] @ Y_UP_FROM_Z_UP.T).astype(np.float32)).is_y


@pytest.mark.parametrize("seed", range(5))
def test_clouds_without_surfaces_stay_as_they_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert not find_up_axis(rng.normal(0, 5, (20_000, 3)).astype(np.float32)).is_y
    assert not find_up_axis(np.zeros((2000, 3), np.float32)).is_y
    assert not find_up_axis(rng.normal(0, 5, (5, 3)).astype(np.float32)).is_y


@pytest.mark.parametrize("decimals", [0, 1, 3])
def test_buildings_in_millimetres_are_told(decimals: int) -> None:
    assert is_in_millimetres((FLAT * 1000).round(decimals).astype(np.float32))


def test_one_low_room_in_whole_millimetres_is_told() -> None:
    assert is_in_millimetres((boxes(((1.5, 1.2, 0.9), (0, 0, 0))) * 1000).round().astype(np.float32))


@pytest.mark.parametrize("case", CASES)
def test_buildings_in_metres_are_not_taken_for_millimetres(case: str) -> None:
    assert not is_in_millimetres(CASES[case].astype(np.float32))
    assert not is_in_millimetres(CASES[case].round(0).astype(np.float32))


def test_strays_do_not_make_millimetres() -> None:
    points = FLAT.astype(np.float32)
    points[:: len(points) // 50] *= 10_000
    assert not is_in_millimetres(points)


def test_terrain_in_metres_is_not_taken_for_millimetres() -> None:
    x, y = np.meshgrid(np.arange(0, 2000, 10), np.arange(0, 2000, 10))
    z = np.round(100 * np.sin(x / 300) + 100 * np.cos(y / 200))
    assert not is_in_millimetres(np.column_stack([x.ravel(), y.ravel(), z.ravel()]).astype(np.float32))


def random_turn(seed: int) -> Floats:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(0, 1, (3, 3)))
    return np.asarray(turn)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("size", "found"),
    [
        ((8.0, 5.0, 0.0), "on one plane"),
        ((8.0, 0.0, 0.0), "on one line"),
        ((0.0, 0.0, 0.0), "of one place"),
        ((0.3, 0.2, 0.25), "of each other"),
    ],
)
def test_planes_lines_and_places_are_told_whatever_their_direction(
    size: tuple[float, float, float], found: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (5000, 3)) * size + rng.normal(0, 0.004, (5000, 3))
    points[:20] += rng.normal(0, 20, (20, 3))
    told = find_degeneracy((points @ random_turn(seed)).astype(np.float32))
    assert told is not None
    assert found in told


@pytest.mark.parametrize("case", CASES)
def test_buildings_are_not_degenerate(case: str) -> None:
    assert find_degeneracy(CASES[case].astype(np.float32)) is None


def test_a_facade_with_a_little_relief_is_not_degenerate() -> None:
    wall = boxes(((12.0, 0.25, 6.0), (0, 0, 0)))
    assert find_degeneracy(wall.astype(np.float32)) is None


def grid_room(step_m: float) -> Floats:
    """Points at exactly `step_m` from each other on the faces of a box."""
    parts = []
    size = np.array([6.0, 4.0, 2.4])
    for axis in range(3):
        a, b = (other for other in range(3) if other != axis)
        u, v = np.meshgrid(
            np.arange(step_m, size[a] - step_m / 2, step_m), np.arange(step_m, size[b] - step_m / 2, step_m)
        )
        for side in (0.0, size[axis]):
            face = np.empty((u.size, 3))
            face[:, a], face[:, b], face[:, axis] = u.ravel(), v.ravel(), side
            parts.append(face)
    return np.concatenate(parts)


def spacing_of(points: Floats, folder: Path, sample_points: int = 20_000) -> float:
    stored = points.astype(np.float32)
    np.save(folder / "points.npy", stored)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(stored), min(sample_points, len(stored)), replace=False))
    return measure_spacing(folder / "points.npy", len(stored), stored[chosen])


@pytest.mark.parametrize("step_m", [0.01, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("shuffled", [False, True])
def test_the_spacing_of_a_grid_is_its_step(step_m: float, shuffled: bool, tmp_path: Path) -> None:
    points = turned(grid_room(step_m), 0.3)
    if shuffled:
        points = np.random.default_rng(1).permutation(points)
    assert spacing_of(points, tmp_path) == pytest.approx(step_m, rel=0.01)


def test_the_spacing_is_that_of_all_points_and_not_of_the_sample(tmp_path: Path) -> None:
    points = grid_room(0.01)
    assert spacing_of(points, tmp_path, 3000) == pytest.approx(0.01, rel=0.01)


def test_copies_of_points_do_not_count(tmp_path: Path) -> None:
    assert spacing_of(np.tile(grid_room(0.03), (3, 1)), tmp_path) == pytest.approx(0.03, rel=0.01)


def test_random_points_are_half_a_step_apart(tmp_path: Path) -> None:
    # The nearest of points with density d on a plane is at sqrt(ln 2 / (pi d)) in the median (Clark and Evans, 1954).
    points = room(300_000, (6.0, 4.0, 2.4), noise_m=0.0)
    expected = np.sqrt(np.log(2) / np.pi / (300_000 / 96))
    assert spacing_of(points, tmp_path) == pytest.approx(expected, rel=0.1)


def test_surfaces_weigh_by_their_area_and_not_by_their_points(tmp_path: Path) -> None:
    coarse = grid_room(0.04)
    fine = grid_room(0.005)
    corner = fine[(fine[:, 0] < 1.5) & (fine[:, 1] < 1.5)]
    rest = coarse[(coarse[:, 0] >= 1.5) | (coarse[:, 1] >= 1.5)]
    assert len(corner) > 5 * len(rest)
    assert spacing_of(np.concatenate([corner, rest]), tmp_path) == pytest.approx(0.04, rel=0.05)


def test_few_or_equal_points_have_a_spacing_too(tmp_path: Path) -> None:
    assert spacing_of(np.zeros((5, 3)), tmp_path) == 0
    assert 0 <= spacing_of(np.zeros((2000, 3)), tmp_path) < 1e-3
