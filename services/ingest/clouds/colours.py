"""Colours and intensities in whatever range a file stores them: to 8 bits, and to 0 … 1.

Files rarely say which range they use. It is told from the largest and smallest value of the whole file, so that the
map is one and the same for all points, and monotone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.ingest.clouds.source import Colours, Floats

Floats32 = npt.NDArray[np.float32]
Bytes8 = npt.NDArray[np.uint8]


def whole_colours(values: Floats) -> npt.NDArray[np.uint16]:
    """Whole numbers as 16-bit colours; what is missing becomes black."""
    return np.clip(np.nan_to_num(values, nan=0.0), 0, 65_535).astype(np.uint16)


def fractional_colours(values: Floats) -> Floats32:
    """Colours as they are; what is missing or negative becomes black."""
    return np.clip(np.nan_to_num(values, nan=0.0), 0, np.finfo(np.float32).max).astype(np.float32)


def colours_as_declared(values: npt.NDArray[np.generic], declared: str) -> Colours:
    """Values of the numpy type `declared`: whole numbers in 8 or 16 bits, others as floats."""
    if declared == "u1":
        return values.astype(np.uint8)
    if declared[0] in "iu":
        return whole_colours(values.astype(np.float64))
    return fractional_colours(values.astype(np.float64))


def unpack_colours(packed: npt.NDArray[np.uint32]) -> Bytes8:
    """(n,) as 0xAARRGGBB to (3, n)."""
    return np.stack([(packed >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)])


def colours_to_bytes(largest: float, dtype: np.dtype[np.generic]) -> Callable[[npt.NDArray[np.generic]], Bytes8]:
    """How stored colours become 8-bit ones, by the largest value in the file.

    Fractions reach to 1. Whole numbers up to 255 are 8-bit ones in a wider field, larger ones 16-bit ones, which
    some programs write as c * 256 and others as c * 257: the upper byte is c for both.
    """
    if dtype.kind == "f" and largest <= 1:
        return lambda values: np.rint(values.astype(np.float32) * np.float32(255)).astype(np.uint8)
    if largest <= 255:
        return lambda values: np.rint(values).astype(np.uint8)
    if largest <= 65_535:
        return lambda values: (values.astype(np.uint32) >> 8).astype(np.uint8)
    return lambda values: np.rint(values.astype(np.float64) * (255 / largest)).astype(np.uint8)


@dataclass(frozen=True)
class IntensityRange:
    """The range that stored intensities are taken to have."""

    lowest: float
    highest: float

    @property
    def is_unit(self) -> bool:
        return self.lowest == 0 and self.highest == 1

    def to_unit(self, values: Floats32) -> Floats32:
        """(n,) 0 to 1; what is missing becomes 0."""
        span = self.highest - self.lowest
        unit = (values.astype(np.float64) - self.lowest) / span if span > 0 else np.zeros(len(values))
        return np.clip(np.nan_to_num(unit, nan=0.0), 0, 1).astype(np.float32)


def intensity_range(lowest: float, highest: float) -> IntensityRange:
    """The usual range that holds the values found: 0 … 1 (PTX), 8, 12 and 16 bits (LAS), -2048 … 2047 (PTS); else their own."""
    for begin, end in ((0, 1), (0, 255), (0, 4095), (0, 65_535), (-2048, 2047)):
        if begin <= lowest and highest <= end:
            return IntensityRange(begin, end)
    return IntensityRange(lowest, highest)
