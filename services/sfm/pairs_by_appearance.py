"""Pictures that look alike, by vectors of locally aggregated descriptors (VLAD; Jégou et al., CVPR 2010).

Vocabulary and vectors come from the data set's own descriptors: no trained file is needed, and what repeats all over this
building weighs little. Normalised within words and by signed square roots (Arandjelović and Zisserman, CVPR 2013).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from services.sfm.hloc_files import FeatureReader
from services.sfm.pairs_by_pose import Pairs, unique_pairs

WORDS = 64
TRAINING_DESCRIPTORS = 40_000
DESCRIPTORS_PER_IMAGE = 2000
ROUNDS = 8

Vectors = NDArray[np.float32]


def _nearest(descriptors: Vectors, words: Vectors) -> NDArray[np.int64]:
    """Index (n,) of the word nearest to each descriptor."""
    distances = (words**2).sum(axis=1) - 2 * descriptors @ words.T
    return np.asarray(distances.argmin(axis=1), np.int64)


def vocabulary(descriptors: Vectors, words: int = WORDS) -> Vectors:
    """Centres (k, d) of k-means by Lloyd's algorithm, k = `words` or fewer; always the same for the same input."""
    rng = np.random.default_rng(0)
    centres = descriptors[rng.choice(len(descriptors), min(words, len(descriptors)), replace=False)]
    for _ in range(ROUNDS):
        nearest = _nearest(descriptors, centres)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, descriptors)
        filled = counts > 0
        centres = centres.copy()
        centres[filled] = sums[filled] / counts[filled, None]
    return centres


def aggregate(descriptors: Vectors, words: Vectors) -> Vectors:
    """VLAD (k * d,) of one picture's descriptors (n, d): unit length, zero for a picture without any."""
    nearest = _nearest(descriptors, words)
    order = np.argsort(nearest, kind="stable")
    residuals = (descriptors - words[nearest])[order]
    present, starts = np.unique(nearest[order], return_index=True)
    sums = np.zeros_like(words)
    if len(present):
        sums[present] = np.add.reduceat(residuals, starts, axis=0)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    flat = np.sign(sums.ravel()) * np.sqrt(np.abs(sums.ravel()))
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9), np.float32)


def describe(names: Sequence[str], features: FeatureReader, progress: Callable[[int, int], None]) -> Vectors:
    """One VLAD per picture, (n, k * d) float32, from its keypoints of largest scale."""
    per_image = max(1, TRAINING_DESCRIPTORS // max(1, len(names)))
    chosen = [_strongest(features, name) for name in names]
    training = [descriptors[:: max(1, len(descriptors) // per_image)][:per_image] for descriptors in chosen]
    gathered = np.concatenate(training) if training else np.zeros((0, 128), np.float32)
    if len(gathered) < 2:
        return np.zeros((len(names), 1), np.float32)
    words = vocabulary(gathered.astype(np.float32))
    vectors = np.zeros((len(names), words.size), np.float32)
    for index, descriptors in enumerate(chosen):
        vectors[index] = aggregate(descriptors.astype(np.float32), words)
        progress(index + 1, len(names))
    return vectors


def _strongest(features: FeatureReader, name: str) -> NDArray[np.float16]:
    found = features.read(name)
    return found.descriptors[np.argsort(-found.scores, kind="stable")[:DESCRIPTORS_PER_IMAGE]]


def loop_pairs(vectors: Vectors, per_frame: int, least_gap: int) -> Pairs:
    """For each frame the `per_frame` most alike that are `least_gap` or more frames away; (p, 2) int64.

    Of neighbouring candidates only the best is taken, so that one revisited place does not use up the number.
    """
    count = len(vectors)
    similarity = vectors @ vectors.T
    found = []
    for frame in range(count):
        scores = similarity[frame].copy()
        scores[max(0, frame - least_gap + 1) : frame + least_gap] = -np.inf
        for _ in range(per_frame):
            best = int(scores.argmax())
            if not scores[best] > 0:
                break
            found.append((frame, best))
            scores[max(0, best - 2) : best + 3] = -np.inf
    return unique_pairs(np.array(found, np.int64).reshape(-1, 2))
