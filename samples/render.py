"""Ray casting of the flat: exact depth, and filtered colour under baked light.

Rays come from embree. Depth is computed again in float64 from the plane that was hit, so that it is exact to rounding.
Light is baked once per surface: lamps with shadows, and light that comes from windows and other surfaces by two
gathering passes (Goral et al., "Modeling the interaction of light between diffuse surfaces", SIGGRAPH 1984).
"""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from samples.flat import Flat
from samples.surfaces import Floats, Patches
from samples.textures import TextureAtlas

Floats32 = NDArray[np.float32]
Sample = TypeVar("Sample", np.uint8, np.float32)
Real = TypeVar("Real", np.float32, np.float64)
_LIGHT_TEXELS_PER_M = 6.0
_LIGHT_ATLAS_WIDTH = 2048
_REMAP_WIDTH = 1024
_FOREVER_M = np.float32(1e30)


@dataclass(frozen=True)
class Camera:
    """A pinhole. Pixel centres at +0.5; focal lengths and principal point in pixels of this size."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    def resized(self, width_px: int, height_px: int) -> "Camera":
        """The same view in another number of pixels."""
        x, y = width_px / self.width_px, height_px / self.height_px
        return Camera(width_px, height_px, self.fx_px * x, self.fy_px * y, self.cx_px * x, self.cy_px * y)

    def directions(self, pixels: NDArray[Real]) -> NDArray[Real]:
        """Rays (..., 3) with z = 1 in camera axes (x right, y down, z forward) through `pixels` (..., 2)."""
        rays = np.ones((*pixels.shape[:-1], 3), pixels.dtype)
        rays[..., 0] = (pixels[..., 0] - self.cx_px) / self.fx_px
        rays[..., 1] = (pixels[..., 1] - self.cy_px) / self.fy_px
        return rays

    def centres(self) -> Floats:
        """Pixel centres (height, width, 2)."""
        x, y = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Hits:
    """Where rays end. patch (n,) int32, -1 = nowhere; a, b (n,) float32 within the patch; t (n,) float32 in ray lengths."""

    patch: NDArray[np.int32]
    a: Floats32
    b: Floats32
    t: Floats32


@dataclass(frozen=True)
class LightMap:
    """Baked irradiance. image (H, W, 3) float32; per patch the corner and the size in texels, (n, 2) int32 as (x, y)."""

    image: Floats32
    corner: NDArray[np.int32]
    size: NDArray[np.int32]


class RayCaster:
    """The triangles of a flat in embree."""

    def __init__(self, patches: Patches) -> None:
        triangles, self._patch_of = patches.triangles()
        self._first_halves = len(patches.origin)
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, triangles.astype(np.float32))
        self._origin, self._normal = patches.origin, patches.normals()

    def cast(self, origins: Floats32, directions: Floats32) -> Hits:
        """First hits of rays (n, 3)."""
        found = self._scene.run(np.ascontiguousarray(origins), np.ascontiguousarray(directions), output=1)
        triangle = found["primID"]
        far = triangle >= self._first_halves
        u, v = found["u"], found["v"]
        return Hits(
            patch=np.where(triangle < 0, -1, self._patch_of[triangle]).astype(np.int32),
            a=np.where(far, 1 - u, u),
            b=np.where(far, 1 - v, v),
            t=found["tfar"],
        )

    def exact_distance(self, hits: Hits, origin: Floats, directions: Floats) -> Floats:
        """Ray parameters (n,) float64 at the planes that were hit; 0 where nothing was."""
        normal = self._normal[hits.patch]
        distance = np.einsum("ij,ij->i", normal, self._origin[hits.patch] - origin)
        along = np.einsum("ij,ij->i", normal, directions)
        return np.asarray(np.where(hits.patch < 0, 0.0, distance / np.where(along == 0, 1.0, along)), np.float64)


def exact_depth(caster: RayCaster, camera: Camera, building_from_camera: Floats) -> Floats:
    """Depth along the optical axis at every pixel centre: (height, width) float64 metres, 0 = nothing there."""
    local = camera.directions(camera.centres()).reshape(-1, 3)
    directions = local @ building_from_camera[:3, :3].T
    origin = building_from_camera[:3, 3]
    hits = caster.cast(_origins(origin, len(directions)), directions.astype(np.float32))
    return caster.exact_distance(hits, origin, directions).reshape(camera.height_px, camera.width_px)


def _origins(origin: Floats, count: int) -> Floats32:
    return np.broadcast_to(origin.astype(np.float32), (count, 3))


class Renderer:
    """A flat ready to be looked at."""

    def __init__(self, flat: Flat, light: LightMap) -> None:
        self.caster = RayCaster(flat.patches)
        self._atlas = flat.atlas
        self._light = light.image
        patches = flat.patches
        lengths = np.stack([np.linalg.norm(patches.edge_u, axis=1), np.linalg.norm(patches.edge_v, axis=1)], axis=1)
        texels_per_m = np.sqrt((patches.texels / lengths).prod(axis=1))
        # One row per patch, so that all that a hit needs comes with a single look-up:
        # normal 0:3, texels per metre 3, texel offset 4:6, texels 6:8, emission 8, light corner 9:11, light span 11:13.
        self._rows = np.column_stack(
            [
                patches.normals(),
                texels_per_m,
                patches.texel_offset,
                patches.texels,
                patches.emission,
                light.corner,
                light.size - 1,
            ]
        ).astype(np.float32)
        self._texture = patches.texture

    def view(self, camera: Camera, building_from_camera: Floats) -> tuple[Floats32, Floats32]:
        """Radiance (h, w, 3) and depth (h, w) in metres, both float32. Silhouettes are averaged over four rays."""
        shape = (camera.height_px, camera.width_px)
        centres = camera.centres().astype(np.float32)
        radiance, hits = self._look(camera, building_from_camera, centres.reshape(-1, 2), 0.0)
        image = radiance.reshape(*shape, 3)
        patch = hits.patch.reshape(shape)
        edge = np.zeros(shape, bool)
        across, down = patch[:, 1:] != patch[:, :-1], patch[1:] != patch[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        spots = centres[edge]
        total = np.zeros((len(spots), 3), np.float32)
        for shift in ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375)):
            total += self._look(camera, building_from_camera, spots + np.array(shift, np.float32), -0.5)[0]
        image[edge] = total / 4
        return image, hits.t.reshape(shape)

    def range_image(self, camera: Camera, building_from_camera: Floats) -> tuple[Floats32, Floats32]:
        """Depth in metres (0 = nothing) and the cosine of incidence, both (h, w) float32."""
        directions = camera.directions(camera.centres()).reshape(-1, 3) @ building_from_camera[:3, :3].T
        rays = directions.astype(np.float32)
        hits = self.caster.cast(_origins(building_from_camera[:3, 3], len(rays)), rays)
        cosine = np.abs(np.einsum("ij,ij->i", self._rows[:, :3].take(hits.patch, axis=0), rays)) / np.linalg.norm(
            rays, axis=1
        )
        shape = (camera.height_px, camera.width_px)
        return np.where(hits.patch < 0, np.float32(0), hits.t).reshape(shape), cosine.reshape(shape)

    def _look(
        self, camera: Camera, building_from_camera: Floats, pixels: Floats32, lod_bias: float
    ) -> tuple[Floats32, Hits]:
        directions = camera.directions(pixels) @ building_from_camera[:3, :3].T.astype(np.float32)
        hits = self.caster.cast(_origins(building_from_camera[:3, 3], len(directions)), directions)
        rows = self._rows.take(hits.patch, axis=0)
        along = rows[:, 0] * directions[:, 0] + rows[:, 1] * directions[:, 1] + rows[:, 2] * directions[:, 2]
        squared = np.einsum("ij,ij->i", directions, directions)
        cosine_squared = np.maximum(along * along / squared, np.float32(0.0025))
        # Half of log2 of the footprint's area in texels; the footprint is longer by 1 / cosine in one direction.
        footprint = np.maximum(hits.t * rows[:, 3] / np.float32(camera.fx_px), np.float32(1e-3))
        lod = np.log2(footprint) - np.float32(0.25) * np.log2(cosine_squared) + np.float32(lod_bias)
        u, v = rows[:, 4] + hits.a * rows[:, 6], rows[:, 5] + hits.b * rows[:, 7]
        albedo = texture_lookup(self._atlas, self._texture.take(hits.patch), u, v, lod)
        light = _remap(self._light, rows[:, 9] + hits.a * rows[:, 11], rows[:, 10] + hits.b * rows[:, 12])
        radiance = albedo * (light + rows[:, 8:9])
        radiance[hits.patch < 0] = 0
        return radiance, hits


def texture_lookup(
    atlas: TextureAtlas, texture: NDArray[np.int32], u: Floats32, v: Floats32, lod: Floats32
) -> Floats32:
    """Trilinear reflectance (n, 3) float32, linear, at texels u, v (n,) of level 0; `lod` (n,) is the mip level."""
    most = atlas.levels.take(texture) - 1
    lod = np.clip(lod, 0, most.astype(np.float32))
    level = np.minimum(lod.astype(np.int32), most - 1)
    blend = (lod - level)[:, None]
    width, height = (size.astype(np.float32).take(texture) for size in (atlas.width_px, atlas.height_px))
    u = u - np.floor(u / width) * width
    v = v - np.floor(v / height) * height
    fine = _atlas_lookup(atlas, texture, level, u, v)
    coarse = _atlas_lookup(atlas, texture, level + 1, u, v)
    coarse -= fine
    coarse *= blend
    coarse += fine
    return coarse


def _atlas_lookup(
    atlas: TextureAtlas, texture: NDArray[np.int32], level: NDArray[np.int32], u: Floats32, v: Floats32
) -> Floats32:
    shrink = np.exp2(-level.astype(np.float32))
    entry = texture * atlas.left_px.shape[1] + level
    x = atlas.left_px.ravel().take(entry).astype(np.float32) + u * shrink - np.float32(0.5)
    y = atlas.top_px.ravel().take(entry).astype(np.float32) + v * shrink - np.float32(0.5)
    value = _remap(atlas.image, x, y).astype(np.float32)
    value *= value
    value *= np.float32(1 / 255**2)
    return value


def _remap(image: NDArray[Sample], x: Floats32, y: Floats32) -> NDArray[Sample]:
    """Bilinear lookups at (n,) positions; rows of bounded width because OpenCV's coordinates are 16 bit."""
    count = len(x)
    rows = -(-count // _REMAP_WIDTH)
    maps = np.zeros((2, rows * _REMAP_WIDTH), np.float32)
    maps[0, :count], maps[1, :count] = x, y
    grid = maps.reshape(2, rows, _REMAP_WIDTH)
    found = np.empty((rows, _REMAP_WIDTH, 3), image.dtype)
    cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR, dst=found, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[:count]


# --- light -----------------------------------------------------------------------------------------------------------------


def bake_light(flat: Flat, rays_per_texel: int, seed: int) -> LightMap:
    """Irradiance on every patch from lamps, windows and the other surfaces."""
    patches = flat.patches
    lengths = np.stack([np.linalg.norm(patches.edge_u, axis=1), np.linalg.norm(patches.edge_v, axis=1)], axis=1)
    size = np.clip(np.ceil(lengths * _LIGHT_TEXELS_PER_M).astype(np.int32) + 1, 2, 80)
    corner, height = _pack_rows(size)
    patch, column, row = _texels(size)
    point, normal = _texel_points(patches, size, patch, column, row)
    caster = RayCaster(patches)
    light = _lamp_light(flat, caster, point, normal)
    gathered = _gathered_light(
        flat, caster, patch=patch, point=point, normal=normal, direct=light, rays=rays_per_texel, seed=seed
    )
    image = np.zeros((height, _LIGHT_ATLAS_WIDTH, 3), np.float32)
    image[corner[patch, 1] + row, corner[patch, 0] + column] = gathered
    _smooth_inside(image, corner, size)
    image[corner[patch, 1] + row, corner[patch, 0] + column] += light
    return LightMap(image, corner, size)


def _smooth_inside(image: Floats32, corner: NDArray[np.int32], size: NDArray[np.int32]) -> None:
    """Takes the noise of few rays out of the larger patches, in place; gathered light is smooth anyway."""
    for (x, y), (w, h) in zip(corner.tolist(), size.tolist(), strict=True):
        if min(w, h) >= 3:
            part = image[y : y + h, x : x + w]
            part[:] = cv2.GaussianBlur(part, (0, 0), 1.3, borderType=cv2.BORDER_REPLICATE)


def _pack_rows(size: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    corner = np.zeros_like(size)
    x = y = shelf = 0
    for i in np.argsort(-size[:, 1], kind="stable"):
        w, h = int(size[i, 0]), int(size[i, 1])
        if x + w > _LIGHT_ATLAS_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        corner[i] = (x, y)
        x, shelf = x + w, max(shelf, h)
    return corner, y + shelf


def _texels(size: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Patch, column and row of every light texel."""
    count = size.prod(axis=1)
    patch = np.repeat(np.arange(len(size), dtype=np.int32), count)
    within = np.arange(len(patch)) - np.repeat(np.cumsum(count) - count, count)
    return patch, (within % size[patch, 0]).astype(np.int32), (within // size[patch, 0]).astype(np.int32)


def _texel_points(
    patches: Patches,
    size: NDArray[np.int32],
    patch: NDArray[np.int32],
    column: NDArray[np.int32],
    row: NDArray[np.int32],
) -> tuple[Floats32, Floats32]:
    """Points a little in front of the texels, and the normals there. Border texels are moved inwards, off the corners."""
    inset_u = 0.01 / np.maximum(np.linalg.norm(patches.edge_u, axis=1)[patch], 0.03)
    inset_v = 0.01 / np.maximum(np.linalg.norm(patches.edge_v, axis=1)[patch], 0.03)
    a = np.clip(column / (size[patch, 0] - 1), inset_u, 1 - inset_u)[:, None]
    b = np.clip(row / (size[patch, 1] - 1), inset_v, 1 - inset_v)[:, None]
    normal = patches.normals()[patch]
    point = patches.origin[patch] + a * patches.edge_u[patch] + b * patches.edge_v[patch] + 0.002 * normal
    return point.astype(np.float32), normal.astype(np.float32)


def _lamp_light(flat: Flat, caster: RayCaster, point: Floats32, normal: Floats32) -> Floats32:
    total = np.zeros_like(point)
    for lamp in flat.lamps:
        for dx, dy in ((-0.12, -0.12), (0.12, -0.12), (-0.12, 0.12), (0.12, 0.12)):
            # Just below the lamp's body, so that the body does not shade the room.
            source = np.array(lamp.position_m, np.float32) + np.array([dx, dy, 0.0], np.float32)
            to_lamp = source - point
            squared = np.einsum("ij,ij->i", to_lamp, to_lamp)
            cosine = np.einsum("ij,ij->i", to_lamp, normal) / np.sqrt(squared)
            near = np.flatnonzero((cosine > 0) & (squared < 49))
            hits = caster.cast(point[near], to_lamp[near])
            free = near[(hits.patch < 0) | (hits.t > 0.999)]
            strength = (cosine[free] / np.maximum(squared[free], 0.05))[:, None]
            total[free] += strength * np.array(lamp.intensity, np.float32) / 4
    return total


def _gathered_light(
    flat: Flat,
    caster: RayCaster,
    *,
    patch: NDArray[np.int32],
    point: Floats32,
    normal: Floats32,
    direct: Floats32,
    rays: int,
    seed: int,
) -> Floats32:
    """Light from what the texels see over cosine-weighted directions; two passes give two bounces."""
    rng = np.random.default_rng([seed, 3])
    albedo = flat.atlas.mean[flat.patches.texture]
    # Lamps are left out: `_lamp_light` has them already, and rays that chance on them would speckle the walls.
    shines = flat.patches.emission * (flat.patches.texture != flat.atlas.index("lamp"))
    emission = albedo * shines[:, None]
    tangent = np.cross(
        normal, np.where(np.abs(normal[:, :1]) > 0.8, np.array([0, 1, 0], np.float32), np.array([1, 0, 0], np.float32))
    )
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bitangent = np.cross(normal, tangent)
    turn = rng.uniform(0, 2 * np.pi, len(point)).astype(np.float32)
    seen = np.empty((rays, len(point)), np.int32)
    for k in range(rays):
        radius = np.sqrt((k + 0.5) / rays)
        angle = turn + np.float32(k * 2.399963)  # the golden angle spreads the directions evenly
        x, y = (radius * np.cos(angle))[:, None], (radius * np.sin(angle))[:, None]
        direction = x * tangent + y * bitangent + np.float32(np.sqrt(1 - radius**2)) * normal
        seen[k] = caster.cast(point, direction.astype(np.float32)).patch
    count = np.maximum(np.bincount(patch, minlength=len(albedo)), 1)[:, None]
    gathered = np.zeros_like(direct)
    for _ in range(2):
        total = direct + gathered
        mean = np.stack([np.bincount(patch, total[:, c], len(albedo)) for c in range(3)], axis=1) / count
        leaving = np.concatenate([(emission + albedo * mean), np.zeros((1, 3))]).astype(np.float32)
        gathered = np.zeros_like(direct)
        for k in range(rays):
            gathered += leaving[seen[k]]
        gathered /= np.float32(rays)
    return gathered
