"""Step 1: local features of every picture.

RootSIFT as for captures. More are detected than are kept: the largest in every part of the picture stay, so that a tree
full of weak ones does not crowd out the house beside it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.photos import PICTURES_FOLDER, Photo
from contracts.progress import Reporter
from services.sfm import database, hloc_files
from services.sfm.features import (
    DESCRIPTOR_UNIT,
    ENLARGE_BELOW_PX,
    FEW_FEATURES,
    extraction_options,
    features_of,
    read_rows,
)
from services.sfm.hloc_files import FEATURES_NAME, Features
from services.sfm.photos.collection import create_database, database_name, read_manifest

NORMS_NAME = "descriptor_norms.json"
DETECTED_KEYPOINTS = 10_000
KEPT_KEYPOINTS = 4096
CELLS_ACROSS = 12
"""The picture's longest side is cut into so many cells, in each of which keypoints are ranked by size."""

LOCAL_FEATURES = CaptureSettings(
    feature_type=FeatureType.SIFT, matcher_type=MatcherType.NEAREST, max_keypoints=DETECTED_KEYPOINTS
)
"""Detector and matcher in the words of captures, whose options for pycolmap are shared."""


def spread(
    positions_px: NDArray[np.float32], scales_px: NDArray[np.float32], size_px: tuple[int, int], most: int
) -> NDArray[np.int64]:
    """Indices, ascending, of at most `most` of n keypoints: the first of every cell by scale, then the seconds, and so on.

    positions_px: (n, 2). Ties within a rank go to the larger scale.
    """
    count = len(positions_px)
    if count <= most:
        return np.arange(count)
    cell_px = max(size_px) / CELLS_ACROSS
    cells = np.floor(positions_px / cell_px).astype(np.int64)
    keys = cells[:, 1] * (CELLS_ACROSS + 1) + cells[:, 0]
    order = np.lexsort((-scales_px, keys))
    first_of_cell = np.concatenate([[True], np.diff(keys[order]) != 0])
    started = np.maximum.accumulate(np.where(first_of_cell, np.arange(count), 0))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count) - started
    return np.sort(np.lexsort((-scales_px, rank))[:most])


def descriptor_norm(descriptors: NDArray[np.uint8]) -> float:
    """Mean Euclidean norm of the gradient histograms behind RootSIFT descriptors (n, 128), each with a sum of one.

    RootSIFT's own norm is always one. This one says how the gradients of a collection are spread: 0.09 for histograms
    without any preferred direction, more for edges and print. 0 for a picture without features.
    """
    if not len(descriptors):
        return 0.0
    histograms = (descriptors.astype(np.float32) / DESCRIPTOR_UNIT) ** 2
    return float(np.linalg.norm(histograms, axis=1).mean())


def _extract(photos: Sequence[Photo], pictures: Path, scratch: Path, report: Reporter) -> dict[str, int]:
    """Features of every picture into the database `scratch`; picture ids by name. Small pictures are enlarged first."""
    ids = create_database(scratch, photos)

    def done(db: pycolmap.Database) -> int:
        return sum(db.exists_keypoints(image_id) for image_id in ids.values())

    small = [photo for photo in photos if max(photo.width_px, photo.height_px) < ENLARGE_BELOW_PX]
    large = [photo for photo in photos if max(photo.width_px, photo.height_px) >= ENLARGE_BELOW_PX]
    with database.watched(scratch, done, len(ids), report, "Extracting features"):
        for group in (small, large):
            if not group:
                continue
            options = extraction_options(LOCAL_FEATURES, group[0].width_px, group[0].height_px)
            names = [database_name(photo) for photo in group]
            pycolmap.extract_features(scratch, pictures, names, extraction_options=options, device=pycolmap.Device.cpu)
    return ids


def main(collection: Path, out_dir: Path, report: Reporter) -> None:
    """Extract features from a canonical collection; writes `out_dir/features.h5` and `descriptor_norms.json`.

    A picture that pycolmap cannot read gets no features, with a warning.
    """
    photos = read_manifest(collection).photos
    scratch = out_dir / "features.db"
    out_dir.mkdir(parents=True, exist_ok=True)
    ids = _extract(photos, collection / PICTURES_FOLDER, scratch, report)
    counts: dict[str, int] = {}
    norms: dict[str, float] = {}

    def kept() -> Iterator[tuple[str, Features]]:
        with pycolmap.Database.open(scratch) as db:
            for photo in photos:
                name, size_px = database_name(photo), (photo.width_px, photo.height_px)
                rows, descriptors = read_rows(db, ids[name])
                chosen = spread(rows[:, :2], np.hypot(rows[:, 2], rows[:, 4]), size_px, KEPT_KEYPOINTS)
                counts[photo.name] = len(chosen)
                if len(chosen):
                    norms[photo.name] = descriptor_norm(descriptors[chosen])
                yield name, features_of(rows[chosen], descriptors[chosen], size_px)

    hloc_files.write_features(out_dir / FEATURES_NAME, kept())
    database.remove(scratch)
    (out_dir / NORMS_NAME).write_text(json.dumps(norms), encoding="utf-8")
    _tell(counts, report)


def _tell(counts: dict[str, int], report: Reporter) -> None:
    values = np.array(list(counts.values()))
    report.log(
        f"{int(values.sum()):,} keypoints in {len(values)} pictures, {int(np.median(values)):,} in the median one"
    )
    poor = [name for name, count in counts.items() if count < FEW_FEATURES]
    if poor:
        report.warn(
            f"{len(poor)} of {len(counts)} pictures have fewer than {FEW_FEATURES} keypoints (blurred, dark or without "
            f"texture), {poor[0]} first: they may get no pose."
        )
