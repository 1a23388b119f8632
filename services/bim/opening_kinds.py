"""Door, window or passage.

What begins above the floor is a window. Among holes that begin at the floor, what stands in them decides: a leaf that fills the hole
is a closed door; a frame with a rail along its bottom is glazing that one does not walk through; a frame on jambs and head alone
has a door in it, wherever its leaf is; bare jambs are a passage.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bim.model import OpeningKind
from services.bim.opening_edges import Rectangle
from services.bim.wall_planes import WallView
from services.bim.wall_rasters import clear_recess_m

WINDOW_SILL_M = 0.27
_LINE_M = 0.05
_LINE_SPACINGS = 2.2
_STEP_M = (0.018, 0.09)
"""How far a frame stands out from its jamb."""
_RAIL_M = (0.03, 0.09)
_RAIL_MARGIN_M = 0.12
_FILL_CELL_M = 0.06
_FILLED = 0.72
_RAIL_SHARE = 0.5
_CASING_M = (0.006, 0.03)
_CASING_SHARE = 0.6
_PANE_M = 0.012
_PANE_ABOVE_SILL_M = (0.13, 0.5)
_LEAST_LINES = 4
_FRAME_SHARE = 0.4

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Filling:
    """What stands within a hole, as shares from 0 to 1: of jambs and head with a frame, of the bottom with a rail, of the area."""

    left: float
    right: float
    head: float
    rail: float
    area: float
    casing: float
    pane_m: float
    """How much deeper the filling lies above its bottom rail: the depth of a pane in its frame, nothing for a leaf."""

    @property
    def has_frame(self) -> bool:
        sides = sorted((self.left, self.right, self.head))
        return sides[1] > _FRAME_SHARE or self.casing > _CASING_SHARE


def filling_of(view: WallView, hole: Rectangle) -> Filling:
    """Looks at the points between the faces, inside the hole."""
    clear = clear_recess_m(view)
    inside = (view.recess_left > clear) & (view.recess_right > clear)
    inside &= (view.u > hole.from_m) & (view.u < hole.to_m) & (view.z > hole.sill_m) & (view.z < hole.head_m)
    u, z = view.u[inside], view.z[inside]
    line = max(_LINE_M, _LINE_SPACINGS * view.spacing_m)
    upright = (hole.sill_m + 0.15, hole.head_m - 0.15)
    across = (hole.from_m + _RAIL_MARGIN_M, hole.to_m - _RAIL_MARGIN_M)
    return Filling(
        left=_lined(z[_between(u - hole.from_m, _STEP_M)], upright, line),
        right=_lined(z[_between(hole.to_m - u, _STEP_M)], upright, line),
        head=_lined(u[_between(hole.head_m - z, _STEP_M)], across, line),
        rail=_lined(u[_between(z - hole.sill_m, _RAIL_M)], across, line),
        area=_filled(u, z, hole, max(_FILL_CELL_M, 2 * view.spacing_m)),
        casing=max(_casing(view, recess, hole, line) for recess in (view.recess_left, view.recess_right)),
        pane_m=max(
            _pane_depth_m(u, z - hole.sill_m, recess[inside], across, line)
            for recess in (view.recess_left, view.recess_right)
        ),
    )


def kind_of(hole: Rectangle, floor_m: float, filling: Filling) -> OpeningKind:
    """The class of a hole; `floor_m` is the height of the floor at the wall."""
    if hole.sill_m - floor_m > WINDOW_SILL_M:
        return OpeningKind.WINDOW
    if filling.rail > _RAIL_SHARE and filling.pane_m > _PANE_M:
        return OpeningKind.WINDOW
    if filling.area > _FILLED:
        return OpeningKind.DOOR
    if not filling.has_frame:
        return OpeningKind.PASSAGE
    return OpeningKind.WINDOW if filling.rail > _RAIL_SHARE else OpeningKind.DOOR


def _between(values: Floats, limits: tuple[float, float]) -> Bools:
    return np.asarray((values > limits[0]) & (values < limits[1]))


def _lined(places: Floats, span: tuple[float, float], line_m: float) -> float:
    """The share of a span over which there are points, by pieces of `line_m`."""
    cells = max(1, int((span[1] - span[0]) / line_m))
    if span[1] <= span[0]:
        return 0.0
    cell = np.floor((places - span[0]) / (span[1] - span[0]) * cells).astype(np.int64)
    return len(np.unique(cell[(cell >= 0) & (cell < cells)])) / cells


def _filled(u: Floats, z: Floats, hole: Rectangle, cell_m: float) -> float:
    columns, rows = max(1, int(hole.width_m / cell_m)), max(1, int(hole.height_m / cell_m))
    i = np.minimum(((u - hole.from_m) / hole.width_m * columns).astype(np.int64), columns - 1)
    j = np.minimum(((z - hole.sill_m) / hole.height_m * rows).astype(np.int64), rows - 1)
    return len(np.unique(i * rows + j)) / (columns * rows)


def _pane_depth_m(u: Floats, above_sill: Floats, recess: Floats, span: tuple[float, float], line_m: float) -> float:
    """How much deeper the nearest surface is above the rail than at it, as seen from one side; 0 where either was not seen."""
    rail, pane = (
        _nearest(u[chosen], recess[chosen], span, line_m)
        for chosen in (_between(above_sill, _RAIL_M), _between(above_sill, _PANE_ABOVE_SILL_M))
    )
    known = np.isfinite(rail) & np.isfinite(pane)
    return float(np.median(pane[known] - rail[known])) if known.sum() >= _LEAST_LINES else 0.0


def _nearest(u: Floats, recess: Floats, span: tuple[float, float], line_m: float) -> Floats:
    """The smallest tenth's recess line by line over a span, NaN where a line has too few points."""
    lines = max(1, int((span[1] - span[0]) / line_m))
    line = np.floor((u - span[0]) / (span[1] - span[0]) * lines).astype(np.int64)
    inside = (line >= 0) & (line < lines)
    order = np.lexsort((recess[inside], line[inside]))
    line, recess = line[inside][order], recess[inside][order]
    counts = np.bincount(line, minlength=lines)
    place = np.cumsum(counts) - counts + counts // 10
    nearest = np.full(lines, np.nan)
    enough = counts >= 3
    nearest[enough] = recess[place[enough]]
    return nearest


def _casing(view: WallView, recess: Floats, hole: Rectangle, line_m: float) -> float:
    """The second largest share of jambs and head along which a strip of casing lies on the wall, and plain wall beyond it."""
    raised = view.facing & _between(-recess, _CASING_M)
    flat = view.facing & (np.abs(recess) < _CASING_M[0])
    upright = (hole.sill_m + 0.15, hole.head_m - 0.15)
    across = (hole.from_m + 0.05, hole.to_m - 0.05)
    beside_jambs = _between(view.z, upright)
    shares = []
    for outside, place, beside, span in (
        (hole.from_m - view.u, view.z, beside_jambs, upright),
        (view.u - hole.to_m, view.z, beside_jambs, upright),
        (view.z - hole.head_m, view.u, _between(view.u, across), across),
    ):
        near = beside & _between(outside, (0.0, 0.05))
        beyond = beside & _between(outside, (0.10, 0.18))
        plain = flat[beyond].sum() > raised[beyond].sum()
        shares.append(
            _lined(place[near & raised], span, line_m) if plain and raised[near].sum() > flat[near].sum() else 0.0
        )
    return sorted(shares)[1]
