"""Which of several arrangements of the views their pictures prefer, where the depth renders fit all of them.

What two views both see has one colour: photo-consistency (Kutulakos and Seitz, "A theory of shape by space carving", IJCV 2000).
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.mesh.colour_offset import Shift
from services.mesh.rig import Camera
from services.mesh.views import Image

Floats = NDArray[np.float64]
SIZE_PX = 128
"""Width of the pictures that are compared: what is finer may lie elsewhere in a rig that is not yet exact."""
_SAME_SURFACE = 0.012
"""Depths that differ by less than this share of the distance are of one place."""
_LEAST_SHARED = 30


@dataclass(frozen=True)
class SmallView:
    """depth (h, w) under `camera`, 0 = background; colour (h, w, 3) float32 of the same pixels."""

    camera: Camera
    depth: Floats
    colour: Image

    def points(self) -> Floats:
        """What is covered, (n, 3) in the world."""
        rows, columns = np.nonzero(self.depth)
        rays = self.camera.rays(np.stack([columns, rows], axis=1).astype(np.float64) + 0.5)
        return np.asarray(self.camera.centre + rays * self.depth[rows, columns, None], np.float64)


def thinned(values: NDArray[np.uint8 | np.uint16], size_px: int = SIZE_PX) -> NDArray[np.uint8 | np.uint16]:
    """Stored depth values of about evenly spread pixels, `size_px` in a row."""
    height, width = values.shape
    rows = max(1, round(size_px * height / width))
    row = ((np.arange(rows) + 0.5) * height / rows).astype(np.int64)
    column = ((np.arange(size_px) + 0.5) * width / size_px).astype(np.int64)
    return np.ascontiguousarray(values[row[:, None], column])


def lying_on_depth(colour: Image, shape: tuple[int, int], shift: Shift) -> Image:
    """A picture in the pixels of a thinned depth render of `shape` (h, w); `shift` of the picture beside it, in picture widths."""
    small = cv2.resize(colour, shape[::-1], interpolation=cv2.INTER_AREA)
    back = np.array([[1, 0, shift[0] * shape[1]], [0, 1, shift[1] * shape[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(small, back, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def differences(a: SmallView, b: SmallView) -> Floats:
    """Squared differences of colour (n,), 0 to 1, of the places of `a` that `b` sees too."""
    pixel, depth = b.camera.project(a.points())
    column, row = np.floor(pixel[:, 0]).astype(np.int64), np.floor(pixel[:, 1]).astype(np.int64)
    inside = (column >= 0) & (column < b.depth.shape[1]) & (row >= 0) & (row < b.depth.shape[0])
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    there = b.depth[row, column]
    same = inside & (there > 0) & (np.abs(there - depth) < _SAME_SURFACE * depth)
    difference = a.colour[a.depth > 0][same] - b.colour[row[same], column[same]]
    return np.asarray(np.square(difference, dtype=np.float64).mean(axis=1), np.float64)


@dataclass(frozen=True)
class Agreement:
    """Sum of squared differences of colour, and of how many places."""

    squared: float = 0.0
    count: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(self.squared + other.squared, self.count + other.count)

    @property
    def difference(self) -> float | None:
        """Root mean square, 0 to 1; None where hardly anything is seen twice."""
        return float(np.sqrt(self.squared / self.count)) if self.count >= _LEAST_SHARED else None


def agreement(views: tuple[SmallView, ...], only: int | None = None) -> Agreement:
    """Over all pairs of views, or over those with view `only`."""
    pairs = [pair for pair in itertools.permutations(range(len(views)), 2) if only is None or only in pair]
    squared = np.concatenate([differences(views[i], views[j]) for i, j in pairs])
    return Agreement(float(squared.sum()), len(squared))
