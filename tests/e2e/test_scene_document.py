"""The scene document's commands, in its order and as they are written there: curl against port 8000."""

import json
import re
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from deploy.local.system import System
from samples.photos import CollectionSpec, make_collection
from samples.photos_truth import read_table
from tests.services.gateway.scene_gateway import photos_zip

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

TOKEN = """curl -X POST http://localhost:8000/auth/token \\
  -H "Content-Type: application/json" \\
  -d '{"username": "admin", "password": "admin"}'
"""
UPLOAD = """curl -X POST http://localhost:8000/upload \\
  -H "Authorization: Bearer $TOKEN" \\
  -F "file=@photos.zip" \\
"""
"""Its last backslash is the document's own."""

_AUTH = '-H "Authorization: Bearer $TOKEN"'
_POLL_S = 0.5


class Workflow:
    """The document's commands with this machine's address and password put in; they run beside `photos.zip`."""

    def __init__(self, system: System, folder: Path) -> None:
        port = system.url.rpartition(":")[2]
        self._words = {
            "localhost:8000": f"localhost:{port}",
            '"password": "admin"': f'"password": "{system.credentials.password}"',
        }
        self._folder = folder
        self._environment = {"PATH": "/usr/bin:/bin"}

    def learn_token(self, token: str) -> None:
        self._environment["TOKEN"] = token

    def run(self, command: str) -> str:
        for word, actual in self._words.items():
            command = command.replace(word, actual)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    def answer(self, command: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.run(command))
        return answer

    def get(self, path: str) -> dict[str, object]:
        return self.answer(f"curl -s http://localhost:8000{path} {_AUTH}")

    def status_of(self, path: str) -> int:
        return int(self.run(f"curl -s -o /dev/null -w '%{{http_code}}' http://localhost:8000{path} {_AUTH}"))

    def wait(self, job_id: str, seconds: float) -> dict[str, object]:
        """The job's state once it has ended. Every state on the way is looked at."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = self.get(f"/status/{job_id}")
            assert state["stage"] == state["status"]
            if state["status"] in {"success", "failed", "cancelled"}:
                return state
            # A client that polls; there is nothing to wait for but the answer.
            time.sleep(_POLL_S)
        raise AssertionError(f"the job did not end within {seconds:g} s")


def started(workflow: Workflow) -> str:
    """The document's login and upload; returns the job's id."""
    token = workflow.answer(TOKEN)
    assert set(token) == {"access_token", "token_type", "expires_in"}
    assert (token["token_type"], token["expires_in"]) == ("bearer", 900)
    workflow.learn_token(str(token["access_token"]))
    uploaded = workflow.answer(UPLOAD)
    job_id = str(uploaded["job_id"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", job_id)
    assert uploaded == {"job_id": job_id, "message": "Pipeline started."}
    return job_id


def test_the_documents_commands_run_as_written(system: System, tmp_path: Path) -> None:
    # Grey pictures: they can be read, and show no place.
    (tmp_path / "photos.zip").write_bytes(photos_zip(6))
    workflow = Workflow(system, tmp_path)
    job_id = started(workflow)
    assert workflow.get(f"/jobs/{job_id}")["job_id"] == job_id
    health = workflow.answer("curl http://localhost:8000/health")
    assert (health["status"], set(health)) == ("healthy", {"status", "gpu", "version", "timestamp"})
    ready = workflow.answer("curl http://localhost:8000/ready")
    assert ready["status"] == "ready"
    assert str(ready["device"]).startswith("CPU (") or "GB)" in str(ready["device"])
    state = workflow.wait(job_id, 120)
    assert (state["status"], state["progress"]) == ("failed", 0)
    assert state["error"]
    assert workflow.status_of(f"/download/jobs/{job_id}") == 409
    metrics = workflow.run("curl http://localhost:8000/metrics")
    assert 'api_requests_total{endpoint="/upload",method="POST",status="202"} 1.0' in metrics
    assert "model_server_ready 1.0" in metrics


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_generated_collection_comes_through_to_every_download(system: System, tmp_path: Path) -> None:
    truth = make_collection(CollectionSpec(scenes=("house",), images=16, outliers=1, width_px=640, seed=3), tmp_path)
    workflow = Workflow(system, tmp_path)
    job_id = started(workflow)
    state = workflow.wait(job_id, 1500)
    assert (state["status"], state["progress"], state["error"]) == ("success", 100, None), state
    assert float(str(state["created_at"])) <= float(str(state["started_at"])) < float(str(state["finished_at"]))
    assert (state["n_images"], state["download_url"]) == (len(truth.pictures), f"/download/jobs/{job_id}")
    clusters = workflow.get(f"/clusters/{job_id}")["clusters"]
    assert isinstance(clusters, list)
    assert clusters[0]["name"] == "cluster0_model0"
    assert clusters[0]["filename"] == f"cluster0_decimated_model0_{job_id[:8]}.ply"
    assert sum(cluster["num_points3D"] for cluster in clusters) == state["n_points"]

    download = f"curl -s -f http://localhost:8000/download/jobs/{job_id}"
    workflow.run(f"{download} {_AUTH} -o clouds.zip")
    with zipfile.ZipFile(tmp_path / "clouds.zip") as archive:
        assert archive.testzip() is None
        assert {cluster["filename"] for cluster in clusters} <= set(archive.namelist())
        assert all(archive.read(name).startswith(b"ply") for name in archive.namelist())
        first = archive.read(clusters[0]["filename"])
    workflow.run(f"{download}/{clusters[0]['filename']} {_AUTH} -o first.ply")
    assert (tmp_path / "first.ply").read_bytes() == first

    workflow.run(f"{download}/csv {_AUTH} -o submission.csv")
    rows = read_table(tmp_path / "submission.csv")
    assert sorted(row.image for row in rows) == sorted(picture.name for picture in truth.pictures)

    insights = workflow.get(f"/jobs/{job_id}/insights")
    assert (insights["registration_rate"], insights["n_points"]) == (state["registration_rate"], state["n_points"])
    report = insights["drift_report"]
    assert isinstance(report, dict)
    # The first collection of its name: there was nothing to compare it with.
    assert (report["drift_detected"], report["severity"], report["n_features_checked"]) == (False, "low", 0)
    again = workflow.answer(f"curl -s http://localhost:8000/drift {_AUTH} -F file=@photos.zip")
    assert (again["drift_detected"], again["status"]) == (False, "ok")
    assert int(str(again["n_features_checked"])) >= 5
