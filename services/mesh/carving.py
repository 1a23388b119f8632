"""What no view saw: the largest solid that all silhouettes and all free space allow (Curless and Levoy, "A volumetric method for
building complex models from range images", SIGGRAPH 1996, fill holes so; Kutulakos and Seitz, "A theory of shape by space
carving", IJCV 2000)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from services.mesh.depth import RangeView

Floats = NDArray[np.float64]
_CELLS = 192
"""Along the longest side."""
_BLUR_CELLS = 1.2
_UNSEEN_CELLS = 1.7
"""A place farther than this from every point that was seen counts as unseen."""


@dataclass(frozen=True)
class OrientedPoints:
    """points (n, 3) and outward unit normals (n, 3), float64."""

    points: Floats
    normals: Floats

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class _Grid:
    """Cell (i, j, k) has its centre at low + cell * (i, j, k)."""

    low: Floats
    cell: float
    shape: tuple[int, int, int]

    def slab(self, i: int) -> Floats:
        """Centres of all cells with first index i, (n, 3)."""
        y, z = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[2]), indexing="ij")
        index = np.stack([np.full(y.size, i), y.ravel(), z.ravel()], axis=1)
        return np.asarray(self.low + self.cell * index, np.float64)


def unseen_boundary(views: tuple[RangeView, ...], seen: Floats) -> OrientedPoints:
    """Points where the carved solid ends and nothing was seen, about one for every cell of a grid.

    `seen`: points (n, 3) on surfaces that were.
    """
    pixel = float(np.median([np.median(view.pixel_size()[view.covered]) for view in views]))
    grid = _grid_about(seen, pixel)
    solid = _solid(views, grid)
    found = _boundary(solid, grid)
    distance, _ = cKDTree(seen).query(found.points, distance_upper_bound=_UNSEEN_CELLS * grid.cell, workers=-1)
    unseen = ~np.isfinite(distance) & (np.linalg.norm(found.normals, axis=1) > 0.5)
    return OrientedPoints(found.points[unseen], found.normals[unseen])


def free_depth(view: RangeView) -> NDArray[np.float32]:
    """How far one can see through each pixel, (h, w) float32: infinite beside the object."""
    return np.where(view.depth > 0, view.depth, np.inf).astype(np.float32)


def see_through(view: RangeView, free: NDArray[np.float32], points: Floats, margin: float) -> NDArray[np.bool_]:
    """Which points (n, 3) the view looks through: nearer than what it shows there, by more than `margin`."""
    pixel, depth = view.camera.project(points)
    x = np.clip(np.floor(pixel[:, 0]), 0, view.camera.width_px - 1).astype(np.int64)
    y = np.clip(np.floor(pixel[:, 1]), 0, view.camera.height_px - 1).astype(np.int64)
    inside = (pixel[:, 0] >= 0) & (pixel[:, 0] < view.camera.width_px) & (pixel[:, 1] >= 0)
    inside &= pixel[:, 1] < view.camera.height_px
    return np.asarray(inside & (depth < free[y, x] - margin), np.bool_)


def _grid_about(points: Floats, pixel: float) -> _Grid:
    """Around the points; cells are no smaller than pixels, between which nothing is known."""
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(float((high - low).max()) / _CELLS, pixel)
    a, b, c = (np.ceil((high - low) / cell).astype(int) + 7).tolist()
    return _Grid(low - 3 * cell, cell, (a, b, c))


def _solid(views: tuple[RangeView, ...], grid: _Grid) -> NDArray[np.bool_]:
    free_depths = [free_depth(view) for view in views]
    solid = np.ones(grid.shape, bool)
    for i in range(grid.shape[0]):
        points = grid.slab(i)
        left = np.arange(len(points))
        for view, free in zip(views, free_depths, strict=True):
            left = left[~see_through(view, free, points[left], 0.5 * grid.cell + view.step)]
        kept = np.zeros(len(points), bool)
        kept[left] = True
        solid[i] = kept.reshape(grid.shape[1:])
    return solid


def _boundary(solid: NDArray[np.bool_], grid: _Grid) -> OrientedPoints:
    """The solid's outside, smoothed: one point for every face between a cell inside and one outside."""
    blurred = gaussian_filter(solid.astype(np.float32), _BLUR_CELLS)
    slopes = np.gradient(blurred)
    found = []
    for axis in range(3):
        a = np.take(solid, np.arange(solid.shape[axis] - 1), axis)
        b = np.take(solid, np.arange(1, solid.shape[axis]), axis)
        index = np.argwhere(a != b).astype(np.float64)
        index[:, axis] += 0.5
        found.append(index)
    index = np.concatenate(found)
    slope = np.zeros_like(index)
    for _ in range(2):
        # Newton's step along the slope, onto the surface where the blurred solid is one half.
        value = map_coordinates(blurred, index.T, order=1)
        slope = np.stack([map_coordinates(s, index.T, order=1) for s in slopes], axis=1)
        index -= 0.9 * slope * ((value - 0.5) / np.maximum((slope**2).sum(axis=1), 1e-3))[:, None]
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return OrientedPoints(grid.low + grid.cell * index, np.asarray(-slope / np.maximum(length, 1e-9), np.float64))
