"""Models that show one place become one model.

Two models touch where a verified match, or a picture that is in both, makes a point of one the same as a point of the other.
A similarity through those pairs of points (Umeyama 1991, in LO-RANSAC) lays one model over the other; points are then
triangulated anew from all matches and everything is adjusted. The merged model stands if no picture loses its support and
if pictures of the two parts that now look at the same surface have matches that say so.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from services.sfm.models import Floats, Ints
from services.sfm.photos.agreement import LEAST_EXPECTED, agreement
from services.sfm.photos.view_graph import ViewGraph

MIN_COMMON_POINTS = 20
MIN_COMMON_SHARE = 0.4
MIN_COMMON_PICTURES = 2
COMMON_ERROR_SHARE = 0.02
"""Of the median distance from cameras to points: how far two points may lie apart that are one."""
MIN_OBSERVATIONS = 15
"""Points that a picture must see to keep its pose, as many as a pair needs matches."""
MAX_LOST_SHARE = 0.1
MIN_CROSS_SHARE = 0.3
"""Of the share of points matched within the parts: what pictures of different parts must reach."""
MAX_ERROR_PX = 4.0
MIN_ANGLE_DEG = 1.5


@dataclass(frozen=True)
class Common:
    """Points that two models should share. first, second: (k, 3) positions in each; pictures: fewest involved of either."""

    first: Floats
    second: Floats
    pictures: int


def point_ids(model: pycolmap.Reconstruction) -> dict[int, Ints]:
    """Of every picture with a pose the point (k,) of each keypoint, -1 for none, by image id."""
    out = {}
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        points = np.full(image.num_points2D(), -1, np.int64)
        for index in image.get_observation_point2D_idxs():
            points[index] = image.point2D(index).point3D_id
        out[image_id] = points
    return out


def common_points(first: pycolmap.Reconstruction, second: pycolmap.Reconstruction, graph: ViewGraph) -> Common:
    """By the pairs of the graph, whose picture index is the image id less one, and by pictures that are in both."""
    mine, theirs = point_ids(first), point_ids(second)
    found: list[Ints] = [np.zeros((0, 2), np.int64)]
    pictures: tuple[set[int], set[int]] = (set(), set())

    def add(id_first: int, id_second: int, matches: Ints) -> None:
        pairs = np.stack([mine[id_first][matches[:, 0]], theirs[id_second][matches[:, 1]]], axis=1)
        pairs = pairs[(pairs >= 0).all(axis=1)]
        if len(pairs):
            found.append(pairs)
            pictures[0].add(id_first)
            pictures[1].add(id_second)

    for (a, b), matches in zip(graph.pairs + 1, graph.matches, strict=True):
        if a in mine and b in theirs:
            add(int(a), int(b), matches)
        if b in mine and a in theirs:
            add(int(b), int(a), matches[:, ::-1])
    for image_id in sorted(mine.keys() & theirs.keys()):
        every = np.arange(len(mine[image_id]))
        add(image_id, image_id, np.stack([every, every], axis=1))
    distinct = np.unique(np.concatenate(found), axis=0)
    return Common(
        np.array([first.point3D(int(i)).xyz for i in distinct[:, 0]]).reshape(-1, 3),
        np.array([second.point3D(int(i)).xyz for i in distinct[:, 1]]).reshape(-1, 3),
        min(len(pictures[0]), len(pictures[1])),
    )


def typical_distance(model: pycolmap.Reconstruction) -> float:
    """Median over pictures of the median distance to the points they see, in the model's units."""
    positions = {point_id: point.xyz for point_id, point in model.points3D.items()}
    medians = []
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        seen = [positions[point.point3D_id] for point in image.get_observation_points2D()]
        if seen:
            away = np.linalg.norm(np.array(seen) - image.projection_center(), axis=1)
            medians.append(float(np.median(away)))
    return float(np.median(medians)) if medians else 0.0


def similarity(
    first: pycolmap.Reconstruction, second: pycolmap.Reconstruction, graph: ViewGraph
) -> pycolmap.Sim3d | None:
    """`second_from_first`, or None where too few common points agree on one."""
    common = common_points(first, second, graph)
    if len(common.first) < MIN_COMMON_POINTS or common.pictures < MIN_COMMON_PICTURES:
        return None
    options = pycolmap.RANSACOptions()
    options.max_error = COMMON_ERROR_SHARE * typical_distance(second)
    options.random_seed = 0
    found = pycolmap.estimate_sim3d_robust(common.first, common.second, options)
    if found is None:
        return None
    moved = common.first @ (found.scale * np.asarray(found.rotation.matrix())).T + found.translation
    inliers = int((np.linalg.norm(moved - common.second, axis=1) < options.max_error).sum())
    enough = inliers >= max(MIN_COMMON_POINTS, MIN_COMMON_SHARE * len(common.first))
    return found if enough and found.scale > 0 else None


def _united(first: pycolmap.Reconstruction, second: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """Cameras and poses of both, which lie in one world; a picture that is in both is where the second has it."""
    united = pycolmap.Reconstruction()
    taken: set[int] = set()
    for model in (second, first):
        for image_id in sorted(model.reg_image_ids()):
            image = model.image(image_id)
            if image_id in taken:
                continue
            taken.add(image_id)
            if not united.exists_camera(image.camera_id):
                united.add_camera_with_trivial_rig(model.camera(image.camera_id))
            copy = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=image_id)
            united.add_image_with_trivial_frame(copy, image.cam_from_world())
    return united


def retriangulated(
    poses: pycolmap.Reconstruction, database: Path, scratch: Path, options: pycolmap.IncrementalPipelineOptions
) -> pycolmap.Reconstruction:
    """Points from all matches of the database at given poses, then everything adjusted."""
    scratch.mkdir(parents=True, exist_ok=True)
    model = pycolmap.triangulate_points(poses, database, scratch, scratch, True, options)
    adjust(model, options.num_threads)
    return model


def adjust(model: pycolmap.Reconstruction, threads: int) -> None:
    """Bundle adjustment twice, without what does not fit after the first, in place."""
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_principal_point = False
    options.ceres.solver_options.num_threads = threads
    for _ in range(2):
        pycolmap.bundle_adjustment(model, options)
        pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR_PX, MIN_ANGLE_DEG)
    model.update_point_3d_errors()


def supported(model: pycolmap.Reconstruction) -> set[int]:
    """Ids of the pictures that see enough points."""
    return {image_id for image_id in model.reg_image_ids() if model.image(image_id).num_points3D >= MIN_OBSERVATIONS}


def _stands(merged: pycolmap.Reconstruction, first: set[int], second: set[int]) -> bool:
    """Whether the parts keep their pictures, are held together by points, and agree on what they both look at."""
    held = supported(merged)
    if len(held) < (1 - MAX_LOST_SHARE) * len(first | second):
        return False
    crossing = sum(
        bool(ids & (first - second)) and bool(ids & (second - first))
        for ids in ({element.image_id for element in point.track.elements} for point in merged.points3D.values())
    )
    if crossing < MIN_COMMON_POINTS and not first & second:
        return False
    found = agreement(merged)
    a_first, b_first = (np.isin(found.pairs[:, side], sorted(first - second)) for side in (0, 1))
    a_second, b_second = (np.isin(found.pairs[:, side], sorted(second - first)) for side in (0, 1))
    cross = (a_first & b_second) | (a_second & b_first)
    expected, matched = int(found.expected[cross].sum()), int(found.matched[cross].sum())
    within_expected, within_matched = int(found.expected[~cross].sum()), int(found.matched[~cross].sum())
    if expected < LEAST_EXPECTED or not within_expected:
        return True
    return matched / expected >= MIN_CROSS_SHARE * within_matched / within_expected


@dataclass(frozen=True)
class Verified:
    """Matches that are believed: as a graph, in the database that mappers see, and the mapper's options."""

    graph: ViewGraph
    database: Path
    options: pycolmap.IncrementalPipelineOptions


def merged(
    first: pycolmap.Reconstruction, second: pycolmap.Reconstruction, matches: Verified, scratch: Path
) -> pycolmap.Reconstruction | None:
    """One model of two, in the world of the second, or None where they do not belong together."""
    second_from_first = similarity(first, second, matches.graph)
    if second_from_first is None:
        return None
    moved = pycolmap.Reconstruction(first)
    moved.transform(second_from_first)
    model = retriangulated(_united(moved, second), matches.database, scratch, matches.options)
    stands = _stands(model, set(first.reg_image_ids()), set(second.reg_image_ids()))
    return model if stands else None
