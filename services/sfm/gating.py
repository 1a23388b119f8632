"""Matches that cannot be true: pairs of look-alike places that the phone's track and its depth tell apart.

A flat is full of doors, sockets and tiles that look alike; a mapper that believes such a pair folds two rooms into one. The
phone drifts by decimetres and degrees at most, and look-alike places are metres or a turn apart, so a coarse test is enough: a
keypoint with LiDAR depth is carried into the other picture by the phone's poses, and must come out roughly where it was matched.
"""

import shutil
from pathlib import Path

import numpy as np
import pycolmap

from services.sfm.models import Floats, Ints
from services.sfm.scene import Scene, rays_of
from services.sfm.trajectory import inverse

MAX_ANGLE_RAD = 0.2
MIN_WITNESSES = 5


def _angles(second_from_first: Floats, first_ray: Floats, depth_m: Floats, second_ray: Floats) -> Floats:
    """Angles (n,) between where the phone expects keypoints of the first picture in the second, and where they matched."""
    known = np.isfinite(depth_m)
    local = np.concatenate([first_ray[known], np.ones((int(known.sum()), 1))], axis=1) * depth_m[known, None]
    expected = local @ second_from_first[:3, :3].T + second_from_first[:3, 3]
    seen = np.concatenate([second_ray[known], np.ones((int(known.sum()), 1))], axis=1)
    cosine = (expected * seen).sum(1) / np.maximum(
        np.linalg.norm(expected, axis=1) * np.linalg.norm(seen, axis=1), 1e-12
    )
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))


def impossible_pairs(scene: Scene, world_from_phone: Floats) -> list[tuple[int, int]]:
    """Image ids of verified pairs that the phone's poses (f, 4, 4) contradict; pairs without depth are kept."""
    rays = rays_of(scene, scene.cache)
    index = {int(image_id): frame for frame, image_id in enumerate(scene.image_ids)}
    camera_from_world = inverse(world_from_phone)
    graph = scene.cache.correspondence_graph
    rejected = []
    for pair_id in graph.image_pairs():
        id1, id2 = pycolmap.pair_id_to_image_pair(pair_id)
        if id1 not in index or id2 not in index:
            continue
        a, b = index[id1], index[id2]
        matches: Ints = np.asarray(graph.extract_matches_between_images(id1, id2), dtype=np.int64)
        one, two = matches[:, 0], matches[:, 1]
        forth = camera_from_world[b] @ world_from_phone[a]
        back = camera_from_world[a] @ world_from_phone[b]
        angles = np.concatenate(
            [
                _angles(forth, rays[a][one], scene.depth_m[a][one], rays[b][two]),
                _angles(back, rays[b][two], scene.depth_m[b][two], rays[a][one]),
            ]
        )
        if len(angles) >= MIN_WITNESSES and np.median(angles) > MAX_ANGLE_RAD:
            rejected.append((id1, id2))
    return rejected


def without_pairs(database: Path, pairs: list[tuple[int, int]], copy: Path) -> None:
    """Write `copy`, the database without the two-view geometries of `pairs` (image ids)."""
    copy.unlink(missing_ok=True)
    shutil.copyfile(database, copy)
    with pycolmap.Database.open(copy) as db, pycolmap.DatabaseTransaction(db):
        for id1, id2 in pairs:
            db.delete_two_view_geometry(id1, id2)
