"""From uploaded pictures to six views that can be computed with: cameras, range images, and colours on white."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from contracts.object_settings import GivenCameras, MetricDepth, NearFarDepth, NormalisedDepth
from contracts.progress import Reporter
from services.mesh import recovery
from services.mesh.depth import DepthScale, RangeView, decode, range_view
from services.mesh.quality import Rig
from services.mesh.rig import Camera, given_cameras
from services.mesh.texture import ColourView
from services.mesh.turns import turned
from services.mesh.views import Raw, SixViews

Floats32 = NDArray[np.float32]
_WHITE_ENOUGH = 0.985


@dataclass(frozen=True)
class Sighting:
    """The views, and where their cameras came from."""

    views: tuple[ColourView, ...]
    rig: Rig


def sight(views: SixViews, given: GivenCameras | None, report: Reporter) -> Sighting:
    """Cameras and depth as given, or as the depth maps themselves tell. Raises UserError for a view that shows nothing."""
    if given is not None and not isinstance(given.depth, NormalisedDepth):
        cameras = given_cameras(given, views.depth_sizes)
        scales = tuple(given_scale(given.depth, raw) for raw in views.depths)
        ranges = _ranges(views.depths, scales, cameras)
        rig = Rig(source="given", confidence=1.0, focal_px=cameras[0].fx_px)
        return Sighting(_coloured(views, ranges, (0.0, 0.0)), rig)
    found = recovery.recover(views, given, report)
    upright = turned(views, found.turns)
    ranges = _ranges(upright.depths, found.scales, found.cameras)
    return Sighting(_coloured(upright, ranges, found.colour_shift), found.rig)


def given_scale(depth: MetricDepth | NearFarDepth, raw: Raw) -> DepthScale:
    """What the values of a depth render mean, as its owner says."""
    top = int(np.iinfo(raw.dtype).max)
    background = 0 if depth.background == "zero" else top
    if isinstance(depth, MetricDepth):
        return DepthScale(0.0, depth.scale, background)
    step = (depth.far - depth.near) / top
    if depth.nearer_is == "brighter":
        return DepthScale(depth.far, -step, background)
    return DepthScale(depth.near, step, background)


def _ranges(
    depths: tuple[Raw, ...], scales: tuple[DepthScale, ...], cameras: tuple[Camera, ...]
) -> tuple[RangeView, ...]:
    ranges = []
    for i, (raw, scale, camera) in enumerate(zip(depths, scales, cameras, strict=True)):
        depth = decode(raw, scale)
        if (depth > 0).sum() < 16:
            raise UserError(
                ErrorCode.INVALID_DEPTH,
                f"Depth render {i + 1} shows no object: all of it is background.",
                field="depth_renders",
            )
        ranges.append(range_view(depth, camera, scale.step))
    return tuple(ranges)


def _coloured(views: SixViews, ranges: tuple[RangeView, ...], shift: tuple[float, float]) -> tuple[ColourView, ...]:
    """`shift`: where the pictures' middle is off that of the depth renders, in picture widths."""
    found = []
    for colour, alpha, view in zip(views.colours, views.alphas, ranges, strict=True):
        height, width = colour.shape[:2]
        camera = view.camera.resized(width, height)
        moved = Camera(
            width,
            height,
            camera.fx_px,
            camera.fy_px,
            camera.cx_px + shift[0] * width,
            camera.cy_px + shift[1] * width,
            camera.camera_from_world,
        )
        found.append(ColourView(on_white(colour, alpha, view, shift), moved, view))
    return tuple(found)


def on_white(colour: Floats32, alpha: Floats32 | None, view: RangeView, shift: tuple[float, float]) -> Floats32:
    """The picture (h, w, 3) with white behind the object: by its alpha, else, unless it is white already, by the depth."""
    if alpha is not None and float(alpha.min()) < 1:
        return np.asarray(colour * alpha[..., None] + (1 - alpha[..., None]), np.float32)
    border = np.concatenate([colour[0], colour[-1], colour[:, 0], colour[:, -1]])
    behind = np.median(border, axis=0)
    if behind.min() > _WHITE_ENOUGH:
        return colour
    height, width = colour.shape[:2]
    mask = view.covered.astype(np.float32)
    moved = np.array([[1, 0, shift[0] * mask.shape[1]], [0, 1, shift[1] * mask.shape[1]]], np.float32)
    shifted = cv2.warpAffine(mask, moved, (mask.shape[1], mask.shape[0]))
    smaller = width < mask.shape[1]
    share = cv2.resize(shifted, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    # What is left of the old background in mixed pixels is exchanged for white.
    whole: Floats32 = np.clip(colour + (1 - share[..., None]) * (1 - behind.astype(np.float32)), 0, 1)
    return whole.astype(np.float32)
