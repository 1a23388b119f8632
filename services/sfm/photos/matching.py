"""Step 3: matches of every pair, verified; focal lengths that nobody told, from the verified pairs.

Matches as for captures. A pair of pictures whose focal lengths are known is verified by an essential matrix, any other by a
fundamental matrix; those give the unknown focal lengths (Sweeney et al., "Optimizing the viewing graph for structure from
motion", ICCV 2015, as COLMAP's view-graph calibration has it), with which mapping starts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap

from contracts.photos import Photo
from contracts.progress import Reporter
from services.sfm import hloc_files, matching
from services.sfm.database import DATABASE_NAME
from services.sfm.hloc_files import FEATURES_NAME, PAIRS_NAME, FeatureReader
from services.sfm.photos.collection import create_database, read_manifest, shared_cameras
from services.sfm.photos.features import LOCAL_FEATURES

MIN_INLIERS = 15
LEAST_FOCAL_SHARE = 0.4
MOST_FOCAL_SHARE = 4.0
"""Of the longest side: a camera's focal length outside is a sign of matches that cannot tell it."""


def verification_options(longest_side_px: float) -> pycolmap.TwoViewGeometryOptions:
    """As for captures; a pair counts from `MIN_INLIERS`."""
    options = matching.verification_options(round(longest_side_px), 1)
    options.min_num_inliers = MIN_INLIERS
    return options


def _calibrate(path: Path, photos: Sequence[Photo], longest_side_px: float, report: Reporter) -> None:
    """Unknown focal lengths from fundamental matrices, where they come out as a camera's can be. Known ones stay."""
    guessed = [shared for shared in shared_cameras(photos) if not shared.known]
    if not guessed:
        return
    with pycolmap.Database.open(path) as db:
        before = {camera.camera_id: camera for camera in db.read_all_cameras()}
    options = pycolmap.ViewGraphCalibrationOptions()
    options.random_seed = 0
    options.relpose_min_num_inliers = MIN_INLIERS
    options.relpose_max_error = verification_options(longest_side_px).ransac.max_error
    found = pycolmap.calibrate_view_graph(path, options)
    told = []
    with pycolmap.Database.open(path) as db:
        for camera in db.read_all_cameras():
            guess = before[camera.camera_id]
            share = camera.mean_focal_length() / max(camera.width, camera.height)
            plausible = LEAST_FOCAL_SHARE < share < MOST_FOCAL_SHARE
            if guess.has_prior_focal_length or not found or not plausible:
                db.update_camera(guess)
            elif camera.mean_focal_length() != guess.mean_focal_length():
                told.append(camera.mean_focal_length())
    report.log(
        f"{len(guessed)} camera(s) do not tell their focal length; the pictures told {len(told)} of them"
        + (f": {', '.join(f'{focal:.0f}' for focal in told[:5])} px" if told else "")
    )


def main(collection: Path, features_dir: Path, pairs_dir: Path, out_dir: Path, report: Reporter) -> None:
    """Match and verify the pairs of `pairs.txt`; writes `out_dir/database.db`."""
    photos = read_manifest(collection).photos
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / DATABASE_NAME
    ids = create_database(path, photos)
    pairs_file = pairs_dir / PAIRS_NAME
    pairs = hloc_files.read_pairs(pairs_file)
    longest_side_px = float(np.median([max(photo.width_px, photo.height_px) for photo in photos]))
    with FeatureReader(features_dir / FEATURES_NAME) as features:
        matching.write_features(path, ids, features)
    if pairs:
        options = matching.matching_options(LOCAL_FEATURES)
        matching.match(path, pairs_file, options, verification_options(longest_side_px), report)
    _calibrate(path, photos, longest_side_px, report)
    with pycolmap.Database.open(path) as db:
        _, inliers = db.read_two_view_geometry_num_inliers()
    matching.shrink(path)
    report.log(f"{len(inliers):,} of {len(pairs):,} pairs verified, {sum(inliers):,} matches")
