"""Features against pictures whose keypoints are known: blobs at known places, and two views of one exact room."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.errors import ErrorCode, UserError
from services.sfm import features, matching
from services.sfm.hloc_files import FeatureReader, Features
from tests.services.sfm.listening import Listener
from tests.services.sfm.room_views import CONF, ROLL_DEG, RoomViews, inside
from tests.services.sfm.textured_rooms import Pinhole, write_capture

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def capture_of(folder: Path, pictures: Sequence[Bytes]) -> list[str]:
    """A canonical capture of grey pictures of one size; their names."""
    height, width = pictures[0].shape
    camera = Pinhole(width, height, 500, 500, width / 2, height / 2)
    manifest = write_capture(
        folder, [], [np.eye(4)] * len(pictures), [camera] * len(pictures), depth_size_px=None, draw_pictures=False
    )
    names = [frame.name for frame in manifest.frames]
    for name, picture in zip(names, pictures, strict=True):
        cv2.imwrite(str(folder / "matching" / name), picture)
    return names


def bright_blobs(width: int, height: int, spacing: int, sigma_px: float) -> tuple[Bytes, Floats]:
    """Gaussian blobs around a jittered grid, and their centres (n, 2), pixel centres at +0.5."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(
        np.arange(spacing, width - spacing + 1, spacing), np.arange(spacing, height - spacing + 1, spacing)
    )
    centres = np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(-1, 1, (x.size, 2))
    v, u = np.mgrid[0:height, 0:width] + 0.5
    light = sum(np.exp(-((u - cx) ** 2 + (v - cy) ** 2) / (2 * sigma_px**2)) for cx, cy in centres)
    return np.rint(60 + 130 * np.asarray(light)).clip(0, 255).astype(np.uint8), centres


def noise(width: int, height: int, seed: int = 0) -> Bytes:
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // 8, width // 8)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8))


def read(folder: Path, name: str) -> Features:
    with FeatureReader(folder / "features.h5") as reader:
        return reader.read(name)


@pytest.mark.parametrize(
    ("width", "height", "spacing", "sigma_px"),
    [(480, 360, 60, 4.0), (1280, 240, 60, 4.0), (2400, 400, 130, 9.0)],
    ids=["doubled", "as it is", "shrunk to 1600"],
)
def test_keypoints_lie_on_what_they_describe(
    width: int, height: int, spacing: int, sigma_px: float, tmp_path: Path
) -> None:
    picture, centres = bright_blobs(width, height, spacing, sigma_px)
    (name,) = capture_of(tmp_path, [picture])
    features.main(CONF, tmp_path, tmp_path / "out", Listener())
    found = read(tmp_path / "out", name)
    assert found.scales_px is not None
    distance = np.linalg.norm(found.keypoints_px[:, None] - centres, axis=2)
    nearest = distance.argmin(axis=0)
    offset = found.keypoints_px[nearest] - centres
    # Half a pixel of wrong convention, before or after a change of size, would show in the mean.
    assert np.abs(offset.mean(axis=0)).max() < 0.02
    assert np.abs(offset).max() < 0.15
    # The Laplacian of a Gaussian answers strongest at the blob's own sigma; SIFT's steps of scale are 26 %.
    assert found.scales_px[nearest] == pytest.approx(np.full(len(centres), sigma_px), rel=0.2)
    with h5py.File(tmp_path / "out" / "features.h5") as file:
        stored = file[name]["keypoints"][()]
        assert np.abs(stored[nearest] + 0.5 - centres).max() < 0.15
        assert file[name]["image_size"][()].tolist() == [width, height]


def test_a_place_on_the_wall_is_found_again_from_elsewhere(room: RoomViews) -> None:
    first, second = read(room.features, room.names[0]), read(room.features, room.names[1])
    expected = room.carried(0, 1, first.keypoints_px.astype(np.float64))
    seen = inside(expected, 8)
    assert seen.sum() > 1000
    distance = np.array([np.linalg.norm(second.keypoints_px - place, axis=1).min() for place in expected[seen][::10]])
    assert np.mean(distance < 1.0) > 0.6


def test_a_turned_picture_turns_its_keypoints(room: RoomViews) -> None:
    first, second = read(room.features, room.names[0]), read(room.features, room.names[2])
    assert first.orientations_rad is not None and second.orientations_rad is not None
    assert first.scales_px is not None and second.scales_px is not None
    strongest = np.argsort(-first.scales_px)[:600]
    expected = room.carried(0, 2, first.keypoints_px.astype(np.float64))
    turns, growth = [], []
    for index in strongest[inside(expected[strongest], 20)]:
        near = np.linalg.norm(second.keypoints_px - expected[index], axis=1) < 0.5
        if not near.any():
            continue
        turn = np.rad2deg(second.orientations_rad[near] - first.orientations_rad[index])
        turns.append(np.abs((turn + ROLL_DEG + 180) % 360 - 180).min())
        growth.append(np.abs(np.log(second.scales_px[near] / first.scales_px[index])).min())
    assert len(turns) > 200
    assert np.mean(np.array(turns) < 4) > 0.9
    assert np.mean(np.array(growth) < 0.1) > 0.9


def test_descriptors_are_square_roots_of_shares_and_survive_half_floats(room: RoomViews) -> None:
    with h5py.File(room.features / "features.h5") as file:
        assert set(file) == set(room.names)
        for name in room.names:
            group = file[name]
            descriptors = group["descriptors"][()]
            assert descriptors.dtype == np.float16
            assert descriptors.shape == (128, len(group["scores"]))
            values = descriptors.astype(np.float64)
            assert values.min() >= 0
            assert (values**2).sum(axis=0) == pytest.approx(np.ones(values.shape[1]), abs=0.02)
            # COLMAP's bytes come back to the last bit, so that matching here and in hloc sees the same.
            assert np.array_equal(values * 512, np.rint(values * 512))


def test_max_keypoints_keeps_the_largest_scales(room: RoomViews, tmp_path: Path) -> None:
    (tmp_path / "matching").mkdir()
    one = room.manifest.model_copy(update={"frames": room.manifest.frames[:1]})
    (tmp_path / "capture.json").write_text(one.model_dump_json())
    (tmp_path / "matching" / room.names[0]).symlink_to(room.capture / "matching" / room.names[0])
    features.main(CONF.model_copy(update={"max_keypoints": 100}), tmp_path, tmp_path / "out", Listener())
    few, many = read(tmp_path / "out", room.names[0]), read(room.features, room.names[0])
    assert len(few.scores) == 100 < len(many.scores)
    assert len(few.descriptors) == len(few.keypoints_px) == 100
    assert few.scores.min() >= np.sort(many.scores)[-120]
    everything = {
        (*place, scale) for place, scale in zip(many.keypoints_px.tolist(), many.scores.tolist(), strict=True)
    }
    assert all((*p, s) in everything for p, s in zip(few.keypoints_px.tolist(), few.scores.tolist(), strict=True))


def test_the_same_pictures_give_the_same_features(tmp_path: Path) -> None:
    names = capture_of(tmp_path, [noise(320, 240), noise(320, 240, seed=1)])
    for run in ("a", "b"):
        features.main(CONF, tmp_path, tmp_path / run, Listener())
    for name in names:
        first, second = read(tmp_path / "a", name), read(tmp_path / "b", name)
        assert len(first.scores) > 100
        assert np.array_equal(first.keypoints_px, second.keypoints_px)
        assert np.array_equal(first.descriptors, second.descriptors)


def test_a_picture_without_texture_has_no_keypoints_and_is_named(tmp_path: Path) -> None:
    names = capture_of(tmp_path, [noise(640, 480), np.full((480, 640), 90, np.uint8)])
    listener = Listener()
    features.main(CONF, tmp_path, tmp_path / "out", listener)
    with h5py.File(tmp_path / "out" / "features.h5") as file:
        assert file[names[1]]["keypoints"].shape == (0, 2)
        assert file[names[1]]["descriptors"].shape == (128, 0)
        total = len(file[names[0]]["scores"])
    assert listener.lines == [f"  ✓ {total:,} keypoints in 2 images, {total // 2:,} in the median one"]
    (warning,) = listener.warnings
    assert names[1] in warning and names[0] not in warning
    assert "1 of 2" in warning
    assert listener.progressed[0][:2] == (0, 2)
    assert listener.progressed[-1] == (2, 2, "Extracting features")
    # COLMAP's scratch database is not part of the step's output.
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["features.h5"]


def test_a_picture_that_cannot_be_read_is_the_users_affair(tmp_path: Path) -> None:
    names = capture_of(tmp_path, [noise(64, 48), noise(64, 48, seed=1)])
    (tmp_path / "matching" / names[1]).write_bytes(b"not a picture")
    with pytest.raises(UserError, match=names[1]) as error:
        features.main(CONF, tmp_path, tmp_path / "out", Listener())
    assert error.value.code is ErrorCode.INVALID_IMAGE


def test_features_that_are_not_there_are_replaced_loudly(tmp_path: Path) -> None:
    (name,) = capture_of(tmp_path, [noise(320, 240)])
    listener = Listener()
    features.main(CONF.model_copy(update={"feature_type": FeatureType.DISK}), tmp_path, tmp_path / "disk", listener)
    features.main(CONF, tmp_path, tmp_path / "sift", Listener())
    asked, plain = read(tmp_path / "disk", name), read(tmp_path / "sift", name)
    assert np.array_equal(asked.keypoints_px, plain.keypoints_px)
    (warning,) = listener.warnings
    assert "`disk`" in warning and "`sift`" in warning


@pytest.mark.parametrize("matcher", MatcherType)
def test_what_the_step_says_depends_on_what_its_output_depends_on(matcher: MatcherType, tmp_path: Path) -> None:
    """Its lines are kept with its output and said again to every job that takes it over, whatever matcher that job has."""
    capture_of(tmp_path, [noise(320, 240)])
    listener = Listener()
    features.main(CONF.model_copy(update={"matcher_type": matcher}), tmp_path, tmp_path / "out", listener)
    assert listener.warnings == []


def test_strict_features_refuses_before_any_work(tmp_path: Path) -> None:
    capture_of(tmp_path, [noise(64, 48)])
    conf = CaptureSettings(strict_features=True)
    with pytest.raises(UserError) as error:
        features.main(conf, tmp_path, tmp_path / "out", Listener())
    assert error.value.code is ErrorCode.FEATURES_UNAVAILABLE
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_is_the_users(threads: int) -> None:
    conf = CONF.model_copy(update={"num_threads": threads})
    assert features.extraction_options(conf, 1920, 1440).num_threads == threads
    assert matching.matching_options(conf).num_threads == threads
