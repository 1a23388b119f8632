"""The LiDAR cloud: depth maps of the registered frames, fused in the delivered model's frame.

In: the canonical capture and `sparse/0`. Out: `pointcloud.ply` and `cloud.json`, or nothing where no cloud was asked for
or there is no depth.

A reading becomes a point through the model's own camera, distortion included. Readings at depth edges, where LiDAR mixes
two surfaces, and at grazing incidence are left out. What falls into one voxel becomes one point: the mean, weighted by the
inverse variance of the readings. Voxels are hashed (Teschner et al. 2003) and reduced by sorting; when there are too many
of them they double in size.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from contracts.capture_settings import CaptureSettings
from contracts.captures import MANIFEST_NAME, CapturedFrame, CaptureManifest
from contracts.model import Message
from contracts.progress import Reporter
from services.sfm.metric import depth_sigma

CLOUD_NAME = "pointcloud.ply"
SUMMARY_NAME = "cloud.json"
VOXEL_M = 0.01
MAX_VOXELS = 5_000_000
MAX_MODEL_POINTS = 500_000
"""So many LiDAR points go into a known-poses model: what viewers and splatting tools load without pain."""

_NEAREST_M = 0.1
_EDGE_SHARE = 0.05
_BEND_SHARE = 0.02
_MIN_INCIDENCE = 0.15
_SPECK_CELL = 4
_SPECK_READINGS = 6
_BATCH = 16
_CHUNK_ROWS = 1_000_000
_KEY_BITS = 21
_KEY_HALF = 1 << (_KEY_BITS - 1)

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Keys = NDArray[np.int64]
Bools = NDArray[np.bool_]


class CloudSummary(Message):
    """`cloud.json`: what went into the cloud and what came out."""

    points: int
    frames: int
    """Depth maps that were used."""
    readings: int
    """Depth readings that were used."""
    specks: int
    """Voxels left out because hardly any reading supports their surroundings."""
    voxel_m: float
    confidence: int
    depth_subsample: int


@dataclass(frozen=True)
class PointCloud:
    """points_m (n, 3) and normals (n, 3, unit, towards the camera) float32; colours (n, 3) uint8, display-referred RGB."""

    points_m: Floats32
    normals: Floats32
    colours: Bytes

    def __len__(self) -> int:
        return len(self.points_m)


def write_ply(
    path: Path, cloud: PointCloud, comment: str = "metres, right-handed, +y up, in the frame of sparse/0"
) -> None:
    """Binary little-endian PLY: x y z nx ny nz float, red green blue uchar. `comment` says in what units and axes."""
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    rows = np.empty(len(cloud), dtype=[*fields, ("red", "u1"), ("green", "u1"), ("blue", "u1")])
    for axis, name in enumerate("xyz"):
        rows[name] = cloud.points_m[:, axis]
        rows[f"n{name}"] = cloud.normals[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        rows[name] = cloud.colours[:, channel]
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<", comments=[comment]).write(str(path))


def read_ply(path: Path) -> PointCloud:
    """What `write_ply` wrote."""
    rows = PlyData.read(str(path))["vertex"].data
    return PointCloud(
        points_m=np.stack([rows[name] for name in ("x", "y", "z")], axis=1).astype(np.float32),
        normals=np.stack([rows[name] for name in ("nx", "ny", "nz")], axis=1).astype(np.float32),
        colours=np.stack([rows[name] for name in ("red", "green", "blue")], axis=1).astype(np.uint8),
    )


@dataclass(frozen=True)
class _View:
    """One frame to take points from. rays: (h, w, 2) float64, x and y at z = 1; world_from_camera: (3, 4)."""

    name: str
    rays: Floats
    world_from_camera: Floats


@dataclass(frozen=True)
class Readings:
    """points_m, normals (n, 3) float64 in the world; colours (n, 3) float32, 0 to 255; weights (n,) float64, in 1/m²."""

    points_m: Floats
    normals: Floats
    colours: Floats32
    weights: Floats

    def __len__(self) -> int:
        return len(self.points_m)


def depth_rays(camera: pycolmap.Camera, width: int, height: int) -> Floats:
    """Where the rays of a (height, width) depth map meet z = 1: (height, width, 2) float64, distortion undone.

    The depth map covers the picture exactly; its pixels are larger by the ratio of the sizes.
    """
    v, u = np.mgrid[0:height, 0:width] + 0.5
    pixels = np.stack([u * (camera.width / width), v * (camera.height / height)], axis=-1).reshape(-1, 2)
    return np.asarray(camera.cam_from_img(pixels), np.float64).reshape(height, width, 2)


def trustworthy(depth_m: Floats) -> Bools:
    """Which readings of a depth map (h, w), 0 = none, are of one surface: (h, w) bool.

    On a plane inverse depth is linear in the picture, however steep the plane. So a pixel is at an edge where depth varies
    by more than a few per cent among its neighbours and inverse depth bends there as well.
    """
    present = depth_m > _NEAREST_M
    kernel = np.ones((3, 3), np.uint8)
    # A neighbour without a reading may be behind an edge.
    surrounded = cv2.erode(present.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    safe = np.where(present, depth_m, 1.0)
    spread = cv2.dilate(safe, kernel) - cv2.erode(safe, kernel)
    inverse = np.pad(1 / safe, 1, mode="reflect", reflect_type="odd")
    middle = inverse[1:-1, 1:-1]
    bend = np.maximum(
        np.abs(inverse[1:-1, :-2] + inverse[1:-1, 2:] - 2 * middle),
        np.abs(inverse[:-2, 1:-1] + inverse[2:, 1:-1] - 2 * middle),
    )
    edge = (spread > _EDGE_SHARE * safe) & (bend > _BEND_SHARE * middle)
    return np.asarray(surrounded & ~edge)


def grid_normals(points: Floats) -> Floats:
    """Unit normals (h, w, 3) of a grid of points (h, w, 3) in the camera's frame, towards the camera."""
    smooth = cv2.blur(points, (3, 3), borderType=cv2.BORDER_REPLICATE)
    down, right = np.gradient(smooth, axis=(0, 1))
    normals = np.cross(down, right)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return np.asarray(np.where((normals * points).sum(-1, keepdims=True) > 0, -normals, normals))


def _read_view(capture_dir: Path, view: _View, confidence: int) -> Readings | None:
    raw = cv2.imread(str(capture_dir / "depth" / view.name), cv2.IMREAD_UNCHANGED)
    picture = cv2.imread(str(capture_dir / "matching" / view.name), cv2.IMREAD_COLOR)
    if raw is None or picture is None:
        return None
    depth = np.asarray(raw, np.float64) / 1000
    sure = cv2.imread(str(capture_dir / "confidence" / view.name), cv2.IMREAD_UNCHANGED)
    good = trustworthy(depth) & np.isfinite(view.rays).all(-1)
    if sure is not None and sure.shape == depth.shape:
        good &= np.asarray(sure) >= confidence
    points = np.concatenate([view.rays, np.ones((*depth.shape, 1))], axis=-1) * depth[..., None]
    normals = grid_normals(np.nan_to_num(points))
    distance = np.maximum(np.linalg.norm(points, axis=-1), 1e-9)
    incidence = -(normals * points).sum(-1) / distance
    good &= incidence > _MIN_INCIDENCE
    colours = cv2.resize(picture, (depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_AREA)[..., ::-1]
    rotation, translation = view.world_from_camera[:, :3], view.world_from_camera[:, 3]
    return Readings(
        points_m=points[good] @ rotation.T + translation,
        normals=normals[good] @ rotation.T,
        colours=colours[good].astype(np.float32),
        weights=incidence[good] / depth_sigma(depth[good]) ** 2,
    )


class VoxelCloud:
    """A growing cloud with one weighted mean per voxel. Memory is bounded by MAX_VOXELS, whatever is added.

    Rows are: weight, weighted offset from the voxel's low corner in metres (3), weighted colour (3), weighted
    normal (3), readings.
    """

    def __init__(self, voxel_m: float = VOXEL_M, max_voxels: int = MAX_VOXELS) -> None:
        self.voxel_m = voxel_m
        self._max_voxels = max_voxels
        self._keys: Keys = np.zeros(0, np.int64)
        self._rows: Floats32 = np.zeros((0, 11), np.float32)
        self._waiting: list[tuple[Keys, Floats32]] = []
        self._waiting_rows = 0

    def add(self, readings: Readings) -> None:
        cell = np.floor(readings.points_m / self.voxel_m).astype(np.int64)
        inside = (np.abs(cell) < _KEY_HALF - 1).all(1)
        cell = cell[inside]
        weight = readings.weights[inside, None]
        rows = np.concatenate(
            [
                weight,
                weight * (readings.points_m[inside] - cell * self.voxel_m),
                weight * readings.colours[inside],
                weight * readings.normals[inside],
                np.ones_like(weight),
            ],
            axis=1,
        ).astype(np.float32)
        self._waiting.append(_reduced(_keys_of(cell), rows))
        self._waiting_rows += len(self._waiting[-1][0])
        if self._waiting_rows > max(_CHUNK_ROWS, len(self._keys) // 2):
            self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
        rows = np.concatenate([self._rows, *(rows for _, rows in self._waiting)])
        self._waiting, self._waiting_rows = [], 0
        self._keys, self._rows = _reduced(keys, rows)
        while len(self._keys) > self._max_voxels:
            self._coarsen()

    def _coarsen(self) -> None:
        cell = _cells_of(self._keys)
        self._rows[:, 1:4] += self._rows[:, :1] * ((cell & 1) * self.voxel_m).astype(np.float32)
        self.voxel_m *= 2
        self._keys, self._rows = _reduced(_keys_of(cell >> 1), self._rows)

    def result(self, least_readings: int = _SPECK_READINGS) -> tuple[PointCloud, int]:
        """The cloud in the order of its voxels, and how many specks, with fewer readings around, were left out of it."""
        self._merge()
        cell = _cells_of(self._keys)
        supported = _supported(cell, self._rows[:, 10], least_readings)
        cell, rows = cell[supported], self._rows[supported]
        weight = rows[:, :1]
        normals = rows[:, 7:10] / np.maximum(np.linalg.norm(rows[:, 7:10], axis=1, keepdims=True), 1e-12)
        cloud = PointCloud(
            points_m=(cell * self.voxel_m + rows[:, 1:4] / weight).astype(np.float32),
            normals=normals.astype(np.float32),
            colours=np.clip(np.rint(rows[:, 4:7] / weight), 0, 255).astype(np.uint8),
        )
        return cloud, int((~supported).sum())


def _keys_of(cell: NDArray[np.int64]) -> Keys:
    shifted = cell + _KEY_HALF
    return np.asarray((shifted[:, 0] << (2 * _KEY_BITS)) | (shifted[:, 1] << _KEY_BITS) | shifted[:, 2])


def _cells_of(keys: Keys) -> NDArray[np.int64]:
    mask = (1 << _KEY_BITS) - 1
    return np.stack([keys >> (2 * _KEY_BITS), (keys >> _KEY_BITS) & mask, keys & mask], axis=1) - _KEY_HALF


def _reduced(keys: Keys, rows: Floats32) -> tuple[Keys, Floats32]:
    """Sum the rows that share a key; keys come out sorted. Stable, so that the same input gives the same sums."""
    if not len(keys):
        return keys, rows
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[starts], np.add.reduceat(rows[order], starts, axis=0)


def _supported(cell: NDArray[np.int64], readings: Floats32, least: int) -> Bools:
    """Which voxels (n, 3) have enough readings within the 3 x 3 x 3 cells of four voxels around them."""
    if not len(cell):
        return np.zeros(0, np.bool_)
    keys = _keys_of(cell // _SPECK_CELL)
    cells, which = np.unique(keys, return_inverse=True)
    count = np.bincount(which, weights=readings)
    around = np.zeros(len(cells))
    steps = np.array([-1, 0, 1])
    for step in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
        neighbours = _keys_of(_cells_of(cells) + step)
        place = np.minimum(np.searchsorted(cells, neighbours), len(cells) - 1)
        around += np.where(cells[place] == neighbours, count[place], 0)
    return np.asarray(around[which] >= least)


def choose_frames(manifest: CaptureManifest, registered: set[str], subsample: int) -> tuple[CapturedFrame, ...]:
    """Every `subsample`-th frame, in time order, of those with depth and a pose in the model."""
    usable = [frame for frame in manifest.frames if frame.has_depth and frame.name in registered]
    return tuple(usable[::subsample])


def _views(
    model: pycolmap.Reconstruction, frames: tuple[CapturedFrame, ...], depth_size: tuple[int, int]
) -> Iterator[_View]:
    images = {image.name: image for image in model.images.values() if image.has_pose}
    rays: dict[int, Floats] = {}
    for frame in frames:
        image = images[frame.name]
        if image.camera_id not in rays:
            # Often every frame has a camera of its own: keeping all of them would take a megabyte a frame.
            rays = {image.camera_id: depth_rays(model.cameras[image.camera_id], *depth_size)}
        pose = np.asarray(image.cam_from_world().inverse().matrix(), np.float64)
        yield _View(frame.name, rays[image.camera_id], pose)


def fuse(
    capture_dir: Path,
    model: pycolmap.Reconstruction,
    frames: tuple[CapturedFrame, ...],
    conf: CaptureSettings,
    report: Reporter,
) -> tuple[PointCloud, CloudSummary]:
    """Fuse the depth of `frames` into one cloud in the frame of `model`."""
    first = cv2.imread(str(capture_dir / "depth" / frames[0].name), cv2.IMREAD_UNCHANGED)
    if first is None:
        raise FileNotFoundError(f"{frames[0].name} has no readable depth map, though {MANIFEST_NAME} says so")
    height, width = first.shape[:2]
    voxels = VoxelCloud()
    readings = used = 0
    views = _views(model, frames, (width, height))
    with ThreadPoolExecutor(min(conf.num_threads or os.cpu_count() or 1, 8)) as pool:
        for start in range(0, len(frames), _BATCH):
            batch = [view for view, _ in zip(views, range(min(_BATCH, len(frames) - start)), strict=False)]
            for number, found in enumerate(
                pool.map(lambda view: _read_view(capture_dir, view, conf.stray_confidence), batch), start + 1
            ):
                if found is not None and len(found):
                    voxels.add(found)
                    readings += len(found)
                    used += 1
                report.progress(number, len(frames), "LiDAR cloud")
    cloud, specks = voxels.result()
    summary = CloudSummary(
        points=len(cloud),
        frames=used,
        readings=readings,
        specks=specks,
        voxel_m=voxels.voxel_m,
        confidence=conf.stray_confidence,
        depth_subsample=conf.stray_depth_subsample,
    )
    return cloud, summary


def model_with_cloud(
    model: pycolmap.Reconstruction, cloud: PointCloud, max_points: int = MAX_MODEL_POINTS
) -> pycolmap.Reconstruction:
    """Add the cloud to the model's points, thinned evenly to at most `max_points`; `model` itself is changed and returned.

    LiDAR points have no track and COLMAP's error of -1, "not computed"; triangulated points keep what they have.
    """
    chosen = np.linspace(0, len(cloud) - 1, min(len(cloud), max_points)).round().astype(np.int64)
    nothing = pycolmap.Track()
    points, colours = cloud.points_m[chosen].astype(np.float64), cloud.colours[chosen]
    for point, colour in zip(points, colours, strict=True):
        model.add_point3D(point, nothing, colour)
    return model


def main(conf: CaptureSettings, capture_dir: Path, sparse_dir: Path, out_dir: Path, report: Reporter) -> None:
    """Write `pointcloud.ply` and `cloud.json`, or say in the log why there is no cloud."""
    if not conf.stray_gen_pointcloud:
        report.log("  No LiDAR cloud: stray_gen_pointcloud is false")
        return
    manifest = CaptureManifest.model_validate_json((capture_dir / MANIFEST_NAME).read_bytes())
    model = pycolmap.Reconstruction(sparse_dir)
    registered = {image.name for image in model.images.values() if image.has_pose}
    frames = choose_frames(manifest, registered, conf.stray_depth_subsample)
    if not frames:
        report.log("  No LiDAR cloud: the capture has no depth for the pictures in the model")
        return
    cloud, summary = fuse(capture_dir, model, frames, conf, report)
    if not len(cloud):
        report.warn(
            f"No LiDAR cloud: not one depth reading of {len(frames)} frames reaches confidence {conf.stray_confidence}. "
            "A lower stray_confidence (0 or 1) accepts more."
        )
        return
    write_ply(out_dir / CLOUD_NAME, cloud)
    (out_dir / SUMMARY_NAME).write_text(summary.model_dump_json(indent=2), encoding="utf-8")
    report.log(
        f"  ✓ LiDAR cloud: {summary.points:,} points from {summary.frames} frames, voxel {1000 * summary.voxel_m:.0f} mm"
    )
