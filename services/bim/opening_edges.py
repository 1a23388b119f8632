"""Edges of holes to a fraction of a cell.

An edge is where the faces of the wall end, line by line; the median over the lines ignores what happens to stand there. Where the
reveal itself was seen, the median of its points is better still.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bim.hole_rectangles import Hole
from services.bim.wall_planes import WallView
from services.bim.wall_rasters import WallRaster, clear_recess_m

_CLAD_M = 0.02
_SEARCH_M = 0.10
_WITHIN_M = 0.07
_OUTSIDE_BINS = 3
_BINS_A_VOXEL = 4
_REVEAL_M = 0.02
_REVEAL_POINTS = 12
_REVEAL_COSINE = 0.8
_LEAST_LINES = 4
_LEAST_POINTS = 15
_BIN_M = 0.005
_HIDDEN_BORDER = 0.3
_MOST_HIDDEN_M = 0.2
_DENSER = 0.5
FLOOR_SILL_M = 0.13
"""Holes that begin lower than this above the floor are entered on foot."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rectangle:
    """A hole in a wall: u from … to, z sill … head."""

    from_m: float
    to_m: float
    sill_m: float
    head_m: float

    @property
    def width_m(self) -> float:
        return self.to_m - self.from_m

    @property
    def height_m(self) -> float:
        return self.head_m - self.sill_m


def refine(view: WallView, raster: WallRaster, hole: Hole) -> Rectangle:
    """The rectangle of a hole, its edges where the wall's faces end."""
    i0, i1, j0, j1 = hole.cells
    cell = raster.cell_m
    u0, u1 = i0 * cell, i1 * cell
    z0, z1 = raster.base_m + j0 * cell, raster.base_m + j1 * cell
    wall = view.wall
    clear = clear_recess_m(view)
    inside = (view.recess_left > clear) & (view.recess_right > clear)
    jamb, level = inside & (view.along > _REVEAL_COSINE), inside & (view.up > _REVEAL_COSINE)
    upright = _Lines(view, view.u, view.z, _within(view.z, z0, z1))
    across = _Lines(view, view.z, view.u, _within(view.u, u0, u1))
    left, right = upright.edge(u0, 1, jamb), upright.edge(u1, -1, jamb)
    head = across.edge(z1, -1, level)
    # On a sill lies a board, and on its board a frame: no reveal, only the face below is what counts.
    below = _Lines(view, view.z, view.u, across.beside & view.facing)
    sill = below.edge(z0, 1, np.zeros_like(level))
    hidden = _hidden(raster, hole)
    to_ceiling = (raster.shape[1] - j1) * cell < 2.5 * cell
    return Rectangle(
        from_m=float(np.clip(left - hidden[0], 0.0, wall.length_m)),
        to_m=float(np.clip(right + hidden[1], 0.0, wall.length_m)),
        sill_m=max(sill if j0 > 0 else wall.base_m, wall.base_m),
        head_m=min(wall.top_m if to_ceiling and z1 - head < cell else head, wall.top_m),
    )


def _hidden(raster: WallRaster, hole: Hole) -> tuple[float, float]:
    """How far the hole goes on behind what hides its sides: half of what is hidden, as a curtain hangs over both."""
    i0, i1, j0, j1 = hole.cells
    rows = slice(j0 + 1, j1 - 1)
    inner = float(raster.within[i0 + 4 : i1 - 4, rows].mean()) if i1 - i0 > 9 else 1.0
    found = []
    for seen, beside, edge in (
        (hole.support.border[0], raster.closed[:i0][::-1, rows], raster.within[i0 : i0 + 3, rows]),
        (hole.support.border[1], raster.closed[i1:, rows], raster.within[i1 - 3 : i1, rows]),
    ):
        framed = float(edge.mean()) > inner + _DENSER * (1 - inner)
        if seen > _HIDDEN_BORDER or framed or not beside.size or j0 * raster.cell_m < FLOOR_SILL_M:
            found.append(0.0)
            continue
        free = np.where(beside.any(0), beside.argmax(0), len(beside))
        found.append(min(0.5 * float(np.median(free)) * raster.cell_m, _MOST_HIDDEN_M))
    return found[0], found[1]


def _within(values: Floats, low: float, high: float) -> Bools:
    margin = 0.1 * (high - low)
    return np.asarray((values > low + margin) & (values < high - margin))


@dataclass(frozen=True)
class _Lines:
    """Lines over which an edge of a hole runs. across, along (n,): coordinates of the view's points; beside (n,): within its length."""

    view: WallView
    across: Floats
    along: Floats
    beside: Bools

    def edge(self, coarse: float, way: int, reveal: Bools) -> float:
        """Where wall ends near `coarse`; way 1: the hole lies towards larger values across, -1: towards smaller ones.

        Of the two sides that one counts which shows more of the hole: a frame that lies flat on the other hides its edge.
        """
        towards = way * (self.across - coarse)
        near = self.beside & (towards > -_SEARCH_M) & (towards < _WITHIN_M)
        clear = clear_recess_m(self.view)
        ends, deeper = [], []
        for face, recess in ((self.view.left, self.view.recess_left), (self.view.right, self.view.recess_right)):
            # Normals are bent beside an edge: here the place alone tells what belongs to the face.
            flush = near & (recess > -_CLAD_M) & (recess < clear)
            end = _end(towards[flush], self.along[flush], self.view.spacing_m) if face.seen else None
            if end is not None:
                ends.append(end)
                deeper.append(
                    towards[near & self.view.facing & (recess >= clear) & (recess < self.view.wall.thickness_m)]
                )
        edge = coarse + way * _nearer_end(ends, deeper) if ends else coarse
        shown = reveal & self.beside & (np.abs(self.across - edge) < _REVEAL_M)
        return float(np.median(self.across[shown])) if shown.sum() >= _REVEAL_POINTS else float(edge)


def _nearer_end(ends: list[float], deeper: list[Floats]) -> float:
    """The smaller end of the two faces, if beyond it something deeper was seen: else something may have stood before the wall."""
    last = max(ends)
    for end, places in sorted(zip(ends, deeper, strict=True), key=lambda side: side[0]):
        if np.sum((places > end + 0.005) & (places < last)) >= _REVEAL_POINTS:
            return end
    return last


def _end(towards: Floats, lines: Floats, spacing: float) -> float | None:
    """Where points that begin outside stop, in two steps: the best split by their density, then line by line before it."""
    if len(towards) < _LEAST_POINTS:
        return None
    bins = int((_SEARCH_M + _WITHIN_M) / _BIN_M) + 1
    counts = np.bincount(np.clip(((towards + _SEARCH_M) / _BIN_M).astype(np.int64), 0, bins - 1), minlength=bins)
    # Bins are finer than points lie: groups of them are as wide as a voxel.
    usual = float(np.median(counts[: _OUTSIDE_BINS * _BINS_A_VOXEL].reshape(_OUTSIDE_BINS, _BINS_A_VOXEL).mean(1)))
    if usual <= 0:
        return None
    split = -_SEARCH_M + (int(np.argmax(np.cumsum(counts - usual / 2))) + 1) * _BIN_M
    kept = towards < split + _BIN_M
    line = np.floor(lines[kept] / (2 * spacing)).astype(np.int64)
    last = np.full(int(line.max() - line.min()) + 1, -np.inf)
    np.maximum.at(last, line - line.min(), towards[kept])
    seen = last[np.isfinite(last) & (last > split - 0.04)]
    return float(np.median(seen)) + 0.25 * spacing if len(seen) >= _LEAST_LINES else split
