"""The view graph: which verified pairs can be believed, and which pictures belong together.

Verification alone lets look-alike pairs through: repeated façades, front and back of a symmetric house, chance. Three
witnesses speak against them:

    triplets          rotations around a loop of three pairs must give none (Zach, Klopschitz and Pollefeys, "Disambiguating
                      visual relations using loop constraints", CVPR 2010: the loops say which of the pairs are false)
    absent matches    what other pictures match in the part that two pictures share should be matched between these two as
                      well (Zach, Irschara and Bischof, "What can missing correspondences tell us about 3D structure and
                      motion?", CVPR 2008; Wilson and Snavely, "Network principles for SfM", ICCV 2013)
    long loops        false pairs that agree with each other contradict the way around through better ones: rotations from
                      the best spanning tree, averaged robustly (Chatterjee and Govindu, ICCV 2013)

Pictures are clusters where good pairs connect them. Pairs between clusters are kept aside for merging, which has points in
space to judge by.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from services.sfm.adjustment import exp_rotation, log_rotation
from services.sfm.models import Bools, Floats, Ints

LOOP_TOLERANCE_RAD = np.deg2rad(6.0)
LOOP_HOLDS_IF_TRUE = 0.95
LOOP_HOLDS_IF_FALSE = 0.05
"""How often three rotations cancel if all three pairs are true, and if one of them is not."""
_LOOP_ROUNDS = 12
_LOOP_WEIGHT_OF_MOST = 4.0
"""Loops through one pair share pictures and are no independent witnesses: together they count as so many at most."""
_CERTAIN_INLIERS = 30.0
"""A pair with so many inliers is believed and doubted alike before any loop is looked at ... """
_INLIER_SLOPE = 3.0
"""... and with e times as many, so much more in log odds."""

LEAST_SHARE = 0.12
"""Pairs below are look-alikes or have wide baselines: they do not hold a cluster together by themselves."""
LONG_LOOP_TOLERANCE_RAD = np.deg2rad(20.0)
_AVERAGING_ROUNDS = 40


@dataclass(frozen=True)
class ViewGraph:
    """`n` pictures and `e` verified pairs of them.

    pairs: (e, 2) int64 picture indices, first smaller. matches: per pair (m, 2) keypoint indices. second_from_first:
    (e, 3, 3), NaN where the geometry has no rotation. keypoints_px: per picture (k, 2).
    """

    pairs: Ints
    matches: tuple[Ints, ...]
    second_from_first: Floats
    keypoints_px: tuple[Floats, ...]

    @property
    def pictures(self) -> int:
        return len(self.keypoints_px)

    @property
    def inliers(self) -> Ints:
        """Verified matches (e,) of each pair."""
        return np.array([len(matches) for matches in self.matches], np.int64)

    def only(self, kept: Bools) -> "ViewGraph":
        """The graph with those of its pairs."""
        chosen = np.flatnonzero(kept)
        matches = tuple(self.matches[index] for index in chosen)
        return ViewGraph(self.pairs[chosen], matches, self.second_from_first[chosen], self.keypoints_px)


def read_view_graph(database: Path, pictures: int) -> ViewGraph:
    """Verified pairs of a database whose picture ids are 1 to `pictures`; rotations by the cameras it has now."""
    pairs, matches, rotations = [], [], []
    with pycolmap.Database.open(database) as db:
        keypoints = [_positions(db, number) for number in range(1, pictures + 1)]
        cameras = {image.image_id: db.read_camera(image.camera_id) for image in db.read_all_images()}
        for pair_id, geometry in zip(*db.read_two_view_geometries(), strict=True):
            found = np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)
            if not len(found):
                continue
            first, second = pycolmap.pair_id_to_image_pair(pair_id)
            posed = pycolmap.estimate_two_view_geometry_pose(
                cameras[first], keypoints[first - 1], cameras[second], keypoints[second - 1], geometry
            )
            pose = geometry.cam2_from_cam1 if posed else None
            pairs.append((first - 1, second - 1))
            matches.append(found)
            rotations.append(np.full((3, 3), np.nan) if pose is None else np.asarray(pose.rotation.matrix()))
    return ViewGraph(
        np.array(pairs, np.int64).reshape(-1, 2),
        tuple(matches),
        np.array(rotations, np.float64).reshape(-1, 3, 3),
        tuple(keypoints),
    )


def _positions(db: pycolmap.Database, image_id: int) -> Floats:
    rows = np.asarray(db.read_keypoints(image_id), np.float64)
    return rows[:, :2] if len(rows) else np.zeros((0, 2))


def triplets(pairs: Ints, pictures: int) -> Ints:
    """Loops of three pairs: (t, 3) indices of the pairs (a, b), (b, c), (a, c) with a < b < c."""
    index = {(int(a), int(b)): number for number, (a, b) in enumerate(pairs)}
    later: list[list[int]] = [[] for _ in range(pictures)]
    for a, b in pairs:
        later[int(a)].append(int(b))
    found = [
        (index[a, b], index[b, c], index[a, c])
        for a in range(pictures)
        for b in later[a]
        for c in later[b]
        if (a, c) in index
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def loop_angles(graph: ViewGraph, loops: Ints) -> Floats:
    """By what angle (t,) in radians the rotations of each loop fail to cancel; NaN where one is unknown."""
    ab, bc, ac = (graph.second_from_first[loops[:, place]] for place in range(3))
    around = ac.transpose(0, 2, 1) @ bc @ ab
    cosine = (np.trace(around, axis1=1, axis2=2) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))


def believed(graph: ViewGraph) -> Floats:
    """Probability (e,) that each pair is true, from its inliers and the loops it is part of.

    Mean-field inference in the network of Zach et al.: a loop that does not cancel speaks against each of its pairs as far as
    the other two are believed.
    """
    prior = _INLIER_SLOPE * np.log(np.maximum(graph.inliers, 1) / _CERTAIN_INLIERS)
    prior = np.clip(prior, -2.0, 4.0)
    loops = triplets(graph.pairs, graph.pictures)
    angles = loop_angles(graph, loops)
    loops, angles = loops[np.isfinite(angles)], angles[np.isfinite(angles)]
    if not len(loops):
        return np.asarray(1 / (1 + np.exp(-prior)))
    holds = angles < LOOP_TOLERANCE_RAD
    says = np.where(
        holds,
        np.log(LOOP_HOLDS_IF_TRUE / LOOP_HOLDS_IF_FALSE),
        np.log((1 - LOOP_HOLDS_IF_TRUE) / (1 - LOOP_HOLDS_IF_FALSE)),
    )
    probability = 1 / (1 + np.exp(-prior))
    for _ in range(_LOOP_ROUNDS):
        evidence, weight = np.zeros(len(prior)), np.zeros(len(prior))
        for place in range(3):
            others = probability[loops[:, (place + 1) % 3]] * probability[loops[:, (place + 2) % 3]]
            np.add.at(evidence, loops[:, place], others * says)
            np.add.at(weight, loops[:, place], others)
        tempered = evidence * np.minimum(1.0, _LOOP_WEIGHT_OF_MOST / np.maximum(weight, 1e-9))
        probability = 0.5 * probability + 0.5 / (1 + np.exp(-(prior + tempered)))
    return np.asarray(probability)


def match_shares(graph: ViewGraph) -> Floats:
    """Of what two pictures could match, how much they do: (e,) in 0..1, NaN where nothing can be said.

    A keypoint could be matched if it lies within the hull of the pair's matches and at least two other pairs match it. Of
    the two pictures the larger share counts: a close-up has details that its overview cannot have.
    """
    times = [np.zeros(len(points), np.int64) for points in graph.keypoints_px]
    for (a, b), matches in zip(graph.pairs, graph.matches, strict=True):
        np.add.at(times[a], matches[:, 0], 1)
        np.add.at(times[b], matches[:, 1], 1)
    shares = np.full((len(graph.pairs), 2), np.nan)
    for number, (pair, matches) in enumerate(zip(graph.pairs, graph.matches, strict=True)):
        for side, picture in enumerate(pair):
            mine = np.unique(matches[:, side])
            elsewhere = times[picture].copy()
            elsewhere[mine] -= 1
            stable = np.flatnonzero(elsewhere >= 2)
            inside = stable[_in_hull(graph.keypoints_px[picture][mine], graph.keypoints_px[picture][stable])]
            if len(inside) >= 10:
                shares[number, side] = np.isin(inside, mine).mean()
    known = np.isfinite(shares).any(axis=1)
    out = np.full(len(graph.pairs), np.nan)
    out[known] = np.nanmax(shares[known], axis=1)
    return out


def _in_hull(around: Floats, points: Floats) -> Bools:
    """Which of (n, 2) lie in the convex hull of the others."""
    if len(around) < 3 or not len(points):
        return np.zeros(len(points), np.bool_)
    hull = cv2.convexHull(around.astype(np.float32)).reshape(-1, 2).astype(np.float64)
    edges = np.roll(hull, -1, axis=0) - hull
    offsets = points[:, None, :] - hull[None]
    turns = edges[None, :, 0] * offsets[..., 1] - edges[None, :, 1] * offsets[..., 0]
    return np.asarray((turns >= -1e-6).all(axis=1) | (turns <= 1e-6).all(axis=1))


def global_rotations(graph: ViewGraph, weights: Floats) -> Floats:
    """camera_from_world rotations (n, 3, 3) that agree with most of the pairs' weight; NaN for pictures without pairs.

    Each connected part has a world of its own. Starts from the spanning tree of greatest weight, then iterates to a robust
    mean (weights of Geman and McClure on the residuals).
    """
    usable = np.isfinite(graph.second_from_first).all(axis=(1, 2))
    pairs, weights = graph.pairs[usable], np.maximum(weights[usable], 1e-6)
    relative = graph.second_from_first[usable]
    rotations = np.full((graph.pictures, 3, 3), np.nan)
    if not len(pairs):
        return rotations
    _from_spanning_tree(rotations, pairs, relative, weights)
    _average(rotations, pairs, relative, weights)
    return rotations


def _from_spanning_tree(rotations: Floats, pairs: Ints, relative: Floats, weights: Floats) -> None:
    count = len(rotations)
    costs = 1 + weights.max() - weights
    tree = minimum_spanning_tree(coo_array((costs, (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr())
    index = {(int(a), int(b)): number for number, (a, b) in enumerate(pairs)}
    _, labels = connected_components(tree, directed=False)
    for label in np.unique(labels[pairs[:, 0]]):
        root = int(np.flatnonzero(labels == label)[0])
        rotations[root] = np.eye(3)
        order, parents = breadth_first_order(tree, root, directed=False)
        for child in order[1:]:
            parent = int(parents[child])
            if (parent, int(child)) in index:
                rotations[child] = relative[index[parent, int(child)]] @ rotations[parent]
            else:
                rotations[child] = relative[index[int(child), parent]].T @ rotations[parent]


def _residuals(rotations: Floats, pairs: Ints, relative: Floats) -> Floats:
    """Rotation vectors (e, 3), in the second picture's frame, by which the pairs and the rotations disagree."""
    first, second = rotations[pairs[:, 0]], rotations[pairs[:, 1]]
    return log_rotation(relative @ first @ second.transpose(0, 2, 1))


def _average(rotations: Floats, pairs: Ints, relative: Floats, weights: Floats) -> None:
    """Jacobi steps: every picture moves to the weighted mean of where its pairs want it, half of the way."""
    count = len(rotations)
    for step in range(_AVERAGING_ROUNDS):
        scale = np.deg2rad(max(5.0, 30.0 * 0.85**step))
        residual = _residuals(rotations, pairs, relative)
        robust = weights / (1 + (residual**2).sum(1) / scale**2) ** 2
        first, second = rotations[pairs[:, 0]], rotations[pairs[:, 1]]
        # The same turn, seen by the first picture, with the opposite sign.
        back = -np.einsum("nij,nj->ni", first @ second.transpose(0, 2, 1), residual)
        turn, weight = np.zeros((count, 3)), np.zeros(count)
        for index, wanted in ((pairs[:, 1], residual), (pairs[:, 0], back)):
            np.add.at(turn, index, robust[:, None] * wanted)
            np.add.at(weight, index, robust)
        known = weight > 0
        rotations[known] = exp_rotation(0.5 * turn[known] / weight[known, None]) @ rotations[known]


@dataclass(frozen=True)
class Clusters:
    """labels (n,): cluster of each picture, -1 for none, the largest cluster is 0.

    refuted, between: indices of pairs that no mapper should see, and of believed ones that join two clusters.
    """

    labels: Ints
    refuted: Ints
    between: Ints
    shares: Floats

    @property
    def count(self) -> int:
        return int(self.labels.max(initial=-1)) + 1


def cluster(graph: ViewGraph, least_pictures: int) -> Clusters:
    """Drop pairs that the loops refute, then group pictures by pairs that match enough of what they could."""
    pairs = len(graph.pairs)
    kept = believed(graph) >= 0.5
    shares = np.full(pairs, np.nan)
    shares[kept] = match_shares(graph.only(kept))
    strength = np.where(np.isfinite(shares), shares, LEAST_SHARE) * np.log1p(graph.inliers)
    first = graph.only(kept)
    rotations = global_rotations(first, strength[kept])
    residual = np.linalg.norm(_residuals(rotations, first.pairs, first.second_from_first), axis=1)
    # A pair without a rotation is refuted by nothing.
    contradicted = np.flatnonzero(kept)[residual > LONG_LOOP_TOLERANCE_RAD]
    kept[contradicted] = False
    strong = kept & ~(shares < LEAST_SHARE)
    labels = _largest_first(graph.pairs[strong], graph.pictures, least_pictures)
    inside = labels[graph.pairs[:, 0]] == labels[graph.pairs[:, 1]]
    inside &= labels[graph.pairs[:, 0]] >= 0
    return Clusters(labels, np.flatnonzero(~kept), np.flatnonzero(kept & ~inside), shares)


def _largest_first(pairs: Ints, pictures: int, least_pictures: int) -> Ints:
    """Connected parts (n,) of at least so many pictures, numbered from the largest; -1 for pictures in none."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(pictures, pictures))
    _, parts = connected_components(links, directed=False)
    sizes = np.bincount(parts)
    order = [part for part in np.argsort(-sizes, kind="stable") if sizes[part] >= least_pictures]
    numbers = np.full(len(sizes), -1, np.int64)
    numbers[order] = np.arange(len(order))
    return np.asarray(numbers[parts])
