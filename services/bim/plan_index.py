"""Points around a storey's walls, sorted by plan cells: what stands near a wall is found without looking at the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bim.model import Wall
from services.bim.plan_grid import PlanGrid
from services.bim.preprocessing import WorkingCloud

_CELL_M = 0.25
_MARGIN_M = 0.1

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PlanIndex:
    """points, normals (n, 3) float32 of one storey, those of one plan cell in a row; `starts` (cells + 1,) of the rows."""

    cloud: WorkingCloud
    points: Floats32
    normals: Floats32
    grid: PlanGrid
    starts: Rows

    @staticmethod
    def around(cloud: WorkingCloud, walls: Sequence[Wall], reach_m: float) -> "PlanIndex":
        """The points no further than about `reach_m` from the bodies of walls, up to their height; n log n."""
        low_m = min(wall.base_m for wall in walls) - _MARGIN_M
        high_m = max(wall.top_m for wall in walls) + _MARGIN_M
        ends = np.array([end for wall in walls for end in (wall.start, wall.end)])
        thickest = max(wall.thickness_m for wall in walls)
        grid = PlanGrid.around(ends.min(0), ends.max(0), _CELL_M, thickest + reach_m + 2 * _CELL_M)
        wanted = np.zeros(grid.size, np.bool_)
        for wall in walls:
            half = (wall.length_m / 2 + _MARGIN_M, wall.thickness_m / 2 + reach_m)
            wanted[_cells_near_box(grid, (wall.start + wall.end) / 2, wall.direction, half)] = True
        high = np.flatnonzero((cloud.points[:, 2] >= low_m) & (cloud.points[:, 2] <= high_m))
        place = ((cloud.points[high, :2] - grid.low.astype(np.float32)) * np.float32(1 / _CELL_M)).astype(np.int32)
        inside = (place >= 0).all(1) & (place < np.array(grid.shape, np.int32)).all(1)
        high, cells = high[inside], (place[inside, 0] * grid.shape[1] + place[inside, 1]).astype(np.int64)
        near = wanted[cells]
        rows, cells = high[near], cells[near]
        order = np.argsort(cells, kind="stable")
        starts = np.searchsorted(cells[order], np.arange(grid.size + 1))
        rows = rows[order]
        return PlanIndex(cloud, cloud.points[rows], cloud.normals[rows], grid, np.asarray(starts, np.int64))

    def near_box(self, centre: Floats, along: Floats, half_m: tuple[float, float]) -> Rows:
        """Rows of points in cells that a turned plan rectangle touches; some of them lie outside of it.

        centre (2,), along (2,) unit; half_m: half sides along and across.
        """
        cells = _cells_near_box(self.grid, centre, along, half_m)
        counts = self.starts[cells + 1] - self.starts[cells]
        return _ranges(self.starts[cells], counts)


def _cells_near_box(grid: PlanGrid, centre: Floats, along: Floats, half_m: tuple[float, float]) -> Rows:
    """Flat numbers of the cells that a turned rectangle touches, and of few others."""
    across = np.array([-along[1], along[0]])
    reach = np.abs(along) * half_m[0] + np.abs(across) * half_m[1]
    low = np.maximum(np.floor((centre - reach - grid.low) / _CELL_M).astype(np.int64), 0)
    high = np.minimum(np.floor((centre + reach - grid.low) / _CELL_M).astype(np.int64), np.array(grid.shape) - 1)
    if np.any(low > high):
        return np.zeros(0, np.int64)
    i, j = (axis.ravel() for axis in np.meshgrid(*(np.arange(low[k], high[k] + 1) for k in (0, 1)), indexing="ij"))
    middle = grid.low + (np.stack([i, j], 1) + 0.5) * _CELL_M - centre
    slack = _CELL_M * 0.75
    touched = (np.abs(middle @ along) <= half_m[0] + slack) & (np.abs(middle @ across) <= half_m[1] + slack)
    return np.asarray((i * grid.shape[1] + j)[touched], np.int64)


def _ranges(starts: Rows, counts: Rows) -> Rows:
    """Concatenated ranges starts[k] … starts[k] + counts[k]."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros(0, np.int64)
    first = np.cumsum(counts) - counts
    return np.asarray(np.arange(total) - np.repeat(first, counts) + np.repeat(starts, counts), np.int64)
