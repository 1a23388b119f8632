"""Six views of a generated object: exact depth at pixel centres, antialiased colour on white.

`exact_spec` is what the API's document assumes. `degraded_spec` is what people really upload: another field of view, eight
bits, every view scaled to its own range, either sign, swapped, turned or mirrored views, pictures of another size.
"""

import math
import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from samples.objects import SampleObject
from samples.objects_paint import lit
from samples.objects_shapes import HALF_EXTENT
from samples.render import Camera
from samples.surfaces import Floats

VIEW_NAMES = ("front", "back", "left", "right", "top", "bottom")
ASSUMED_DISTANCE = 2.5
ASSUMED_FOCAL = 1111 / 512
"""Focal length in picture widths."""
_DIRECTIONS = np.array([[0, 0, 1], [0, 0, -1], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float64)
_UPS = np.array([[0, 1, 0]] * 4 + [[0, 0, -1], [0, 0, 1]], np.float64)
_SUBPIXELS = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
_FINE = tuple(((i + 0.5) / 6 - 0.5, (j + 0.5) / 6 - 0.5) for i in range(6) for j in range(6))

DepthCoding = Literal["near_far", "own_range"]
Sign = Literal["far_is_bright", "near_is_bright"]


@dataclass(frozen=True)
class Arrangement:
    """What became of a view on its way: which camera took it, and how the pictures were turned afterwards."""

    camera: int
    """Index into VIEW_NAMES."""
    quarter_turns: int = 0
    """Anticlockwise, as numpy.rot90 counts."""
    mirrored: bool = False
    """Left and right were swapped, after turning."""


@dataclass(frozen=True)
class ViewSpec:
    """How six views are taken and written."""

    size_px: int
    colour_size_px: int
    focal: float
    """In picture widths."""
    distance: float
    coding: DepthCoding
    sign: Sign
    bits: Literal[8, 16]
    arrangements: tuple[Arrangement, ...]
    colour_shift: tuple[float, float] = (0.0, 0.0)
    """Where the colour camera's principal point is off the middle, in picture widths."""


@dataclass(frozen=True)
class View:
    """colour (h, w, 3) float32 in 0..1 on white; depth (h, w) float64, 0 = nothing; covered (h, w) bool, at pixel centres."""

    colour: NDArray[np.float32]
    depth: Floats

    @property
    def covered(self) -> NDArray[np.bool_]:
        return self.depth > 0


def exact_spec(size_px: int) -> ViewSpec:
    """Sixteen bits between two known distances, brighter is farther, under the assumed cameras."""
    return ViewSpec(
        size_px=size_px,
        colour_size_px=size_px,
        focal=ASSUMED_FOCAL,
        distance=ASSUMED_DISTANCE,
        coding="near_far",
        sign="far_is_bright",
        bits=16,
        arrangements=tuple(Arrangement(i) for i in range(6)),
    )


def degraded_spec(size_px: int, seed: int, name: str) -> ViewSpec:
    """Everything that may be different, different; from a seed and the object's name."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 77])
    fov_rad = math.radians(float(rng.uniform(26, 60)))
    half = math.tan(fov_rad / 2)
    left, right = (3, 2) if rng.uniform() < 0.5 else (2, 3)
    top, bottom = (5, 4) if rng.uniform() < 0.3 else (4, 5)
    sides_mirrored = bool(rng.uniform() < 0.3)
    return ViewSpec(
        size_px=size_px,
        colour_size_px=size_px * 3 // 2,
        focal=0.5 / half,
        distance=HALF_EXTENT * (1 + 1 / (0.88 * half)),
        coding="own_range",
        sign="far_is_bright" if rng.uniform() < 0.5 else "near_is_bright",
        bits=8,
        arrangements=(
            Arrangement(0),
            Arrangement(1),
            Arrangement(left, mirrored=sides_mirrored),
            Arrangement(right, mirrored=sides_mirrored),
            Arrangement(top, int(rng.integers(4)), bool(rng.uniform() < 0.3)),
            Arrangement(bottom, int(rng.integers(4)), bool(rng.uniform() < 0.3)),
        ),
        colour_shift=(float(rng.uniform(-0.008, 0.008)), float(rng.uniform(-0.008, 0.008))),
    )


def restored_encoding(spec: ViewSpec) -> ViewSpec:
    """The same cameras, with exact sixteen-bit depth and pictures that lie on it."""
    exact = exact_spec(spec.size_px)
    return replace(exact, focal=spec.focal, distance=spec.distance)


def pinhole(size_px: int, focal: float, shift: tuple[float, float] = (0.0, 0.0)) -> Camera:
    """A square pinhole. `focal` and `shift` in picture widths."""
    middle = size_px / 2
    return Camera(
        size_px, size_px, focal * size_px, focal * size_px, middle + shift[0] * size_px, middle + shift[1] * size_px
    )


def looking_at_origin(position: Floats, up: Floats) -> Floats:
    """camera_from_world (4, 4), OpenCV axes (x right, y down, z forward), of a camera at `position` (3,)."""
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ position
    return pose


def rig(distance: float) -> Floats:
    """camera_from_world (6, 4, 4) of the API's assumed cameras at `distance`, in upload order."""
    return np.stack([looking_at_origin(distance * d, u) for d, u in zip(_DIRECTIONS, _UPS, strict=True)])


def novel_rig(distance: float, count: int, seed: int) -> Floats:
    """camera_from_world (count, 4, 4) of cameras between the six, from a seed."""
    rng = np.random.default_rng([seed, 4242])
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.stack([looking_at_origin(distance * d, np.array([0.13, 0.97, 0.19])) for d in directions])


class ObjectRenderer:
    """An object ready to be looked at."""

    def __init__(self, sample: SampleObject) -> None:
        shape = sample.shape
        triangles = shape.vertices[shape.faces]
        self._sample = sample
        self._origin = triangles[:, 0]
        normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        self._normal = normal / np.where(length == 0, 1, length)
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, triangles.astype(np.float32))

    def view(self, camera: Camera, camera_from_world: Floats) -> View:
        """Depth at pixel centres; colour from four rays in every pixel and thirty-six where something ends."""
        shape = (camera.height_px, camera.width_px)
        depth, face = self._cast(camera, camera_from_world, camera.centres().reshape(-1, 2))
        depth, face = depth.reshape(shape), face.reshape(shape)
        edge = self._edges(depth, face)
        colour = np.ones((*shape, 3))
        for where, pattern in ((~edge & (face >= 0), _SUBPIXELS), (edge, _FINE)):
            pixels = camera.centres()[where]
            for shift in pattern:
                colour[where] += self._colours(camera, camera_from_world, pixels + np.array(shift)) - 1
            colour[where] = 1 + (colour[where] - 1) / len(pattern)
        return View(colour.astype(np.float32), depth)

    def depth(self, camera: Camera, camera_from_world: Floats) -> Floats:
        """Depth along the optical axis (h, w) float64 at pixel centres, 0 = nothing."""
        depth, _ = self._cast(camera, camera_from_world, camera.centres().reshape(-1, 2))
        return depth.reshape(camera.height_px, camera.width_px)

    def _edges(self, depth: Floats, face: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Pixels beside one where another part, another facet direction, or nothing at all is seen."""
        part = np.where(face < 0, -1, self._sample.shape.part[face])
        normal = np.where((face < 0)[..., None], 0.0, self._normal[face])
        edge = np.zeros(depth.shape, bool)
        for axis in (0, 1):
            a: tuple[slice, ...] = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
            b: tuple[slice, ...] = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
            differs = (part[a] != part[b]) | ((normal[a] * normal[b]).sum(axis=-1) < 0.9)
            differs |= np.abs(depth[a] - depth[b]) > 0.02
            differs &= (face[a] >= 0) | (face[b] >= 0)
            edge[a] |= differs
            edge[b] |= differs
        return edge

    def _cast(self, camera: Camera, camera_from_world: Floats, pixels: Floats) -> tuple[Floats, NDArray[np.int32]]:
        rays = camera.directions(pixels) @ camera_from_world[:3, :3]
        centre = -camera_from_world[:3, :3].T @ camera_from_world[:3, 3]
        origins = np.broadcast_to(centre.astype(np.float32), rays.shape)
        face = self._scene.run(np.ascontiguousarray(origins), rays.astype(np.float32)).astype(np.int32)
        along = np.einsum("ij,ij->i", self._normal[face], rays)
        distance = np.einsum("ij,ij->i", self._normal[face], self._origin[face] - centre)
        depth = np.where(face < 0, 0.0, distance / np.where(along == 0, 1.0, along))
        return np.asarray(depth, np.float64), face

    def _colours(self, camera: Camera, camera_from_world: Floats, pixels: Floats) -> Floats:
        depth, face = self._cast(camera, camera_from_world, pixels)
        colour = np.ones((len(pixels), 3))
        hit = face >= 0
        local = camera.directions(pixels[hit]) * depth[hit, None]
        points = (local - camera_from_world[:3, 3]) @ camera_from_world[:3, :3]
        painted = self._sample.paint(points, self._sample.shape.part[face[hit]])
        colour[hit] = lit(painted, self._normal[face[hit]])
        return colour
