"""hloc's files: the layout byte for byte as hloc reads it, and back."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sfm import hloc_files
from services.sfm.hloc_files import FeatureReader, Features, PairMatches


def features(count: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        keypoints_px=rng.uniform(0.5, 4000, (count, 2)).astype(np.float32),
        descriptors=rng.normal(size=(count, 128)).astype(np.float16),
        scores=rng.uniform(0, 1, count).astype(np.float32),
        size_px=(4032, 3024),
        scales_px=rng.uniform(1, 9, count).astype(np.float32),
        orientations_rad=rng.uniform(-3, 3, count).astype(np.float32),
    )


def test_features_are_laid_out_as_hloc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    written = features(7)
    hloc_files.write_features(path, [("db/000001.png", written), ("000002.png", features(0))])
    with h5py.File(path, "r") as file:
        group = file["db/000001.png"]
        keypoints = group["keypoints"]
        assert keypoints.dtype == np.float32 and keypoints.shape == (7, 2)
        assert keypoints.attrs["uncertainty"] > 0
        assert group["descriptors"].shape == (128, 7)
        assert group["scores"].shape == (7,)
        assert group["image_size"][()].tolist() == [4032, 3024]
        # The centre of the first pixel: 0 in the file, 0.5 in COLMAP.
        assert np.abs(keypoints[()] - (written.keypoints_px - 0.5)).max() < 5e-4
        assert file["000002.png/keypoints"].shape == (0, 2)


def test_features_come_back(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    written = {"b.png": features(5, 1), "a/c.png": features(0), "a.png": features(900, 2)}
    hloc_files.write_features(path, written.items())
    with FeatureReader(path) as file:
        assert file.names() == ("a.png", "a/c.png", "b.png")
        for name, expected in written.items():
            got = file.read(name)
            assert np.abs(got.keypoints_px - expected.keypoints_px).max(initial=0) < 5e-4
            assert np.array_equal(got.descriptors, expected.descriptors)
            assert got.size_px == expected.size_px and file.count(name) == len(expected.scores)
        with pytest.raises(KeyError):
            file.read("d.png")


def test_half_floats_as_hloc_writes_them_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "features.h5", "w", libver="latest") as file:
        group = file.create_group("a.png")
        group.create_dataset("keypoints", data=np.array([[100, 200]], np.float16))
        group.create_dataset("descriptors", data=np.zeros((256, 1), np.float16))
        group.create_dataset("scores", data=np.ones(1, np.float16))
        group.create_dataset("image_size", data=np.array([640, 480]))
    with FeatureReader(tmp_path / "features.h5") as reader:
        got = reader.read("a.png")
    assert got.keypoints_px.tolist() == [[100.5, 200.5]]
    assert got.descriptors.shape == (1, 256)


def test_pixel_conversions_undo_each_other() -> None:
    keypoints = np.array([[0.5, 0.5], [4031.5, 3023.25]], np.float32)
    assert hloc_files.h5_from_colmap_px(keypoints).tolist() == [[0, 0], [4031, 3022.75]]
    assert np.array_equal(hloc_files.colmap_from_h5_px(hloc_files.h5_from_colmap_px(keypoints)), keypoints)


def test_matches_are_laid_out_as_hloc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "matches.h5"
    indices = np.array([[1, 4], [3, 0]])
    hloc_files.write_matches(
        path,
        [
            PairMatches(("db/1.png", "2.png"), 5, indices, np.array([0.5, 1.0], np.float32)),
            PairMatches(("2.png", "3.png"), 5, np.zeros((0, 2), np.int64), np.zeros(0, np.float32)),
            PairMatches(("3.png", "4.png"), 2, np.array([[0, 40_000]]), np.ones(1, np.float32)),
        ],
    )
    with h5py.File(path, "r") as file:
        group = file["db-1.png/2.png"]
        assert group["matches0"].dtype == np.int16
        assert group["matches0"][()].tolist() == [-1, 4, -1, 0, -1]
        assert group["matching_scores0"][()].tolist() == [0, 0.5, 0, 1, 0]
        assert file["2.png/3.png/matches0"][()].tolist() == [-1] * 5
        assert file["3.png/4.png/matches0"][()].tolist() == [40_000, -1]
    for names, columns in ((("db/1.png", "2.png"), [0, 1]), (("2.png", "db/1.png"), [1, 0])):
        got, scores = hloc_files.read_matches(path, *names)
        assert got.tolist() == indices[:, columns].tolist()
        assert scores.tolist() == [0.5, 1.0]
    with pytest.raises(KeyError):
        hloc_files.read_matches(path, "1.png", "9.png")


@pytest.mark.parametrize("indices", [[[1, 4], [1, 0]], [[5, 0]]])
def test_matches_that_the_format_cannot_hold_are_refused(tmp_path: Path, indices: list[list[int]]) -> None:
    pair = PairMatches(("1.png", "2.png"), 5, np.array(indices), np.ones(len(indices), np.float32))
    with pytest.raises(ValueError, match=r"1\.png"):
        hloc_files.write_matches(tmp_path / "matches.h5", [pair])


names = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1).filter(lambda name: len(name.split()) == 1)


@given(st.lists(st.tuples(names, names)))
def test_pairs_come_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "pairs.txt"
    hloc_files.write_pairs(path, pairs)
    assert list(hloc_files.read_pairs(path)) == pairs


def test_a_line_that_is_not_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1.png 2.png\n\n1.png 2.png 3.png\n")
    with pytest.raises(ValueError, match="line 3"):
        hloc_files.read_pairs(tmp_path / "pairs.txt")
