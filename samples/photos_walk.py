"""How people walk round a place with their cameras: at all heights and distances, never quite level."""

import math
from dataclasses import dataclass

import numpy as np

from samples.surfaces import Floats

_STEP_RAD = math.radians(14)
_JITTER_RAD = math.radians(2.5)


@dataclass(frozen=True)
class Walk:
    """A walk round `centre_m`, at distances `radius_m`, looking at places about the centre (spread `aim_m`).

    A picture is taken about every 14 degrees: round and round at changing distances, or to and fro over `arc_rad` about the
    direction `start_rad`. With `across_m` one stands inside and looks over the centre to the other side, that far beyond it.
    """

    centre_m: tuple[float, float, float]
    radius_m: tuple[float, float]
    aim_m: tuple[float, float, float]
    start_rad: float = 0.0
    arc_rad: float | None = None
    across_m: float = 0.0
    name: str | None = None

    def pose(self, index: int, rng: np.random.Generator) -> Floats:
        """world_from_camera (4, 4) of the walk's picture `index`; camera axes x right, y down, z forward; level but for the hand."""
        angle = self._angle(index) + float(rng.normal(0, _JITTER_RAD))
        near, far = self.radius_m
        radius = float(rng.uniform(near, far))
        height = float(
            rng.choice([rng.uniform(1.3, 1.9), rng.uniform(0.6, 1.2), rng.uniform(2.2, 3.6)], p=[0.6, 0.15, 0.25])
        )
        centre = np.array(self.centre_m)
        outward = np.array([math.cos(angle), math.sin(angle), 0.0])
        position = np.array([centre[0], centre[1], height]) + radius * outward
        target = centre - self.across_m * outward + rng.normal(0, 1, 3) * np.array(self.aim_m)
        return looking_at(position, target, float(rng.normal(0, math.radians(2))))

    def _angle(self, index: int) -> float:
        if self.arc_rad is None:
            return self.start_rad + index * _STEP_RAD
        steps = max(1, int(self.arc_rad / _STEP_RAD))
        turn = index % (2 * steps)
        return self.start_rad + self.arc_rad * (min(turn, 2 * steps - turn) / steps - 0.5)


def looking_at(position: Floats, target: Floats, roll_rad: float) -> Floats:
    """world_from_camera (4, 4) of an upright camera at `position` that looks at `target`, rolled about its axis."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    pose[:3, 3] = position
    return pose
