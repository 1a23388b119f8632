"""Step 3: which pictures are compared.

`exhaustive`: each with each. `sequential`: each with those after it, near ones all and far ones at doubling steps, and
with pictures that look alike, which closes loops. `poses`: those that see the same surfaces by the phone's poses and depth.
"""

from pathlib import Path

import numpy as np

from contracts.capture_settings import CaptureSettings, PairingMode
from contracts.captures import CaptureManifest
from contracts.progress import Reporter
from services.sfm import hloc_files, pairs_by_appearance, pairs_by_pose
from services.sfm.captured import read_manifest
from services.sfm.hloc_files import FEATURES_NAME, PAIRS_NAME, FeatureReader
from services.sfm.pairs_by_pose import Pairs, unique_pairs

NEAR_FRAMES = 10
FARTHEST_STEP = 64
LOOPS_PER_FRAME = 4
LOOP_GAP_FRAMES = 20
"""Frames nearer than this in time are compared anyway, or look alike because they are the same place."""


def exhaustive(count: int) -> Pairs:
    """All pairs (p, 2) int64, first index smaller."""
    return np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)


def sequential(count: int) -> Pairs:
    """Each frame with the next `NEAR_FRAMES`, then with those 16, 32 and 64 later; (p, 2) int64.

    Far steps hold on to a frame while a few blurred ones pass, at little cost (COLMAP's quadratic overlap).
    """
    steps = list(range(1, NEAR_FRAMES + 1))
    step = 1 << NEAR_FRAMES.bit_length()
    while step <= FARTHEST_STEP:
        steps.append(step)
        step *= 2
    first = np.arange(count)
    found = [np.stack([first[: count - step], first[step:]], axis=1) for step in steps if step < count]
    return unique_pairs(np.concatenate(found)) if found else np.zeros((0, 2), np.int64)


def _sequential_with_loops(capture: CaptureManifest, features_dir: Path, report: Reporter) -> Pairs:
    near = sequential(len(capture.frames))
    with FeatureReader(features_dir / FEATURES_NAME) as features:
        vectors = pairs_by_appearance.describe(
            [frame.name for frame in capture.frames],
            features,
            lambda done, total: report.progress(done, total, "Finding loops"),
        )
    loops = pairs_by_appearance.loop_pairs(vectors, LOOPS_PER_FRAME, LOOP_GAP_FRAMES)
    joined = unique_pairs(np.concatenate([near, loops]))
    report.log(
        f"  {len(near):,} pairs near in time, {len(joined) - len(near):,} more that look alike (VLAD of their own features)"
    )
    return joined


def _by_poses(capture: CaptureManifest, capture_dir: Path, report: Reporter) -> Pairs:
    views = pairs_by_pose.read_views(capture_dir, capture, report)
    found = pairs_by_pose.overlapping_pairs(views)
    everything = len(capture.frames) * (len(capture.frames) - 1) // 2
    report.log(
        f"  Pairs that overlap by the phone's poses and depth: {everything / max(1, len(found)):.1f} times fewer than all"
    )
    without = sum(not frame.has_depth for frame in capture.frames)
    if without:
        report.warn(
            f"{without} of {len(capture.frames)} frames have no depth: for them pairing `poses` takes every surface to "
            f"be {pairs_by_pose.DEFAULT_DEPTH_M:g} m away and cannot see walls. Record with LiDAR, or use `sequential`."
        )
    return found


def main(conf: CaptureSettings, capture_dir: Path, features_dir: Path, out_dir: Path, report: Reporter) -> None:
    """Choose pairs by `conf.pairing_mode`; writes `out_dir/pairs.txt`, "name0 name1" per line, in time order."""
    capture = read_manifest(capture_dir)
    names = [frame.name for frame in capture.frames]
    if conf.pairing_mode is PairingMode.EXHAUSTIVE:
        found = exhaustive(len(names))
    elif conf.pairing_mode is PairingMode.SEQUENTIAL:
        found = _sequential_with_loops(capture, features_dir, report)
    else:
        found = _by_poses(capture, capture_dir, report)
    out_dir.mkdir(parents=True, exist_ok=True)
    hloc_files.write_pairs(out_dir / PAIRS_NAME, [(names[first], names[second]) for first, second in found])
    report.progress(1, 1, "Pairs chosen")
    report.log(f"  ✓ {len(found):,} pairs ({conf.pairing_mode})")
