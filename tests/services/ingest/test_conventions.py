from typing import Literal

import numpy as np
import pytest

from contracts.captures import ConventionEvidence
from services.ingest import conventions
from services.ingest.conventions import DepthSource, GreyFrame
from tests.services.ingest import box_room
from tests.services.ingest.box_room import ARKIT_FROM_OPENCV, DEPTH_VIEW, FloatArray, View

Axes = Literal["opencv", "arkit"]
BOTH: tuple[Axes, Axes] = ("opencv", "arkit")
VIEW = View(160, 120, 120.0)
GREY_PX = (120.0, 120.0, 80.0, 60.0)


def written(poses: FloatArray, axes: Axes) -> FloatArray:
    return poses @ ARKIT_FROM_OPENCV if axes == "arkit" else poses


def decide(
    poses: FloatArray,
    axes: Axes,
    *,
    depth: bool = True,
    noise: bool = False,
    greys: bool = False,
    fps: float = 10.0,
    lag_frames: int = 0,
) -> ConventionEvidence:
    rng = np.random.default_rng(1) if noise else None
    count = len(poses)
    maps = {row: box_room.depth_mm(poses[max(0, row - lag_frames)], DEPTH_VIEW, rng) for row in range(count)}
    focal, width, height = DEPTH_VIEW.focal_px, DEPTH_VIEW.width_px, DEPTH_VIEW.height_px
    source = DepthSource(range(count), maps.get, (focal, focal, width / 2, height / 2)) if depth else None
    pictures = [
        GreyFrame(row, np.asarray(box_room.picture(poses[row], VIEW).mean(axis=-1), dtype=np.uint8))
        for row in range(0, count, 3)
    ]
    return conventions.detect(written(poses, axes), np.arange(count) / fps, source, pictures if greys else [], GREY_PX)


@pytest.mark.parametrize("axes", BOTH)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [False, True])
def test_depth_tells_the_axes_on_a_handheld_sweep(axes: Axes, seed: int, noise: bool) -> None:
    evidence = decide(box_room.handheld(40, seed=seed), axes, noise=noise)
    assert (evidence.axes, evidence.decided_by) == (axes, "depth")
    assert evidence.residual_m is not None
    assert evidence.rejected_residual_m is not None
    # Exact depth disagrees by less than a depth pixel's footprint; 1 % noise at 2 to 3 m adds 2 cm or so.
    assert evidence.residual_m < (0.04 if noise else 0.02)
    assert evidence.rejected_residual_m > 3 * evidence.residual_m


@pytest.mark.parametrize("axes", BOTH)
@pytest.mark.parametrize("roll_rad", [0.0, np.pi / 2, -np.pi / 2, np.pi])
def test_depth_tells_the_axes_however_the_phone_is_held(axes: Axes, roll_rad: float) -> None:
    evidence = decide(box_room.handheld(40, roll_rad=roll_rad), axes, noise=True)
    assert (evidence.axes, evidence.decided_by) == (axes, "depth")


@pytest.mark.parametrize("axes", BOTH)
def test_a_few_degrees_of_rotation_are_enough(axes: Axes) -> None:
    poses = box_room.handheld(40, yaw_range_rad=np.deg2rad(4), shake_rad=np.deg2rad(0.5))
    poses[:, :3, 3] *= 0.1
    evidence = decide(poses, axes, noise=True)
    assert (evidence.axes, evidence.decided_by) == (axes, "depth")


@pytest.mark.parametrize("axes", BOTH)
def test_a_single_plane_is_enough(axes: Axes) -> None:
    """A wall that fills the view, seen while turning and walking towards it."""
    poses = box_room.handheld(40, yaw_range_rad=0.15)
    poses[:, :3, 3] = np.array([0.0, 0.0, -1.2]) + poses[:, :3, 3] * (0.2, 1.0, 0.6)
    # No other wall is in view: every ray ends on z = LOW.
    for each in poses:
        _, points = box_room.hits(each, DEPTH_VIEW)
        assert (np.abs(points[..., 2] - box_room.LOW_M[2]) < 1e-6).mean() > 0.95
    evidence = decide(poses, axes, noise=True)
    assert (evidence.axes, evidence.decided_by) == (axes, "depth")


@pytest.mark.parametrize("axes", BOTH)
def test_poses_that_are_late_by_a_frame_do_not_mislead(axes: Axes) -> None:
    evidence = decide(box_room.handheld(60), axes, noise=True, lag_frames=1)
    assert (evidence.axes, evidence.decided_by) == (axes, "depth")


@pytest.mark.parametrize("axes", BOTH)
@pytest.mark.parametrize("roll_rad", [0.0, np.pi / 2])
def test_pictures_tell_the_axes_without_depth(axes: Axes, roll_rad: float) -> None:
    evidence = decide(box_room.handheld(60, roll_rad=roll_rad), axes, depth=False, greys=True)
    assert (evidence.axes, evidence.decided_by) == (axes, "motion")


@pytest.mark.parametrize("axes", BOTH)
def test_upright_tells_the_axes_without_depth_and_pictures(axes: Axes) -> None:
    evidence = decide(box_room.handheld(30), axes, depth=False)
    assert (evidence.axes, evidence.decided_by) == (axes, "gravity")


@pytest.mark.parametrize("axes", BOTH)
def test_a_phone_at_rest_in_portrait_is_left_undecided(axes: Axes) -> None:
    still = np.repeat(box_room.handheld(1, roll_rad=np.pi / 2, shake_rad=0.0), 30, axis=0)
    evidence = decide(still, axes, noise=True, greys=True)
    assert (evidence.axes, evidence.decided_by) == ("opencv", "default")


@pytest.mark.parametrize("axes", BOTH)
def test_motion_that_both_conventions_predict_alike_is_not_decided_by_depth(axes: Axes) -> None:
    poses = np.tile(np.eye(4), (40, 1, 1))
    poses[:, :3, :3] = box_room.upright(0.0)
    poses[:, 0, 3] = np.linspace(0, 1, 40)
    assert decide(poses, axes, noise=True).decided_by == "gravity"


@pytest.mark.parametrize("axes", BOTH)
def test_conversion_gives_opencv_cameras_as_matrix_and_as_quaternion(axes: Axes) -> None:
    poses = box_room.handheld(10, seed=4, roll_rad=0.7)
    as_written = written(poses, axes)
    quaternions = np.array([box_room.quaternion_xyzw(each[:3, :3]) for each in as_written])
    converted = conventions.world_from_camera(as_written[:, :3, 3], quaternions, axes)
    np.testing.assert_allclose(converted, poses, atol=1e-12)
    for i in range(10):
        pose = conventions.pose(as_written[i, :3, 3], quaternions[i], axes)
        again = conventions.matrices(np.array([pose.position_m]), np.array([pose.quaternion_xyzw]))[0]
        np.testing.assert_allclose(again, poses[i], atol=1e-12)
