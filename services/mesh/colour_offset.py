"""Where the pictures lie beside the depth renders: one shift for all views, from the outlines of both."""

import cv2
import numpy as np
from numpy.typing import NDArray

from services.mesh.views import SixViews

_SIZE_PX = 512
_MOST = 0.03
"""Shifts of more than this, in picture widths, are no shifts."""
_DIFFERS = 0.04
_SETTLED_PX = 0.03
_LEAST_PX = 50
Mask = NDArray[np.float64]


Shift = tuple[float, float]


def colour_shift(views: SixViews, backgrounds: tuple[int, ...]) -> Shift:
    """Shift (x, y) of the pictures against the depth renders, in picture widths: the median of what upright views say."""
    return common_shift(view_shifts(views, backgrounds))


def view_shifts(views: SixViews, backgrounds: tuple[int, ...]) -> tuple[Shift | None, ...]:
    """What each view says; None where outlines say nothing."""
    shifts: list[Shift | None] = []
    for colour, alpha, depth, background in zip(views.colours, views.alphas, views.depths, backgrounds, strict=True):
        seen = _resized((depth != background).astype(np.float64))
        outline = _resized(_object(colour, alpha))
        enough = min(seen.sum(), outline.sum()) >= _LEAST_PX
        shifts.append(_shift(seen, outline) if enough else None)
    return tuple(shifts)


def common_shift(shifts: tuple[Shift | None, ...]) -> Shift:
    """The median; none at all if it is too far for a shift."""
    said = [shift for shift in shifts if shift is not None]
    if not said:
        return 0.0, 0.0
    x, y = np.median(np.array(said), axis=0).tolist()
    return (x, y) if max(abs(x), abs(y)) < _MOST else (0.0, 0.0)


def _object(colour: NDArray[np.float32], alpha: NDArray[np.float32] | None) -> Mask:
    if alpha is not None and float(alpha.min()) < 1:
        return alpha.astype(np.float64)
    border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    difference = np.abs(colour - np.median(border, axis=0)).max(axis=2)
    clipped: NDArray[np.float32] = np.clip(difference / np.float32(_DIFFERS), 0, 1)
    return clipped.astype(np.float64)


def _resized(mask: Mask) -> Mask:
    height = max(1, round(_SIZE_PX * mask.shape[0] / mask.shape[1]))
    larger = mask.shape[1] < _SIZE_PX
    resized = cv2.resize(mask, (_SIZE_PX, height), interpolation=cv2.INTER_LINEAR if larger else cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(resized, (0, 0), 2.0), np.float64)


def _shift(fixed: Mask, moving: Mask) -> tuple[float, float] | None:
    """Translation of `moving` against `fixed` in widths (Lucas and Kanade, IJCAI 1981); None where it does not settle."""
    x = y = 0.0
    down, across = np.gradient(fixed)
    normal = np.array([[(across**2).sum(), (across * down).sum()], [(across * down).sum(), (down**2).sum()]])
    for _ in range(25):
        back = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
        difference = cv2.warpAffine(moving, back, (moving.shape[1], moving.shape[0])) - fixed
        # Where `moving` still lies too far right, it is larger to the right of the object: against the slope.
        step = -np.linalg.solve(normal, np.array([(across * difference).sum(), (down * difference).sum()]))
        x, y = x + float(step[0]), y + float(step[1])
        # OpenCV moves pictures by whole 1/32 pixels: finer steps never come.
        if np.abs(step).max() < _SETTLED_PX:
            return x / _SIZE_PX, y / _SIZE_PX
    return None
