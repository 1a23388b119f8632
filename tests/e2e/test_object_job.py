"""Six views travel through the real gateway, bus, object store and workers, and come back as a textured mesh.

The document's own clients do it, character by character. What they are run with besides is only what they leave to whoever
uses them: the address, the files, a page, and a clock that does not make anybody wait.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import trimesh

from contracts.object_files import MODEL_FILES
from deploy.local.system import System
from samples.objects import make_object
from samples.objects_files import write_upload
from samples.objects_views import exact_spec

CLIENTS = Path(__file__).parent / "six_views_clients"
SIZE_PX = 128
PSNR_DB = 25.0
IN_TIME_S = 240.0
CANCELLED_S = 2.0
ID = "[0-9a-z]{8}"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """An upload under our names, and under those that the document's clients read."""
    with tempfile.TemporaryDirectory(prefix="alidade-views-") as made:
        path = Path(made)
        write_upload(make_object("mug", 4), exact_spec(SIZE_PX), path)
        for kind in ("view", "depth"):
            target = path / "input" / {"view": "views", "depth": "depth"}[kind]
            target.mkdir(parents=True)
            for n in range(1, 7):
                shutil.copy(path / f"{kind}_{n - 1}.png", target / f"{kind}{n}.png")
                shutil.copy(path / f"{kind}_{n - 1}.png", path / f"{kind}{n}.png")
        yield path


def client_text(name: str, system: System) -> str:
    return (CLIENTS / name).read_text(encoding="utf-8").replace("http://localhost:8000", system.url)


def run(folder: Path, *command: str) -> str:
    """Standard output and error of a program that must succeed."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=IN_TIME_S, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_results(path: Path, model: str = "reconviagen") -> dict[str, object]:
    """Opens what was delivered; returns quality.json."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {f"{model}/{name}" for name in MODEL_FILES} < set(archive.namelist())
        mesh = trimesh.load_mesh(io.BytesIO(archive.read(f"{model}/mesh.glb")), file_type="glb", process=False)
        quality = json.loads(archive.read(f"{model}/quality.json"))
    assert len(mesh.faces) > 1000
    assert mesh.visual.uv is not None
    assert mesh.visual.material.baseColorTexture is not None
    assert quality["metrics"]["psnr"] > PSNR_DB
    assert quality["status"] == "normal"
    found: dict[str, object] = quality
    return found


def files(folder: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [
        (field, (f"{stem}{n}.png", (folder / f"{stem}{n}.png").read_bytes()))
        for field, stem in (("views", "view"), ("depth_renders", "depth"))
        for n in range(1, 7)
    ]


def test_the_documents_python_client_gets_a_mesh(system: System, folder: Path) -> None:
    hurry = "import time as clock\nrest = clock.sleep\nclock.sleep = lambda seconds: rest(seconds / 20)\n"
    (folder / "client.py").write_text(hurry + client_text("python_client.py.txt", system))
    printed = run(folder, sys.executable, "client.py")
    found = re.search(f"^Results saved to ({ID}).zip$", printed, re.MULTILINE)
    assert found, printed
    assert "Job completed!" in printed
    assert re.search(r"^Progress: \d+%$", printed, re.MULTILINE)
    quality = check_results(folder / f"{found[1]}.zip")
    assert quality["job_id"] == found[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_documents_javascript_client_gets_a_mesh(system: System, folder: Path) -> None:
    # Node before 22.18 does not read types, and the signature is the only place that has any.
    client = client_text("javascript_client.ts.txt", system).replace(": File[]", "")
    program = f"""
import "./browser.mjs";
import {{ readFile }} from "node:fs/promises";
const wait = globalThis.setTimeout;
globalThis.setTimeout = (done, pause, ...rest) => wait(done, pause === 10000 ? 500 : pause, ...rest);
const read = (stem) => Promise.all([1, 2, 3, 4, 5, 6].map(
  async (n) => new File([await readFile(`${{stem}}${{n}}.png`)], `${{stem}}${{n}}.png`, {{ type: "image/png" }})));
{client}
const done = await submitAndDownload(await read("view"), await read("depth"));
await Promise.all(downloads);
console.log(`saved ${{done}}.zip`);
"""
    shutil.copy(CLIENTS / "browser.mjs", folder)
    (folder / "client.mjs").write_text(program)
    printed = run(folder, "node", "client.mjs")
    found = re.search(f"^saved ({ID}).zip$", printed, re.MULTILINE)
    assert found, printed
    assert "Job completed!" in printed
    check_results(folder / f"{found[1]}.zip")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("jq") is None, reason="needs curl and jq")
def test_the_documents_shell_workflow_gets_a_mesh(system: System, folder: Path) -> None:
    hurry = "sleep() { command sleep 0.5; }\n"
    (folder / "workflow.sh").write_text(hurry + client_text("workflow.sh.txt", system))
    printed = run(folder, "bash", "workflow.sh")
    assert '"status": "healthy"' in printed
    assert re.search(f"^Job ID: {ID}$", printed, re.MULTILINE)
    assert "Job completed!" in printed
    check_results(folder / "results.zip")


@pytest.mark.slow
def test_given_cameras_are_used_and_the_engine_is_named(system: System, folder: Path) -> None:
    with httpx.Client(base_url=system.url, timeout=60) as client:
        data = {"cameras": (folder / "cameras.json").read_text()}
        answer = client.post("/jobs", files=files(folder), data=data)
        assert answer.status_code == 200, answer.text
        job_id = answer.json()["job_id"]
        state = finished(client, job_id)
        assert state["status"] == "completed", state
        (made,) = state["models"]
        assert made["quality"] == "normal"
        assert any(made["model"] in warning for warning in state["warnings"]), "another engine did the work"
        (folder / "given.zip").write_bytes(client.get(f"/jobs/{job_id}/download").content)
    quality = check_results(folder / "given.zip")
    assert quality["cameras"]["source"] == "given"
    assert quality["engine"] == made["engine"]


def test_a_confirmed_cancellation_stops_the_work_within_two_seconds(system: System, folder: Path) -> None:
    with httpx.Client(base_url=system.url, timeout=60) as client:
        job_id = client.post("/jobs", files=files(folder), data={"model_type": "both"}).json()["job_id"]
        while client.get(f"/jobs/{job_id}").json()["progress"] < 3:
            time.sleep(0.05)
        worker = psutil.Process(system.running.services["mesh"])
        computing = [process for process in worker.children(recursive=True) if process.cpu_times().user > 0]
        assert computing
        assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancel_requested"
        assert client.get(f"/jobs/{job_id}").json()["status"] == "processing"
        began = time.monotonic()
        assert client.post(f"/jobs/{job_id}/cancel", json={"confirm": True}).json()["status"] == "cancelled"
        while any(process.is_running() for process in computing):
            assert time.monotonic() - began < CANCELLED_S
            time.sleep(0.01)
        assert client.get(f"/jobs/{job_id}").json()["status"] == "cancelled"
        again = client.post(f"/jobs/{job_id}/cancel", json={"confirm": True})
        assert again.status_code == 400
        assert again.json()["error"]["details"]["current_state"] == "REVOKED"
        assert client.get(f"/jobs/{job_id}/download").status_code == 410


def finished(client: httpx.Client, job_id: str) -> dict[str, object]:
    """The state of a job at its end."""
    deadline = time.monotonic() + IN_TIME_S
    while True:
        state: dict[str, object] = client.get(f"/jobs/{job_id}").json()
        if state["status"] not in {"queued", "processing"}:
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
