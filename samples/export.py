"""Capture ZIPs in the forms that Stray Scanner and ReScan write.

Stray Scanner: files at the root, padded frame ids, camera-to-world with OpenCV camera axes, intrinsics per frame,
confidence 0, 1, 2. ReScan: one folder, plain frame ids, raw ARKit camera axes (y up, z backwards), confidence 0, 127, 255.
"""

import uuid
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from samples.render import Camera
from samples.surfaces import Floats
from samples.truth import CaptureTruth

Convention = Literal["stray", "rescan"]
Transfer = Literal["rec709", "apple_log"]
Codec = Literal["libx264", "libx265", "prores_ks"]

_ARKIT_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_ZIP_TIME = (2026, 1, 1, 12, 0, 0)
_CONFIDENCE: Mapping[Convention, tuple[int, int, int]] = {"stray": (0, 1, 2), "rescan": (0, 127, 255)}


@dataclass(frozen=True)
class ExportForm:
    """Which app's form, and how its video is coded."""

    convention: Convention
    codec: Codec
    transfer: Transfer
    width_px: int
    height_px: int
    fps: float

    @property
    def video_name(self) -> str:
        return "rgb.mov" if self.codec == "prores_ks" else "rgb.mp4"

    def folder(self, seed: int) -> str:
        """The folder inside the ZIP, with a slash at its end; nothing for the root."""
        if self.convention == "stray":
            return ""
        identity = uuid.UUID(bytes=np.random.default_rng([seed, 10]).bytes(16), version=4)
        return f"remap_zip_{str(identity).upper()}/"


class Export:
    """One ZIP being written in `scratch`; it appears at `path` when it is complete."""

    def __init__(self, form: ExportForm, path: Path, scratch: Path, seed: int) -> None:
        self._form = form
        self._folder = form.folder(seed)
        self._path = path
        self._video_path = scratch / f"{form.convention}_{form.video_name}"
        self._zip_path = scratch / path.name
        self._video = _Video(self._video_path, form)
        self._zip = zipfile.ZipFile(self._zip_path, "w", zipfile.ZIP_STORED)

    def add(
        self,
        index: int,
        pictures: Mapping[Transfer, NDArray[np.uint16]],
        depth_mm: NDArray[np.uint16],
        confidence: NDArray[np.uint8],
    ) -> None:
        """Frame `index`, in order: 16-bit RGB by transfer curve, millimetres, confidence 0..2."""
        self._video.add(pictures[self._form.transfer])
        levels = np.array(_CONFIDENCE[self._form.convention], np.uint8)
        self._write(f"depth/{index:06d}.png", _png(depth_mm))
        self._write(f"confidence/{index:06d}.png", _png(levels[confidence]))

    def finish(self, camera_matrix: str, odometry: str) -> None:
        """Writes the video and the tables and puts the ZIP in its place."""
        self._video.close()
        self._write("camera_matrix.csv", camera_matrix.encode())
        self._write("odometry.csv", odometry.encode())
        self._write(self._form.video_name, self._video_path.read_bytes())
        self._zip.close()
        self._zip_path.replace(self._path)

    def abandon(self) -> None:
        """Lets go of the files. Does nothing after `finish`."""
        self._video.close()
        self._zip.close()

    def _write(self, name: str, content: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(self._folder + name, _ZIP_TIME), content)


def camera_matrix_csv(camera: Camera) -> str:
    """Three rows of K, row by row, without a line break at the end."""
    rows = ((camera.fx_px, 0.0, camera.cx_px), (0.0, camera.fy_px, camera.cy_px), (0.0, 0.0, 1.0))
    return "\n".join(", ".join(f"{value:.6f}" for value in row) for row in rows)


def odometry_csv(truth: CaptureTruth, reported: Floats, convention: Convention) -> str:
    """odometry.csv of one app; `reported`: world_from_camera (n, 4, 4) with OpenCV camera axes."""
    poses = reported @ _ARKIT_FROM_OPENCV if convention == "rescan" else reported
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    header = "timestamp, frame, x, y, z, qx, qy, qz, qw"
    lines = [header + (", fx, fy, cx, cy, , " if convention == "stray" else "")]
    for k, frame in enumerate(truth.frames):
        values = [*poses[k, :3, 3], *quaternions[k]]
        number = f"{k:06d}" if convention == "stray" else str(k)
        line = ", ".join([f"{frame.timestamp_s:.6f}", number, *(f"{value:.7f}" for value in values)])
        if convention == "stray":
            line += f", {frame.fx_px:.4f}, {frame.fy_px:.4f}, {frame.cx_px:.4f}, {frame.cy_px:.4f}, , "
        lines.append(line)
    return "\n".join(lines) + "\n"


def _png(image: NDArray[np.uint16] | NDArray[np.uint8]) -> bytes:
    done, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert done
    return bytes(content)


class _Video:
    """A video file that grows by 16-bit RGB pictures."""

    _OPTIONS: dict[Codec, tuple[str, dict[str, str]]] = {  # noqa: RUF012 (a table)
        "libx264": ("yuv420p", {"crf": "16", "preset": "veryfast", "x264-params": "threads=1"}),
        "libx265": (
            "yuv420p",
            {"crf": "16", "preset": "ultrafast", "x265-params": "pools=1:frame-threads=1:log-level=error"},
        ),
        "prores_ks": ("yuv422p10le", {"profile": "3", "vendor": "apl0"}),
    }

    def __init__(self, path: Path, form: ExportForm) -> None:
        self._closed = False
        self._container = av.open(str(path), "w", format="mov" if path.suffix == ".mov" else "mp4")
        self._rate = Fraction(form.fps).limit_denominator(1000)
        pixel_format, options = self._OPTIONS[form.codec]
        self._stream = self._container.add_stream(form.codec, rate=self._rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = form.width_px, form.height_px, pixel_format
        # Code points of ITU-T H.273: 1 = Rec.709, 2 = not said (Apple Log has no number), 9 = Rec.2020; range 1 = video.
        context = self._stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = (
            (9, 2, 1) if form.transfer == "apple_log" else (1, 1, 1)
        )
        context.color_range = 1
        self._pixel_format = pixel_format
        self._count = 0

    def add(self, picture: NDArray[np.uint16]) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb48le")
        frame = frame.reformat(format=self._pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts = self._count
        frame.time_base = 1 / self._rate
        self._count += 1
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._mux(self._stream.encode(None))
        self._container.close()

    def _mux(self, packets: Iterable["av.Packet[av.VideoStream]"]) -> None:
        for packet in packets:
            self._container.mux(packet)
