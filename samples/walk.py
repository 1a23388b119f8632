"""How a person walks through the flat with a phone: a tour through all rooms, looking around, with an unsteady hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float64]

_RATE_HZ = 120.0
_SMOOTHING_S = 0.32

# Stations of the tour: x, y (metres), heading and tilt (degrees; 0 = +x, 90 = +y; up positive). Headings are unwrapped.
# Through a doorway the gaze goes ahead into the next room, as people do when they scan, so that views keep overlapping.
_TOUR: tuple[tuple[float, float, float, float], ...] = (
    (0.9, 1.6, 55, -14),
    (1.0, 2.3, 32, -13),
    (1.5, 2.85, 0, -13),
    (2.2, 3.0, -32, -14),
    (2.9, 2.9, -52, -14),
    (3.4, 2.55, -38, -12),
    (4.0, 2.1, -12, -10),
    (4.6, 1.95, 0, -9),
    (5.3, 1.95, 10, -9),
    (5.8, 2.15, 22, -9),
    (6.15, 2.5, 10, -8),
    (6.8, 2.65, -5, -10),
    (7.6, 2.6, -20, -12),
    (8.0, 2.2, -28, -13),
    (8.2, 1.75, -20, -13),
    (8.6, 1.3, 5, -12),
    (8.95, 1.1, 42, -12),
    (8.85, 1.3, 80, -12),
    (8.5, 1.55, 112, -12),
    (8.2, 1.9, 145, -11),
    (7.9, 2.35, 168, -10),
    (7.4, 2.62, 178, -10),
    (6.8, 2.65, 180, -9),
    (6.3, 2.75, 152, -9),
    (6.05, 3.2, 118, -9),
    (6.0, 3.8, 92, -9),
    (6.0, 4.35, 66, -9),
    (6.25, 4.85, 34, -9),
    (6.8, 5.05, 14, -10),
    (7.5, 5.05, 14, -12),
    (8.2, 5.0, 40, -13),
    (8.75, 5.15, 62, -13),
    (9.25, 5.35, 30, -13),
    (9.3, 5.45, -12, -12),
    (9.15, 5.55, -55, -13),
    (8.85, 5.6, -92, -13),
    (8.45, 5.6, -126, -12),
    (8.05, 5.4, -155, -11),
    (7.55, 5.15, -174, -10),
    (6.85, 5.05, -180, -9),
    (6.3, 5.2, -184, -9),
    (5.9, 5.5, -180, -10),
    (5.3, 5.6, -180, -11),
    (4.75, 5.6, -192, -14),
    (4.45, 5.5, -226, -15),
    (4.25, 5.35, -262, -14),
    (4.15, 5.2, -302, -14),
    (4.25, 5.3, -338, -13),
    (4.65, 5.5, -358, -11),
    (5.3, 5.6, -365, -10),
    (5.85, 5.45, -386, -9),
    (6.05, 5.0, -420, -9),
    (6.05, 4.4, -444, -9),
    (6.0, 3.6, -450, -9),
    (6.0, 2.9, -460, -9),
    (5.9, 2.4, -490, -9),
    (5.6, 2.05, -520, -9),
    (5.0, 1.95, -540, -10),
    (4.3, 2.1, -545, -11),
    (3.6, 2.5, -550, -12),
    (3.0, 2.8, -560, -12),
    (2.4, 2.95, -580, -12),
    (1.95, 3.3, -605, -11),
    (1.7, 3.9, -615, -11),
    (1.5, 4.5, -620, -12),
    (1.2, 5.0, -640, -14),
    (1.15, 5.4, -680, -14),
    (1.2, 5.5, -720, -14),
    (1.35, 5.3, -760, -13),
    (1.5, 4.9, -800, -12),
    (1.6, 4.3, -812, -11),
    (1.65, 3.7, -810, -12),
    (1.55, 3.1, -800, -13),
    (1.3, 2.7, -768, -13),
    (1.1, 2.2, -718, -13),
    (0.9, 1.6, -665, -14),
)


@dataclass(frozen=True)
class Pace:
    """How fast the person moves, and how steady the hand is."""

    speed_m_s: float = 0.6
    turn_rad_s: float = 0.65
    sway_m: float = 0.012
    sway_rad: float = 0.012
    tremor_rad: float = 0.0006


class Walk:
    """The camera's true motion in the building, defined for any time of the capture."""

    def __init__(self, duration_s: float, seed: int, pace: Pace) -> None:
        rng = np.random.default_rng([seed, 4])
        self._duration_s = duration_s + 2.0
        time, station = _stations(self._duration_s, pace, rng)
        grid = np.arange(-1.0, self._duration_s, 1 / _RATE_HZ)
        states = np.stack([np.interp(grid, time, column) for column in station.T], axis=1)
        states = gaussian_filter1d(states, _SMOOTHING_S * _RATE_HZ, axis=0, mode="nearest")
        x, y, heading, tilt = states.T
        sway = _wander(rng, len(grid), 6, 0.35)
        tremor = _wander(rng, len(grid), 3, 0.02)
        step = 0.012 * np.sin(2 * np.pi * 1.75 * grid)
        position = np.stack([x, y, np.full_like(x, 1.46) + step], axis=1) + pace.sway_m * sway[:, :3]
        angles = np.stack([heading, tilt, np.zeros_like(heading)], axis=1)
        angles += pace.sway_rad * sway[:, 3:] * [1.0, 1.0, 1.4] + pace.tremor_rad * tremor
        self._spline = CubicSpline(grid, np.concatenate([position, angles], axis=1))

    def poses(self, times_s: Floats) -> Floats:
        """building_from_camera (n, 4, 4) float64 at times from 0 to the duration; OpenCV camera axes."""
        if len(times_s) and (times_s.min() < -0.5 or times_s.max() > self._duration_s - 0.5):
            raise ValueError("time outside of the walk")
        state = self._spline(times_s)
        poses = np.tile(np.eye(4), (len(times_s), 1, 1))
        poses[:, :3, :3] = rotation_from_angles(state[:, 3], state[:, 4], state[:, 5])
        poses[:, :3, 3] = state[:, :3]
        return poses


def rotation_from_angles(heading_rad: Floats, tilt_rad: Floats, roll_rad: Floats) -> Floats:
    """building_from_camera rotations (n, 3, 3): heading about z from +x, tilt upwards, roll about the optical axis."""
    ch, sh, ct, st = np.cos(heading_rad), np.sin(heading_rad), np.cos(tilt_rad), np.sin(tilt_rad)
    forward = np.stack([ct * ch, ct * sh, st], axis=-1)
    right = np.stack([sh, -ch, np.zeros_like(sh)], axis=-1)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad)[..., None], np.sin(roll_rad)[..., None]
    return np.stack([c * right + s * down, c * down - s * right, forward], axis=-1)


def _stations(duration_s: float, pace: Pace, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Times and states (x, y, heading, tilt in radians) of the stations, lap after lap until the time is filled."""
    tour = np.array(_TOUR, np.float64)
    tour[:, 2:] = np.deg2rad(tour[:, 2:])
    # A lap ends on the heading it began with, but for whole turns.
    turns = np.round((tour[-1, 2] - tour[0, 2]) / (2 * np.pi)) * 2 * np.pi
    times, states = [0.0], [tour[0]]
    lap = 0
    while times[-1] < duration_s + 1.0:
        for station in tour[1 if lap == 0 else 0 :]:
            # Nobody walks the same way twice.
            loose = station + np.array([*rng.normal(0, 0.04, 2), *rng.normal(0, 0.05, 2)])
            loose[2] += lap * turns
            move = float(np.linalg.norm(loose[:2] - states[-1][:2]))
            turn = abs(float(loose[2] - states[-1][2]))
            times.append(times[-1] + max(move / pace.speed_m_s, turn / pace.turn_rad_s, 0.4))
            states.append(loose)
        lap += 1
    return np.array(times), np.array(states)


def _wander(rng: np.random.Generator, count: int, columns: int, period_s: float) -> Floats:
    """Smooth noise of unit spread, (count, columns)."""
    noise = gaussian_filter1d(rng.standard_normal((count, columns)), period_s * _RATE_HZ, axis=0, mode="wrap")
    return np.asarray(noise / np.maximum(noise.std(axis=0), 1e-12), np.float64)
