"""LiDAR depth and confidence pictures of a capture, checked and brought to one scale."""

import threading
import zipfile
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from contracts.errors import ErrorCode, UserError
from services.ingest import pictures
from services.ingest.archive import Inspection, read_entry

DepthMap = npt.NDArray[np.uint16]
"""(h, w) millimetres, 0 = no measurement."""
ConfidenceMap = npt.NDArray[np.uint8]
"""(h, w) 0 (low) to 2 (high)."""
Scale = Literal["0-2", "0-255", "none"]


@dataclass(frozen=True)
class DepthFrame:
    """One frame's depth with its confidence, same size."""

    depth_mm: DepthMap
    confidence: ConfidenceMap

    def measured_pixels(self, least_confidence: int) -> int:
        """Pixels with a depth that is trusted at least that much."""
        return int(np.count_nonzero((self.depth_mm > 0) & (self.confidence >= least_confidence)))


class DepthMaps:
    """Depth by row of odometry.csv. Reading may happen in several threads; damaged files are left out and listed."""

    def __init__(
        self,
        archive: zipfile.ZipFile,
        inspection: Inspection,
        depth_of_row: dict[int, str],
        confidence_of_row: dict[int, str],
    ) -> None:
        self._archive = archive
        self._inspection = inspection
        self._depth_of_row = depth_of_row
        self._confidence_of_row = confidence_of_row
        self._lock = threading.Lock()
        self._damaged: dict[str, str] = {}
        self.size_px = self._first_size()
        self.scale: Scale = detect_scale(self._confidence_maxima())

    def rows(self) -> list[int]:
        """Rows that have a depth file, ascending."""
        return sorted(self._depth_of_row) if self.size_px is not None else []

    def depth_mm(self, row: int) -> DepthMap | None:
        """A row's depth, or None if it has none that can be read."""
        name = self._depth_of_row.get(row)
        if name is None or self.size_px is None:
            return None
        try:
            depth = decode_depth(read_entry(self._archive, self._inspection, name), name)
            if depth.shape != (self.size_px[1], self.size_px[0]):
                raise _bad(
                    name, f"is {depth.shape[1]}x{depth.shape[0]}, others are {self.size_px[0]}x{self.size_px[1]}"
                )
        except UserError as error:
            self._note(name, error)
            return None
        return depth

    def frame(self, row: int) -> DepthFrame | None:
        """A row's depth and confidence. Without any confidence files all depth counts as high; where a single one is
        missing or damaged, that frame's depth counts as low."""
        depth = self.depth_mm(row)
        if depth is None:
            return None
        if self.scale == "none":
            return DepthFrame(depth, np.full(depth.shape, 2, dtype=np.uint8))
        name = self._confidence_of_row.get(row)
        raw = None if name is None else self._raw_confidence(name)
        if raw is None or raw.shape != depth.shape:
            return DepthFrame(depth, np.zeros(depth.shape, dtype=np.uint8))
        return DepthFrame(depth, normalise_confidence(raw, self.scale))

    def warnings(self) -> list[str]:
        """What was wrong with the files read so far, one sentence a kind of picture."""
        found = []
        for folder, what in (("depth/", "are used without depth"), ("confidence/", "count as low confidence")):
            bad = sorted(name for name in self._damaged if name.startswith(folder))
            if bad:
                others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                found.append(f"{self._damaged[bad[0]].rstrip('.')}{others}; such frames {what}.")
        if self.rows() and self.scale == "none":
            found.append("The capture has no confidence pictures: all its depth counts as high confidence.")
        return found

    def _first_size(self) -> tuple[int, int] | None:
        """Width and height of the first depth picture that can be read."""
        for row in sorted(self._depth_of_row):
            name = self._depth_of_row[row]
            try:
                depth = decode_depth(read_entry(self._archive, self._inspection, name), name)
            except UserError as error:
                self._note(name, error)
                continue
            return depth.shape[1], depth.shape[0]
        return None

    def _confidence_maxima(self) -> list[int]:
        """Largest value of every confidence picture, up to the first that settles the scale."""
        maxima: list[int] = []
        for name in dict.fromkeys(self._confidence_of_row[row] for row in sorted(self._confidence_of_row)):
            raw = self._raw_confidence(name)
            if raw is not None:
                maxima.append(int(raw.max()))
                if maxima[-1] > 2:
                    break
        return maxima

    def _raw_confidence(self, name: str) -> ConfidenceMap | None:
        try:
            return decode_confidence(read_entry(self._archive, self._inspection, name), name)
        except UserError as error:
            self._note(name, error)
            return None

    def _note(self, name: str, error: UserError) -> None:
        with self._lock:
            self._damaged[name] = error.message


def detect_scale(maxima: list[int]) -> Scale:
    """Stray Scanner writes 0, 1, 2; ReScan writes 0, 127, 255. All zeros mean low confidence in both."""
    if not maxima:
        return "none"
    return "0-255" if max(maxima) > 2 else "0-2"


def normalise_confidence(raw: ConfidenceMap, scale: Scale) -> ConfidenceMap:
    """To 0, 1, 2 whatever the phone wrote; thresholds half-way between 0, 127 and 255."""
    if scale == "0-255":
        return np.asarray((raw >= 64).astype(np.uint8) + (raw >= 191), dtype=np.uint8)
    return np.minimum(raw, np.uint8(2))


def decode_depth(data: bytes, name: str) -> DepthMap:
    """Raises UserError INVALID_DEPTH naming the file unless it is a whole 16-bit grey PNG."""
    decoded = _decode_png(data, name)
    if decoded.dtype != np.uint16 or decoded.ndim != 2:
        channels = 1 if decoded.ndim == 2 else decoded.shape[2]
        raise _bad(name, f"has {channels} channels of {decoded.dtype.itemsize * 8} bits, 16-bit grey is expected")
    return decoded.astype(np.uint16, copy=False)


def decode_confidence(data: bytes, name: str) -> ConfidenceMap:
    """Raises UserError INVALID_DEPTH naming the file unless it is a whole 8-bit grey PNG."""
    decoded = _decode_png(data, name)
    if decoded.dtype != np.uint8 or decoded.ndim != 2:
        raise _bad(name, "is not an 8-bit grey picture")
    return decoded.astype(np.uint8, copy=False)


def _decode_png(data: bytes, name: str) -> npt.NDArray[np.generic]:
    header = pictures.read_header(data, name, ErrorCode.INVALID_DEPTH)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if header.codec == "png" else None
    if decoded is None:
        raise _bad(name, "is damaged or not a PNG")
    return np.asarray(decoded)


def _bad(name: str, why: str) -> UserError:
    return UserError(ErrorCode.INVALID_DEPTH, f"{name} {why}.", field=name)
