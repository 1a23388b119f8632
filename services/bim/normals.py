"""Normals and surface variation of a thinned cloud, by principal components of near neighbours (Hoppe et al. 1992)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from contracts.progress import Reporter

NEIGHBOURS = 10
_REACH_SPACINGS = 4.0
"""Neighbours farther away than this are of another surface, or of none."""
_MIN_NEIGHBOURS = 5
_CLEARLY_FLAT = 0.03
_CHUNK = 100_000
_THREADS = 2

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class SurfaceFits:
    """normals (n, 3) float32, unit or zero, of either sign; bend (n,) float32: surface variation (Pauly et al. 2002)."""

    normals: Floats32
    bend: Floats32
    noise_m: float


def fit_surfaces(points: Floats32, blocks: NDArray[np.int64], spacing: float, report: Reporter) -> SurfaceFits:
    """Fit planes to the neighbours of `points` (n, 3) float32; points of one block (n,) follow each other; n log n.

    One point of each block is fitted; the others take over its plane where they lie on it, and are fitted where they do not.
    """
    # Points come sorted by block: a tree without balancing is built in a third of the time, and is searched as fast.
    tree = cKDTree(points, leafsize=24, balanced_tree=False, compact_nodes=False)
    normals = np.zeros((len(points), 3), np.float32)
    bend = np.ones(len(points), np.float32)
    deviation = np.full(len(points), np.nan, np.float32)

    def fit(rows: NDArray[np.int64]) -> int:
        _, near = tree.query(points[rows], NEIGHBOURS, distance_upper_bound=_REACH_SPACINGS * spacing)
        normals[rows], bend[rows], deviation[rows] = _planes(points, rows, near)
        return len(rows)

    first = np.flatnonzero(np.concatenate([[True], blocks[1:] != blocks[:-1]]))
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for count in pool.map(fit, _chunks(first)):
            done += count
            report.progress(done, len(points), "Fitting surfaces")
        leader = first[np.cumsum(np.concatenate([[True], blocks[1:] != blocks[:-1]])) - 1]
        noise = float(np.nanmedian(deviation[first][bend[first] < 0.05])) if np.any(bend[first] < 0.05) else 0.0
        same = _on_plane(points, normals, bend, leader, max(3 * noise, 0.25 * spacing))
        normals[same], bend[same] = normals[leader[same]], bend[leader[same]]
        same[first] = True
        for count in pool.map(fit, _chunks(np.flatnonzero(~same))):
            done += count
            report.progress(done, len(points), "Fitting surfaces")
    return SurfaceFits(normals, bend, noise)


def _chunks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _on_plane(
    points: Floats32, normals: Floats32, bend: Floats32, leader: NDArray[np.int64], tolerance: float
) -> NDArray[np.bool_]:
    away = np.einsum("ij,ij->i", points - points[leader], normals[leader])
    return np.asarray((np.abs(away) < tolerance) & (bend[leader] < _CLEARLY_FLAT))


def _planes(points: Floats32, rows: NDArray[np.int64], near: NDArray[np.int64]) -> tuple[Floats32, Floats32, Floats32]:
    """Normals (m, 3), bend (m,) and the deviation from the plane (m,) of neighbourhoods `near` (m, k); k = n: none."""
    known = near < len(points)
    count = np.maximum(known.sum(1), 1).astype(np.float32)
    local = points[np.where(known, near, rows[:, None])]
    local -= points[rows, None]
    # Where neighbours are missing the point itself stands in: an offset of zero, that does not count.
    mean = local.sum(1) / count[:, None]
    xx, xy, xz, yy, yz, zz = (
        np.einsum("mk,mk->m", local[..., a], local[..., b]) / count - mean[:, a] * mean[:, b]
        for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    parts = np.stack([xx, xy, xz, yy, yz, zz]).astype(np.float64)
    least = _least_eigenvalue(parts)
    normals = _null_vector(parts, least)
    total = np.maximum(xx + yy + zz, 1e-12)
    enough = (known.sum(1) >= _MIN_NEIGHBOURS) & (np.abs(normals).sum(1) > 0)
    bend = np.where(enough, np.clip(least / total, 0, 1), 1.0)
    return (
        np.where(enough[:, None], normals, 0).astype(np.float32),
        bend.astype(np.float32),
        np.sqrt(np.maximum(least, 0)).astype(np.float32),
    )


def _least_eigenvalue(parts: Floats) -> Floats:
    """Of symmetric 3x3 matrices, by the trigonometric solution of the cubic (Smith 1961). parts (6, m): xx xy xz yy yz zz."""
    xx, xy, xz, yy, yz, zz = parts
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    spread = np.sqrt(np.maximum((a * a + b * b + c * c + 2 * (xy * xy + xz * xz + yz * yz)) / 6, 1e-30))
    determinant = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    angle = np.arccos(np.clip(determinant / (2 * spread**3), -1, 1)) / 3
    return np.asarray(mean + 2 * spread * np.cos(angle + 2 * np.pi / 3))


def _null_vector(parts: Floats, least: Floats) -> Floats:
    """Unit eigenvectors (m, 3) to the eigenvalues `least` (m,): the longest cross product of two rows of A - λI."""
    xx, xy, xz, yy, yz, zz = parts
    rows = np.empty((3, len(xx), 3))
    rows[0] = np.stack([xx - least, xy, xz], 1)
    rows[1] = np.stack([xy, yy - least, yz], 1)
    rows[2] = np.stack([xz, yz, zz - least], 1)
    best = np.cross(rows[0], rows[1])
    length = np.einsum("ij,ij->i", best, best)
    for one, other in ((0, 2), (1, 2)):
        cross = np.cross(rows[one], rows[other])
        square = np.einsum("ij,ij->i", cross, cross)
        longer = square > length
        best[longer], length[longer] = cross[longer], square[longer]
    return np.asarray(best / np.sqrt(np.maximum(length, 1e-60))[:, None])
