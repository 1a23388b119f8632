"""Which pictures are compared: all of a few, a shortlist of many."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contracts.photos import Photo, PhotoManifest
from services.sfm import hloc_files
from services.sfm.hloc_files import FEATURES_NAME, PAIRS_NAME, Features
from services.sfm.photos import pairs
from tests.services.sfm.listening import Listener

DESCRIPTORS = 60


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def test_each_gets_the_most_alike() -> None:
    angles = np.deg2rad([0, 10, 25, 90, 95])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert pairs.most_alike(vectors, 1).tolist() == [[0, 1], [1, 2], [3, 4]]


def test_pictures_without_features_are_alike_to_none() -> None:
    vectors = np.array([(1, 0), (0, 0), (1, 0)], np.float32)
    assert pairs.most_alike(vectors, 2).tolist() == [[0, 2]]


def test_neighbours_by_name() -> None:
    assert pairs.beside(4, 2).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert pairs.beside(1, 2).tolist() == []


def write_scenes(folder: Path, scenes: int, each: int) -> list[int]:
    """Pictures that share descriptors within their scene, in a random order; the scene of each."""
    rng = np.random.default_rng(5)
    own = unit(rng.uniform(0, 1, (scenes, DESCRIPTORS, 128)) ** 4)
    labels = rng.permutation(np.repeat(np.arange(scenes), each))

    def found() -> Iterator[tuple[str, Features]]:
        for number, scene in enumerate(labels):
            seen = own[scene][rng.permutation(DESCRIPTORS)[: DESCRIPTORS * 2 // 3]]
            descriptors = unit(np.abs(seen + rng.normal(0, 0.01, seen.shape))).astype(np.float16)
            count = len(descriptors)
            positions = rng.uniform(0, 640, (count, 2)).astype(np.float32)
            yield (
                f"{number:06d}.jpg",
                Features(positions, descriptors, rng.uniform(1, 9, count).astype(np.float32), (640, 480)),
            )

    (folder / "features").mkdir(parents=True)
    hloc_files.write_features(folder / "features" / FEATURES_NAME, found())
    photos = tuple(
        Photo(
            name=f"{number}.jpg",
            file=f"pictures/{number:06d}.jpg",
            width_px=640,
            height_px=480,
            camera="one",
            sharpness=1,
            brightness=1,
            contrast=1,
        )
        for number in range(len(labels))
    )
    (folder / "photos.json").write_text(PhotoManifest(photos=photos).model_dump_json())
    return [int(label) for label in labels]


@pytest.mark.parametrize(("scenes", "each", "exhaustive"), [(3, 20, True), (10, 20, False)])
def test_a_large_collection_is_not_compared_pair_by_pair(
    tmp_path: Path, scenes: int, each: int, exhaustive: bool
) -> None:
    labels = write_scenes(tmp_path, scenes, each)
    pairs.main(tmp_path, tmp_path / "features", tmp_path / "pairs", Listener())
    found = hloc_files.read_pairs(tmp_path / "pairs" / PAIRS_NAME)
    count = scenes * each
    if exhaustive:
        assert len(found) == count * (count - 1) // 2
        return
    assert len(found) <= count * (pairs.ALIKE_PER_PICTURE + pairs.NAMES_AHEAD)
    chosen = {(int(a[:6]), int(b[:6])) for a, b in found}
    same = {(a, b) for a in range(count) for b in range(a + 1, count) if labels[a] == labels[b]}
    assert len(same & chosen) > 0.95 * len(same)
