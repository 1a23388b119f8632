"""Where a storey has rooms, seen in plan: its ceilings and floors as rasters.

A wall is where no ceiling is. The gap between the ceilings of two rooms shows a wall even where furniture hides its face, and
a piece of furniture that looks like a wall has ceiling on both of its sides.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.bim.levels import Layering, StoreyLayers, bands, room_parts
from services.bim.plan_grid import PlanGrid, filled_region, wide_parts
from services.bim.preprocessing import FLAT_BEND, WorkingCloud

CELL_M = 0.025
_LEVEL_REACH_M = 0.035
_MIN_WIDTH_M = 0.4
_FACADE_POINTS = 2
_MIN_FACADE_M = 2.2
_LOWER_M = 0.3
_TILE_POINTS = 40
_RING_POINTS = 12
_CROWN_M = 0.4
_BESIDE_TILES = 2
_WIDE_WINDOW_M = 3.0
_MARGIN_M = 1.0
_SURROUNDINGS_M = 2.0
"""Outer faces lie within the thickest wall of a room; balconies, trees and fences beyond are not looked at."""

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RoomCover:
    """Rasters of a storey. cover (nx, ny) float32: 1 where a room's ceiling (or, without one, floor) was seen, smoothed.

    ceiling_m, floor_m (nx, ny) float32: of the nearest place where they were seen.
    """

    grid: PlanGrid
    cover: Floats32
    ceiling_m: Floats32
    floor_m: Floats32
    tiles: PlanGrid
    building: Bools
    """Tiles within the storey, stairwells and the like included."""
    from_outside: bool = False
    """Cover is the open air around the building, and heights run up to the façade's top."""

    def sampled(self, xy: Floats) -> Floats32:
        """Cover at points (..., 2), 0 to 1."""
        return self.cover.ravel()[self.grid.cells(xy.reshape(-1, 2))].reshape(xy.shape[:-1])

    def is_indoors(self, xy: Floats) -> Bools:
        """Whether points (n, 2) lie within the outline of the storey."""
        return np.asarray(self.building.ravel()[self.tiles.cells(xy)])


def building_tiles(layering: Layering) -> Bools:
    """Tiles within the outline of any storey."""
    return np.asarray(np.any([storey.region for storey in layering.storeys], axis=0))


def room_cover(cloud: WorkingCloud, layering: Layering, index: int, rows: Rows) -> RoomCover:
    """Rasterise the ceilings and floors of storey `index` from its points, `rows` of the cloud."""
    storey, tiles = layering.storeys[index], layering.grid
    points = cloud.points[rows]
    flat = (np.abs(cloud.normals[rows, 2]) > 0.9) & (cloud.bend[rows] < 2 * FLAT_BEND)
    low, high = points[:, :2].min(0).astype(np.float64), points[:, :2].max(0).astype(np.float64)
    grid = PlanGrid.around(low, high, CELL_M, _MARGIN_M)
    ceilings = sorted({layer.ceiling_m for layer in storey.layers})
    floors = sorted({layer.floor_m for layer in storey.layers}, reverse=True)
    ceiling, has_ceiling = _raster(points[flat], ceilings, grid)
    has_ceiling &= _under_own_ceiling(ceiling, grid, layering)
    floor, has_floor = _raster(points[flat], floors, grid)
    away = ndimage.distance_transform_edt(~has_ceiling) * CELL_M if has_ceiling.any() else np.full(grid.shape, np.inf)
    upright = (np.abs(cloud.normals[rows, 2]) < 0.3) & (cloud.bend[rows] < FLAT_BEND)
    within = _walled_in(points[upright], storey, tiles)
    # Terraces and paths outdoors may be as high as the floor.
    inner = building_tiles(layering) | within
    indoors = inner.ravel()[tiles.cells(grid.centres().reshape(-1, 2))].reshape(grid.shape)
    if layering.seen_from_outside:
        # From outside the open space is all around: façades face it, and the wall is behind them.
        cover = _open_air(points[upright], grid, indoors)
        above = _local_tops(points[upright], grid, indoors, (storey.floor_m, layering.facade_tops_m[index]))
    else:
        cover = has_ceiling | (has_floor & indoors & (away > 0.5))
        above = _nearest(ceiling, has_ceiling, storey.ceiling_m)
    return RoomCover(
        grid=grid,
        cover=_evened(cover),
        ceiling_m=above,
        floor_m=_nearest(floor, has_floor, storey.floor_m),
        tiles=tiles,
        building=_indoors(points, layering, index) | within,
        from_outside=layering.seen_from_outside,
    )


def rows_of_storey(cloud: WorkingCloud, layering: Layering, index: int) -> Rows:
    """Rows of the cloud that lie between a storey's floors and ceilings, in or near the building; ascending.

    The building is all storeys: in a stairwell one of them may have neither floor nor ceiling.
    """
    storey, tiles = layering.storeys[index], layering.grid
    building = building_tiles(layering)
    z = cloud.points[:, 2]
    top = layering.facade_tops_m[index] if layering.seen_from_outside else storey.top_m
    rows = np.flatnonzero((z > storey.base_m - 0.1) & (z < top + 0.1))
    near = ndimage.distance_transform_edt(~building) * tiles.cell_m < _SURROUNDINGS_M
    return np.asarray(rows[near.ravel()[tiles.cells(cloud.points[rows, :2])]])


def _indoors(points: Floats32, layering: Layering, index: int) -> Bools:
    """The tiles of a storey: under its ceilings, and what its points enclose of the other storeys' outlines.

    A stairwell has neither floor nor ceiling, but walls; over the roof of a lower annexe there is nothing.
    """
    storey, tiles = layering.storeys[index], layering.grid
    between = (points[:, 2] > storey.floor_m + 0.5) & (points[:, 2] < storey.ceiling_m - 0.1)
    seen = tiles.counts(points[between, :2]) >= _TILE_POINTS
    building = building_tiles(layering)
    return np.asarray(filled_region(storey.region | (seen & building), 1) & (building | storey.region))


def _walled_in(points: Floats32, storey: StoreyLayers, tiles: PlanGrid) -> Bools:
    """Tiles that upright points (n, 3) below the ceiling enclose together with the rooms of a storey.

    A scanner sees little of the ceiling at the far end of a corridor, but the walls around it. Fences are lower.
    """
    lowest = min(layer.ceiling_m for layer in storey.layers)
    crown = (points[:, 2] > lowest - _CROWN_M) & (points[:, 2] < storey.top_m)
    ring = storey.region | (tiles.counts(points[crown, :2]) >= _RING_POINTS)
    return np.asarray(filled_region(ring, 1) & ~ring)


def _open_air(points: Floats32, grid: PlanGrid, indoors: Bools) -> Bools:
    """What lies outside the façades: (nx, ny). The outline of the building in tiles is coarse; its points are not."""
    core = ndimage.binary_erosion(indoors, iterations=int(0.3 / CELL_M))
    near = ndimage.binary_dilation(indoors, iterations=int(0.4 / CELL_M))
    facade = (grid.counts(points[:, :2]) > _FACADE_POINTS) & near
    # Wide windows are gaps in the façade that belong to the building all the same.
    return ~filled_region(facade | core, int(_WIDE_WINDOW_M / 2 / CELL_M))


def _local_tops(points: Floats32, grid: PlanGrid, indoors: Bools, limits_m: tuple[float, float]) -> Floats32:
    """Up to where façades are seen (nx, ny): parts of a building may be lower than the storey's top."""
    floor, top = limits_m
    cell = grid.cells(points[:, :2])
    highest = np.full(grid.size, -np.inf, np.float32)
    np.maximum.at(highest, cell, points[:, 2])
    local = highest.reshape(grid.shape)
    facade = (grid.counts(points[:, :2]) > _FACADE_POINTS) & (local > floor + _MIN_FACADE_M)
    facade &= ndimage.binary_dilation(indoors, iterations=int(0.4 / CELL_M))
    tops = _nearest(np.where(facade, local, top).astype(np.float32), facade, top)
    return np.where(tops < top - _LOWER_M, tops, np.float32(top)).astype(np.float32)


def _under_own_ceiling(ceiling: Floats32, grid: PlanGrid, layering: Layering) -> Bools:
    """Where a ceiling (nx, ny) lies in or by a room that has one of its height: heads of windows may be as high as another's."""
    cell = layering.grid.cells(grid.centres().reshape(-1, 2))
    found = np.zeros(grid.shape, np.bool_)
    for level in layering.levels:
        near = ndimage.binary_dilation(room_parts(level.down), np.ones((3, 3)), iterations=_BESIDE_TILES)
        found |= (np.abs(ceiling - level.height_m) < 1e-3) & near.ravel()[cell].reshape(grid.shape)
    return found


def _raster(points: Floats32, heights: list[float], grid: PlanGrid) -> tuple[Floats32, Bools]:
    """Which of `heights` is seen in each cell: (nx, ny) float32, and where any is. Later heights win."""
    found = np.full(grid.shape, np.nan, np.float32)
    width = int(_MIN_WIDTH_M / CELL_M)
    limits = dict(zip(sorted(heights), bands(sorted(heights), _LEVEL_REACH_M), strict=True))
    for height in heights:
        low, high = limits[height]
        near = (points[:, 2] > low) & (points[:, 2] < high)
        seen = grid.counts(points[near, :2]) > 0
        # Undersides of lintels and sills may lie at the same height: they are narrow.
        typical = _typical_fill(seen, width)
        found[wide_parts(seen, width, 0.6 * typical)] = height
    return found, ~np.isnan(found)


def _typical_fill(seen: Bools, width: int) -> float:
    """The share of cells that points of a continuous surface reach, at the cloud's density."""
    density = ndimage.uniform_filter(seen.astype(np.float32), width, mode="constant")
    dense = density[seen]
    return float(np.clip(np.percentile(dense, 60), 0.2, 1.0)) if len(dense) else 1.0


def _evened(cover: Bools) -> Floats32:
    """Cover without the pin holes of sparse sampling: a cell counts if most of its neighbours do."""
    share = ndimage.uniform_filter(cover.astype(np.float32), 3, mode="constant")
    return np.asarray(np.where(cover, 1.0, np.where(share > 0.5, 1.0, 0.0)), np.float32)


def _nearest(values: Floats32, known: Bools, otherwise: float) -> Floats32:
    if not known.any():
        return np.full(values.shape, otherwise, np.float32)
    distance, (i, j) = ndimage.distance_transform_edt(~known, return_indices=True)
    return np.asarray(np.where(distance * CELL_M < 1.0, values[i, j], otherwise), np.float32)
