"""Whether pictures of a model agree that they show the same surface.

Two pictures that look at one surface from about the same direction match a good part of what each of them sees there. Where
a model says that they do, and hardly anything is matched, one of them shows a look-alike (Heinly, Dunn and Frahm, "Correcting
for duplicate scene structure in sparse 3D reconstruction", ECCV 2014: conflicting observations).
"""

from dataclasses import dataclass

import numpy as np
import pycolmap
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from services.sfm.models import Bools, Floats, Ints

NEAREST_PICTURES = 12
MAX_VIEW_ANGLE_RAD = np.deg2rad(20.0)
MAX_ZOOM = 1.6
LOCAL_RADIUS_SHARE = 0.04
"""Of the longest side: a point's surroundings in a picture, whose depth tells whether the same surface is there."""
LOCAL_DEPTH_SHARE = 0.05
LEAST_EXPECTED = 40
"""Points that two pictures should share, from which on their silence means something."""
USUAL_QUANTILE = 0.75
CONFLICT_SHARE = 0.3
"""Of the model's usual share of matched points: pairs below are in conflict. What is usual is an upper quartile, since in a
folded model half of the pairs may be false."""


@dataclass(frozen=True)
class Seen:
    """A picture with a pose: the points it observes. points (k,) indices into the model's, pixels (k, 2), depth (k,)."""

    image_id: int
    camera: pycolmap.Camera
    camera_from_world: Floats
    centre: Floats
    points: Ints
    pixels: Floats
    depth: Floats


@dataclass(frozen=True)
class Agreement:
    """pairs (e, 2) image ids; expected and matched (e,): points that should be shared, and that are."""

    pairs: Ints
    expected: Ints
    matched: Ints

    @property
    def shares(self) -> Floats:
        return np.asarray(self.matched / np.maximum(self.expected, 1))

    @property
    def telling(self) -> Bools:
        """Pairs (e,) that should share enough points for their silence to mean something."""
        return np.asarray(self.expected >= LEAST_EXPECTED)

    @property
    def conflicts(self) -> Bools:
        """Which pairs (e,) are in conflict, by what is usual in the model."""
        if not self.telling.any():
            return np.zeros(len(self.pairs), np.bool_)
        usual = np.quantile(self.shares[self.telling], USUAL_QUANTILE)
        return np.asarray(self.telling & (self.shares < CONFLICT_SHARE * usual))

    def sides(self) -> tuple[dict[int, int], set[tuple[int, int]]]:
        """Groups of pictures that agree, by image id, and which groups (smaller number first) are in conflict.

        Groups are the parts that pairs in agreement connect; two are in conflict if a pair between them is.
        """
        ids = np.unique(self.pairs)
        places = np.searchsorted(ids, self.pairs)
        agreeing = self.telling & ~self.conflicts
        ones = np.ones(int(agreeing.sum()))
        links = coo_array((ones, (places[agreeing, 0], places[agreeing, 1])), shape=(len(ids), len(ids)))
        _, groups = connected_components(links, directed=False)
        between = {(int(min(groups[a], groups[b])), int(max(groups[a], groups[b]))) for a, b in places[self.conflicts]}
        return (
            {int(image_id): int(group) for image_id, group in zip(ids, groups, strict=True)},
            {pair for pair in between if pair[0] != pair[1]},
        )


def observed(model: pycolmap.Reconstruction) -> tuple[list[Seen], Floats]:
    """Every picture with a pose, by image id, and the points (m, 3)."""
    index = {point_id: number for number, point_id in enumerate(model.points3D)}
    positions = np.array([point.xyz for point in model.points3D.values()], np.float64).reshape(-1, 3)
    seen = []
    for image_id in sorted(model.reg_image_ids()):
        image = model.image(image_id)
        found = image.get_observation_points2D()
        points = np.array([index[point.point3D_id] for point in found], np.int64)
        pixels = np.array([point.xy for point in found], np.float64).reshape(-1, 2)
        pose = np.asarray(image.cam_from_world().matrix(), np.float64)
        depth = positions[points] @ pose[2, :3] + pose[2, 3]
        centre = np.asarray(image.projection_center(), np.float64)
        seen.append(Seen(image_id, model.camera(image.camera_id), pose, centre, points, pixels, depth))
    return seen, positions


def _expected(first: Seen, second: Seen, positions: Floats) -> Ints:
    """Points of the first picture that the second should have matched, by the model."""
    world = positions[first.points]
    local = world @ second.camera_from_world[:, :3].T + second.camera_from_world[:, 3]
    ray_first, ray_second = world - first.centre, world - second.centre
    lengths = np.linalg.norm(ray_first, axis=1) * np.linalg.norm(ray_second, axis=1)
    near = (ray_first * ray_second).sum(1) > np.cos(MAX_VIEW_ANGLE_RAD) * lengths
    focal_ratio = first.camera.mean_focal_length() / second.camera.mean_focal_length()
    zoom = np.abs(np.log(focal_ratio * np.maximum(local[:, 2], 1e-9) / np.maximum(first.depth, 1e-9)))
    candidates = np.flatnonzero(near & (local[:, 2] > 0) & (zoom < np.log(MAX_ZOOM)))
    if not len(candidates) or len(second.pixels) < 3:
        return np.zeros(0, np.int64)
    pixels = np.asarray(second.camera.img_from_cam(local[candidates]), np.float64).reshape(-1, 2)
    radius_px = LOCAL_RADIUS_SHARE * max(second.camera.width, second.camera.height)
    distance, nearest = KDTree(second.pixels).query(pixels, distance_upper_bound=radius_px)
    found = np.isfinite(distance)
    depth = second.depth[nearest[found]]
    same = np.abs(local[candidates[found], 2] - depth) < LOCAL_DEPTH_SHARE * depth
    return np.asarray(first.points[candidates[found][same]])


def agreement(model: pycolmap.Reconstruction) -> Agreement:
    """For every picture and those that stand nearest to it."""
    seen, positions = observed(model)
    if len(seen) < 2:
        return Agreement(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    centres = np.array([picture.centre for picture in seen])
    _, nearest = KDTree(centres).query(centres, k=min(NEAREST_PICTURES + 1, len(seen)))
    pairs = {(min(a, int(b)), max(a, int(b))) for a, row in enumerate(nearest) for b in row if a != b}
    rows = []
    for a, b in sorted(pairs):
        forth, back = _expected(seen[a], seen[b], positions), _expected(seen[b], seen[a], positions)
        matched = np.isin(forth, seen[b].points).sum() + np.isin(back, seen[a].points).sum()
        rows.append((seen[a].image_id, seen[b].image_id, len(forth) + len(back), int(matched)))
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Agreement(table[:, :2], table[:, 2], table[:, 3])
