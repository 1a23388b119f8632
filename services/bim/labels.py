"""Which element every point of the cloud belongs to, and how well the model explains the cloud.

A point belongs to the element whose surface is nearest, if that is within the noise: the faces and ends of walls, both sides and the
edges of slabs, columns. What lies within the hole of an opening (reveals, frames, leaves, panes) is the opening's. Rooms own no
points. The cloud is walked through in pieces on two threads; time is linear in points, memory does not depend on them, but for
the label of each (4 bytes).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.progress import Reporter
from services.bim.cloud import CanonicalCloud
from services.bim.element_surfaces import TILE_M, ElementSurfaces, Level, Ring, Strip, Upright, surfaces_of
from services.bim.model import Building

_PIECE = 1 << 19
_THREADS = 2
_BINS = 64
_BEFORE_FACE_M = 0.03
"""Frames and casings stand out from the wall by so much and still are the opening's."""

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Labels32 = NDArray[np.int32]
Rows = NDArray[np.int64]
Best = tuple[Labels32, Floats32, Rows]
"""Label, distance and tile of every point, as far as surfaces were compared."""
_LEVEL = np.eye(3)


@dataclass(frozen=True)
class Labels:
    """index (n,) int32: the place of every point's element in `elements`, -1 = none.

    counts, residual_median_m, residual_p90_m, coverage (elements,): points; distances of points to the surface, NaN without
    points; share of the surface that points were seen on, NaN for openings, which have none of their own.
    """

    elements: tuple[str, ...]
    index: Labels32
    counts: NDArray[np.int64]
    residual_median_m: Floats
    residual_p90_m: Floats
    coverage: Floats

    @property
    def explained(self) -> float:
        """The share of all points that belong to an element."""
        return float(self.counts.sum() / len(self.index)) if len(self.index) else 0.0


@dataclass
class _Tally:
    """What is counted while pieces are labelled. residuals (elements, bins); seen (tiles,)."""

    residuals: NDArray[np.int64]
    counts: NDArray[np.int64]
    seen: NDArray[np.bool_]


def main(
    building: Building,
    cloud: CanonicalCloud,
    settings: BuildingSettings,
    report: Reporter,
    level_from_cloud: Floats = _LEVEL,
) -> Labels:
    """Label every point of the cloud. `level_from_cloud` (3, 3) turns it to the frame of the building, where that was levelled."""
    reach = reach_m(building, settings)
    surfaces = surfaces_of(building, reach)
    elements = len(surfaces.elements)
    index = np.full(len(cloud), -1, np.int32)
    tally = _Tally(
        np.zeros((elements, _BINS), np.int64),
        np.zeros(elements, np.int64),
        np.zeros(surfaces.tile_count, np.bool_),
    )
    turn = level_from_cloud.astype(np.float32)

    def label(rows: slice) -> tuple[slice, Labels32, Floats32]:
        points = np.asarray(cloud.points[rows], np.float32)
        if not np.array_equal(level_from_cloud, _LEVEL):
            points = points @ turn.T
        found, distance = _nearest(points, surfaces, reach, tally.seen)
        return rows, found, distance

    with ThreadPoolExecutor(_THREADS) as pool:
        pieces = list(cloud.pieces(_PIECE))
        for first in range(0, len(pieces), _THREADS):
            # In order and a few at a time: neither memory nor sums depend on which thread is faster.
            for rows, found, distance in pool.map(label, pieces[first : first + _THREADS]):
                index[rows] = found
                _count(tally, found, distance, reach)
                report.progress(rows.stop, len(cloud), "Assigning points to elements")
    covered = _coverage(surfaces, tally, building)
    labels = Labels(
        surfaces.elements,
        index,
        tally.counts,
        _quantile(tally.residuals, 0.5, reach),
        _quantile(tally.residuals, 0.9, reach),
        covered,
    )
    report.log(f"  {100 * labels.explained:.1f} % of all points belong to an element")
    return labels


def reach_m(building: Building, settings: BuildingSettings) -> float:
    """How far from its surface a point may lie: the noise that was set, or three times the noise that was found."""
    residuals = [wall.residual_m for wall in building.walls if np.isfinite(wall.residual_m)]
    found = 3 * 1.4826 * float(np.median(residuals)) if residuals else 0.0
    return max(float(settings.preprocessing.noise_threshold), min(found, 0.1))


def _nearest(
    points: Floats32, surfaces: ElementSurfaces, reach: float, seen: NDArray[np.bool_]
) -> tuple[Labels32, Floats32]:
    """Label (m,) and distance (m,) of points (m, 3); the distance of what only lies within an opening is NaN."""
    found = np.full(len(points), -1, np.int32)
    distance = np.full(len(points), reach, np.float32)
    tile = np.full(len(points), -1, np.int64)
    for level in surfaces.levels:
        _try_level(points, level, found, distance, tile)
    for upright in surfaces.uprights:
        _try_upright(points, upright, (found, distance, tile), reach)
    seen[tile[tile >= 0]] = True
    return found, distance


def _try_level(points: Floats32, level: Level, found: Labels32, distance: Floats32, tile: Rows) -> None:
    for side, height in enumerate(level.heights_m):
        away = np.abs(points[:, 2] - np.float32(height))
        rows = np.flatnonzero(away < distance)
        cells = level.grid.cells(points[rows, :2])
        inside = level.inside.ravel()[cells]
        rows, cells = rows[inside], cells[inside]
        found[rows], distance[rows] = level.element, away[rows]
        tile[rows] = level.first_tile + side * level.grid.size + cells


def _try_upright(points: Floats32, upright: Upright, best: Best, reach: float) -> None:
    band = np.flatnonzero((points[:, 2] > upright.low_m) & (points[:, 2] < upright.high_m))
    if not len(band):
        return
    local = points[band]
    low = upright.grid.low
    high = low + np.array(upright.grid.shape) * upright.grid.cell_m
    within = (local[:, 0] > low[0]) & (local[:, 0] < high[0]) & (local[:, 1] > low[1]) & (local[:, 1] < high[1])
    band = band[within]
    near = upright.near[upright.grid.cells(local[within, :2])]
    for layer in range(near.shape[1]):
        chosen = np.flatnonzero(near[:, layer] >= 0)
        if not len(chosen):
            break
        strips = near[chosen, layer]
        order = np.argsort(strips, kind="stable")
        ends = np.searchsorted(strips[order], np.arange(len(upright.strips) + 1))
        for number, strip in enumerate(upright.strips):
            rows = band[chosen[order[ends[number] : ends[number + 1]]]]
            if len(rows):
                _try_strip(points, rows, strip, best, reach)
    for ring in upright.rings:
        _try_ring(points, band, ring, best)


def _try_strip(points: Floats32, rows: Rows, strip: Strip, best: Best, reach: float) -> None:
    """Give points (rows,) to a strip, or to the openings in it, where they lie nearer than to all before."""
    found, distance, tile = best
    offset = points[rows, :2] - strip.start.astype(np.float32)
    along = strip.along.astype(np.float32)
    u = offset @ along
    d = offset[:, 1] * along[0] - offset[:, 0] * along[1]
    z = points[rows, 2]
    depth = np.abs(d) - np.float32(strip.half_m)
    beyond = np.maximum(-u, u - np.float32(strip.length_m))
    upright = (z > strip.base_m - reach) & (z < strip.top_m + reach)
    # Of a box seen from outside the larger of both is the distance; inside, the smaller of both depths.
    away = np.abs(np.maximum(depth, beyond))
    hit = upright & (away < distance[rows]) & (beyond < reach)
    in_hole = np.zeros(len(rows), np.bool_)
    for element, from_m, to_m, sill_m, head_m in strip.holes:
        here = (u > from_m - reach) & (u < to_m + reach) & (z > sill_m - reach) & (z < head_m + reach)
        here &= depth < _BEFORE_FACE_M
        inner = np.minimum(np.minimum(u - from_m, to_m - u), np.minimum(z - sill_m, head_m - z))
        # On the rim itself the faces of the wall are the wall's, and what lies deeper is the reveal.
        own = here & ((inner > 0) | (depth < -reach)) & (inner > -reach)
        own &= ~((depth > -reach) & (inner < 0.25 * reach))
        rim = np.abs(inner)
        taken = np.flatnonzero(own & ~in_hole)
        found[rows[taken]] = int(element)
        distance[rows[taken]] = np.where(rim[taken] < reach, rim[taken], np.nan)
        tile[rows[taken]] = -1
        in_hole |= own
    taken = np.flatnonzero(hit & ~in_hole)
    found[rows[taken]], distance[rows[taken]] = strip.element, away[taken]
    columns, levels = strip.tiles
    i = np.clip((u[taken] / TILE_M).astype(np.int64), 0, columns - 1)
    j = np.clip(((z[taken] - strip.base_m) / TILE_M).astype(np.int64), 0, levels - 1)
    side = (d[taken] < 0).astype(np.int64)
    tile[rows[taken]] = strip.first_tile + (side * columns + i) * levels + j


def _try_ring(points: Floats32, band: Rows, ring: Ring, best: Best) -> None:
    found, distance, tile = best
    offset = points[band, :2] - ring.centre.astype(np.float32)
    away = np.abs(np.hypot(offset[:, 0], offset[:, 1]) - np.float32(ring.radius_m))
    z = points[band, 2]
    hit = np.flatnonzero((away < distance[band]) & (z > ring.base_m) & (z < ring.top_m))
    rows = band[hit]
    found[rows], distance[rows] = ring.element, away[hit]
    columns, levels = ring.tiles
    turn = np.arctan2(offset[hit, 1], offset[hit, 0]) / (2 * np.pi) + 0.5
    i = np.minimum((turn * columns).astype(np.int64), columns - 1)
    j = np.clip(((z[hit] - ring.base_m) / TILE_M).astype(np.int64), 0, levels - 1)
    tile[rows] = ring.first_tile + i * levels + j


def _count(tally: _Tally, found: Labels32, distance: Floats32, reach: float) -> None:
    labelled = found >= 0
    tally.counts += np.bincount(found[labelled], minlength=len(tally.counts))
    measured = labelled & np.isfinite(distance)
    bins = np.minimum((distance[measured] * (_BINS / reach)).astype(np.int64), _BINS - 1)
    flat = found[measured].astype(np.int64) * _BINS + bins
    tally.residuals += np.bincount(flat, minlength=tally.residuals.size).reshape(tally.residuals.shape)


def _quantile(histogram: NDArray[np.int64], share: float, reach: float) -> Floats:
    """Quantiles (elements,) of distances from their histograms, linear within a bin."""
    total = histogram.sum(1)
    sums = np.cumsum(histogram, axis=1)
    wanted = share * total
    place = np.argmax(sums >= np.maximum(wanted, 1e-9)[:, None], axis=1)
    rows = np.arange(len(histogram))
    inside = np.maximum(histogram[rows, place], 1)
    before = sums[rows, place] - histogram[rows, place]
    value = (place + (wanted - before) / inside) * reach / _BINS
    return np.asarray(np.where(total > 0, value, np.nan), np.float64)


def _coverage(surfaces: ElementSurfaces, tally: _Tally, building: Building) -> Floats:
    """Seen tiles over all tiles of each element."""
    seen = np.zeros(len(surfaces.elements))
    for level in surfaces.levels:
        tiles = tally.seen[level.first_tile : level.first_tile + 2 * level.grid.size].reshape(2, -1)
        seen[level.element] += float(tiles[:, level.inside.ravel()].sum())
    slabs = {number for number, name in enumerate(surfaces.elements) if number < len(building.slabs)}
    for upright in surfaces.uprights:
        for strip in upright.strips:
            if strip.element not in slabs:
                columns, levels = strip.tiles
                seen[strip.element] += float(tally.seen[strip.first_tile :][: 2 * columns * levels].sum())
        for ring in upright.rings:
            columns, levels = ring.tiles
            seen[ring.element] += float(tally.seen[ring.first_tile :][: columns * levels].sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        share = seen / surfaces.tiles
    return np.asarray(np.where(surfaces.tiles > 0, np.minimum(share, 1.0), np.nan), np.float64)
