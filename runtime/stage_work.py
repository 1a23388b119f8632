"""One stage of one job, as the code that does it sees it: the job, a place to work, a way to say where it is."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import AlidadeError, DependencyUnavailable, JobCancelled, Superseded
from contracts.events import EventType
from contracts.jobs import Job, JobStatus, LogLine, Performance, Progress
from contracts.outcomes import Outcome
from contracts.pipelines import pipeline_of
from contracts.progress import as_line
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.logs import get_logger

log = get_logger(__name__)

FIRST_PAUSE_S = 0.4
"""Least time between two progress events. It grows with the stage's age, so that a job's history stays short."""
PAUSE_PER_AGE = 1 / 400
"""A stage of a day writes about 2,800 progress events: 400 in every e-fold of its age."""
_SPEED_WINDOW_S = 20.0
MAX_LINES = 5000
"""Lines that one attempt may say. A defect that talks without end shall not fill the log of the job."""
MAX_WARNINGS = 50
"""Every event carries them all; what comes after is a line of the log only."""
_EVENT_CHARACTERS = 100_000
"""Of log lines in one event, which must stay far below what the bus takes in one message."""
_LINE_CHARACTERS = 150
"""What a line costs besides its message."""


class StageWork:
    """Handed to a service's step. Every method may be called often: writes are thinned and never overlap."""

    def __init__(self, job_log: JobLog, claimed: Recorded, scratch: Path) -> None:
        self._job_log = job_log
        self._recorded = claimed
        self._writing = asyncio.Lock()
        self._lines: list[LogLine] = []
        self._said = 0
        self._changed = asyncio.Event()
        self._progress = claimed.job.progress
        self._performance: Performance | None = None
        self._warnings = list(claimed.job.warnings)
        self._outcome = claimed.job.outcome
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
        percent = max(self._progress.percent, pipeline_of(self.job.request).percent(name, 0.0))
        self._progress = Progress(percent=percent, step=name)
        self._changed.set()

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        """`done` of `total` items of the present step are finished."""
        step = self._progress.step
        fraction = done / total if total > 0 else 0.0
        percent = pipeline_of(self.job.request).percent(step, fraction)
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

    def outcome(self, outcome: Outcome) -> None:
        """What is known by now of what the job finds; takes the place of what was known before."""
        self._outcome = outcome
        self._changed.set()

    def log(self, message: str) -> None:
        """A line for the job's owner."""
        self._say(message, "info")

    def warn(self, message: str) -> None:
        """A line for the job's owner that is also kept among the job's warnings, once."""
        warning = as_line(message)
        if warning not in self._warnings and len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(warning)
        self._say(message, "warning")

    def _say(self, message: str, level: str) -> None:
        self._said += 1
        if self._said > MAX_LINES:
            return
        if self._said == MAX_LINES:
            message, level = f"Only the first {MAX_LINES - 1:,} lines are kept.", "warning"
        label = pipeline_of(self.job.request).step(self._progress.step).label
        line = {"time": now(), "message": as_line(message), "step": label, "level": level}
        self._lines.append(LogLine.model_validate(line))
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
            except DependencyUnavailable as error:
                # The work goes on without; what it said waits for the bus.
                log.warning("progress_put_off", job_id=self.job.job_id, reason=error.message)
                self._changed.set()
            age_s = time.monotonic() - self._started
            await asyncio.sleep(max(FIRST_PAUSE_S, age_s * PAUSE_PER_AGE))

    async def finish(self, event_type: EventType, job: Job, lines: Sequence[LogLine] = ()) -> Recorded:
        """Write the event that ends this attempt, with every line that has not been written yet.

        `job` is the present job with the changes of the end. What was computed is worth waiting for: while the bus
        does not answer, this tries on until the work is stopped. Raises Superseded; DependencyUnavailable if the work
        was stopped.
        """
        self._lines.extend(lines)
        while True:
            try:
                while len(self._next_lines()) < len(self._lines):
                    await self._write(EventType.LOGGED)
                return await self._write(event_type, job)
            except DependencyUnavailable as error:
                if self.stopped.is_set():
                    raise
                log.warning("end_put_off", job_id=job.job_id, reason=error.message)

    def present(self) -> Job:
        """The job with the newest progress and warnings."""
        return self.job.changed(
            now(),
            progress=self._progress,
            performance=self._performance,
            warnings=tuple(self._warnings),
            outcome=self._outcome,
        )

    def _next_lines(self) -> list[LogLine]:
        """As many of the waiting lines as one event may carry."""
        characters = 0
        for count, line in enumerate(self._lines):
            characters += len(line.message) + _LINE_CHARACTERS
            if characters > _EVENT_CHARACTERS:
                return self._lines[:count]
        return list(self._lines)

    async def _write(self, event_type: EventType, job: Job | None = None) -> Recorded:
        async with self._writing:
            while True:
                lines = self._next_lines()
                try:
                    self._recorded = await self._job_log.write(self._recorded, event_type, job or self.present(), lines)
                except Superseded:
                    if await self._catch_up(job):
                        return self._recorded
                else:
                    # Only now: a line is said once it is stored.
                    del self._lines[: len(lines)]
                    return self._recorded

    async def _catch_up(self, job: Job | None) -> bool:
        """Learn of our own writes of which we never heard that they were stored. Whether `job` is one of them.

        Raises JobCancelled, or Superseded if the newest event is somebody else's.
        """
        newest = await self._job_log.read(self.job.job_id)
        if newest is not None and newest.job.status is JobStatus.CANCELLED:
            raise JobCancelled(f"Job {self.job.job_id} was cancelled.") from None
        if newest is None or (newest.job != job and (self.job.claim is None or newest.job.claim != self.job.claim)):
            raise Superseded(f"Job {self.job.job_id} was changed by somebody else.") from None
        # Lines are written in order, so what was stored are the first that wait.
        async for stored in self._job_log.events(self.job.job_id, self._recorded.sequence):
            del self._lines[: len(stored.event.data.lines)]
        self._recorded = newest
        return newest.job == job
