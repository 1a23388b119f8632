"""A notifier on a free port, on the session's bus, with jobs to follow."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from contracts.building_settings import BuildingRequest
from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.events import EventType
from contracts.identifiers import new_capture_job_id, new_dataset_id, new_uuid_job_id
from contracts.jobs import Job, JobKind, JobStatus, Progress
from runtime.access import Access, add_api_key, create_access_file
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.job_view import JobView
from runtime.settings import AccessSettings, BusSettings, NotifierSettings
from services.notifier.app import Parts, build_app
from services.notifier.streams import OpenStreams


@dataclass(frozen=True)
class Notifier:
    """A running notifier and what it stands on."""

    url: str
    port: int
    job_log: JobLog
    view: JobView
    streams: OpenStreams
    key_of_ada: str
    key_of_bob: str

    def path(self, recorded: Recorded) -> str:
        return f"{self.url}/api/progress/{recorded.job.job_id}/stream"

    @property
    def as_ada(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key_of_ada}"}


StartNotifier = Callable[..., Awaitable[Notifier]]


@asynccontextmanager
async def running_notifier(
    bus: Bus, folder: Path, settings: NotifierSettings, *, anonymous: str = "never", stall_s: float = 10.0
) -> AsyncIterator[Notifier]:
    access_file = folder / "access.json"
    key_of_ada = create_access_file(access_file, "ada").api_key
    key_of_bob = add_api_key(access_file, "bob")
    access = Access(AccessSettings.model_validate({"file": access_file, "anonymous": anonymous}), "127.0.0.1")
    job_log = JobLog(bus, "test")
    async with JobView(bus, job_log) as view, OpenStreams(settings.heartbeat_s) as streams:
        app = build_app(Parts(settings, access, bus, job_log, view, streams, stall_s))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            port = runner.addresses[0][1]
            yield Notifier(f"http://127.0.0.1:{port}", port, job_log, view, streams, key_of_ada, key_of_bob)
        finally:
            await runner.cleanup()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings(url=nats_url), "test") as connected:
        yield connected


@pytest.fixture
async def notifier(bus: Bus, tmp_path: Path) -> AsyncIterator[Notifier]:
    async with running_notifier(bus, tmp_path, NotifierSettings()) as started:
        yield started


def new_job(owner: str = "ada") -> Job:
    moment = now()
    return Job(
        job_id=new_capture_job_id(),
        kind=JobKind.CAPTURE,
        owner=owner,
        stage="ingest",
        request=CaptureRequest(dataset_id=new_dataset_id(), settings=CaptureSettings()),
        created_at=moment,
        updated_at=moment,
    )


def new_building_job(owner: str = "ada") -> Job:
    moment = now()
    return Job(
        job_id=new_uuid_job_id(),
        kind=JobKind.BUILDING,
        owner=owner,
        stage="ingest",
        request=BuildingRequest(dataset_id=new_dataset_id(), file_name="scan.ptx"),
        created_at=moment,
        updated_at=moment,
    )


async def advance(job_log: JobLog, last: Recorded, percent: float) -> Recorded:
    """Write progress."""
    job = last.job.changed(now(), status=JobStatus.PROCESSING, progress=Progress(percent=percent, step="features"))
    return await job_log.write(last, EventType.PROGRESSED, job)


async def complete(job_log: JobLog, last: Recorded) -> Recorded:
    return await job_log.write(last, EventType.COMPLETED, last.job.changed(now(), status=JobStatus.COMPLETED))
