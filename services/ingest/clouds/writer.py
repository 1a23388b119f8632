"""The arrays of a canonical cloud (`contracts.clouds`), written piece by piece while a file is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.clouds import COLOURS_NAME, INTENSITY_NAME, POINTS_NAME, SCAN_NAME, SOURCE_INDEX_NAME
from services.ingest.clouds.arrays import READ_ROWS, GrowingArray, rewrite
from services.ingest.clouds.colours import Floats32, colours_to_bytes, intensity_range
from services.ingest.clouds.source import Bools, Colours, Floats, Piece

SAMPLE_POINTS = 1 << 17
ABSURD = 1e8
"""No coordinate in metres is larger: the earth's circumference is 4e7."""
_ABSURD_MM = 1e11
_SHIFT_FROM = 100.0
"""Clouds that lie nearer to their origin keep it: their coordinates stay the same in single precision."""
_GOLDEN = np.uint32(2654435769)
"""2^32 over the golden ratio: multiples of it fill the range evenly (Knuth, TAOCP 3, 6.4)."""


@dataclass
class Counts:
    """Points of a file, by what became of them."""

    in_file: int = 0
    kept: int = 0
    diluted: int = 0
    no_return: int = 0
    """Marked by the file."""
    bad: int = 0
    """Not finite, or nowhere on earth."""


class SpreadSample:
    """An even sample of a stream of unknown length, the same whatever the pieces are.

    Rows are chosen by a multiplicative hash of their number, not by a fixed step: steps meet the rows of a scanner's grid.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._threshold = np.uint32(2**32 - 1)
        self._hashes: list[npt.NDArray[np.uint32]] = []
        self._rows: list[Floats32] = []
        self._count = 0

    def add(self, rows: Floats32, first: int) -> None:
        hashes = np.arange(first, first + len(rows), dtype=np.int64).astype(np.uint32) * _GOLDEN
        chosen = hashes <= self._threshold
        self._hashes.append(hashes[chosen])
        self._rows.append(rows[chosen])
        self._count += len(self._rows[-1])
        while self._count > self._capacity:
            self._threshold //= np.uint32(2)
            all_hashes, all_rows = np.concatenate(self._hashes), np.concatenate(self._rows)
            chosen = all_hashes <= self._threshold
            self._hashes, self._rows = [all_hashes[chosen]], [all_rows[chosen]]
            self._count = len(self._rows[0])

    def rows(self) -> Floats32:
        """(m, 3), in the stream's order."""
        return np.concatenate(self._rows) if self._rows else np.empty((0, 3), np.float32)


class CloudWriter:
    """Takes pieces in the file's order. `close` before anything else reads the files."""

    def __init__(self, folder: Path, step: int) -> None:
        """Every `step`-th point of the file is kept."""
        self.counts = Counts()
        self.origin: Floats | None = None
        """(3,) in the file's units; None until there is a valid point."""
        self.lowest = np.full(3, np.inf)
        self.highest = np.full(3, -np.inf)
        """(3,) of the points, less the origin."""
        self.sample = SpreadSample(SAMPLE_POINTS)
        self._folder = folder
        self._step = step
        self._absurd = ABSURD
        self._points = GrowingArray(folder / POINTS_NAME, np.float32, 3)
        self._scan = GrowingArray(folder / SCAN_NAME, np.uint16)
        self._index: GrowingArray | None = None
        self._colours: GrowingArray | None = None
        self._brightest = 0.0
        self._intensity: GrowingArray | None = None
        self._intensity_lowest, self._intensity_highest = np.inf, -np.inf

    def add(self, piece: Piece) -> None:
        first, kept_before = self.counts.in_file, self.counts.kept
        self.counts.in_file += len(piece)
        chosen = slice(-first % self._step, None, self._step)
        xyz = piece.xyz[:, chosen]
        self.counts.diluted += len(piece) - xyz.shape[1]
        valid = self._find_valid(xyz, None if piece.no_return is None else piece.no_return[chosen])
        if valid is not None:
            xyz = xyz[:, valid]
        count = xyz.shape[1]
        if count:
            self._write_points(xyz)
        self._write_index(range(first + chosen.start, first + len(piece), self._step), valid)
        self._write_colours(piece.colours, chosen, valid, kept_before, count)
        self._write_intensity(piece.intensity, chosen, valid, kept_before, count)
        self._scan.append(np.full(count, piece.scan, np.uint16))
        self.counts.kept += count

    def close(self) -> None:
        for array in (self._points, self._scan, self._index, self._colours, self._intensity):
            if array is not None:
                array.close()

    @property
    def has_colours(self) -> bool:
        return self._colours is not None

    @property
    def has_intensity(self) -> bool:
        return self._intensity is not None

    def finish_colours(self) -> None:
        """Bring colours to 8 bits, and intensities to 0 … 1, by the range that the whole file has."""
        if self._colours is not None and self._colours.dtype != np.uint8:
            rewrite(self._folder / COLOURS_NAME, colours_to_bytes(self._brightest, self._colours.dtype))
        if self._intensity is not None:
            known = self._intensity_lowest <= self._intensity_highest
            found = intensity_range(self._intensity_lowest, self._intensity_highest) if known else intensity_range(0, 0)
            if not found.is_unit:
                rewrite(self._folder / INTENSITY_NAME, lambda values: found.to_unit(values.astype(np.float32)))

    def drop_scans(self) -> None:
        """The file does not say where its scanners stood."""
        (self._folder / SCAN_NAME).unlink()

    def _find_valid(self, xyz: Floats, no_return: Bools | None) -> Bools | None:
        """Which points can be used; None for all of them."""
        if not xyz.shape[1]:
            return None
        if self.origin is None:
            self._absurd = _absurd_limit(xyz)
        # nan fails both comparisons.
        in_reach = bool((xyz.min(axis=1) >= -self._absurd).all() and (xyz.max(axis=1) <= self._absurd).all())
        if in_reach and no_return is None:
            return None
        valid: Bools = np.logical_and.reduce(np.abs(xyz) <= self._absurd)
        if no_return is not None:
            self.counts.no_return += int(np.count_nonzero(no_return))
            self.counts.bad += int(np.count_nonzero(~valid & ~no_return))
            valid &= ~no_return
        else:
            self.counts.bad += len(valid) - int(np.count_nonzero(valid))
        return None if valid.all() else valid

    def _write_points(self, xyz: Floats) -> None:
        if self.origin is None:
            middle = np.median(xyz, axis=1)
            self.origin = np.round(middle) if np.abs(middle).max() > _SHIFT_FROM else np.zeros(3)
        points = np.empty((xyz.shape[1], 3), np.float32)
        for axis in range(3):
            np.subtract(xyz[axis], self.origin[axis], out=points[:, axis], casting="same_kind")
        self.lowest = np.minimum(self.lowest, xyz.min(axis=1) - self.origin)
        self.highest = np.maximum(self.highest, xyz.max(axis=1) - self.origin)
        self._points.append(points)
        self.sample.add(points, self.counts.kept)

    def _write_index(self, places: range, valid: Bools | None) -> None:
        if self._index is None:
            if self._step == 1 and valid is None:
                return
            # All points so far were kept: their place is their row.
            self._index = GrowingArray(self._folder / SOURCE_INDEX_NAME, np.uint32)
            for begin in range(0, self.counts.kept, READ_ROWS):
                self._index.append(np.arange(begin, min(begin + READ_ROWS, self.counts.kept), dtype=np.uint32))
        index = np.arange(places.start, places.stop, places.step, dtype=np.uint32)
        self._index.append(index if valid is None else index[valid])

    def _write_colours(
        self, colours: Colours | None, chosen: slice, valid: Bools | None, kept_before: int, count: int
    ) -> None:
        if colours is None:
            if self._colours is not None:
                self._colours.append_zeros(count)
            return
        if self._colours is None:
            self._colours = GrowingArray(self._folder / COLOURS_NAME, colours.dtype, 3)
            self._colours.append_zeros(kept_before)
        rows = colours[:, chosen] if valid is None else colours[:, chosen][:, valid]
        if self._colours.dtype != np.uint8 and rows.size:
            self._brightest = max(self._brightest, float(rows.max()))
        self._colours.append(np.ascontiguousarray(rows.T))

    def _write_intensity(
        self, intensity: Floats32 | None, chosen: slice, valid: Bools | None, kept_before: int, count: int
    ) -> None:
        if intensity is None:
            if self._intensity is not None:
                self._intensity.append_zeros(count)
            return
        if self._intensity is None:
            self._intensity = GrowingArray(self._folder / INTENSITY_NAME, np.float32)
            self._intensity.append_zeros(kept_before)
        rows = intensity[chosen] if valid is None else intensity[chosen][valid]
        known = np.isfinite(rows)
        if not known.all():
            rows = np.where(known, rows, np.float32(np.nan))
        if known.any():
            self._intensity_lowest = min(self._intensity_lowest, float(np.nanmin(rows)))
            self._intensity_highest = max(self._intensity_highest, float(np.nanmax(rows)))
        self._intensity.append(rows)


def _absurd_limit(xyz: Floats) -> float:
    """Larger coordinates are errors. Millimetres in a national grid are none."""
    some = xyz[:, :: max(1, xyz.shape[1] // 10_000)]
    known = np.abs(some[np.isfinite(some)])
    return _ABSURD_MM if len(known) and ABSURD < np.median(known) <= _ABSURD_MM else ABSURD


def unlink_arrays(folder: Path, names: Sequence[str]) -> None:
    """What an earlier attempt may have left behind."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
