"""Workers whose step does what a test says, and all that a test needs to watch them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from contracts.jobs import Job, ResultFile
from runtime.bus import Bus
from runtime.job_log import JobLog, Recorded
from runtime.job_view import JobView
from runtime.settings import WorkerSettings
from runtime.stage_work import StageWork
from runtime.worker import Worker

RESULT = ResultFile(name="r.zip", key="results/x/1/r.zip", content_type="application/zip", size_bytes=1, etag="e")


class Script:
    """A step that does what the test says, and counts."""

    def __init__(self, act: Callable[[StageWork], Awaitable[None]]) -> None:
        self._act = act
        self.runs: list[str] = []
        self.cleaned: list[str] = []
        self.began = asyncio.Event()
        self.has_cleaned = asyncio.Event()

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        self.runs.append(work.job.job_id)
        self.began.set()
        await self._act(work)
        return (RESULT,)

    async def clean_up(self, job: Job) -> None:
        self.cleaned.append(job.job_id)
        self.has_cleaned.set()


class Stage:
    """Everything a test needs to watch one worker."""

    def __init__(self, bus: Bus, view: JobView, job_log: JobLog, scratch: Path) -> None:
        self.bus = bus
        self.view = view
        self.job_log = job_log
        self.settings = WorkerSettings(scratch=scratch, ack_wait_s=2, max_attempts=3, retry_base_s=0.05)

    def worker(self, service: str, step: Script, bus: Bus | None = None, **changes: object) -> Worker:
        """A worker on this stage's bus, or on another; `changes` are settings."""
        settings = self.settings.model_copy(update=changes)
        connected = bus or self.bus
        return Worker(service, connected, JobLog(connected, service), step, settings)

    async def submit(self, job: Job) -> Recorded:
        created = await self.job_log.create(job)
        await self.job_log.queue(job)
        return created

    async def until(self, job_id: str, holds: Callable[[Job], bool]) -> Job:
        """The job as soon as `holds` is true of it."""
        with self.view.feed(job_id, 1000) as feed:
            found = await self.job_log.read(job_id)
            assert found is not None
            job = found.job
            async with asyncio.timeout(60):
                while not holds(job):
                    event = await feed.get()
                    assert event is not None
                    job = event.job
        return job

    async def messages(self, job_id: str) -> list[str]:
        """The job's log, without times."""
        return [line.message for line in await self.job_log.lines(job_id)]


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)


async def nothing(_: StageWork) -> None:
    pass


async def until_stopped(work: StageWork) -> None:
    await work.stopped.wait()
    assert work.stop_reason is not None
    raise work.stop_reason
