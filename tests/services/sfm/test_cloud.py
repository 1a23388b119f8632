"""The LiDAR cloud against exact surfaces."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from contracts.capture_settings import CaptureSettings
from contracts.progress import Silence
from services.sfm import cloud
from services.sfm.cloud import CloudSummary, PointCloud, Readings, VoxelCloud
from tests.services.sfm.boxed_capture import COLOURS, PILLAR, ROOM, Box, camera_of, cast, distance_m, make_box, poses_of

EVERY_FRAME = CaptureSettings(stray_depth_subsample=1)


class Listener(Silence):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def fused(box: Box, out: Path, conf: CaptureSettings = EVERY_FRAME) -> tuple[PointCloud, CloudSummary, Listener]:
    out.mkdir()
    listener = Listener()
    cloud.main(conf, box.capture, box.sparse, out, listener)
    summary = CloudSummary.model_validate_json((out / "cloud.json").read_bytes())
    return cloud.read_ply(out / "pointcloud.ply"), summary, listener


def surfaces_of(points: np.ndarray) -> np.ndarray:
    """The surface each point is nearest to, -1 within 5 cm of an edge where that is not clear."""
    gaps = np.stack([points[:, 0], ROOM[0] - points[:, 0], points[:, 1], ROOM[1] - points[:, 1], points[:, 2], ROOM[2] - points[:, 2]], 1)  # fmt: skip
    away = np.maximum(np.maximum(PILLAR[0] - points, points - PILLAR[1]), 0)
    gaps = np.abs(np.concatenate([gaps, np.linalg.norm(away, axis=1, keepdims=True)], 1))
    ordered = np.sort(gaps, axis=1)
    return np.where(ordered[:, 1] > 0.05, gaps.argmin(1), -1)


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_RADIAL", "OPENCV", "OPENCV_FISHEYE"])
def test_points_lie_on_the_surfaces_through_every_camera_model(tmp_path: Path, model: str) -> None:
    points, summary, listener = fused(make_box(tmp_path, model), tmp_path / "cloud")
    error_mm = 1000 * distance_m(points.points_m.astype(float))
    # Depth is stored in whole millimetres; only voxels that hold an edge can average two surfaces.
    assert np.percentile(error_mm, 99) < 0.6
    assert error_mm.max() < 6
    assert len(points) == summary.points > 60_000
    assert summary.frames == 8 and summary.voxel_m == 0.01
    assert listener.lines == [f"  ✓ LiDAR cloud: {len(points):,} points from 8 frames, voxel 10 mm"]


def test_colours_and_normals_are_those_of_the_surface(tmp_path: Path) -> None:
    points, _, _ = fused(make_box(tmp_path), tmp_path / "cloud")
    surface = surfaces_of(points.points_m.astype(float))
    clear = surface >= 0
    right = np.abs(points.colours[clear].astype(int) - COLOURS[surface[clear]]).max(1) <= 2
    assert right.mean() > 0.995
    flat = clear & (surface < 6)
    inward = np.zeros((flat.sum(), 3))
    inward[np.arange(flat.sum()), surface[flat] // 2] = np.where(surface[flat] % 2 == 0, 1, -1)
    angle_deg = np.rad2deg(np.arccos(np.clip((inward * points.normals[flat]).sum(1), -1, 1)))
    assert np.median(angle_deg) < 1
    assert np.percentile(angle_deg, 95) < 10


def test_mixed_pixels_at_depth_edges_are_left_out(tmp_path: Path) -> None:
    box = make_box(tmp_path, mixed_pixels=True)
    points, _, _ = fused(box, tmp_path / "cloud")
    camera = camera_of("PINHOLE")
    kept = distance_m(points.points_m.astype(float))
    # What there would be without the rejection, from the first frame.
    depth = cv2.imread(str(box.capture / "depth" / "000001.png"), cv2.IMREAD_UNCHANGED) / 1000
    rays = cloud.depth_rays(camera, 256, 192)
    local = np.concatenate([rays, np.ones((192, 256, 1))], -1) * depth[..., None]
    everything = distance_m(local.reshape(-1, 3) @ box.poses[0, :3, :3].T + box.poses[0, :3, 3])
    assert (everything > 0.05).mean() > 0.002
    assert (kept > 0.05).mean() < 0.0002


def test_a_steep_plane_is_no_edge_and_a_step_is() -> None:
    inverse = 1 / 4 + np.arange(64) / 64 * 0.6
    plane = np.tile(1 / inverse, (48, 1))
    assert cloud.trustworthy(plane).all()
    step = np.full((48, 64), 2.0)
    step[:, 32:] = 2.6
    trusted = cloud.trustworthy(step)
    assert not trusted[:, 31:33].any()
    assert trusted[:, :31].all() and trusted[:, 33:].all()
    hole = np.full((48, 64), 2.0)
    hole[20, 20] = 0
    assert (~cloud.trustworthy(hole)).sum() == 9


def test_unsure_readings_are_left_out(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=3)
    for frame in box.manifest.frames:
        path = str(box.capture / "depth" / frame.name)
        depth = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        sure = np.full((192, 256), 2, np.uint8)
        sure[40:150, 60:200] = 1
        depth[50:140, 70:190] = 400  # wrong, and rightly unsure
        cv2.imwrite(path, depth)
        cv2.imwrite(str(box.capture / "confidence" / frame.name), sure)
    sure_only, summary, _ = fused(box, tmp_path / "sure")
    assert 1000 * distance_m(sure_only.points_m.astype(float)).max() < 6
    unsure = EVERY_FRAME.model_copy(update={"stray_confidence": 1})
    both, more, _ = fused(box, tmp_path / "both", unsure)
    assert more.readings > summary.readings
    assert distance_m(both.points_m.astype(float)).max() > 0.1


def test_every_nth_registered_frame_with_depth_is_used(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=7, unregistered=(1, 2))
    registered = {f"{n:06d}.png" for n in (1, 4, 5, 6, 7)}
    chosen = cloud.choose_frames(box.manifest, registered, 2)
    assert [frame.name for frame in chosen] == ["000001.png", "000005.png", "000007.png"]
    _, summary, _ = fused(box, tmp_path / "cloud", CaptureSettings())
    assert summary.frames == 3


def without_cloud(box: Box) -> None:
    pass


def all_unsure(box: Box) -> None:
    for path in (box.capture / "confidence").iterdir():
        cv2.imwrite(str(path), np.zeros((192, 256), np.uint8))


def no_depth(box: Box) -> None:
    frames = tuple(frame.model_copy(update={"has_depth": False}) for frame in box.manifest.frames)
    manifest = box.manifest.model_copy(update={"frames": frames})
    (box.capture / "capture.json").write_text(manifest.model_dump_json())


@pytest.mark.parametrize(
    ("spoil", "conf", "said", "warned"),
    [
        (without_cloud, CaptureSettings(stray_gen_pointcloud=False), "stray_gen_pointcloud", ""),
        (no_depth, CaptureSettings(), "no depth", ""),
        (all_unsure, CaptureSettings(), "", "confidence 2"),
    ],
)
def test_where_there_is_no_cloud_nothing_is_written_and_the_log_says_why(
    tmp_path: Path, spoil: Callable[[Box], None], conf: CaptureSettings, said: str, warned: str
) -> None:
    box = make_box(tmp_path, frames=2)
    spoil(box)
    (tmp_path / "cloud").mkdir()
    listener = Listener()
    cloud.main(conf, box.capture, box.sparse, tmp_path / "cloud", listener)
    assert not list((tmp_path / "cloud").iterdir())
    assert said in "".join(listener.lines) and warned in "".join(listener.warnings)
    assert listener.lines or listener.warnings


def readings(rng: np.random.Generator, count: int, low: float = -1.0, high: float = 1.0) -> Readings:
    return Readings(
        points_m=rng.uniform(low, high, (count, 3)),
        normals=np.tile([0.0, 1.0, 0.0], (count, 1)),
        colours=rng.uniform(0, 255, (count, 3)).astype(np.float32),
        weights=rng.uniform(0.5, 2, count),
    )


def test_a_voxel_holds_the_weighted_mean_of_all_its_readings() -> None:
    rng = np.random.default_rng(3)
    parts = [readings(rng, 5000) for _ in range(3)]
    voxels = VoxelCloud(voxel_m=0.1)
    for part in parts:
        voxels.add(part)
    got, specks = voxels.result()
    points = np.concatenate([part.points_m for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    colours = np.concatenate([part.colours for part in parts])
    cells, which = np.unique(np.floor(points / 0.1).astype(int), axis=0, return_inverse=True)
    total = np.bincount(which.reshape(-1), weights)
    mean = np.stack([np.bincount(which.reshape(-1), weights * points[:, k]) / total for k in range(3)], 1)
    colour = np.stack([np.bincount(which.reshape(-1), weights * colours[:, k]) / total for k in range(3)], 1)
    assert specks == 0 and len(got) == len(cells)
    assert np.abs(got.points_m - mean).max() < 1e-6
    assert np.abs(got.colours - colour).max() < 0.51


def test_too_many_voxels_become_coarser_ones_without_losing_a_reading() -> None:
    rng = np.random.default_rng(4)
    part = readings(rng, 20_000)
    small, direct = VoxelCloud(voxel_m=0.05, max_voxels=2000), VoxelCloud(voxel_m=0.2)
    small.add(part)
    direct.add(part)
    got, _ = small.result()
    expected, _ = direct.result()
    assert small.voxel_m == 0.2
    assert len(got) == len(expected) <= 2000
    assert np.abs(got.points_m - expected.points_m).max() < 1e-5


def test_specks_far_from_everything_are_dropped() -> None:
    rng = np.random.default_rng(5)
    voxels = VoxelCloud()
    voxels.add(readings(rng, 4000, 0.0, 0.1))
    voxels.add(readings(rng, 3, 2.0, 2.005))
    got, specks = voxels.result()
    assert specks >= 1
    assert got.points_m.max() < 0.11


def test_the_ply_is_little_endian_float_and_uchar(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    written = PointCloud(
        rng.normal(size=(10, 3)).astype(np.float32),
        rng.normal(size=(10, 3)).astype(np.float32),
        rng.integers(0, 255, (10, 3), dtype=np.uint8),
    )
    cloud.write_ply(tmp_path / "a.ply", written)
    raw = (tmp_path / "a.ply").read_bytes()
    header, body = raw.split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    names = [line.split()[1:] for line in header.splitlines() if line.startswith(b"property")]
    assert names == [[b"float", n] for n in (b"x", b"y", b"z", b"nx", b"ny", b"nz")] + [
        [b"uchar", n] for n in (b"red", b"green", b"blue")
    ]
    assert len(body) == 10 * 27
    assert np.array_equal(np.frombuffer(body[:12], "<f4"), written.points_m[0])
    read = cloud.read_ply(tmp_path / "a.ply")
    assert np.array_equal(read.points_m, written.points_m) and np.array_equal(read.colours, written.colours)


def test_lidar_points_in_a_model_have_no_track_and_harm_nothing(tmp_path: Path) -> None:
    box = make_box(tmp_path, frames=3)
    points, _, _ = fused(box, tmp_path / "cloud")
    model = pycolmap.Reconstruction(box.sparse)
    before = {i: (p.xyz.copy(), p.track.length()) for i, p in model.points3D.items()}
    poses = {image.name: image.cam_from_world().matrix() for image in model.images.values()}
    cloud.model_with_cloud(model, points, max_points=1000)
    (tmp_path / "out").mkdir()
    model.write_binary(tmp_path / "out")
    again = pycolmap.Reconstruction(tmp_path / "out")
    assert again.num_points3D() == len(before) + 1000
    for i, (xyz, length) in before.items():
        assert np.array_equal(again.points3D[i].xyz, xyz) and again.points3D[i].track.length() == length
    for image in again.images.values():
        assert np.array_equal(image.cam_from_world().matrix(), poses[image.name])
    added = np.array([p.xyz for i, p in again.points3D.items() if i not in before])
    assert 1000 * distance_m(added).max() < 6


def test_the_box_is_what_it_says() -> None:
    depth, surface = cast(poses_of(8)[0], camera_of("PINHOLE"), 256, 192)
    assert np.isfinite(depth).all() and 0.2 < depth.min() < depth.max() < 5
    assert len(np.unique(surface)) >= 3
