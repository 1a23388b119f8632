"""What makes a state of the refinement a good one: pictures like the views, surfaces where depth was measured, little else."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.mesh.refinement_rendering import Fragments, Shown
from services.mesh.texture import ColourView

_KINK = 0.1
"""Differences of colour beyond this count linearly: highlights and what else no texture explains."""


@dataclass(frozen=True)
class Target:
    """A view at working size: colour (h*w, 3) on white; cover (h*w,), the share of each pixel that the depth render calls object."""

    colour: Tensor
    cover: Tensor
    width_px: int
    height_px: int


def target(view: ColourView, most_px: int, like: Tensor) -> Target:
    """The view, made smaller where it is wider or higher than `most_px`."""
    height, width = view.colour.shape[:2]
    shrink = min(1.0, most_px / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    colour: NDArray[np.float32] = view.colour
    if shrink < 1:
        colour = cv2.resize(view.colour, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    cover = _cover(view, size)
    return Target(
        torch.as_tensor(np.ascontiguousarray(colour).reshape(-1, 3), dtype=like.dtype, device=like.device),
        torch.as_tensor(cover.reshape(-1), dtype=like.dtype, device=like.device),
        *size,
    )


def _cover(view: ColourView, size: tuple[int, int]) -> NDArray[np.float32]:
    """The depth render's mask where the picture has it: principal points may differ."""
    camera, depth_camera = view.camera.resized(*size), view.range_view.camera
    x = (np.arange(size[0]) + 0.5 - camera.cx_px) / camera.fx_px * depth_camera.fx_px + depth_camera.cx_px
    y = (np.arange(size[1]) + 0.5 - camera.cy_px) / camera.fy_px * depth_camera.fy_px + depth_camera.cy_px
    mask = view.range_view.covered.astype(np.float32)
    blur = 0.5 * depth_camera.fx_px / camera.fx_px
    if blur > 0.5:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), blur), np.float32)
    across, down = np.meshgrid((x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32))
    found = cv2.remap(mask, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(found, np.float32)


def photometric(shown: Shown, wanted: Target, seen: Fragments) -> Tensor:
    """Mean difference of colour over the object's pixels, squared, and linear where it is large."""
    error = functional.huber_loss(shown.colour, wanted.colour, reduction="sum", delta=_KINK)
    return error / max(len(seen.pixel), 1)


def silhouette(shown: Shown, wanted: Target, seen: Fragments) -> Tensor:
    """Mean squared difference of coverage, over as many pixels as the object has."""
    return (shown.cover - wanted.cover).square().sum() / max(len(seen.pixel), 1)
