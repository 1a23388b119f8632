"""Matching against pictures of one room in which the place of every pixel is known."""

import itertools
import multiprocessing
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray

from contracts.capture_settings import CameraModel, CaptureSettings, FeatureType, MatcherType
from contracts.errors import ErrorCode, UserError
from services.sfm import database, hloc_files, hloc_matches, matching
from services.sfm.hloc_files import FeatureReader, Features
from tests.services.sfm.listening import Listener
from tests.services.sfm.room_views import CONF, RoomViews, inside

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
APART, TURNED, OPPOSITE = (0, 1), (0, 2), (0, 3)


@dataclass(frozen=True)
class Matched:
    room: RoomViews
    folder: Path
    for_hloc: Path
    listener: Listener
    features: tuple[Features, ...]

    def raw(self, first: int, second: int) -> Ints:
        with pycolmap.Database.open(self.folder / "database.db") as db:
            return np.asarray(db.read_matches(first + 1, second + 1), np.int64).reshape(-1, 2)

    def verified(self, first: int, second: int) -> pycolmap.TwoViewGeometry:
        with pycolmap.Database.open(self.folder / "database.db") as db:
            return db.read_two_view_geometry(first + 1, second + 1)

    def errors_px(self, first: int, second: int, matches: NDArray[np.generic]) -> Floats:
        """How far each match's second keypoint is from where the first one's place on the wall is seen."""
        pairs = np.asarray(matches, np.int64).reshape(-1, 2)
        expected = self.room.carried(first, second, self.features[first].keypoints_px[pairs[:, 0]].astype(np.float64))
        return np.asarray(np.linalg.norm(expected - self.features[second].keypoints_px[pairs[:, 1]], axis=1))


def run(room: RoomViews, pairs: list[tuple[int, int]], folder: Path, conf: CaptureSettings = CONF) -> Matched:
    folder.mkdir(exist_ok=True)
    hloc_files.write_pairs(folder / "pairs.txt", [(room.names[i], room.names[j]) for i, j in pairs])
    listener = Listener()
    matching.main(conf, room.capture, room.features, folder / "pairs.txt", folder / "out", listener)
    hloc_matches.main(room.features, folder, folder / "out", folder / "hloc")
    with FeatureReader(room.features / "features.h5") as reader:
        found = tuple(reader.read(name) for name in room.names)
    return Matched(room, folder / "out", folder / "hloc" / "matches.h5", listener, found)


@pytest.fixture(scope="module")
def matched(room: RoomViews, tmp_path_factory: pytest.TempPathFactory) -> Matched:
    """All six pairs, the second of them given the other way round."""
    pairs = [(i, j) if (i, j) != TURNED else (j, i) for i, j in itertools.combinations(range(4), 2)]
    return run(room, pairs, tmp_path_factory.mktemp("matched"))


@pytest.mark.parametrize("pair", [APART, TURNED, (1, 2)])
def test_matches_join_the_same_places(matched: Matched, pair: tuple[int, int]) -> None:
    raw, inliers = matched.raw(*pair), matched.verified(*pair).inlier_matches
    assert np.mean(matched.errors_px(*pair, raw) < 2) > 0.98
    errors = matched.errors_px(*pair, inliers)
    assert len(errors) > 800
    assert np.mean(errors < 2) > 0.995
    assert np.median(errors) < 0.2
    # Verification drops next to nothing that is right.
    assert len(inliers) > 0.98 * np.sum(matched.errors_px(*pair, raw) < 1)


def test_most_of_what_both_pictures_show_is_matched(matched: Matched) -> None:
    first, second = matched.features[0], matched.features[1]
    expected = matched.room.carried(0, 1, first.keypoints_px.astype(np.float64))
    seen = np.flatnonzero(inside(expected, 8))
    again = np.array([np.linalg.norm(second.keypoints_px - expected[index], axis=1).min() < 1 for index in seen])
    inliers = np.asarray(matched.verified(*APART).inlier_matches, np.int64)
    assert np.isin(seen[again], inliers[:, 0]).mean() > 0.6


def test_geometry_is_called_what_it_is(matched: Matched) -> None:
    kinds = pycolmap.TwoViewGeometryConfiguration
    flat = {kinds.PLANAR.value, kinds.PANORAMIC.value, kinds.PLANAR_OR_PANORAMIC.value}
    assert matched.verified(*TURNED).config in flat
    assert matched.verified(*APART).config not in {kinds.UNDEFINED.value, kinds.DEGENERATE.value, kinds.MULTIPLE.value}


def test_pictures_that_share_nothing_are_not_verified_and_not_counted(matched: Matched) -> None:
    for other in (0, 1, 2):
        assert len(matched.raw(other, 3)) < 40
        assert len(matched.verified(other, 3).inlier_matches) == 0
    total = sum(len(matched.verified(*pair).inlier_matches) for pair in (APART, TURNED, (1, 2)))
    assert matched.listener.lines == [f"  ✓ 3 of 6 pairs verified, {total:,} matches"]
    assert matched.listener.warnings == []


def test_matches_are_mutual_and_pass_the_ratio_test(matched: Matched) -> None:
    first, second = (matched.features[i].descriptors.astype(np.float64) for i in APART)
    similarity = first @ second.T
    forward, backward = similarity.argmax(axis=1), similarity.argmax(axis=0)
    # Lowe's ratio on the angles between unit vectors, either way.
    angles = np.arccos(np.clip(similarity, -1, 1))
    ahead, back = np.sort(np.partition(angles, 1, axis=1)[:, :2]), np.sort(np.partition(angles, 1, axis=0)[:2], axis=0)
    index = np.arange(len(first))
    good = (backward[forward] == index) & (ahead[:, 0] < 0.8 * ahead[:, 1])
    good &= back[0, forward] < 0.8 * back[1, forward]
    wanted = {(int(i), int(forward[i])) for i in np.flatnonzero(good)}
    got = {(int(i), int(j)) for i, j in matched.raw(*APART)}
    # The search is approximate: a per cent may differ.
    assert len(got & wanted) > 0.98 * max(len(got), len(wanted))
    assert len({i for i, _ in got}) == len({j for _, j in got}) == len(got)


def test_matches_for_hloc_are_those_of_the_database_before_verification(matched: Matched) -> None:
    names = matched.room.names
    with h5py.File(matched.for_hloc) as file:
        stored = file[f"{names[0]}/{names[1]}"]["matches0"][()]
        scores = file[f"{names[0]}/{names[1]}"]["matching_scores0"][()]
        # The pair was given the other way round, and is found under the names as pairs.txt has them.
        assert f"{names[2]}/{names[0]}" in file and f"{names[0]}/{names[2]}" not in file
        turned = file[f"{names[2]}/{names[0]}"]["matches0"][()]
        assert len(file[f"{names[0]}/{names[3]}"]["matches0"]) == len(matched.features[0].scores)
    raw = matched.raw(*APART)
    assert stored.shape == (len(matched.features[0].scores),)
    assert {(int(i), int(stored[i])) for i in np.flatnonzero(stored >= 0)} == {(int(i), int(j)) for i, j in raw}
    cosine = np.einsum(
        "nd,nd->n",
        matched.features[0].descriptors[raw[:, 0]].astype(np.float64),
        matched.features[1].descriptors[raw[:, 1]].astype(np.float64),
    )
    assert np.abs(scores[raw[:, 0]].astype(np.float64) - np.clip((1 + cosine) / 2, 0, 1)).max() < 0.001
    assert np.all(scores[stored < 0] == 0)
    assert {(int(turned[i]), int(i)) for i in np.flatnonzero(turned >= 0)} == {
        (int(i), int(j)) for i, j in matched.raw(*TURNED)
    }


def test_the_database_is_one_file_with_the_keypoints_and_without_the_descriptors(
    matched: Matched, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    hloc_files.write_pairs(tmp_path / "pairs.txt", [])
    matching.main(CONF, matched.room.capture, matched.room.features, tmp_path / "pairs.txt", fresh, Listener())
    assert sorted(path.name for path in fresh.iterdir()) == ["database.db"]
    with closing(sqlite3.connect(fresh / "database.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT count(*) FROM descriptors").fetchone() == (0,)
    with pycolmap.Database.open(matched.folder / "database.db") as db:
        for image_id, found in enumerate(matched.features, start=1):
            rows = np.asarray(db.read_keypoints(image_id))
            assert rows[:, :2] == pytest.approx(found.keypoints_px, abs=1e-3)
            assert rows[:, 2] == pytest.approx(found.scales_px, rel=1e-3)
            assert rows[:, 3] == pytest.approx(found.orientations_rad, abs=1e-3)


def test_progress_ends_with_the_last_pair(matched: Matched) -> None:
    assert matched.listener.progressed[0] == (0, 6, "Matching pairs")
    assert matched.listener.progressed[-1] == (6, 6, "Matching pairs")
    shares = [done for done, _, _ in matched.listener.progressed]
    assert shares == sorted(shares)


def test_one_thread_matches_the_same_again(matched: Matched, tmp_path: Path) -> None:
    again = run(matched.room, [APART], tmp_path)
    assert np.array_equal(again.raw(*APART), matched.raw(*APART))
    assert np.array_equal(again.verified(*APART).inlier_matches, matched.verified(*APART).inlier_matches)


def test_no_pairs_make_an_empty_result_not_a_crash(room: RoomViews, tmp_path: Path) -> None:
    empty = run(room, [], tmp_path)
    assert empty.listener.lines == ["  ✓ 0 of 0 pairs verified, 0 matches"]
    with h5py.File(empty.for_hloc) as file:
        assert list(file) == []
    with pycolmap.Database.open(empty.folder / "database.db") as db:
        assert (db.num_images(), db.num_matched_image_pairs()) == (4, 0)


def test_matches_for_hloc_are_written_while_something_else_runs(matched: Matched, tmp_path: Path) -> None:
    with hloc_matches.written_beside(matched.room.features, matched.folder.parent, matched.folder, tmp_path):
        pass
    assert (tmp_path / "matches.h5").read_bytes() == matched.for_hloc.read_bytes()


def test_nobody_waits_for_them_where_the_rest_failed(matched: Matched, tmp_path: Path) -> None:
    began = len(multiprocessing.active_children())
    with (
        pytest.raises(UserError),
        hloc_matches.written_beside(matched.room.features, matched.folder.parent, matched.folder, tmp_path),
    ):
        raise UserError(ErrorCode.NO_MODEL, "no model")
    assert len(multiprocessing.active_children()) == began


def test_that_they_could_not_be_written_is_said(matched: Matched, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"matches\.h5"),
        hloc_matches.written_beside(tmp_path / "none", matched.folder.parent, matched.folder, tmp_path / "out"),
    ):
        pass


def test_a_picture_without_keypoints_matches_nothing(room: RoomViews, tmp_path: Path) -> None:
    with FeatureReader(room.features / "features.h5") as reader:
        found = {name: reader.read(name) for name in room.names}
    none = found[room.names[1]]
    found[room.names[1]] = Features(
        keypoints_px=none.keypoints_px[:0], descriptors=none.descriptors[:0], scores=none.scores[:0],
        size_px=none.size_px, scales_px=none.scores[:0], orientations_rad=none.scores[:0],
    )  # fmt: skip
    (tmp_path / "features").mkdir()
    hloc_files.write_features(tmp_path / "features" / "features.h5", found.items())
    blind = RoomViews(room.capture, tmp_path / "features", room.manifest, room.scene, room.world_from_camera)
    matched = run(blind, [APART, TURNED], tmp_path)
    assert len(matched.raw(*APART)) == 0
    assert matched.listener.lines[0].startswith("  ✓ 1 of 2 pairs verified")
    indices, _ = hloc_files.read_matches(matched.for_hloc, room.names[0], room.names[1])
    assert len(indices) == 0


def test_what_an_earlier_attempt_left_is_replaced(room: RoomViews, tmp_path: Path) -> None:
    run(room, [APART], tmp_path)
    (tmp_path / "out" / "database.db-wal").write_bytes(b"torn")
    again = run(room, [], tmp_path)
    with pycolmap.Database.open(again.folder / "database.db") as db:
        assert db.num_images() == 4
        assert not db.exists_matches(1, 2)


@pytest.mark.parametrize("width", [480, 1920])
def test_what_is_too_far_from_its_epipolar_line_is_left_out_the_same_each_time(width: int) -> None:
    """The threshold grows with the picture: 4 px at a phone's 1920 px, and a pixel at least."""
    height, focal, threshold_px = width * 3 // 4, 0.8 * width, max(1.0, width / 480)
    rng = np.random.default_rng(0)
    points = rng.uniform((-2, -1.5, 3), (2, 1.5, 7), (500, 3))
    camera = pycolmap.Camera(model="PINHOLE", width=width, height=height, params=[focal, focal, width / 2, height / 2])
    # Moved sideways, rows are epipolar lines: a match is as far off as its rows are apart. 300 are right but for noise.
    first, second = np.asarray(camera.img_from_cam(points)), np.asarray(camera.img_from_cam(points - (0.5, 0, 0)))
    off = np.concatenate([rng.normal(0, 0.6, 300), rng.choice([-1, 1], 200) * rng.uniform(3, 12, 200)]) * threshold_px
    second[:, 1] += off
    index = np.repeat(np.arange(500, dtype=np.uint32)[:, None], 2, axis=1)
    options = matching.verification_options(width, height)
    runs = [
        pycolmap.estimate_calibrated_two_view_geometry(camera, first, camera, second, index, options).inlier_matches
        for _ in range(12)
    ]
    kept = np.isin(np.arange(500), runs[0][:, 0])
    assert kept[:300].mean() > 0.9
    assert kept[300:].mean() < 0.05
    assert all(np.array_equal(runs[0], again) for again in runs)


@pytest.mark.parametrize("matcher", [matcher for matcher in MatcherType if matcher is not MatcherType.NEAREST])
def test_a_matcher_that_is_not_there_is_replaced_loudly(room: RoomViews, matcher: MatcherType, tmp_path: Path) -> None:
    asked = run(room, [], tmp_path, CONF.model_copy(update={"matcher_type": matcher}))
    (warning,) = asked.listener.warnings
    assert f"`{matcher}`" in warning and "`nearest`" in warning


@pytest.mark.parametrize("feature", FeatureType)
def test_features_are_warned_of_where_they_are_made(room: RoomViews, feature: FeatureType, tmp_path: Path) -> None:
    asked = run(room, [], tmp_path, CONF.model_copy(update={"feature_type": feature}))
    assert asked.listener.warnings == []


def test_strict_features_refuses_another_matcher(room: RoomViews, tmp_path: Path) -> None:
    conf = CONF.model_copy(update={"strict_features": True, "matcher_type": MatcherType.ADALAM})
    with pytest.raises(UserError, match="adalam") as error:
        run(room, [APART], tmp_path, conf)
    assert error.value.code is ErrorCode.FEATURES_UNAVAILABLE
    assert error.value.field == "matcher_type"


@pytest.mark.parametrize("model", CameraModel)
def test_a_model_that_cannot_hold_two_focal_lengths_is_told_of(
    room: RoomViews, model: CameraModel, tmp_path: Path
) -> None:
    """The phone's focal lengths are 2.5 px apart: within tolerance of the wall, but over a pixel in a corner."""
    folder = tmp_path / "capture"
    shutil.copytree(room.capture, folder, ignore=shutil.ignore_patterns("*.png"))
    apart = [
        frame.model_copy(update={"intrinsics": frame.intrinsics.model_copy(update={"fy_px": 376.0})})
        for frame in room.manifest.frames
    ]
    (folder / "capture.json").write_text(room.manifest.model_copy(update={"frames": tuple(apart)}).model_dump_json())
    other = RoomViews(folder, room.features, room.manifest, room.scene, room.world_from_camera)
    listener = run(other, [], tmp_path, CONF.model_copy(update={"camera_model": model})).listener
    if model is not CameraModel.SIMPLE_RADIAL:
        assert listener.warnings == []
        return
    (warning,) = listener.warnings
    worst = database.focal_mismatch_px(apart[0].intrinsics, model, 480, 360)
    assert worst == pytest.approx(3.0 * np.hypot(243 / 370, 182.5 / 376))
    assert f"{worst:.1f} px" in warning and "PINHOLE or OPENCV" in warning
