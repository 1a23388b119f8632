"""What covers a wall, cell by cell: its faces, or something within its thickness, or nothing.

A cell is `solid` where a face of the wall (or what is fixed flat on it: a picture, a door's trim) was seen on either side. It is
`within` where points lie between the faces: reveals, frames, leaves, thresholds. Where it is neither, the wall may be open there, or
nobody could see it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.bim.model import Wall
from services.bim.wall_planes import WallView

_CELL_M = 0.03
_CELL_SPACINGS = 1.5
_BEFORE_M = 0.04
_CLEAR_M = 0.008
"""From this mean recess on, a cell shows something behind the face: half of what a door in a thin wall has."""
_CROSSING_MARGIN_M = 0.02
_ISLAND_M2 = 0.4

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class WallRaster:
    """Masks (nu, nz) over cells of `cell_m`, from u = 0 and the wall's base upwards.

    crossing: where another wall stands in the way. opaque: `within` with a surface parallel to the wall. depth_points: cells
    with any point between the faces, also at the edge of solid ones.
    """

    cell_m: float
    base_m: float
    solid: Bools
    within: Bools
    opaque: Bools
    crossing: Bools
    depth_points: Bools

    @property
    def shape(self) -> tuple[int, int]:
        return self.solid.shape[0], self.solid.shape[1]

    def columns(self, first: int, last: int) -> "WallRaster":
        """The cells between two columns."""
        part = slice(first, last)
        return WallRaster(
            self.cell_m,
            self.base_m,
            self.solid[part],
            self.within[part],
            self.opaque[part],
            self.crossing[part],
            self.depth_points[part],
        )

    @property
    def closed(self) -> Bools:
        """No opening can be here."""
        return np.asarray(self.solid | self.crossing)


def clear_recess_m(view: WallView) -> float:
    """How far behind a face a single point has to lie to be no point of the face."""
    return min(max(0.011, 2.5 * view.noise_m), 0.3 * view.wall.thickness_m)


def rasterise(view: WallView, others: Iterable[Wall]) -> WallRaster:
    """The raster of a wall of which a face was seen; `others` are the walls of its storey."""
    wall = view.wall
    cell = max(_CELL_M, _CELL_SPACINGS * view.spacing_m)
    shape = (max(1, int(np.ceil(wall.length_m / cell))), max(1, int(np.ceil((wall.top_m - wall.base_m) / cell))))
    i = np.floor(view.u / cell).astype(np.int64)
    j = np.floor((view.z - wall.base_m) / cell).astype(np.int64)
    kept = (i >= 0) & (i < shape[0]) & (j >= 0) & (j < shape[1])
    flat = np.where(kept, i * shape[1] + j, shape[0] * shape[1])
    sides = ((view.left, view.recess_left), (view.right, view.recess_right))
    solid = np.any([_covered(view, recess, flat, shape) for face, recess in sides if face.seen], axis=0)
    clear = clear_recess_m(view)
    inside = (view.recess_left > clear) & (view.recess_right > clear)
    within = _counts(flat[inside], shape) > 0
    opaque = _counts(flat[inside & view.facing], shape) > 0
    solid = ndimage.binary_closing(np.pad(solid, 2), np.ones((3, 3), np.bool_))[2:-2, 2:-2]
    solid = _without_islands(solid, cell)
    crossing = np.broadcast_to(_crossed(wall, others, cell, shape[0])[:, None], shape)
    return WallRaster(cell, wall.base_m, np.asarray(solid), within & ~solid, opaque & ~solid, crossing, within)


def _counts(flat: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Points in every cell; those of the number after the last lie outside."""
    return np.bincount(flat, minlength=shape[0] * shape[1] + 1)[:-1].reshape(shape)


def _covered(view: WallView, recess: Floats, flat: NDArray[np.int64], shape: tuple[int, int]) -> Bools:
    """Cells with a surface in the face, by the mean recess around them: single points are too noisy for thin walls."""
    deepest = min(0.03, 0.5 * view.wall.thickness_m)
    near = view.facing & (recess > -_BEFORE_M) & (recess < deepest)
    count = _counts(flat[near], shape)
    total = np.bincount(flat[near], weights=recess[near], minlength=shape[0] * shape[1] + 1)[:-1].reshape(shape)
    around = ndimage.uniform_filter(count.astype(np.float64), 3, mode="constant")
    mean = ndimage.uniform_filter(total, 3, mode="constant") / np.maximum(around, 1e-9)
    own = total / np.maximum(count, 1)
    # Beside an edge the mean of the neighbourhood belongs to neither side: the cell's own points decide with it.
    return np.asarray((count > 0) & ((own + mean) / 2 < _CLEAR_M))


def _without_islands(solid: Bools, cell_m: float) -> Bools:
    """Without what hangs together with nothing: a leaf that stands ajar passes through both faces of its wall."""
    parts, count = ndimage.label(solid, np.ones((3, 3), np.bool_))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    keep = sizes * cell_m**2 > _ISLAND_M2
    ends = np.concatenate([parts[0], parts[-1], parts[:, -1]])
    keep[ends] = True
    keep[0] = False
    return np.asarray(keep[parts])


def _crossed(wall: Wall, others: Iterable[Wall], cell_m: float, cells: int) -> Bools:
    """Cells (nu,) along the wall over which another wall's body lies."""
    crossed = np.zeros(cells, np.bool_)
    middle = (np.arange(cells) + 0.5) * cell_m
    for other in others:
        if other.wall_id == wall.wall_id or min(other.top_m, wall.top_m) - max(other.base_m, wall.base_m) < 0.5:
            continue
        sine = float(wall.direction[0] * other.direction[1] - wall.direction[1] * other.direction[0])
        if abs(sine) < 0.17:
            continue
        for offset in (-wall.thickness_m / 2, 0.0, wall.thickness_m / 2):
            origin = wall.start + wall.normal * offset
            span = _span_within(origin, wall.direction, other)
            if span is not None:
                crossed |= (middle > span[0] - _CROSSING_MARGIN_M) & (middle < span[1] + _CROSSING_MARGIN_M)
    return crossed


def _span_within(origin: Floats, along: Floats, other: Wall) -> tuple[float, float] | None:
    """From where to where a line lies in the body of a wall."""
    low, high = -np.inf, np.inf
    start = origin - other.start
    for axis, near, far in (
        (other.direction, -0.03, other.length_m + 0.03),
        (other.normal, -other.thickness_m / 2, other.thickness_m / 2),
    ):
        at, step = float(start @ axis), float(along @ axis)
        if abs(step) < 1e-9:
            if not near <= at <= far:
                return None
            continue
        first, last = sorted(((near - at) / step, (far - at) / step))
        low, high = max(low, first), min(high, last)
    return (low, high) if low < high else None
