"""Step 2: which pictures are compared.

Each with each in a small collection. In a larger one each with those that look most alike, by vectors of locally aggregated
descriptors from the collection's own features (VLAD; Jégou et al., CVPR 2010), and with those that its name stands beside:
people take pictures of one place one after the other.
"""

from pathlib import Path

import numpy as np

from contracts.progress import Reporter
from services.sfm import hloc_files, pairs_by_appearance
from services.sfm.hloc_files import FEATURES_NAME, PAIRS_NAME, FeatureReader
from services.sfm.pairs import exhaustive
from services.sfm.pairs_by_appearance import Vectors
from services.sfm.pairs_by_pose import Pairs, unique_pairs
from services.sfm.photos.collection import database_name, read_manifest

EXHAUSTIVE_PICTURES = 60
"""Up to so many pictures all pairs are compared."""
ALIKE_PER_PICTURE = 22
NAMES_AHEAD = 2
_ROWS_AT_ONCE = 1024


def most_alike(vectors: Vectors, per_picture: int) -> Pairs:
    """For each of n unit vectors (n, d) the `per_picture` with the largest scalar product; (p, 2) int64.

    Pictures without features, whose vectors are zero, get none. Ties go to the smaller index.
    """
    count = len(vectors)
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, count))
        similarity = vectors[rows] @ vectors.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        best = np.argsort(-similarity, axis=1, kind="stable")[:, : min(per_picture, count - 1)]
        useful = np.take_along_axis(similarity, best, axis=1) > 0
        found.append(np.stack([np.broadcast_to(rows[:, None], best.shape)[useful], best[useful]], axis=1))
    return unique_pairs(np.concatenate(found))


def beside(count: int, ahead: int) -> Pairs:
    """Each of `count` pictures with the `ahead` next ones; (p, 2) int64."""
    first = np.arange(count)
    found = [np.stack([first[:-step], first[step:]], axis=1) for step in range(1, ahead + 1) if step < count]
    return unique_pairs(np.concatenate([np.zeros((0, 2), np.int64), *found]))


def shortlist(names: list[str], features: FeatureReader, report: Reporter) -> Pairs:
    """Pairs (p, 2) int64 of a large collection, whose names are in order."""
    vectors = pairs_by_appearance.describe(
        names, features, lambda done, total: report.progress(done, total, "Looking for pictures that are alike")
    )
    return unique_pairs(np.concatenate([most_alike(vectors, ALIKE_PER_PICTURE), beside(len(names), NAMES_AHEAD)]))


def main(collection: Path, features_dir: Path, out_dir: Path, report: Reporter) -> None:
    """Choose pairs; writes `out_dir/pairs.txt`, "name0 name1" per line."""
    names = [database_name(photo) for photo in read_manifest(collection).photos]
    everything = len(names) * (len(names) - 1) // 2
    if len(names) <= EXHAUSTIVE_PICTURES:
        found = exhaustive(len(names))
    else:
        with FeatureReader(features_dir / FEATURES_NAME) as features:
            found = shortlist(names, features, report)
    out_dir.mkdir(parents=True, exist_ok=True)
    hloc_files.write_pairs(out_dir / PAIRS_NAME, [(names[first], names[second]) for first, second in found])
    report.progress(1, 1, "Pairs chosen")
    report.log(f"{len(found):,} of {everything:,} possible pairs are compared")
