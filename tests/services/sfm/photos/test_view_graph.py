"""Look-alike pairs are refuted by loops, by absent matches and by the long way around; true ones stay."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from services.sfm.photos import view_graph
from services.sfm.photos.view_graph import ViewGraph
from tests.services.sfm.photos.graphs import GraphSpec, ring_graph

LEAST_PICTURES = 3


def test_loops_are_every_three_pairs_that_close() -> None:
    pairs = np.array([(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)])
    loops = view_graph.triplets(pairs, 4)
    assert loops.tolist() == [[0, 2, 1], [2, 4, 3]]


def test_rotations_of_true_pairs_cancel_around_loops() -> None:
    graph, _ = ring_graph(GraphSpec(pictures=12, reach=3))
    angles = view_graph.loop_angles(graph, view_graph.triplets(graph.pairs, graph.pictures))
    assert np.rad2deg(angles.max()) < 2.0


def test_pairs_with_random_rotations_are_not_believed() -> None:
    graph, false = ring_graph(GraphSpec(pictures=20, reach=3, random_pairs=12, seed=3))
    probability = view_graph.believed(graph)
    assert (probability[false] < 0.5).mean() > 0.9
    assert (probability[~false] > 0.5).all()


def test_a_pair_without_loops_is_judged_by_its_inliers() -> None:
    few, many = (
        view_graph.believed(
            ViewGraph(
                np.array([(0, 1)]),
                (np.stack([np.arange(inliers)] * 2, axis=1),),
                np.eye(3)[None],
                (np.zeros((inliers, 2)), np.zeros((inliers, 2))),
            )
        )[0]
        for inliers in (15, 200)
    )
    assert few < 0.5 < many


def test_global_rotations_are_the_true_ones() -> None:
    graph, _ = ring_graph(GraphSpec(pictures=16, reach=2, seed=4))
    rotations = view_graph.global_rotations(graph, np.ones(len(graph.pairs)))
    true = (
        Rotation.from_euler("y", np.linspace(0, 360, 16, endpoint=False)[:, None], degrees=True)
        .as_matrix()
        .transpose(0, 2, 1)
    )
    apart = rotations @ (rotations[0].T @ true[0]) @ true.transpose(0, 2, 1)
    angles = np.arccos(np.clip((np.trace(apart, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.rad2deg(angles.max()) < 2.0


def test_look_alikes_that_agree_with_each_other_contradict_the_way_around() -> None:
    """Front and back of a house: false pairs between opposite pictures, every one with the same consistent rotation."""
    graph, false = ring_graph(GraphSpec(pictures=24, reach=3, opposite_pairs=True, seed=5))
    assert false.sum() >= 5
    clusters = view_graph.cluster(graph, LEAST_PICTURES)
    refuted = np.zeros(len(graph.pairs), np.bool_)
    refuted[clusters.refuted] = True
    assert refuted[false].all()
    assert refuted[~false].mean() < 0.05
    assert clusters.count == 1


def test_two_scenes_with_a_chance_pair_are_two_clusters_and_lone_pictures_are_none() -> None:
    one, _ = ring_graph(GraphSpec(pictures=12, reach=3, seed=6))
    other, _ = ring_graph(GraphSpec(pictures=8, reach=3, seed=7))
    shared = np.stack([np.arange(17)] * 2, axis=1)
    graph = ViewGraph(
        np.concatenate([one.pairs, other.pairs + 12, [(2, 15), (3, 20)]]),
        (*one.matches, *other.matches, shared, shared),
        np.concatenate([one.second_from_first, other.second_from_first, np.eye(3)[None], np.eye(3)[None]]),
        (*one.keypoints_px, *other.keypoints_px, np.random.default_rng(0).uniform(0, 640, (50, 2))),
    )
    clusters = view_graph.cluster(graph, LEAST_PICTURES)
    assert clusters.labels.tolist() == [0] * 12 + [1] * 8 + [-1]


@pytest.mark.parametrize(("matched", "least", "most"), [(1.0, 0.95, 1.0), (0.3, 0.2, 0.4), (0.05, 0.0, 0.1)])
def test_the_share_of_matches_is_what_was_matched_of_what_others_match(
    matched: float, least: float, most: float
) -> None:
    """Three pictures of the same 300 points; the pair (0, 1) has only a part of its matches."""
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 640, (300, 2))
    points[:4] = [(0, 0), (640, 0), (0, 640), (640, 640)]
    every = np.stack([np.arange(300)] * 2, axis=1)
    chosen = every[np.concatenate([np.arange(4), 4 + rng.permutation(296)[: round(matched * 296)]])]
    pairs = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    graph = ViewGraph(pairs, (chosen, *[every] * 5), np.tile(np.eye(3), (6, 1, 1)), (points,) * 4)
    assert least <= view_graph.match_shares(graph)[0] <= most
