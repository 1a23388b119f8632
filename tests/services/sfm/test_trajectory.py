import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from services.sfm.trajectory import (
    RayMatches,
    Track,
    delay_from_matches,
    delay_from_motion,
    inverse,
    motion_pairs,
)
from tests.services.sfm.exact_room import Walk, at_times, make_landmarks, phone_track, true_path


def walk_and_track(delay_s: float, seed: int = 1) -> tuple[Track, np.ndarray, np.ndarray]:
    walk = Walk(seed=seed, delay_s=delay_s, drift_m=0.05, drift_deg=2.0, track_scale=1.03)
    times, poses = true_path(walk)
    stamps = np.arange(walk.frames) / walk.fps
    return Track(times, phone_track(walk, times, poses)), stamps, at_times(times, poses, stamps - delay_s)


def exact_rays(poses: np.ndarray) -> RayMatches:
    """Noisy matches of all landmarks that two of neighbouring frames have before them."""
    rng = np.random.default_rng(0)
    landmarks = make_landmarks(Walk())
    local = np.einsum("fji,fnj->fni", poses[:, :3, :3], landmarks[None] - poses[:, None, :3, 3])
    rays = local[..., :2] / local[..., 2:] + rng.normal(0, 0.001, (*local.shape[:2], 2))
    seen = (local[..., 2] > 0.5) & (np.abs(rays) < 0.6).all(-1)
    first, second, a, b = [], [], [], []
    for i in range(len(poses)):
        for j in range(i + 1, min(i + 4, len(poses))):
            both = np.flatnonzero(seen[i] & seen[j])[::8]
            first.append(np.full(len(both), i))
            second.append(np.full(len(both), j))
            a.append(rays[i, both])
            b.append(rays[j, both])
    return RayMatches(np.concatenate(first), np.concatenate(second), np.concatenate(a), np.concatenate(b))


def test_interpolation_is_exact_at_the_rows_and_on_the_arc_between() -> None:
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, :3] = Rotation.from_euler("y", 40, degrees=True).as_matrix()
    poses[1, :3, 3] = [1, 2, 3]
    track = Track(np.array([10.0, 11.0]), poses)
    got = track.at(np.array([10.0, 10.25, 11.0, 99.0]))
    np.testing.assert_allclose(got[[0, 2]], poses, atol=1e-12)
    np.testing.assert_allclose(got[1, :3, 3], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(
        Rotation.from_matrix(got[1, :3, :3]).as_euler("yxz", degrees=True), [10, 0, 0], atol=1e-9
    )
    np.testing.assert_allclose(got[3], poses[1], atol=1e-12)


def test_inverse_undoes_a_pose() -> None:
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, :3] = Rotation.random(5, rng=np.random.default_rng(1)).as_matrix()
    poses[:, :3, 3] = np.arange(15).reshape(5, 3)
    np.testing.assert_allclose(inverse(poses) @ poses, np.tile(np.eye(4), (5, 1, 1)), atol=1e-12)


def test_motion_pairs_are_all_pairs_within_the_window() -> None:
    times = np.array([0.0, 0.5, 1.0, 3.0])
    first, second = motion_pairs(times, 0.4, 1.0)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert len(motion_pairs(times[:1], 0.1, 1.0)[0]) == 0


@pytest.mark.parametrize("delay_s", [-0.04, 0.0, 0.025, 0.09])
def test_the_delay_is_found_from_the_matches_alone(delay_s: float) -> None:
    track, stamps, poses = walk_and_track(delay_s)
    assert delay_from_matches(track, stamps, exact_rays(poses)) == pytest.approx(delay_s, abs=0.005)


@pytest.mark.parametrize("delay_s", [-0.04, 0.0, 0.025, 0.09])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_delay_is_found_from_a_models_motion_in_any_frame_and_scale(delay_s: float, seed: int) -> None:
    track, stamps, poses = walk_and_track(delay_s, seed)
    turned = poses.copy()
    rotation = Rotation.from_euler("xyz", [1.0, 2.0, 3.0]).as_matrix()
    turned[:, :3, :3] = rotation @ poses[:, :3, :3]
    turned[:, :3, 3] = 0.2 * poses[:, :3, 3] @ rotation.T
    assert delay_from_motion(track, stamps, turned) == pytest.approx(delay_s, abs=0.003)


def test_a_phone_that_stands_still_has_no_delay_to_find() -> None:
    still = np.tile(np.eye(4), (30, 1, 1))
    assert delay_from_motion(Track(np.arange(30.0), still), np.arange(30.0) / 2, still) is None
