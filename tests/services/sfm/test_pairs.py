"""Pairs of each mode: counts by property, loops in a walk that returns, and what is said about them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.capture_settings import CaptureSettings, PairingMode
from contracts.captures import CaptureManifest
from services.sfm import hloc_files, pairs, pairs_by_pose
from services.sfm.hloc_files import Features
from tests.services.sfm.listening import Listener
from tests.services.sfm.textured_rooms import Pinhole, looking, write_capture

CAMERA = Pinhole(640, 480, 500.0, 500.0, 320.0, 240.0)


def unseen_capture(folder: Path, frames: int) -> CaptureManifest:
    """Frames one step apart with neither pictures nor depth."""
    poses = [looking((0.1 * i, 1.5, 0), (0.1 * i, 1.4, 3)) for i in range(frames)]
    return write_capture(folder, [], poses, [CAMERA] * frames, depth_size_px=None, draw_pictures=False)


def run(mode: PairingMode, capture: Path, out: Path) -> tuple[list[tuple[str, str]], Listener]:
    listener = Listener()
    pairs.main(CaptureSettings(pairing_mode=mode), capture, capture / "features", out, listener)
    return hloc_files.read_pairs(out / "pairs.txt"), listener


@settings(deadline=None)
@given(st.integers(1, 60))
def test_exhaustive_is_every_pair_once(count: int) -> None:
    found = pairs.exhaustive(count)
    assert [tuple(pair) for pair in found.tolist()] == list(itertools.combinations(range(count), 2))
    assert found.dtype == np.int64 and found.shape[1] == 2


@settings(deadline=None)
@given(st.integers(1, 150))
def test_sequential_is_every_near_pair_and_doubling_steps(count: int) -> None:
    steps = {*range(1, 11), 16, 32, 64}
    expected = [(i, j) for i, j in itertools.combinations(range(count), 2) if j - i in steps]
    assert [tuple(pair) for pair in pairs.sequential(count).tolist()] == expected


def test_sequential_grows_with_the_walk_and_not_with_its_square() -> None:
    assert len(pairs.sequential(2000)) < 13 * 2000


@pytest.mark.parametrize("mode", [PairingMode.EXHAUSTIVE, PairingMode.POSES])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_pairs_are_written_in_the_order_of_time(mode: PairingMode, frames: int, tmp_path: Path) -> None:
    names = [frame.name for frame in unseen_capture(tmp_path, frames).frames]
    found, listener = run(mode, tmp_path, tmp_path / "out")
    if mode is PairingMode.EXHAUSTIVE:
        assert found == list(itertools.combinations(names, 2))
    assert all(names.index(first) < names.index(second) for first, second in found)
    assert len(set(found)) == len(found)
    assert listener.lines[-1] == f"  ✓ {len(found)} pairs ({mode})"
    assert listener.progressed[-1] == (1, 1, "Pairs chosen")


REVISITED = 20


def looping_capture(folder: Path) -> CaptureManifest:
    """60 frames of 40 places: the last 20 frames are at the first 20 places again, in order.

    A place is a set of descriptors; a visit shows most of them, disturbed, among others seen nowhere else.
    """
    manifest = unseen_capture(folder, 40 + REVISITED)
    rng = np.random.default_rng(0)
    places = rng.gamma(0.5, size=(40, 60, 128))
    (folder / "features").mkdir()

    def visits() -> list[tuple[str, Features]]:
        made = []
        for index, frame in enumerate(manifest.frames):
            seen = places[index % 40][rng.permutation(60)[:45]] * rng.uniform(0.7, 1.3, (45, 128))
            rows = np.concatenate([seen, rng.gamma(0.5, size=(30, 128))])
            rows = np.sqrt(rows / rows.sum(axis=1, keepdims=True)).astype(np.float16)
            ones = np.ones(len(rows), np.float32)
            made.append((frame.name, Features(np.ones((len(rows), 2), np.float32), rows, ones, (640, 480))))
        return made

    hloc_files.write_features(folder / "features" / "features.h5", visits())
    return manifest


def test_sequential_closes_the_loop_of_a_walk_that_returns(tmp_path: Path) -> None:
    names = [frame.name for frame in looping_capture(tmp_path).frames]
    found, listener = run(PairingMode.SEQUENTIAL, tmp_path, tmp_path / "out")
    chosen = {(names.index(first), names.index(second)) for first, second in found}
    near = {tuple(pair) for pair in pairs.sequential(len(names)).tolist()}
    assert near <= chosen
    loops = {(place, place + 40) for place in range(REVISITED)}
    assert not loops & near
    assert loops <= chosen
    more = chosen - near
    assert all(second - first >= 20 for first, second in more)
    assert len(more) <= pairs.LOOPS_PER_FRAME * len(names)
    assert found == sorted(found)
    assert listener.lines[0].startswith(f"  {len(near)} pairs near in time, {len(more)} more that look alike")
    assert listener.lines[-1] == f"  ✓ {len(found)} pairs (sequential)"
    assert (60, 60, "Finding loops") in listener.progressed


def test_poses_are_those_of_the_poses_and_say_how_many_fewer(tmp_path: Path) -> None:
    manifest = unseen_capture(tmp_path, 60)
    names = [frame.name for frame in manifest.frames]
    found, listener = run(PairingMode.POSES, tmp_path, tmp_path / "out")
    views = pairs_by_pose.read_views(tmp_path, manifest, Listener())
    expected = pairs_by_pose.overlapping_pairs(views)
    assert found == [(names[first], names[second]) for first, second in expected]
    fewer = 60 * 59 / 2 / len(found)
    assert f"{fewer:.1f} times fewer" in listener.lines[0]
    # Six metres of walk past surfaces taken to be 2.5 m off, of which a picture shows 3.2 m: the ends share nothing.
    assert (names[0], names[59]) not in found


def test_frames_without_depth_are_warned_of_where_walls_cannot_be_seen(tmp_path: Path) -> None:
    unseen_capture(tmp_path, 3)
    _, listener = run(PairingMode.POSES, tmp_path, tmp_path / "a")
    (warning,) = listener.warnings
    assert warning.startswith("3 of 3 frames have no depth") and "`sequential`" in warning
    assert run(PairingMode.EXHAUSTIVE, tmp_path, tmp_path / "b")[1].warnings == []
    write_capture(tmp_path / "lidar", [], [np.eye(4)] * 3, [CAMERA] * 3, depth_size_px=(64, 48), draw_pictures=False)
    assert run(PairingMode.POSES, tmp_path / "lidar", tmp_path / "c")[1].warnings == []
