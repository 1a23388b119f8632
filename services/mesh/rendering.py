"""Ray casting of meshes: what quality is measured on and previews are made from."""

from dataclasses import dataclass

import numpy as np
import open3d
from numpy.typing import NDArray

from services.mesh.fusion import bilinear
from services.mesh.rig import Camera
from services.mesh.surface import Faces, Floats, TexturedMesh

Floats32 = NDArray[np.float32]
_GRID_2 = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
_GRID_4 = tuple(((i + 0.5) / 4 - 0.5, (j + 0.5) / 4 - 0.5) for j in range(4) for i in range(4))
_CHUNK_RAYS = 1 << 21


@dataclass(frozen=True)
class Hits:
    """Where rays end: face (n,) int32, -1 = nowhere; weight (n, 2) of the face's second and third corner; depth (n,) along the
    optical axis, infinite where nowhere."""

    face: NDArray[np.int32]
    weight: Floats32
    depth: Floats32

    def mixed(self, faces: Faces, per_vertex: Floats) -> Floats:
        """Interpolated values (n, k) of vertices (v, k); of any face where nothing was hit."""
        corner = faces[np.maximum(self.face, 0)]
        b, c = self.weight[:, :1].astype(np.float64), self.weight[:, 1:].astype(np.float64)
        a = 1 - b - c
        return np.asarray(a * per_vertex[corner[:, 0]] + b * per_vertex[corner[:, 1]] + c * per_vertex[corner[:, 2]])


class Caster:
    """A mesh ready for rays."""

    def __init__(self, vertices: Floats, faces: Faces) -> None:
        self._scene = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            open3d.core.Tensor.from_numpy(vertices.astype(np.float32)),
            open3d.core.Tensor.from_numpy(faces.astype(np.uint32)),
        )

    def cast(self, origins: Floats, directions: Floats) -> Hits:
        """First hits of rays (n, 3)."""
        parts = [
            self._cast(origins[i : i + _CHUNK_RAYS], directions[i : i + _CHUNK_RAYS])
            for i in range(0, max(len(directions), 1), _CHUNK_RAYS)
        ]
        return Hits(
            np.concatenate([part.face for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.depth for part in parts]),
        )

    def _cast(self, origins: Floats, directions: Floats) -> Hits:
        rays = np.empty((len(directions), 6), np.float32)
        rays[:, :3], rays[:, 3:] = origins, directions
        found = self._scene.cast_rays(open3d.core.Tensor.from_numpy(rays))
        face = found["primitive_ids"].numpy()
        return Hits(
            np.where(face == self._scene.INVALID_ID, -1, face.astype(np.int64)).astype(np.int32),
            found["primitive_uvs"].numpy(),
            found["t_hit"].numpy(),
        )

    def through(self, camera: Camera, pixels: Floats) -> Hits:
        """First hits of the rays through pixels (n, 2)."""
        rays = camera.rays(pixels)
        return self.cast(np.broadcast_to(camera.centre, rays.shape), rays)

    def depth(self, camera: Camera) -> Floats32:
        """Depth (h, w) along the optical axis at pixel centres, 0 = nothing."""
        hits = self.through(camera, camera.centres().reshape(-1, 2))
        return np.where(hits.face < 0, np.float32(0), hits.depth).reshape(camera.height_px, camera.width_px)


@dataclass(frozen=True)
class Footprint:
    """Which texture positions a picture of the mesh shows, whatever the texture's colours: pixel (n,) int64 flat index,
    uv (n, 2), share (n,) of the pixel; covered (h*w,) float32, how much of each pixel the mesh fills."""

    pixel: NDArray[np.int64]
    uv: Floats
    share: Floats32
    covered: Floats32


def footprint(mesh: TexturedMesh, caster: Caster, camera: Camera) -> Footprint:
    """Four rays in every pixel, sixteen where the outline passes."""
    centres = camera.centres().reshape(-1, 2)
    shape = (camera.height_px, camera.width_px)
    inside = caster.through(camera, centres).face.reshape(shape) >= 0
    near = _grown(inside)
    outline = near & _grown(~inside)
    pixels, uvs, shares = [], [], []
    for where, pattern in ((near & ~outline, _GRID_2), (outline, _GRID_4)):
        index = np.flatnonzero(where)
        for shift in pattern:
            hits = caster.through(camera, centres[index] + np.array(shift))
            hit = hits.face >= 0
            pixels.append(index[hit])
            uvs.append(hits.mixed(mesh.faces, mesh.uv)[hit])
            shares.append(np.full(int(hit.sum()), 1 / len(pattern), np.float32))
    pixel, share = np.concatenate(pixels), np.concatenate(shares)
    covered = np.bincount(pixel, share, len(centres)).astype(np.float32)
    return Footprint(pixel, np.concatenate(uvs), share, covered)


def picture(seen: Footprint, texture: Floats32, camera: Camera) -> Floats32:
    """The mesh on white, (h, w, 3) float32 in 0..1, with `texture` (t, t, 3) float32 in 0..1."""
    colour = looked_up(texture, seen.uv) * seen.share[:, None]
    flat = np.stack([np.bincount(seen.pixel, colour[:, i], len(seen.covered)) for i in range(3)], axis=1)
    whole: Floats = np.clip(flat + (1 - seen.covered[:, None]), 0, 1)
    return whole.astype(np.float32).reshape(camera.height_px, camera.width_px, 3)


def looked_up(texture: Floats32, uv: Floats) -> Floats32:
    """Bilinear colours (n, 3) at uv (n, 2), v upwards."""
    height, width = texture.shape[:2]
    return bilinear(texture, np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1))


def render(mesh: TexturedMesh, camera: Camera) -> Floats32:
    """The mesh on white: (h, w, 3) float32 in 0..1."""
    seen = footprint(mesh, Caster(mesh.vertices, mesh.faces), camera)
    return picture(seen, mesh.texture.astype(np.float32) / np.float32(255), camera)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
