"""How a person walks through the flat with a phone: a tour through all rooms, looking around, with an unsteady hand."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float64]

_RATE_HZ = 120.0
_SMOOTHING_S = 0.32
_LOOKING_UP_RAD = 0.0

# Stations of the tour: x, y (metres), heading and tilt (degrees; 0 = +x, 90 = +y; up positive). Headings are unwrapped.
_TOUR: tuple[tuple[float, float, float, float], ...] = (
    (1.0, 2.0, 60, -14),
    (1.1, 2.75, 20, -12),
    (2.3, 2.85, -50, -14),
    (3.7, 2.7, -100, -12),
    (4.3, 2.2, -60, -10),
    (4.7, 1.9, 0, -8),
    (5.75, 1.95, 35, -10),
    (6.1, 2.5, 20, -8),
    (6.9, 2.65, -5, -10),
    (7.9, 2.6, -35, -12),
    (8.3, 2.0, -20, -12),
    (8.3, 1.7, 40, -12),
    (8.2, 1.8, 110, -10),
    (8.1, 2.4, 160, -10),
    (7.3, 2.65, 170, -10),
    (6.2, 2.7, 120, -8),
    (6.0, 3.6, 95, -8),
    (6.1, 4.6, 40, -10),
    (6.9, 5.05, 10, -10),
    (7.8, 5.0, 35, -12),
    (8.6, 5.2, 80, -12),
    (9.2, 5.2, 20, -12),
    (9.2, 5.1, -60, -14),
    (8.6, 5.2, -130, -14),
    (7.8, 5.1, -180, -10),
    (6.5, 5.1, -190, -8),
    (6.05, 5.4, -200, -8),
    (5.3, 5.6, -185, -10),
    (4.5, 5.7, -200, -14),
    (4.3, 5.7, -250, -14),
    (4.3, 5.6, -320, -14),
    (5.2, 5.6, -370, -10),
    (6.0, 5.2, -430, -8),
    (6.05, 4.0, -450, -8),
    (6.0, 2.7, -460, -8),
    (5.7, 2.0, -520, -8),
    (4.6, 1.95, -540, -10),
    (3.8, 2.8, -520, -12),
    (2.6, 3.0, -505, -14),
    (1.75, 3.2, -460, -12),
    (1.65, 4.2, -440, -12),
    (1.25, 4.9, -430, -14),
    (1.2, 5.3, -380, -14),
    (1.2, 5.3, -300, -14),
    (1.4, 4.8, -275, -12),
    (1.65, 4.0, -265, -12),
    (1.65, 3.2, -290, -12),
    (1.2, 2.6, -320, -14),
)


@dataclass(frozen=True)
class Pace:
    """How fast the person moves, and how steady the hand is."""

    speed_m_s: float = 0.62
    turn_rad_s: float = 0.75
    sway_m: float = 0.012
    sway_rad: float = 0.012
    tremor_rad: float = 0.0006


class Walk:
    """The camera's true motion in the building, defined for any time of the capture."""

    def __init__(self, duration_s: float, seed: int, pace: Pace = Pace()) -> None:  # noqa: B008 (frozen)
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
            loose = station + [*rng.normal(0, 0.04, 2), *rng.normal(0, 0.05, 2)] + [0, 0, lap * turns, 0]
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
