"""The result archive, read back by means that are not ours."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import plyfile
import pytest

from contracts.capture_settings import Approach, CaptureSettings, FeatureType, MapperType, MatcherType
from contracts.progress import Silence
from services.sfm import cloud, hloc_files, packaging
from services.sfm.hloc_files import Features, PairMatches
from services.sfm.models import MappingSummary, ScaleSource
from services.sfm.packaging import Entry, Inputs, write_archive
from services.sfm.report import CaptureReport
from tests.services.sfm.boxed_capture import Box, distance_m, make_box

SETTINGS = CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.NEAREST)
SECONDS = {"features": 1.5, "mapping": 2.0}


class Counter(Silence):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.seen.append((done, total))


def inputs_of(box: Box, settings: CaptureSettings) -> Inputs:
    root = box.capture.parent
    inputs = Inputs(box.capture, root / "features", root / "pairs", root / "matches", root / "mapping", root / "cloud")
    for folder in (inputs.features, inputs.pairs, inputs.matches, inputs.cloud):
        folder.mkdir()
    names = [frame.name for frame in box.manifest.frames]
    some = Features(np.ones((4, 2), np.float32), np.ones((4, 128), np.float16), np.ones(4, np.float32), (640, 480))
    hloc_files.write_features(inputs.features / "features.h5", [(name, some) for name in names])
    pairs = [(names[0], names[1]), (names[1], names[2])]
    hloc_files.write_pairs(inputs.pairs / "pairs.txt", pairs)
    matched = np.array([[0, 1], [2, 3]])
    hloc_files.write_matches(
        inputs.matches / "matches.h5", [PairMatches(pair, 4, matched, np.ones(2, np.float32)) for pair in pairs]
    )
    (inputs.mapping / "mapping.json").write_text(summary_of(box, settings).model_dump_json())
    cloud.main(settings, box.capture, box.sparse, inputs.cloud, Silence())
    return inputs


def summary_of(box: Box, settings: CaptureSettings) -> MappingSummary:
    return MappingSummary(
        approach=settings.stray_approach, mapper=MapperType.GLOMAP, registered=3, total=4, unregistered=("000004.png",),
        points=60, observations=0, mean_track_length=0, reprojection_error_px=0.4, scale_factor=1.02, scale_sigma=0.01,
        scale_sources=(ScaleSource(name="depth", factor=1.0, sigma=0.01, samples=10),), track_residual=None,
        picture_delay_s=0.02, gravity_correction_deg=0.3, models=1, seconds={}, warnings=("one picture has no pose",),
    )  # fmt: skip


def packed(box: Box, settings: CaptureSettings, inputs: Inputs | None = None) -> zipfile.ZipFile:
    result = box.capture.parent / "result.zip"
    packaging.main(settings, inputs or inputs_of(box, settings), SECONDS, result, Silence())
    assert not list(box.capture.parent.glob("packaging-*"))
    return zipfile.ZipFile(result)


def points_in(raw: bytes) -> list[tuple[tuple[float, float, float], int]]:
    """Positions and track lengths of a points3D.bin, by COLMAP's published layout."""
    stream = io.BytesIO(raw)
    (count,) = struct.unpack("<Q", stream.read(8))
    points = []
    for _ in range(count):
        _, x, y, z, *_, length = struct.unpack("<QdddBBBdQ", stream.read(51))
        stream.read(8 * length)
        points.append(((x, y, z), length))
    assert not stream.read()
    return points


def images_in(raw: bytes) -> dict[str, np.ndarray]:
    """camera_from_world as qw, qx, qy, qz, tx, ty, tz of an images.bin, by COLMAP's published layout."""
    stream = io.BytesIO(raw)
    (count,) = struct.unpack("<Q", stream.read(8))
    images = {}
    for _ in range(count):
        _, *pose, _ = struct.unpack("<I7dI", stream.read(64))
        name = b"".join(iter(lambda: stream.read(1), b"\0")).decode()
        (points,) = struct.unpack("<Q", stream.read(8))
        stream.read(24 * points)
        images[name] = np.array(pose)
    assert not stream.read()
    return images


def test_the_archive_is_as_documented(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=4, unregistered=(3,))
    with packed(box, SETTINGS) as archive:
        names = archive.namelist()
        assert set(names) == {
            "report.json", "preview.png", "pointcloud.ply",
            "images/000001.png", "images/000002.png", "images/000003.png", "images/000004.png",
            "hloc_outputs/features.h5", "hloc_outputs/pairs.txt", "hloc_outputs/matches.h5",
            "sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin",
            "sparse/0/rigs.bin", "sparse/0/frames.bin",
        }  # fmt: skip
        assert len(names) == len(set(names)) and archive.testzip() is None
        picture = archive.getinfo("images/000002.png")
        assert picture.compress_type == zipfile.ZIP_STORED
        assert archive.read(picture) == (box.capture / "matching" / "000002.png").read_bytes()
        poses = images_in(archive.read("sparse/0/images.bin"))
        assert set(poses) == {"000001.png", "000002.png", "000003.png"}
        assert np.abs(poses["000002.png"][4:] - np.linalg.inv(box.poses[1])[:3, 3]).max() < 1e-9
        assert len(points_in(archive.read("sparse/0/points3D.bin"))) == 60
        cloud_rows = plyfile.PlyData.read(io.BytesIO(archive.read("pointcloud.ply")))["vertex"].data
        report = CaptureReport.model_validate_json(archive.read("report.json"))
        assert report.lidar_cloud is not None and report.lidar_cloud.points == len(cloud_rows) > 10_000
        pairs = archive.read("hloc_outputs/pairs.txt").splitlines()
        assert pairs == [b"000001.png 000002.png", b"000002.png 000003.png"]


def test_the_report_says_what_happened(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=4, unregistered=(3,))
    settings = CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.DISK_LIGHTGLUE)
    with packed(box, settings) as archive:
        report = CaptureReport.model_validate_json(archive.read("report.json"))
        raw = json.loads(archive.read("report.json"))
    assert report.frames.unregistered == ("000004.png",) and report.frames.registered == 3
    assert report.metric.scale_sources[0].name == "depth" and report.metric.scale_factor == 1.02
    assert report.matching.matcher_type_asked is MatcherType.DISK_LIGHTGLUE
    assert report.matching.matcher_type_used is MatcherType.NEAREST
    assert "nearest" in report.matching.how_to_mend[0]
    assert (report.matching.mean_keypoints, report.matching.pairs) == (4, 2)
    assert set(report.warnings) >= {"ingest had a remark", "one picture has no pose", report.matching.how_to_mend[0]}
    assert report.seconds == SECONDS and report.settings == settings
    assert raw["world"]["units"] == "metres" and raw["world"]["up"] == "+y"
    assert raw["conventions"]["odometry"] == {
        "axes": "opencv", "decided_by": "depth", "residual_m": 0.004, "rejected_residual_m": None,
    }  # fmt: skip


def test_known_poses_deliver_lidar_points_in_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = make_box(tmp_path, frames=3)
    settings = SETTINGS.model_copy(update={"stray_approach": Approach.KNOWN_POSES})
    with packed(box, settings) as archive:
        points = points_in(archive.read("sparse/0/points3D.bin"))
        poses = images_in(archive.read("sparse/0/images.bin"))
        report = CaptureReport.model_validate_json(archive.read("report.json"))
    assert report.lidar_cloud is not None
    assert report.model.lidar_points == len(points) - 60 == min(report.lidar_cloud.points, cloud.MAX_MODEL_POINTS)
    lidar = np.array([position for position, _ in points[-1000:]])
    assert 1000 * distance_m(lidar).max() < 6
    assert np.abs(poses["000003.png"][4:] - np.linalg.inv(box.poses[2])[:3, 3]).max() < 1e-9


def test_the_pictures_in_the_output_colour_space_are_delivered(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=3)
    delivered = box.capture / "images"
    delivered.mkdir()
    for frame in box.manifest.frames:
        (delivered / frame.name).write_bytes(b"\x89PNG as ingest wrote it " + frame.name.encode())
    manifest = box.manifest.model_copy(update={"delivered_folder": "images", "delivered_bit_depth": 16})
    (box.capture / "capture.json").write_text(manifest.model_dump_json())
    with packed(box, SETTINGS) as archive:
        assert archive.read("images/000003.png") == b"\x89PNG as ingest wrote it 000003.png"


def test_without_a_cloud_and_with_further_models(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=3)
    settings = SETTINGS.model_copy(update={"stray_gen_pointcloud": False})
    inputs = inputs_of(box, settings)
    for number in (1, 2, 10):
        folder = inputs.mapping / "sparse" / str(number)
        folder.mkdir()
        for path in box.sparse.glob("*.bin"):
            (folder / path.name).write_bytes(path.read_bytes())
    with packed(box, settings, inputs) as archive:
        assert "pointcloud.ply" not in archive.namelist()
        models = [name.split("/")[1] for name in archive.namelist() if name.endswith("cameras.bin")]
        assert models == ["0", "1", "2", "10"]
        assert json.loads(archive.read("report.json"))["lidar_cloud"] is None


def test_the_same_files_give_the_same_archive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "noise.h5").write_bytes(rng.bytes(300_000))
    (tmp_path / "zeros.bin").write_bytes(bytes(300_000))
    (tmp_path / "empty.txt").write_bytes(b"")
    entries = [Entry(path.name, path) for path in sorted(tmp_path.iterdir())]
    counter = Counter()
    write_archive(tmp_path / "a.zip", entries, counter)
    (tmp_path / "zeros.bin").touch()
    write_archive(tmp_path / "b.zip", entries, Silence())
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("noise.h5").compress_type == zipfile.ZIP_STORED
        assert archive.getinfo("zeros.bin").compress_size < 3000
        assert archive.read("zeros.bin") == bytes(300_000)
        assert archive.getinfo("noise.h5").external_attr >> 16 == 0o100644
    assert counter.seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_large_files_use_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100_000)
    (tmp_path / "large.png").write_bytes(np.random.default_rng(0).bytes(200_000))
    write_archive(tmp_path / "a.zip", [Entry("images/large.png", tmp_path / "large.png")], Silence())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("images/large.png").extract_version >= zipfile.ZIP64_VERSION
        assert archive.read("images/large.png") == (tmp_path / "large.png").read_bytes()


def test_a_missing_file_leaves_no_result(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=3)
    inputs = inputs_of(box, SETTINGS)
    (inputs.matches / "matches.h5").unlink()
    with pytest.raises(FileNotFoundError):
        packaging.main(SETTINGS, inputs, SECONDS, tmp_path / "result.zip", Silence())
    assert not (tmp_path / "result.zip").exists()
