"""Pictures that look alike: vectors against their definition, and a rendered walk that returns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.sfm import features, hloc_files, pairs_by_appearance
from services.sfm.hloc_files import FeatureReader, Features
from services.sfm.pairs_by_appearance import aggregate, describe, loop_pairs, vocabulary
from tests.services.sfm.listening import Listener
from tests.services.sfm.room_views import CONF
from tests.services.sfm.textured_rooms import Pinhole, box_room, looking, write_capture

Vectors = NDArray[np.float32]
AROUND, AGAIN = 12, 4


@dataclass(frozen=True)
class Walk:
    """A turn on the spot in 12 pictures 30° apart; the first four directions again from 25 cm beside."""

    vectors: Vectors
    yaw_deg: NDArray[np.float64]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("walk")
    yaw = np.array([30.0 * index + (5.0 if index >= AROUND else 0.0) for index in range(AROUND + AGAIN)])
    poses = []
    for index, angle in enumerate(np.deg2rad(yaw)):
        x, y, z = (2.5, 1.4, 2.0) if index < AROUND else (2.7, 1.5, 2.15)
        poses.append(looking((x, y, z), (x + np.cos(angle), y - 0.05, z + np.sin(angle))))
    camera = Pinhole(240, 180, 190.0, 190.0, 120.0, 90.0)
    manifest = write_capture(folder, box_room(seed=5), poses, [camera] * len(poses), depth_size_px=None)
    features.main(CONF.model_copy(update={"max_keypoints": 800}), folder, folder / "features", Listener())
    with FeatureReader(folder / "features" / "features.h5") as reader:
        vectors = describe([frame.name for frame in manifest.frames], reader, lambda done, total: None)
    return Walk(vectors, yaw)


def apart_deg(walk: Walk, first: int, second: int) -> float:
    turn = walk.yaw_deg[first] - walk.yaw_deg[second]
    return float(abs((turn + 180) % 360 - 180))


def test_a_place_is_known_again_when_the_walk_returns(walk: Walk) -> None:
    similarity = walk.vectors @ walk.vectors.T
    for again in range(AROUND, AROUND + AGAIN):
        assert similarity[again, :AROUND].argmax() == again - AROUND
    seen_again = {tuple(pair) for pair in loop_pairs(walk.vectors, 1, 6).tolist()}
    assert {(place, place + AROUND) for place in range(AGAIN)} <= seen_again


def test_pictures_that_overlap_look_more_alike_than_pictures_that_do_not(walk: Walk) -> None:
    """65° are in view: up to 35° apart half of it is shared, from 70° on nothing."""
    count = len(walk.vectors)
    similarity = walk.vectors @ walk.vectors.T
    shared = [similarity[i, j] for i in range(count) for j in range(i) if apart_deg(walk, i, j) <= 35]
    strange = [similarity[i, j] for i in range(count) for j in range(i) if apart_deg(walk, i, j) >= 70]
    assert min(shared) > max(strange)


def test_vectors_are_of_unit_length(walk: Walk) -> None:
    assert walk.vectors.dtype == np.float32
    assert np.linalg.norm(walk.vectors, axis=1) == pytest.approx(np.ones(AROUND + AGAIN), abs=1e-5)


def test_an_aggregate_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    words = rng.normal(size=(5, 8)).astype(np.float32)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    nearest = np.linalg.norm(rows[:, None] - words, axis=2).argmin(axis=1)
    parts = []
    for word in range(5):
        total = (rows[nearest == word].astype(np.float64) - words[word]).sum(axis=0)
        unit = total / max(float(np.linalg.norm(total)), 1e-12)
        parts.append(np.sign(unit) * np.sqrt(np.abs(unit)))
    expected = np.concatenate(parts)
    expected /= np.linalg.norm(expected)
    assert aggregate(rows, words) == pytest.approx(expected, abs=1e-5)
    assert aggregate(rows[::-1], words) == pytest.approx(expected, abs=1e-5)
    assert not aggregate(rows[:0], words).any()


def test_the_vocabulary_settles_on_what_there_is() -> None:
    rng = np.random.default_rng(1)
    heaps = rng.normal(size=(8, 16)).astype(np.float32) * 10
    rows = np.repeat(heaps, 100, axis=0) + rng.normal(size=(800, 16)).astype(np.float32) * 0.1
    words = vocabulary(rows)
    assert words.shape == (pairs_by_appearance.WORDS, 16)
    assert np.linalg.norm(rows[:, None] - words, axis=2).min(axis=1).max() < 1
    assert np.array_equal(words, vocabulary(rows))
    assert vocabulary(rows[:3]).shape == (3, 16)


def visit(count: int, seed: int = 0) -> Features:
    rows = np.random.default_rng(seed).gamma(0.5, size=(count, 128))
    rows = np.sqrt(rows / rows.sum(axis=1, keepdims=True))
    places = np.ones((count, 2), np.float32)
    return Features(places, rows.astype(np.float16), np.ones(count, np.float32), (640, 480))


def test_a_picture_without_keypoints_looks_like_nothing(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    hloc_files.write_features(path, [("a", visit(300)), ("b", visit(0)), ("c", visit(300)), ("d", visit(300, 1))])
    heard: list[tuple[int, int]] = []
    with FeatureReader(path) as reader:
        vectors = describe(["a", "b", "c", "d"], reader, lambda done, total: heard.append((done, total)))
    assert not vectors[1].any()
    assert heard[-1] == (4, 4)
    found = {tuple(pair) for pair in loop_pairs(vectors, 2, 1).tolist()}
    assert (0, 2) in found
    assert not any(1 in pair for pair in found)


def test_a_capture_of_blank_pictures_has_no_loops(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    hloc_files.write_features(path, [(name, visit(0)) for name in "abc"])
    with FeatureReader(path) as reader:
        vectors = describe(list("abc"), reader, lambda done, total: None)
    assert len(vectors) == 3
    assert loop_pairs(vectors, 4, 1).shape == (0, 2)


def test_of_many_keypoints_those_of_the_largest_scale_speak(tmp_path: Path) -> None:
    """What a picture is known by must not be its finest grain, which is gone from a metre farther off."""
    path = tmp_path / "features.h5"
    few, many = visit(pairs_by_appearance.DESCRIPTORS_PER_IMAGE, 1), visit(3000, 2)
    both = Features(
        np.ones((len(few.scores) + 3000, 2), np.float32),
        np.concatenate([many.descriptors, few.descriptors]),
        np.concatenate([many.scores, 9 * few.scores]),
        (640, 480),
    )
    hloc_files.write_features(path, [("large", few), ("both", both), ("fine", many)])
    with FeatureReader(path) as reader:
        vectors = describe(["large", "both", "fine"], reader, lambda done, total: None)
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)
    assert vectors[0] @ vectors[2] < 0.5


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 5), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_loops_respect_the_gap_and_the_number(count: int, per_frame: int, gap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = loop_pairs(vectors, per_frame, gap)
    first, second = found.T
    assert np.all(second - first >= gap)
    assert np.all((vectors[first] * vectors[second]).sum(axis=1) > 0)
    assert len(found) <= count * per_frame
    # The best match of every frame is always among them.
    similarity = vectors @ vectors.T
    far = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) >= gap
    chosen = {tuple(pair) for pair in found.tolist()}
    for frame in range(count):
        scores = np.where(far[frame], similarity[frame], -1)
        best = int(scores.argmax())
        if scores[best] > 1e-6:
            assert (min(frame, best), max(frame, best)) in chosen


def test_one_revisited_place_does_not_use_up_the_number() -> None:
    """Frames 30 to 34 are one long look at what frame 0 saw, frame 50 a shorter one that has better partners itself."""
    vectors = np.eye(60, dtype=np.float32)
    vectors[30:35, 0] = 0.9
    vectors[50, 0] = 0.6
    vectors[[6, 12, 18], 50] = 0.9
    assert [0, 50] in loop_pairs(vectors, 3, 20).tolist()
    assert [0, 50] not in loop_pairs(vectors, 2, 20).tolist()
