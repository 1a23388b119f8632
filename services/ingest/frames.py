"""Which pictures of a capture are kept: evenly in time, and in each place the sharpest of its near frames."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from services.ingest.video import SourcePicture

WINDOW = 0.3
"""Half-width of the window around each slot, in steps: neighbours stay at least 0.4 steps apart."""


@dataclass(frozen=True)
class ChosenPicture:
    """A picture that is kept."""

    picture: SourcePicture
    sharpness: float
    grey: npt.NDArray[np.uint8]


def frame_step(native_fps: float, fps: float) -> int:
    """Every which frame is kept (the ReMap rule)."""
    return max(1, round(native_fps / fps))


def plan_slots(
    timestamps_s: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_], native_fps: float, fps: float
) -> npt.NDArray[np.int64]:
    """The slot each row may fill, (n,) int64; -1 for none.

    Slots lie `frame_step` nominal frames apart in time, from the first usable row; a row may fill a slot whose window
    it lies in. Gaps in the recording leave slots empty instead of shifting all that follow;
    no slot lies past the end. A window is never narrower
    than one frame, so that a slot in an unbroken stretch always has a candidate.
    """
    slots = np.full(len(timestamps_s), -1, dtype=np.int64)
    rows = np.flatnonzero(usable)
    step = frame_step(native_fps, fps)
    if step == 1 or not len(rows):
        slots[rows] = np.arange(len(rows))
        return slots
    frames = (timestamps_s[rows] - timestamps_s[rows[0]]) * native_fps
    slot = np.rint(frames / step).astype(np.int64)
    radius = max(WINDOW * step, 0.5)
    inside = (np.abs(frames - slot * step) <= radius + 1e-6) & (slot * step <= frames[-1] + 0.5)
    slots[rows[inside]] = slot[inside]
    return slots


def sharpness(grey: npt.NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) of an (h, w) picture."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)


def sharpest_per_slot(source: Iterator[SourcePicture], slots: npt.NDArray[np.int64]) -> Iterator[ChosenPicture]:
    """Yield the sharpest candidate of every slot, in order, holding one picture at a time.

    `source` yields pictures by ascending index; slots never decrease along it.
    """
    best: ChosenPicture | None = None
    best_slot = -1
    for picture in source:
        slot = int(slots[picture.index])
        grey = picture.grey()
        candidate = ChosenPicture(picture, sharpness(grey), grey)
        if best is not None and slot != best_slot:
            yield best
            best = None
        if best is None or candidate.sharpness > best.sharpness:
            best, best_slot = candidate, slot
    if best is not None:
        yield best
