"""One stage of one job, as the code that does it sees it: the job, a place to work, a way to say where it is."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import AlidadeError, JobCancelled, Superseded
from contracts.events import EventType
from contracts.jobs import Job, JobStatus, LogLine, Performance, Progress
from contracts.pipelines import PIPELINES
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.logs import get_logger

log = get_logger(__name__)

FIRST_PAUSE_S = 0.4
"""Least time between two progress events. It grows with the stage's age, so that a job's history stays short."""
PAUSE_PER_AGE = 1 / 400
"""A stage of a day writes about 2,800 progress events: 400 in every e-fold of its age."""
_SPEED_WINDOW_S = 20.0


class StageWork:
    """Handed to a service's step. Every method may be called often: writes are thinned and never overlap."""

    def __init__(self, job_log: JobLog, claimed: Recorded, scratch: Path) -> None:
        self._job_log = job_log
        self._recorded = claimed
        self._writing = asyncio.Lock()
        self._lines: list[LogLine] = []
        self._changed = asyncio.Event()
        self._progress = claimed.job.progress
        self._performance: Performance | None = None
        self._warnings = list(claimed.job.warnings)
        self._started = time.monotonic()
        self._samples: deque[tuple[float, int]] = deque()
        self.scratch = scratch
        """An empty folder for this attempt, removed afterwards."""
        self.stopped = asyncio.Event()
        """Set when the work must end at once: cancelled, superseded, or the worker is shutting down."""
        self.stop_reason: AlidadeError | None = None

    @property
    def job(self) -> Job:
        return self._recorded.job

    @property
    def attempt(self) -> int:
        return self._recorded.job.attempts

    def stop(self, reason: AlidadeError) -> None:
        """End the work. The first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.stopped.set()
        self._changed.set()

    def step(self, name: str) -> None:
        """A step of the pipeline begins."""
        self._samples.clear()
        percent = max(self._progress.percent, PIPELINES[self.job.kind].percent(name, 0.0))
        self._progress = Progress(percent=percent, step=name)
        self._changed.set()

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        """`done` of `total` items of the present step are finished."""
        step = self._progress.step
        fraction = done / total if total > 0 else 0.0
        percent = PIPELINES[self.job.kind].percent(step, fraction)
        speed = self._items_per_s(done)
        self._progress = Progress(
            percent=max(self._progress.percent, percent),
            step=step,
            operation=operation,
            processed_items=done,
            total_items=total,
            items_per_s=speed,
            remaining_s=(total - done) / speed if speed else None,
        )
        self._changed.set()

    def performance(self, performance: Performance) -> None:
        """What the child process uses; goes out with the next progress event."""
        self._performance = performance

    def log(self, message: str) -> None:
        """A line for the job's owner."""
        self._say(message, "info")

    def warn(self, message: str) -> None:
        """A line for the job's owner that is also kept among the job's warnings, once."""
        if message not in self._warnings:
            self._warnings.append(message)
        self._say(message, "warning")

    def _say(self, message: str, level: str) -> None:
        label = PIPELINES[self.job.kind].step(self._progress.step).label
        self._lines.append(LogLine.model_validate({"time": now(), "message": message, "step": label, "level": level}))
        self._changed.set()

    def _items_per_s(self, done: int) -> float | None:
        """Speed over the last seconds: what remains is judged by how it goes now."""
        moment = time.monotonic()
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((moment, done))
        while moment - self._samples[0][0] > _SPEED_WINDOW_S:
            self._samples.popleft()
        began, first = self._samples[0]
        return (done - first) / (moment - began) if moment > began and done > first else None

    async def write_until_stopped(self) -> None:
        """Write progress and log lines as they come, at most one event per pause. Runs beside the work."""
        while not self.stopped.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self.stopped.is_set():
                return
            try:
                await self._write(EventType.LOGGED if self._lines else EventType.PROGRESSED)
            except Superseded as reason:
                self.stop(reason)
                return
            age_s = time.monotonic() - self._started
            await asyncio.sleep(max(FIRST_PAUSE_S, age_s * PAUSE_PER_AGE))

    async def finish(self, event_type: EventType, job: Job, lines: Sequence[LogLine] = ()) -> Recorded:
        """Write the event that ends this attempt, with every line that has not been written yet.

        `job` is the present job with the changes of the end. Raises Superseded.
        """
        self._lines.extend(lines)
        return await self._write(event_type, job)

    def present(self) -> Job:
        """The job with the newest progress and warnings."""
        return self.job.changed(
            now(),
            progress=self._progress,
            performance=self._performance,
            warnings=tuple(self._warnings),
        )

    async def _write(self, event_type: EventType, job: Job | None = None) -> Recorded:
        async with self._writing:
            lines, self._lines = self._lines, []
            try:
                self._recorded = await self._try_write(event_type, job or self.present(), lines)
            except Superseded:
                self._lines = lines + self._lines
                raise
            return self._recorded

    async def _try_write(self, event_type: EventType, job: Job, lines: list[LogLine]) -> Recorded:
        try:
            return await self._job_log.write(self._recorded, event_type, job, lines)
        except Superseded:
            newest = await self._job_log.read(job.job_id)
            if newest is not None and newest.job.status is JobStatus.CANCELLED:
                raise JobCancelled(f"Job {job.job_id} was cancelled.") from None
            raise
