import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from services.sfm import alignment
from services.sfm.full_sfm import consensus
from tests.services.sfm.exact_room import Walk, at_times, phone_track, true_path


def truth_and_phone(walk: Walk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times, poses = true_path(walk)
    stamps = np.arange(walk.frames) / walk.fps
    return stamps, at_times(times, poses, stamps), at_times(times, phone_track(walk, times, poses), stamps)


def test_a_turned_and_scaled_model_comes_back_to_the_phones_world() -> None:
    _, truth, _ = truth_and_phone(Walk())
    rotation = Rotation.from_euler("xyz", [0.5, -1.0, 2.0]).as_matrix()
    model = alignment.Similarity(0.3, rotation, np.array([5.0, -2.0, 1.0])).poses(truth)
    similarity = alignment.to_phone_world(model, truth, 1 / 0.3)
    np.testing.assert_allclose(similarity.poses(model), truth, atol=1e-8)
    refined = alignment.refine_heading(similarity, model, truth)
    np.testing.assert_allclose(refined.poses(model), truth, atol=1e-8)
    residual = alignment.track_residual(refined.poses(model), truth)
    assert residual.max_m < 1e-8
    assert residual.max_deg < 1e-4


@pytest.mark.parametrize("drift_deg", [0.0, 4.0])
def test_gravity_does_not_follow_a_drifting_heading(drift_deg: float) -> None:
    _, truth, phone = truth_and_phone(Walk(drift_deg=drift_deg, drift_m=0.1))
    tilted = alignment.Similarity(1.0, Rotation.from_euler("x", 7, degrees=True).as_matrix(), np.zeros(3)).poses(truth)
    assert alignment.gravity_angle_deg(tilted, phone) == pytest.approx(7, abs=0.05)
    similarity = alignment.to_phone_world(tilted, phone, 1.0)
    assert alignment.gravity_angle_deg(similarity.poses(tilted), phone) < 0.01


def test_missing_frames_are_filled_with_the_phones_motion_between_known_ones() -> None:
    stamps, truth, phone = truth_and_phone(Walk(drift_m=0.2, drift_deg=6.0, jitter_m=0.0))
    known = np.array([k for k in range(len(stamps)) if k not in (0, 10, 11, 12, 39)])
    filled = alignment.filled_in(stamps, known, truth[known], phone)
    np.testing.assert_allclose(filled[known], truth[known])
    away = np.linalg.norm(filled[:, :3, 3] - truth[:, :3, 3], axis=1)
    assert away.max() < 0.05
    turn = Rotation.from_matrix(filled[:, :3, :3].transpose(0, 2, 1) @ truth[:, :3, :3]).magnitude()
    assert np.degrees(turn.max()) < 0.5


def test_a_room_in_the_wrong_place_is_found_and_drift_is_not() -> None:
    _, truth, phone = truth_and_phone(Walk(drift_m=0.15, drift_deg=6.0))
    known = np.ones(len(truth), dtype=np.bool_)
    known[3] = False
    placed, agreed = consensus(alignment.to_phone_world(truth, phone, 1.0).poses(truth), phone, known)
    assert (agreed == known).all()
    wrong = placed.copy()
    half_turn = alignment.Similarity(
        1.0, Rotation.from_euler("y", 180, degrees=True).as_matrix(), np.array([2.0, 0, 1])
    )
    wrong[24:] = half_turn.poses(wrong[24:])
    wrong[10, :3, 3] += [0.0, 0.0, 2.0]
    mended, agreed = consensus(wrong, phone, known)
    assert not agreed[24:].any()
    assert not agreed[[3, 10]].any()
    assert agreed[:24].sum() == 22
    assert np.linalg.norm(mended[agreed, :3, 3] - phone[agreed, :3, 3], axis=1).max() < 0.5
