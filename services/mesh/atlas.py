"""Unfolding a surface into a texture atlas with xatlas, and vertex normals that keep creases sharp."""

import math
from dataclasses import dataclass

import numpy as np
import xatlas
from numpy.typing import NDArray

from services.mesh.surface import Faces, Surface

Floats = NDArray[np.float64]
_CREASE_COSINE = math.cos(math.radians(40))
_PADDING_TEXELS = 4


@dataclass(frozen=True)
class Unfolded:
    """vertices, normals (n, 3) and uv (n, 2) float64, v upwards; faces (m, 3) int32, in the order of the surface's faces."""

    vertices: Floats
    faces: Faces
    normals: Floats
    uv: Floats
    texture_px: int


def unfold(surface: Surface, texture_px: int) -> Unfolded:
    """Charts of a square texture. Vertices are doubled where charts end and where the surface has a crease."""
    vertices, faces, normals = creased(surface)
    charts = xatlas.ChartOptions()
    charts.max_iterations = 1
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = texture_px, _PADDING_TEXELS, True
    packing.create_image = False
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32), normals.astype(np.float32))
    atlas.generate(charts, packing)
    original, indices, uv = atlas.get_mesh(0)
    # Charts may have been packed into more rows than columns, or fewer: keep texels square.
    side = max(atlas.width, atlas.height)
    uv = np.asarray(uv, np.float64) * np.array([atlas.width, atlas.height]) / side
    uv[:, 1] = 1 - uv[:, 1]
    return Unfolded(vertices[original], np.asarray(indices, np.int32), normals[original], uv, texture_px)


def creased(surface: Surface) -> tuple[Floats, Faces, Floats]:
    """Vertices (n, 3), faces (m, 3) and normals (n, 3) where each corner's normal is the mean over the faces round its vertex that
    lean less than 40 degrees from its own face."""
    face_normal = surface.face_normals()
    area = np.linalg.norm(face_normal, axis=1)
    # Faces without area show nothing, but glTF wants a direction of them too.
    unit = np.where(area[:, None] > 0, face_normal / np.where(area > 0, area, 1)[:, None], (0.0, 1.0, 0.0))
    corner_vertex = surface.faces.ravel()
    corner_face = np.repeat(np.arange(len(surface.faces)), 3)
    order = np.argsort(corner_vertex, kind="stable")
    count = np.bincount(corner_vertex, minlength=len(surface.vertices))
    start = np.cumsum(count) - count
    total = np.zeros((len(corner_vertex), 3))
    for k in range(int(count.max())):
        has = count[corner_vertex] > k
        other = corner_face[order[np.where(has, start[corner_vertex] + k, 0)]]
        alike = has & ((unit[other] * unit[corner_face]).sum(axis=1) > _CREASE_COSINE)
        total += np.where(alike[:, None], face_normal[other], 0.0)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normal = np.where(length > 1e-30, total / np.where(length > 1e-30, length, 1), unit[corner_face])
    key = np.column_stack([corner_vertex, np.rint(normal * 512).astype(np.int64)])
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1, 3).astype(np.int32)
    return surface.vertices[corner_vertex[first]], faces, np.asarray(normal[first], np.float64)
