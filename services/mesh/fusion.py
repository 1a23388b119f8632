"""Six range images become one closed surface.

Screened Poisson reconstruction (Kazhdan and Hoppe, TOG 2013) of all points with their directions, and of the carved solid's
outside where nothing was seen, gives the topology. Poisson rounds what is sharp and smooths what is noisy, so its vertices are then
moved along the measured directions onto what the views measured.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import open3d
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity

from services.mesh.carving import OrientedPoints, unseen_boundary
from services.mesh.depth import RangeView
from services.mesh.surface import Surface

Floats = NDArray[np.float64]
POISSON_DEPTH = 8
"""Cells of 1/256 of the bounding cube. One level more takes four times as long and gains nothing once vertices are moved."""
_POISSON_SCALE = 1.1
_LEAST_COSINE = 0.08
_REACH_CELLS = 1.5
"""How far a vertex may be moved, in Poisson cells."""
_CREASE_SPREAD = 0.04
"""Second largest eigenvalue of the mean of n nᵀ: from here on, directions differ by more than about 25 degrees."""
_MOST_POINTS = 700_000
_SEEN_FOR_CARVING = 250_000


def seen_points(views: tuple[RangeView, ...]) -> OrientedPoints:
    """Every pixel that shows a surface from not too flat an angle, thinned evenly where there are very many."""
    points, normals = [], []
    for view in views:
        good = view.covered & (view.cosine > _LEAST_COSINE) & (view.rim_px >= 1)
        points.append(view.points()[good])
        normals.append(view.normal[good].astype(np.float64))
    together = OrientedPoints(np.concatenate(points), np.concatenate(normals))
    return _thinned(together, _MOST_POINTS)


def _thinned(cloud: OrientedPoints, most: int) -> OrientedPoints:
    if len(cloud) <= most:
        return cloud
    chosen = np.random.default_rng(0).permutation(len(cloud))[:most]
    return OrientedPoints(cloud.points[chosen], cloud.normals[chosen])


def fuse(views: tuple[RangeView, ...]) -> Surface:
    """A closed surface (Poisson's), with vertices on the measured surface where there is one."""
    seen = seen_points(views)
    unseen = unseen_boundary(views, _thinned(seen, _SEEN_FOR_CARVING).points)
    surface = poisson(
        OrientedPoints(
            np.concatenate([seen.points, unseen.points]),
            np.concatenate([seen.normals, unseen.normals]),
        )
    )
    reach = _reach(surface)
    moved = moved_onto_depth(surface, views, reach)
    return sharpened(within_silhouettes(moved, views, reach), views, reach)


def poisson(cloud: OrientedPoints) -> Surface:
    """Screened Poisson reconstruction of oriented points."""
    stored = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.points))
    stored.normals = open3d.utility.Vector3dVector(cloud.normals)
    mesh, _ = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
        stored, depth=POISSON_DEPTH, scale=_POISSON_SCALE, linear_fit=False, n_threads=-1
    )
    return Surface(np.asarray(mesh.vertices, np.float64).copy(), np.asarray(mesh.triangles, np.int32).copy())


def _reach(surface: Surface) -> float:
    cell = float(np.ptp(surface.vertices, axis=0).max()) * _POISSON_SCALE / float(2**POISSON_DEPTH)
    return _REACH_CELLS * cell


def moved_onto_depth(surface: Surface, views: tuple[RangeView, ...], reach: float, rounds: int = 2) -> Surface:
    """The same mesh with vertices moved, by at most `reach` a round, onto what the views measured.

    Views count by their cosine of incidence, squared, less near the ends of surfaces.
    """
    vertices = surface.vertices
    for _ in range(rounds):
        vertices = vertices + _measured(Surface(vertices, surface.faces), views, reach).shift
    return Surface(vertices, surface.faces)


@dataclass(frozen=True)
class _Measured:
    """What the views say of each vertex: shift (n, 3) onto the measured surface; normal (n, 3) of it, and weight (n,)."""

    shift: Floats
    normal: Floats
    weight: Floats


def _measured(surface: Surface, views: tuple[RangeView, ...], reach: float) -> _Measured:
    normals = surface.vertex_normals()
    total, direction = np.zeros_like(surface.vertices), np.zeros_like(surface.vertices)
    weight = np.zeros(len(surface.vertices))
    for view in views:
        index, shift, normal, w = _shift(view, surface.vertices, normals, reach)
        total[index] += shift * w[:, None]
        direction[index] += normal * w[:, None]
        weight[index] += w
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    # A little weight for staying: where hardly anything is known, nothing jumps.
    return _Measured(total / (weight + 0.02)[:, None], direction / np.maximum(length, 1e-12), weight)


def _shift(
    view: RangeView, vertices: Floats, normals: Floats, reach: float
) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """The vertices (k,) that the view sees, by how much (k, 3) each misses its surface, the normal there, and how much it counts."""
    pixel, depth = view.camera.project(vertices)
    measured, normal, rim = sampled_view(view, pixel)
    rays = view.camera.rays(pixel)
    shift = ((measured - depth) * (rays * normal).sum(axis=1))[:, None] * normal
    cosine = -(normal * rays).sum(axis=1) / np.linalg.norm(rays, axis=1)
    agrees = (normal * normals).sum(axis=1)
    usable = (measured > 0) & (rim >= 1) & (cosine > _LEAST_COSINE) & (agrees > 0.3)
    usable &= np.linalg.norm(shift, axis=1) < reach
    index = np.flatnonzero(usable)
    weight = cosine[index] ** 2 * np.clip((rim[index] - 0.5) / 3, 0.1, 1)
    return index, shift[index], normal[index], np.asarray(weight, np.float64)


def sharpened(surface: Surface, views: tuple[RangeView, ...], reach: float) -> Surface:
    """The same mesh with vertices at creases moved to where the measured planes round them meet.

    Ju et al., "Dual contouring of Hermite data", SIGGRAPH 2002, place vertices so.
    """
    known = _measured(surface, views, reach)
    sure = (known.weight > 0.05).astype(np.float64)
    points, normals = surface.vertices + known.shift, known.normal
    n, d = normals, (normals * points).sum(axis=1)
    columns = [sure]
    columns += [sure * n[:, a] * n[:, b] for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))]
    columns += [sure * n[:, a] * d for a in range(3)]
    ring = _two_rings(surface)
    count, xx, xy, xz, yy, yz, zz, bx, by, bz = (ring @ np.stack(columns, axis=1)).T
    quadric = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3)
    right = np.stack([bx, by, bz], axis=1)
    spread = np.linalg.eigvalsh(quadric)[:, 1] / np.maximum(count, 1)
    crease = np.flatnonzero((spread > _CREASE_SPREAD) & (count >= 4))
    stay = 0.01 * count[crease]
    system = quadric[crease] + stay[:, None, None] * np.eye(3)
    wanted = np.linalg.solve(system, (right[crease] + stay[:, None] * surface.vertices[crease])[..., None])[..., 0]
    step = wanted - surface.vertices[crease]
    length = np.linalg.norm(step, axis=1, keepdims=True)
    vertices = surface.vertices.copy()
    vertices[crease] += step * np.minimum(1, reach / np.maximum(length, 1e-12))
    return Surface(vertices, surface.faces)


def within_silhouettes(surface: Surface, views: tuple[RangeView, ...], reach: float, rounds: int = 2) -> Surface:
    """The same mesh with vertices that a view would see beside the object drawn back to its outline there, by at most `reach`.

    Only those that no view measured: the others are known better than outlines are.
    """
    vertices = surface.vertices
    free = _measured(surface, views, reach).weight == 0
    maps = [_outside(view) for view in views]
    for _ in range(rounds):
        total, count = np.zeros_like(vertices), np.zeros((len(vertices), 1))
        for view, outside in zip(views, maps, strict=True):
            pixel, depth = view.camera.project(vertices)
            found = bilinear(outside, pixel).astype(np.float64)
            beside = np.flatnonzero(free & (found[:, 0] > 0))
            back = np.zeros((len(beside), 3))
            back[:, :2] = -found[beside, 1:] * found[beside, :1] * (depth[beside] / view.camera.fx_px)[:, None]
            step = back @ view.camera.camera_from_world[:3, :3]
            near = np.linalg.norm(step, axis=1) < reach
            total[beside[near]] += step[near]
            count[beside[near]] += 1
        vertices = vertices + total / np.maximum(count, 1)
    return Surface(vertices, surface.faces)


def _outside(view: RangeView) -> NDArray[np.float32]:
    """Pixels from the outline, 0 within, and the direction (x, y) away from it: (h, w, 3) float32."""
    background = (view.depth <= 0).astype(np.uint8)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    down, across = np.gradient(cv2.GaussianBlur(distance, (0, 0), 1.0))
    length = np.maximum(np.hypot(across, down), 1e-6)
    # The outline is half a pixel beyond the last pixel centre that is covered.
    return np.stack([np.maximum(distance - 0.5, 0), across / length, down / length], axis=-1).astype(np.float32)


def _two_rings(surface: Surface) -> csr_matrix:
    """Sparse (n, n): which vertices are within two edges of which."""
    edges = np.concatenate([surface.faces[:, [0, 1]], surface.faces[:, [1, 2]], surface.faces[:, [2, 0]]])
    count = len(surface.vertices)
    rows, columns = np.concatenate([edges.T, edges.T[::-1]], axis=1)
    ones = np.ones(len(rows), np.float32)
    near = csr_matrix((ones, (rows, columns)), shape=(count, count)) + identity(count, np.float32, format="csr")
    twice = (near @ near).tocsr()
    twice.data[:] = 1
    return twice


def sampled_view(view: RangeView, pixel: Floats) -> tuple[Floats, Floats, Floats]:
    """Depth (n,) on the nearest pixel's plane, normal (n, 3) and rim_px (n,) at positions (n, 2); 0 outside."""
    x, y = np.floor(pixel[:, 0]), np.floor(pixel[:, 1])
    inside = (x >= 0) & (x < view.camera.width_px) & (y >= 0) & (y < view.camera.height_px)
    column, row = np.where(inside, x, 0).astype(np.int64), np.where(inside, y, 0).astype(np.int64)
    centre = np.stack([column + 0.5, row + 0.5], axis=1)
    depth = np.where(inside, view.depth[row, column], 0.0)
    normal = view.normal[row, column].astype(np.float64)
    # The plane through the nearest pixel's point, met by the ray through the position.
    here = (view.camera.rays(centre) * normal).sum(axis=1)
    there = (view.camera.rays(pixel) * normal).sum(axis=1)
    ratio = np.where((here < -1e-6) & (there < -1e-6), here / np.where(there < -1e-6, there, -1.0), 1.0)
    return depth * np.clip(ratio, 0.9, 1.1), normal, np.where(inside, view.rim_px[row, column], 0).astype(np.float64)


def bilinear(image: NDArray[np.float32], pixel: Floats, interpolation: int = cv2.INTER_LINEAR) -> NDArray[np.float32]:
    """Values (n, channels) of an image (h, w, channels) at positions (n, 2) with pixel centres at +0.5."""
    count, width = len(pixel), 4096
    rows = math.ceil(max(count, 1) / width)
    maps = np.zeros((2, rows * width), np.float32)
    maps[:, :count] = pixel.T - 0.5
    # OpenCV's maps are limited to 32767 pixels a side.
    x, y = maps.reshape(2, rows, width)
    found = cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32).reshape(rows * width, -1)[:count]
