"""Depth renders become range images: distances, surface directions, and where surfaces end.

Inverse depth is linear in the pixel on a plane, so slopes are taken there: exact on planes whatever the perspective. Slopes
never reach over an edge: of the two sides, the one that is straighter counts (Harten et al., "Uniformly high order accurate
essentially non-oscillatory schemes", J. Comput. Phys. 1987).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.mesh.rig import Camera
from services.mesh.views import Raw

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_SMOOTHING_ROUNDS = 4
_SMOOTHING_PX = 2.0
_FINE_STEP_PX = 0.05
"""Steps of the depth scale below this many pixel widths leave no mark on the surface."""
_JUMP_PX = 2.0
"""Surfaces end where neighbours differ by more than this many pixel widths beyond their slope."""


@dataclass(frozen=True)
class DepthScale:
    """depth = offset + step * value, in world units; step is negative where brighter is nearer. background: its value."""

    offset: float
    step: float
    background: int


@dataclass(frozen=True)
class RangeView:
    """What one depth render says. depth (h, w) float64 along the optical axis, 0 = background; normal (h, w, 3) float32 in the
    world, towards the camera, 0 where unknown; cosine (h, w) float32 of the angle of incidence; rim_px (h, w) float32, pixels to
    the nearest end of the surface seen there, 0 in the background. step: depth of one unit of the stored scale."""

    camera: Camera
    depth: Floats
    normal: NDArray[np.float32]
    cosine: NDArray[np.float32]
    rim_px: NDArray[np.float32]
    step: float

    @property
    def covered(self) -> Mask:
        return self.depth > 0

    def points(self) -> Floats:
        """World points (h, w, 3); meaningless in the background."""
        return self.camera.centre + self.camera.rays(self.camera.centres()) * self.depth[..., None]

    def pixel_size(self) -> Floats:
        """Width of a pixel on the surface, seen head-on: (h, w) in world units."""
        return self.depth / self.camera.fx_px


def decode(values: Raw, scale: DepthScale) -> Floats:
    """Depth (h, w) float64, 0 = background."""
    depth = scale.offset + scale.step * values.astype(np.float64)
    return np.where((values == scale.background) | (depth <= 0), 0.0, depth)


def range_view(depth: Floats, camera: Camera, step: float) -> RangeView:
    """Directions and ends of the surface in a depth image whose scale has steps of `step`."""
    pixel = np.median(depth[depth > 0]) / camera.fx_px
    if abs(step) > _FINE_STEP_PX * pixel:
        depth = smoothed_within_steps(depth, abs(step))
    normal, cosine = _normals(depth, camera)
    ends = _ends(depth, cosine, camera.fx_px, abs(step))
    reach = cv2.distanceTransform((~ends).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = np.where(depth > 0, reach, 0).astype(np.float32)
    return RangeView(camera, depth, normal.astype(np.float32), cosine.astype(np.float32), rim, abs(step))


def smoothed_within_steps(depth: Floats, step: float) -> Floats:
    """A smooth surface that rounds to the same stored values: filtered, then clamped to half a step either way, again and again.

    Filtering twice and taking the excess back keeps curvature (Tukey's twicing). Depth (h, w), 0 = background.
    """
    covered = (depth > 0).astype(np.float64)
    share = _blurred(covered)
    share[share < 1e-6] = 1

    def filtered(values: Floats) -> Floats:
        return _blurred(values * covered) / share

    low, high = depth - 0.5 * step, depth + 0.5 * step
    result = depth
    for _ in range(_SMOOTHING_ROUNDS):
        once = filtered(result)
        result = np.clip(2 * once - filtered(once), low, high)
    return np.where(covered > 0, result, 0.0)


def _blurred(values: Floats) -> Floats:
    # Steps are wider where pixels are smaller.
    sigma = _SMOOTHING_PX * max(1.0, values.shape[1] / 512)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float64)


def _pair(axis: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Index of every pixel but the last along `axis`, and of its next neighbour."""
    everything, first, second = slice(None), slice(None, -1), slice(1, None)
    return ((first, everything), (second, everything)) if axis == 0 else ((everything, first), (everything, second))


def _normals(depth: Floats, camera: Camera) -> tuple[Floats, Floats]:
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1.0), np.nan)
    across = _slope(inverse, 1) * camera.fx_px
    down = _slope(inverse, 0) * camera.fy_px
    x = (np.arange(camera.width_px) + 0.5 - camera.cx_px) / camera.fx_px
    y = (np.arange(camera.height_px) + 0.5 - camera.cy_px) / camera.fy_px
    local = -np.stack([across, down, inverse - across * x - down * y[:, None]], axis=-1)
    length = np.linalg.norm(local, axis=-1)
    known = np.isfinite(length) & (length > 0)
    local = np.where(known[..., None], local / np.where(known, length, 1.0)[..., None], 0.0)
    rays = np.stack(np.broadcast_arrays(x, y[:, None], 1.0), axis=-1)
    cosine = -(local * rays).sum(axis=-1) / np.linalg.norm(rays, axis=-1)
    return np.asarray(local @ camera.camera_from_world[:3, :3], np.float64), np.asarray(cosine, np.float64)


def _slope(values: Floats, axis: int) -> Floats:
    """Derivative per pixel along `axis`, from whichever side is straighter; NaN where no neighbour is known."""
    padded = np.pad(values, [(3, 3) if i == axis else (0, 0) for i in range(2)], constant_values=np.nan)
    n = values.shape[axis]

    def at(shift: int) -> Floats:
        return np.take(padded, np.arange(3 + shift, 3 + shift + n), axis=axis)

    here, before, after = at(0), at(-1), at(1)
    candidates = np.stack([(after - before) / 2, here - before, after - here])
    bend_middle = np.abs(after - 2 * here + before)
    bend_before = np.abs(here - 2 * before + at(-2))
    bend_after = np.abs(at(2) - 2 * after + here)
    # A side of one pixel only is better than nothing, and worse than anything else.
    last_resort = 10.0
    bends = np.stack(
        [
            bend_middle,
            np.where(np.isfinite(bend_before), bend_before * 1.5, last_resort),
            np.where(np.isfinite(bend_after), bend_after * 1.5, last_resort),
        ]
    )
    bends = np.where(np.isfinite(candidates) & np.isfinite(bends), bends, np.inf)
    best = np.argmin(bends, axis=0)
    chosen = np.take_along_axis(candidates, best[None], axis=0)[0]
    return np.where(np.isfinite(bends.min(axis=0)), chosen, np.nan)


def _ends(depth: Floats, cosine: Floats, focal_px: float, step: float) -> Mask:
    """Pixels whose neighbour is background or another surface."""
    steepness = np.sqrt(np.maximum(1 / np.maximum(cosine, 0.05) ** 2 - 1, 0))
    allowed = (steepness + _JUMP_PX) * depth / focal_px + 2 * step
    ends = depth <= 0
    ends[0], ends[-1], ends[:, 0], ends[:, -1] = True, True, True, True
    for axis in (0, 1):
        a, b = _pair(axis)
        jump = np.abs(depth[a] - depth[b]) > np.minimum(allowed[a], allowed[b])
        ends[a] |= jump
        ends[b] |= jump
    return ends
