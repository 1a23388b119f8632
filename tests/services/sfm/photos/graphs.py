"""View graphs with exact truth: pictures around something, whose neighbours match."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from services.sfm.photos.view_graph import ViewGraph

POINTS = 1200
SEEN = 400


@dataclass(frozen=True)
class GraphSpec:
    """Pictures on a circle, each matched with the `reach` next ones on either side."""

    pictures: int
    reach: int
    random_pairs: int = 0
    """Pairs of far pictures with a rotation by chance."""
    opposite_pairs: bool = False
    """Pairs of the first pictures with those opposite, whose few matches say that they see the same side."""
    seed: int = 0


def ring_graph(spec: GraphSpec) -> tuple[ViewGraph, NDArray[np.bool_]]:
    """The graph, and which of its pairs (e,) are false.

    Picture i sees the points from i * POINTS / pictures on; keypoint k of it is the k-th of those.
    """
    rng = np.random.default_rng(spec.seed)
    step = POINTS // spec.pictures
    world = Rotation.from_euler("y", np.linspace(0, 360, spec.pictures, endpoint=False)[:, None], degrees=True)
    rotations = world.as_matrix().transpose(0, 2, 1)
    keypoints = tuple(rng.uniform(0, 640, (SEEN, 2)) for _ in range(spec.pictures))
    pairs: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float64], bool]] = {}

    def noisy(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(Rotation.from_rotvec(rng.normal(0, np.deg2rad(0.3), 3)).as_matrix() @ rotation)

    for first in range(spec.pictures):
        for ahead in range(1, spec.reach + 1):
            second = (first + ahead) % spec.pictures
            shared = np.arange(ahead * step, SEEN)
            matches = np.stack([shared, shared - ahead * step], axis=1)
            matches = matches[rng.uniform(size=len(matches)) < 0.6]
            rotation = noisy(rotations[second] @ rotations[first].T)
            _add(pairs, (first, second), matches, rotation, false=False)
    far = [
        (a, b)
        for a in range(spec.pictures)
        for b in range(a + 1, spec.pictures)
        if min(b - a, spec.pictures - b + a) > spec.reach + 1
    ]
    for place in rng.permutation(len(far))[: spec.random_pairs]:
        chance = rng.permutation(SEEN)[:25]
        matches = np.stack([chance, rng.permutation(SEEN)[:25]], axis=1)
        _add(pairs, far[place], matches, Rotation.random(rng=rng).as_matrix(), false=True)
    if spec.opposite_pairs:
        half = spec.pictures // 2
        for first in range(5):
            for second in range(half, half + 5):
                alike = rng.permutation(SEEN)[:40]
                matches = np.stack([alike, alike], axis=1)
                # As if the second stood where the first side is: half a turn is missing.
                turn = Rotation.from_euler("y", 180, degrees=True).as_matrix()
                rotation = noisy(rotations[second] @ turn @ rotations[first].T)
                _add(pairs, (first, second), matches, rotation, false=True)
    order = sorted(pairs)
    return (
        ViewGraph(
            np.array(order, np.int64),
            tuple(pairs[pair][0] for pair in order),
            np.stack([pairs[pair][1] for pair in order]),
            keypoints,
        ),
        np.array([pairs[pair][2] for pair in order]),
    )


def _add(
    pairs: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float64], bool]],
    pair: tuple[int, int],
    matches: NDArray[np.int64],
    rotation: NDArray[np.float64],
    *,
    false: bool,
) -> None:
    first, second = pair
    if first < second:
        pairs[first, second] = matches, rotation, false
    else:
        pairs[second, first] = matches[:, ::-1], rotation.T, false
