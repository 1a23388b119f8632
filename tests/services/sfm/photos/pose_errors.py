"""How far estimated poses are from the truth, whatever world and scale they are in."""

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def relative_errors_deg(camera_from_world: Mapping[str, Floats], truth: Mapping[str, Floats]) -> Floats:
    """Of every pair of pictures the larger of the errors of relative rotation and of the direction of the baseline.

    camera_from_world: (3, 4), estimated; truth: world_from_camera (4, 4). Degrees.
    """
    errors = []
    for a, b in itertools.combinations(sorted(camera_from_world), 2):
        estimated = _relative(_square(camera_from_world[a]), _square(camera_from_world[b]))
        true = _relative(_inverse(truth[a]), _inverse(truth[b]))
        turn = estimated[:3, :3] @ true[:3, :3].T
        rotation = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
        lengths = np.linalg.norm(estimated[:3, 3]) * np.linalg.norm(true[:3, 3])
        direction = np.arccos(np.clip(estimated[:3, 3] @ true[:3, 3] / max(float(lengths), 1e-12), -1, 1))
        errors.append(np.rad2deg(max(float(rotation), float(direction))))
    return np.array(errors)


def _square(pose: Floats) -> Floats:
    return np.vstack([pose, [0, 0, 0, 1.0]])


def _inverse(pose: Floats) -> Floats:
    return np.asarray(np.linalg.inv(pose), np.float64)


def _relative(a_from_world: Floats, b_from_world: Floats) -> Floats:
    return np.asarray(b_from_world @ _inverse(a_from_world))
