"""The outline of each storey: what its walls enclose, out to their outer faces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient
from shapely.ops import unary_union

from services.bim import footprints, model
from services.bim.levels import Layer, StoreyLayers
from services.bim.model import Wall
from services.bim.plan_grid import PlanGrid

_CLOSING_M = 0.05
_STRAIGHT_M = 0.01
_MIN_PART_M2 = 3.0
_REGION_STRAIGHT_M = 0.25
_OUTSIDE_SHARE = 0.4
_BESIDE_M = 0.06

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """whole: the storey's plan area out to the outer faces, without holes. rooms: what lies between its walls."""

    whole: shapely.Polygon
    rooms: tuple[shapely.Polygon, ...]


def outline_of(storey: StoreyLayers, walls: Sequence[Wall], grid: PlanGrid) -> Outline:
    """The outline of a storey from its walls, and from its ceilings where walls are missing."""
    shapes = [shapely.Polygon(piece) for pieces in footprints.main(walls).pieces.values() for piece in pieces]
    solid = _closed(unary_union(shapes)) if shapes else shapely.Polygon()
    parts = polygons_in(solid)
    rooms = [shapely.Polygon(ring) for part in parts for ring in part.interiors]
    enclosed = unary_union([shapely.Polygon(part.exterior) for part in parts])
    open_rooms = _region_polygon(storey, grid).difference(enclosed.buffer(0.3))
    whole = _closed(unary_union([enclosed, *(p.buffer(0.3) for p in polygons_in(open_rooms) if p.area > _MIN_PART_M2)]))
    largest = max(polygons_in(whole), key=lambda part: part.area, default=shapely.Polygon())
    outer = shapely.Polygon(simplified_ring(largest.exterior, _STRAIGHT_M))
    return Outline(orient(outer), tuple(room for room in rooms if room.area > 0.3))


def _closed(area: BaseGeometry) -> BaseGeometry:
    """Without slits between walls that all but touch."""
    return area.buffer(_CLOSING_M, join_style="mitre").buffer(-_CLOSING_M, join_style="mitre")


def polygons_in(area: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons that an area consists of."""
    return [part for part in shapely.get_parts([area]) if isinstance(part, shapely.Polygon) and not part.is_empty]


def simplified_ring(ring: shapely.LinearRing, tolerance_m: float) -> Floats:
    """Corners (n, 2) of a ring without those that are nearer than the tolerance to a straight edge."""
    return np.asarray(ring.simplify(tolerance_m).coords, np.float64)


def _region_polygon(storey: StoreyLayers, grid: PlanGrid) -> BaseGeometry:
    """The tiles where the storey's floors lie under its ceilings, closed and smoothed."""
    corners = grid.low + np.argwhere(storey.region) * grid.cell_m
    tiles = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + grid.cell_m, corners[:, 1] + grid.cell_m)
    return unary_union(tiles).simplify(_REGION_STRAIGHT_M)


def marked_external(walls: Sequence[Wall], outline: Outline) -> list[Wall]:
    """Walls with `is_external` set where one of their sides lies along the outside of the storey."""
    shapely.prepare(outline.whole)
    found = []
    for wall in walls:
        along = (np.arange(0.1, 1.0, 0.05)[:, None]) * (wall.end - wall.start) + wall.start
        reach = (wall.thickness_m / 2 + _BESIDE_M) * wall.normal
        outside = [float((~shapely.contains_xy(outline.whole, *(along + side * reach).T)).mean()) for side in (1, -1)]
        found.append(replace(wall, is_external=max(outside) > _OUTSIDE_SHARE))
    return found


def polygon_of(area: shapely.Polygon) -> model.Polygon:
    """A shapely polygon as plain rings."""
    turned = orient(area)
    rings = [np.asarray(ring.coords, np.float64)[:-1] for ring in (turned.exterior, *turned.interiors)]
    return model.Polygon(rings[0], tuple(rings[1:]))


def layer_of(room: shapely.Polygon, storey: StoreyLayers, grid: PlanGrid) -> Layer:
    """The floor and ceiling that lie over most of a room; the storey's largest where none were seen."""
    low = np.floor((np.array(room.bounds[:2]) - grid.low) / grid.cell_m).astype(np.int64)
    high = np.floor((np.array(room.bounds[2:]) - grid.low) / grid.cell_m).astype(np.int64) + 1
    low, high = np.clip(low, 0, grid.shape), np.clip(high, 0, grid.shape)
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij"))
    x, y = grid.low[0] + (i + 0.5) * grid.cell_m, grid.low[1] + (j + 0.5) * grid.cell_m
    inside = shapely.contains_xy(room, x, y)
    counts = [int(layer.tiles[i[inside], j[inside]].sum()) for layer in storey.layers]
    return storey.layers[int(np.argmax(counts))]
