"""A box room with a pillar, its depth and its pictures ray-cast exactly through any camera model."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from contracts.captures import CapturedFrame, CaptureManifest, CaptureSource, ConventionEvidence, Intrinsics, Pose

Floats = NDArray[np.float64]
ROOM = np.array([4.0, 2.6, 3.0])  # from the origin; y up
PILLAR = np.array([[1.8, 0.0, 1.4], [2.2, 2.0, 1.7]])
COLOURS = np.array(
    [[200, 40, 40], [40, 200, 40], [110, 80, 50], [240, 240, 235], [40, 40, 200], [200, 200, 40], [150, 30, 150]],
    np.uint8,
)  # x low, x high, floor, ceiling, z low, z high, pillar
WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Box:
    capture: Path
    sparse: Path
    manifest: CaptureManifest
    poses: Floats
    """world_from_camera (f, 4, 4)."""


def camera_of(model: str) -> pycolmap.Camera:
    """A camera with a visible distortion and a principal point off the middle."""
    params = {
        "PINHOLE": [470, 474, 322, 236],
        "SIMPLE_RADIAL": [470, 322, 236, -0.08],
        "OPENCV": [470, 474, 322, 236, -0.1, 0.03, 0.001, -0.002],
        "OPENCV_FISHEYE": [470, 474, 322, 236, 0.05, -0.01, 0.002, 0.0],
    }[model]
    return pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=params, camera_id=1)


def poses_of(frames: int) -> Floats:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for i, angle in enumerate(np.linspace(0, 2 * np.pi, frames, endpoint=False)):
        centre = np.array([2.0 + 1.2 * np.cos(angle), 1.4 + 0.05 * np.sin(5 * angle), 1.5 + 0.9 * np.sin(angle)])
        look = Rotation.from_euler("YXZ", [-angle - np.pi / 2 + 0.3, 0.15 * np.sin(3 * angle), 0.1]).as_matrix()
        poses[i, :3, :3] = look @ np.diag([-1.0, -1.0, 1.0])
        poses[i, :3, 3] = centre
    return poses


def cast(pose: Floats, camera: pycolmap.Camera, width: int, height: int) -> tuple[Floats, NDArray[np.int64]]:
    """Depth along z (h, w) in metres and the surface (h, w), an index into COLOURS."""
    v, u = np.mgrid[0:height, 0:width] + 0.5
    pixels = np.stack([u * WIDTH / width, v * HEIGHT / height], -1).reshape(-1, 2)
    rays = np.asarray(camera.cam_from_img(pixels)).reshape(height, width, 2)
    along = np.concatenate([rays, np.ones((height, width, 1))], -1) @ pose[:3, :3].T
    eye = pose[:3, 3]
    with np.errstate(divide="ignore"):
        walls = np.where(along > 0, (ROOM - eye) / along, (0 - eye) / along)
        low, high = (PILLAR[0] - eye) / along, (PILLAR[1] - eye) / along
    axis = walls.argmin(-1)
    depth = walls.min(-1)
    surface = 2 * axis + (np.take_along_axis(along, axis[..., None], -1)[..., 0] > 0)
    enter, leave = np.minimum(low, high).max(-1), np.maximum(low, high).min(-1)
    hit = (enter < leave) & (enter > 0) & (enter < depth)
    return np.where(hit, enter, depth), np.where(hit, 6, surface)


def distance_m(points: Floats) -> Floats:
    """Distance (n,) from the nearest surface of room or pillar."""
    walls = np.minimum(np.abs(points), np.abs(points - ROOM)).min(1)
    outside = np.maximum(np.maximum(PILLAR[0] - points, points - PILLAR[1]), 0)
    inside = np.minimum(points - PILLAR[0], PILLAR[1] - points).min(1)
    pillar = np.where(inside > 0, inside, np.linalg.norm(outside, axis=1))
    return np.minimum(walls, pillar)


def make_box(
    folder: Path,
    model: str = "PINHOLE",
    frames: int = 8,
    mixed_pixels: bool = False,
    unregistered: tuple[int, ...] = (),
) -> Box:
    """A canonical capture and its exact model. `mixed_pixels`: depth edges are smeared over both surfaces."""
    capture, sparse = folder / "capture", folder / "mapping" / "sparse" / "0"
    for part in (capture / "matching", capture / "depth", capture / "confidence", sparse):
        part.mkdir(parents=True)
    camera, poses = camera_of(model), poses_of(frames)
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(camera)
    described = []
    for i, pose in enumerate(poses):
        name = f"{i + 1:06d}.png"
        depth, _ = cast(pose, camera, 256, 192)
        if mixed_pixels:
            depth = cv2.blur(depth, (3, 3))
        _, surface = cast(pose, camera, WIDTH, HEIGHT)
        cv2.imwrite(str(capture / "depth" / name), np.rint(depth * 1000).astype(np.uint16))
        cv2.imwrite(str(capture / "confidence" / name), np.full((192, 256), 2, np.uint8))
        cv2.imwrite(str(capture / "matching" / name), np.ascontiguousarray(COLOURS[surface][..., ::-1]))
        if i not in unregistered:
            image = pycolmap.Image(name=name, camera_id=1, image_id=i + 1)
            reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(np.linalg.inv(pose)[:3]))
        described.append(_frame(i, name, pose))
    rng = np.random.default_rng(0)
    for point in rng.uniform(0, 1, (60, 3)) * ROOM:
        track = pycolmap.Track()
        reconstruction.add_point3D(point, track, np.array([10, 20, 30], np.uint8))
    reconstruction.write_binary(sparse)
    manifest = CaptureManifest(
        source=CaptureSource(
            kind="images", codec="png", width_px=WIDTH, height_px=HEIGHT, bit_depth=8, native_fps=5.0,
            frames_found=frames, frames_expected=frames,
        ),
        frames=tuple(described), delivered_folder="matching", delivered_bit_depth=8, input_colorspace=None,
        output_colorspace=None, convention=ConventionEvidence(axes="opencv", decided_by="depth", residual_m=0.004),
        confidence_scale="0-2", depth_width_px=256, depth_height_px=192, warnings=("ingest had a remark",),
    )  # fmt: skip
    (capture / "capture.json").write_text(manifest.model_dump_json())
    return Box(capture, sparse, manifest, poses)


def _frame(index: int, name: str, pose: Floats) -> CapturedFrame:
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    return CapturedFrame(
        name=name,
        source_index=index,
        timestamp_s=10 + 0.2 * index,
        pose=Pose(quaternion_xyzw=(x, y, z, w), position_m=(pose[0, 3], pose[1, 3], pose[2, 3])),
        intrinsics=Intrinsics(fx_px=470, fy_px=474, cx_px=322, cy_px=236),
        has_depth=True,
        sharpness=1.0,
    )
