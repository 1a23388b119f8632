"""Colours for a texture atlas from six pictures.

Every texel is a point in space. Views that measured a surface just there colour it, weighted by how squarely they see it and by the
distance to the end of what they see, so that neither background nor a nearer part bleeds in and one view fades into the next.
Then the texture is improved until pictures of the mesh are like the pictures it was made from (Irani and Peleg, "Improving resolution
by image registration", CVGIP 1991: back-projection of what is still different). Texels that nobody saw take colours of the
nearest ones that somebody did.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.mesh.atlas import Unfolded
from services.mesh.depth import RangeView
from services.mesh.fusion import bilinear, sampled_view
from services.mesh.rendering import Caster, footprint, picture
from services.mesh.rig import Camera
from services.mesh.surface import Floats, TexturedMesh

Floats32 = NDArray[np.float32]
_SHARPNESS = 5.0
"""Power of the cosine: how much the view that sees a place most squarely counts before the others."""
_LEAST_COSINE = 0.12
_FADE_PX = 8.0
_ROUNDS = 3
_FILL_NEIGHBOURS = 6
_FILL_FROM = 60_000
_FILL_CELL = 0.004
"""Unseen places this near to each other, in parts of the object's size, are filled alike: nobody knows how they look."""
_SUBTEXEL_BITS = 8
_INSIDE = 1e-3


@dataclass(frozen=True)
class ColourView:
    """colour (h, w, 3) float32 on white; camera: where that picture was taken; range_view: the depth that goes with it."""

    colour: Floats32
    camera: Camera
    range_view: RangeView


@dataclass(frozen=True)
class _Texels:
    """The texels that belong to the surface: index (n,) into the flat texture; point, normal (n, 3) in the world."""

    index: NDArray[np.int64]
    point: Floats
    normal: Floats


@dataclass(frozen=True)
class _Witness:
    """The texels that a view sees. index (k,) into the texels; pixel (k, 2) in its picture; weight (k, 1) float32, how much it counts."""

    view: ColourView
    index: NDArray[np.int64]
    pixel: Floats
    weight: Floats32


def bake(unfolded: Unfolded, views: tuple[ColourView, ...], tolerance: float) -> TexturedMesh:
    """The mesh with its texture. `tolerance`: how far, in world units, mesh and depth may be apart where they agree."""
    side = unfolded.texture_px
    texels = _texels(unfolded)
    witnesses = [_witness(texels, view, tolerance) for view in views]
    total = np.zeros((len(texels.index), 1), np.float32)
    colour = np.zeros((len(texels.index), 3), np.float32)
    for seen in witnesses:
        total[seen.index] += seen.weight
        colour[seen.index] += bilinear(seen.view.colour, seen.pixel, cv2.INTER_CUBIC) * seen.weight
    colour /= np.where(total > 0, total, 1)
    _fill(colour, texels, total[:, 0] > 0)
    geometry = TexturedMesh(
        unfolded.vertices, unfolded.faces, unfolded.normals, unfolded.uv, np.zeros((1, 1, 3), np.uint8)
    )
    texture = _improved(colour, geometry, witnesses, total, _Gutter(texels.index, side))
    stored = np.rint(np.clip(texture, 0, 1) * 255).astype(np.uint8)
    return replace(geometry, texture=stored)


def _texels(unfolded: Unfolded) -> _Texels:
    """Texel centres within charts."""
    side = unfolded.texture_px
    corners = np.stack([unfolded.uv[:, 0] * side, (1 - unfolded.uv[:, 1]) * side], axis=1)[unfolded.faces]
    # Drawing fills texels that a triangle only touches: of the triangle drawn last and the one drawn first, the better one counts.
    found = []
    for order in (np.arange(len(corners)), np.arange(len(corners))[::-1]):
        face = _drawn(corners, order, side).ravel()
        index = np.flatnonzero(face >= 0)
        found.append((face[index], _barycentric(corners, face[index], index, side)))
    (last, last_weight), (first, first_weight) = found
    within, within_first = last_weight.min(axis=1), first_weight.min(axis=1)
    better = within_first > within
    face, weight = np.where(better, first, last), np.where(better[:, None], first_weight, last_weight)
    kept = np.flatnonzero(np.maximum(within, within_first) >= -_INSIDE)
    face, weight = face[kept], weight[kept]
    corner = unfolded.faces[face]
    normal, point = np.zeros((len(kept), 3)), np.zeros((len(kept), 3))
    for k in range(3):
        point += weight[:, k, None] * unfolded.vertices[corner[:, k]]
        normal += weight[:, k, None] * unfolded.normals[corner[:, k]]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return _Texels(index[kept], point, normal)


def _drawn(corners: Floats, order: NDArray[np.int64], side: int) -> NDArray[np.int32]:
    """Which face (side, side) was drawn last on each texel, -1 = none. corners (m, 3, 2) in texels."""
    fixed = np.rint((corners - 0.5) * (1 << _SUBTEXEL_BITS)).astype(np.int32)
    canvas = np.full((side, side), -1, np.int32)
    for face in order.tolist():
        cv2.fillConvexPoly(canvas, fixed[face], face, cv2.LINE_8, _SUBTEXEL_BITS)
    return canvas


def _barycentric(corners: Floats, face: NDArray[np.int32], index: NDArray[np.int64], side: int) -> Floats:
    """Weights (n, 3) of the corners of faces (n,) at the centres of texels (n,)."""
    a, along_b, along_c = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = along_b[:, 0] * along_c[:, 1] - along_b[:, 1] * along_c[:, 0]
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    x, y = index % side + 0.5 - a[face, 0], index // side + 0.5 - a[face, 1]
    towards_b = np.stack([along_c[:, 1], -along_c[:, 0]], axis=1) / area[:, None]
    towards_c = np.stack([-along_b[:, 1], along_b[:, 0]], axis=1) / area[:, None]
    b = x * towards_b[face, 0] + y * towards_b[face, 1]
    c = x * towards_c[face, 0] + y * towards_c[face, 1]
    return np.stack([1 - b - c, b, c], axis=1)


def _witness(texels: _Texels, view: ColourView, tolerance: float) -> _Witness:
    """Which texels the view sees, where, and how well."""
    depth_camera = view.range_view.camera
    towards = depth_camera.centre - texels.point
    facing = np.flatnonzero((texels.normal * towards).sum(axis=1) > 0)
    towards = towards[facing]
    cosine = (texels.normal[facing] * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)
    pixel, depth = depth_camera.project(texels.point[facing])
    measured, _, rim = sampled_view(view.range_view, pixel)
    slack = tolerance / np.maximum(cosine, 0.2)
    seen = (measured > 0) & (np.abs(measured - depth) < slack) & (cosine > _LEAST_COSINE) & (rim > 1.5)
    weight = np.clip((rim[seen] - 1.5) / _FADE_PX, 0.02, 1) * cosine[seen] ** _SHARPNESS
    index = facing[seen]
    place, _ = view.camera.project(texels.point[index])
    return _Witness(view, index, place, weight[:, None].astype(np.float32))


def _fill(colour: Floats32, texels: _Texels, seen: NDArray[np.bool_]) -> None:
    """Colours unseen texels, in place, from the nearest seen ones in space that face about the same way."""
    if seen.all() or not seen.any():
        return
    known = np.flatnonzero(seen)
    if len(known) > _FILL_FROM:
        known = np.random.default_rng(0).permutation(known)[:_FILL_FROM]
    # Direction counts as distance, so that a thin sheet's sides do not take each other's colours.
    size = float(np.ptp(texels.point, axis=0).max())
    place, direction = texels.point[~seen], texels.normal[~seen]
    cell = np.concatenate([np.rint(place / (_FILL_CELL * size)), np.rint(2 * direction)], axis=1).astype(np.int64)
    _, first, member = np.unique(_packed(cell), return_index=True, return_inverse=True)
    tree = cKDTree(np.concatenate([texels.point[known], 0.1 * size * texels.normal[known]], axis=1))
    wanted = np.concatenate([place[first], 0.1 * size * direction[first]], axis=1)
    distance, near = tree.query(wanted, k=_FILL_NEIGHBOURS, workers=-1)
    weight = 1 / (distance**2 + 1e-9)
    mixed = (colour[known][near] * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    colour[~seen] = mixed[member].astype(np.float32)


def _packed(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number (n,) for each different row of small numbers (n, k)."""
    packed = np.zeros(len(rows), np.int64)
    for column in rows.T:
        low = int(column.min())
        packed = packed * (int(column.max()) - low + 1) + column - low
    return packed


class _Gutter:
    """Extends colours beyond the borders of charts, so that filtering finds no gaps."""

    def __init__(self, index: NDArray[np.int64], side: int) -> None:
        empty = np.ones((side, side), np.uint8)
        empty.ravel()[index] = 0
        _, label = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
        owner = np.zeros(int(label.max()) + 1, np.int64)
        owner[label.ravel()[index]] = np.arange(len(index))
        self._source = owner[label.ravel()]
        self._side = side

    def spread(self, colour: Floats32) -> Floats32:
        """The texture (side, side, 3) of colours (n, 3) of texels."""
        return np.ascontiguousarray(colour[self._source].reshape(self._side, self._side, 3))


def _improved(
    colour: Floats32, mesh: TexturedMesh, witnesses: list[_Witness], total: Floats32, gutter: _Gutter
) -> Floats32:
    """The texture (side, side, 3) from colours (n, 3) of texels, made to give the pictures back."""
    caster = Caster(mesh.vertices, mesh.faces)
    prints = [footprint(mesh, caster, seen.view.camera) for seen in witnesses]
    share = 1 / np.where(total > 0, total, 1)
    texture = gutter.spread(colour)
    for _ in range(_ROUNDS):
        change = np.zeros_like(colour)
        for seen, shown in zip(witnesses, prints, strict=True):
            difference = seen.view.colour - picture(shown, texture, seen.view.camera)
            difference[(shown.covered < 0.999).reshape(difference.shape[:2])] = 0
            change[seen.index] += bilinear(difference, seen.pixel) * seen.weight
        colour = np.clip(colour + change * share, 0, 1)
        texture = gutter.spread(colour)
    return texture
