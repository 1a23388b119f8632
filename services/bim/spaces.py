"""Spaces: areas between walls with a ceiling over them.

What walls enclose is a room only if points show its ceiling: courtyards, shafts and what lies before the house do not. Heights are those at
which most of the room's own floor and ceiling lies; of several ceilings the lowest large one counts, as one would measure it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from contracts.building_settings import BuildingSettings
from contracts.progress import Reporter
from services.bim.model import Column, Opening, OpeningKind, Space, Storey, Wall
from services.bim.preprocessing import WorkingCloud
from services.bim.room_outlines import enclosed_areas, rings_of

MIN_AREA_M2 = 0.8
MIN_HEIGHT_M = 1.8
_TILE_M = 0.2
_FLAT = 0.9
_FLOOR_REACH_M = 0.8
_ABOVE_TOP_M = 0.08
_LARGE_CEILING = 0.3
_FLOOR_SCALE_M = 0.25
_LEAST_SEEN = 0.08
_WITHOUT_A_DOOR = 0.8
_NEAR_M = 0.06
_BOUNDING_M = 0.15

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Flats:
    """Horizontal surface of a storey by tiles: keys (n,) sorted; heights (n,); which points may be seen from above, from below."""

    low: Floats
    rows: int
    keys: NDArray[np.int64]
    z: Floats
    up: Bools
    down: Bools
    noise_m: float

    @staticmethod
    def of(cloud: WorkingCloud, heights_m: tuple[float, float], noise_m: float) -> "_Flats":
        flat = np.abs(cloud.normals[:, 2]) > _FLAT
        flat &= (cloud.points[:, 2] > heights_m[0]) & (cloud.points[:, 2] < heights_m[1])
        points = cloud.points[flat].astype(np.float64)
        low = points[:, :2].min(0) - _TILE_M if len(points) else np.zeros(2)
        tiles = np.floor((points[:, :2] - low) / _TILE_M).astype(np.int64)
        rows = int(tiles[:, 1].max()) + 2 if len(points) else 1
        keys = tiles[:, 0] * rows + tiles[:, 1]
        order = np.argsort(keys, kind="stable")
        rising = cloud.normals[flat, 2][order] > 0
        either = not cloud.oriented
        return _Flats(low, rows, keys[order], points[order, 2], rising | either, ~rising | either, noise_m)

    def within(self, area: Polygon) -> tuple[NDArray[np.int64], int]:
        """Rows (m,) of the points in tiles whose middle lies in an area, and the number of such tiles."""
        x0, y0, x1, y1 = area.bounds
        i = np.arange(max(int((x0 - self.low[0]) / _TILE_M), 0), int((x1 - self.low[0]) / _TILE_M) + 1)
        j = np.arange(max(int((y0 - self.low[1]) / _TILE_M), 0), min(int((y1 - self.low[1]) / _TILE_M) + 1, self.rows))
        i, j = (axis.ravel() for axis in np.meshgrid(i, j, indexing="ij"))
        shapely.prepare(area)
        inside = shapely.contains_xy(area, *((np.stack([i, j]) + 0.5) * _TILE_M + self.low[:, None]))
        tiles = np.sort((i * self.rows + j)[inside])
        first, last = np.searchsorted(self.keys, tiles), np.searchsorted(self.keys, tiles, side="right")
        rows = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)] or [np.zeros(0, np.int64)])
        return rows, len(tiles)


def main(  # noqa: PLR0917  (what was found before, the cloud, and who listens, as in every step)
    storey: Storey,
    walls: tuple[Wall, ...],
    openings: tuple[Opening, ...],
    columns: tuple[Column, ...],
    cloud: WorkingCloud,
    settings: BuildingSettings,
    report: Reporter,
) -> tuple[Space, ...]:
    """The spaces of a storey, numbered from the largest.

    Openings count as closed; a room that none leads into is less certain. Columns take their volume from a room.
    """
    areas = enclosed_areas(storey, walls)
    top = max([storey.ceiling_m, *(wall.top_m for wall in walls)]) + _ABOVE_TOP_M
    flats = _Flats.of(cloud, (storey.floor_m - _FLOOR_REACH_M, top), float(settings.preprocessing.noise_threshold))
    entered = {opening.wall_id for opening in openings if opening.kind is not OpeningKind.WINDOW}
    found: list[Space] = []
    for number, area in enumerate(areas):
        report.progress(number, len(areas), f"Rooms of {storey.name}")
        if area.area < MIN_AREA_M2:
            continue
        space = _space(f"s{storey.index}.{len(found)}", storey, area, walls, flats)
        if space is not None:
            taken = sum(_section_m2(c) for c in columns if area.contains(shapely.Point(c.centre)))
            height = space.ceiling_m - space.floor_m
            certain = space.confidence * (1.0 if entered & set(space.bounding_walls) else _WITHOUT_A_DOOR)
            volume = (space.area_m2 - taken) * height
            found.append(replace(space, volume_m3=volume, confidence=round(certain, 3)))
    report.log(f"  {storey.name}: {len(found)} spaces, {sum(space.area_m2 for space in found):.1f} m²")
    return tuple(found)


def _section_m2(column: Column) -> float:
    first, second = column.size_m
    return float(np.pi / 4 * first * first) if column.is_round else first * second


def _space(name: str, storey: Storey, area: Polygon, walls: Sequence[Wall], flats: _Flats) -> Space | None:
    """The space over an area; None where no ceiling was seen."""
    bounding = bounding_walls(area, walls)
    top = max([storey.ceiling_m, *(wall.top_m for wall in walls if wall.wall_id in bounding)]) + _ABOVE_TOP_M
    rows, count = flats.within(area)
    if count == 0:
        return None
    tiles, z = flats.keys[rows], flats.z[rows]
    low = flats.up[rows] & (np.abs(z - storey.floor_m) < _FLOOR_REACH_M)
    floor = _floor(_levels(tiles[low], z[low], count, flats.noise_m), storey.floor_m)
    high = flats.down[rows] & (z > floor.height_m + MIN_HEIGHT_M) & (z < top)
    ceiling = _ceiling(_levels(tiles[high], z[high], count, flats.noise_m), storey.ceiling_m)
    # A ceiling makes a room: over a stair's hole, or seen through a door only, it may have little of a floor.
    covered = len(np.unique(tiles[high])) / count
    if covered < _LEAST_SEEN:
        return None
    height = ceiling.height_m - floor.height_m
    return Space(
        space_id=name,
        storey=storey.index,
        outline=rings_of(area),
        floor_m=floor.height_m,
        ceiling_m=ceiling.height_m,
        area_m2=float(area.area),
        volume_m3=float(area.area) * height,
        bounding_walls=bounding,
        confidence=round(0.5 * min(1.0, floor.share / 0.6) + 0.5 * min(1.0, covered / 0.8), 3),
    )


@dataclass(frozen=True)
class _Level:
    """A height, and the share of a room's tiles that have surface there."""

    height_m: float
    share: float


def _floor(levels: list[_Level], usual_m: float) -> _Level:
    """The level of most area, the likelier the nearer to the storey's floor; that floor itself where nothing was seen.

    The ceiling below is as large, and no further away than a slab.
    """
    seen = [level for level in levels if level.share >= _LEAST_SEEN / 2]
    return max(
        seen,
        key=lambda level: level.share * float(np.exp(-abs(level.height_m - usual_m) / _FLOOR_SCALE_M)),
        default=_Level(usual_m, 0.0),
    )


def _ceiling(levels: list[_Level], usual_m: float) -> _Level:
    """The lowest large level, else the largest; the storey's where nothing was seen."""
    large = [level for level in levels if level.share >= _LARGE_CEILING]
    if large:
        return min(large, key=lambda level: level.height_m)
    seen = [level for level in levels if level.share >= _LEAST_SEEN / 2]
    return max(seen, key=lambda level: (level.share, -level.height_m), default=_Level(usual_m, 0.0))


def _levels(tiles: NDArray[np.int64], z: Floats, count: int, bin_m: float) -> list[_Level]:
    """Heights with horizontal surface: peaks over bins, as wide as the noise, of the number of tiles."""
    if not len(z):
        return []
    start = float(z.min()) - 2 * bin_m
    bins = ((z - start) / bin_m).astype(np.int64)
    rows = int(bins.max()) + 3
    pairs = np.unique(tiles * rows + bins)
    per_bin = np.bincount(pairs % rows, minlength=rows).astype(np.float64)
    near = per_bin + np.roll(per_bin, 1) + np.roll(per_bin, -1)
    found = []
    for peak in np.flatnonzero((near >= np.roll(near, 1)) & (near > np.roll(near, -1))):
        close = np.abs(bins - peak) <= 1
        share = len(np.unique(tiles[close])) / count
        if share > 0.02:
            found.append(_Level(float(np.median(z[close])), share))
    return found


def bounding_walls(area: Polygon, walls: Sequence[Wall]) -> tuple[str, ...]:
    """Ids of the walls along which the outline of an area runs."""
    edge = area.boundary
    found = []
    for wall in walls:
        across = wall.normal * (wall.thickness_m / 2 + _NEAR_M)
        body = Polygon([wall.start - across, wall.end - across, wall.end + across, wall.start + across])
        if edge.intersection(body).length > _BOUNDING_M + wall.thickness_m:
            found.append(wall.wall_id)
    return tuple(found)
