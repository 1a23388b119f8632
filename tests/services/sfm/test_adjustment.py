import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from services.sfm import adjustment
from services.sfm.trajectory import inverse

RNG = np.random.default_rng(3)
FOCAL = 500.0


def small_world() -> tuple[np.ndarray, np.ndarray]:
    """Six cameras in a row looking at 80 points: camera_from_world (6, 4, 4), points (80, 3)."""
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("YX", RNG.normal(0, 0.1, (6, 2))).as_matrix() @ np.diag([-1.0, -1.0, 1.0])
    poses[:, :3, 3] = np.stack([np.linspace(0, 1.5, 6), RNG.normal(1.4, 0.05, 6), RNG.normal(0, 0.1, 6)], 1)
    points = RNG.uniform([-1.5, 0, 2], [3, 2.5, 4], (80, 3))
    return inverse(poses), points


def everything_seen(camera_from_world: np.ndarray, points: np.ndarray) -> adjustment.Observations:
    frame, point = (index.ravel() for index in np.mgrid[0 : len(camera_from_world), 0 : len(points)])
    local = np.einsum("nij,nj->ni", camera_from_world[frame, :3, :3], points[point]) + camera_from_world[frame, :3, 3]
    count = len(frame)
    return adjustment.Observations(
        frame, point, local[:, :2] / local[:, 2:], np.full(count, FOCAL), local[:, 2], np.full(count, 0.02)
    )


def exact_priors(camera_from_world: np.ndarray) -> adjustment.Priors:
    first = np.arange(len(camera_from_world) - 1)
    second = first + 1
    return adjustment.Priors(
        first=first,
        second=second,
        first_from_second=camera_from_world[first] @ inverse(camera_from_world)[second],
        rotation_sigma_rad=np.full(len(first), 0.01),
        translation_sigma_m=np.full(len(first), 0.01),
        up_in_camera=camera_from_world[:, :3, 1],
        position_m=inverse(camera_from_world)[:, :3, 3],
    )


def disturbed(camera_from_world: np.ndarray, angle_rad: float, shift_m: float) -> np.ndarray:
    step = np.concatenate(
        [RNG.normal(0, angle_rad, (len(camera_from_world), 3)), RNG.normal(0, shift_m, (len(camera_from_world), 3))], 1
    )
    return adjustment._moved(camera_from_world, step.ravel())


def test_rotation_exponential_and_logarithm_agree_with_scipy() -> None:
    vectors = RNG.uniform(-1.7, 1.7, (50, 3))
    vectors[0] = 0
    np.testing.assert_allclose(adjustment.exp_rotation(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(adjustment.log_rotation(adjustment.exp_rotation(vectors)), vectors, atol=1e-9)


def test_jacobians_equal_numerical_derivatives() -> None:
    poses, points = small_world()
    observations = everything_seen(poses, points)
    poses, points = disturbed(poses, 0.01, 0.02), points + RNG.normal(0, 0.02, points.shape)
    options = adjustment.Options()
    _, root, _, local = adjustment._image_terms(poses, points, observations, options)
    by_pose, by_point = adjustment._image_jacobians(poses, observations, local, root, options.loss_px)

    def residual(step: np.ndarray, shift: np.ndarray) -> np.ndarray:
        local = adjustment._camera_points(adjustment._moved(poses, step.ravel()), points + shift, observations)
        pixel = (local[:, :2] / local[:, 2:] - observations.ray) * FOCAL * root[:, :1]
        return np.concatenate([pixel, ((local[:, 2] - observations.depth_m) / 0.02 * root[:, 1])[:, None]], 1)

    nothing, still = np.zeros((len(poses), 6)), np.zeros_like(points)
    for axis in range(6):
        step = nothing.copy()
        step[:, axis] = 1e-6
        numeric = (residual(step, still) - residual(-step, still)) / 2e-6
        np.testing.assert_allclose(by_pose[:, :, axis], numeric, rtol=1e-4, atol=1e-3)
    for axis in range(3):
        shift = still.copy()
        shift[:, axis] = 1e-6
        numeric = (residual(nothing, shift) - residual(nothing, -shift)) / 2e-6
        np.testing.assert_allclose(by_point[:, :, axis], numeric, rtol=1e-4, atol=1e-3)


def test_exact_observations_bring_disturbed_poses_back() -> None:
    truth, points = small_world()
    observations = everything_seen(truth, points)
    start = disturbed(truth, np.deg2rad(0.5), 0.02)
    solution = adjustment.adjust(
        start,
        points + RNG.normal(0, 0.03, points.shape),
        observations,
        exact_priors(truth),
        adjustment.Options(max_iterations=50, relative_tolerance=1e-12),
    )
    assert solution.final_cost < 1e-6 * solution.initial_cost
    np.testing.assert_allclose(inverse(solution.camera_from_world)[:, :3, 3], inverse(truth)[:, :3, 3], atol=1e-5)
    np.testing.assert_allclose(solution.points, points, atol=1e-4)


def test_a_frame_without_observations_follows_the_phones_motion() -> None:
    truth, points = small_world()
    seen = everything_seen(truth, points)
    kept = seen.frame != 3
    observations = adjustment.Observations(
        *(getattr(seen, name)[kept] for name in ("frame", "point", "ray", "focal_px", "depth_m", "depth_sigma_m"))
    )
    start = truth.copy()
    start[3] = disturbed(truth[3:4], np.deg2rad(3), 0.1)[0]
    options = adjustment.Options(max_iterations=100, relative_tolerance=1e-10)
    solution = adjustment.adjust(start, points, observations, exact_priors(truth), options)
    assert np.linalg.norm(inverse(solution.camera_from_world)[3, :3, 3] - inverse(truth)[3, :3, 3]) < 0.002


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_wrong_observations_do_not_pull(share: float) -> None:
    truth, points = small_world()
    exact = everything_seen(truth, points)
    ray = exact.ray.copy()
    wrong = RNG.uniform(size=len(ray)) < share
    ray[wrong] += RNG.uniform(-0.2, 0.2, (int(wrong.sum()), 2))
    observations = adjustment.Observations(
        exact.frame, exact.point, ray, exact.focal_px, np.full(len(ray), np.nan), exact.depth_sigma_m
    )
    start = disturbed(truth, np.deg2rad(0.2), 0.005)
    solution = adjustment.adjust(
        start, points, observations, exact_priors(truth), adjustment.Options(max_iterations=60)
    )
    away = inverse(solution.camera_from_world)[:, :3, 3] - inverse(truth)[:, :3, 3]
    assert np.linalg.norm(away, axis=1).max() < 0.004


def test_conjugate_gradients_take_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, points = small_world()
    observations = everything_seen(truth, points)
    start = disturbed(truth, np.deg2rad(0.5), 0.02)
    options = adjustment.Options(max_iterations=30, relative_tolerance=1e-10)
    dense = adjustment.adjust(start, points, observations, exact_priors(truth), options)
    monkeypatch.setattr(adjustment, "DENSE_LIMIT_FRAMES", 0)
    sparse = adjustment.adjust(start, points, observations, exact_priors(truth), options)
    np.testing.assert_allclose(sparse.camera_from_world, dense.camera_from_world, atol=1e-4)
