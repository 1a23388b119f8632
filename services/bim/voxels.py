"""Thinning: one point per voxel, the mean of what fell into it.

Voxels are hashed (Teschner et al. 2003) and reduced by sorting, in pieces, so that memory follows the surface of the building
and not the number of points. Keys order voxels by blocks of 2 x 2 x 2, so that neighbours lie near in memory too.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.bim.cloud import CanonicalCloud

_THREADS = 2
_MERGE_VOXELS = 6_000_000
_KEY_BITS = 62

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Keys = NDArray[np.int64]
Scans = NDArray[np.int32]


@dataclass(frozen=True)
class VoxelMeans:
    """points (n, 3) float32; readings (n,) int32, points merged; scans (n,) int32, the scan of a voxel's first point.

    blocks (n,) int64: voxels of one block of 2 x 2 x 2 have the same number, and follow each other.
    """

    points: Floats32
    readings: NDArray[np.int32]
    scans: Scans
    blocks: Keys


@dataclass(frozen=True)
class _Grid:
    low: Floats
    spacing: float
    blocks: tuple[int, int, int]

    def keys(self, cell: NDArray[np.int64]) -> Keys:
        block = cell >> 1
        inner = cell & 1
        outer = (block[:, 0] * self.blocks[1] + block[:, 1]) * self.blocks[2] + block[:, 2]
        return np.asarray((outer << 3) | (inner[:, 0] << 2) | (inner[:, 1] << 1) | inner[:, 2])

    def corners(self, keys: Keys) -> Floats:
        """Low corners (n, 3) of voxels."""
        outer, inner = keys >> 3, keys & 7
        column, z = np.divmod(outer, self.blocks[2])
        x, y = np.divmod(column, self.blocks[1])
        cell = 2 * np.stack([x, y, z], axis=1) + np.stack([inner >> 2, (inner >> 1) & 1, inner & 1], axis=1)
        return np.asarray(self.low + cell * self.spacing)


@dataclass(frozen=True)
class _Sums:
    """keys (n,) sorted; sums (n, 4) float32: offsets from the voxel's low corner and the count; scans (n,) of the first."""

    keys: Keys
    sums: Floats32
    scans: Scans


def thin(cloud: CanonicalCloud, spacing: float, report: Reporter) -> VoxelMeans:
    """Means of the voxels of side `spacing`, in a fixed order; n log n.

    Raises UserError if the cloud's extent has more voxels than can be numbered.
    """
    grid = _grid_of(cloud, spacing)
    voxels = _sums_of_cloud(cloud, grid, report)
    points = grid.corners(voxels.keys) + voxels.sums[:, :3] / voxels.sums[:, 3:]
    return VoxelMeans(points.astype(np.float32), voxels.sums[:, 3].astype(np.int32), voxels.scans, voxels.keys >> 3)


def _grid_of(cloud: CanonicalCloud, spacing: float) -> _Grid:
    low, high = (np.asarray(bound, np.float64) for bound in cloud.manifest.bounds_m)
    low = low - spacing
    nx, ny, nz = (int(cells) // 2 + 2 for cells in np.ceil((high - low) / spacing))
    if (nx * ny * nz).bit_length() + 3 > _KEY_BITS:
        raise UserError(
            ErrorCode.INVALID_CLOUD,
            f"The cloud is {' x '.join(f'{side / 1000:.1f}' for side in high - low)} km large. Check its unit, and remove "
            "stray points far from the building.",
        )
    return _Grid(low, spacing, (nx, ny, nz))


def _sums_of_cloud(cloud: CanonicalCloud, grid: _Grid, report: Reporter) -> _Sums:
    slices = list(cloud.pieces())
    whole: list[_Sums] = []
    waiting = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(slices), _THREADS):
            batch = slices[first : first + _THREADS]
            for part in pool.map(lambda rows: _sums_of_piece(cloud, rows, grid), batch):
                whole.append(part)
                waiting += len(part.keys)
            if waiting > max(_MERGE_VOXELS, len(whole[0].keys)):
                whole, waiting = [_merged(whole)], 0
            report.progress(batch[-1].stop, len(cloud), "Thinning the cloud")
    return _merged(whole)


def _sums_of_piece(cloud: CanonicalCloud, rows: slice, grid: _Grid) -> _Sums:
    # Single precision keeps hundredths of a millimetre here: the cloud's origin is near.
    scaled = (np.asarray(cloud.points[rows]) - grid.low.astype(np.float32)) * np.float32(1 / grid.spacing)
    cell = scaled.astype(np.int32)
    sums = np.empty((len(cell), 4), np.float32)
    sums[:, :3] = (scaled - cell) * np.float32(grid.spacing)
    sums[:, 3] = 1
    scans = np.zeros(len(cell), np.int32) if cloud.scan is None else np.asarray(cloud.scan[rows], np.int32)
    return _reduced(_Sums(grid.keys(cell.astype(np.int64)), sums, scans))


def _reduced(voxels: _Sums) -> _Sums:
    """One row a key, keys sorted. Rows of one key keep their order, so that the same input gives the same sums."""
    order, keys = _sorted(voxels.keys)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return _Sums(keys[starts], np.add.reduceat(voxels.sums[order], starts, axis=0), voxels.scans[order[starts]])


def _sorted(keys: Keys) -> tuple[NDArray[np.int64], Keys]:
    """The stable order of `keys` (n,), and the sorted keys."""
    bits = max(len(keys) - 1, 1).bit_length()
    if int(keys.max()).bit_length() + bits > _KEY_BITS:
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    # Place and key in one number: numpy sorts numbers several times faster than it sorts their order.
    packed = np.sort((keys << bits) | np.arange(len(keys)))
    return packed & ((1 << bits) - 1), packed >> bits


def _merged(parts: list[_Sums]) -> _Sums:
    if len(parts) == 1:
        return parts[0]
    return _reduced(
        _Sums(
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.scans for part in parts]),
        )
    )
