"""Ray casting of textured meshes outdoors: sun with shadows, sky, distant haze; exact depth.

Rays come from embree by way of `samples.render`. Textures are filtered between levels of detail; where something begins or
ends, where a shadow falls, and where a surface is seen at a flat angle, four rays are averaged.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.render import Floats32, RayCaster, texture_lookup
from samples.surfaces import Floats, Patches
from samples.textures import TextureAtlas, fractal_noise

_ROTATED_GRID = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
_CHUNK = 1 << 17
_ROW = 1024
_NOWHERE_M = np.float32(1e6)
_UNDISTORTING_STEPS = 8


@dataclass(frozen=True)
class PhotoCamera:
    """A camera with square pixels and COLMAP's SIMPLE_RADIAL distortion: distorted = (1 + k1 r^2) undistorted.

    Pixel centres at +0.5; focal length and principal point in pixels.
    """

    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    k1: float = 0.0

    def turned(self, quarter_turns: int) -> "PhotoCamera":
        """The camera of the same picture turned anticlockwise, as numpy.rot90 counts."""
        camera = self
        for _ in range(quarter_turns % 4):
            camera = replace(
                camera,
                width_px=camera.height_px,
                height_px=camera.width_px,
                cx_px=camera.cy_px,
                cy_px=camera.width_px - camera.cx_px,
            )
        return camera

    def directions(self, pixels: Floats) -> Floats:
        """Rays (..., 3) with z = 1 in camera axes (x right, y down, z forward) through `pixels` (..., 2)."""
        distorted = (pixels - np.array([self.cx_px, self.cy_px])) / self.focal_px
        straight = distorted
        if self.k1:
            for _ in range(_UNDISTORTING_STEPS):
                squared = (straight * straight).sum(axis=-1, keepdims=True)
                straight = distorted / (1 + self.k1 * squared)
        return np.concatenate([straight, np.ones((*straight.shape[:-1], 1))], axis=-1)

    def project(self, points: Floats) -> Floats:
        """Pixels (..., 2) of points (..., 3) in camera axes."""
        straight = points[..., :2] / points[..., 2:]
        squared = (straight * straight).sum(axis=-1, keepdims=True)
        centre = np.array([self.cx_px, self.cy_px])
        return np.asarray(straight * (1 + self.k1 * squared) * self.focal_px + centre, np.float64)

    def centres(self) -> Floats:
        """Pixel centres (height, width, 2)."""
        x, y = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles. corners (m, 3, 3) float64 metres, z up; normals (m, 3, 3) float32, unit, at the corners.

    texels: (m, 3, 2) float32, texture coordinates at level 0. texture: (m,) int32, index into the atlas. surface: (m,) int32:
    triangles of one number join smoothly.
    """

    corners: Floats
    normals: Floats32
    texels: Floats32
    texture: NDArray[np.int32]
    surface: NDArray[np.int32]

    def patches(self) -> Patches:
        """The same triangles for `samples.render`, which needs their corners only."""
        count = len(self.corners)
        return Patches(
            origin=self.corners[:, 0],
            edge_u=self.corners[:, 1] - self.corners[:, 0],
            edge_v=self.corners[:, 2] - self.corners[:, 0],
            triangular=np.ones(count, np.bool_),
            texture=self.texture,
            texels=np.zeros((count, 2)),
            texel_offset=np.zeros((count, 2)),
            emission=np.zeros(count, np.float32),
            structure=np.zeros(count, np.bool_),
        )


@dataclass(frozen=True)
class Daylight:
    """Where the sun stands and how strong sun, sky and light from the ground are (linear RGB irradiance over pi)."""

    towards_sun: tuple[float, float, float]
    sun: tuple[float, float, float]
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    clouds_seed: int


def daylight(rng: np.random.Generator) -> Daylight:
    """A bright day, sun at 30 to 60 degrees."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(30, 60))
    towards = (math.cos(height) * math.cos(azimuth), math.cos(height) * math.sin(azimuth), math.sin(height))
    warm = float(rng.uniform(0.86, 1.0))
    return Daylight(
        towards_sun=towards,
        sun=(1.25, 1.25 * (0.5 + 0.5 * warm), 1.25 * warm * 0.93),
        sky=(0.46, 0.52, 0.62),
        ground=(0.2, 0.18, 0.15),
        clouds_seed=int(rng.integers(1 << 31)),
    )


class PhotoRenderer:
    """A scene ready to be photographed."""

    def __init__(self, mesh: TexturedMesh, atlas: TextureAtlas, light: Daylight) -> None:
        self._caster = RayCaster(mesh.patches())
        self._atlas = atlas
        self._light = light
        self._texture, self._surface = mesh.texture, mesh.surface
        # One row per triangle: normals 0:9, texels 9:15, texels per metre 15.
        self._rows = np.concatenate(
            [
                mesh.normals.reshape(-1, 9),
                mesh.texels.reshape(-1, 6),
                _texels_per_m(mesh)[:, None],
            ],
            axis=1,
        ).astype(np.float32)
        self._clouds = _paint_clouds(light.clouds_seed)

    def view(self, camera: PhotoCamera, world_from_camera: Floats) -> Floats32:
        """Radiance (height, width, 3) float32, linear; a sunlit white wall is about 1.5."""
        shape = (camera.height_px, camera.width_px)
        centres = camera.centres().reshape(-1, 2)
        radiance = np.empty((len(centres), 3), np.float32)
        marks = np.empty((len(centres), 3), np.float32)
        for start in range(0, len(centres), _CHUNK):
            part = slice(start, start + _CHUNK)
            radiance[part], marks[part] = self._look(camera, world_from_camera, centres[part], 0.0)
        rough = np.flatnonzero(_needs_more_rays(marks.reshape(*shape, 3)))
        for start in range(0, len(rough), _CHUNK):
            part_of = rough[start : start + _CHUNK]
            total = np.zeros((len(part_of), 3), np.float32)
            for shift in _ROTATED_GRID:
                total += self._look(camera, world_from_camera, centres[part_of] + shift, -1.0)[0]
            radiance[part_of] = total / len(_ROTATED_GRID)
        return radiance.reshape(*shape, 3)

    def depth(self, camera: PhotoCamera, world_from_camera: Floats, pixels: Floats) -> Floats:
        """Depth along the optical axis (n,) float64 metres at `pixels` (n, 2); 0 = the sky."""
        directions = camera.directions(pixels) @ world_from_camera[:3, :3].T
        origin = world_from_camera[:3, 3]
        hits = self._caster.cast(_spread(origin, len(directions)), directions.astype(np.float32))
        return self._caster.exact_distance(hits, origin, directions)

    def _look(
        self, camera: PhotoCamera, world_from_camera: Floats, pixels: Floats, lod_bias: float
    ) -> tuple[Floats32, Floats32]:
        """Radiance (n, 3), and marks (n, 3): surface with its share of sun, log depth, cosine of incidence."""
        directions = (camera.directions(pixels) @ world_from_camera[:3, :3].T).astype(np.float32)
        origins = _spread(world_from_camera[:3, 3], len(directions))
        hits = self._caster.cast(origins, directions)
        sky = hits.patch < 0
        t, a, b = (np.where(sky, np.float32(0), value) for value in (hits.t, hits.a, hits.b))
        rows = self._rows.take(hits.patch, axis=0)
        weight = np.stack([1 - a - b, a, b], axis=1)
        normal = np.einsum("nk,nkc->nc", weight, rows[:, :9].reshape(-1, 3, 3))
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.float32(1e-6))
        length = np.linalg.norm(directions, axis=1)
        cosine = np.maximum(np.abs(np.einsum("nc,nc->n", normal, directions)) / length, np.float32(0.03))
        texels = np.einsum("nk,nkc->nc", weight, rows[:, 9:15].reshape(-1, 3, 2))
        footprint = np.maximum(t * length * rows[:, 15] / np.float32(camera.focal_px), np.float32(1e-3))
        # A flat angle stretches the footprint by 1 / cosine in one direction; most of that is taken as blur.
        lod = np.log2(footprint) - np.float32(0.6) * np.log2(cosine) + np.float32(lod_bias)
        albedo = texture_lookup(self._atlas, self._texture.take(hits.patch), texels[:, 0], texels[:, 1], lod)
        point = origins + directions * t[:, None]
        sun = self._sunlight(point, normal)
        radiance = albedo * (sun[:, None] * np.array(self._light.sun, np.float32) + self._ambient(normal))
        radiance = self._hazy(radiance, t * length)
        radiance[sky] = self._sky(directions[sky])
        surface = np.where(sky, -1, self._surface.take(hits.patch)).astype(np.float32)
        depth = np.log(np.where(sky, _NOWHERE_M, np.maximum(t, np.float32(1e-3))))
        return radiance, np.stack([surface + np.where(sun > 0, 0.5, 0.0), depth, cosine], axis=1).astype(np.float32)

    def _sunlight(self, point: Floats32, normal: Floats32) -> Floats32:
        """Cosine of the sun's incidence, 0 in shadow."""
        towards = np.array(self._light.towards_sun, np.float32)
        cosine = np.maximum(normal @ towards, np.float32(0))
        lit = np.flatnonzero(cosine > 0)
        start = point[lit] + normal[lit] * np.float32(0.006) + towards * np.float32(0.004)
        blocked = self._caster.cast(start, np.broadcast_to(towards, start.shape).astype(np.float32)).patch >= 0
        cosine[lit[blocked]] = 0
        return np.asarray(cosine, np.float32)

    def _ambient(self, normal: Floats32) -> Floats32:
        up = np.float32(0.5) + np.float32(0.5) * normal[:, 2:]
        sky, ground = np.array(self._light.sky, np.float32), np.array(self._light.ground, np.float32)
        return np.asarray(up * sky + (1 - up) * ground, np.float32)

    def _hazy(self, radiance: Floats32, distance: Floats32) -> Floats32:
        share = (1 - np.exp(-distance / np.float32(350)))[:, None]
        return np.asarray(radiance + share * (np.array([0.75, 0.82, 0.92], np.float32) - radiance), np.float32)

    def _sky(self, directions: Floats32) -> Floats32:
        unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        height = np.clip(unit[:, 2], 0, 1)
        blue = np.stack([0.85 - 0.55 * height, 0.95 - 0.42 * height, 1.1 - 0.22 * height], axis=1)
        rows, columns = self._clouds.shape
        x = (np.arctan2(unit[:, 1], unit[:, 0]) / (2 * np.pi) + 0.5) * columns
        y = (1 - height) * (rows - 1)
        share = _looked_up(self._clouds, x.astype(np.float32), y.astype(np.float32))[:, None]
        return np.asarray(blue + share * (1.25 - blue), np.float32)


def _spread(origin: Floats, count: int) -> Floats32:
    return np.broadcast_to(origin.astype(np.float32), (count, 3))


def _texels_per_m(mesh: TexturedMesh) -> Floats32:
    a, b = (mesh.texels[:, k] - mesh.texels[:, 0] for k in (1, 2))
    in_texels = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    u, v = (mesh.corners[:, k] - mesh.corners[:, 0] for k in (1, 2))
    in_m = np.linalg.norm(np.cross(u, v), axis=1)
    return np.asarray(np.sqrt(in_texels / np.maximum(in_m, 1e-12)), np.float32)


def _needs_more_rays(marks: Floats32) -> NDArray[np.bool_]:
    """Pixels (h, w) beside another surface, a shadow's border or a jump in depth, or seen at a flat angle."""
    found = marks[..., 2] < 0.25
    across = (marks[:, 1:, 0] != marks[:, :-1, 0]) | (np.abs(marks[:, 1:, 1] - marks[:, :-1, 1]) > 0.05)
    down = (marks[1:, :, 0] != marks[:-1, :, 0]) | (np.abs(marks[1:, :, 1] - marks[:-1, :, 1]) > 0.05)
    found[:, 1:] |= across
    found[:, :-1] |= across
    found[1:] |= down
    found[:-1] |= down
    # The sky is smooth.
    found &= ~((marks[..., 0] < 0) & ~_beside_something(marks[..., 0] >= 0))
    return np.asarray(found, np.bool_)


def _beside_something(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(solid.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)


def _looked_up(image: Floats32, x: Floats32, y: Floats32) -> Floats32:
    """Bilinear values (n,) at (n,) places; in rows, because OpenCV's pictures have fewer than 32,768 columns and rows."""
    rows = max(1, -(-len(x) // _ROW))
    maps = np.zeros((2, rows * _ROW), np.float32)
    maps[0, : len(x)], maps[1, : len(x)] = x, y
    grid = maps.reshape(2, rows, _ROW)
    found = cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(found, np.float32).reshape(-1)[: len(x)]


def _paint_clouds(seed: int) -> Floats32:
    noise = fractal_noise(np.random.default_rng([seed, 6]), 1024, 256, cells=(6, 5), octaves=6)
    return np.asarray(np.clip(0.45 * (noise - 0.2), 0, 0.8), np.float32)
