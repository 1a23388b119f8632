"""The ZIPs are in the forms that the two apps write, hold the same capture, and come out the same from the same seed."""

import re
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from samples.capture import CaptureSpec, make_capture
from samples.flat import Flat
from samples.render import RayCaster
from samples.truth import CaptureTruth, frame_depth, load_mesh, load_truth

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def stray(capture_dir: Path, capture_truth: CaptureTruth) -> dict[str, bytes]:
    assert capture_truth.frames
    with zipfile.ZipFile(capture_dir / "capture_stray.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def rescan(capture_dir: Path, capture_truth: CaptureTruth) -> dict[str, bytes]:
    """Without the folder, whose form is checked here."""
    assert capture_truth.frames
    with zipfile.ZipFile(capture_dir / "capture_rescan.zip") as archive:
        names = archive.namelist()
        folders = {name.split("/")[0] for name in names}
        assert len(folders) == 1
        assert re.fullmatch(r"remap_zip_[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", next(iter(folders)))
        return {name.split("/", 1)[1]: archive.read(name) for name in names}


def rows(table: bytes) -> list[list[str]]:
    return [line.split(", ") for line in table.decode().splitlines()]


def poses(table: bytes) -> Floats:
    result = []
    for row in rows(table)[1:]:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat([float(v) for v in row[5:9]]).as_matrix()
        pose[:3, 3] = [float(v) for v in row[2:5]]
        result.append(pose)
    return np.array(result)


def png(content: bytes) -> NDArray[np.generic]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image)


def test_stray_odometry_has_padded_ids_intrinsics_and_two_empty_columns(
    stray: dict[str, bytes], capture_truth: CaptureTruth
) -> None:
    table = rows(stray["odometry.csv"])
    assert ", ".join(table[0]) == "timestamp, frame, x, y, z, qx, qy, qz, qw, fx, fy, cx, cy, , "
    assert len(table) == len(capture_truth.frames) + 1
    for frame, row in zip(capture_truth.frames, table[1:], strict=True):
        assert len(row) == 15
        assert row[13:] == ["", ""]
        assert row[1] == f"{frame.source_index:06d}"
        assert float(row[0]) == pytest.approx(frame.timestamp_s, abs=1e-6)
        assert [float(v) for v in row[9:13]] == pytest.approx(
            [frame.fx_px, frame.fy_px, frame.cx_px, frame.cy_px], abs=1e-4
        )


def test_rescan_odometry_has_plain_ids(rescan: dict[str, bytes]) -> None:
    table = rows(rescan["odometry.csv"])
    assert ", ".join(table[0]) == "timestamp, frame, x, y, z, qx, qy, qz, qw"
    assert [row[1] for row in table[1:]] == [str(k) for k in range(len(table) - 1)]


def test_both_forms_hold_the_same_poses(stray: dict[str, bytes], rescan: dict[str, bytes]) -> None:
    opencv, arkit = poses(stray["odometry.csv"]), poses(rescan["odometry.csv"])
    assert np.abs(arkit @ np.diag([1, -1, -1, 1]) - opencv).max() < 1e-6
    # A phone held upright: OpenCV's y points down, ARKit's up; both look where the person looks.
    assert (opencv[:, 1, 1] < -0.8).all()
    assert (arkit[:, 1, 1] > 0.8).all()


def test_reported_poses_are_near_the_truth_but_early(stray: dict[str, bytes], capture_truth: CaptureTruth) -> None:
    reported = poses(stray["odometry.csv"])
    true = np.array([frame.pose() for frame in capture_truth.frames])
    error = np.linalg.norm(reported[:, :3, 3] - true[:, :3, 3], axis=1)
    assert error.max() < 0.06
    assert error.max() > 0.001
    for frame in capture_truth.frames:
        assert frame.timestamp_s - frame.picture_time_s == pytest.approx(capture_truth.picture_delay_s)
    assert np.allclose(true[0, :3, 3], 0, atol=1e-12)


def test_camera_matrix_has_three_rows_and_no_last_newline(stray: dict[str, bytes], capture_truth: CaptureTruth) -> None:
    text = stray["camera_matrix.csv"].decode()
    assert not text.endswith("\n")
    matrix = np.array([[float(v) for v in line.split(",")] for line in text.split("\n")])
    assert matrix.shape == (3, 3)
    frame = capture_truth.frames[0]
    assert matrix[0, 0] == pytest.approx(frame.fx_px, rel=0.002)
    assert matrix[0, 2] == pytest.approx(frame.cx_px)
    assert matrix[2].tolist() == [0, 0, 1]


def test_depth_and_confidence_are_the_same_measurement_on_two_scales(
    stray: dict[str, bytes], rescan: dict[str, bytes], capture_truth: CaptureTruth
) -> None:
    seen: set[int] = set()
    for k in range(len(capture_truth.frames)):
        depth = png(stray[f"depth/{k:06d}.png"])
        assert depth.dtype == np.uint16
        assert depth.shape == (192, 256)
        assert depth.max() <= 5000
        assert np.array_equal(depth, png(rescan[f"depth/{k:06d}.png"]))
        small, large = png(stray[f"confidence/{k:06d}.png"]), png(rescan[f"confidence/{k:06d}.png"])
        assert small.dtype == large.dtype == np.uint8
        assert np.array_equal(np.array([0, 127, 255])[small], large)
        seen |= set(np.unique(small).tolist())
    assert seen == {0, 1, 2}


def test_trusted_depth_is_within_a_percent_of_the_exact_one(
    stray: dict[str, bytes], capture_truth: CaptureTruth, flat: Flat
) -> None:
    caster = RayCaster(flat.patches)
    for k in range(len(capture_truth.frames)):
        exact = frame_depth(capture_truth, caster, k, 256, 192)
        measured = png(stray[f"depth/{k:06d}.png"]).astype(np.float64) / 1000
        trusted = png(stray[f"confidence/{k:06d}.png"]) == 2
        relative = measured[trusted] / exact[trusted] - 1
        assert trusted.mean() > 0.3
        assert abs(np.median(relative)) < 0.005
        assert 0.001 < np.std(relative) < 0.015
        # Nothing is measured beyond five metres; right at an edge, far and near run into each other.
        far = cv2.erode((exact > 5.3).astype(np.uint8), np.ones((13, 13))) > 0
        assert (measured[far] == 0).all()


@pytest.mark.parametrize(("form", "name", "codec"), [("stray", "rgb.mp4", "h264"), ("rescan", "rgb.mov", "prores")])
def test_videos_decode_frame_by_frame(
    form: str, name: str, codec: str, capture_dir: Path, capture_truth: CaptureTruth
) -> None:
    with zipfile.ZipFile(capture_dir / f"capture_{form}.zip") as archive:
        content = archive.read(next(n for n in archive.namelist() if n.endswith(name)))
    with av.open(BytesIO(content), "r") as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == codec
        assert stream.average_rate == capture_truth.fps
        shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(shown) == len(capture_truth.frames)
    assert shown[0].shape == (capture_truth.height_px, capture_truth.width_px, 3)
    assert all(40 < picture.mean() < 200 for picture in shown)
    assert all(picture.std() > 25 for picture in shown)


def test_truth_and_mesh_can_be_read_back(capture_dir: Path, capture_truth: CaptureTruth, flat: Flat) -> None:
    assert load_truth(capture_dir / "truth.json") == capture_truth
    triangles, structure = load_mesh(capture_dir / "truth_mesh.npz")
    assert np.array_equal(triangles, flat.patches.triangles()[0])
    assert 0 < structure.sum() < len(structure)


def test_nothing_but_the_results_is_left_behind(capture_dir: Path, capture_truth: CaptureTruth) -> None:
    assert capture_truth.frames
    left = {path.name for path in capture_dir.iterdir()}
    assert left == {"capture_stray.zip", "capture_rescan.zip", "truth.json", "truth_mesh.npz"}


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    spec = CaptureSpec(frames=3, seed=8, width_px=160, workers=1, light_rays=2)
    make_capture(spec, tmp_path / "a")
    make_capture(replace(spec, workers=2), tmp_path / "b")
    for name in ("capture_stray.zip", "capture_rescan.zip", "truth.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_another_capture(tmp_path: Path, stray: dict[str, bytes]) -> None:
    spec = CaptureSpec(frames=2, seed=6, width_px=160, workers=1, light_rays=2, conventions=("stray",))
    make_capture(spec, tmp_path)
    with zipfile.ZipFile(tmp_path / "capture_stray.zip") as archive:
        other = poses(archive.read("odometry.csv"))
    assert np.abs(other[1] - poses(stray["odometry.csv"])[1]).max() > 0.01
