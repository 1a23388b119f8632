"""The judge must be right: known errors are put in and must come out."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from samples.evaluate import pose_errors, rigid_alignment, rotation_angles_deg
from samples.truth import CaptureTruth

Floats = NDArray[np.float64]


def moved(truth: CaptureTruth, scale: float) -> dict[str, Floats]:
    """The truth in another world: turned about the vertical, shifted and scaled."""
    turn = Rotation.from_euler("y", 1.1).as_matrix()
    result = {}
    for frame in truth.frames:
        pose = frame.pose()
        pose[:3, 3] = scale * turn @ pose[:3, 3] + [3.0, -1.0, 7.0]
        pose[:3, :3] = turn @ pose[:3, :3]
        result[frame.name] = pose
    return result


def test_a_rigidly_moved_truth_has_no_error(capture_truth: CaptureTruth) -> None:
    errors = pose_errors(moved(capture_truth, 1.0), capture_truth)
    assert errors.max_m < 1e-12
    assert errors.scale_error < 1e-9
    assert errors.rotation_error_deg.max() < 1e-6
    assert errors.gravity_error_deg < 1e-5
    assert errors.registered_share == 1


def test_scale_is_never_fitted_away(capture_truth: CaptureTruth) -> None:
    errors = pose_errors(moved(capture_truth, 1.04), capture_truth)
    assert errors.scale == pytest.approx(1.04)
    centres = np.array([frame.pose()[:3, 3] for frame in capture_truth.frames])
    spread = np.linalg.norm(centres - centres.mean(axis=0), axis=1)
    assert errors.centre_error_m == pytest.approx(0.04 * spread)
    assert errors.centre_error_scaled_m.max() < 1e-12


def test_rotation_and_gravity_errors_are_seen(capture_truth: CaptureTruth) -> None:
    estimate = moved(capture_truth, 1.0)
    first = capture_truth.frames[0].name
    estimate[first][:3, :3] = estimate[first][:3, :3] @ Rotation.from_rotvec([0, np.deg2rad(0.7), 0]).as_matrix()
    assert pose_errors(estimate, capture_truth).rotation_error_deg[0] == pytest.approx(0.7)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("x", 2.0, degrees=True).as_matrix()
    tilted = {name: tilt @ pose for name, pose in moved(capture_truth, 1.0).items()}
    assert pose_errors(tilted, capture_truth).gravity_error_deg == pytest.approx(2.0, abs=1e-6)


def test_missing_frames_count_and_names_can_be_mapped(capture_truth: CaptureTruth) -> None:
    estimate = moved(capture_truth, 1.0)
    poses = list(estimate.values())
    chosen = {"000001.png": 0, "000002.png": 2, "000003.png": 4, "000004.png": 5}
    some = {"000001.png": poses[0], "000002.png": poses[2], "000003.png": poses[4]}
    errors = pose_errors(some, capture_truth, source_index=chosen)
    assert errors.max_m < 1e-9
    assert errors.registered_share == 0.75


def test_alignment_is_proper_even_for_a_mirrored_cloud() -> None:
    points = np.random.default_rng(0).normal(size=(10, 3))
    transform = rigid_alignment(points * [1, 1, -1], points)
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1)
    with pytest.raises(ValueError, match="three"):
        rigid_alignment(points[:2], points[:2])


@pytest.mark.parametrize("degrees", [1e-6, 0.01, 30.0, 179.0])
def test_small_and_large_angles(degrees: float) -> None:
    turn = Rotation.from_rotvec(np.deg2rad([degrees, 0, 0])).as_matrix()[None]
    assert rotation_angles_deg(np.eye(3)[None], turn)[0] == pytest.approx(degrees, rel=1e-6)
