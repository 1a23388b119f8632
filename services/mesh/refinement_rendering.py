"""A differentiable picture of a textured mesh, in torch.

Rays (Open3D) say which face each pixel shows; that choice is fixed. Where on the face the pixel's ray ends is computed anew in torch,
so that colours have derivatives by vertices, camera, texture and light. What a pixel centre cannot tell, how much of a pixel the
object's outline leaves free, is blended in from where the outline crosses the line between two pixel centres: analytic antialiasing
(Laine et al., "Modular primitives for high-performance differentiable rendering", TOG 2020). Outlines are edges between a face that is
turned towards the camera and one that is turned away, each of them looked for on the lines through pixel centres; so they are found
also where faces are smaller than pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.mesh.refinement_light import irradiance
from services.mesh.rendering import Caster
from services.mesh.rig import Camera
from services.mesh.surface import Faces, Floats, TexturedMesh

Index = NDArray[np.int64]
_FLATTEST = 0.08
"""Cosine of the angle of incidence below which colours do not move geometry: there a face's place on the ray is no more than noise."""
_GAP_PX = 2.0
"""A nearer part ends before a farther one where their depths differ by more than this many pixel widths."""
_SHORTEST_SPAN_PX = 1e-3


@dataclass(frozen=True)
class Pinhole:
    """A camera whose numbers may be variables. rotation (3, 3), translation (3,): camera from world. focal, middle (2,) in pixels."""

    rotation: Tensor
    translation: Tensor
    focal: Tensor
    middle: Tensor
    width_px: int
    height_px: int

    @staticmethod
    def of(camera: Camera, like: Tensor) -> "Pinhole":
        """The camera as constants of the type and on the device of `like`."""
        pose = camera.camera_from_world
        return Pinhole(
            like.new_tensor(pose[:3, :3].tolist()),
            like.new_tensor(pose[:3, 3].tolist()),
            like.new_tensor([camera.fx_px, camera.fy_px]),
            like.new_tensor([camera.cx_px, camera.cy_px]),
            camera.width_px,
            camera.height_px,
        )

    def fixed(self) -> Camera:
        """The camera as it is now."""
        pose = np.eye(4)
        # Single precision leaves rotations that are none to the last digit.
        u, _, vt = np.linalg.svd(self.rotation.detach().cpu().double().numpy())
        pose[:3, :3], pose[:3, 3] = u @ vt, self.translation.detach().cpu().double().numpy()
        fx, fy = self.focal.detach().cpu().double().tolist()
        cx, cy = self.middle.detach().cpu().double().tolist()
        return Camera(self.width_px, self.height_px, fx, fy, cx, cy, pose)

    def local(self, points: Tensor) -> Tensor:
        """Points (n, 3) of the world in the camera's frame."""
        return points @ self.rotation.T + self.translation

    def pixels(self, local: Tensor) -> Tensor:
        """Pixels (n, 2) of points (n, 3) in the camera's frame."""
        return local[:, :2] / local[:, 2:] * self.focal + self.middle

    def rays(self, pixels: Tensor) -> Tensor:
        """Directions (n, 3) in the camera's frame through pixels (n, 2), of unit depth."""
        return functional.pad((pixels - self.middle) / self.focal, (0, 1), value=1.0)


@dataclass(frozen=True)
class Topology:
    """A mesh without positions. faces (m, 3) of welded vertices; welded (s,): which of them each split vertex is; split_faces
    (m, 3); crease (s,): split vertices that share a normal; edges (e, 2) of welded vertices; beside (e, 2): the faces of each
    edge, twice the same at an open border; count: of welded vertices."""

    faces: Faces
    welded: Index
    split_faces: Faces
    crease: Index
    edges: Index
    beside: Index
    count: int


def topology(mesh: TexturedMesh) -> tuple[Topology, Floats]:
    """How the mesh hangs together, and the positions (n, 3) of its welded vertices."""
    places, welded = np.unique(mesh.vertices, axis=0, return_inverse=True)
    welded = welded.reshape(-1).astype(np.int64)
    key = np.column_stack([welded, np.rint(mesh.normals * 512).astype(np.int64)])
    _, crease = np.unique(key, axis=0, return_inverse=True)
    faces = welded[mesh.faces]
    corners = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort((corners[:, 1], corners[:, 0]))
    edges, first, count = np.unique(corners[order], axis=0, return_index=True, return_counts=True)
    beside = np.stack([owner[order[first]], owner[order[first + (count > 1)]]], axis=1)
    found = Topology(
        faces.astype(np.int32), welded, mesh.faces, crease.reshape(-1).astype(np.int64), edges, beside, len(places)
    )
    return found, places


@dataclass(frozen=True)
class Outline:
    """Where outlines cross lines between the centres of two neighbouring pixels. near, far (k,): flat index of the pixel that
    shows the nearer part, and of the other; ends (k, 2): the crossing edge's vertices; line (k,): coordinate of the row or column of
    centres; start (k,): of the near pixel's centre along it; sign (k,): towards the far one; axis (k,): 0 along rows, 1 along columns."""

    near: Index
    far: Index
    ends: Index
    line: Floats
    start: Floats
    sign: Floats
    axis: Index


@dataclass(frozen=True)
class Fragments:
    """What pixels show, for one camera: pixel (n,) flat index of those that show a face, face (n,); and the outlines on them."""

    pixel: Tensor
    face: Tensor
    near: Tensor
    far: Tensor
    ends: Tensor
    line: Tensor
    start: Tensor
    sign: Tensor
    axis: Tensor


def fragments(vertices: Floats, shape: Topology, camera: Camera, like: Tensor) -> Fragments:
    """Cast a ray through every pixel centre and look for outlines. Tensors are of the type and on the device of `like`."""
    hits = Caster(vertices, shape.faces).through(camera, camera.centres().reshape(-1, 2))
    depth = np.where(hits.face < 0, np.inf, hits.depth).astype(np.float64)
    pixel = np.flatnonzero(hits.face >= 0)
    found = outline(vertices, shape, camera, depth)

    def whole(values: Index) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=like.device)

    def real(values: Floats) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    return Fragments(
        whole(pixel), whole(hits.face[pixel].astype(np.int64)), whole(found.near), whole(found.far), whole(found.ends),
        real(found.line), real(found.start), real(found.sign), whole(found.axis),
    )  # fmt: skip


def outline(vertices: Floats, shape: Topology, camera: Camera, depth: Floats) -> Outline:
    """Crossings of outlines with the lines between pixel centres, the outermost one of each pair of pixels. depth (h*w,), infinite
    where nothing is seen."""
    pixels, along = camera.project(vertices)
    corner = vertices[shape.faces[:, 0]]
    normal = np.cross(vertices[shape.faces[:, 1]] - corner, vertices[shape.faces[:, 2]] - corner)
    front = ((camera.centre - corner) * normal).sum(axis=1) > 0
    sides = front[shape.beside]
    turned = (sides[:, 0] != sides[:, 1]) | (shape.beside[:, 0] == shape.beside[:, 1])
    ends = shape.edges[turned]
    ends = ends[(along[ends] > 0).all(axis=1)]
    parts = [_crossings(pixels, along, ends, axis, camera, depth=depth) for axis in (0, 1)]
    return Outline(*(np.concatenate([getattr(part, name) for part in parts]) for name in Outline.__dataclass_fields__))


def _crossings(pixels: Floats, along: Floats, ends: Index, axis: int, camera: Camera, *, depth: Floats) -> Outline:
    """Those with rows (axis 0) or columns (axis 1) of pixel centres; of edges that are nearer to square to the line than to along it,
    so that every edge is counted once."""
    size = (camera.width_px, camera.height_px) if axis == 0 else (camera.height_px, camera.width_px)
    # Along the line, and across lines.
    x, y = pixels[ends][..., axis], pixels[ends][..., 1 - axis]
    low = np.maximum(np.ceil(y.min(axis=1) - 0.5), 0).astype(np.int64)
    high = np.minimum(np.floor(y.max(axis=1) - 0.5), size[1] - 1).astype(np.int64)
    count = np.maximum(high - low + 1, 0)
    across, along_line = np.abs(y[:, 1] - y[:, 0]), np.abs(x[:, 1] - x[:, 0])
    steep = across >= along_line if axis == 0 else across > along_line
    count[~steep | (across < _SHORTEST_SPAN_PX)] = 0
    edge = np.repeat(np.arange(len(ends)), count)
    line = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = (line + 0.5 - y[edge, 0]) / np.where(count[edge] > 0, y[edge, 1] - y[edge, 0], 1)
    where = x[edge, 0] + share * (x[edge, 1] - x[edge, 0])
    reciprocal = 1 / along[ends]
    edge_depth = 1 / (reciprocal[edge, 0] + share * (reciprocal[edge, 1] - reciprocal[edge, 0]))
    first = np.floor(where - 0.5).astype(np.int64)
    inside = (first >= 0) & (first < size[0] - 1)
    edge, line, where, edge_depth, first = edge[inside], line[inside], where[inside], edge_depth[inside], first[inside]
    stride, step = (camera.width_px, 1) if axis == 0 else (1, camera.width_px)
    a = line * stride + first * step
    near_first = depth[a] <= depth[a + step]
    near, far = np.where(near_first, a, a + step), np.where(near_first, a + step, a)
    sign = np.where(near_first, 1.0, -1.0)
    start = np.where(near_first, first + 0.5, first + 1.5)
    # An edge of the nearer part, and not one behind it; and no gap that is a fold of one surface.
    seen = np.isfinite(depth[near])
    gap = np.where(np.isfinite(depth[far]), depth[far], np.inf) - np.where(seen, depth[near], 0.0)
    seen &= gap > _GAP_PX * edge_depth / camera.fx_px
    seen &= np.abs(edge_depth - np.where(seen, depth[near], 0.0)) < 0.5 * gap
    order = np.flatnonzero(seen)
    order = order[np.lexsort((-(where[order] - start[order]) * sign[order], a[order]))]
    _, best = np.unique(a[order], return_index=True)
    kept = order[best]
    return Outline(
        near[kept], far[kept], ends[edge[kept]], line[kept] + 0.5, start[kept], sign[kept],
        np.full(len(kept), axis, np.int64),
    )  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What is rendered. vertices (n, 3), welded; faces (m, 3); uv (m, 3, 2) of each face's corners; texture (1, 3, t, t) in 0..1, the
    first row v = 1; light: spherical harmonics (9, 3), or None where the texture is the appearance itself; normals (m, 3, 3)
    of each face's corners, used only with a light."""

    vertices: Tensor
    faces: Tensor
    uv: Tensor
    texture: Tensor
    light: Tensor | None
    normals: Tensor | None


@dataclass(frozen=True)
class Shown:
    """colour (h*w, 3) on white and cover (h*w,), how much of each pixel the mesh fills, both antialiased at outlines."""

    colour: Tensor
    cover: Tensor


def render(scene: Scene, camera: Pinhole, seen: Fragments) -> Shown:
    """The picture, with derivatives by everything in `scene` and `camera`."""
    local = camera.local(scene.vertices)
    weight = barycentric(scene, camera, seen, local)
    corners = scene.uv[seen.face]
    colour = looked_up(scene.texture, (corners * weight[..., None]).sum(dim=1))
    if scene.light is not None and scene.normals is not None:
        normal = functional.normalize((scene.normals[seen.face] * weight[..., None]).sum(dim=1), dim=1)
        colour = colour * irradiance(scene.light, normal)
    count = camera.width_px * camera.height_px
    # Three channels of colour on white, and one of coverage on nothing.
    behind = functional.pad(colour.new_ones(count, 3), (0, 1))
    flat = behind.index_copy(0, seen.pixel, functional.pad(colour, (0, 1), value=1.0))
    blended = _antialiased(flat, camera.pixels(local), seen)
    return Shown(blended[:, :3], blended[:, 3])


def barycentric(scene: Scene, camera: Pinhole, seen: Fragments, local: Tensor) -> Tensor:
    """Weights (n, 3) of the corners of each pixel's face where the ray through the pixel's centre meets it; without derivatives
    by geometry where the ray all but grazes the face. local (v, 3): vertices in the camera's frame."""
    column, row = seen.pixel % camera.width_px, seen.pixel.div(camera.width_px, rounding_mode="floor")
    rays = camera.rays(torch.stack([column, row], dim=1).to(local.dtype) + 0.5)
    a, b, c = local[scene.faces[seen.face]].unbind(dim=1)
    along, across = b - a, c - a
    normal = torch.linalg.cross(along, across)
    slope = (normal * rays).sum(dim=1)
    tiny = torch.finfo(local.dtype).tiny
    flat = slope.abs() < _FLATTEST * normal.norm(dim=1) * rays.norm(dim=1)
    depth = (normal * a).sum(dim=1) / torch.where(slope.abs() > tiny, slope, torch.full_like(slope, tiny))
    offset = rays * depth[:, None] - a
    area = (normal * normal).sum(dim=1).clamp_min(tiny)
    second = (normal * torch.linalg.cross(offset, across)).sum(dim=1) / area
    third = (normal * torch.linalg.cross(along, offset)).sum(dim=1) / area
    weight = torch.stack([1 - second - third, second, third], dim=1)
    # Derivatives of needles seen edge-on would outweigh all others.
    inside = (weight.detach() > -0.5).all(dim=1) & (weight.detach() < 1.5).all(dim=1)
    return torch.where((flat | ~inside)[:, None], weight.detach().clamp(0, 1), weight)


def looked_up(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear colours (n, 3) of a texture (1, 3, h, w) at uv (n, 2), v upwards."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=1)
    found = functional.grid_sample(
        texture, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def _antialiased(flat: Tensor, pixels: Tensor, seen: Fragments) -> Tensor:
    """Pixels (h*w, k) blended with their neighbours as far as outlines reach over from one to the other."""
    if len(seen.near) == 0:
        return flat
    ends = pixels[seen.ends]
    along_rows = (seen.axis == 0)[:, None]
    x = torch.where(along_rows, ends[..., 0], ends[..., 1])
    y = torch.where(along_rows, ends[..., 1], ends[..., 0])
    share = (seen.line - y[:, 0]) / (y[:, 1] - y[:, 0])
    reach = ((x[:, 0] + share * (x[:, 1] - x[:, 0]) - seen.start) * seen.sign).clamp(0, 1)
    difference = flat[seen.near] - flat[seen.far]
    onto_far = (reach - 0.5).clamp_min(0)[:, None] * difference
    onto_near = (0.5 - reach).clamp_min(0)[:, None] * -difference
    return flat.index_add(0, seen.far, onto_far).index_add(0, seen.near, onto_near)


def corner_normals(vertices: Tensor, shape: Topology) -> Tensor:
    """Unit normals (m, 3, 3) of the corners of faces: means over faces, by area, on this side of creases."""
    device = vertices.device
    a, b, c = vertices[torch.as_tensor(shape.faces, dtype=torch.int64, device=device)].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)
    group = torch.as_tensor(shape.crease[shape.split_faces], device=device)
    total = vertices.new_zeros(int(shape.crease.max()) + 1, 3)
    for corner in range(3):
        total = total.index_add(0, group[:, corner], normal)
    return functional.normalize(total, dim=1)[group]
