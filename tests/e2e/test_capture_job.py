"""A capture through the whole system: what comes back is accurate, complete, and readable by others."""

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import pytest
from pydantic import JsonValue

from client.api import Alidade
from contracts.jobs import JobStatus
from deploy.local.demo import measure

QUICK: dict[str, JsonValue] = {"feature_type": "sift", "matcher_type": "nearest", "pairing_mode": "poses"}


def _deliver(alidade: Alidade, capture: Path, settings: dict[str, JsonValue], folder: Path) -> Path:
    dataset = alidade.upload(capture)
    job = alidade.process(dataset.dataset_id, settings)
    alidade.wait(job.job_id)
    alidade.download(job.job_id, folder / "result.zip")
    with zipfile.ZipFile(folder / "result.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(
    ("capture", "settings"),
    [
        ("stray", {"stray_approach": "known_poses"}),
        ("rescan", {"stray_approach": "arkit", "camera_model": "OPENCV"}),
        ("stray", {"stray_approach": "full_sfm", "mapper_type": "COLMAP"}),
        ("stray", {"stray_approach": "full_sfm", "mapper_type": "GLOMAP"}),
    ],
)
def test_the_model_is_in_metres_and_near_the_truth(
    alidade: Alidade, small_capture, capture: str, settings: dict[str, JsonValue], tmp_path: Path
) -> None:
    folder = _deliver(alidade, getattr(small_capture, capture), {**QUICK, **settings}, tmp_path)
    model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
    errors = measure(model, small_capture.truth)
    assert errors.registered_share >= 0.98
    assert errors.median_m < 0.02
    assert errors.gravity_error_deg < 1.0
    assert model.compute_mean_reprojection_error() < 1.0


def test_the_archive_is_as_documented(alidade: Alidade, small_capture, tmp_path: Path) -> None:
    folder = _deliver(alidade, small_capture.stray, {**QUICK, "stray_approach": "known_poses"}, tmp_path)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [f"{number:06d}.png" for number in range(1, 17)]
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        assert (folder / "sparse" / "0" / name).stat().st_size > 0
    assert (folder / "pointcloud.ply").read_bytes().startswith(b"ply")
    assert (folder / "preview.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "report.json").read_text())
    assert report
    with h5py.File(folder / "hloc_outputs" / "features.h5") as features:
        assert sorted(features) == names
        keypoints = np.asarray(features[names[0]]["keypoints"])
        assert keypoints.shape[1] == 2
        assert features[names[0]]["descriptors"].shape == (128, len(keypoints))
    pairs = (folder / "hloc_outputs" / "pairs.txt").read_text().split()
    assert set(pairs) <= set(names)
    with h5py.File(folder / "hloc_outputs" / "matches.h5") as matches:
        first, second = pairs[:2]
        group = matches[first][second] if second in matches.get(first, {}) else matches[second][first]
        assert group["matches0"].ndim == 1


def test_a_second_job_reuses_what_the_first_computed(alidade: Alidade, small_capture) -> None:
    dataset = alidade.upload(small_capture.stray)
    settings: dict[str, JsonValue] = {**QUICK, "stray_approach": "known_poses"}
    first = alidade.process(dataset.dataset_id, settings)
    alidade.wait(first.job_id)
    second = alidade.process(dataset.dataset_id, {**settings, "output_colorspace": "linear"})
    alidade.wait(second.job_id)
    reused = [entry for entry in alidade.logs(second.job_id) if "(reused; " in entry.message]
    assert {entry.step for entry in reused} == {"Features", "Pairs", "Matching", "SfM"}
    assert alidade.status(second.job_id).settings["output_colorspace"] == "linear"


def test_the_documents_defaults_yield_a_model_and_say_what_was_replaced(alidade: Alidade, small_capture) -> None:
    """Learned features may be missing on this machine: then sift is used, loudly, and the job completes all the same."""
    dataset = alidade.upload(small_capture.stray)
    job = alidade.process(dataset.dataset_id, {"fps": 4.0, "feature_type": "superpoint_aachen"})
    final = alidade.wait(job.job_id)
    assert final.status is JobStatus.COMPLETED
    warnings = alidade.status(job.job_id).warnings
    assert any("superpoint_aachen" in warning and "sift" in warning for warning in warnings)


def test_strict_features_refuse_instead(alidade: Alidade, small_capture) -> None:
    dataset = alidade.upload(small_capture.stray)
    job = alidade.process(dataset.dataset_id, {"feature_type": "disk", "strict_features": True})
    statuses = [update.status for update in alidade.watch(job.job_id)]
    assert statuses[-1] is JobStatus.FAILED
    assert "disk" in (alidade.status(job.job_id).error or "")
