"""Upright surfaces of a storey, stacked into plan cells: where they stand, which way they face, at which heights they are seen.

Walls are looked for just below the ceiling, over furniture, door leaves and people, as Zbirovský and Nežerka (2025) do; what
is seen further down is kept as a pattern of heights (Okorn et al. 2010 count them), to tell walls from beams.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bim.plan_grid import PlanGrid
from services.bim.preprocessing import WorkingCloud
from services.bim.room_cover import RoomCover

CROWN_M = (0.04, 0.3)
"""Distances below the ceiling between which walls are looked for."""
CROWN_STEPS = 8
BODY_STEPS = 48
_MAX_LEAN = 0.3
_MAX_BEND = 0.15
_FLOOR_GAP_M = 0.08

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Masks = NDArray[np.uint64]


@dataclass(frozen=True)
class Stacks:
    """xy (n, 2) float64: mean of the upright points of a cell; facing (n, 2): mean normal, either sign; weight (n,): points.

    heights (n,) uint64: bit k is set where there are points in the k-th of `steps` equal parts of the band.
    """

    xy: Floats
    facing: Floats
    weight: Floats
    heights: Masks
    steps: int


@dataclass(frozen=True)
class PlanColumns:
    """The band just below the ceiling, and the rest of the height down to the floor."""

    crown: Stacks
    body: Stacks


def upright_columns(cloud: WorkingCloud, rows: NDArray[np.int64], cover: RoomCover) -> PlanColumns:
    """Stack the upright points among `rows` of the cloud; bands follow the local floor and ceiling."""
    rows = rows[(np.abs(cloud.normals[rows, 2]) < _MAX_LEAN) & (cloud.bend[rows] < _MAX_BEND)]
    points, normals = cloud.points[rows], cloud.normals[rows]
    cell = cover.grid.cells(points[:, :2])
    floor, ceiling = cover.floor_m.ravel()[cell] + _FLOOR_GAP_M, cover.ceiling_m.ravel()[cell]
    grid = PlanGrid(cover.grid.low, cloud.spacing_m, _finer(cover.grid, cloud.spacing_m))
    crown = _stacks(points, normals, grid, (ceiling - CROWN_M[1], ceiling - CROWN_M[0]), CROWN_STEPS)
    return PlanColumns(crown, _stacks(points, normals, grid, (floor, ceiling - CROWN_M[1]), BODY_STEPS))


def _finer(grid: PlanGrid, cell_m: float) -> tuple[int, int]:
    nx, ny = (int(np.ceil(side * grid.cell_m / cell_m)) + 1 for side in grid.shape)
    return nx, ny


def _stacks(
    points: Floats32, normals: Floats32, grid: PlanGrid, band_m: tuple[Floats32, Floats32], steps: int
) -> Stacks:
    """Stack the points (n, 3) between two heights (n,) each."""
    low, high = band_m
    height = (points[:, 2] - low) / np.maximum(high - low, 0.01)
    band = (height >= 0) & (height < 1)
    points, normals, height = points[band], normals[band], height[band]
    occupied, place = np.unique(grid.cells(points[:, :2]), return_inverse=True)
    heights = np.zeros(len(occupied), np.uint64)
    np.bitwise_or.at(heights, place, np.left_shift(np.uint64(1), (height * steps).astype(np.uint64)))
    count = np.bincount(place, minlength=len(occupied)).astype(np.float64)
    sums = [np.bincount(place, points[:, k].astype(np.float64), len(occupied)) for k in (0, 1)]
    return Stacks(
        xy=np.stack(sums, axis=1) / count[:, None],
        facing=_mean_facing(normals, place, len(occupied)),
        weight=count,
        heights=heights,
        steps=steps,
    )


def _mean_facing(normals: Floats32, place: NDArray[np.int64], cells: int) -> Floats:
    """Mean plan directions (cells, 2) of normals whose signs mean nothing: by the doubled angle."""
    angle = 2 * np.arctan2(normals[:, 1], normals[:, 0]).astype(np.float64)
    sine, cosine = np.bincount(place, np.sin(angle), cells), np.bincount(place, np.cos(angle), cells)
    half = np.arctan2(sine, cosine) / 2
    return np.stack([np.cos(half), np.sin(half)], axis=1)
