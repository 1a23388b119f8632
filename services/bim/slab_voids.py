"""Holes in slabs, for stairs: where neither the floor above nor the ceiling below was seen, but the slab's edge was."""

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from services.bim.plan_grid import PlanGrid
from services.bim.preprocessing import FLAT_BEND, WorkingCloud
from services.bim.storey_outlines import polygons_in, simplified_ring

_CELL_M = 0.1
_REACH_M = 0.04
_MIN_AREA_M2 = 0.8
_MIN_EDGE_SHARE = 0.3
_RECTANGLE_SHARE = 0.8

Bools = NDArray[np.bool_]


def find_voids(cloud: WorkingCloud, rooms: BaseGeometry, ceiling_m: float, floor_m: float) -> list[shapely.Polygon]:
    """Holes in the slab between `ceiling_m` below and `floor_m` above, within `rooms`."""
    if rooms.is_empty:
        return []
    z = cloud.points[:, 2]
    near = np.flatnonzero((z > ceiling_m - _REACH_M) & (z < floor_m + _REACH_M))
    points = cloud.points[near]
    low, high = np.array(rooms.bounds[:2]), np.array(rooms.bounds[2:])
    grid = PlanGrid.around(low, high, _CELL_M, 2 * _CELL_M)
    inside = np.all((points[:, :2] > grid.low) & (points[:, :2] < grid.low + np.array(grid.shape) * _CELL_M), axis=1)
    near, points = near[inside], points[inside]
    flat = (np.abs(cloud.normals[near, 2]) > 0.9) & (cloud.bend[near] < 2 * FLAT_BEND)
    sides = np.minimum(np.abs(points[:, 2] - ceiling_m), np.abs(points[:, 2] - floor_m)) < _REACH_M
    # A few points of a floor are enough: where there is a hole there is none at all.
    solid = ndimage.binary_closing(grid.counts(points[flat & sides, :2]) > 1, np.ones((3, 3)))
    between = (points[:, 2] > ceiling_m + _REACH_M) & (points[:, 2] < floor_m - _REACH_M)
    edge = grid.counts(points[between, :2]) > 0
    centres = grid.centres()
    within = shapely.contains_xy(rooms.buffer(-_CELL_M / 2), centres[..., 0], centres[..., 1])
    empty = ndimage.binary_opening(within & ~solid, np.ones((4, 4)))
    parts, count = ndimage.label(empty)
    voids = [_void(parts == part, edge, grid) for part in range(1, count + 1)]
    return [void for void in voids if void is not None]


def _void(part: Bools, edge: Bools, grid: PlanGrid) -> shapely.Polygon | None:
    if part.sum() * _CELL_M**2 < _MIN_AREA_M2:
        return None
    rim = ndimage.binary_dilation(part, iterations=1) & ~ndimage.binary_erosion(part)
    seen = ndimage.binary_dilation(edge, np.ones((3, 3)))
    if float(seen[rim].mean()) < _MIN_EDGE_SHARE:
        return None
    corners = grid.low + np.argwhere(part) * _CELL_M
    cells = unary_union(shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + _CELL_M, corners[:, 1] + _CELL_M))
    around = shapely.oriented_envelope(cells)
    if cells.area > _RECTANGLE_SHARE * around.area and isinstance(around, shapely.Polygon):
        return around
    outline = max(polygons_in(cells), key=lambda piece: piece.area)
    return shapely.Polygon(simplified_ring(outline.exterior, 1.5 * _CELL_M))
