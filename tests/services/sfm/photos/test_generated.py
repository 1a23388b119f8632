"""The goals for a mixed collection, on generated photographs of ordinary places, without bus and store."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from samples.evaluate_photos import PhotoErrors, photo_errors
from samples.photos import CollectionSpec, make_collection
from samples.photos_truth import read_table
from services.ingest.photos.collection import build_collection
from services.sfm.photos import features, mapping, matching, pairs, submission
from services.sfm.photos.collection import read_manifest
from tests.services.sfm.listening import Listener

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Made:
    errors: PhotoErrors
    models: int
    lines: tuple[str, ...]


def made(folder: Path, spec: CollectionSpec) -> Made:
    """A collection's models against its truth."""
    listener = Listener()
    truth = make_collection(spec, folder)
    collection = folder / "in"
    collection.mkdir()
    build_collection(folder / "photos.zip", collection, listener)
    features.main(collection, folder / "features", listener)
    pairs.main(collection, folder / "features", folder / "pairs", listener)
    matching.main(collection, folder / "features", folder / "pairs", folder / "matching", listener)
    summary = mapping.main(collection, folder / "matching", folder / "mapping", listener)
    poses = submission.read_poses(folder / "mapping" / "sparse")
    submission.write(folder / "submission.csv", submission.rows(spec.dataset, read_manifest(collection), poses))
    found = photo_errors(truth, read_table(folder / "submission.csv"))
    return Made(found, len(summary.models), tuple(listener.lines))


@pytest.mark.parametrize("exif", ["full", "none"])
def test_two_scenes_and_a_tenth_of_outliers(tmp_path: Path, exif: str) -> None:
    spec = CollectionSpec(images=20, outliers=4, seed=4, width_px=800, exif="full" if exif == "full" else "none")
    found = made(tmp_path, spec)
    told = (*found.lines, found.errors.summary())
    assert found.models == found.errors.clusters == 2, told
    assert found.errors.strays == (), told
    assert found.errors.split_scenes == (), told
    assert found.errors.registration_rate >= 0.95, told
    assert found.errors.median_deg < 0.5, told
