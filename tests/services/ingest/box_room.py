"""A box room with exact depth and a procedural texture, seen by a hand-held camera; and captures made of it."""

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LOW_M = np.array([-3.0, -1.4, -2.5])
HIGH_M = np.array([3.2, 1.2, 2.6])
ARKIT_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class View:
    width_px: int
    height_px: int
    focal_px: float

    @property
    def k(self) -> FloatArray:
        return np.array(
            [[self.focal_px, 0, self.width_px / 2], [0, self.focal_px, self.height_px / 2], [0, 0, 1]], dtype=np.float64
        )


DEPTH_VIEW = View(64, 48, 48.0)


def rotation(axis: tuple[float, float, float], angle_rad: float) -> FloatArray:
    return np.asarray(cv2.Rodrigues(np.array(axis, dtype=np.float64) * angle_rad)[0], dtype=np.float64)


def upright(yaw_rad: float, pitch_rad: float = 0.0, roll_rad: float = 0.0) -> FloatArray:
    """world_from_camera rotation with OpenCV axes in a world with +y up; yaw 0 looks along -z."""
    base = np.diag([1.0, -1.0, -1.0])
    return rotation((0, 1, 0), yaw_rad) @ base @ rotation((1, 0, 0), pitch_rad) @ rotation((0, 0, 1), roll_rad)


def handheld(
    frames: int, *, seed: int = 0, yaw_range_rad: float = 0.5, roll_rad: float = 0.0, shake_rad: float = 0.02
) -> FloatArray:
    """(n, 4, 4) world_from_camera with OpenCV axes: a slow sweep with a walk and some shake, 10 frames a second."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    phase = np.linspace(0, 2 * np.pi, frames)
    shake = rng.normal(0, shake_rad, (frames, 3))
    for i in range(frames):
        yaw = yaw_range_rad * np.sin(phase[i]) + shake[i, 0]
        poses[i, :3, :3] = upright(yaw, 0.1 * np.sin(2 * phase[i]) + shake[i, 1], roll_rad + shake[i, 2])
        poses[i, :3, 3] = (0.3 * np.sin(phase[i]), 0.05 * np.cos(3 * phase[i]), 0.4 * np.cos(phase[i]))
    return poses


def rays(view: View) -> FloatArray:
    """(h, w, 3) directions with z = 1 in OpenCV axes through pixel centres."""
    v, u = np.mgrid[0 : view.height_px, 0 : view.width_px] + 0.5
    centre_x, centre_y = view.width_px / 2, view.height_px / 2
    return np.stack([(u - centre_x) / view.focal_px, (v - centre_y) / view.focal_px, np.ones_like(u)], axis=-1)


def hits(world_from_camera: FloatArray, view: View) -> tuple[FloatArray, FloatArray]:
    """Depth along z in metres (h, w), and points in the world (h, w, 3)."""
    directions = rays(view) @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    with np.errstate(divide="ignore"):
        distances = np.maximum((LOW_M - origin) / directions, (HIGH_M - origin) / directions)
    depth_m = distances.min(axis=-1)
    return depth_m, origin + directions * depth_m[..., None]


def depth_mm(
    world_from_camera: FloatArray, view: View, rng: np.random.Generator | None = None
) -> npt.NDArray[np.uint16]:
    """Depth as the phone writes it; with `rng`, 1 % noise and 5 % holes."""
    depth_m, _ = hits(world_from_camera, view)
    if rng is not None:
        depth_m = depth_m * (1 + rng.normal(0, 0.01, depth_m.shape)) * (rng.random(depth_m.shape) > 0.05)
    return np.rint(depth_m * 1000).astype(np.uint16)


def picture(world_from_camera: FloatArray, view: View) -> npt.NDArray[np.uint8]:
    """(h, w, 3) RGB of walls with an aperiodic pattern."""
    _, points = hits(world_from_camera, view)
    x, y, z = np.moveaxis(points, -1, 0)
    waves = [np.sin(3.1 * x + 1.7 * y + 0.3), np.sin(4.3 * y - 2.9 * z), np.sin(5.3 * z + 2.2 * x + 1.1 * y)]
    fine = np.sin(9.7 * x + 1) * np.sin(11.3 * y + 2) * np.sin(10.1 * z + 0.5)
    return np.stack([np.clip(128 + 60 * wave + 50 * fine, 0, 255) for wave in waves], axis=-1).astype(np.uint8)


def quaternion_xyzw(matrix: FloatArray) -> FloatArray:
    """Of a (3, 3) rotation, by its rotation vector."""
    vector = cv2.Rodrigues(np.asarray(matrix, dtype=np.float64))[0].ravel()
    angle = float(np.linalg.norm(vector))
    axis = vector / angle if angle > 0 else np.zeros(3)
    return np.array([*(axis * np.sin(angle / 2)), np.cos(angle / 2)])


def odometry_csv(poses: FloatArray, axes: str, *, fps: float = 60.0, padded: bool = True) -> bytes:
    """odometry.csv of OpenCV poses, written with the given camera axes."""
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    for i, each in enumerate(poses):
        written = each @ ARKIT_FROM_OPENCV if axes == "arkit" else each
        numbers = [*written[:3, 3], *quaternion_xyzw(written[:3, :3])]
        frame = f"{i:06d}" if padded else str(i)
        lines.append(f"{1000 + i / fps:.6f}, {frame}, " + ", ".join(f"{number:.9f}" for number in numbers))
    return ("\n".join(lines) + "\n").encode()


def camera_csv(view: View) -> bytes:
    return "\n".join(", ".join(f"{value:.4f}" for value in row) for row in view.k).encode()


def png(array: npt.NDArray[np.generic]) -> bytes:
    rows = array[..., ::-1] if array.ndim == 3 else array
    return bytes(cv2.imencode(".png", np.ascontiguousarray(rows))[1].tobytes())


def encode_video(
    path: Path,
    frames: list[npt.NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    fps: int = 60,
    options: dict[str, str] | None = None,
    matrix: int | None = None,
    full_range: bool = False,
) -> None:
    """Write RGB frames; `matrix` and the range are applied to the values and tagged."""
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.options = {**quiet, **(options or {})}
        colour: dict[str, int] = {"dst_color_range": 2 if full_range else 1}
        if matrix is not None:
            stream.codec_context.colorspace = matrix
            colour["dst_colorspace"] = matrix
        stream.codec_context.color_range = colour["dst_color_range"]
        for array in frames:
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pixel_format, **colour)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def zip_bytes(files: dict[str, bytes]) -> BytesIO:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    buffer.seek(0)
    return buffer
