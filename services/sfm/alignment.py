"""Putting a model into the phone's world: rotation with gravity first, then heading, position, and the residual."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from services.sfm.adjustment import exp_rotation
from services.sfm.models import Floats, Ints, TrackResidual
from services.sfm.trajectory import Track, inverse


@dataclass(frozen=True)
class Similarity:
    """x_b = scale * rotation @ x_a + translation."""

    scale: float
    rotation: Floats
    translation: Floats

    def poses(self, a_from_camera: Floats) -> Floats:
        """`b_from_camera` (n, 4, 4) of `a_from_camera` (n, 4, 4)."""
        out = a_from_camera.copy()
        out[:, :3, :3] = self.rotation @ a_from_camera[:, :3, :3]
        out[:, :3, 3] = self.scale * a_from_camera[:, :3, 3] @ self.rotation.T + self.translation
        return out


def _rotation_between(a: Floats, b: Floats) -> Floats:
    """The smallest rotation (3, 3) that turns unit vector `a` into `b`."""
    axis = np.cross(a, b)
    norm = float(np.linalg.norm(axis))
    angle = float(np.arctan2(norm, a @ b))
    if norm < 1e-12:
        axis, norm = np.array([1.0, 0.0, 0.0]), 1.0
    return np.asarray(exp_rotation((axis / norm * angle)[None])[0])


def mean_rotation(rotations: Floats) -> Floats:
    """Robust mean (3, 3) of rotations (n, 3, 3): chordal, reweighted (Hartley et al., "Rotation Averaging", 2013)."""
    weights = np.ones(len(rotations))
    mean = np.eye(3)
    for _ in range(10):
        u, _, vt = np.linalg.svd(np.einsum("n,nij->ij", weights, rotations))
        mean = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        away = np.linalg.norm(rotations - mean, axis=(1, 2))
        weights = 1 / np.maximum(away, max(1e-6, 0.3 * float(np.median(away))))
    return np.asarray(mean)


def up_direction(world_from_camera: Floats, world_from_phone: Floats) -> Floats:
    """The phone's up (3,) as a unit vector of the model's world: tilt does not drift, so it is averaged over frames."""
    ups = np.einsum("nij,nj->ni", world_from_camera[:, :3, :3], world_from_phone[:, 1, :3])
    mean = np.median(ups, axis=0)
    for _ in range(10):
        weights = 1 / np.maximum(np.linalg.norm(ups - mean, axis=1), 1e-4)
        mean = (weights[:, None] * ups).sum(0) / weights.sum()
    return np.asarray(mean / np.linalg.norm(mean))


def to_phone_world(world_from_camera: Floats, world_from_phone: Floats, scale: float) -> Similarity:
    """Similarity of given scale from the model's world to the phone's: gravity exact, heading and position robust."""
    tilt = _rotation_between(up_direction(world_from_camera, world_from_phone), np.array([0.0, 1.0, 0.0]))
    turned = tilt @ world_from_camera[:, :3, :3]
    full = mean_rotation(world_from_phone[:, :3, :3] @ turned.transpose(0, 2, 1))
    heading = float(np.arctan2(full[0, 2] - full[2, 0], full[0, 0] + full[2, 2]))
    rotation = exp_rotation(np.array([[0.0, heading, 0.0]]))[0] @ tilt
    offsets = world_from_phone[:, :3, 3] - scale * world_from_camera[:, :3, 3] @ rotation.T
    return Similarity(scale, rotation, np.median(offsets, axis=0))


def refine_heading(similarity: Similarity, world_from_camera: Floats, world_from_phone: Floats) -> Similarity:
    """Turn about the vertical and shift so that the camera centres fit the phone's best in the least-squares sense."""
    placed = similarity.poses(world_from_camera)[:, :3, 3]
    phone = world_from_phone[:, :3, 3]
    a, b = placed - placed.mean(0), phone - phone.mean(0)
    sine = float((a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]).sum())
    cosine = float((a[:, 0] * b[:, 0] + a[:, 2] * b[:, 2]).sum())
    turn = exp_rotation(np.array([[0.0, np.arctan2(sine, cosine), 0.0]]))[0]
    rotation = turn @ similarity.rotation
    centres = similarity.scale * world_from_camera[:, :3, 3] @ rotation.T
    return Similarity(similarity.scale, rotation, np.median(phone - centres, axis=0))


def gravity_angle_deg(world_from_camera: Floats, world_from_phone: Floats) -> float:
    """Angle between the model's +y and the phone's up."""
    return float(np.degrees(np.arccos(np.clip(up_direction(world_from_camera, world_from_phone)[1], -1, 1))))


def track_residual(world_from_camera: Floats, world_from_phone: Floats) -> TrackResidual:
    """Position and rotation differences frame by frame, both already in the phone's world."""
    metres = np.linalg.norm(world_from_camera[:, :3, 3] - world_from_phone[:, :3, 3], axis=1)
    between = world_from_camera[:, :3, :3].transpose(0, 2, 1) @ world_from_phone[:, :3, :3]
    degrees = np.degrees(Rotation.from_matrix(between).magnitude())
    return TrackResidual(
        median_m=float(np.median(metres)),
        rms_m=float(np.sqrt((metres**2).mean())),
        max_m=float(metres.max()),
        median_deg=float(np.median(degrees)),
        rms_deg=float(np.sqrt((degrees**2).mean())),
        max_deg=float(degrees.max()),
    )


def scaled(track: Track, factor: float) -> Track:
    """The track with its positions multiplied about their mean."""
    poses = track.world_from_camera.copy()
    middle = poses[:, :3, 3].mean(0)
    poses[:, :3, 3] = middle + factor * (poses[:, :3, 3] - middle)
    return Track(track.times_s, poses)


def filled_in(times_s: Floats, known: Ints, known_poses: Floats, phone: Floats) -> Floats:
    """Poses (f, 4, 4) of all frames: the known ones, and between them the phone's motion from the neighbours.

    `known` (k,) frame indices, `known_poses` (k, 4, 4), `phone` (f, 4, 4) of the same scale. Between two known frames
    the phone's correction `world_from_phone_world` is interpolated over time; outside it is held.
    """
    order = np.argsort(times_s[known], kind="stable")
    stamps, kept = np.unique(times_s[known[order]], return_index=True)
    chosen = order[kept]
    correction = known_poses[chosen] @ inverse(phone[known[chosen]])
    inside = np.clip(times_s, stamps[0], stamps[-1])
    out = phone.copy()
    if len(stamps) > 1:
        turn = Slerp(stamps, Rotation.from_matrix(correction[:, :3, :3]))(inside).as_matrix()
    else:
        turn = np.repeat(correction[:, :3, :3], len(inside), axis=0)
    # The correction is blended about the phone's own position, not about its far origin.
    low = np.clip(np.searchsorted(stamps, inside, side="right") - 1, 0, max(len(stamps) - 2, 0))
    high = np.minimum(low + 1, len(stamps) - 1)
    span = np.where(high > low, stamps[high] - stamps[low], 1.0)
    share = np.clip((inside - stamps[low]) / span, 0, 1)[:, None]
    moved = [
        np.einsum("nij,nj->ni", correction[k, :3, :3], phone[:, :3, 3]) + correction[k, :3, 3] for k in (low, high)
    ]
    out[:, :3, :3] = turn @ phone[:, :3, :3]
    out[:, :3, 3] = (1 - share) * moved[0] + share * moved[1]
    out[known] = known_poses
    return out
