"""A bus of the test's own, and jobs to put on it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.identifiers import new_capture_job_id, new_dataset_id
from contracts.jobs import Job, JobKind
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.settings import BusSettings
from tests.runtime.scripted_worker import Stage

MakeJob = Callable[..., Job]


@pytest.fixture
async def bus(restartable_nats) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings(url=restartable_nats.url), "test") as connected:
        yield connected


@pytest.fixture
def job_log(bus: Bus) -> JobLog:
    return JobLog(bus, "test")


@pytest.fixture
def make_job() -> MakeJob:
    def make(owner: str = "ada", stage: str = "ingest") -> Job:
        moment = now()
        return Job(
            job_id=new_capture_job_id(),
            kind=JobKind.CAPTURE,
            owner=owner,
            stage=stage,
            request=CaptureRequest(dataset_id=new_dataset_id(), settings=CaptureSettings()),
            created_at=moment,
            updated_at=moment,
        )

    return make


@pytest.fixture
async def stage(bus: Bus, job_log: JobLog, tmp_path: Path) -> AsyncIterator[Stage]:
    """A view of the bus, and workers to be made on it."""
    async with JobView(bus, job_log) as view:
        yield Stage(bus, view, job_log, tmp_path / "scratch")
