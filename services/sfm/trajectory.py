"""The phone's track, and how late its pictures are.

A phone stamps pictures and poses separately: the picture stamped t shows what the pose at t - delay saw. One delay
fits a capture. It is found twice: from the matches alone (epipolar error of the interpolated track, before there is a
model) and, more sharply, from the motion of a refined model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation, Slerp

from contracts.captures import TRAJECTORY_NAME, CaptureManifest
from services.sfm.models import Floats, Ints

MAX_DELAY_S = 0.2
GRID_STEP_S = 0.01
EPIPOLAR_LOSS_RAD = 0.003
MAX_PAIR_GAP_S = 2.5
"""Over a longer time drift says more than the delay does."""
MOTION_LOSS = 2.0


@dataclass(frozen=True)
class Track:
    """times_s: (n,) strictly increasing. world_from_camera: (n, 4, 4), world y up, OpenCV camera axes, metres."""

    times_s: Floats
    world_from_camera: Floats

    def at(self, times_s: Floats) -> Floats:
        """Poses (k, 4, 4) at `times_s` (k,), linear in position and spherical in rotation; held at the ends."""
        inside = np.clip(times_s, self.times_s[0], self.times_s[-1])
        out = np.tile(np.eye(4), (len(inside), 1, 1))
        if len(self.times_s) == 1:
            return np.repeat(self.world_from_camera, len(inside), axis=0)
        out[:, :3, :3] = Slerp(self.times_s, Rotation.from_matrix(self.world_from_camera[:, :3, :3]))(
            inside
        ).as_matrix()
        for axis in range(3):
            out[:, axis, 3] = np.interp(inside, self.times_s, self.world_from_camera[:, axis, 3])
        return out


@dataclass(frozen=True)
class RayMatches:
    """`n` verified matches between frames: first, second: (n,) frame indices; rays (n, 2) at z = 1, undistorted."""

    first: Ints
    second: Ints
    first_ray: Floats
    second_ray: Floats


def read_track(capture_dir: Path, manifest: CaptureManifest) -> Track:
    """All odometry rows of a canonical capture, or the frames' own poses where the file is missing."""
    path = capture_dir / TRAJECTORY_NAME
    if path.exists():
        with np.load(path) as rows:
            times, poses = rows["timestamps_s"].astype(np.float64), rows["world_from_camera"].astype(np.float64)
    else:
        times = np.array([frame.timestamp_s for frame in manifest.frames])
        poses = np.tile(np.eye(4), (len(times), 1, 1))
        poses[:, :3, :3] = Rotation.from_quat([frame.pose.quaternion_xyzw for frame in manifest.frames]).as_matrix()
        poses[:, :3, 3] = [frame.pose.position_m for frame in manifest.frames]
    times, kept = np.unique(times, return_index=True)
    return Track(times, poses[kept])


def inverse(poses: Floats) -> Floats:
    """Inverses (n, 4, 4) of rigid transforms (n, 4, 4)."""
    out = np.tile(np.eye(4), (len(poses), 1, 1))
    out[:, :3, :3] = poses[:, :3, :3].transpose(0, 2, 1)
    out[:, :3, 3] = -np.einsum("nij,nj->ni", out[:, :3, :3], poses[:, :3, 3])
    return out


def _minimum(cost: Callable[[float], float]) -> float:
    """The delay of least cost: a grid against local minima, then Brent's method between its neighbours."""
    grid = np.arange(-MAX_DELAY_S, MAX_DELAY_S + GRID_STEP_S / 2, GRID_STEP_S)
    best = float(grid[int(np.argmin([cost(float(delay)) for delay in grid]))])
    found = minimize_scalar(
        cost, bounds=(best - GRID_STEP_S, best + GRID_STEP_S), method="bounded", options={"xatol": 1e-4}
    )
    return float(found.x)


def _sampson(second_from_first: Floats, first_ray: Floats, second_ray: Floats) -> Floats:
    """Signed Sampson distances (n,) in radians, near the axis (Hartley and Zisserman, 11.4.3)."""
    x, y, z = second_from_first[:, :3, 3].T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    essential = cross @ second_from_first[:, :3, :3]
    a = np.concatenate([first_ray, np.ones((len(x), 1))], axis=1)
    b = np.concatenate([second_ray, np.ones((len(x), 1))], axis=1)
    line_b = np.einsum("nij,nj->ni", essential, a)
    line_a = np.einsum("nji,nj->ni", essential, b)
    norm = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
    return np.asarray((b * line_b).sum(1) / np.sqrt(np.maximum(norm, 1e-18)))


def delay_from_matches(track: Track, times_s: Floats, matches: RayMatches, most: int = 20000) -> float:
    """The delay in seconds at which verified matches of frames near in time fit the track best.

    `times_s` (f,): time stamps of the frames. Returns 0 where there are too few matches to tell.
    """
    near = np.flatnonzero(np.abs(times_s[matches.first] - times_s[matches.second]) <= MAX_PAIR_GAP_S)
    if len(near) < 100:
        return 0.0
    near = near[:: max(1, len(near) // most)]
    first, second = matches.first[near], matches.second[near]
    first_ray, second_ray = matches.first_ray[near], matches.second_ray[near]

    def cost(delay: float) -> float:
        poses = track.at(times_s - delay)
        relative = inverse(poses)[second] @ poses[first]
        error = _sampson(relative, first_ray, second_ray) / EPIPOLAR_LOSS_RAD
        return float(np.log1p(error**2).mean())

    return _minimum(cost)


def motion_pairs(times_s: Floats, shortest_s: float, longest_s: float) -> tuple[Ints, Ints]:
    """All pairs (i, j), i < j, of frames that are `shortest_s` to `longest_s` apart."""
    order = np.argsort(times_s)
    ordered = times_s[order]
    low = np.searchsorted(ordered, ordered + shortest_s)
    high = np.searchsorted(ordered, ordered + longest_s, side="right")
    first = np.repeat(np.arange(len(ordered)), np.maximum(high - np.maximum(low, np.arange(len(ordered)) + 1), 0))
    second = [np.arange(max(a, i + 1), b) for i, (a, b) in enumerate(zip(low, high, strict=True)) if b > max(a, i + 1)]
    if not second:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return order[first], order[np.concatenate(second)]


def delay_from_motion(track: Track, times_s: Floats, world_from_camera: Floats) -> float | None:
    """The delay at which the motion of a model (f, 4, 4) of any scale and frame agrees best with the track's.

    None where the motion is too small to tell.
    """
    first, second = motion_pairs(times_s, 0.02, 1.0)
    if len(first) < 8:
        return None
    model = inverse(world_from_camera)[first] @ world_from_camera[second]
    turned = Rotation.from_matrix(model[:, :3, :3])
    if np.median(turned.magnitude()) < np.deg2rad(0.3):
        return None

    def cost(delay: float) -> float:
        poses = track.at(times_s - delay)
        phone = inverse(poses)[first] @ poses[second]
        turn = (turned.inv() * Rotation.from_matrix(phone[:, :3, :3])).magnitude() / np.deg2rad(0.2)
        length = np.linalg.norm(model[:, :3, 3], axis=1)
        scale = np.median(np.linalg.norm(phone[:, :3, 3], axis=1) / np.maximum(length, 1e-9))
        shift = np.linalg.norm(phone[:, :3, 3] - scale * model[:, :3, 3], axis=1) / 0.01
        return float(np.log1p((turn / MOTION_LOSS) ** 2).mean() + np.log1p((shift / MOTION_LOSS) ** 2).mean())

    return _minimum(cost)
