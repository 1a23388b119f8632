"""Pairs by poses and depth, in rooms where it is known exactly who sees what."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from contracts.errors import ErrorCode, UserError
from services.sfm import pairs_by_pose
from services.sfm.captured import read_manifest
from services.sfm.pairs_by_pose import MIN_OVERLAP, PAIRS_PER_FRAME, choose, overlaps, unique_pairs
from tests.services.sfm.listening import Listener
from tests.services.sfm.textured_rooms import Pinhole, Rectangle, cast, looking, scaled, write_capture

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CAMERA = Pinhole(640, 480, 500.0, 500.0, 320.0, 240.0)
DEPTH_SIZE = (64, 48)
WALKED = 200


def bare(origin: Sequence[float], edge_u: Sequence[float], edge_v: Sequence[float]) -> Rectangle:
    """A surface that nobody looks at but the depth sensor."""
    return Rectangle(
        np.array(origin, float), np.array(edge_u, float), np.array(edge_v, float), np.zeros((2, 2, 3), np.uint8)
    )


WALL = [bare((-20, -20, 0), (40, 0, 0), (0, 40, 0))]
"""z = 0 without end."""


def two_rooms() -> list[Rectangle]:
    """Two rooms of 4 m x 4 m side by side in x, a wall without thickness at x = 4, a doorway for z in 1.5..2.5."""
    outside = [
        bare((0, 0, 0), (8, 0, 0), (0, 2.6, 0)), bare((0, 0, 4), (8, 0, 0), (0, 2.6, 0)),
        bare((0, 0, 0), (0, 0, 4), (0, 2.6, 0)), bare((8, 0, 0), (0, 0, 4), (0, 2.6, 0)),
        bare((0, 0, 0), (8, 0, 0), (0, 0, 4)), bare((0, 2.6, 0), (8, 0, 0), (0, 0, 4)),
    ]  # fmt: skip
    between = [
        bare((4, 0, 0), (0, 0, 1.5), (0, 2.6, 0)),
        bare((4, 0, 2.5), (0, 0, 1.5), (0, 2.6, 0)),
        bare((4, 2.1, 1.5), (0, 0, 1), (0, 0.5, 0)),
    ]
    return outside + between


def views_of(
    folder: Path,
    scene: Sequence[Rectangle],
    poses: Sequence[Floats],
    *,
    cameras: Sequence[Pinhole] | None = None,
    reported: Sequence[Floats] | None = None,
    depth_size_px: tuple[int, int] | None = DEPTH_SIZE,
) -> pairs_by_pose.Views:
    """Written as a capture and read back. `reported`: the phone's own poses, if they are not the true ones."""
    manifest = write_capture(
        folder, scene, poses, cameras or [CAMERA] * len(poses),
        reported=reported, depth_size_px=depth_size_px, draw_pictures=False,
    )  # fmt: skip
    return pairs_by_pose.read_views(folder, manifest, Listener())


def facing_wall(x_m: float, distance_m: float) -> Floats:
    return looking((x_m, 0, distance_m), (x_m, 0, 0))


@pytest.mark.parametrize("shift_m", [0.3, 0.8, 1.4])
def test_overlap_and_parallax_along_a_wall_are_those_of_the_drawing(shift_m: float, tmp_path: Path) -> None:
    distance_m = 2.0
    overlap, parallax = overlaps(
        views_of(tmp_path, WALL, [facing_wall(0, distance_m), facing_wall(shift_m, distance_m)])
    )
    width_m = CAMERA.width_px / CAMERA.fx_px * distance_m
    assert overlap[0, 1] == pytest.approx(1 - shift_m / width_m, abs=1 / 16)
    assert overlap[0, 1] == overlap[1, 0] and overlap[0, 0] == 0
    # Every point that both see, from either place.
    height_m = CAMERA.height_px / CAMERA.fy_px * distance_m
    x, y = np.meshgrid(
        np.linspace(shift_m - width_m / 2, width_m / 2, 101), np.linspace(-height_m / 2, height_m / 2, 101)
    )
    one = np.stack([x, y, np.full_like(x, distance_m)], -1)
    other = np.stack([x - shift_m, y, np.full_like(x, distance_m)], -1)
    cosine = (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)
    assert np.rad2deg(parallax[0, 1]) == pytest.approx(np.rad2deg(np.arccos(cosine).mean()), abs=1.0)


@pytest.mark.parametrize(("nearer_m", "paired"), [(2.0, True), (1.25, False)])
def test_a_surface_seen_much_larger_is_not_the_same_to_sift(nearer_m: float, paired: bool, tmp_path: Path) -> None:
    overlap, _ = overlaps(views_of(tmp_path, WALL, [facing_wall(0, 4.0), facing_wall(0, nearer_m)]))
    # The near picture is a part of the far one: the mean of nearer/farther squared and one.
    assert overlap[0, 1] == pytest.approx(nearer_m / 4.0 if paired else 0, abs=1 / 16)


@pytest.mark.parametrize(("angle_deg", "paired"), [(20, True), (40, True), (75, False), (100, False)])
def test_a_surface_seen_from_another_side_is_not_the_same_to_sift(
    angle_deg: float, paired: bool, tmp_path: Path
) -> None:
    half = np.deg2rad(angle_deg / 2)
    poses = [looking((2 * np.sin(a), 0, 2 * np.cos(a)), (0, 0, 0)) for a in (-half, half)]
    overlap, parallax = overlaps(views_of(tmp_path, WALL, poses))
    assert (overlap[0, 1] > MIN_OVERLAP) == paired
    if paired:
        assert np.rad2deg(parallax[0, 1]) == pytest.approx(angle_deg, abs=6)


def test_each_frame_has_its_own_focal_length(tmp_path: Path) -> None:
    zoomed = Pinhole(640, 480, 1000.0, 1000.0, 320.0, 240.0)
    pose = facing_wall(0, 2)
    overlap, _ = overlaps(views_of(tmp_path, WALL, [pose, pose], cameras=[CAMERA, zoomed]))
    assert overlap[0, 1] == pytest.approx(0.5, abs=1 / 16)


def test_a_second_look_from_the_same_place_shows_the_same(tmp_path: Path) -> None:
    """Down to the floor, whose depth changes from row to row, and into a corner, where it changes along them."""
    poses = [looking((2.0, 1.5, 2.0), (0.6, 0.4, 0.2))] * 2
    overlap, parallax = overlaps(views_of(tmp_path, two_rooms(), poses))
    assert overlap[0, 1] == pytest.approx(1)
    assert parallax[0, 1] == pytest.approx(0, abs=1e-6)


def test_back_to_back_shares_nothing(tmp_path: Path) -> None:
    at = (2.0, 1.4, 2.0)
    poses = [looking(at, (2.0, 1.4, 0.0)), looking(at, (2.0, 1.4, 4.0))]
    for size in (DEPTH_SIZE, None):
        overlap, _ = overlaps(views_of(tmp_path, two_rooms(), poses, depth_size_px=size))
        assert overlap[0, 1] == 0


def test_what_is_behind_a_camera_is_not_in_front_of_it(tmp_path: Path) -> None:
    """In the middle of a corridor both walls are as far away."""
    corridor = [*WALL, bare((-20, -20, 2), (40, 0, 0), (0, 40, 0))]
    overlap, _ = overlaps(views_of(tmp_path, corridor, [looking((0, 0, 1), (0, 0, 0)), looking((0, 0, 1), (0, 0, 2))]))
    assert overlap[0, 1] == 0


def test_depth_tells_what_is_behind_a_wall(tmp_path: Path) -> None:
    """One looks at the wall between the rooms; the other, just behind that wall, the same way into the next room."""
    poses = [looking((3.0, 1.4, 3.2), (8.0, 1.4, 3.2)), looking((4.2, 1.4, 3.2), (8.0, 1.4, 3.2))]
    overlap, _ = overlaps(views_of(tmp_path / "lidar", two_rooms(), poses))
    assert overlap[0, 1] == 0
    guessed, _ = overlaps(views_of(tmp_path / "none", two_rooms(), poses, depth_size_px=None))
    assert guessed[0, 1] > 2 * MIN_OVERLAP


def test_the_two_faces_of_one_wall_are_two_surfaces(tmp_path: Path) -> None:
    poses = [looking((2.6, 1.4, 3.2), (8.0, 1.4, 3.2)), looking((5.4, 1.4, 3.2), (0.0, 1.4, 3.2))]
    overlap, _ = overlaps(views_of(tmp_path, two_rooms(), poses))
    assert overlap[0, 1] == 0


def test_through_the_doorway_is_seen(tmp_path: Path) -> None:
    poses = [looking((2.5, 1.4, 2.0), (8.0, 1.4, 2.0)), looking((4.6, 1.4, 2.0), (8.0, 1.4, 2.0))]
    overlap, _ = overlaps(views_of(tmp_path, two_rooms(), poses))
    assert overlap[0, 1] > MIN_OVERLAP


def test_a_place_is_known_again_through_the_drift_of_the_track(tmp_path: Path) -> None:
    true = [looking((1.5, 1.4, 2.0), (1.0, 1.2, 0.0)), looking((1.9, 1.4, 2.2), (1.3, 1.2, 0.0))]
    drifted = true[1].copy()
    drifted[:3, :3] = Rotation.from_euler("y", 1.5, degrees=True).as_matrix() @ drifted[:3, :3]
    drifted[:3, 3] += (0.05, 0.02, -0.06)
    exact, _ = overlaps(views_of(tmp_path / "a", two_rooms(), true))
    found, _ = overlaps(views_of(tmp_path / "b", two_rooms(), true, reported=[true[0], drifted]))
    assert found[0, 1] == pytest.approx(exact[0, 1], abs=0.15)
    assert found[0, 1] > 0.5
    # A wall at arm's length, and a track that has drifted by 9 cm towards it.
    near = [facing_wall(0, 0.8), facing_wall(0.1, 0.8)]
    overlap, _ = overlaps(views_of(tmp_path / "c", WALL, near, reported=[near[0], facing_wall(0.1, 0.71)]))
    assert overlap[0, 1] > 0.7


def test_overlap_does_not_depend_on_where_the_phone_began(tmp_path: Path) -> None:
    poses = [looking((1.5 + 0.3 * i, 1.4, 2.0), (1.0 + 0.9 * i, 1.2, 0.0)) for i in range(5)]
    elsewhere = np.eye(4)
    elsewhere[:3, :3] = Rotation.from_euler("y", 123, degrees=True).as_matrix()
    elsewhere[:3, 3] = (50, -3, 7)
    moved = [elsewhere @ pose for pose in poses]
    here, parallax_here = overlaps(views_of(tmp_path / "a", two_rooms(), poses))
    there, parallax_there = overlaps(views_of(tmp_path / "b", two_rooms(), poses, reported=moved))
    assert np.abs(here - there).max() < 0.02
    assert np.abs(parallax_here - parallax_there).max() < 0.01


@dataclass(frozen=True)
class Tour:
    """Twice around both rooms, looking about; the second lap on the same path as the first, ten degrees turned."""

    overlap: Floats
    pairs: NDArray[np.int64]
    shared: Floats
    """True share of each other's pictures, (n, n), geometric mean of both ways: line of sight, whatever the angle."""


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    poses = []
    for frame in range(WALKED):
        lap, u = divmod(2 * frame / WALKED, 1)
        x = 4 - 2.6 * np.cos(2 * np.pi * u)
        z = 2 + 1.1 * np.sin(4 * np.pi * u)
        yaw = 5 * np.pi * u + 0.5 * np.sin(9 * u) + np.deg2rad(10) * lap
        poses.append(looking((x, 1.45, z), (x + np.cos(yaw), 1.3, z + np.sin(yaw))))
    scene = two_rooms()
    views = views_of(tmp_path_factory.mktemp("tour"), scene, poses)
    overlap, parallax = overlaps(views)
    return Tour(overlap, choose(overlap, parallax, PAIRS_PER_FRAME), truly_shared(scene, poses))


def truly_shared(scene: Sequence[Rectangle], poses: Sequence[Floats]) -> Floats:
    """By lines of sight between 12 x 9 points of each picture and every camera; knows nothing of depth maps."""
    small = scaled(CAMERA, 12, 9)
    v, u = np.mgrid[0:9, 0:12] + 0.5
    rays = np.stack([(u - small.cx_px) / small.fx_px, (v - small.cy_px) / small.fy_px, np.ones_like(u)], -1)
    one_way = np.zeros((len(poses), len(poses)))
    eyes = np.stack([pose[:3, 3] for pose in poses])
    for index, pose in enumerate(poses):
        _, depth = cast(scene, small, pose)
        points = ((rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]).reshape(-1, 3)
        local = np.einsum("nji,npj->npi", np.stack(poses)[:, :3, :3], points - eyes[:, None])
        z = np.maximum(local[..., 2], 1e-9)
        pixels = local[..., :2] / z[..., None] * (CAMERA.fx_px, CAMERA.fy_px) + (CAMERA.cx_px, CAMERA.cy_px)
        seen = (local[..., 2] > 0) & (pixels > 0).all(-1) & (pixels < (CAMERA.width_px, CAMERA.height_px)).all(-1)
        camera, point = np.nonzero(seen)
        seen[camera, point] = ~_blocked(scene, eyes[camera], points[point])
        one_way[index] = seen.mean(axis=1)
    shared = np.sqrt(one_way * one_way.T)
    np.fill_diagonal(shared, 0)
    return np.asarray(shared)


def _blocked(scene: Sequence[Rectangle], eyes: Floats, points: Floats) -> Bools:
    way = points - eyes
    blocked = np.zeros(way.shape[:-1], bool)
    for face in scene:
        normal = np.cross(face.edge_u_m, face.edge_v_m)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = ((face.origin_m - eyes) @ normal) / (way @ normal)
        crossing = eyes + np.where(np.isfinite(share), share, -1)[..., None] * way - face.origin_m
        s = crossing @ face.edge_u_m / (face.edge_u_m @ face.edge_u_m)
        t = crossing @ face.edge_v_m / (face.edge_v_m @ face.edge_v_m)
        blocked |= (share > 1e-6) & (share < 1 - 1e-6) & (s > 0) & (s < 1) & (t > 0) & (t < 1)
    return blocked


def test_a_walk_has_many_times_fewer_pairs_than_all(tour: Tour) -> None:
    everything = WALKED * (WALKED - 1) // 2
    assert everything / len(tour.pairs) >= 8
    assert len(tour.pairs) > 2 * WALKED


def test_what_is_paired_sees_the_same_surfaces(tour: Tour) -> None:
    first, second = tour.pairs.T
    apart = second - first > pairs_by_pose.FRAMES_NEAR_IN_TIME
    truth = tour.shared[first, second][apart]
    assert truth.min() > 0.05
    assert np.median(truth) > 0.3
    assert tour.overlap[tour.shared == 0].max() < 0.05
    # Of what is truly seen it leaves out what is seen from too far aside or too much larger, and adds nothing.
    assert (tour.overlap - tour.shared).max() < 0.25


def test_every_frame_is_tied_to_its_other_visit_and_all_hang_together(tour: Tour) -> None:
    first, second = tour.pairs.T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(WALKED, WALKED))
    parts, _ = connected_components(graph, directed=False)
    assert parts == 1
    lap = WALKED // 2
    across = (first < lap) & (second >= lap)
    tied = np.union1d(first[across], second[across])
    # Of all whose place is seen again in the other lap.
    half = tour.shared.copy()
    half[:lap, :lap] = half[lap:, lap:] = 0
    revisited = np.flatnonzero(half.max(axis=1) > 0.5)
    assert len(revisited) > 0.9 * WALKED
    assert np.isin(revisited, tied).mean() > 0.98


def test_frames_near_in_time_are_always_compared(tour: Tour) -> None:
    found = set(map(tuple, tour.pairs.tolist()))
    for step in range(1, pairs_by_pose.FRAMES_NEAR_IN_TIME + 1):
        assert all((frame, frame + step) in found for frame in range(WALKED - step))


@pytest.mark.parametrize(("size", "error_m"), [(DEPTH_SIZE, 0.002), ((256, 192), 0.009)])
def test_points_lie_on_what_was_measured(size: tuple[int, int], error_m: float, tmp_path: Path) -> None:
    """A wall seen aslant. A pixel of 256 x 192 is an eighth of a pixel of 64 x 48 off the middle of that: 5 mm here."""
    poses = [looking((0, 0, 1.5), (1.2, 0.1, 0)), looking((0, 0, 1.5), (-1, -0.8, 0))]
    views = views_of(tmp_path, WALL, poses, depth_size_px=size)
    assert views.depth_m.shape == (2, *DEPTH_SIZE[::-1])
    assert np.all(views.weights == 1)
    assert np.abs(views.points_m[..., 2]).max() < error_m
    known = np.abs(views.normals).sum(axis=-1) > 0
    assert known.mean() > 0.9
    assert np.rad2deg(np.arccos(views.normals[known][:, 2].clip(-1, 1))).max() < 5


def test_holes_in_the_depth_count_for_nothing(tmp_path: Path) -> None:
    poses = [facing_wall(0, 2), facing_wall(0.3, 2)]
    folder = tmp_path
    whole, _ = overlaps(views_of(folder, WALL, poses))
    depth = cv2.imread(str(folder / "depth" / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert depth is not None
    depth[:, :32] = 0
    cv2.imwrite(str(folder / "depth" / "000001.png"), depth)
    views = pairs_by_pose.read_views(folder, read_manifest(folder), Listener())
    assert np.count_nonzero(views.weights[0]) == views.weights.shape[1] // 2
    assert not np.any(views.normals[0][views.weights[0] == 0])
    torn, _ = overlaps(views)
    # The right half is seen by the other wholly; the other's points that fall into the hole are not refuted by it.
    assert whole[0, 1] == pytest.approx(1 - 0.3 / 2.56, abs=1 / 16)
    assert torn[0, 1] == pytest.approx(np.sqrt(1 - 0.3 / 2.56), abs=1 / 16)


def test_a_frame_without_depth_takes_surfaces_to_be_some_way_off(tmp_path: Path) -> None:
    views = views_of(tmp_path, WALL, [facing_wall(0, 2), facing_wall(0.5, 2)], depth_size_px=None)
    assert np.all(views.z_m == pairs_by_pose.DEFAULT_DEPTH_M)
    assert np.all(views.weights == 1) and not np.any(views.normals)
    overlap, _ = overlaps(views)
    assert overlap[0, 1] == pytest.approx(1 - 0.5 / (1.28 * pairs_by_pose.DEFAULT_DEPTH_M), abs=1 / 16)


def test_depth_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    views_of(tmp_path, WALL, [facing_wall(0, 2), facing_wall(0.5, 2)])
    (tmp_path / "depth" / "000002.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"depth/000002\.png") as error:
        pairs_by_pose.read_views(tmp_path, read_manifest(tmp_path), Listener())
    assert error.value.code is ErrorCode.INVALID_DEPTH


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 8), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_choice_is_bounded_and_ordered(count: int, per_frame: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    overlap = rng.uniform(0, 1, (count, count)) * (rng.uniform(0, 1, (count, count)) < density)
    overlap = np.triu(overlap, 1) + np.triu(overlap, 1).T
    parallax = np.triu(rng.uniform(0, 0.5, (count, count)), 1)
    found = choose(overlap, parallax + parallax.T, per_frame)
    first, second = found.T
    assert np.all(first < second) and np.array_equal(found, np.unique(found, axis=0))
    assert second.max(initial=0) < count and first.min(initial=0) >= 0
    near = pairs_by_pose.FRAMES_NEAR_IN_TIME
    assert len(found) <= count * (per_frame + near)
    assert np.sum(second - first <= near) == sum(max(0, count - step) for step in range(1, near + 1))
    assert np.all(overlap[first, second][second - first > near] >= MIN_OVERLAP)
    # Nobody who sees others goes without them.
    for frame in range(count):
        apart = np.abs(np.arange(count) - frame) > near
        if per_frame and np.any(overlap[frame][apart] >= MIN_OVERLAP):
            mine = found[(found == frame).any(axis=1)]
            assert np.any(mine[:, 1] - mine[:, 0] > near)


def test_parallax_is_preferred_to_a_look_from_the_same_place() -> None:
    overlap, parallax = np.zeros((30, 30)), np.zeros((30, 30))
    overlap[0, [10, 20]] = 0.9, 0.7
    parallax[0, [10, 20]] = 0, pairs_by_pose.GOOD_PARALLAX_RAD
    apart = [pair for pair in choose(overlap, parallax, 1).tolist() if pair[1] - pair[0] > 2]
    assert apart == [[0, 20]]


def test_partners_are_spread_over_the_walk() -> None:
    """Frame 0 sees a long stretch of neighbours well and one other place a little less: both are taken."""
    overlap = np.zeros((60, 60))
    overlap[0, 20:26] = 0.8
    overlap[0, 50] = 0.5
    mine = [
        second for first, second in choose(overlap, np.full((60, 60), 0.2), 4).tolist() if first == 0 and second > 2
    ]
    assert mine == [20, 22, 24, 50]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_each_unordered_pair_comes_once(pairs: list[tuple[int, int]]) -> None:
    found = unique_pairs(np.array(pairs, np.int64).reshape(-1, 2))
    assert [tuple(pair) for pair in found.tolist()] == sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    assert found.dtype == np.int64 and found.shape[1:] == (2,)
