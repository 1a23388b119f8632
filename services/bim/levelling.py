"""Which way is up, and which ways do walls face: from the normals of a cloud."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

MAX_TILT_RAD = np.deg2rad(3.0)
"""A building that leans by more than this is not levelled: its floors would not be found among its ramps."""
_BINS = 720
"""Quarter degrees of half a turn."""
_MIN_SHARE = 0.02
_PIECE_M = 2.0
_PIECE_HEIGHT_M = 0.3
_MIN_PIECE = 300

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


def level_from_cloud(points: Floats32, normals: Floats32) -> Floats:
    """The rotation (3, 3) that makes floors level, from points (n, 3) of flat places and their unit normals.

    Normals of single points say roughly where up is; then planes are fitted to all that is horizontal within pieces of a
    few square metres, and the area-weighted median of their slopes is taken. The identity where the lean exceeds MAX_TILT_RAD.
    """
    up = np.array([0.0, 0.0, 1.0])
    for limit in np.deg2rad([8.0, 4.0]):
        # Up is what normals of floors agree on and normals of walls are square to.
        height = np.abs(normals @ up.astype(np.float32))
        floors = normals[height > np.cos(limit)].astype(np.float64)
        walls = normals[height < np.sin(limit)].astype(np.float64)
        if len(floors) + len(walls) < _MIN_PIECE:
            return np.eye(3)
        _, vectors = np.linalg.eigh(walls.T @ walls - floors.T @ floors)
        up = vectors[:, 0] * np.sign(vectors[2, 0])
    if np.arccos(np.clip(up[2], -1, 1)) > MAX_TILT_RAD:
        return np.eye(3)
    coarse = _turn_to_z(up)
    turned = (normals @ coarse.T.astype(np.float32))[:, 2]
    horizontal = points[np.abs(turned) > 0.95] @ coarse.T
    slope = _slope(horizontal - horizontal.mean(0)) if len(horizontal) else None
    if slope is None:
        return coarse
    rise = np.array([-slope[0], -slope[1], 1.0])
    return np.asarray(_turn_to_z(rise / np.linalg.norm(rise)) @ coarse)


def _slope(points: Floats) -> tuple[float, float] | None:
    """dz/dx and dz/dy that most of the horizontal area agrees on: (n, 3) points, cut into pieces; None if there are none."""
    cell = np.floor(points / (_PIECE_M, _PIECE_M, _PIECE_HEIGHT_M)).astype(np.int64)
    cell -= cell.min(0)
    span = cell.max(0) + 1
    _, piece = np.unique((cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2], return_inverse=True)
    for _ in range(2):
        # The second time without what lies off the plane of the first: thresholds, carpets, another level.
        count = np.maximum(np.bincount(piece), 1)
        local = points - np.stack([np.bincount(piece, points[:, k]) / count for k in range(3)], axis=1)[piece]
        x, y, z = local.T
        xx, xy, yy, xz, yz = (np.bincount(piece, a * b) for a, b in ((x, x), (x, y), (y, y), (x, z), (y, z)))
        determinant = np.maximum(xx * yy - xy * xy, 1e-12)
        along_x = (yy * xz - xy * yz) / determinant
        along_y = (xx * yz - xy * xz) / determinant
        near = np.abs(z - along_x[piece] * x - along_y[piece] * y) < 0.03
        points, piece = points[near], piece[near]
        if not len(points):
            return None
    # A narrow piece says nothing about the slope across it.
    broad = (count >= _MIN_PIECE) & (np.minimum(xx, yy) / count > (0.2 * _PIECE_M) ** 2)
    if not np.any(broad):
        return None
    return _weighted_median(along_x[broad], count[broad]), _weighted_median(along_y[broad], count[broad])


def _weighted_median(values: Floats, weights: NDArray[np.int64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _turn_to_z(up: Floats) -> Floats:
    """The smallest rotation that takes unit vector `up` to z (Rodrigues)."""
    axis = np.cross(up, [0.0, 0.0, 1.0])
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + up[2]))


def tilt_rad(turn: Floats) -> float:
    """By how much a rotation (3, 3) tips the z axis."""
    return float(np.arctan2(np.hypot(turn[0, 2], turn[1, 2]), turn[2, 2]))


def main_directions(normals: Floats32) -> Floats:
    """Angles (d,) in [0, pi) that wall normals have in plan, the most frequent first; peaks of their histogram."""
    walls = normals[np.abs(normals[:, 2]) < 0.1]
    if not len(walls):
        return np.zeros(0)
    angle = np.arctan2(walls[:, 1], walls[:, 0]).astype(np.float64) % np.pi
    counts = np.bincount(np.minimum((angle / np.pi * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS)
    smooth = gaussian_filter1d(counts.astype(np.float64), 4.0, mode="wrap")
    peak = (smooth >= np.roll(smooth, 1)) & (smooth > np.roll(smooth, -1)) & (smooth > _MIN_SHARE * smooth.max())
    found = np.flatnonzero(peak)
    found = found[np.argsort(-smooth[found], kind="stable")]
    return np.array([_refined(angle, (bin_ + 0.5) * np.pi / _BINS) for bin_ in found])


def _refined(angle: Floats, start: float) -> float:
    """The mean of the angles (mod pi) around `start`, in a window that narrows."""
    for reach in np.deg2rad([4.0, 2.0, 2.0]):
        off = (angle - start + np.pi / 2) % np.pi - np.pi / 2
        start = float(start + off[np.abs(off) < reach].mean()) if np.any(np.abs(off) < reach) else start
    return start % np.pi
