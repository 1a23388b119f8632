"""Step 4: matches of every pair, verified against the known intrinsics.

Mutual nearest neighbours that pass Lowe's ratio test (2004), by pycolmap's approximate search: within 1 % of the matches
of an exhaustive comparison at a seventh of its time. Verified matches are inliers of an essential matrix (LO-RANSAC), or of a homography
where the scene is flat or the camera only turned, all as COLMAP does it.
"""

import sqlite3
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import CaptureSettings
from contracts.progress import Reporter
from services.sfm import database, hloc_files
from services.sfm.captured import read_manifest
from services.sfm.database import DATABASE_NAME
from services.sfm.features import DESCRIPTOR_UNIT
from services.sfm.hloc_files import FEATURES_NAME, FeatureReader
from services.sfm.resolution import resolve

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


def _write_features(path: Path, ids: dict[str, int], features: FeatureReader) -> None:
    with pycolmap.Database.open(path) as db, pycolmap.DatabaseTransaction(db):
        for name, image_id in ids.items():
            found = features.read(name)
            db.write_keypoints(image_id, database.keypoint_rows(found))
            values = np.rint(found.descriptors.astype(np.float32) * DESCRIPTOR_UNIT).clip(0, 255).astype(np.uint8)
            db.write_descriptors(image_id, pycolmap.FeatureDescriptors(pycolmap.FeatureExtractorType.SIFT, values))


def _match(
    path: Path,
    pairs_file: Path,
    matching: pycolmap.FeatureMatchingOptions,
    verification: pycolmap.TwoViewGeometryOptions,
    report: Reporter,
) -> None:
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


def _shrink(path: Path) -> None:
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
    conf: CaptureSettings, capture_dir: Path, features_dir: Path, pairs_file: Path, out_dir: Path, report: Reporter
) -> None:
    """Match and verify the pairs of `pairs_file`; writes `out_dir/database.db`.

    Warns where another matcher is used than was asked for, and where a camera model cannot hold the intrinsics. Raises
    UserError(FEATURES_UNAVAILABLE) where another matcher is refused.
    """
    for warning in resolve(conf).matcher_warnings:
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
        _write_features(path, ids, features)
        if pairs:
            _match(path, pairs_file, matching_options(conf), verification_options(*size), report)
        with pycolmap.Database.open(path) as db:
            # Not num_verified_image_pairs(): COLMAP also keeps a row for each pair that failed.
            _, inliers = db.read_two_view_geometry_num_inliers()
    _shrink(path)
    report.log(f"  ✓ {len(inliers):,} of {len(pairs):,} pairs verified, {sum(inliers):,} matches")
