"""Rectangles of holes in the raster of a wall.

Of all rectangles between lines along which the wall begins or ends, the best one covers no wall, has wall along its borders,
and holds what only a hole can show: reveals, frames and leaves within the wall's thickness. Sums over rectangles and along
lines are differences of running sums (Crow 1984), so that thousands of rectangles are judged at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.bim.wall_rasters import WallRaster

_LINES = 14
_WALL_COST = 2.5
_NOTHING_COST = 0.03
_WITHIN_GAIN = 0.4
_BARE_GAIN = 0.6
_NEARNESS = (1.0, 0.9, 0.7)
_DEPTH_GAIN = 1.5
_EDGE_CELLS = 3
_DEPTH_WEIGHT = 0.3
MIN_SIDE_M = 0.35
_MIN_AREA_M2 = 0.2
_ASIDE_CELLS = 8
_LEAST_EVIDENCE = 6
_FLOOR_M = 0.12
_MOST_WALL = 0.25
_FILLED_SHARE = 0.2

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
Cells = tuple[int, int, int, int]
"""First and last + 1 cell along u, first and last + 1 along z."""
Corners = tuple[Integers, Integers, Integers, Integers]
"""The same for many rectangles: arrays that broadcast against each other."""


@dataclass(frozen=True)
class Support:
    """Shares of the sides of rectangles, (4, …) for left, right, bottom, top: along which wall begins, which show depth."""

    border: Floats
    depth: Floats
    wall_share: Floats
    within_share: Floats

    def at(self, k: int, m: int) -> "Support":
        """Of one rectangle."""
        return Support(self.border[:, k, m], self.depth[:, k, m], self.wall_share[k, m], self.within_share[k, m])


@dataclass(frozen=True)
class Hole:
    """A rectangle of cells that is an opening."""

    cells: Cells
    support: Support


def find_holes(raster: WallRaster) -> tuple[Hole, ...]:
    """The holes of a wall, from left to right; none overlap."""
    found: list[Hole] = []
    regions, count = ndimage.label(~raster.closed)
    evidence = np.bincount(regions.ravel(), weights=raster.depth_points.ravel(), minlength=count + 1)
    for region, place in enumerate(ndimage.find_objects(regions), 1):
        if evidence[region] < _LEAST_EVIDENCE:
            continue
        # What lies further away than the sides of a rectangle look is nothing to it.
        first, last = max(place[0].start - _ASIDE_CELLS, 0), place[0].stop + _ASIDE_CELLS
        part, free = raster.columns(first, last), regions[first:last] == region
        while (free & part.within).any():
            hole = _best_in(part, free)
            if hole is None:
                break
            i0, i1, j0, j1 = hole.cells
            free[max(i0 - 2, 0) : i1 + 2, max(j0 - 2, 0) : j1 + 2] = False
            found.append(Hole((i0 + first, i1 + first, j0, j1), hole.support))
    return tuple(sorted(found, key=lambda hole: hole.cells))


def _best_in(raster: WallRaster, region: Bools) -> Hole | None:
    """The best rectangle around a region among those that are holes."""
    sums = _Sums.of(raster, ~region)
    i, j = _Lines.of(sums.left, sums.right, region), _Lines.of(sums.bottom, sums.top, region.T)
    least = max(2, int(MIN_SIDE_M / raster.cell_m))
    u = [(a, b) for a in i.starts for b in i.ends if b - a >= least]
    z = [(a, b) for a in j.starts for b in j.ends if b - a >= least]
    if not u or not z:
        return None
    (i0, i1), (j0, j1) = np.array(u).T[..., None], np.array(z).T[:, None, :]
    support = sums.support((i0, i1, j0, j1))
    score = sums.score((i0, i1, j0, j1))
    good = is_hole(support, (i0, i1, j0, j1), raster) & ((i1 - i0) * (j1 - j0) * raster.cell_m**2 >= _MIN_AREA_M2)
    if not (good & (score > 0)).any():
        return None
    k, m = np.unravel_index(int(np.argmax(np.where(good, score, -np.inf))), score.shape)
    cells = (int(i0[k, 0]), int(i1[k, 0]), int(j0[0, m]), int(j1[0, m]))
    return Hole(cells, support.at(int(k), int(m)))


@dataclass(frozen=True)
class _Side:
    """Lines that may be one side of a rectangle, as running sums along them: (lines, cells + 1).

    starts: wall ends just here, more where depth shows. border: wall near before the line. depth: points within the thickness
    near behind it. steps (lines,): how much more depth shows behind a line than before it; where a curtain ends, no wall does.
    """

    starts: Floats
    border: Floats
    depth: Floats
    steps: Floats

    @staticmethod
    def of(closed: Bools, depth: Bools) -> "_Side":
        """Sides through which one steps into the hole towards larger indices of the first axis."""
        lines = len(closed) + 1
        before = np.pad(closed, ((3, 0), (0, 0)))
        deep = np.pad(depth, ((1, _EDGE_CELLS), (0, 0)))
        near_wall = before[2:] | before[1:-1] | before[:-2]
        hole = np.pad(~closed, ((0, 1), (0, 0)))
        edge = deep[:lines] | deep[1 : lines + 1]
        # The nearer to the line wall ends, the better: a frame beside it belongs to the hole.
        ending = np.select([before[2:], before[1:-1], before[:-2]], _NEARNESS, 0.0)
        starts = ending * hole * (_BARE_GAIN + _DEPTH_GAIN * edge)
        shown = np.any([deep[k : k + lines] for k in range(_EDGE_CELLS + 1)], axis=0)
        total = shown.sum(1).astype(np.float64)
        steps = np.maximum(total - np.pad(total, (_EDGE_CELLS + 1, 0))[:lines], 0)
        return _Side(_running(starts), _running(near_wall), _running(shown), steps)

    def flipped(self) -> "_Side":
        """The same for the opposite direction, where it was made of flipped masks."""
        return _Side(self.starts[::-1], self.border[::-1], self.depth[::-1], self.steps[::-1])


def _running(lines: Floats | Bools) -> Floats:
    return np.pad(np.cumsum(lines.astype(np.float64), axis=1), ((0, 0), (1, 0)))


@dataclass(frozen=True)
class _Sums:
    """All that is needed to judge rectangles."""

    weight: Floats
    closed: Floats
    within: Floats
    left: _Side
    right: _Side
    bottom: _Side
    top: _Side

    @staticmethod
    def of(raster: WallRaster, closed: Bools) -> "_Sums":
        """`closed`: cells that no rectangle should cover."""
        depth, within = raster.depth_points, raster.within & ~closed
        weights = np.where(closed, -_WALL_COST, np.where(within, _WITHIN_GAIN, -_NOTHING_COST))
        return _Sums(
            weight=_areas(weights),
            closed=_areas(closed),
            within=_areas(within),
            left=_Side.of(closed, depth),
            right=_Side.of(closed[::-1], depth[::-1]).flipped(),
            bottom=_Side.of(closed.T, depth.T),
            top=_Side.of(closed.T[::-1], depth.T[::-1]).flipped(),
        )

    def score(self, cells: Corners) -> Floats:
        """How good rectangles are; more than 0 for any worth a thought."""
        i0, i1, j0, j1 = cells
        border = (
            self.left.starts[i0, j1] - self.left.starts[i0, j0] + self.right.starts[i1, j1] - self.right.starts[i1, j0]
        )
        border += self.bottom.starts[j0, i1] - self.bottom.starts[j0, i0]
        border += self.top.starts[j1, i1] - self.top.starts[j1, i0]
        return np.asarray(_inside(self.weight, cells) + border)

    def support(self, cells: Corners) -> Support:
        """What speaks for rectangles. Cells at their corners count for none of their sides."""
        i0, i1, j0, j1 = cells
        sides = (
            (self.left, i0, j0, j1),
            (self.right, i1, j0, j1),
            (self.bottom, j0, i0, i1),
            (self.top, j1, i0, i1),
        )
        area = (i1 - i0) * (j1 - j0)
        return Support(
            border=np.stack([_share(side.border, *line) for side, *line in sides]),
            depth=np.stack([_share(side.depth, *line) for side, *line in sides]),
            wall_share=_inside(self.closed, cells) / area,
            within_share=_inside(self.within, cells) / area,
        )


def _areas(cells: Floats | Bools) -> Floats:
    return np.pad(cells.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _inside(areas: Floats, cells: Corners) -> Floats:
    i0, i1, j0, j1 = cells
    return np.asarray(areas[i1, j1] - areas[i0, j1] - areas[i1, j0] + areas[i0, j0])


def _share(running: Floats, line: Integers, first: Integers, last: Integers) -> Floats:
    return np.asarray((running[line, last - 1] - running[line, first + 1]) / np.maximum(last - first - 2, 1))


@dataclass(frozen=True)
class _Lines:
    """Lines at which a rectangle may begin, and may end."""

    starts: list[int]
    ends: list[int]

    @staticmethod
    def of(low: _Side, high: _Side, region: Bools) -> "_Lines":
        """Those along which most wall ends or most depth shows, and the extent of the region (cells along the first axis)."""
        extent = np.flatnonzero(region.any(1))
        begin, end = int(extent[0]), int(extent[-1]) + 1
        return _Lines(_peaks(low, begin, end), _peaks(high, begin, end))


def _peaks(side: _Side, begin: int, end: int) -> list[int]:
    values = (side.starts[:, -1] + _DEPTH_WEIGHT * side.depth[:, -1] + side.steps)[begin : end + 1]
    local = (values >= ndimage.maximum_filter1d(values, 3)) & (values > 0)
    places = np.flatnonzero(local)
    chosen = places[np.argsort(-values[places], kind="stable")[:_LINES]] + begin
    return sorted({begin, end, *(int(place) for place in chosen)})


def is_hole(support: Support, cells: Corners, raster: WallRaster) -> Bools:
    """Which rectangles are holes, and not places that nobody could see: sides that end the wall, and depth behind them."""
    _, _, j0, j1 = cells
    from_floor = np.broadcast_to(j0 * raster.cell_m < _FLOOR_M, support.wall_share.shape)
    to_ceiling = np.broadcast_to((raster.shape[1] - j1) * raster.cell_m < 0.1, support.wall_share.shape)
    ends = support.border > 0.4
    firm = ends & (support.depth > 0.25)
    firm[2] = np.where(from_floor, support.depth[2] > 0.3, firm[2])
    count = firm.sum(0)
    framed = (count >= np.where(to_ceiling & from_floor, 2, 3)) & (firm[0] | firm[1])
    # Curtains may hide all but the middle of a window, and the wall beside it.
    filled = (count >= 1) & ((support.within_share > _FILLED_SHARE) | ((support.depth > 0.6).sum(0) >= 3))
    # A floor that runs on through the wall is proof enough where the wall ends on both sides.
    trodden = from_floor & (support.depth[2] > 0.6) & (support.border[0] > 0.7) & (support.border[1] > 0.7)
    trodden &= (support.border[3] > 0.7) | to_ceiling
    # No side may lie in what nobody saw: shadows of furniture below windows would make doors of them.
    bounded = ends | (support.depth > 0.25)
    bounded[2] = np.where(from_floor, support.depth[2] > 0.3, bounded[2])
    bounded[2] |= from_floor & firm[0] & firm[1] & firm[3]
    bounded[3] |= to_ceiling
    return np.asarray((framed | filled | trodden) & bounded.all(0) & (support.wall_share < _MOST_WALL))
