"""The command: what it prints, for people and for programs, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from client.commands import app
from client.connection import KEY_VARIABLE, URL_VARIABLE
from runtime.access import Access, create_access_file
from runtime.settings import AccessSettings
from tests.client.conftest import JOB, KEY, Server, framed, sends, update

DONE = framed("complete", update(100, "completed"), 9)
FAILED = framed("error", update(30, "failed", error="No two pictures overlap.", error_code="NO_MODEL"), 4)
CANCELLED = framed("error", update(30, "cancelled", error="The job was cancelled."), 4)


@pytest.fixture(autouse=True)
def connected(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv(URL_VARIABLE, server.url)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("odometry.csv", "")
        archive.writestr("rgb.mp4", os.urandom(3_000_000))
    return path


def alidade(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def objects(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_whole_way_for_programs(server: Server, capture: Path, tmp_path: Path) -> None:
    server.result = os.urandom(100_000)
    server.status = "completed"
    server.streams = [sends(framed("progress", update(10), 3), DONE)]
    flags = ("--set", "stray_approach=known_poses", "--set", "fps=4", "--set", "input_colorspace=srgb")
    result = alidade("submit", str(capture), "--kind", "capture", *flags, "--watch", "--out", "r.zip", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    said = objects(result)
    events = [line["event"] for line in said]
    kinds = list(dict.fromkeys(events))
    assert kinds == ["upload", "uploaded", "started", "progress", "completed", "download", "downloaded"]
    assert (tmp_path / "r.zip").read_bytes() == server.result
    assert server.processed == [
        {
            "dataset_id": "a1b2c3d4e5f6",
            "input_colorspace": "srgb",
            "settings": {"stray_approach": "known_poses", "fps": 4},
        }
    ]
    assert server.uploaded == [("capture.zip", capture.stat().st_size)]
    last_upload = [line for line in said if line["event"] == "upload"][-1]
    assert last_upload["bytes"] == last_upload["total_bytes"] == capture.stat().st_size


def test_the_whole_way_for_people(server: Server, capture: Path) -> None:
    server.result = b"zip"
    server.status = "completed"
    matching = update(70, warnings=["superpoint is not installed; sift was used."])
    matching["progress"]["stage_description"] = "Matching"
    server.streams = [sends(framed("progress", update(30), 3), framed("progress", matching, 4), DONE)]
    result = alidade("submit", str(capture), "--out", "r.zip")
    assert result.exit_code == 0
    assert result.stdout == "r.zip\n"
    for line in ("✓ Features", "✓ Matching", "! superpoint is not installed", f"✓ Job {JOB} is done"):
        assert line in result.stderr


def test_without_watch_it_returns_once_the_job_is_queued(server: Server, capture: Path) -> None:
    result = alidade("submit", str(capture), "--json")
    assert objects(result)[-1] == {"event": "started", "job_id": JOB}
    assert server.headers("/stream") == []


@pytest.mark.parametrize(("end", "code"), [(FAILED, 1), (CANCELLED, 4)])
def test_how_a_job_ends_is_the_exit_code(server: Server, end: bytes, code: int) -> None:
    server.streams = [sends(end), sends(end)]
    assert alidade("watch", JOB).exit_code == code
    result = alidade("watch", JOB, "--json")
    assert result.exit_code == code
    assert objects(result)[-1]["event"] == {1: "failed", 4: "cancelled"}[code]


def test_a_setting_that_does_not_exist_costs_no_upload(server: Server, capture: Path) -> None:
    result = alidade("submit", str(capture), "--set", "fsp=4", "--json")
    assert result.exit_code == 2
    assert objects(result) == [
        {"event": "error", "code": "INVALID_SETTING", "message": "There is no setting fsp. Did you mean fps?"}
    ]
    assert server.seen == []


@pytest.mark.parametrize("arguments", [("submit", "missing.zip"), ("submit", "."), ("submit",), ("nonsense",)])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert alidade(*arguments).exit_code == 2


def test_a_wrong_key_is_3_before_anything_is_sent(server: Server, capture: Path) -> None:
    result = alidade("submit", str(capture), "--api-key", "wrong")
    assert result.exit_code == 3
    assert "The API key is not valid." in result.stderr
    assert server.uploaded == []


def test_nobody_there_is_3(capture: Path) -> None:
    result = alidade("jobs", "--url", "http://127.0.0.1:9", "--json")
    assert result.exit_code == 3
    assert objects(result)[0]["code"] == "CONNECTION_LOST"


def test_no_key_is_2_and_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    result = alidade("jobs")
    assert result.exit_code == 2
    assert "alidade keys add --owner NAME" in result.stderr


def test_jobs_and_status(server: Server) -> None:
    assert re.search(rf"{JOB}\s+processing\s+42 %\s+Matching", alidade("jobs").stdout)
    assert objects(alidade("jobs", "--json"))[0]["job_id"] == JOB
    shown = alidade("status", JOB).stdout
    assert "Features were replaced." in shown
    assert "fps=4.0 camera_model=PINHOLE" in shown
    assert objects(alidade("status", JOB, "--json"))[0]["progress"] == 42
    assert alidade("status", "000000000000").exit_code == 3


def test_logs_follow_to_the_end(server: Server) -> None:
    server.lines = ["Step 1/5 — ReScan → COLMAP conversion", "  ✓ 50 images [bold]"]
    assert "✓ 50 images [bold]" in alidade("logs", JOB).stdout
    server.streams = [sends(framed("progress", update(10), 3), DONE)]
    said = objects(alidade("logs", JOB, "--follow", "--json"))
    assert [line["message"] for line in said] == server.lines


def test_cancel(server: Server) -> None:
    assert alidade("cancel", JOB).exit_code == 0
    assert server.status == "cancelled"
    server.status = "completed"
    result = alidade("cancel", JOB)
    assert result.exit_code == 3
    assert "already completed" in result.stderr


def test_download_into_this_folder(server: Server, tmp_path: Path) -> None:
    server.result = b"zip"
    assert alidade("download", JOB).stdout == "remap_result.zip\n"
    assert (tmp_path / "remap_result.zip").read_bytes() == b"zip"


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(server: Server) -> None:
    server.streams = [sends(framed("progress", update(10), 3), then="silence")]
    command = [sys.executable, "-m", "client", "watch", JOB, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "progress"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 130
    assert f"alidade watch {JOB}" in rest
    assert server.headers("/cancel") == []


def test_a_key_that_was_added_lets_its_owner_in(tmp_path: Path) -> None:
    assert alidade("keys", "add", "--owner", "ada").exit_code == 2
    create_access_file(tmp_path / ".alidade" / "access.json")
    result = alidade("keys", "add", "--owner", "ada", "--json")
    [line] = objects(result)
    access = Access(AccessSettings(file=tmp_path / ".alidade" / "access.json"), "127.0.0.1")
    principal = access.by_api_key(str(line["api_key"]))
    assert principal is not None
    assert principal.owner == "ada"
    assert alidade("keys", "add", "--owner", " ").exit_code == 2


def test_up_says_what_is_wrong_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = alidade("up", "--state", "file/state", "--port", "0")
    assert result.exit_code == 2
    assert "file/state cannot be used: Not a directory." in result.stderr


def test_help_tells_the_exit_codes_and_comes_at_once() -> None:
    code = "import sys, client.commands; print(sorted({'httpx', 'pydantic', 'aiohttp', 'numpy'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
    assert "the job failed" in alidade("--help").stdout
