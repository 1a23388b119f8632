"""Step 2: local features of every picture, as hloc writes them.

SIFT (Lowe 2004) with square-rooted L1-normalised descriptors (Arandjelović and Zisserman 2012), on pictures of at most
1600 px, as hloc's `sift`. The detector is pycolmap's, whose own threads are used: its calls hold the interpreter's lock.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import CaptureSettings, FeatureType
from contracts.captures import CaptureManifest
from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.sfm import database, hloc_files
from services.sfm.captured import read_manifest
from services.sfm.hloc_files import FEATURES_NAME, Features
from services.sfm.learned.equipment import BUILT_IN, Equipment
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


def read_rows(db: pycolmap.Database, image_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (n, 6) float32 and descriptors (n, 128) uint8 of a picture, as pycolmap's SIFT wrote them.

    COLMAP's rows are x, y and the affine shape a11, a12, a21, a22.
    """
    rows = np.asarray(db.read_keypoints(image_id), np.float32)
    if len(rows) == 0:
        return np.zeros((0, 6), np.float32), np.zeros((0, 128), np.uint8)
    return rows, np.asarray(db.read_descriptors(image_id).data, np.uint8)


def features_of(rows: np.ndarray, descriptors: np.ndarray, size_px: tuple[int, int]) -> Features:
    """From COLMAP's rows (n, 6) and descriptors (n, 128) uint8. Scores are scales: what COLMAP ranks by."""
    scales = np.hypot(rows[:, 2], rows[:, 4])
    return Features(
        keypoints_px=rows[:, :2],
        descriptors=(descriptors.astype(np.float32) / DESCRIPTOR_UNIT).astype(np.float16),
        scores=scales,
        size_px=size_px,
        scales_px=scales,
        orientations_rad=np.arctan2(rows[:, 4], rows[:, 2]),
    )


def _extracted(
    conf: CaptureSettings, path: Path, ids: dict[str, int], size_px: tuple[int, int]
) -> Iterator[tuple[str, Features]]:
    """What pycolmap wrote into the database, picture by picture."""
    with pycolmap.Database.open(path) as db:
        for name, image_id in ids.items():
            if not db.exists_keypoints(image_id):
                raise UserError(
                    ErrorCode.INVALID_IMAGE,
                    f"Picture {name} could not be read. Record it again, or upload the capture once more.",
                )
            yield name, features_of(*_limited(conf, *read_rows(db, image_id)), size_px)


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


def _sift(
    conf: CaptureSettings, capture: CaptureManifest, pictures: Path, scratch: Path, report: Reporter
) -> Iterator[tuple[str, Features]]:
    ids = _extract_sift(conf, capture, pictures, scratch, report)
    yield from _extracted(conf, scratch, ids, (capture.source.width_px, capture.source.height_px))
    database.remove(scratch)


def _learned(
    conf: CaptureSettings, names: list[str], pictures: Path, equipment: Equipment, report: Reporter
) -> Iterator[tuple[str, Features]]:
    # torch takes seconds to import, and most jobs do without it.
    from services.sfm.learned.build import build_extractor  # noqa: PLC0415
    from services.sfm.learned.compute import best_compute  # noqa: PLC0415
    from services.sfm.learned.extraction import extracted  # noqa: PLC0415

    compute = best_compute(conf.num_threads)
    extractor = build_extractor(conf.feature_type, equipment.files, conf.max_keypoints, compute)
    for done, found in enumerate(extracted(pictures, names, extractor, compute), start=1):
        yield found
        report.progress(done, len(names), "Extracting features")


def main(
    conf: CaptureSettings, capture_dir: Path, out_dir: Path, report: Reporter, equipment: Equipment = BUILT_IN
) -> None:
    """Extract features from `matching/*.png`; writes `out_dir/features.h5`.

    Warns where other features are used than were asked for. Raises UserError(FEATURES_UNAVAILABLE) where that is
    refused, and UserError(INVALID_IMAGE) for a picture that cannot be read.
    """
    resolution = resolve(conf, equipment)
    for warning in resolution.feature_warnings:
        report.warn(warning)
    capture = read_manifest(capture_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = capture_dir / "matching"
    if resolution.used_features is FeatureType.SIFT:
        features = _sift(conf, capture, pictures, out_dir / "features.db", report)
    else:
        features = _learned(conf, [frame.name for frame in capture.frames], pictures, equipment, report)
    counts: dict[str, int] = {}

    def counted() -> Iterator[tuple[str, Features]]:
        for name, found in features:
            counts[name] = len(found.keypoints_px)
            yield name, found

    hloc_files.write_features(out_dir / FEATURES_NAME, counted())
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
