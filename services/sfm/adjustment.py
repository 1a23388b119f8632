"""Bundle adjustment that knows what a phone knows: relative motion, gravity, LiDAR depth.

Minimises over camera poses and points, by Levenberg-Marquardt on the Schur complement (Triggs et al., "Bundle
Adjustment - A Modern Synthesis", 2000), the robust sum of

    reprojection    in pixels, intrinsics fixed (observations are undistorted beforehand, so every camera model fits)
    depth           point depth in the camera minus the LiDAR reading, where there is a trustworthy one
    relative pose   motion between neighbouring frames minus the phone's: drift accumulates, so neighbours know most
    gravity         the world's up seen from the camera minus the phone's: tilt does not drift
    position        weakly, the phone's absolute position: fixes the gauge without bending the model to the drift

pycolmap's own pose-prior adjuster knows absolute positions only, which a drifting track does not give.
Poses are `camera_from_world`, perturbed on the left: X_c <- exp(w) X_c + v.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import bsr_array, coo_array, csr_array, diags_array
from scipy.sparse.linalg import LinearOperator, cg

from services.sfm.models import Floats, Ints

DENSE_LIMIT_FRAMES = 1500
"""Above this many frames the reduced camera system is solved by conjugate gradients instead of Cholesky."""


@dataclass(frozen=True)
class Observations:
    """`n` observations of `m` points in `f` frames.

    frame, point: (n,) int64 indices. ray: (n, 2) float64, undistorted image plane at z = 1. focal_px: (n,) float64.
    depth_m: (n,) float64, NaN where there is no reading. depth_sigma_m: (n,) float64.
    """

    frame: Ints
    point: Ints
    ray: Floats
    focal_px: Floats
    depth_m: Floats
    depth_sigma_m: Floats


@dataclass(frozen=True)
class Priors:
    """What the phone says. `f` frames in time order; `e` pairs of frames.

    first, second: (e,) int64. first_from_second: (e, 4, 4). rotation_sigma_rad, translation_sigma_m: (e,).
    up_in_camera: (f, 3) unit vectors. position_m: (f, 3) camera centres in the world.
    """

    first: Ints
    second: Ints
    first_from_second: Floats
    rotation_sigma_rad: Floats
    translation_sigma_m: Floats
    up_in_camera: Floats
    position_m: Floats
    up_sigma_rad: float = np.deg2rad(0.5)
    position_sigma_m: float = 0.5


@dataclass(frozen=True)
class Options:
    """`loss_px`: scale of the Cauchy loss on reprojection."""

    loss_px: float = 1.0
    max_iterations: int = 20
    relative_tolerance: float = 1e-4


@dataclass(frozen=True)
class Solution:
    camera_from_world: Floats
    points: Floats
    initial_cost: float
    final_cost: float
    iterations: int


@dataclass
class _Normal:
    """The normal equations in block form: cameras (sparse, f*6 square), points (m, 3, 3), coupling (n, 6, 3)."""

    cameras: csr_array
    camera_gradient: Floats
    points: Floats
    point_gradient: Floats
    coupling: Floats
    cost: float


def skew(vectors: Floats) -> Floats:
    """Cross-product matrices (n, 3, 3) of vectors (n, 3)."""
    out = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = -z, y, -x
    out[:, 1, 0], out[:, 2, 0], out[:, 2, 1] = z, -y, x
    return out


def exp_rotation(vectors: Floats) -> Floats:
    """Rotation matrices (n, 3, 3) of rotation vectors (n, 3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    k = skew(vectors)
    safe = np.maximum(angle, 1e-12)
    return np.asarray(np.eye(3) + np.sinc(safe / np.pi) * k + (1 - np.cos(safe)) / safe**2 * (k @ k))


def log_rotation(rotations: Floats) -> Floats:
    """Rotation vectors (n, 3) of rotation matrices (n, 3, 3); angles below pi."""
    w = np.stack([rotations[:, 2, 1], rotations[:, 0, 2], rotations[:, 1, 0]], axis=1)
    w = w - np.stack([rotations[:, 1, 2], rotations[:, 2, 0], rotations[:, 0, 1]], axis=1)
    cosine = np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1)
    angle = np.arctan2(np.linalg.norm(w, axis=1) / 2, cosine)
    return np.asarray(w * (0.5 / np.maximum(np.sinc(angle / np.pi), 1e-9))[:, None])


def _cauchy(squared: Floats) -> tuple[Floats, Floats]:
    """Cost and weight of the Cauchy loss at squared, already scaled, errors."""
    return np.log1p(squared), 1.0 / (1.0 + squared)


def _huber(squared: Floats, scale: float = 2.0) -> tuple[Floats, Floats]:
    """Cost and weight of the Huber loss with its bend at `scale` sigmas."""
    root = np.sqrt(np.maximum(squared, 1e-24))
    inside = root <= scale
    return np.where(inside, squared, 2 * scale * root - scale**2), np.where(inside, 1.0, scale / root)


def _camera_points(poses: Floats, points: Floats, obs: Observations) -> Floats:
    rotation = poses[obs.frame, :3, :3]
    return np.asarray(np.einsum("nij,nj->ni", rotation, points[obs.point]) + poses[obs.frame, :3, 3])


def _image_terms(
    poses: Floats, points: Floats, obs: Observations, options: Options
) -> tuple[Floats, Floats, float, Floats]:
    """Weighted residuals (n, 3), square-rooted weights (n, 2), cost, and camera points (n, 3)."""
    local = _camera_points(poses, points, obs)
    z = np.where(np.abs(local[:, 2]) < 1e-3, 1e-3, local[:, 2])
    pixel = (local[:, :2] / z[:, None] - obs.ray) * obs.focal_px[:, None] / options.loss_px
    cost_px, weight_px = _cauchy((pixel**2).sum(1))
    behind = local[:, 2] < 1e-2
    weight_px = np.where(behind, 0.0, weight_px)
    cost_px = np.where(behind, 10.0, cost_px)
    has_depth = np.isfinite(obs.depth_m)
    depth = np.where(has_depth, (local[:, 2] - np.nan_to_num(obs.depth_m)) / obs.depth_sigma_m, 0.0)
    cost_d, weight_d = _cauchy((depth / 2) ** 2)
    cost_d = 4 * cost_d
    root = np.sqrt(np.stack([weight_px, np.where(has_depth, weight_d, 0.0)], axis=1))
    residual = np.concatenate([pixel * root[:, :1], (depth * root[:, 1])[:, None]], axis=1)
    return residual, root, float(cost_px.sum() + cost_d.sum()), local


def _image_jacobians(
    poses: Floats, obs: Observations, local: Floats, root: Floats, loss_px: float
) -> tuple[Floats, Floats]:
    """Jacobians of the weighted residuals: (n, 3, 6) by pose and (n, 3, 3) by point."""
    x, y = local[:, 0], local[:, 1]
    z = np.maximum(local[:, 2], 1e-2)
    gain = obs.focal_px / loss_px * root[:, 0] / z
    by_local = np.zeros((len(z), 3, 3))
    by_local[:, 0, 0] = gain
    by_local[:, 1, 1] = gain
    by_local[:, 0, 2] = -gain * x / z
    by_local[:, 1, 2] = -gain * y / z
    by_local[:, 2, 2] = root[:, 1] / obs.depth_sigma_m
    by_pose = np.concatenate([-by_local @ skew(local), by_local], axis=2)
    return by_pose, by_local @ poses[obs.frame, :3, :3]


def _segment_sum(values: Floats, index: Ints, count: int) -> Floats:
    """Sum of rows with the same index: (count, ...)."""
    flat = values.reshape(len(values), -1)
    out = np.stack([np.bincount(index, weights=column, minlength=count) for column in flat.T], axis=1)
    return np.asarray(out.reshape(count, *values.shape[1:]))


def _prior_terms(poses: Floats, priors: Priors) -> tuple[list[tuple[Ints, Ints, Floats, Floats, Floats]], float]:
    """Blocks (frame i, frame j, residual (k, r), J_i (k, r, 6), J_j (k, r, 6)), weighted, and their robust cost."""
    blocks: list[tuple[Ints, Ints, Floats, Floats, Floats]] = []
    total = 0.0

    def add(i: Ints, j: Ints, residual: Floats, by_i: Floats, by_j: Floats) -> None:
        nonlocal total
        cost, weight = _huber((residual**2).sum(1))
        root = np.sqrt(weight)
        total += float(cost.sum())
        blocks.append((i, j, residual * root[:, None], by_i * root[:, None, None], by_j * root[:, None, None]))

    rotation, translation = poses[:, :3, :3], poses[:, :3, 3]
    i, j = priors.first, priors.second
    if len(i):
        relative = rotation[i] @ rotation[j].transpose(0, 2, 1)
        offset = translation[i] - np.einsum("nij,nj->ni", relative, translation[j])
        turn = log_rotation(relative @ priors.first_from_second[:, :3, :3].transpose(0, 2, 1))
        eye = np.broadcast_to(np.eye(3), relative.shape)
        zero = np.zeros_like(relative)
        scale_r = 1 / priors.rotation_sigma_rad[:, None, None]
        scale_t = 1 / priors.translation_sigma_m[:, None, None]
        add(
            i,
            j,
            turn * scale_r[:, 0],
            np.concatenate([eye, zero], 2) * scale_r,
            np.concatenate([-relative, zero], 2) * scale_r,
        )
        shift = (offset - priors.first_from_second[:, :3, 3]) * scale_t[:, 0]
        add(
            i,
            j,
            shift,
            np.concatenate([-skew(offset), eye], 2) * scale_t,
            np.concatenate([zero, -relative], 2) * scale_t,
        )
    every = np.arange(len(poses))
    none = np.zeros((len(poses), 3, 6))
    up = rotation[:, :, 1]
    by_up = np.concatenate([-skew(up), np.zeros_like(rotation)], 2) / priors.up_sigma_rad
    add(every, every, (up - priors.up_in_camera) / priors.up_sigma_rad, by_up, none)
    centre = -np.einsum("nji,nj->ni", rotation, translation)
    by_centre = np.concatenate([np.zeros_like(rotation), -rotation.transpose(0, 2, 1)], 2) / priors.position_sigma_m
    add(every, every, (centre - priors.position_m) / priors.position_sigma_m, by_centre, none)
    return blocks, total


def _block_matrix(rows: list[Ints], columns: list[Ints], blocks: list[Floats], frames: int) -> csr_array:
    """The sparse (f*6, f*6) sum of (6, 6) blocks at block rows and columns."""
    row, column, values = np.concatenate(rows), np.concatenate(columns), np.concatenate(blocks)
    inner = np.arange(6)
    r = np.broadcast_to(row[:, None, None] * 6 + inner[:, None], values.shape)
    c = np.broadcast_to(column[:, None, None] * 6 + inner[None, :], values.shape)
    return coo_array((values.ravel(), (r.ravel(), c.ravel())), shape=(frames * 6, frames * 6)).tocsr()


def _normal_equations(poses: Floats, points: Floats, obs: Observations, priors: Priors, options: Options) -> _Normal:
    residual, root, cost, local = _image_terms(poses, points, obs, options)
    by_pose, by_point = _image_jacobians(poses, obs, local, root, options.loss_px)
    frames = len(poses)
    rows, columns = [np.arange(frames)], [np.arange(frames)]
    blocks = [_segment_sum(by_pose.transpose(0, 2, 1) @ by_pose, obs.frame, frames)]
    gradient = _segment_sum(np.einsum("nra,nr->na", by_pose, residual), obs.frame, frames)
    prior_blocks, prior_cost = _prior_terms(poses, priors)
    for i, j, error, by_i, by_j in prior_blocks:
        for a, by_a in ((i, by_i), (j, by_j)):
            gradient += _segment_sum(np.einsum("kra,kr->ka", by_a, error), a, frames)
            for b, by_b in ((i, by_i), (j, by_j)):
                rows.append(a)
                columns.append(b)
                blocks.append(by_a.transpose(0, 2, 1) @ by_b)
    return _Normal(
        cameras=_block_matrix(rows, columns, blocks, frames),
        camera_gradient=gradient.ravel(),
        points=_segment_sum(by_point.transpose(0, 2, 1) @ by_point, obs.point, len(points)),
        point_gradient=_segment_sum(np.einsum("nra,nr->na", by_point, residual), obs.point, len(points)),
        coupling=by_pose.transpose(0, 2, 1) @ by_point,
        cost=cost + prior_cost,
    )


def _cost(poses: Floats, points: Floats, obs: Observations, priors: Priors, options: Options) -> float:
    return _image_terms(poses, points, obs, options)[2] + _prior_terms(poses, priors)[1]


def _conjugate_gradients(cameras: csr_array, eliminated: bsr_array, coupling: bsr_array, target: Floats) -> Floats:
    """Solve the reduced camera system without forming it, for maps of thousands of frames."""
    size, diagonal, transposed = len(target), cameras.diagonal(), coupling.T

    def reduced(x: Floats) -> Floats:
        return np.asarray(cameras @ x - eliminated @ (transposed @ x))

    operator = LinearOperator((size, size), matvec=reduced, dtype=np.float64)
    jacobi = LinearOperator((size, size), matvec=lambda x: x / diagonal, dtype=np.float64)
    step, _ = cg(operator, target, rtol=1e-4, maxiter=500, M=jacobi)
    return np.asarray(step)


def _step(normal: _Normal, obs: Observations, damping: float) -> tuple[Floats, Floats]:
    """Damped Gauss-Newton step for cameras (f*6,) and points (m, 3); `obs` sorted by frame."""
    size = len(normal.camera_gradient)
    frames, count = size // 6, len(normal.points)
    eye = np.arange(3)
    points = normal.points.copy()
    points[:, eye, eye] += damping * points[:, eye, eye] + 1e-9
    inverse = np.linalg.inv(points)
    start = np.searchsorted(obs.frame, np.arange(frames + 1))
    weighted = normal.coupling @ inverse[obs.point]
    shape = (size, count * 3)
    coupling = bsr_array((normal.coupling, obs.point, start), shape=shape)
    eliminated = bsr_array((weighted, obs.point, start), shape=shape)
    diagonal = normal.cameras.diagonal()
    cameras = normal.cameras + diags_array(damping * diagonal + 1e-9)
    target = -(normal.camera_gradient - eliminated @ normal.point_gradient.ravel())
    if frames <= DENSE_LIMIT_FRAMES:
        reduced = cameras.toarray() - (eliminated @ coupling.T).toarray()
        step = cho_solve(cho_factor(reduced, lower=True), target)
    else:
        step = _conjugate_gradients(cameras, eliminated, coupling, target)
    back = normal.point_gradient + (coupling.T @ step).reshape(count, 3)
    return step, -np.einsum("mij,mj->mi", inverse, back)


def _moved(poses: Floats, step: Floats) -> Floats:
    turn = exp_rotation(step.reshape(-1, 6)[:, :3])
    out = poses.copy()
    out[:, :3, :3] = turn @ poses[:, :3, :3]
    out[:, :3, 3] = np.einsum("nij,nj->ni", turn, poses[:, :3, 3]) + step.reshape(-1, 6)[:, 3:]
    return out


def _sorted_by_frame(obs: Observations) -> Observations:
    order = np.lexsort((obs.point, obs.frame))
    return Observations(
        frame=obs.frame[order],
        point=obs.point[order],
        ray=obs.ray[order],
        focal_px=obs.focal_px[order],
        depth_m=obs.depth_m[order],
        depth_sigma_m=obs.depth_sigma_m[order],
    )


def adjust(
    camera_from_world: Floats, points: Floats, observations: Observations, priors: Priors, options: Options
) -> Solution:
    """Refine `camera_from_world` (f, 4, 4) and `points` (m, 3), metres, world y up.

    The reduced camera matrix is dense for up to `DENSE_LIMIT_FRAMES`; deterministic for a given input.
    """
    obs = _sorted_by_frame(observations)
    poses, points = camera_from_world.copy(), points.copy()
    damping, iteration = 1e-4, 0
    normal = _normal_equations(poses, points, obs, priors, options)
    initial = normal.cost
    while iteration < options.max_iterations and damping < 1e6:
        iteration += 1
        try:
            camera_step, point_step = _step(normal, obs, damping)
        except LinAlgError:
            damping *= 10
            continue
        trial_poses, trial_points = _moved(poses, camera_step), points + point_step
        cost = _cost(trial_poses, trial_points, obs, priors, options)
        if not cost < normal.cost:
            damping *= 10
            continue
        gain = (normal.cost - cost) / max(normal.cost, 1e-12)
        poses, points, damping = trial_poses, trial_points, max(damping / 5, 1e-9)
        if gain < options.relative_tolerance:
            break
        normal = _normal_equations(poses, points, obs, priors, options)
    final = _cost(poses, points, obs, priors, options)
    return Solution(poses, points, initial, final, iteration)
