"""What drift looks at in a picture."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

SHARPNESS_SIDE_PX = 1024


@dataclass(frozen=True)
class PictureStatistics:
    """Of the grey picture, 0 to 255."""

    sharpness: float
    """Variance of the Laplacian at a longest side of at most 1024 pixels (J. L. Pech-Pacheco et al., ICPR 2000)."""
    brightness: float
    """Mean."""
    contrast: float
    """Standard deviation."""


def measure_picture(rgb: npt.NDArray[np.uint8]) -> PictureStatistics:
    """`rgb` is (h, w, 3) uint8. Grey is the luma of ITU-R BT.601."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    mean, std = cv2.meanStdDev(grey)
    height_px, width_px = grey.shape
    factor = SHARPNESS_SIDE_PX / max(height_px, width_px)
    if factor < 1:
        size = (max(1, round(width_px * factor)), max(1, round(height_px * factor)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    _, laplacian_std = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return PictureStatistics(
        sharpness=float(laplacian_std[0, 0]) ** 2, brightness=float(mean[0, 0]), contrast=float(std[0, 0])
    )
