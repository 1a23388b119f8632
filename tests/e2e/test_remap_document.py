"""The workflow of the ReMap document, as it is written there: curl against the documented paths."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.system import System

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

HEALTH = "curl http://localhost:5000/api/v1/health"
UPLOAD = """curl -X POST http://localhost:5000/api/v1/upload \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -F "file=@/path/to/rescan_dataset.zip"
"""
PROCESS = """curl -X POST http://localhost:5000/api/v1/process \\
  -H "Authorization: Bearer YOUR_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "dataset_id": "a1b2c3d4e5f6",
    "settings": {
      "fps": 4.0,
      "feature_type": "superpoint_aachen",
      "stray_approach": "full_sfm"
    }
  }'
"""
STATUS = """curl http://localhost:5000/api/v1/jobs/f7e8d9c0b1a2/status \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""
RESULT = """curl -O -J http://localhost:5000/api/v1/jobs/f7e8d9c0b1a2/result \\
  -H "Authorization: Bearer YOUR_API_KEY"
"""


class Workflow:
    """The document's commands with this machine's address, key, file and ids put in."""

    def __init__(self, system: System, capture: Path, folder: Path) -> None:
        assert system.running.remap_url is not None
        port = system.running.remap_url.rpartition(":")[2]
        self._words = {
            "localhost:5000": f"localhost:{port}",
            "YOUR_API_KEY": system.api_key,
            "/path/to/rescan_dataset.zip": str(capture),
        }
        self._folder = folder

    def learn(self, example: str, actual: str) -> None:
        self._words[example] = actual

    def run(self, command: str) -> str:
        for word, actual in self._words.items():
            command = command.replace(word, actual)
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._folder, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout

    def answer(self, command: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.run(command))
        return answer


def test_the_documents_workflow_runs_as_written(system: System, small_capture, alidade, tmp_path: Path) -> None:
    workflow = Workflow(system, small_capture.rescan, tmp_path)
    health = workflow.answer(HEALTH)
    assert {**health, "timestamp": ""} == {"status": "ok", "version": "v1", "server": "ReMap", "timestamp": ""}
    uploaded = workflow.answer(UPLOAD)
    assert set(uploaded) == {"dataset_id", "files", "message"}
    assert re.fullmatch("[0-9a-f]{12}", str(uploaded["dataset_id"]))
    workflow.learn("a1b2c3d4e5f6", str(uploaded["dataset_id"]))
    started = workflow.answer(PROCESS)
    assert started["status"] == "queued"
    workflow.learn("f7e8d9c0b1a2", str(started["job_id"]))
    status = workflow.answer(STATUS)
    assert status["status"] in {"queued", "processing"}
    alidade.wait(str(started["job_id"]))
    status = workflow.answer(STATUS)
    assert (status["status"], status["progress"], status["current_step"]) == ("completed", 100, "Done")
    workflow.run(RESULT)
    assert (tmp_path / f"remap_result_{started['job_id']}.zip").stat().st_size > 100_000
