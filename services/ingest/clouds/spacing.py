"""How far apart a cloud's points lie on surfaces, measured where they all are: in small balls, at full density."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from services.ingest.clouds.arrays import read_pieces
from services.ingest.clouds.source import Floats

_SLABS = 4
_SEEDS_PER_SLAB = 12
_CANDIDATES = 48
_NEIGHBOURS = 8
_RADIUS_SPACINGS = 8.0
"""A ball then holds about 200 points of a plane."""
_MAX_BALL_POINTS = 50_000
_CELLS_ACROSS = 60


def measure_spacing(points_path: Path, count: int, sample_m: npt.NDArray[np.float32]) -> float:
    """Median over the surfaces of the median distance to the nearest other point, in metres.

    `points_path` holds (count, 3) float32; `sample_m` (m, 3) is an even sample of them. Every surface weighs by its
    area: near a scanner lie more points than its part of the building is worth.
    """
    if len(sample_m) <= _NEIGHBOURS:
        return 0.0
    seeds, slabs = _choose_seeds(sample_m)
    distances, _ = cKDTree(sample_m).query(seeds, k=_NEIGHBOURS)
    # The sample's density on the surface, and with it the cloud's.
    reach = np.maximum(distances[:, -1], 1e-6)
    expected = reach * np.sqrt(np.pi / (_NEIGHBOURS - 1) * len(sample_m) / count)
    radii = _RADIUS_SPACINGS * expected
    balls = _gather(points_path, seeds, radii, slabs)
    medians = [
        median
        for seed, radius, ball in zip(seeds, radii, balls, strict=True)
        if (median := _median(seed, radius, ball))
    ]
    return float(np.median(medians if medians else expected))


def _choose_seeds(sample_m: npt.NDArray[np.float32]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Seeds (s, 3), evenly over the surfaces but gathered in a few thin slabs across x, and the slab of each.

    Most of the cloud is then passed over by a look at x.
    """
    points = sample_m.astype(np.float64)
    side_m = max(float(np.percentile(points[:, 0], 99) - np.percentile(points[:, 0], 1)) / _CELLS_ACROSS, 1e-3)
    cells = np.floor((points - points.min(axis=0)) / side_m).astype(np.int64)
    _, first = np.unique(np.minimum(cells, (1 << 20) - 1) @ np.array([1 << 40, 1 << 20, 1]), return_index=True)
    even = points[np.sort(first)]
    seeds, slabs = [], []
    for slab, share in enumerate((np.arange(_SLABS) + 0.5) / _SLABS):
        middle = np.quantile(even[:, 0], share)
        near = even[np.argsort(np.abs(even[:, 0] - middle), kind="stable")[:_CANDIDATES]]
        chosen = near[np.linspace(0, len(near) - 1, min(_SEEDS_PER_SLAB, len(near))).astype(int)]
        seeds.append(chosen)
        slabs.append(np.full(len(chosen), slab))
    return np.concatenate(seeds), np.concatenate(slabs)


def _gather(points_path: Path, seeds: Floats, radii: Floats, slabs: npt.NDArray[np.intp]) -> list[Floats]:
    """All points of the file within each seed's radius. Radii of balls that grow too large are halved in place."""
    balls: list[list[Floats]] = [[] for _ in seeds]
    sizes = np.zeros(len(seeds), np.int64)
    for piece in read_pieces(points_path):
        rows = piece.astype(np.float32, copy=False)
        x = np.ascontiguousarray(rows[:, 0])
        for slab in range(_SLABS):
            members = np.flatnonzero(slabs == slab)
            low = (seeds[members, 0] - radii[members]).min()
            high = (seeds[members, 0] + radii[members]).max()
            near = rows[(x >= low) & (x <= high)].astype(np.float64)
            for member in members.tolist() if len(near) else ():
                ball = _within(near, seeds[member], radii[member])
                balls[member].append(ball)
                sizes[member] += len(ball)
                while sizes[member] > _MAX_BALL_POINTS:
                    radii[member] /= 2
                    balls[member] = [_within(part, seeds[member], radii[member]) for part in balls[member]]
                    if sum(map(len, balls[member])) == sizes[member]:
                        # Copies of one and the same point.
                        balls[member] = [seeds[member, None]]
                    sizes[member] = sum(map(len, balls[member]))
    return [np.concatenate(ball) if ball else np.empty((0, 3)) for ball in balls]


def _within(points: Floats, centre: Floats, radius: float) -> Floats:
    offsets = points - centre
    inside = points[np.einsum("ij,ij->i", offsets, offsets) <= radius * radius]
    return np.asarray(inside, np.float64)


def _median(seed: Floats, radius: float, ball: Floats) -> float | None:
    """Of the distances to the nearest other point, for those that have all their neighbours in the ball."""
    ball = np.unique(ball, axis=0)
    if len(ball) < 3:
        return None
    inner = ball[np.linalg.norm(ball - seed, axis=1) <= radius / 2]
    distances, _ = cKDTree(ball).query(inner if len(inner) else ball, k=2)
    return float(np.median(distances[:, 1]))
