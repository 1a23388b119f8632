"""Textured rectangles, rendered by casting a ray per pixel: pictures and depth that are exact to rounding.

Rooms are empty and their textures random, so that every wall can be matched; poses, depth and the pinhole
projection are known exactly. The canonical capture written here is what `ingest` would have made of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from contracts.captures import (
    MANIFEST_NAME,
    TRAJECTORY_NAME,
    CapturedFrame,
    CaptureManifest,
    CaptureSource,
    ConventionEvidence,
    Intrinsics,
    Pose,
)

TEXTURE_PX_PER_M = 300


@dataclass(frozen=True)
class Rectangle:
    """`origin_m` + s `edge_u_m` + t `edge_v_m`, for s and t in 0..1."""

    origin_m: NDArray[np.float64]
    edge_u_m: NDArray[np.float64]
    edge_v_m: NDArray[np.float64]
    texture: NDArray[np.uint8]


@dataclass(frozen=True)
class Pinhole:
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        return np.array([[self.fx_px, 0, self.cx_px], [0, self.fy_px, self.cy_px], [0, 0, 1.0]])


def random_texture(width_m: float, height_m: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour noise of several octaves with random discs and bars over it; (h, w, 3) uint8."""
    width, height = (max(8, round(side * TEXTURE_PX_PER_M)) for side in (width_m, height_m))
    texture = np.zeros((height, width, 3), np.float32)
    for cells_per_m, weight in ((1, 60), (4, 50), (16, 45), (60, 35)):
        cells = (max(2, round(height_m * cells_per_m)), max(2, round(width_m * cells_per_m)), 3)
        noise = rng.uniform(-1, 1, cells).astype(np.float32)
        texture += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    texture = np.ascontiguousarray(texture + 128)
    for _ in range(round(12 * width_m * height_m)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        colour = tuple(float(value) for value in rng.uniform(0, 255, 3))
        cv2.circle(texture, centre, int(rng.integers(4, 30)), colour, -1, cv2.LINE_AA)
    return np.clip(texture, 0, 255).astype(np.uint8)


def rectangle(
    origin_m: Sequence[float], edge_u_m: Sequence[float], edge_v_m: Sequence[float], rng: np.random.Generator
) -> Rectangle:
    u, v = np.asarray(edge_u_m, float), np.asarray(edge_v_m, float)
    texture = random_texture(float(np.linalg.norm(u)), float(np.linalg.norm(v)), rng)
    return Rectangle(np.asarray(origin_m, float), u, v, texture)


def box_room(size_m: Sequence[float] = (5.0, 2.6, 4.0), seed: int = 0) -> list[Rectangle]:
    """Four walls, floor and ceiling around x in 0..sx, y in 0..sy (up), z in 0..sz."""
    rng = np.random.default_rng(seed)
    sx, sy, sz = size_m
    return [
        rectangle((0, 0, 0), (sx, 0, 0), (0, sy, 0), rng),
        rectangle((0, 0, sz), (sx, 0, 0), (0, sy, 0), rng),
        rectangle((0, 0, 0), (0, 0, sz), (0, sy, 0), rng),
        rectangle((sx, 0, 0), (0, 0, sz), (0, sy, 0), rng),
        rectangle((0, 0, 0), (sx, 0, 0), (0, 0, sz), rng),
        rectangle((0, sy, 0), (sx, 0, 0), (0, 0, sz), rng),
    ]


def looking(position_m: Sequence[float], target_m: Sequence[float]) -> NDArray[np.float64]:
    """`world_from_camera` (4, 4): x right, y down, z towards the target; +y of the world is up."""
    position = np.asarray(position_m, float)
    forward = np.asarray(target_m, float) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    world_from_camera[:3, 3] = position
    return world_from_camera


def cast(
    scene: Sequence[Rectangle], camera: Pinhole, world_from_camera: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """One ray through every pixel centre: RGB (h, w, 3) uint8 and depth along z (h, w) in metres, 0 = nothing."""
    u, v = np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5)
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones_like(u)], axis=-1)
    directions = rays @ world_from_camera[:3, :3].T
    depth = np.full(u.shape, np.inf)
    colours = np.zeros((*u.shape, 3), np.uint8)
    for face in scene:
        # Solve origin + s*edge_u + t*edge_v = centre + z*direction for (s, t, z).
        normal = np.cross(face.edge_u_m, face.edge_v_m)
        offset = face.origin_m - world_from_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (offset @ normal) / (directions @ normal)
            on_plane = z[..., None] * directions - offset
            s = on_plane @ face.edge_u_m / (face.edge_u_m @ face.edge_u_m)
            t = on_plane @ face.edge_v_m / (face.edge_v_m @ face.edge_v_m)
            hit = (z > 0) & (z < depth) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
        if not hit.any():
            continue
        height, width = face.texture.shape[:2]
        map_x = np.where(hit, s * width - 0.5, 0).astype(np.float32)
        map_y = np.where(hit, t * height - 0.5, 0).astype(np.float32)
        colours[hit] = cv2.remap(face.texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[hit]
        depth[hit] = z[hit]
    return colours, np.where(np.isfinite(depth), depth, 0.0)


def scaled(camera: Pinhole, width_px: int, height_px: int) -> Pinhole:
    """The same camera with another number of pixels."""
    sx, sy = width_px / camera.width_px, height_px / camera.height_px
    return Pinhole(width_px, height_px, camera.fx_px * sx, camera.fy_px * sy, camera.cx_px * sx, camera.cy_px * sy)


def picture(scene: Sequence[Rectangle], camera: Pinhole, world_from_camera: NDArray[np.float64]) -> NDArray[np.uint8]:
    """RGB with four rays a pixel."""
    fine, _ = cast(scene, scaled(camera, 2 * camera.width_px, 2 * camera.height_px), world_from_camera)
    small = cv2.resize(fine, (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def write_capture(
    folder: Path,
    scene: Sequence[Rectangle],
    world_from_cameras: Sequence[NDArray[np.float64]],
    cameras: Sequence[Pinhole],
    *,
    reported: Sequence[NDArray[np.float64]] | None = None,
    depth_size_px: tuple[int, int] | None = (256, 192),
    draw_pictures: bool = True,
) -> CaptureManifest:
    """A canonical capture folder. `reported` are the poses the phone would give, if they differ from the truth."""
    for name in ("matching", "depth", "confidence"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    frames = []
    for index, (truth, camera) in enumerate(zip(world_from_cameras, cameras, strict=True)):
        name = f"{index + 1:06d}.png"
        if draw_pictures:
            cv2.imwrite(str(folder / "matching" / name), picture(scene, camera, truth)[..., ::-1])
        if depth_size_px is not None:
            _, depth_m = cast(scene, scaled(camera, *depth_size_px), truth)
            cv2.imwrite(str(folder / "depth" / name), np.round(depth_m * 1000).astype(np.uint16))
            cv2.imwrite(str(folder / "confidence" / name), np.full(depth_m.shape, 2, np.uint8))
        pose = truth if reported is None else reported[index]
        frames.append(_frame(name, index, pose, camera, has_depth=depth_size_px is not None))
    manifest = CaptureManifest(
        source=CaptureSource(
            kind="images",
            codec="png",
            width_px=cameras[0].width_px,
            height_px=cameras[0].height_px,
            bit_depth=8,
            native_fps=60,
            frames_found=len(frames),
            frames_expected=len(frames),
        ),
        frames=tuple(frames),
        delivered_folder="matching",
        delivered_bit_depth=8,
        input_colorspace=None,
        output_colorspace=None,
        convention=ConventionEvidence(axes="opencv", decided_by="default"),
        confidence_scale="0-2",
        depth_width_px=None if depth_size_px is None else depth_size_px[0],
        depth_height_px=None if depth_size_px is None else depth_size_px[1],
    )
    poses = np.stack(list(world_from_cameras if reported is None else reported))
    np.savez(
        folder / TRAJECTORY_NAME,
        timestamps_s=np.array([frame.timestamp_s for frame in frames]),
        world_from_camera=poses,
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return manifest


def _frame(
    name: str, index: int, world_from_camera: NDArray[np.float64], camera: Pinhole, *, has_depth: bool
) -> CapturedFrame:
    x, y, z, w = Rotation.from_matrix(world_from_camera[:3, :3]).as_quat()
    px, py, pz = world_from_camera[:3, 3]
    return CapturedFrame(
        name=name,
        source_index=index,
        timestamp_s=index * 0.2,
        pose=Pose(quaternion_xyzw=(x, y, z, w), position_m=(px, py, pz)),
        intrinsics=Intrinsics(fx_px=camera.fx_px, fy_px=camera.fy_px, cx_px=camera.cx_px, cy_px=camera.cy_px),
        has_depth=has_depth,
        sharpness=100.0,
    )
