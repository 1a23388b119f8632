"""Step 5: a coloured cloud of every model.

In: the pictures and `sparse/*`. Out: `cluster0.ply` and on, largest model first, and `clouds.json`.

Depth maps of plane sweeps, cross-checked between pictures, are fused in voxels of `VOXEL` model units together with the
triangulated points. A model's unit is a tenth of the span of its middle 80 % of camera centres, as COLMAP scales models: nothing
tells metres. Voxels double in size until there are at most `MAX_POINTS`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from contracts.model import Message
from contracts.photos import PICTURES_FOLDER
from contracts.progress import Reporter
from services.sfm.cloud import PointCloud, Readings, VoxelCloud, grid_normals, write_ply
from services.sfm.models import Floats, Ints
from services.sfm.photos import plane_sweep
from services.sfm.photos.plane_sweep import Floats32, View

SUMMARY_NAME = "clouds.json"
VOXEL = 0.02
MAX_POINTS = 500_000
LEAST_CONFIRMATIONS = 2
SPARSE_WEIGHT = 25.0
"""Of a triangulated point, in pixels of depth maps that see the same: it is five times as accurate."""
_COMMENT = "model units (middle 80 % of camera centres span ten), in the frame of submission.csv"
_MIN_INCIDENCE = 0.2


class CloudFacts(Message):
    """One PLY."""

    file: str
    points: int
    sparse_points: int
    """Triangulated ones, before voxels."""
    dense_pictures: int
    """Pictures with a depth map."""
    voxel: float


class CloudsSummary(Message):
    """`clouds.json`, in the order of `sparse/`."""

    clouds: tuple[CloudFacts, ...]


@dataclass(frozen=True)
class _Placed:
    """A picture of the model. points: (k,) indices of what it sees."""

    name: str
    camera: pycolmap.Camera
    camera_from_world: Floats
    centre: Floats
    points: Ints


@dataclass(frozen=True)
class _Model:
    pictures: tuple[_Placed, ...]
    positions: Floats
    colours: Floats


def _read(folder: Path) -> _Model:
    model = pycolmap.Reconstruction(folder)
    index = {point_id: number for number, point_id in enumerate(model.points3D)}
    pictures = []
    for image_id in sorted(model.reg_image_ids()):
        image = model.image(image_id)
        seen = np.array([index[point.point3D_id] for point in image.get_observation_points2D()], np.int64)
        pose = np.asarray(image.cam_from_world().matrix(), np.float64)
        centre = np.asarray(image.projection_center(), np.float64)
        pictures.append(_Placed(image.name, model.camera(image.camera_id), pose, centre, seen))
    positions = np.array([point.xyz for point in model.points3D.values()], np.float64).reshape(-1, 3)
    colours = np.array([point.color for point in model.points3D.values()], np.float64).reshape(-1, 3)
    return _Model(tuple(pictures), positions, colours)


def neighbours_of(pictures: tuple[_Placed, ...], positions: Floats) -> list[Ints]:
    """For each picture those to sweep over, best first. Only pictures that share points are looked at."""
    watchers: dict[int, list[int]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        for point in picture.points:
            watchers[int(point)].append(number)
    chosen = []
    for number, picture in enumerate(pictures):
        shared: dict[int, list[int]] = defaultdict(list)
        for point in picture.points:
            for other in watchers[int(point)]:
                if other != number:
                    shared[other].append(int(point))
        others = sorted(shared)
        centres = np.array([pictures[other].centre for other in others]).reshape(-1, 3)
        best = plane_sweep.choose_neighbours(picture.centre, centres, [positions[shared[other]] for other in others])
        chosen.append(np.array(others, np.int64)[best])
    return chosen


class _Views:
    """Small pictures of a model and their depth maps, the latter on disk: a thousand of them are 700 MB."""

    def __init__(self, model: _Model, pictures: Path, scratch: Path) -> None:
        self._model, self._pictures, self._scratch = model, pictures, scratch
        self._views: dict[int, View] = {}

    def view(self, number: int) -> View:
        if number not in self._views:
            placed = self._model.pictures[number]
            picture = cv2.imread(str(self._pictures / placed.name), cv2.IMREAD_COLOR)
            if picture is None:
                raise FileNotFoundError(f"{placed.name} is in the model and not in the collection")
            self._views[number] = plane_sweep.view(
                np.ascontiguousarray(picture[..., ::-1]), placed.camera, placed.camera_from_world
            )
        return self._views[number]

    def keep(self, number: int, depth: Floats32) -> None:
        np.save(self._scratch / f"{number}.npy", depth)

    def depth(self, number: int) -> Floats32 | None:
        path = self._scratch / f"{number}.npy"
        return np.asarray(np.load(path), np.float32) if path.exists() else None


def _sweep_all(model: _Model, neighbours: list[Ints], views: _Views) -> Iterator[bool]:
    """Make every depth map that has neighbours; whether there is one, picture by picture."""
    for number, placed in enumerate(model.pictures):
        if not len(neighbours[number]):
            yield False
            continue
        depths = model.positions[placed.points] @ placed.camera_from_world[2, :3] + placed.camera_from_world[2, 3]
        planes = plane_sweep.inverse_depths(depths[depths > 0])
        others = [views.view(int(other)) for other in neighbours[number]]
        views.keep(number, plane_sweep.sweep(views.view(number), others, planes).depth)
        yield True


def _readings(number: int, neighbours: list[Ints], views: _Views) -> Readings | None:
    """Points of one depth map that neighbours confirm, in the world."""
    depth = views.depth(number)
    if depth is None:
        return None
    there = [(views.view(int(other)), views.depth(int(other))) for other in neighbours[number]]
    maps = [(view, found) for view, found in there if found is not None]
    reference = views.view(number)
    least = min(LEAST_CONFIRMATIONS, max(1, len(maps)))
    good = plane_sweep.confirmed(reference, depth, maps, least)
    points = plane_sweep.grid_points(reference, depth)
    normals = grid_normals(points)
    distance = np.maximum(np.linalg.norm(points, axis=-1), 1e-12)
    incidence = -(normals * points).sum(-1) / distance
    good &= incidence > _MIN_INCIDENCE
    rotation, translation = reference.camera_from_world[:, :3], reference.camera_from_world[:, 3]
    footprint = depth[good] / reference.matrix[0, 0]
    return Readings(
        points_m=(points[good] - translation) @ rotation,
        normals=normals[good] @ rotation,
        colours=reference.colour[good].astype(np.float32),
        weights=incidence[good] / np.maximum(footprint, 1e-9) ** 2,
    )


def _sparse(model: _Model) -> Readings:
    """The triangulated points, each with the direction to a picture that sees it in place of a normal."""
    towards = np.zeros_like(model.positions)
    footprint = np.full(len(model.positions), np.inf)
    for placed in model.pictures:
        away = placed.centre - model.positions[placed.points]
        distance = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
        towards[placed.points] += away / distance
        pixel = distance[:, 0] / placed.camera.mean_focal_length() * max(placed.camera.width, placed.camera.height)
        footprint[placed.points] = np.minimum(footprint[placed.points], pixel / plane_sweep.LONGEST_SIDE_PX)
    known = np.isfinite(footprint)
    length = np.maximum(np.linalg.norm(towards[known], axis=1, keepdims=True), 1e-12)
    return Readings(
        points_m=model.positions[known],
        normals=towards[known] / length,
        colours=model.colours[known].astype(np.float32),
        weights=SPARSE_WEIGHT / np.maximum(footprint[known], 1e-9) ** 2,
    )


def cloud_of(model: _Model, pictures: Path, scratch: Path, listening: "_Listening") -> tuple[PointCloud, int, float]:
    """The cloud of one model, how many depth maps went in, and the voxel's edge in the end."""
    scratch.mkdir(parents=True)
    views = _Views(model, pictures, scratch)
    neighbours = neighbours_of(model.pictures, model.positions)
    voxels = VoxelCloud(VOXEL, MAX_POINTS)
    made = 0
    for found in _sweep_all(model, neighbours, views):
        made += found
        listening.heard()
    for number in range(len(model.pictures)):
        readings = _readings(number, neighbours, views)
        if readings is not None and len(readings):
            voxels.add(readings)
    voxels.add(_sparse(model))
    cloud, _ = voxels.result(1)
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    return cloud, made, voxels.voxel_m


@dataclass
class _Listening:
    report: Reporter
    total: int
    done: int = 0

    def heard(self) -> None:
        self.done += 1
        self.report.progress(self.done, self.total, "Making depth maps")


def main(collection: Path, mapping_dir: Path, out_dir: Path, report: Reporter) -> CloudsSummary:
    """Write a PLY per model and `clouds.json`, and return what the latter holds.

    One model's small pictures are in memory at once (0.7 MB each), and the correlations of one sweep (130 MB).
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    folders = sorted((mapping_dir / "sparse").iterdir(), key=lambda folder: int(folder.name))
    models = [_read(folder) for folder in folders]
    listening = _Listening(report, sum(len(model.pictures) for model in models))
    facts = []
    for number, model in enumerate(models):
        cloud, made, voxel = cloud_of(model, collection / PICTURES_FOLDER, out_dir / "scratch", listening)
        name = f"cluster{number}.ply"
        write_ply(out_dir / name, cloud, _COMMENT)
        facts.append(
            CloudFacts(
                file=name, points=len(cloud), sparse_points=len(model.positions), dense_pictures=made, voxel=voxel
            )
        )
        report.log(f"cluster{number}: {len(cloud):,} points in the cloud, from {made} depth maps, voxel {voxel:g}")
    summary = CloudsSummary(clouds=tuple(facts))
    (out_dir / SUMMARY_NAME).write_text(summary.model_dump_json(indent=2), encoding="utf-8")
    return summary
