"""Which axis of a cloud points up: +z as in surveying, or +y as in phones and computer graphics.

Evidence is the directions of flat surfaces. Seen from the true up axis nearly all are level or upright, whatever the
building's heading; seen from a horizontal axis that holds only if the building happens to stand along the axes.
Level surfaces lie on few levels (floors, ceilings), a storey's height apart. +z is kept unless +y is clearly better.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from services.ingest.clouds.extent import robust_extent
from services.ingest.clouds.source import Floats

MAX_SURFACES = 30_000
_NEIGHBOURS = 12
_FLATNESS = 0.03
"""Least eigenvalue over their sum (surface variation; Pauly et al., VIS 2002) of neighbourhoods that count as flat."""
_LEVEL_COSINE = np.cos(np.radians(10))
_UPRIGHT_COSINE = np.sin(np.radians(10))
_LEVEL_HALF_M = 0.15
_MIN_SURFACES = 500
_ORDERLY = 0.7
_CONTRAST = 0.3
_MIN_WALLS = 100
_LEAST_LEVEL = 0.1
_STOREY_M = (1.9, 6.0)
_ROOM_M = (1.9, 4.0)
_LYING_FLATNESS = 0.4
"""The height of a flat over its lesser width; stairwells are wider than that, for their height."""
_PLAN_CELL_M = 0.5
_COVERING = 0.6


@dataclass(frozen=True)
class AxisEvidence:
    """How well an axis does as the vertical."""

    level: float
    """Share of flat surfaces that are level."""
    has_storeys: bool
    """They lie on few levels, a storey's height apart."""


@dataclass(frozen=True)
class UpAxis:
    is_y: bool
    evidence: str
    may_be_y: bool = False
    """Kept as +z, but without much reason."""


def find_up_axis(sample_m: npt.NDArray[np.float32]) -> UpAxis:
    """Decide from a sample of the cloud, (n, 3) in metres and the file's axes."""
    places, normals = find_flat_surfaces(sample_m)
    if len(places) < _MIN_SURFACES:
        return UpAxis(False, f"only {len(places)} flat places in a sample; +z is assumed")
    y, z = (weigh_axis(places, normals, axis) for axis in (1, 2))
    # Walls, if +y is up: what is not level then.
    walls = normals[np.abs(normals[:, 1]) <= _LEVEL_COSINE]
    upright = float(np.mean(_is_upright(walls, 1))) if len(walls) >= _MIN_WALLS else 0.0
    along_z = float(np.mean(_is_upright(walls, 2) | (np.abs(walls[:, 2]) > _LEVEL_COSINE))) if len(walls) else 0.0
    extent = robust_extent(sample_m)
    words = (
        f"{y.level:.0%} of flat surfaces face along y and {z.level:.0%} along z; of those that do not face along y {upright:.0%} "
        f"are square to it, {along_z:.0%} square to or along z; {extent[0]:.1f} x {extent[1]:.1f} x {extent[2]:.1f} m"
    )
    is_orderly = y.level >= _LEAST_LEVEL and upright >= _ORDERLY
    # The building stands askew to x and z, and only about y it is in order.
    askew = is_orderly and upright - along_z >= _CONTRAST and z.level < 0.05
    # It stands along the axes: only its proportions tell. A flat lies between two large levels, a room's height apart, and
    # is several times as wide; a façade has one, and so does what was scanned without its ceilings.
    flatness = extent[1] / max(min(extent[0], extent[2]), 1e-9)
    lying = is_orderly and flatness <= _LYING_FLATNESS
    between = lying and _is_between_levels(places, normals, 1)
    is_y = bool((askew and (y.has_storeys or flatness <= 0.6)) or between)
    return UpAxis(is_y, words, may_be_y=not is_y and bool(askew or lying))


def _is_between_levels(places: Floats, normals: Floats, axis: int) -> bool:
    """Whether two levels along an axis, a room's height apart, each cover most of the plan."""
    is_level = np.abs(normals[:, axis]) > _LEVEL_COSINE
    plan = [other for other in range(3) if other != axis]
    cells = np.floor((places[:, plan] - places[:, plan].min(axis=0)) / _PLAN_CELL_M).astype(np.int64)
    cell = cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1]
    heights = places[:, axis]
    covering = [
        height
        for height, _ in find_levels(heights[is_level])
        if len(np.unique(cell[is_level & (np.abs(heights - height) <= _LEVEL_HALF_M)]))
        >= _COVERING * len(np.unique(cell))
    ]
    return bool(covering) and _ROOM_M[0] <= max(covering) - min(covering) <= _ROOM_M[1]


def _is_upright(normals: Floats, axis: int) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(normals[:, axis]) < _UPRIGHT_COSINE)


def find_flat_surfaces(sample_m: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Places (m, 3) and unit normals (m, 3), evenly over the surfaces: cells of a grid stand for their points."""
    points = _thin_evenly(sample_m.astype(np.float64))
    if len(points) <= _NEIGHBOURS:
        return np.empty((0, 3)), np.empty((0, 3))
    _, neighbours = cKDTree(points).query(points, k=_NEIGHBOURS)
    around = points[neighbours] - points[neighbours].mean(axis=1, keepdims=True)
    spread, axes = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    # Neighbours along a line, as of a sparse scan, have no normal.
    flat = (spread[:, 0] < _FLATNESS * spread.sum(axis=1)) & (spread[:, 1] > _FLATNESS * spread.sum(axis=1))
    return points[flat], axes[flat, :, 0]


def weigh_axis(places: Floats, normals: Floats, axis: int) -> AxisEvidence:
    is_level = np.abs(normals[:, axis]) > _LEVEL_COSINE
    level = float(is_level.mean())
    if np.count_nonzero(is_level) < 50:
        return AxisEvidence(level, False)
    heights = places[is_level, axis]
    low, high = np.percentile(places[:, axis], (1, 99))
    return AxisEvidence(level, _has_storeys(heights, low, high))


def _has_storeys(heights: Floats, low: float, high: float) -> bool:
    """Whether most level surfaces lie on a few strong levels: a floor alone at the bottom, or two a storey's height apart."""
    levels = find_levels(heights)
    if sum(share for _, share in levels) < 0.6:
        return False
    gaps = [abs(a - b) for place, (a, _) in enumerate(levels) for b, _ in levels[:place]]
    if any(_STOREY_M[0] <= gap <= _STOREY_M[1] for gap in gaps):
        return True
    strongest = levels[0][0]
    return bool(
        len(levels) == 1 and strongest - low < 2 * _LEVEL_HALF_M and _ROOM_M[0] / 2 <= high - low <= _STOREY_M[1]
    )


def find_levels(heights: Floats) -> list[tuple[float, float]]:
    """Up to eight strong levels: height in metres, and their share of all; the strongest first."""
    left = np.sort(heights)
    levels: list[tuple[float, float]] = []
    while len(left) and len(levels) < 8:
        inside = np.searchsorted(left, left + 2 * _LEVEL_HALF_M, "right") - np.arange(len(left))
        begin = int(inside.argmax())
        share = float(inside[begin] / len(heights))
        if share < 0.08:
            break
        levels.append((float(np.median(left[begin : begin + inside[begin]])), share))
        left = np.delete(left, slice(begin, begin + int(inside[begin])))
    return levels


def _thin_evenly(points: Floats) -> Floats:
    """One point for each cell of a grid that is just coarse enough."""
    side_m = 0.05
    while True:
        cells = np.floor((points - points.min(axis=0)) / side_m).astype(np.int64)
        cells = np.minimum(cells, (1 << 20) - 1)
        _, first = np.unique(cells[:, 0] << 40 | cells[:, 1] << 20 | cells[:, 2], return_index=True)
        if len(first) <= MAX_SURFACES:
            return points[np.sort(first)]
        side_m *= 1.3
