"""`alidade up`: ready soon, says what runs, keeps what it is given, stops everything."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from client.api import Alidade
from contracts.jobs import JobStatus
from deploy.local.system import System, running_system


def _up(state: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "client", "up", "--state", str(state), "--port", "0", "--remap-port", "0", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_one_json_line_then_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with _up(tmp_path, "--json") as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert list(said) == ["url", "api_key", "username", "password"]
        with Alidade(said["url"], said["api_key"]) as alidade:
            assert alidade.jobs() == ()
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 6
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    assert rest == ""
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_a_second_up_says_what_is_running(system: System) -> None:
    with _up(system.state) as second:
        out, _ = second.communicate(timeout=30)
    assert second.returncode == 0
    assert system.url in out
    assert "gateway" in out
    with _up(system.state, "--json") as as_json:
        out, _ = as_json.communicate(timeout=30)
    assert json.loads(out)["api_key"] == system.api_key


def test_credentials_are_shown_once_and_kept(tmp_path: Path) -> None:
    for number in range(2):
        with _up(tmp_path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            while "Stop: Ctrl-C" not in lines[-1]:
                lines.append(process.stdout.readline())
            process.terminate()
            process.communicate(timeout=40)
        text = "".join(lines)
        key = json.loads((tmp_path / "credentials.json").read_text())["api_key"]
        assert (key in text) == (number == 0)
        assert key not in (tmp_path / "access.json").read_text()


def test_a_dead_service_is_started_again(tmp_path: Path) -> None:
    with running_system(tmp_path) as system, Alidade(system.url, system.api_key) as alidade:
        os.kill(system.running.services["gateway"], signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert alidade.jobs() == ()
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise


def test_a_job_survives_a_restart_of_everything(tmp_path: Path, small_capture) -> None:
    state = tmp_path / "state"
    with running_system(state) as system, Alidade(system.url, system.api_key) as alidade:
        dataset = alidade.upload(small_capture.stray)
        job = alidade.process(dataset.dataset_id, {"feature_type": "sift", "stray_approach": "known_poses"})
        for update in alidade.watch(job.job_id):
            if update.percentage >= 10:
                break
    with running_system(state) as system, Alidade(system.url, system.api_key) as alidade:
        assert [listed.job_id for listed in alidade.jobs()] == [job.job_id]
        assert alidade.wait(job.job_id).status is JobStatus.COMPLETED
        finishes = [entry for entry in alidade.logs(job.job_id) if entry.message == "Pipeline finished successfully"]
        assert len(finishes) == 1


@pytest.mark.slow
def test_ready_in_under_ten_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with running_system(tmp_path):
        assert time.monotonic() - began < 10
