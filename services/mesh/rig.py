"""Cameras: the rig that the API assumes, and cameras as users give them, both as OpenCV pinholes.

World axes of the assumed rig: front camera at +z, +y up. Pixel centres at +0.5.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.object_settings import GivenCameras, GivenView

Floats = NDArray[np.float64]

VIEW_NAMES = ("front", "back", "left", "right", "top", "bottom")
ASSUMED_DISTANCE = 2.5
ASSUMED_FOCAL = 1111 / 512
"""In picture widths."""
DIRECTIONS = np.array([[0, 0, 1], [0, 0, -1], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float64)
"""From the origin to each assumed camera, (6, 3), in upload order."""
UPS = np.array([[0, 1, 0]] * 4 + [[0, 0, -1], [0, 0, 1]], np.float64)
"""Which way is up in each assumed view, (6, 3)."""
_OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Camera:
    """A pinhole with a pose. camera_from_world (4, 4) float64, rigid; x right, y down, z forward."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    camera_from_world: Floats

    @property
    def centre(self) -> Floats:
        """Position (3,) in the world."""
        return np.asarray(-self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3], np.float64)

    def resized(self, width_px: int, height_px: int) -> "Camera":
        """The same field of view in another number of pixels."""
        x, y = width_px / self.width_px, height_px / self.height_px
        return replace(
            self,
            width_px=width_px,
            height_px=height_px,
            fx_px=self.fx_px * x,
            fy_px=self.fy_px * y,
            cx_px=self.cx_px * x,
            cy_px=self.cy_px * y,
        )

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels (n, 2) and depth along the optical axis (n,) of world points (n, 3)."""
        # Written out: products with small matrices are slow over millions of rows.
        (a, b, c), d = self.camera_from_world[:3, :3], self.camera_from_world[:3, 3]
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        depth = c[0] * x + c[1] * y + c[2] * z + d[2]
        safe = np.where(np.abs(depth) < 1e-12, 1e-12, depth)
        pixels = np.empty((len(points), 2))
        pixels[:, 0] = (a[0] * x + a[1] * y + a[2] * z + d[0]) / safe * self.fx_px + self.cx_px
        pixels[:, 1] = (b[0] * x + b[1] * y + b[2] * z + d[1]) / safe * self.fy_px + self.cy_px
        return pixels, np.asarray(depth, np.float64)

    def rays(self, pixels: Floats) -> Floats:
        """Directions (..., 3) in the world through pixels (..., 2), of unit depth along the optical axis."""
        x = (pixels[..., 0] - self.cx_px) / self.fx_px
        y = (pixels[..., 1] - self.cy_px) / self.fy_px
        right, down, forward = self.camera_from_world[:3, :3]
        rays = np.empty((*pixels.shape[:-1], 3))
        for axis in range(3):
            rays[..., axis] = x * right[axis] + y * down[axis] + forward[axis]
        return rays

    def centres(self) -> Floats:
        """Pixel centres (height, width, 2)."""
        x, y = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        return np.stack([x, y], axis=-1)


def looking_at_origin(direction: Floats, up: Floats, distance: float) -> Floats:
    """camera_from_world (4, 4) of a camera at `distance` along the unit vector `direction`; `up` is up in its picture."""
    forward = -direction
    right = np.cross(forward, up)
    right = right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, np.array([0.0, 0.0, distance])
    return pose


def assumed_cameras(width_px: int, height_px: int, focal: float = ASSUMED_FOCAL) -> tuple[Camera, ...]:
    """The rig of the API for pictures of this size; `focal` in picture widths."""
    return tuple(
        Camera(
            width_px,
            height_px,
            focal * width_px,
            focal * width_px,
            width_px / 2,
            height_px / 2,
            looking_at_origin(direction, up, ASSUMED_DISTANCE),
        )
        for direction, up in zip(DIRECTIONS, UPS, strict=True)
    )


def given_cameras(given: GivenCameras, sizes: tuple[tuple[int, int], ...]) -> tuple[Camera, ...]:
    """Cameras as told, for depth renders of `sizes` (width, height)."""
    cameras = []
    for i, (view, (width, height)) in enumerate(zip(given.views, sizes, strict=True)):
        k = given.intrinsics_of(i)
        camera = Camera(k.width, k.height, k.fx, k.fy, k.cx, k.cy, _pose(view, given.axes == "opengl"))
        cameras.append(camera.resized(width, height))
    return tuple(cameras)


def _pose(view: GivenView, opengl: bool) -> Floats:
    matrix = np.array(view.pose, np.float64)
    # Rounded by JSON; the rest of the code trusts that rotations are rotations.
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    matrix[:3, :3] = u @ vt
    pose = matrix if view.camera_from_world is not None else np.linalg.inv(matrix)
    return np.asarray(_OPENCV_FROM_OPENGL @ pose if opengl else pose, np.float64)
