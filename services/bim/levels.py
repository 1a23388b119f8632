"""Storeys from horizontal faces.

Heights at which horizontal area lies are peaks of a histogram (Khoshelham and Díaz-Vilariño 2014; Zbirovský and Nežerka
2025). Which of them are floors and ceilings is decided by what lies over what: in every tile of the plan the next face above
a floor is its ceiling, a person's height higher. Pairs of heights are taken by the area over which that holds; so tables,
wardrobes, landings and outdoor ground, with little or nothing over them, make no storeys, whatever number of points they have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.bim.plan_grid import PlanGrid, filled_region, wide_parts
from services.bim.preprocessing import FLAT_BEND, WorkingCloud

MIN_ROOM_HEIGHT_M = 1.8
MAX_ROOM_HEIGHT_M = 15.0
MIN_STOREY_AREA_M2 = 5.0
MIN_CEILING_AREA_M2 = 1.0
TILE_M = 0.2
_BIN_M = 0.005
_MARGIN_BINS = 20
_APART_BINS = 6
_LEVEL_REACH_M = 0.03
_MIN_LEVEL_AREA_M2 = 0.8
_FLOOR_FILL = 0.12
_CEILING_FILL = 0.35
_ROOM_TILES = 4
_CLOSING_TILES = 4
_MAX_SLAB_M = 1.5
_MIN_ANNEXE_M2 = 3.0
_MIN_PLATFORM_M2 = 8.0

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Level:
    """A height with horizontal area. `up`, `down`: tiles (nx, ny) where it may be seen from above, from below."""

    height_m: float
    up: Bools
    down: Bools


@dataclass(frozen=True)
class Layer:
    """A floor with its ceiling, and the tiles (nx, ny) where the one lies over the other."""

    floor_m: float
    ceiling_m: float
    tiles: Bools

    @property
    def area_m2(self) -> float:
        return float(self.tiles.sum()) * TILE_M**2


@dataclass(frozen=True)
class StoreyLayers:
    """A storey: its layers, the largest first. Rooms may have floors and ceilings of their own."""

    floor_m: float
    ceiling_m: float
    layers: tuple[Layer, ...]
    region: Bools
    """Tiles within the outline of its rooms."""

    @property
    def top_m(self) -> float:
        return max(layer.ceiling_m for layer in self.layers)

    @property
    def base_m(self) -> float:
        return min(layer.floor_m for layer in self.layers)


@dataclass(frozen=True)
class Layering:
    """What was found of horizontal faces. All masks are over `grid`."""

    grid: PlanGrid
    levels: tuple[Level, ...]
    storeys: tuple[StoreyLayers, ...]
    seen_from_outside: bool = False
    """No floor and no ceiling was seen: storeys are assumed between the ground and the roof."""
    facade_tops_m: tuple[float, ...] = ()
    """With `seen_from_outside`: up to where each storey's façade is seen, slabs included."""


def find_storeys(cloud: WorkingCloud) -> Layering:
    """Storeys from the lowest to the highest; none where no floor lies under a ceiling."""
    flat = (np.abs(cloud.normals[:, 2]) > 0.95) & (cloud.bend < FLAT_BEND)
    points, up = cloud.points[flat], cloud.normals[flat, 2] > 0
    low, high = cloud.points.min(0).astype(np.float64), cloud.points.max(0).astype(np.float64)
    grid = PlanGrid.around(low[:2], high[:2], TILE_M, TILE_M)
    levels = _levels(points, up, grid, cloud)
    storeys = _chosen(_layers(levels), levels)
    return Layering(grid, levels, storeys)


def _levels(points: NDArray[np.float32], up: Bools, grid: PlanGrid, cloud: WorkingCloud) -> tuple[Level, ...]:
    if not len(points):
        return ()
    z = points[:, 2].astype(np.float64)
    heights = _peaks(z, cloud.spacing_m)
    full = TILE_M**2 / cloud.spacing_m**2
    found = []
    for height, (low, high) in zip(heights, bands(heights, _LEVEL_REACH_M), strict=True):
        near = (z > low) & (z < high)
        above = near & (up | (not cloud.oriented))
        below = near & (~up | (not cloud.oriented))
        found.append(
            Level(
                height,
                grid.counts(points[above, :2]) >= _FLOOR_FILL * full,
                grid.counts(points[below, :2]) >= _CEILING_FILL * full,
            )
        )
    return tuple(found)


def _peaks(z: Floats, spacing_m: float) -> list[float]:
    """Heights at which more points lie than anywhere near by, ascending. Ceilings of two rooms may be 4 cm apart."""
    start = float(z.min()) - _MARGIN_BINS * _BIN_M
    counts = np.bincount(((z - start) / _BIN_M).astype(np.int64)).astype(np.float64)
    smooth = ndimage.gaussian_filter1d(np.pad(counts, (0, _MARGIN_BINS)), 2.0)
    highest = ndimage.maximum_filter1d(smooth, 2 * _APART_BINS + 1)
    about = ndimage.uniform_filter1d(smooth, 2 * _APART_BINS + 1) * (2 * _APART_BINS + 1)
    tall = (smooth == highest) & (about * spacing_m**2 >= _MIN_LEVEL_AREA_M2)
    # Two equal bins beside each other are one peak.
    tall[1:] &= ~tall[:-1]
    found = sorted(_settled(z, start + (int(bin_) + 0.5) * _BIN_M) for bin_ in np.flatnonzero(tall))
    return [height for k, height in enumerate(found) if k == 0 or height - found[k - 1] > _APART_BINS * _BIN_M / 2]


def bands(heights: Sequence[float], reach_m: float) -> list[tuple[float, float]]:
    """What lies within reach of each of `heights` (ascending), up to the middle between neighbours."""
    middles = [(low + high) / 2 for low, high in pairwise(heights)]
    # A single height has no neighbours, and none has no bands.
    lows, highs = [-np.inf, *middles], [*middles, np.inf]
    return [
        (max(height - reach_m, low), min(height + reach_m, high))
        for height, low, high in zip(heights, lows, highs, strict=False)
    ]


def _settled(z: Floats, height: float) -> float:
    for reach in (0.02, 0.015, 0.012):
        near = z[np.abs(z - height) < reach]
        height = float(near.mean()) if len(near) else height
    return height


def _layers(levels: tuple[Level, ...]) -> list[Layer]:
    """All pairs of a floor and the next face above it, by area, the largest first."""
    if not levels:
        return []
    nothing = len(levels)
    above = np.full(levels[0].up.shape, nothing)
    found = []
    for index in range(len(levels) - 1, -1, -1):
        floor = levels[index]
        for other in np.unique(above[floor.up]):
            if other == nothing:
                continue
            ceiling = levels[other]
            height = ceiling.height_m - floor.height_m
            tiles = floor.up & (above == other) & ceiling.down
            if MIN_ROOM_HEIGHT_M <= height <= MAX_ROOM_HEIGHT_M:
                tiles = room_parts(tiles)
                if tiles.sum() * TILE_M**2 >= MIN_CEILING_AREA_M2:
                    found.append(Layer(floor.height_m, ceiling.height_m, tiles))
        above[floor.up | floor.down] = index
    return sorted(found, key=lambda layer: (-layer.area_m2, layer.floor_m))


def room_parts(tiles: Bools) -> Bools:
    """Tiles without patches that are no room: undersides of lintels and of furniture."""
    tiles = wide_parts(tiles, _ROOM_TILES, 0.99)
    parts, _ = ndimage.label(tiles, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(sizes[parts] * TILE_M**2 >= MIN_CEILING_AREA_M2)


def _chosen(layers: list[Layer], levels: tuple[Level, ...]) -> tuple[StoreyLayers, ...]:
    """Layers become storeys by size: one joins a storey that it stands beside, and makes none where it stands within."""
    groups: list[list[Layer]] = []
    for layer in layers:
        rivals = [group for group in groups if _overlap_m(layer, group[0]) > 0.1]
        home = max(rivals, key=lambda group: _overlap_m(layer, group[0]), default=None)
        if home is None:
            if layer.area_m2 >= MIN_STOREY_AREA_M2:
                groups.append([layer])
            continue
        if _is_void(layer, rivals) or not _fits(layer, home, rivals):
            continue
        home.append(layer)
    groups = [group for group in groups if _is_storey(group, groups)]
    groups.sort(key=lambda group: group[0].floor_m)
    floors = [group[0].floor_m for group in groups]
    return tuple(
        _storey(group, floors[index + 1] if index + 1 < len(floors) else None, levels)
        for index, group in enumerate(groups)
    )


def _overlap_m(one: Layer, other: Layer) -> float:
    return min(one.ceiling_m, other.ceiling_m) - max(one.floor_m, other.floor_m)


def _is_void(layer: Layer, rivals: list[list[Layer]]) -> bool:
    """Whether a layer reaches through the floor of a storey above: what one sees up a stairwell."""
    for group in rivals:
        if group[0].floor_m > layer.floor_m + MIN_ROOM_HEIGHT_M:
            region = filled_region(np.any([other.tiles for other in group], axis=0), _CLOSING_TILES)
            if (
                abs(layer.ceiling_m - group[0].ceiling_m) < 0.05
                or (layer.tiles & region).sum() > 0.4 * layer.tiles.sum()
            ):
                return True
    return False


def _fits(layer: Layer, home: list[Layer], rivals: list[list[Layer]]) -> bool:
    """Whether a layer is a room beside the others of its storey: on the same floor, or out of their outline."""
    if any(abs(layer.floor_m - other.floor_m) < 0.05 for other in home):
        return True
    region = filled_region(np.any([other.tiles for group in rivals for other in group], axis=0), _CLOSING_TILES)
    outside = float((layer.tiles & ~region).sum()) / max(float(layer.tiles.sum()), 1.0)
    # Under a ceiling that other rooms share, what lies a little over their floor is more often a bed than a platform.
    shared = any(abs(layer.ceiling_m - other.ceiling_m) < 0.05 for other in home)
    return outside > 0.6 and layer.area_m2 >= (_MIN_PLATFORM_M2 if shared else _MIN_ANNEXE_M2)


def _is_storey(group: list[Layer], groups: list[list[Layer]]) -> bool:
    largest = max(other[0].area_m2 for other in groups)
    return sum(layer.area_m2 for layer in group) >= max(MIN_STOREY_AREA_M2, 0.04 * largest)


def _storey(group: list[Layer], next_floor_m: float | None, levels: tuple[Level, ...]) -> StoreyLayers:
    region = _region(group, levels)
    return StoreyLayers(
        group[0].floor_m, _structural_ceiling(group, region, next_floor_m, levels), tuple(group), region
    )


def _region(group: list[Layer], levels: tuple[Level, ...]) -> Bools:
    """The tiles under the storey's ceilings; furniture may hide the floor of a whole room."""
    tiles = np.any([layer.tiles for layer in group], axis=0)
    heights = {layer.ceiling_m for layer in group}
    for level in levels:
        if level.height_m in heights:
            tiles |= room_parts(level.down)
    return filled_region(tiles, _CLOSING_TILES)


def _structural_ceiling(
    group: list[Layer], region: Bools, next_floor_m: float | None, levels: tuple[Level, ...]
) -> float:
    """The underside of the slab over most of a storey: false ceilings hang lower, halls are higher.

    Where the floor or roof above is known, it is the highest common ceiling under it; else that of the largest area.
    """
    area: dict[float, float] = {}
    for layer in group:
        area[layer.ceiling_m] = area.get(layer.ceiling_m, 0.0) + layer.area_m2
    total = sum(area.values())
    largest = max(area, key=lambda height: (area[height], height))
    above = next_floor_m
    if above is None:
        roofs = [
            level.height_m
            for level in levels
            if 0.08 < level.height_m - largest < _MAX_SLAB_M and (level.up & region).sum() > 0.4 * region.sum()
        ]
        above = roofs[0] if roofs else None
    limit = (above - 0.08) if above is not None else largest + 0.6
    share = 0.1 if above is not None else 0.3
    return max(height for height in area if height == largest or (height < limit and area[height] > share * total))
