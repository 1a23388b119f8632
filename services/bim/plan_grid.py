"""Rasters in plan: which cell a point falls into, and masks that belong to surfaces of some width."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PlanGrid:
    """Square cells of side `cell_m`, `shape` (nx, ny), from `low` (2,) upwards. Arrays over it are indexed [x, y]."""

    low: Floats
    cell_m: float
    shape: tuple[int, int]

    @staticmethod
    def around(low: Floats, high: Floats, cell_m: float, margin_m: float) -> "PlanGrid":
        """A grid that covers the box from `low` (2,) to `high` (2,) and a margin."""
        start = np.floor((low - margin_m) / cell_m) * cell_m
        nx, ny = np.ceil((high + margin_m - start) / cell_m).astype(np.int64) + 1
        return PlanGrid(np.asarray(start, np.float64), cell_m, (int(nx), int(ny)))

    def cells(self, xy: Floats32 | Floats) -> NDArray[np.int64]:
        """Flat cell numbers (n,) of points (n, 2); points outside go to the nearest cell of the border."""
        ij = np.floor((xy - self.low) / self.cell_m).astype(np.int64)
        np.clip(ij, 0, np.array(self.shape) - 1, out=ij)
        return np.asarray(ij[:, 0] * self.shape[1] + ij[:, 1])

    def counts(self, xy: Floats32 | Floats) -> NDArray[np.int64]:
        """How many points (n, 2) fall into each cell: (nx, ny)."""
        return np.bincount(self.cells(xy), minlength=self.size).reshape(self.shape)

    def sums(self, xy: Floats32 | Floats, values: Floats32 | Floats) -> Floats:
        """The sum of values (n,) over each cell: (nx, ny)."""
        summed = np.bincount(self.cells(xy), weights=values, minlength=self.size)
        return np.asarray(summed, np.float64).reshape(self.shape)

    def centres(self) -> Floats:
        """Middles of all cells: (nx, ny, 2)."""
        axes = [self.low[k] + (np.arange(self.shape[k]) + 0.5) * self.cell_m for k in (0, 1)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]


def wide_parts(mask: Bools, width_cells: int, filled: float) -> Bools:
    """The cells of `mask` that lie in a square of `width_cells` of which the share `filled` is in the mask.

    An opening (Serra 1982) that forgives gaps: strips narrower than the square go, sparse surfaces stay.
    """
    density = ndimage.uniform_filter(mask.astype(np.float32), width_cells, mode="constant")
    # A window of even width lies askew about its cell; the way back must lie askew the other way.
    back = -1 if width_cells % 2 == 0 else 0
    core = ndimage.maximum_filter(density >= filled, width_cells, mode="constant", origin=back)
    return np.asarray(mask & core)


def filled_region(mask: Bools, reach_cells: int) -> Bools:
    """The mask, closed over gaps of twice `reach_cells`, with its holes filled."""
    padded = np.pad(mask, reach_cells + 1)
    near = ndimage.distance_transform_edt(~padded) <= reach_cells
    closed = ndimage.distance_transform_edt(near) > reach_cells
    whole = ndimage.binary_fill_holes(closed | padded)
    inner = slice(reach_cells + 1, -(reach_cells + 1))
    return np.asarray(whole[inner, inner])
