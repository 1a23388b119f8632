"""Workers that are killed, jobs that are cancelled: nothing is lost, nothing is done twice."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from client.api import Alidade
from contracts.jobs import JobStatus
from deploy.local.system import System, running_system
from samples.capture import CaptureSpec, make_capture

FAST = {"ALIDADE_WORKER__ACK_WAIT_S": "3"}
KNOWN = {"feature_type": "sift", "matcher_type": "nearest", "stray_approach": "known_poses"}


@pytest.fixture(scope="module")
def capture() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="alidade-capture-") as folder:
        make_capture(CaptureSpec(frames=16, width_px=640, seed=7, conventions=("stray",)), Path(folder))
        yield Path(folder) / "capture_stray.zip"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with tempfile.TemporaryDirectory() as state, running_system(Path(state), environment=FAST) as running:
        yield running


@pytest.fixture
def alidade(system: System) -> Iterator[Alidade]:
    with Alidade(system.url, system.api_key) as connected:
        yield connected


def _sfm_worker(system: System) -> psutil.Process:
    """The worker's present process: the one that `up` has started last."""
    for child in psutil.Process(system.running.pid).children():
        if "services.sfm" in child.cmdline():
            return child
    raise AssertionError("no sfm worker is running")


def _wait_for_step(alidade: Alidade, job_id: str, step: str) -> None:
    for update in alidade.watch(job_id):
        if update.step == step:
            return
    raise AssertionError(f"the job ended without the step {step}")


def test_a_worker_killed_while_mapping_does_not_repeat_what_was_finished(
    alidade: Alidade, system: System, capture: Path
) -> None:
    dataset = alidade.upload(capture)
    job = alidade.process(dataset.dataset_id, KNOWN)
    _wait_for_step(alidade, job.job_id, "SfM")
    os.kill(_sfm_worker(system).pid, signal.SIGKILL)
    assert alidade.wait(job.job_id).status is JobStatus.COMPLETED
    lines = [entry.message for entry in alidade.logs(job.job_id)]
    assert sum(line.startswith("Step 2/5") for line in lines) >= 1
    assert sum("(reused; " in line for line in lines) >= 3, "features, pairs and matches were stored"
    assert lines.count("Pipeline finished successfully") == 1


def test_a_cancel_stops_the_computation_within_two_seconds(alidade: Alidade, system: System, capture: Path) -> None:
    dataset = alidade.upload(capture)
    job = alidade.process(dataset.dataset_id, {**KNOWN, "max_keypoints": 4000})
    _wait_for_step(alidade, job.job_id, "Features")
    (computing,) = [child for child in _sfm_worker(system).children() if child.is_running()][:1]
    began = time.monotonic()
    assert alidade.cancel(job.job_id) is JobStatus.CANCELLED
    computing.wait(2.0)
    assert time.monotonic() - began < 2.0
    assert alidade.status(job.job_id).status is JobStatus.CANCELLED
    following = alidade.process(dataset.dataset_id, KNOWN)
    assert alidade.wait(following.job_id).status is JobStatus.COMPLETED, "the worker lives on"
    assert alidade.status(job.job_id).status is JobStatus.CANCELLED


@pytest.mark.slow
def test_two_hundred_jobs_with_a_worker_killed_in_the_middle(capture: Path) -> None:
    """All end, each once; what fails says why."""
    with (
        tempfile.TemporaryDirectory() as state,
        running_system(Path(state), sfm_workers=2, environment=FAST) as system,
        Alidade(system.url, system.api_key) as alidade,
    ):
        dataset = alidade.upload(capture)
        jobs = [
            alidade.process(
                dataset.dataset_id,
                {**KNOWN, "stray_depth_subsample": 1 + number % 20, "strict_features": True}
                if number % 10
                else {"feature_type": "disk", "strict_features": True},
            ).job_id
            for number in range(200)
        ]
        killed = False
        deadline = time.monotonic() + 1500
        while time.monotonic() < deadline:
            listed = {job.job_id: job.status for job in alidade.jobs()}
            final = [status for status in listed.values() if status.is_final]
            if len(final) >= 60 and not killed:
                os.kill(_sfm_worker(system).pid, signal.SIGKILL)
                killed = True
            if len(final) == 200:
                break
            time.sleep(1.0)
        assert killed
        assert set(listed) == set(jobs)
        for job_id in jobs:
            lines = [entry.message for entry in alidade.logs(job_id)]
            if listed[job_id] is JobStatus.COMPLETED:
                assert lines.count("Pipeline finished successfully") == 1
            else:
                assert listed[job_id] is JobStatus.FAILED
                assert "disk" in (alidade.status(job_id).error or "")
        assert sum(status is JobStatus.COMPLETED for status in listed.values()) == 180
