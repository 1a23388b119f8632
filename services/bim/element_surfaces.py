"""Surfaces of a building's elements, ready to be compared with many points.

Everything upright is a strip in plan with a height: a wall (two faces and two ends), the edge of a slab (a strip of no
width), a rectangular column; a round column is a ring. Strips of one storey share a grid that tells which of them are near a plan cell.
Surfaces are divided into square tiles, so that one can say how much of an element was seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from services.bim.model import Building, Column, Opening, Slab, Wall
from services.bim.plan_grid import PlanGrid
from services.bim.room_outlines import area_of

TILE_M = 0.1
_CELL_M = 0.1
_SHORTEST_EDGE_M = 0.02

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int32]


@dataclass(frozen=True)
class Strip:
    """An upright body: centre line from `start` (2,), unit `along` (2,); `half_m` to both sides; part of `element`.

    first_tile: of its tiles, those of the left face first; tiles (2,): along and up. holes (k, 5): element, from, to, sill, head.
    """

    element: int
    start: Floats
    along: Floats
    length_m: float
    half_m: float
    base_m: float
    top_m: float
    first_tile: int
    holes: Floats

    @property
    def tiles(self) -> tuple[int, int]:
        return max(1, int(np.ceil(self.length_m / TILE_M))), max(1, int(np.ceil((self.top_m - self.base_m) / TILE_M)))

    def outline(self, reach_m: float) -> shapely.Polygon:
        """Its plan area, larger by a reach."""
        left = np.array([-self.along[1], self.along[0]]) * (self.half_m + reach_m)
        start = self.start - self.along * reach_m
        end = self.start + self.along * (self.length_m + reach_m)
        return shapely.Polygon([start - left, end - left, end + left, start + left])


@dataclass(frozen=True)
class Ring:
    """A round column."""

    element: int
    centre: Floats
    radius_m: float
    base_m: float
    top_m: float
    first_tile: int

    @property
    def tiles(self) -> tuple[int, int]:
        around = 2 * np.pi * self.radius_m
        return max(1, int(np.ceil(around / TILE_M))), max(1, int(np.ceil((self.top_m - self.base_m) / TILE_M)))


@dataclass(frozen=True)
class Upright:
    """Strips and rings between two heights. near (cells, k) int32: strips near a plan cell, -1 = no more."""

    low_m: float
    high_m: float
    strips: tuple[Strip, ...]
    rings: tuple[Ring, ...]
    grid: PlanGrid
    near: Integers


@dataclass(frozen=True)
class Level:
    """The upper and lower side of a slab; `inside` (nx, ny) are the cells of `grid` on its outline, one tile each a side."""

    element: int
    heights_m: tuple[float, float]
    grid: PlanGrid
    inside: Bools
    first_tile: int


@dataclass(frozen=True)
class ElementSurfaces:
    """elements: ids. tiles (n,): of every element, without those in holes."""

    elements: tuple[str, ...]
    uprights: tuple[Upright, ...]
    levels: tuple[Level, ...]
    tiles: Floats
    tile_count: int


def surfaces_of(building: Building, reach_m: float) -> ElementSurfaces:
    """The surfaces of slabs, walls, columns and openings, for points that lie no further than `reach_m` from them."""
    return _Builder(building, reach_m).build()


class _Builder:
    """Numbers elements and tiles while surfaces are made."""

    def __init__(self, building: Building, reach_m: float) -> None:
        self._building = building
        self._reach_m = reach_m
        parts = (
            [slab.slab_id for slab in building.slabs],
            [wall.wall_id for wall in building.walls],
            [column.column_id for column in building.columns],
            [opening.opening_id for opening in building.openings],
        )
        self._elements = tuple(name for names in parts for name in names)
        self._number = {name: number for number, name in enumerate(self._elements)}
        self._tiles = np.zeros(len(self._elements))
        self._next_tile = 0

    def build(self) -> ElementSurfaces:
        levels = tuple(self._level(slab) for slab in self._building.slabs)
        uprights = [self._edges(slab) for slab in self._building.slabs]
        for storey in sorted(
            {wall.storey for wall in self._building.walls} | {c.storey for c in self._building.columns}
        ):
            strips = [self._wall(wall) for wall in self._building.walls if wall.storey == storey]
            columns = [column for column in self._building.columns if column.storey == storey]
            strips += [self._column(column) for column in columns if not column.is_round]
            rings = [self._ring(column) for column in columns if column.is_round]
            uprights.append(self._upright(strips, rings))
        return ElementSurfaces(
            self._elements,
            tuple(upright for upright in uprights if upright is not None),
            levels,
            self._tiles,
            self._next_tile,
        )

    def _take(self, element: int, count: int) -> int:
        first = self._next_tile
        self._next_tile += count
        self._tiles[element] += count
        return first

    def _strip(
        self,
        name: str,
        line: tuple[Floats, Floats],
        half_m: float,
        heights_m: tuple[float, float],
        openings: Sequence[Opening] = (),
    ) -> Strip:
        start, end = line
        length = float(np.linalg.norm(end - start))
        holes = [(self._number[o.opening_id], o.from_m, o.to_m, o.sill_m, o.head_m) for o in openings]
        draft = Strip(
            element=self._number[name],
            start=np.asarray(start, np.float64),
            along=np.asarray((end - start) / max(length, 1e-9)),
            length_m=length,
            half_m=half_m,
            base_m=heights_m[0],
            top_m=heights_m[1],
            first_tile=self._next_tile,
            holes=np.array(holes, np.float64).reshape(-1, 5),
        )
        self._take(draft.element, 2 * draft.tiles[0] * draft.tiles[1])
        self._tiles[draft.element] -= 2 * sum(o.width_m * o.height_m for o in openings) / TILE_M**2
        return draft

    def _wall(self, wall: Wall) -> Strip:
        openings = [opening for opening in self._building.openings if opening.wall_id == wall.wall_id]
        return self._strip(
            wall.wall_id, (wall.start, wall.end), wall.thickness_m / 2, (wall.base_m, wall.top_m), openings
        )

    def _column(self, column: Column) -> Strip:
        along = np.array([np.cos(column.angle_rad), np.sin(column.angle_rad)]) * column.size_m[0] / 2
        line = (column.centre - along, column.centre + along)
        return self._strip(column.column_id, line, column.size_m[1] / 2, (column.base_m, column.top_m))

    def _ring(self, column: Column) -> Ring:
        number = self._number[column.column_id]
        draft = Ring(number, column.centre, column.size_m[0] / 2, column.base_m, column.top_m, self._next_tile)
        self._take(number, draft.tiles[0] * draft.tiles[1])
        return draft

    def _edges(self, slab: Slab) -> Upright | None:
        """The sides of a slab. They are seldom seen, and are not asked for where one says how much of it was."""
        strips = []
        number = self._number[slab.slab_id]
        for ring in (slab.outline.outer, *slab.outline.holes):
            for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if np.linalg.norm(end - start) >= _SHORTEST_EDGE_M:
                    before = self._tiles[number]
                    strips.append(self._strip(slab.slab_id, (start, end), 0.0, (slab.bottom_m, slab.top_m)))
                    self._tiles[number] = before
        return self._upright(strips, [])

    def _upright(self, strips: list[Strip], rings: list[Ring]) -> Upright | None:
        if not strips and not rings:
            return None
        outlines = [strip.outline(self._reach_m) for strip in strips]
        outlines += [shapely.Point(ring.centre).buffer(ring.radius_m + self._reach_m) for ring in rings]
        x0, y0, x1, y1 = shapely.MultiPolygon(outlines).bounds
        grid = PlanGrid.around(np.array([x0, y0]), np.array([x1, y1]), _CELL_M, 2 * _CELL_M)
        return Upright(
            low_m=min([*(strip.base_m for strip in strips), *(ring.base_m for ring in rings)]) - self._reach_m,
            high_m=max([*(strip.top_m for strip in strips), *(ring.top_m for ring in rings)]) + self._reach_m,
            strips=tuple(strips),
            rings=tuple(rings),
            grid=grid,
            near=_near(grid, outlines[: len(strips)]),
        )

    def _level(self, slab: Slab) -> Level:
        number = self._number[slab.slab_id]
        area = area_of(slab.outline)
        x0, y0, x1, y1 = area.bounds if not area.is_empty else (0.0, 0.0, 0.0, 0.0)
        grid = PlanGrid.around(np.array([x0, y0]), np.array([x1, y1]), TILE_M, 2 * TILE_M)
        grown = area.buffer(self._reach_m)
        shapely.prepare(grown)
        centres = grid.centres()
        inside = np.asarray(shapely.contains_xy(grown, centres[..., 0], centres[..., 1]), np.bool_)
        first = self._take(number, 2 * grid.size)
        self._tiles[number] -= 2 * (grid.size - int(inside.sum()))
        return Level(number, (slab.top_m, slab.bottom_m), grid, inside, first)


def _near(grid: PlanGrid, outlines: Sequence[shapely.Polygon]) -> Integers:
    """Which strips are near each cell (cells, k), in the order of their numbers."""
    lists: list[list[int]] = [[] for _ in range(grid.size)]
    half = grid.cell_m * 0.7072
    for number, outline in enumerate(outlines):
        x0, y0, x1, y1 = outline.bounds
        low = np.maximum(np.floor((np.array([x0, y0]) - grid.low) / grid.cell_m).astype(np.int64) - 1, 0)
        high = np.floor((np.array([x1, y1]) - grid.low) / grid.cell_m).astype(np.int64) + 1
        high = np.minimum(high, np.array(grid.shape) - 1)
        i, j = np.meshgrid(*(np.arange(low[k], high[k] + 1) for k in (0, 1)), indexing="ij")
        middle = (np.stack([i, j], -1) + 0.5) * grid.cell_m + grid.low
        grown = outline.buffer(half)
        shapely.prepare(grown)
        touched = shapely.contains_xy(grown, middle[..., 0], middle[..., 1])
        for cell in (i * grid.shape[1] + j)[touched].tolist():
            lists[cell].append(number)
    most = max((len(found) for found in lists), default=0)
    near = np.full((grid.size, max(most, 1)), -1, np.int32)
    for cell, found in enumerate(lists):
        near[cell, : len(found)] = found
    return near
