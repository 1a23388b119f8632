"""Step 4: matches of every pair, verified against the known intrinsics.

Mutual nearest neighbours that pass Lowe's ratio test (2004), by pycolmap's approximate search: within 1 % of the matches
of an exhaustive comparison at a seventh of its time. Verified matches are inliers of an essential matrix (LO-RANSAC), or of a homography
where the scene is flat or the camera only turned, all as COLMAP does it.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.progress import Reporter
from services.sfm import database, hloc_files
from services.sfm.captured import read_manifest
from services.sfm.database import DATABASE_NAME
from services.sfm.features import DESCRIPTOR_UNIT
from services.sfm.hloc_files import FEATURES_NAME, MATCHES_NAME, FeatureReader, PairMatches
from services.sfm.learned.equipment import BUILT_IN, Equipment
from services.sfm.resolution import Resolution, resolve

MAX_RATIO = 0.8
MAX_ERROR_SHARE = 1 / 480
"""Inlier threshold as a share of the longest side: COLMAP's 4 px at the 1920 px of a phone's picture."""
LEAST_MAX_ERROR_PX = 1.0
PAIRS_PER_BLOCK = 100
"""Pairs that COLMAP matches before it writes them; progress is as fine as this, and a block costs milliseconds."""


def matching_options(conf: CaptureSettings) -> pycolmap.FeatureMatchingOptions:
    """Ratio test, mutual check, approximate search."""
    options = pycolmap.FeatureMatchingOptions()
    options.use_gpu = False
    options.num_threads = conf.num_threads or -1
    options.sift.max_ratio = MAX_RATIO
    options.sift.cross_check = True
    options.sift.cpu_brute_force_matcher = False
    return options


def verification_options(width_px: int, height_px: int) -> pycolmap.TwoViewGeometryOptions:
    """Inlier threshold by the size of the pictures, and a fixed seed."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.max_error = max(LEAST_MAX_ERROR_PX, MAX_ERROR_SHARE * max(width_px, height_px))
    options.ransac.random_seed = 0
    return options


def write_features(path: Path, ids: dict[str, int], features: FeatureReader) -> None:
    """Copy keypoints and descriptors into a database that has the pictures; `ids` by name."""
    with pycolmap.Database.open(path) as db, pycolmap.DatabaseTransaction(db):
        for name, image_id in ids.items():
            found = features.read(name)
            db.write_keypoints(image_id, database.keypoint_rows(found))
            values = np.rint(found.descriptors.astype(np.float32) * DESCRIPTOR_UNIT).clip(0, 255).astype(np.uint8)
            db.write_descriptors(image_id, pycolmap.FeatureDescriptors(pycolmap.FeatureExtractorType.SIFT, values))


def match(
    path: Path,
    pairs_file: Path,
    matching: pycolmap.FeatureMatchingOptions,
    verification: pycolmap.TwoViewGeometryOptions,
    report: Reporter,
) -> None:
    """Match and verify the pairs of a file, in place; the database has the pictures' features."""
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = pairs_file
    pairing.block_size = PAIRS_PER_BLOCK
    total = len(hloc_files.read_pairs(pairs_file))
    with database.watched(path, lambda db: db.num_matched_image_pairs(), total, report, "Matching pairs"):
        pycolmap.match_image_pairs(
            path,
            matching_options=matching,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )


def _match_learned(  # noqa: PLR0917  (as `main`)
    path: Path,
    ids: dict[str, int],
    pairs: list[tuple[str, str]],
    features: FeatureReader,
    found: Iterator[PairMatches],
    report: Reporter,
) -> None:
    """Write keypoints and what a matcher finds into the database, and the matches with their scores for hloc beside it."""

    def written(db: pycolmap.Database) -> Iterator[PairMatches]:
        for done, pair in enumerate(found, start=1):
            first, second = (ids[name] for name in pair.names)
            db.write_matches(first, second, pair.indices.astype(np.uint32))
            report.progress(done, len(pairs), "Matching pairs")
            yield pair

    with pycolmap.Database.open(path) as db, pycolmap.DatabaseTransaction(db):
        for name, image_id in ids.items():
            db.write_keypoints(image_id, database.keypoint_rows(features.read(name)))
        hloc_files.write_matches(path.with_name(MATCHES_NAME), written(db))


def _learned_matches(
    conf: CaptureSettings,
    resolution: Resolution,
    pairs: list[tuple[str, str]],
    features: FeatureReader,
    equipment: Equipment,
) -> Iterator[PairMatches]:
    # torch takes seconds to import, and most jobs do without it.
    from services.sfm.learned.build import build_matcher  # noqa: PLC0415
    from services.sfm.learned.compute import best_compute  # noqa: PLC0415
    from services.sfm.learned.matching import matched  # noqa: PLC0415

    compute = best_compute(conf.num_threads)
    matcher = build_matcher(resolution.used_matcher, equipment.files, compute)
    yield from matched(pairs, features, matcher, compute)


def shrink(path: Path) -> None:
    """Drop the descriptors, which features.h5 has, and leave one file without a write-ahead log."""
    with pycolmap.Database.open(path) as db:
        db.clear_descriptors()
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    finally:
        connection.close()


def main(  # noqa: PLR0917  (what it reads, what it writes and who listens, as in every step)
    conf: CaptureSettings,
    capture_dir: Path,
    features_dir: Path,
    pairs_file: Path,
    out_dir: Path,
    report: Reporter,
    equipment: Equipment = BUILT_IN,
) -> None:
    """Match and verify the pairs of `pairs_file`; writes `out_dir/database.db`, and `matches.h5` where pycolmap does not match.

    Warns where another matcher is used than was asked for, and where a camera model cannot hold the intrinsics. Raises
    UserError(FEATURES_UNAVAILABLE) where another matcher is refused.
    """
    resolution = resolve(conf, equipment)
    for warning in resolution.matcher_warnings:
        report.warn(warning)
    capture = read_manifest(capture_dir)
    size = capture.source.width_px, capture.source.height_px
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / DATABASE_NAME
    worst = max(database.focal_mismatch_px(frame.intrinsics, conf.camera_model, *size) for frame in capture.frames)
    if worst > database.SAME_CAMERA_PX:
        report.warn(
            f"camera_model {conf.camera_model} has one focal length and the phone reports two: corners are off by "
            f"{worst:.1f} px. PINHOLE or OPENCV keeps both."
        )
    ids = database.create(path, capture, conf.camera_model)
    pairs = hloc_files.read_pairs(pairs_file)
    with FeatureReader(features_dir / FEATURES_NAME) as features:
        if (resolution.used_features, resolution.used_matcher) == (FeatureType.SIFT, MatcherType.NEAREST):
            write_features(path, ids, features)
            if pairs:
                match(path, pairs_file, matching_options(conf), verification_options(*size), report)
        else:
            found = _learned_matches(conf, resolution, pairs, features, equipment)
            _match_learned(path, ids, pairs, features, found, report)
            if pairs:
                pycolmap.verify_matches(path, pairs_file, verification_options(*size))
        with pycolmap.Database.open(path) as db:
            # Not num_verified_image_pairs(): COLMAP also keeps a row for each pair that failed.
            _, inliers = db.read_two_view_geometry_num_inliers()
    shrink(path)
    report.log(f"  ✓ {len(inliers):,} of {len(pairs):,} pairs verified, {sum(inliers):,} matches")
