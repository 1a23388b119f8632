"""How far estimated camera poses are from the truth: in metres with rotation and translation aligned, never the scale.

Alignment by least squares (Kabsch 1976; with scale: Umeyama, "Least-squares estimation of transformation parameters
between two point patterns", PAMI 1991).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from samples.surfaces import Floats
from samples.truth import CaptureTruth


@dataclass(frozen=True)
class PoseErrors:
    """Errors over the frames that were estimated.

    centre_error_m, rotation_error_deg: (n,) float64 after the rigid alignment of the centres, in the order of `names`.
    centre_error_scaled_m: the same with the best scale applied as well. scale: estimated lengths over true lengths.
    """

    names: tuple[str, ...]
    expected: int
    centre_error_m: Floats
    centre_error_scaled_m: Floats
    rotation_error_deg: Floats
    scale: float
    gravity_error_deg: float
    """Angle between the estimate's up (+y) and the true one, after alignment."""

    @property
    def registered_share(self) -> float:
        return len(self.names) / self.expected

    @property
    def median_m(self) -> float:
        return float(np.median(self.centre_error_m))

    @property
    def max_m(self) -> float:
        return float(self.centre_error_m.max())

    @property
    def scale_error(self) -> float:
        """|scale - 1|."""
        return abs(self.scale - 1)

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{len(self.names)}/{self.expected} frames; centres median {self.median_m * 100:.2f} cm, "
            f"max {self.max_m * 100:.2f} cm (rigid); scale {100 * (self.scale - 1):+.3f} %; "
            f"rotation median {float(np.median(self.rotation_error_deg)):.3f} deg; "
            f"gravity {self.gravity_error_deg:.3f} deg"
        )


def rigid_alignment(source: Floats, target: Floats) -> Floats:
    """target_from_source (4, 4) that moves points (n, 3) onto points (n, 3) best, without scale."""
    _, rotation = _fit(source, target)
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = target.mean(axis=0) - rotation @ source.mean(axis=0)
    return transform


def similarity_alignment(source: Floats, target: Floats) -> tuple[float, Floats, Floats]:
    """Scale, rotation (3, 3) and translation (3,): target = scale * rotation @ source + translation."""
    scale, rotation = _fit(source, target)
    return scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)


def _fit(source: Floats, target: Floats) -> tuple[float, Floats]:
    if len(source) < 3 or source.shape != target.shape:
        raise ValueError("at least three corresponding points are needed")
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    return float((singular * signs).sum() / (a * a).sum()), rotation


def pose_errors(
    world_from_camera: Mapping[str, Floats], truth: CaptureTruth, *, source_index: Mapping[str, int] | None = None
) -> PoseErrors:
    """Errors of estimated poses (4, 4), by picture name, in any world whose up is +y.

    `source_index` maps a picture's name to its index in the video; without it pictures are named as in the truth,
    which holds where every frame of the video was used. Raises KeyError for a name that the truth does not know.
    """
    indices = source_index if source_index is not None else {f.name: f.source_index for f in truth.frames}
    names = tuple(sorted(world_from_camera))
    estimate = np.stack([world_from_camera[name] for name in names])
    true = np.stack([truth.frames[indices[name]].pose() for name in names])
    centres, true_centres = estimate[:, :3, 3], true[:, :3, 3]
    aligned = rigid_alignment(centres, true_centres)
    moved = aligned @ estimate
    scale, rotation, translation = similarity_alignment(centres, true_centres)
    scaled = scale * centres @ rotation.T + translation
    return PoseErrors(
        names=names,
        expected=len(truth.frames) if source_index is None else len(source_index),
        centre_error_m=np.linalg.norm(moved[:, :3, 3] - true_centres, axis=1),
        centre_error_scaled_m=np.linalg.norm(scaled - true_centres, axis=1),
        rotation_error_deg=rotation_angles_deg(moved[:, :3, :3], true[:, :3, :3]),
        scale=1 / scale,
        gravity_error_deg=float(np.rad2deg(np.arccos(np.clip(aligned[1, 1], -1, 1)))),
    )


def rotation_angles_deg(a: Floats, b: Floats) -> Floats:
    """Angles between rotations (n, 3, 3) and (n, 3, 3), in degrees; exact also where they are small."""
    apart = np.swapaxes(a, -1, -2) @ b
    skew = np.stack(
        [apart[:, 2, 1] - apart[:, 1, 2], apart[:, 0, 2] - apart[:, 2, 0], apart[:, 1, 0] - apart[:, 0, 1]], axis=1
    )
    sine, cosine = np.linalg.norm(skew, axis=1) / 2, (np.trace(apart, axis1=1, axis2=2) - 1) / 2
    return np.asarray(np.rad2deg(np.arctan2(sine, cosine)), np.float64)
