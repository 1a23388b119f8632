"""What every extractor and every matcher of this package offers. Pixel centres are at whole numbers here, as in hloc."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from services.sfm.learned.preparation import Preparation


@dataclass(frozen=True)
class Detected:
    """Features of one prepared picture, on the device.

    keypoints_px: (n, 2) float32. scores: (n,) float32. descriptors: (n, d) float32 of unit length.
    """

    keypoints_px: Tensor
    scores: Tensor
    descriptors: Tensor


class Extractor(Protocol):
    @property
    def preparation(self) -> Preparation:
        """How it wants its pictures."""

    def detect(self, pictures: Tensor) -> list[Detected]:
        """Of (b, c, h, w) float32 in 0..1, on the device; c as `preparation` says."""


@dataclass(frozen=True)
class Side:
    """The features of the first, or of the second, pictures of b pairs: all with as many keypoints.

    keypoints_px: (b, n, 2) in the whole pictures. scores: (b, n). descriptors: (b, n, d). sizes_px: (b, 2), width and
    height. scales_px and orientations_rad: (b, n), or None for features that have none. All float32, on the device.
    """

    keypoints_px: Tensor
    scores: Tensor
    descriptors: Tensor
    sizes_px: Tensor
    scales_px: Tensor | None = None
    orientations_rad: Tensor | None = None


@dataclass(frozen=True)
class Matched:
    """Of one pair. indices: (m, 2) int64, each keypoint of the first picture at most once. scores: (m,) in 0..1."""

    indices: Tensor
    scores: Tensor


class Matcher(Protocol):
    @property
    def most_together(self) -> int:
        """How many pairs it can take at once and yet match each as it would alone."""

    def match(self, first: Side, second: Side) -> list[Matched]:
        """Of each of the b pairs."""


def matched_from_rows(matches0: Tensor, scores0: Tensor) -> list[Matched]:
    """From (b, n) indices into the second pictures, -1 for none, and (b, n) scores."""
    found = []
    for row, scores in zip(matches0, scores0, strict=True):
        first = (row >= 0).nonzero()[:, 0]
        indices = first.new_empty((len(first), 2))
        indices[:, 0], indices[:, 1] = first, row[first]
        found.append(Matched(indices, scores[first].float()))
    return found
