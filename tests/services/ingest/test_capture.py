from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest

from contracts.capture_settings import CaptureSettings, Colorspace
from contracts.captures import MANIFEST_NAME, CaptureManifest
from contracts.errors import ErrorCode, UserError
from contracts.progress import Silence
from services.ingest.capture import build_capture
from tests.services.ingest import box_room
from tests.services.ingest.box_room import DEPTH_VIEW, FloatArray, View

VIEW = View(320, 240, 240.0)
POSES = box_room.handheld(48)
Axes = Literal["opencv", "arkit"]


@dataclass
class Listener(Silence):
    logs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    def log(self, message: str) -> None:
        self.logs.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.steps.append((done, total))


@pytest.fixture(scope="session")
def pictures() -> list[npt.NDArray[np.uint8]]:
    return [box_room.picture(each, VIEW) for each in POSES]


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, pictures: list[npt.NDArray[np.uint8]]) -> bytes:
    path = tmp_path_factory.mktemp("video") / "rgb.mp4"
    box_room.encode_video(path, pictures, fps=10, options={"crf": "10"}, matrix=1)
    return path.read_bytes()


def files(video: bytes, axes: Axes, poses: FloatArray = POSES) -> dict[str, bytes]:
    levels = {"opencv": (0, 1, 2), "arkit": (0, 127, 255)}[axes]
    confidence = np.array(levels, np.uint8)[np.mgrid[0:48, 0:64][1] // 16 % 3]
    capture = {
        "rgb.mp4": video,
        "camera_matrix.csv": box_room.camera_csv(VIEW),
        "odometry.csv": box_room.odometry_csv(poses, axes, fps=10.0, padded=axes == "opencv"),
    }
    for i, each in enumerate(poses):
        capture[f"depth/{i:06d}.png"] = box_room.png(box_room.depth_mm(each, DEPTH_VIEW))
        capture[f"confidence/{i:06d}.png"] = box_room.png(confidence)
    return capture


def build(
    tmp_path: Path, capture: dict[str, bytes], listener: Listener | None = None, **settings: object
) -> CaptureManifest:
    archive = tmp_path / "capture.zip"
    archive.write_bytes(box_room.zip_bytes(capture).getvalue())
    chosen = CaptureSettings.model_validate({"fps": 5.0, **settings})
    return build_capture(archive, chosen, tmp_path / "out", listener or Silence())


def error_code(tmp_path: Path, capture: dict[str, bytes], **settings: object) -> ErrorCode:
    with pytest.raises(UserError) as caught:
        build(tmp_path, capture, None, **settings)
    return caught.value.code


def read(path: Path) -> npt.NDArray[np.generic]:
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert array is not None
    return np.asarray(array[..., ::-1] if array.ndim == 3 else array)


@pytest.mark.parametrize("axes", ["opencv", "arkit"])
def test_both_apps_captures_come_out_in_the_same_form(
    tmp_path: Path, video: bytes, pictures: list[npt.NDArray[np.uint8]], axes: Axes
) -> None:
    listener = Listener()
    manifest = build(tmp_path, files(video, axes), listener)
    out = tmp_path / "out"
    assert CaptureManifest.model_validate_json((out / MANIFEST_NAME).read_bytes()) == manifest
    assert {path.name for path in out.iterdir()} == {
        "capture.json",
        "trajectory.npz",
        "matching",
        "depth",
        "confidence",
    }
    assert (manifest.convention.axes, manifest.convention.decided_by) == (axes, "depth")
    assert manifest.confidence_scale == ("0-2" if axes == "opencv" else "0-255")
    assert (manifest.delivered_folder, manifest.delivered_bit_depth) == ("matching", 8)
    assert manifest.warnings == ()
    assert listener.warnings == []
    assert [frame.name for frame in manifest.frames] == [f"{i:06d}.png" for i in range(1, len(manifest.frames) + 1)]
    assert len(manifest.frames) == 24
    for frame in manifest.frames:
        truth = POSES[frame.source_index]
        np.testing.assert_allclose(frame.pose.position_m, truth[:3, 3], atol=1e-8)
        picture = read(out / "matching" / frame.name).astype(int)
        assert np.abs(picture - pictures[frame.source_index]).mean() < 4
        expected = box_room.depth_mm(truth, DEPTH_VIEW)
        np.testing.assert_array_equal(read(out / "depth" / frame.name), expected)
        confidence = read(out / "confidence" / frame.name)
        np.testing.assert_array_equal(confidence, np.mgrid[0:48, 0:64][1] // 16 % 3)
    trajectory = np.load(out / "trajectory.npz")
    np.testing.assert_allclose(trajectory["world_from_camera"], POSES, atol=1e-7)
    np.testing.assert_allclose(trajectory["timestamps_s"], 1000 + np.arange(48) / 10, atol=1e-6)
    # Every second frame's high-confidence third.
    assert listener.logs[-1] == f"  ✓ 24 images, {12 * 48 * 16:,} LiDAR points"
    assert listener.steps[-1] == (48, 48)


def test_the_confidence_threshold_means_the_same_for_both(tmp_path: Path, video: bytes) -> None:
    for axes in ("opencv", "arkit"):
        listener = Listener()
        folder = tmp_path / axes
        folder.mkdir()
        build(folder, files(video, axes), listener, stray_confidence=1, stray_depth_subsample=1)
        # Columns repeat low, middle, high, low: half of them pass.
        assert listener.logs[-1] == f"  ✓ 24 images, {24 * 48 * 32:,} LiDAR points"


def test_the_sharper_neighbour_is_taken(tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]) -> None:
    spoilt = [
        np.asarray(cv2.GaussianBlur(picture, (0, 0), 4), dtype=np.uint8) if i % 8 == 0 else picture
        for i, picture in enumerate(pictures)
    ]
    path = tmp_path / "rgb.mp4"
    box_room.encode_video(path, spoilt, fps=10, options={"crf": "10"})
    manifest = build(tmp_path, files(path.read_bytes(), "opencv"), fps=10 / 8)
    assert len(manifest.frames) == 6
    assert all(frame.source_index % 8 != 0 for frame in manifest.frames)


def test_intrinsics_of_each_frame_are_used_where_the_file_has_them(tmp_path: Path, video: bytes) -> None:
    capture = files(video, "opencv")
    lines = capture["odometry.csv"].decode().splitlines()
    rows = [f"{line}, {240 + i / 10}, {241 + i / 10}, 160.5, 120.5, , " for i, line in enumerate(lines[1:])]
    rows[0] = lines[1] + ", , , , , , "
    capture["odometry.csv"] = "\n".join([lines[0] + ", fx, fy, cx, cy, , ", *rows]).encode()
    manifest = build(tmp_path, capture, fps=10)
    assert manifest.frames[0].intrinsics.fx_px == pytest.approx(240)
    for frame in manifest.frames[1:]:
        assert frame.intrinsics.fx_px == pytest.approx(240 + frame.source_index / 10)
        assert frame.intrinsics.cx_px == pytest.approx(160.5)
    assert "1 rows" in manifest.warnings[0]


def test_a_matrix_at_twice_the_resolution_is_scaled(tmp_path: Path, video: bytes) -> None:
    capture = files(video, "arkit")
    capture["camera_matrix.csv"] = box_room.camera_csv(View(640, 480, 480.0))
    manifest = build(tmp_path, capture)
    assert manifest.frames[0].intrinsics.fx_px == pytest.approx(240)
    assert manifest.convention.axes == "arkit"
    assert "multiplied by 1/2" in manifest.warnings[0]


def test_a_capture_without_depth_is_decided_by_its_pictures(tmp_path: Path, video: bytes) -> None:
    capture = {name: data for name, data in files(video, "arkit").items() if "/" not in name}
    manifest = build(tmp_path, capture)
    assert (manifest.convention.axes, manifest.convention.decided_by) == ("arkit", "motion")
    assert not any(frame.has_depth for frame in manifest.frames)
    assert manifest.confidence_scale == "none"
    assert "no depth" in manifest.warnings[0]


def test_a_video_shorter_than_its_odometry_is_used_and_said(
    tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
) -> None:
    path = tmp_path / "rgb.mp4"
    box_room.encode_video(path, pictures[:30], fps=10)
    manifest = build(tmp_path, files(path.read_bytes(), "opencv"))
    assert (manifest.source.frames_found, manifest.source.frames_expected) == (30, 48)
    assert "30 of 48" in manifest.warnings[0]
    assert max(frame.source_index for frame in manifest.frames) < 30


def test_a_rotation_tag_is_followed_only_where_the_matrix_fits_the_turned_picture(
    tmp_path: Path, pictures: list[npt.NDArray[np.uint8]]
) -> None:
    path = tmp_path / "rgb.mp4"
    box_room.encode_video(path, pictures, fps=10, options={"crf": "10"})
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    quarter = np.array([0, 1, 0, -1, 0, 0, 0, 0, 1 << 14], dtype=">i4") * 65536
    data[at : at + 36] = quarter.astype(">i4").tobytes()
    sensor = files(bytes(data), "opencv")
    listener = Listener()
    manifest = build(tmp_path, sensor, listener)
    assert (manifest.source.width_px, manifest.source.height_px, manifest.source.rotation_deg) == (320, 240, 0)
    assert any("stays as is" in line for line in listener.logs)
    upright = {**sensor, "camera_matrix.csv": box_room.camera_csv(View(240, 320, 240.0))}
    turned = tmp_path / "turned"
    turned.mkdir()
    manifest = build(turned, upright)
    assert (manifest.source.width_px, manifest.source.height_px, manifest.source.rotation_deg) == (240, 320, 90)
    picture = read(turned / "out" / "matching" / "000001.png").astype(int)
    expected = np.rot90(pictures[manifest.frames[0].source_index], -1)
    assert np.abs(picture - expected).mean() < 5
    assert any("another shape" in warning for warning in manifest.warnings)


def test_colour_is_converted_for_delivery_only(tmp_path: Path, video: bytes) -> None:
    build(tmp_path, files(video, "opencv"))
    plain = read(tmp_path / "out" / "matching" / "000005.png")
    folder = tmp_path / "converted"
    folder.mkdir()
    manifest = build(
        folder, files(video, "opencv"), input_colorspace=Colorspace.SRGB, output_colorspace=Colorspace.LINEAR
    )
    assert (manifest.delivered_folder, manifest.delivered_bit_depth) == ("images", 16)
    np.testing.assert_array_equal(read(folder / "out" / "matching" / "000005.png"), plain)
    encoded = plain.astype(np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    delivered = read(folder / "out" / "images" / "000005.png").astype(np.float64) / 65535
    assert np.abs(delivered - linear).max() <= 1.5 / 65535


def test_an_exr_folder_is_linear_matched_on_display_copies_and_clipped_with_a_warning(tmp_path: Path) -> None:
    poses = box_room.handheld(20)
    small = View(80, 60, 60.0)
    capture = {
        "odometry.csv": box_room.odometry_csv(poses, "arkit", fps=10.0),
        "camera_matrix.csv": box_room.camera_csv(small),
    }
    linear = []
    for i, each in enumerate(poses):
        rgb = (box_room.picture(each, small).astype(np.float32) / 255) ** 2.2 * 2
        linear.append(rgb.astype(np.float16))
        path = tmp_path / "frame.exr"
        OpenEXR.File(
            {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, {"RGB": linear[-1]}
        ).write(str(path))
        capture[f"rgb/{i:06d}.exr"] = path.read_bytes()
        capture[f"depth/{i:06d}.png"] = box_room.png(box_room.depth_mm(each, DEPTH_VIEW))
    manifest = build(tmp_path, capture, fps=10)
    assert (manifest.source.kind, manifest.source.codec, manifest.delivered_bit_depth) == ("images", "exr", 16)
    assert len(manifest.frames) == 20
    delivered = read(tmp_path / "out" / "images" / "000001.png").astype(np.float64) / 65535
    assert np.abs(delivered - np.clip(linear[0].astype(np.float64), 0, 1)).max() <= 0.51 / 65535
    matching = read(tmp_path / "out" / "matching" / "000001.png")
    dark = linear[0] < 0.5
    expected = np.where(
        linear[0] <= 0.0031308, linear[0] * 12.92, 1.055 * linear[0].astype(np.float64) ** (1 / 2.4) - 0.055
    )
    assert np.abs(matching[dark] - expected[dark] * 255).max() <= 1
    assert any("clipped" in warning for warning in manifest.warnings)
    assert manifest.convention.axes == "arkit"


def test_under_two_frames_is_too_few(tmp_path: Path, video: bytes) -> None:
    assert error_code(tmp_path, files(video, "opencv"), fps=0.1) is ErrorCode.TOO_FEW_FRAMES


def test_errors_of_the_parts_come_through(tmp_path: Path, video: bytes) -> None:
    good = files(video, "opencv")
    cases = {
        "rgb.mp4": (b"no video", ErrorCode.INVALID_VIDEO),
        "odometry.csv": (b"no odometry", ErrorCode.INVALID_ODOMETRY),
        "camera_matrix.csv": (b"no matrix", ErrorCode.INVALID_INTRINSICS),
    }
    for name, (data, code) in cases.items():
        assert error_code(tmp_path, {**good, name: data}) is code


def test_broken_depth_costs_depth_only(tmp_path: Path, video: bytes) -> None:
    capture = files(video, "opencv")
    for i in range(48):
        capture[f"depth/{i:06d}.png"] = b"broken"
    manifest = build(tmp_path, capture)
    assert not any(frame.has_depth for frame in manifest.frames)
    assert "47 more" in manifest.warnings[0]


def test_nothing_is_left_beside_the_canonical_form(tmp_path: Path, video: bytes) -> None:
    build(tmp_path, files(video, "opencv"))
    assert not list((tmp_path / "out").glob(".unpacked*"))
