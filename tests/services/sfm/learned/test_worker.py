"""Weights on the way to a worker, and a whole system whose worker has some."""

import tempfile
from pathlib import Path

import pytest

from client.api import Alidade
from contracts.jobs import JobStatus
from deploy.local.system import running_system
from runtime.object_store import ObjectStore
from samples.capture import CaptureSpec, make_capture
from services.sfm.step import bring_weights
from services.sfm.weights.places import Places, find

KEY = "disk_lightglue/disk_lightglue.pth"


async def test_weights_of_the_store_are_brought_where_the_folder_lacks_them(store: ObjectStore, tmp_path: Path) -> None:
    await store.put_bytes(f"models/{KEY}", b"of the store")
    await store.put_bytes("models/xfeat/xfeat.pt", b"not asked for")
    await bring_weights(store, "models/", tmp_path, ["disk", "disk+lightglue"])
    # The store has none for `disk`: that is no failure, the worker falls back.
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["disk_lightglue.pth"]
    assert find(Places(folder=tmp_path)).files == {KEY: tmp_path / KEY}
    (tmp_path / KEY).write_bytes(b"of the folder")
    await bring_weights(store, "models", tmp_path, ["disk+lightglue"])
    assert (tmp_path / KEY).read_bytes() == b"of the folder"


@pytest.mark.slow
def test_a_worker_uses_the_weights_of_its_folder(weights_folder: Path) -> None:
    """Random ones: the job may find no model, but it goes through the network that was asked for."""
    with tempfile.TemporaryDirectory(prefix="alidade-weights-") as scratch:
        folder = Path(scratch)
        make_capture(CaptureSpec(frames=5, width_px=320, seed=5, conventions=("stray",)), folder)
        environment = {"ALIDADE_WEIGHTS__FOLDER": str(weights_folder)}
        with (
            running_system(folder / "state", environment=environment) as system,
            Alidade(system.url, system.api_key) as alidade,
        ):
            dataset = alidade.upload(folder / "capture_stray.zip")
            job = alidade.process(
                dataset.dataset_id, {"stray_approach": "known_poses", "max_keypoints": 200, "strict_features": True}
            )
            statuses = [update.status for update in alidade.watch(job.job_id)]
            lines = [line.message for line in alidade.logs(job.job_id)]
            detail = alidade.status(job.job_id)
    assert "Step 2/5 — Feature extraction (superpoint_aachen)" in lines
    assert "Step 4/5 — Matching (superpoint+lightglue)" in lines
    assert not any("was asked for" in warning for warning in detail.warnings)
    if statuses[-1] is not JobStatus.COMPLETED:
        assert statuses[-1] is JobStatus.FAILED
        assert "pictures" in (detail.error or "")
