"""A wall as a scanner saw it: its surroundings in the wall's own coordinates, and both faces fitted anew.

Coordinates: u along the centre line from the wall's start, d to its left from the centre line, z up. A point's recess behind
a face is how far it lies behind that face as one looks at it; negative before it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from services.bim.model import Wall
from services.bim.plan_index import PlanIndex

REACH_M = 0.35
"""So far before both faces points are kept."""
FACING = 0.93
"""Cosine from which a surface counts as parallel to the wall: a leaf that stands ajar is not."""
_FACE_SEARCH_M = 0.06
_BIN_M = 0.002
_MIN_FACE_POINTS = 60
_TRIM_M = (0.009, 0.008, 0.008)
_ABOVE_DOORS_M = 2.15
_PEAK_SHARE = 0.4
_HOUGH_POINTS = 4000
_TURNS_M = (0.0, *(sign * step / 1000 for step in range(4, 64, 4) for sign in (1, -1)))

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Face:
    """One side of a wall: distance from the centre line = a + b u + c z, measured away from the wall."""

    side: int
    """1: the wall's left, -1: its right."""
    a: float
    b: float
    c: float
    seen: bool
    noise_m: float

    def recess(self, u: Floats, d: Floats, z: Floats) -> Floats:
        """How far points lie behind the face."""
        return self.a + self.b * u + self.c * z - self.side * d


@dataclass(frozen=True)
class WallView:
    """Points (n,) near one wall in its coordinates, and the recess behind its left and right face.

    facing (n,): the surface there is parallel to the wall; along (n,), up (n,): cosines of its normal, absolute.
    """

    wall: Wall
    u: Floats
    d: Floats
    z: Floats
    facing: Bools
    along: Floats
    up: Floats
    left: Face
    right: Face
    recess_left: Floats
    recess_right: Floats
    spacing_m: float

    @property
    def noise_m(self) -> float:
        return max(self.left.noise_m, self.right.noise_m)


def view_wall(index: PlanIndex, wall: Wall) -> WallView:
    """What lies near a wall; its height alone limits z."""
    reach = wall.thickness_m / 2 + REACH_M
    rows = index.near_box((wall.start + wall.end) / 2, wall.direction, (wall.length_m / 2 + 0.1, reach))
    points = index.points[rows].astype(np.float64)
    offset = points[:, :2] - wall.start
    u, d, z = offset @ wall.direction, offset @ wall.normal, points[:, 2]
    near = (np.abs(d) <= reach) & (u >= -0.1) & (u <= wall.length_m + 0.1)
    near &= (z >= wall.base_m - 0.06) & (z <= wall.top_m + 0.06)
    normals = index.normals[rows[near]].astype(np.float64)
    u, d, z = u[near], d[near], z[near]
    across = normals[:, :2] @ wall.normal
    facing = np.abs(across) > FACING
    outward = across if index.cloud.oriented else np.zeros_like(across)
    left = _fit_face(wall, 1, (u, d, z), facing & (outward >= 0))
    right = _fit_face(wall, -1, (u, d, z), facing & (outward <= 0))
    return WallView(
        wall=wall,
        u=u,
        d=d,
        z=z,
        facing=facing,
        along=np.abs(normals[:, :2] @ wall.direction),
        up=np.abs(normals[:, 2]),
        left=left,
        right=right,
        recess_left=left.recess(u, d, z),
        recess_right=right.recess(u, d, z),
        spacing_m=index.cloud.spacing_m,
    )


def _fit_face(wall: Wall, side: int, place: tuple[Floats, Floats, Floats], usable: Bools) -> Face:
    """The plane of most points near where the face should be; the nominal one where there are too few."""
    half = wall.thickness_m / 2
    nominal = Face(side, half, 0.0, 0.0, False, 0.004)
    reach = min(_FACE_SEARCH_M, 0.45 * wall.thickness_m + 0.01)
    u, d, z = place
    near = usable & (np.abs(side * d - half) < reach)
    near &= (u > 0) & (u < wall.length_m) & (z > wall.base_m + 0.05) & (z < wall.top_m - 0.03)
    if near.sum() < _MIN_FACE_POINTS:
        return nominal
    u, away, z = u[near], side * d[near], z[near]
    middle = u - wall.length_m / 2
    mode, slope = _outermost_line(away - half + reach, middle, z - wall.base_m, 2 * reach)
    mode += half - reach
    design = np.stack([np.ones_like(u), middle, z - wall.base_m], 1)
    fit = np.array([mode, slope, 0.0])
    deviation = away - design @ fit
    for trim in _TRIM_M:
        kept = np.abs(deviation) < trim
        if kept.sum() < _MIN_FACE_POINTS:
            return nominal
        fit = _damped(design[kept], away[kept], np.array([mode, slope, 0.0]))
        deviation = away - design @ fit
    kept = np.abs(deviation) < _TRIM_M[-1]
    noise = float(1.4826 * np.median(np.abs(deviation[kept]))) if kept.any() else 0.004
    a = float(fit[0] - fit[1] * wall.length_m / 2 - fit[2] * wall.base_m)
    return Face(side, a, float(fit[1]), float(fit[2]), True, noise)


def _outermost_line(away: Floats, along: Floats, above_floor: Floats, extent_m: float) -> tuple[float, float]:
    """The distance, from 0 to `extent_m`, at which the wall itself lies, and its slope: closed doors make a line behind it.

    Above doors there are none; where too little was seen there, the outermost of the high peaks is the wall. Of all slopes
    that turn the wall's ends by some centimetres, the one with the sharpest peak counts (a Hough transform).
    """
    high = above_floor > _ABOVE_DOORS_M
    chosen = high if high.sum() >= 2 * _MIN_FACE_POINTS else np.ones_like(high)
    away, along = away[chosen], along[chosen]
    thinned = slice(None, None, max(1, len(away) // _HOUGH_POINTS))
    half = max(float(np.abs(along).max()), 0.25)
    best = (-1.0, 0.0)
    for turn in _TURNS_M:
        peak = float(_histogram(away[thinned] - turn / half * along[thinned], extent_m).max())
        # A straight wall is the rule: turned ones have to be clearly better.
        if peak * (1.0 if turn else 1.02) > best[0]:
            best = (peak, turn / half)
    smooth = _histogram(away - best[1] * along, extent_m)
    peaks = np.flatnonzero((smooth >= np.roll(smooth, 1)) & (smooth > np.roll(smooth, -1)))
    if not len(peaks):
        return float(np.median(away)), 0.0
    tall = peaks[smooth[peaks] > _PEAK_SHARE * smooth[peaks].max()]
    return (int(tall.max()) + 0.5) * _BIN_M, best[1]


def _histogram(away: Floats, extent_m: float) -> Floats:
    bins = int(extent_m / _BIN_M) + 1
    inside = (away >= 0) & (away < extent_m)
    counts = np.bincount((away[inside] / _BIN_M).astype(np.int64), minlength=bins)
    return np.asarray(gaussian_filter1d(counts.astype(np.float64), 2.0))


def _damped(design: Floats, away: Floats, usual: Floats) -> Floats:
    """Least squares with slopes held to what the points can tell: a face seen in a corner only must not be extrapolated."""
    count = len(away)
    damping = np.diag([0.0, 0.025 * count, 0.5 * count])
    change = np.linalg.solve(design.T @ design + damping + 1e-9 * np.eye(3), design.T @ (away - design @ usual))
    return np.asarray(usual + change, np.float64)
