"""What every reader of a point cloud gives: pieces of points in the file's own order, and what its header says."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contracts.progress import Reporter

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Colours = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]

MAX_WARNINGS = 30
"""A file can have one for each of thousands of scans."""
PIECE_POINTS = 1 << 18
"""Points handled at once: what a piece takes stays within a few megabytes."""


@dataclass(frozen=True)
class Piece:
    """Consecutive points of the file, none left out: n points in the file's units and axes."""

    xyz: Floats
    """(3, n), each row contiguous; not finite where the file's text could not be read."""
    no_return: Bools | None = None
    """(n,) True where the file marks a direction without a point; None if it marks none."""
    colours: Colours | None = None
    """(3, n) red, green, blue as stored; None if the file has none."""
    intensity: npt.NDArray[np.float32] | None = None
    """(n,) as stored; None if the file has none."""
    scan: int = 0

    def __len__(self) -> int:
        return int(self.xyz.shape[1])


@dataclass
class Reading:
    """A file that is being read. What is learnt on the way is complete once `pieces` is exhausted."""

    pieces: Iterator[Piece]
    points_declared: int | None = None
    """None where the format has no such field."""
    scanners: list[Floats | None] = field(default_factory=list)
    """(3,) for each scan, in the file's units and axes; None where a scan does not say."""
    crs: str | None = None
    unit_m: float | None = None
    """Metres in a unit, where the file says so."""
    bytes_done: int = 0
    bytes_total: int = 0

    def total_estimate(self, points_done: int) -> int:
        """Points of the whole file: as declared, else by the bytes that were read so far."""
        if self.points_declared is not None:
            return max(self.points_declared, points_done)
        if not self.bytes_done:
            return points_done
        return max(points_done, round(points_done * self.bytes_total / self.bytes_done))


class Notes:
    """Warnings, said at once and kept for the manifest."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self.kept: list[str] = []

    def warn(self, message: str) -> None:
        if len(self.kept) == MAX_WARNINGS:
            message = "There are more warnings of the same kinds."
        if len(self.kept) <= MAX_WARNINGS:
            self._report.warn(message)
            self.kept.append(message)
