"""A ZIP of photographs of two places travels through the real gateway, bus, object store and workers, and comes back as clouds."""

import io
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from plyfile import PlyData

from deploy.local.system import System
from samples.evaluate_photos import photo_errors
from samples.photos import CollectionSpec, make_collection
from samples.photos_truth import CollectionTruth, read_table

_POLL_S = 0.5
_DEADLINE_S = 1500.0


@dataclass(frozen=True)
class Collection:
    """The archive as a person would send it, and the truth about it."""

    archive: Path
    truth: CollectionTruth


@pytest.fixture(scope="module")
def collection() -> Iterator[Collection]:
    with tempfile.TemporaryDirectory(prefix="alidade-photos-") as folder:
        truth = make_collection(CollectionSpec(images=20, outliers=4, seed=4, width_px=800), Path(folder))
        yield Collection(Path(folder) / "photos.zip", truth)


def submit(client: httpx.Client, archive: bytes, dataset: str) -> str:
    answer = client.post("/upload", files={"file": ("photos.zip", archive)}, data={"dataset_name": dataset})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def ended(client: httpx.Client, job_id: str) -> tuple[dict[str, object], list[str]]:
    """The job's last status, and the stages that it passed."""
    stages: list[str] = []
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        status: dict[str, object] = client.get(f"/status/{job_id}").raise_for_status().json()
        stage = str(status["stage"])
        if stages[-1:] != [stage]:
            stages.append(stage)
        if stage in {"success", "failed"}:
            return status, stages
        time.sleep(_POLL_S)
    raise TimeoutError(f"the job is still {stages[-1]}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_photographs_of_two_places_become_two_clouds(system: System, collection: Collection, tmp_path: Path) -> None:
    with httpx.Client(base_url=system.url, headers={"X-API-Key": system.api_key}, timeout=120) as client:
        job_id = submit(client, collection.archive.read_bytes(), "generated")
        status, stages = ended(client, job_id)
        assert status["stage"] == "success", status
        clusters = client.get(f"/clusters/{job_id}").raise_for_status().json()["clusters"]
        insights = client.get(f"/jobs/{job_id}/insights").raise_for_status().json()
        archive = client.get(f"/download/jobs/{job_id}").raise_for_status().content
        table = client.get(f"/download/jobs/{job_id}/csv").raise_for_status().content
        single = client.get(f"/download/jobs/{job_id}/{clusters[0]['filename']}").raise_for_status().content
    assert set(stages) >= {"matching", "triangulating", "decimating", "success"}
    (tmp_path / "submission.csv").write_bytes(table)
    errors = photo_errors(collection.truth, read_table(tmp_path / "submission.csv"))
    assert errors.clusters == len(collection.truth.scenes()) == len(clusters) == 2
    assert errors.strays == ()
    assert errors.registration_rate >= 0.95
    assert errors.median_deg < 0.5
    assert [cluster["filename"] for cluster in clusters] == [
        f"cluster{number}_decimated_model0_{job_id[:8]}.ply" for number in range(2)
    ]
    assert status["n_points"] == sum(cluster["num_points3D"] for cluster in clusters) == insights["n_points"]
    assert 0.8 < float(str(status["registration_rate"])) < 1
    assert status["has_drift"] is False
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert sorted(packed.namelist()) == sorted(cluster["filename"] for cluster in clusters)
        assert packed.read(clusters[0]["filename"]) == single
    vertices = PlyData.read(io.BytesIO(single))["vertex"].data
    assert 1000 < len(vertices) <= 500_000
    assert np.isfinite(np.stack([vertices[axis] for axis in "xyz"])).all()
    assert len(np.unique(vertices["red"])) > 20


@pytest.mark.slow
def test_pictures_of_nothing_in_common_fail_with_a_reason(system: System) -> None:
    rng = np.random.default_rng(1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.bmp", noise_bmp(rng))
    with httpx.Client(base_url=system.url, headers={"X-API-Key": system.api_key}, timeout=120) as client:
        status, _ = ended(client, submit(client, packed.getvalue(), "nothing"))
    assert status["stage"] == "failed"
    assert "No model could be made from 4 pictures" in json.dumps(status["error"])


def noise_bmp(rng: np.random.Generator) -> bytes:
    """An uncompressed picture of 320 x 240 random pixels."""
    width, height = 320, 240
    size = 54 + 3 * width * height
    header = b"BM" + size.to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    fields = (40, width, height)
    header += b"".join(value.to_bytes(4, "little") for value in fields)
    header += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    return header + rng.integers(0, 256, 3 * width * height, np.uint8).tobytes()
