"""Storeys of a building that was scanned from outside only: façades, and the ground they stand on.

Nobody saw a floor or a ceiling. The ground is the largest level face; façades end at one height; what they enclose is the
building. A roof of the thickness of the settings lies on top, and storeys are as many of a usual height as fit in between.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contracts.building_settings import BuildingSettings
from services.bim.levels import MIN_STOREY_AREA_M2, TILE_M, Layer, Layering, StoreyLayers
from services.bim.plan_grid import PlanGrid
from services.bim.preprocessing import WorkingCloud

USUAL_STOREY_M = 2.9
_CELL_M = 0.1
_MIN_FACADE_M = 2.2
_BASE_M = 0.5
_STEP_M = 0.1
_MIN_SHARE = 0.6
_CLOSING_CELLS = 12

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def storeys_from_outside(cloud: WorkingCloud, layering: Layering, settings: BuildingSettings) -> Layering:
    """The same layering with storeys between the ground and the roof, seen from outside; unchanged if nothing is enclosed."""
    if not layering.levels:
        return layering
    ground = max(layering.levels, key=lambda level: int(level.up.sum())).height_m
    rows = np.flatnonzero((np.abs(cloud.normals[:, 2]) < 0.2) & (cloud.points[:, 2] > ground + _BASE_M))
    if not len(rows):
        return layering
    points = cloud.points[rows]
    grid = PlanGrid.around(
        points[:, :2].min(0).astype(np.float64), points[:, :2].max(0).astype(np.float64), _CELL_M, 2.0
    )
    tops, full = _facades(points, grid, ground + _BASE_M)
    tall = full & (tops - ground > _MIN_FACADE_M)
    if not tall.any():
        return layering
    top = _usual_top(tops[tall])
    region = _as_tiles(_enclosed(tall & (np.abs(tops - top) < 0.5)), grid, layering.grid)
    if region.sum() * TILE_M**2 < MIN_STOREY_AREA_M2:
        # Parts of different heights enclose the building together.
        region = _as_tiles(_enclosed(tall), grid, layering.grid)
    if region.sum() * TILE_M**2 < MIN_STOREY_AREA_M2:
        return layering
    storeys = _storeys(ground, top, region, settings)
    upper = (*(storey.floor_m for storey in storeys[1:]), top)
    return Layering(layering.grid, layering.levels, storeys, seen_from_outside=True, facade_tops_m=upper)


def _storeys(ground: float, top: float, region: Bools, settings: BuildingSettings) -> tuple[StoreyLayers, ...]:
    roof, slab = float(settings.tfs_thickness), float(settings.bfs_thickness)
    count = max(round((top - ground) / USUAL_STOREY_M), 1)
    height = (top - roof + slab - ground) / count
    found = []
    for index in range(count):
        floor = ground + index * height
        layer = Layer(floor, floor + height - slab, region)
        found.append(StoreyLayers(layer.floor_m, layer.ceiling_m, (layer,), region))
    return tuple(found)


def _facades(points: NDArray[np.float32], grid: PlanGrid, base: float) -> tuple[Floats, Bools]:
    """How high upright points reach in each cell (nx, ny), and where they fill most of the height up to there."""
    cell = grid.cells(points[:, :2])
    step = ((points[:, 2] - base) / _STEP_M).astype(np.int64)
    steps = int(step.max()) + 1
    filled = np.unique(cell * steps + step)
    count = np.bincount(filled // steps, minlength=grid.size)
    highest = np.zeros(grid.size)
    np.maximum.at(highest, cell, points[:, 2].astype(np.float64))
    possible = np.maximum((highest - base) / _STEP_M, 1)
    return highest.reshape(grid.shape), (count / possible >= _MIN_SHARE).reshape(grid.shape)


def _usual_top(tops: Floats) -> float:
    """The height at which most façades end."""
    bins = np.floor(tops / 0.2).astype(np.int64)
    low = int(bins.min())
    usual = (low + int(np.argmax(np.convolve(np.bincount(bins - low), [1, 1], mode="full"))) - 1) * 0.2
    return float(np.percentile(tops[(tops >= usual) & (tops < usual + 0.4)], 75))


def _enclosed(walls: Bools) -> Bools:
    """What a ring of façades encloses, with the façades."""
    near = ndimage.distance_transform_edt(~walls) <= _CLOSING_CELLS
    outer = ndimage.binary_fill_holes(near)
    whole = ndimage.distance_transform_edt(outer) > _CLOSING_CELLS
    # A fence encloses nothing: after closing and opening nothing is left of a line.
    return np.asarray(ndimage.binary_opening(whole, np.ones((9, 9))))


def _as_tiles(mask: Bools, grid: PlanGrid, tiles: PlanGrid) -> Bools:
    return np.asarray(mask.ravel()[grid.cells(tiles.centres().reshape(-1, 2))].reshape(tiles.shape))
