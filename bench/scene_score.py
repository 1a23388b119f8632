"""The score of the Image Matching Challenge 2025 for a table of clusters and poses, against the true one.

    python bench/scene_score.py TRUTH.csv SUBMISSION.csv [--thresholds 0.0025 0.005 0.01 0.02 0.05] [--metres]

Each true scene takes the submitted scene with which it shares most pictures. For each threshold a similarity between submitted and
true camera centres is sought that brings most of them within the threshold (hypotheses from three cameras each: Fischler and
Bolles, "Random sample consensus", CACM 1981; fitted by Umeyama, "Least-squares estimation of transformation parameters between two
point patterns", PAMI 1991; then refitted to all that agree); the share of the scene's pictures that are within is its accuracy. mAA is
the mean over thresholds and all pictures of true scenes. Clusterness is the share of pictures of the right scene in all that the true scenes took. The score
of a dataset is the harmonic mean of both, the score of all the mean over datasets.

The challenge gives every scene thresholds in metres; here they are shares of the scene's extent, the largest distance between two
of its cameras, unless --metres says otherwise.
"""

import argparse
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samples.evaluate import similarity_alignment
from samples.photos_truth import OUTLIERS, TableRow, centre_of, read_table
from samples.surfaces import Floats

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05)
"""Default thresholds: 2.5 cm to half a metre where the cameras are 10 m apart."""
_MOST_TRIPLES = 20_000
_REFITS = 10


@dataclass(frozen=True)
class SceneScore:
    """One true scene. taken: the submitted scene that it took, None where no submitted scene has a picture of it."""

    scene: str
    taken: str | None
    pictures: int
    shared: int
    """Pictures of the scene that are in what it took."""
    taken_size: int
    within: tuple[int, ...]
    """For each threshold, the pictures that are within it."""

    @property
    def accuracy(self) -> float:
        """Mean over thresholds of the share of pictures within."""
        return float(np.mean(self.within)) / self.pictures


@dataclass(frozen=True)
class DatasetScore:
    """One dataset."""

    dataset: str
    scenes: tuple[SceneScore, ...]

    @property
    def maa(self) -> float:
        """Mean average accuracy: over thresholds, and over the pictures of all true scenes."""
        return float(sum(np.mean(s.within) for s in self.scenes)) / sum(s.pictures for s in self.scenes)

    @property
    def clusterness(self) -> float:
        """What is taken twice counts twice, so that scenes thrown together cost."""
        taken = sum(s.taken_size for s in self.scenes)
        return sum(s.shared for s in self.scenes) / taken if taken else 0.0

    @property
    def score(self) -> float:
        total = self.maa + self.clusterness
        return 2 * self.maa * self.clusterness / total if total > 0 else 0.0


@dataclass(frozen=True)
class Score:
    """All datasets of the truth."""

    datasets: tuple[DatasetScore, ...]

    @property
    def score(self) -> float:
        return float(np.mean([d.score for d in self.datasets]))

    def lines(self) -> Iterable[str]:
        """For people."""
        for d in self.datasets:
            for s in d.scenes:
                yield (
                    f"{d.dataset}/{s.scene}: took {s.taken or 'nothing'} ({s.shared} of {s.pictures} pictures, {s.taken_size} in it), "
                    f"within {' '.join(str(n) for n in s.within)}, accuracy {s.accuracy:.4f}"
                )
            yield f"{d.dataset}: mAA {d.maa:.4f}, clusterness {d.clusterness:.4f}, score {d.score:.4f}"


def score(
    truth: Sequence[TableRow],
    submitted: Sequence[TableRow],
    thresholds: Sequence[float] = SHARES,
    *,
    metres: bool = False,
) -> Score:
    """The score of a submitted table.

    `thresholds` are shares of each true scene's extent, or with `metres` the same metres for all. Pictures of the truth's scene
    `outliers` belong to no scene; in a submitted scene they cost clusterness. Raises ValueError for a truth without scenes, a true picture
    without a pose, or a submission that names a picture that the truth does not know or leaves one out.
    """
    if {(r.dataset, r.image) for r in truth} != {(r.dataset, r.image) for r in submitted}:
        raise ValueError("truth and submission must name the same pictures")
    datasets = sorted({row.dataset for row in truth})
    scored = [
        _score_dataset(
            name,
            [row for row in truth if row.dataset == name],
            [row for row in submitted if row.dataset == name],
            thresholds,
            metres,
        )
        for name in datasets
    ]
    return Score(tuple(scored))


def _score_dataset(
    name: str, truth: Sequence[TableRow], submitted: Sequence[TableRow], thresholds: Sequence[float], metres: bool
) -> DatasetScore:
    true_scenes, taken_from = _by_scene(truth), _by_scene(submitted)
    if not true_scenes:
        raise ValueError(f"{name} has no true scene")
    scored = []
    for scene, rows in sorted(true_scenes.items()):
        centres = {row.image: _true_centre(row) for row in rows}
        extent_m = _extent(np.array(list(centres.values())))
        limits = np.array(thresholds) * (1.0 if metres else extent_m)
        scored.append(_score_scene(scene, centres, taken_from, limits))
    return DatasetScore(name, tuple(scored))


def _by_scene(rows: Sequence[TableRow]) -> dict[str, list[TableRow]]:
    found: dict[str, list[TableRow]] = defaultdict(list)
    for row in rows:
        if row.scene != OUTLIERS:
            found[row.scene].append(row)
    return found


def _true_centre(row: TableRow) -> Floats:
    if row.camera_from_world is None:
        raise ValueError(f"the truth has no pose for {row.image}")
    return centre_of(row.camera_from_world)


def _extent(centres: Floats) -> float:
    return float(np.linalg.norm(centres[:, None] - centres[None], axis=2).max())


def _score_scene(
    scene: str, centres: dict[str, Floats], taken_from: dict[str, list[TableRow]], limits: Floats
) -> SceneScore:
    shared = {name: sum(row.image in centres for row in rows) for name, rows in taken_from.items()}
    # Of equals the first by name, so that the order of lines decides nothing.
    taken = min(shared, key=lambda name: (-shared[name], name), default=None)
    if taken is None or shared[taken] == 0:
        return SceneScore(scene, None, len(centres), 0, 0, (0,) * len(limits))
    posed = sorted(
        (row.image, row.camera_from_world)
        for row in taken_from[taken]
        if row.image in centres and row.camera_from_world is not None
    )
    estimated = np.array([centre_of(pose) for _, pose in posed]).reshape(-1, 3)
    true = np.array([centres[image] for image, _ in posed]).reshape(-1, 3)
    within = tuple(most_within(estimated, true, float(limit)) for limit in limits)
    return SceneScore(scene, taken, len(centres), shared[taken], len(taken_from[taken]), within)


def most_within(estimated: Floats, true: Floats, limit_m: float) -> int:
    """The most points (n, 3) that one similarity brings to within `limit_m` of their true places. Deterministic.

    All triples are tried as hypotheses, or 20,000 drawn ones where there are more; the best are refitted to what agrees with them. With
    fewer than three points there is nothing to check, and none counts.
    """
    if len(true) < 3:
        return 0
    triples = _triples(len(true))
    scale, rotation, translation = _similarities(estimated[triples], true[triples])
    best = 0
    for start in range(0, len(triples), 2000):
        part = slice(start, start + 2000)
        moved = scale[part, None, None] * np.einsum("kij,nj->kni", rotation[part], estimated) + translation[part, None]
        agree = np.linalg.norm(moved - true, axis=2) <= limit_m
        counts = agree.sum(axis=1)
        for k in np.argsort(-counts, kind="stable")[:3].tolist():
            best = max(best, _refitted(estimated, true, agree[k], limit_m))
    return best


def _refitted(estimated: Floats, true: Floats, agree: NDArray[np.bool_], limit_m: float) -> int:
    best = int(agree.sum())
    for _ in range(_REFITS):
        if agree.sum() < 3:
            break
        scale, rotation, translation = similarity_alignment(estimated[agree], true[agree])
        found = np.linalg.norm(scale * estimated @ rotation.T + translation - true, axis=1) <= limit_m
        if found.sum() <= best:
            break
        best, agree = int(found.sum()), found
    return best


def _triples(count: int) -> NDArray[np.int64]:
    if math.comb(count, 3) <= _MOST_TRIPLES:
        return np.array(list(itertools.combinations(range(count), 3)), np.int64)
    drawn = np.random.default_rng(0).integers(count, size=(2 * _MOST_TRIPLES, 3))
    distinct = (drawn[:, 0] != drawn[:, 1]) & (drawn[:, 1] != drawn[:, 2]) & (drawn[:, 0] != drawn[:, 2])
    return np.asarray(drawn[distinct][:_MOST_TRIPLES], np.int64)


def _similarities(source: Floats, target: Floats) -> tuple[Floats, Floats, Floats]:
    """Scales (k,), rotations (k, 3, 3) and translations (k, 3) that move triples (k, 3, 3) onto triples; degenerate ones left out."""
    a, b = source - source.mean(axis=1, keepdims=True), target - target.mean(axis=1, keepdims=True)
    u, singular, vt = np.linalg.svd(np.einsum("kni,knj->kij", b, a))
    signs = np.ones((len(u), 3))
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * signs[:, None, :]) @ vt
    spread = (a * a).sum(axis=(1, 2))
    usable = spread > 0
    scale = (singular * signs).sum(axis=1)[usable] / spread[usable]
    rotation = rotation[usable]
    translation = target.mean(axis=1)[usable] - scale[:, None] * np.einsum(
        "kij,kj->ki", rotation, source.mean(axis=1)[usable]
    )
    return scale, rotation, translation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("submission", type=Path)
    parser.add_argument("--thresholds", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--metres", action="store_true", help="thresholds are metres, not shares of the extent")
    given = parser.parse_args()
    found = score(read_table(given.truth), read_table(given.submission), given.thresholds, metres=given.metres)
    print("\n".join(found.lines()))
    print(f"\nscore: {found.score:.4f}")


if __name__ == "__main__":
    main()
