"""Two rooms with a doorway, walked through with a phone, as an exact COLMAP database and a canonical capture folder.

Nothing is rendered: landmarks lie on walls and boxes, keypoints are their projections with pixel noise, matches are
shared landmarks plus wrong ones, depth maps are ray casts. Truth is known to machine precision.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from contracts.captures import CapturedFrame, CaptureManifest, CaptureSource, ConventionEvidence, Intrinsics, Pose

Floats = NDArray[np.float64]
WIDTH, HEIGHT, FOCAL = 640, 480, 480.0
SIZE = np.array([8.0, 2.6, 4.0])  # x: two rooms of 4 m, y: up, z: depth
DOOR_Z, DOOR_HEIGHT = (1.5, 2.5), 2.1


@dataclass(frozen=True)
class Walk:
    """`frames` pictures at `fps`, truth and phone track at 60 Hz. Everything random comes from `seed`."""

    frames: int = 40
    fps: float = 4.0
    landmarks: int = 3000
    noise_px: float = 0.5
    outlier_share: float = 0.05
    delay_s: float = 0.03
    track_scale: float = 1.0
    drift_m: float = 0.03
    drift_deg: float = 1.0
    jitter_m: float = 0.002
    tilt_deg: float = 0.0
    camera_model: str = "PINHOLE"
    distortion: float = 0.0
    depth_noise_m: float = 0.01
    depth_scale: float = 1.0
    silent_frames: tuple[int, ...] = ()
    cut_before: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Truth:
    world_from_camera: Floats
    times_s: Floats


def true_path(walk: Walk) -> tuple[Floats, Floats]:
    """Times (n,) and world_from_camera (n, 4, 4) at 60 Hz of a walk from one room through the door into the other."""
    rng = np.random.default_rng(walk.seed)
    duration = (walk.frames - 1) / walk.fps
    times = np.arange(-0.5, duration + 0.5, 1 / 60)
    u = times / duration
    x = 4.0 - 2.6 * np.cos(np.pi * u)
    z = 2.0 + 0.8 * np.sin(4 * np.pi * u) * np.cos(np.pi * u) ** 2
    y = 1.45 + 0.06 * np.sin(9 * u + rng.uniform(0, 6))
    yaw = np.deg2rad(90 - 80 * np.sin(3 * np.pi * u) + 8 * np.sin(31 * u))
    pitch = np.deg2rad(-8 + 6 * np.sin(17 * u + 1))
    roll = np.deg2rad(4 * np.sin(13 * u))
    base = np.diag([-1.0, -1.0, 1.0])  # camera looking along +z of the world, its y down
    turn = Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], 1)).as_matrix() @ base
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    poses[:, :3, :3] = turn
    poses[:, :3, 3] = np.stack([x, y, z], 1)
    return times, poses


def at_times(times: Floats, poses: Floats, wanted: Floats) -> Floats:
    out = np.tile(np.eye(4), (len(wanted), 1, 1))
    out[:, :3, :3] = Slerp(times, Rotation.from_matrix(poses[:, :3, :3]))(wanted).as_matrix()
    out[:, :3, 3] = np.stack([np.interp(wanted, times, poses[:, k, 3]) for k in range(3)], 1)
    return out


def phone_track(walk: Walk, times: Floats, poses: Floats) -> Floats:
    """The truth in another yaw and origin, scaled, with smooth drift and jitter."""
    rng = np.random.default_rng(walk.seed + 100)
    u = (times - times[0]) / (times[-1] - times[0])
    wave = np.stack([np.sin(2.2 * u + a) - np.sin(a) for a in rng.uniform(0, 6, 3)], 1)
    yaw = np.deg2rad(walk.drift_deg) * (np.sin(2.5 * u + 1) - np.sin(1)) + 0.7
    tilt = Rotation.from_euler("XZ", [np.deg2rad(walk.tilt_deg), 0]).as_matrix()
    turn = Rotation.from_rotvec(yaw[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix() @ tilt
    out = poses.copy()
    out[:, :3, :3] = turn @ poses[:, :3, :3]
    centre = poses[:, :3, 3] - poses[0, :3, 3]
    out[:, :3, 3] = np.einsum("nij,nj->ni", turn, centre) * walk.track_scale + walk.drift_m * wave
    out[:, :3, 3] += rng.normal(0, walk.jitter_m, centre.shape)
    return out


def _faces() -> list[tuple[int, float]]:
    return [(0, 0.0), (0, SIZE[0]), (1, 0.0), (1, SIZE[1]), (2, 0.0), (2, SIZE[2]), (0, SIZE[0] / 2)]


def _in_door(points: Floats) -> NDArray[np.bool_]:
    return (points[..., 2] > DOOR_Z[0]) & (points[..., 2] < DOOR_Z[1]) & (points[..., 1] < DOOR_HEIGHT)


def make_landmarks(walk: Walk) -> Floats:
    rng = np.random.default_rng(walk.seed + 200)
    points = rng.uniform(0, 1, (walk.landmarks, 3)) * SIZE
    face = rng.choice(7, walk.landmarks, p=[0.08, 0.08, 0.16, 0.08, 0.2, 0.2, 0.2])
    for index, (axis, value) in enumerate(_faces()):
        points[face == index, axis] = value
    return np.asarray(points[~((face == 6) & _in_door(points))])


def hidden(eye: Floats, points: Floats) -> NDArray[np.bool_]:
    """True where the wall between the rooms is in the way."""
    middle = SIZE[0] / 2
    step = points[..., 0] - eye[0]
    share = np.where(np.abs(step) > 1e-9, (middle - eye[0]) / np.where(np.abs(step) > 1e-9, step, 1), -1.0)
    crossing = eye + share[..., None] * (points - eye)
    return np.asarray((share > 1e-6) & (share < 1 - 1e-6) & ~_in_door(crossing))


def cast_depth(pose: Floats) -> Floats:
    """Depth (192, 256) in metres along the camera's z, of walls, floor, ceiling and the wall with the door."""
    v, u = np.mgrid[0:192, 0:256] + 0.5
    focal = FOCAL * 256 / WIDTH
    rays = np.stack([(u - 128) / focal, (v - 96) / focal, np.ones_like(u)], -1) @ pose[:3, :3].T
    depth = np.full(u.shape, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for index, (axis, value) in enumerate(_faces()):
            t = (value - pose[axis, 3]) / rays[..., axis]
            t = np.where(t > 1e-3, t, np.inf)
            if index == 6:
                t = np.where(_in_door(pose[:3, 3] + t[..., None] * rays), np.inf, t)
            depth = np.minimum(depth, t)
    return depth


def make_camera(model: str, camera_id: int = 1) -> pycolmap.Camera:
    camera = pycolmap.Camera.create_from_model_name(camera_id, model, FOCAL, WIDTH, HEIGHT)
    camera.has_prior_focal_length = True
    if model == "OPENCV_FISHEYE":
        camera.params = [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, 1 / 3, 2 / 15, 17 / 315, 62 / 2835]
    return camera


def distorted(camera: pycolmap.Camera, first_coefficient: float) -> Floats:
    """The camera's parameters with `first_coefficient` added to the first distortion coefficient, if it has any."""
    params = np.array(camera.params, dtype=np.float64)
    params[list(camera.extra_params_idxs())[:1]] += first_coefficient
    return params


def make_scene(walk: Walk, folder: Path) -> tuple[Path, Path, Truth]:
    """Write a database and a capture folder under `folder`; returns their paths and the truth."""
    times, poses = true_path(walk)
    stamps = np.arange(walk.frames) / walk.fps
    picture_poses = at_times(times, poses, stamps - walk.delay_s)
    capture = folder / "capture"
    _write_capture(walk, capture, times, phone_track(walk, times, poses), stamps, picture_poses)
    database = folder / "database.db"
    _write_database(walk, database, picture_poses)
    return database, capture, Truth(picture_poses, stamps)


def _write_database(walk: Walk, path: Path, poses: Floats) -> None:
    rng = np.random.default_rng(walk.seed + 300)
    landmarks = make_landmarks(walk)
    camera = make_camera(walk.camera_model)
    with pycolmap.Database.open(path) as db:
        camera_id = db.write_camera(camera)
        rig = pycolmap.Rig()
        rig.add_ref_sensor(camera.sensor_id)
        rig_id = db.write_rig(rig)
        seen: list[dict[int, int]] = []
        ids: list[int] = []
        real = make_camera(walk.camera_model)
        real.params = distorted(real, walk.distortion).tolist()
        for index, pose in enumerate(poses):
            keypoints, which = _observe(walk, rng, real, landmarks, pose, index)
            seen.append({int(k): n for n, k in enumerate(which)})
            image = pycolmap.Image(name=f"{index + 1:06d}.png", camera_id=camera_id)
            image.image_id = db.write_image(image)
            ids.append(image.image_id)
            frame = pycolmap.Frame()
            frame.rig_id = rig_id
            frame.add_data_id(image.data_id)
            db.write_frame(frame)
            db.write_keypoints(image.image_id, keypoints.astype(np.float32))
        names = _write_matches(walk, rng, db, ids, seen)
        pairs = path.with_suffix(".pairs.txt")
        pairs.write_text("\n".join(names))
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = 0
    pycolmap.verify_matches(path, pairs, options=options)


def _observe(  # noqa: PLR0917
    walk: Walk, rng: np.random.Generator, camera: pycolmap.Camera, landmarks: Floats, pose: Floats, index: int
) -> tuple[Floats, NDArray[np.int64]]:
    local = (landmarks - pose[:3, 3]) @ pose[:3, :3]
    good = (local[:, 2] > 0.3) & (np.linalg.norm(local, axis=1) < 6) & ~hidden(pose[:3, 3], landmarks)
    which = np.flatnonzero(good)
    pixels = np.array([camera.img_from_cam(point) for point in local[which]]).reshape(-1, 2)
    inside = (pixels > 2).all(1) & (pixels < [WIDTH - 2, HEIGHT - 2]).all(1)
    which, pixels = which[inside], pixels[inside]
    keep = rng.uniform(size=len(which)) < 0.8
    which, pixels = which[keep], pixels[keep] + rng.normal(0, walk.noise_px, (int(keep.sum()), 2))
    if index in walk.silent_frames:
        which, pixels = which[:3], pixels[:3]
    return pixels, which


def _write_matches(
    walk: Walk, rng: np.random.Generator, db: pycolmap.Database, ids: list[int], seen: list[dict[int, int]]
) -> list[str]:
    names: list[str] = []
    for a in range(len(ids)):
        for b in range(a + 1, len(ids)):
            if walk.cut_before is not None and a < walk.cut_before <= b:
                continue
            shared = sorted(seen[a].keys() & seen[b].keys())
            if len(shared) < 15:
                continue
            matches = np.array([(seen[a][k], seen[b][k]) for k in shared], dtype=np.uint32)
            wrong = rng.uniform(size=len(matches)) < walk.outlier_share
            matches[wrong, 1] = rng.permutation(matches[wrong, 1])
            db.write_matches(ids[a], ids[b], matches)
            names.append(f"{a + 1:06d}.png {b + 1:06d}.png")
    return names


def _write_capture(  # noqa: PLR0917
    walk: Walk, folder: Path, times: Floats, track: Floats, stamps: Floats, picture_poses: Floats
) -> None:
    rng = np.random.default_rng(walk.seed + 400)
    (folder / "depth").mkdir(parents=True)
    (folder / "confidence").mkdir()
    np.savez(folder / "trajectory.npz", timestamps_s=times, world_from_camera=track)
    reported = at_times(times, track, stamps)
    frames = []
    for index, pose in enumerate(reported):
        name = f"{index + 1:06d}.png"
        depth = cast_depth(picture_poses[index]) * walk.depth_scale
        depth = np.where(depth < 5, depth + rng.normal(0, walk.depth_noise_m, depth.shape), 0)
        cv2.imwrite(str(folder / "depth" / name), np.round(depth * 1000).astype(np.uint16))
        cv2.imwrite(str(folder / "confidence" / name), np.full(depth.shape, 2, np.uint8))
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        frames.append(
            CapturedFrame(
                name=name,
                source_index=index,
                timestamp_s=float(stamps[index]),
                pose=Pose(quaternion_xyzw=(x, y, z, w), position_m=tuple(pose[:3, 3])),
                intrinsics=Intrinsics(fx_px=FOCAL, fy_px=FOCAL, cx_px=WIDTH / 2, cy_px=HEIGHT / 2),
                has_depth=True,
                sharpness=1.0,
            )
        )
    manifest = CaptureManifest(
        source=CaptureSource(
            kind="images", codec="png", width_px=WIDTH, height_px=HEIGHT, bit_depth=8, native_fps=60.0,
            frames_found=walk.frames, frames_expected=walk.frames,
        ),
        frames=tuple(frames), delivered_folder="matching", delivered_bit_depth=8, input_colorspace=None,
        output_colorspace=None, convention=ConventionEvidence(axes="opencv", decided_by="depth"),
        confidence_scale="0-2", depth_width_px=256, depth_height_px=192,
    )  # fmt: skip
    (folder / "capture.json").write_text(manifest.model_dump_json())
