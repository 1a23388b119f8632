"""Features of collections: spread over the picture, and measured."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from services.sfm.hloc_files import FEATURES_NAME, FeatureReader
from services.sfm.photos import features
from tests.services.sfm.listening import Listener
from tests.services.sfm.photos.photo_scenes import Shot, outlier_shots, write_collection


def test_few_keypoints_all_stay() -> None:
    positions = np.random.default_rng(0).uniform(0, 640, (50, 2)).astype(np.float32)
    assert features.spread(positions, np.ones(50, np.float32), (640, 480), 50).tolist() == list(range(50))


def test_a_crowded_corner_does_not_displace_the_rest() -> None:
    """2,000 large keypoints in one corner and 100 small ones everywhere else: all the 100 stay."""
    rng = np.random.default_rng(1)
    crowd = rng.uniform(0, 50, (2000, 2))
    rest = rng.uniform((60, 60), (640, 480), (100, 2))
    positions = np.concatenate([crowd, rest]).astype(np.float32)
    scales = np.concatenate([np.full(2000, 20.0), np.full(100, 2.0)]).astype(np.float32)
    kept = features.spread(positions, scales, (640, 480), 300)
    assert len(kept) == 300
    assert (np.diff(kept) > 0).all()
    assert (kept >= 2000).sum() == 100


def test_of_one_place_the_largest_stay() -> None:
    rng = np.random.default_rng(2)
    scales = rng.permutation(500).astype(np.float32)
    kept = features.spread(rng.uniform(0, 30, (500, 2)).astype(np.float32), scales, (640, 480), 40)
    assert sorted(scales[kept].tolist()) == list(range(460, 500))


def test_the_norm_tells_histograms_apart() -> None:
    flat = np.full((3, 128), round(512 / np.sqrt(128)), np.uint8)
    peaked = np.zeros((3, 128), np.uint8)
    peaked[:, :8] = round(512 / np.sqrt(8))
    assert features.descriptor_norm(flat) == pytest.approx(1 / np.sqrt(128), rel=0.02)
    assert features.descriptor_norm(peaked) == pytest.approx(1 / np.sqrt(8), rel=0.02)
    assert features.descriptor_norm(np.zeros((0, 128), np.uint8)) == 0.0


def test_pictures_of_any_size_get_features_and_an_empty_one_a_warning(tmp_path: Path) -> None:
    textured = outlier_shots(4, 1)[0]
    large = Shot("large", np.asarray(cv2.resize(textured.picture, (1280, 960)), np.uint8), None)
    empty = Shot("empty", np.full((480, 640, 3), 128, np.uint8), None)
    write_collection(tmp_path / "in", [textured, large, empty])
    listener = Listener()
    features.main(tmp_path / "in", tmp_path / "out", listener)
    with FeatureReader(tmp_path / "out" / FEATURES_NAME) as found:
        counts = [found.count(f"{number:06d}.jpg") for number in range(3)]
        first, second = found.read("000000.jpg"), found.read("000001.jpg")
    assert counts[0] > 500
    assert counts[1] > 500
    assert counts[2] == 0
    assert max(counts) <= features.KEPT_KEYPOINTS
    assert (first.keypoints_px.max(axis=0) <= (640, 480)).all()
    assert second.keypoints_px[:, 0].max() > 900
    assert any("empty 0002.jpg" in warning for warning in listener.warnings)
    assert listener.progressed[-1][:2] == (3, 3)
