"""Step 2: local features of every picture, as hloc writes them.

SIFT (Lowe 2004) with square-rooted L1-normalised descriptors (Arandjelović and Zisserman 2012), on pictures of at most
1600 px, as hloc's `sift`. The detector is pycolmap's, whose own threads are used: its calls hold the interpreter's lock.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import CaptureSettings
from contracts.captures import CaptureManifest
from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.sfm import database, hloc_files
from services.sfm.captured import read_manifest
from services.sfm.hloc_files import FEATURES_NAME, Features
from services.sfm.resolution import Resolution, resolve

__all__ = ["Resolution", "main", "resolve"]

LONGEST_SIDE_PX = 1600
ENLARGE_BELOW_PX = 1200
"""Smaller pictures are doubled first (Lowe 2004, 3.3): they have pixels too few for the finest scales otherwise."""
DESCRIPTOR_UNIT = 512
"""COLMAP stores a descriptor's value v as the integer nearest to 512 v."""
FEW_FEATURES = 200


def extraction_options(conf: CaptureSettings, width_px: int, height_px: int) -> pycolmap.FeatureExtractionOptions:
    """SIFT options for pictures of that size."""
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = conf.num_threads or -1
    options.max_image_size = LONGEST_SIDE_PX
    options.sift.max_num_features = conf.max_keypoints
    options.sift.first_octave = -1 if max(width_px, height_px) < ENLARGE_BELOW_PX else 0
    return options


def _limited(conf: CaptureSettings, rows: np.ndarray, descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `max_keypoints`, the largest scales first as COLMAP keeps them; order is kept otherwise."""
    if len(rows) <= conf.max_keypoints:
        return rows, descriptors
    scales = np.hypot(rows[:, 2], rows[:, 4])
    kept = np.sort(np.argsort(-scales, kind="stable")[: conf.max_keypoints])
    return rows[kept], descriptors[kept]


def _extracted(
    conf: CaptureSettings, path: Path, ids: dict[str, int], size_px: tuple[int, int]
) -> Iterator[tuple[str, Features]]:
    """What pycolmap wrote into the database, picture by picture.

    COLMAP's rows are x, y and the affine shape a11, a12, a21, a22. Scores are scales: what COLMAP ranks by.
    """
    with pycolmap.Database.open(path) as db:
        for name, image_id in ids.items():
            if not db.exists_keypoints(image_id):
                raise UserError(
                    ErrorCode.INVALID_IMAGE,
                    f"Picture {name} could not be read. Record it again, or upload the capture once more.",
                )
            rows = np.asarray(db.read_keypoints(image_id), np.float32)
            descriptors = np.asarray(db.read_descriptors(image_id).data, np.uint8)
            if len(rows) == 0:
                rows, descriptors = np.zeros((0, 6), np.float32), np.zeros((0, 128), np.uint8)
            rows, descriptors = _limited(conf, rows, descriptors)
            scales = np.hypot(rows[:, 2], rows[:, 4])
            yield (
                name,
                Features(
                    keypoints_px=rows[:, :2],
                    descriptors=(descriptors.astype(np.float32) / DESCRIPTOR_UNIT).astype(np.float16),
                    scores=scales,
                    size_px=size_px,
                    scales_px=scales,
                    orientations_rad=np.arctan2(rows[:, 4], rows[:, 2]),
                ),
            )


def _extract_sift(
    conf: CaptureSettings, capture: CaptureManifest, pictures: Path, scratch: Path, report: Reporter
) -> dict[str, int]:
    """Features of every picture into the database `scratch`; picture ids by name."""
    ids = database.create(scratch, capture, conf.camera_model)
    options = extraction_options(conf, capture.source.width_px, capture.source.height_px)

    def done(db: pycolmap.Database) -> int:
        return sum(db.exists_keypoints(image_id) for image_id in ids.values())

    with database.watched(scratch, done, len(ids), report, "Extracting features"):
        pycolmap.extract_features(scratch, pictures, list(ids), extraction_options=options, device=pycolmap.Device.cpu)
    return ids


def main(conf: CaptureSettings, capture_dir: Path, out_dir: Path, report: Reporter) -> None:
    """Extract features from `matching/*.png`; writes `out_dir/features.h5`.

    Warns where other features are used than were asked for. Raises UserError(FEATURES_UNAVAILABLE) where that is
    refused, and UserError(INVALID_IMAGE) for a picture that cannot be read.
    """
    for warning in resolve(conf).feature_warnings:
        report.warn(warning)
    capture = read_manifest(capture_dir)
    scratch = out_dir / "features.db"
    out_dir.mkdir(parents=True, exist_ok=True)
    ids = _extract_sift(conf, capture, capture_dir / "matching", scratch, report)
    counts: dict[str, int] = {}

    def counted() -> Iterator[tuple[str, Features]]:
        size = (capture.source.width_px, capture.source.height_px)
        for name, found in _extracted(conf, scratch, ids, size):
            counts[name] = len(found.keypoints_px)
            yield name, found

    hloc_files.write_features(out_dir / FEATURES_NAME, counted())
    database.remove(scratch)
    _tell(counts, report)


def _tell(counts: dict[str, int], report: Reporter) -> None:
    values = np.array(list(counts.values()))
    report.log(
        f"  ✓ {int(values.sum()):,} keypoints in {len(values)} images, {int(np.median(values)):,} in the median one"
    )
    poor = [name for name, count in counts.items() if count < FEW_FEATURES]
    if poor:
        report.warn(
            f"{len(poor)} of {len(counts)} pictures have fewer than {FEW_FEATURES} keypoints (blurred, dark or without "
            f"texture), {poor[0]} first: they may get no pose. Walk slower, in more light."
        )
