"""Pictures as networks want them, and keypoints back where they belong.

Sizes and interpolation follow hloc's extraction: the longest side is scaled to a limit, sides are rounded, areas are
averaged on the way down and pixels interpolated linearly on the way up. A keypoint at x in the prepared picture, pixel
centres at whole numbers, is at (x + 0.5) · original / prepared in the picture itself, pixel centres at +0.5.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from services.sfm.hloc_files import PIXEL_CENTRE_PX

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Preparation:
    """How a network wants its pictures."""

    grey: bool
    longest_side_px: int
    enlarges: bool = False
    """Whether smaller pictures are scaled up to the limit."""
    side_multiple_px: int = 1
    """Sides are rounded down to a multiple, where the network itself would resize without regard to pixel centres."""

    def size_for(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the prepared picture."""
        longest = max(width_px, height_px)
        scale = self.longest_side_px / longest if self.enlarges or longest > self.longest_side_px else 1.0
        width, height = (
            max(self.side_multiple_px, round(side * scale) // self.side_multiple_px * self.side_multiple_px)
            for side in (width_px, height_px)
        )
        return width, height

    def prepare(self, picture: NDArray[np.uint8]) -> FloatImage:
        """(h, w) or (h, w, 3) RGB, 8 bits, to (c, h', w') float32 in 0..1, contiguous."""
        height, width = picture.shape[:2]
        size = self.size_for(width, height)
        values = picture.astype(np.float32)
        if size != (width, height):
            enlarged = size[0] > width or size[1] > height
            values = np.asarray(
                cv2.resize(values, size, interpolation=cv2.INTER_LINEAR if enlarged else cv2.INTER_AREA), np.float32
            )
        planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        return np.ascontiguousarray(planes / np.float32(255))


def read_picture(path: Path, *, grey: bool) -> NDArray[np.uint8]:
    """(h, w) or (h, w, 3) RGB. Raises UserError(INVALID_IMAGE) if it cannot be read."""
    mode = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
    picture = cv2.imread(str(path), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise UserError(
            ErrorCode.INVALID_IMAGE,
            f"Picture {path.name} could not be read. Record it again, or upload the capture once more.",
        )
    return np.asarray(picture, np.uint8)


def to_picture_px(
    keypoints_px: NDArray[np.float32], prepared_px: tuple[int, int], picture_px: tuple[int, int]
) -> NDArray[np.float32]:
    """(n, 2) with centres at whole numbers of the prepared picture to (n, 2) with centres at +0.5 of the picture.

    The sizes are width and height.
    """
    scale = np.array(picture_px, np.float64) / np.array(prepared_px, np.float64)
    return np.asarray((keypoints_px.astype(np.float64) + PIXEL_CENTRE_PX) * scale, np.float32)
