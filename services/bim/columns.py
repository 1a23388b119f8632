"""Plain columns: what stands free, is upright all around, and goes up to the ceiling.

People, furniture and leaves of doors stop below the ceiling; curtains and wardrobes stand at walls, and what is thin is no column.
A section is a circle (fitted after Kåsa 1976) or a rectangle in the direction of its faces, whichever lies nearer to the points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely import MultiPoint

from contracts.building_settings import BuildingSettings
from contracts.progress import Reporter
from services.bim.model import Column, Storey, Wall
from services.bim.plan_grid import PlanGrid
from services.bim.preprocessing import WorkingCloud
from services.bim.room_outlines import area_of

MIN_SIDE_M = 0.12
MAX_SIDE_M = 1.2
_MAX_ASPECT = 3.5
_CELL_M = 0.05
_SLICES = 25
_TOP_SLICES = 4
_CEILING_TILE_M = 0.6
_LOWEST_CEILING_M = 1.9
_UPRIGHT = 0.3
_TALL = 0.45
_CLEAR_M = 0.25
_SECTORS = 16
_SEEN_SECTORS = 0.5
_MIN_POINTS = 40
_FREE_WALL_M = 1.3

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Section:
    """A fitted section: `deviation_m` is the median distance of the points to it."""

    centre: Floats
    size_m: tuple[float, float]
    angle_rad: float
    is_round: bool
    deviation_m: float


def main(
    storey: Storey, walls: tuple[Wall, ...], cloud: WorkingCloud, settings: BuildingSettings, report: Reporter
) -> tuple[Column, ...]:
    """The free-standing columns of a storey, from left to right."""
    upright = _upright_points(storey, cloud)
    if not len(upright.xy):
        return ()
    tolerance = float(settings.preprocessing.noise_threshold)
    # Trunks of trees are as round and as tall, but stand outside.
    inside = area_of(storey.footprint)
    bodies = [_body(wall) for wall in walls if not _stands_alone(wall, walls)]
    found = []
    for rows in _clusters(upright):
        section = _section(upright.xy[rows], upright.across[rows])
        if section is None or section.deviation_m > tolerance:
            continue
        outline = MultiPoint(upright.xy[rows]).convex_hull
        if inside.contains(outline.centroid) and all(body.distance(outline) >= _CLEAR_M for body in bodies):
            found.append(section)
    found.sort(key=lambda section: (round(float(section.centre[0]), 3), float(section.centre[1])))
    if found:
        report.log(f"  {storey.name}: {len(found)} columns")
    return tuple(
        Column(
            column_id=f"c{storey.index}.{number}",
            storey=storey.index,
            centre=section.centre,
            size_m=section.size_m,
            angle_rad=section.angle_rad,
            base_m=storey.floor_m,
            top_m=storey.ceiling_m,
            is_round=section.is_round,
            confidence=round(float(np.clip(1.2 - section.deviation_m / tolerance, 0.3, 1.0)), 3),
        )
        for number, section in enumerate(found)
    )


@dataclass(frozen=True)
class _Upright:
    """Upright surface of a storey: plan (n, 2), normals in plan (n, 2), height above the floor as a share of the room's (n,)."""

    xy: Floats
    across: Floats
    level: Floats


def _upright_points(storey: Storey, cloud: WorkingCloud) -> _Upright:
    z = cloud.points[:, 2]
    here = (z > storey.floor_m + 0.05) & (z < storey.ceiling_m + 0.03)
    points, normals = cloud.points[here].astype(np.float64), cloud.normals[here].astype(np.float64)
    if not len(points):
        return _Upright(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    tiles = PlanGrid.around(low, high, _CEILING_TILE_M, 0.0)
    flat = (np.abs(normals[:, 2]) > 0.9) & (points[:, 2] > storey.floor_m + _LOWEST_CEILING_M)
    ceiling = _ceilings(tiles.cells(points[flat, :2]), points[flat, 2], tiles.size, storey.ceiling_m)
    upright = (np.abs(normals[:, 2]) < _UPRIGHT) & (np.abs(normals).sum(1) > 0)
    points, normals = points[upright], normals[upright]
    height = ceiling[tiles.cells(points[:, :2])] - storey.floor_m
    level = (points[:, 2] - storey.floor_m) / height
    below = level < 1.0 - 0.02 / height
    return _Upright(points[below, :2], normals[below, :2], level[below])


def _ceilings(tiles: NDArray[np.int64], z: Floats, count: int, usual_m: float) -> Floats:
    """The ceiling that one sees over every tile (count,): false ones hang lower. Wardrobes have tops as well, but lower."""
    order = np.lexsort((z, tiles))
    starts = np.searchsorted(tiles[order], np.arange(count + 1))
    numbers = np.diff(starts)
    ceiling = np.full(count, usual_m)
    known = numbers > 0
    ceiling[known] = z[order][(starts[:-1] + (3 * numbers) // 4)[known].clip(max=max(len(z) - 1, 0))]
    return ceiling


def _clusters(upright: _Upright) -> Iterator[NDArray[np.int64]]:
    """Rows of the upper halves of what stands from the floor to the ceiling, thing by thing."""
    grid = PlanGrid.around(upright.xy.min(0), upright.xy.max(0), _CELL_M, 2 * _CELL_M)
    cells = grid.cells(upright.xy)
    slice_ = np.minimum((upright.level * _SLICES).astype(np.int64), _SLICES - 1)
    pairs = np.unique(cells * _SLICES + slice_)
    filled = np.bincount(pairs // _SLICES, minlength=grid.size) / _SLICES
    at_top = np.bincount(pairs[pairs % _SLICES >= _SLICES - _TOP_SLICES] // _SLICES, minlength=grid.size)
    tall = ((filled > _TALL) & (at_top >= _TOP_SLICES - 1)).reshape(grid.shape)
    clusters, count = ndimage.label(ndimage.binary_dilation(tall), np.ones((3, 3), np.bool_))
    high = np.flatnonzero(upright.level > 0.5)
    of_point = clusters.ravel()[cells[high]]
    order = np.argsort(of_point, kind="stable")
    starts = np.searchsorted(of_point[order], np.arange(1, count + 2))
    for first, last in pairwise(starts.tolist()):
        if last - first >= _MIN_POINTS:
            yield high[order[first:last]]


def _stands_alone(wall: Wall, walls: Sequence[Wall]) -> bool:
    """Faces of a column may have been taken for a short wall that touches no longer one."""
    if wall.length_m > _FREE_WALL_M:
        return False
    body = _body(wall)
    return all(
        other.length_m <= _FREE_WALL_M or _body(other).distance(body) > _CLEAR_M
        for other in walls
        if other.wall_id != wall.wall_id
    )


def _body(wall: Wall) -> shapely.Polygon:
    across = wall.normal * wall.thickness_m / 2
    return shapely.Polygon([wall.start - across, wall.end - across, wall.end + across, wall.start + across])


def _section(xy: Floats, across: Floats) -> _Section | None:
    """The section of a cluster of upright surface; None where it is no column's."""
    if np.any(np.ptp(xy, axis=0) > 1.5 * MAX_SIDE_M):
        return None
    sections = [section for section in (_circle(xy), _rectangle(xy, across)) if section is not None]
    best = min(sections, key=lambda section: section.deviation_m, default=None)
    return best if best is not None and _is_column(best, xy) else None


def _is_column(section: _Section, xy: Floats) -> bool:
    small, large = sorted(section.size_m)
    if small < MIN_SIDE_M or large > MAX_SIDE_M or large > _MAX_ASPECT * small:
        return False
    offset = xy - section.centre
    sector = np.floor((np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS).astype(np.int64)
    counts = np.bincount(np.minimum(sector, _SECTORS - 1), minlength=_SECTORS)
    return bool((counts > 0).mean() >= _SEEN_SECTORS)


def _circle(xy: Floats) -> _Section | None:
    """Least squares of x² + y² = 2 a x + 2 b y + c, twice: the second time without what lies off."""
    middle = xy.mean(0)
    kept = np.ones(len(xy), np.bool_)
    centre, radius = middle, 0.0
    for _ in range(3):
        local = xy[kept] - middle
        design = np.column_stack([2 * local, np.ones(len(local))])
        solution, *_ = np.linalg.lstsq(design, (local**2).sum(1), rcond=None)
        square = float(solution[2] + solution[:2] @ solution[:2])
        if square <= 0:
            return None
        centre, radius = middle + solution[:2], float(np.sqrt(square))
        deviation = np.abs(np.linalg.norm(xy - centre, axis=1) - radius)
        kept = deviation < 0.03
        if kept.sum() < 20:
            return None
    return _Section(centre, (2 * radius, 2 * radius), 0.0, True, float(np.median(deviation)))


def _rectangle(xy: Floats, across: Floats) -> _Section | None:
    """Sides at the medians of the points that face their way, in the mean direction modulo a quarter turn."""
    angle = float(np.angle(np.exp(4j * np.arctan2(across[:, 1], across[:, 0])).mean())) / 4
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    local, facing = xy @ axes.T, np.abs(across @ axes.T)
    low, high = np.zeros(2), np.zeros(2)
    for axis in (0, 1):
        ends = np.percentile(local[:, axis], [2, 98])
        side = local[facing[:, axis] > 0.9, axis]
        for place, end in enumerate(ends):
            near = side[np.abs(side - end) < 0.04]
            (low, high)[place][axis] = np.median(near) if len(near) >= 10 else end
    size = high - low
    if np.any(size <= 0):
        return None
    inside = np.minimum(local - low, high - local)
    deviation = np.abs(inside).min(1)
    centre = axes.T @ ((low + high) / 2)
    return _Section(
        np.asarray(centre, np.float64), (float(size[0]), float(size[1])), angle, False, float(np.median(deviation))
    )
