"""The job log: the one truth about jobs. Every change is a compare-and-set over all events of the job."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import nats.errors
import nats.js.errors
from pydantic import ValidationError

from contracts import subjects
from contracts.errors import AlidadeError, DependencyUnavailable, Superseded
from contracts.events import CONTENT_TYPE, EventType, JobEvent, JobEventData, event_type_name
from contracts.identifiers import new_event_id
from contracts.jobs import Job, LogLine
from contracts.work import WorkItem
from runtime.bus import AlreadyQueued, Bus, SequenceMismatch
from runtime.clock import now
from runtime.logs import get_logger

log = get_logger(__name__)

_READ_TRIES = 5
_STREAM_NOT_FOUND = 10059


class UnreadableEvent(AlidadeError):
    """The stream holds something that is not an event of ours."""


@dataclass(frozen=True)
class Recorded:
    """A job as the log has it. `sequence` is the stream sequence of its last event."""

    job: Job
    sequence: int


@dataclass(frozen=True)
class RecordedEvent:
    """An event with its place in the stream."""

    event: JobEvent
    sequence: int

    @property
    def job(self) -> Job:
        return self.event.data.job


class JobLog:
    """Reads and writes the stream JOBS, and queues work in the stream WORK."""

    def __init__(self, bus: Bus, service: str) -> None:
        self._bus = bus
        self._source = f"/alidade/{service}"

    async def create(self, job: Job, lines: Sequence[LogLine] = ()) -> Recorded:
        """Write the first event of a job. Raises Superseded if the id is taken, DependencyUnavailable."""
        return await self.write(Recorded(job, 0), EventType.CREATED, job, lines)

    async def write(self, last: Recorded, event_type: EventType, job: Job, lines: Sequence[LogLine] = ()) -> Recorded:
        """Write a change of the job whose last known event is `last`.

        Raises Superseded if another event came in between, DependencyUnavailable.
        """
        event = JobEvent(
            id=new_event_id(),
            source=self._source,
            type=event_type_name(event_type),
            subject=job.job_id,
            time=job.updated_at,
            data=JobEventData(job=job, lines=tuple(lines)),
        )
        try:
            sequence = await self._bus.publish_if_last(
                subjects.job_event(job.kind, job.job_id, event_type),
                event.model_dump_json().encode(),
                message_id=event.id,
                content_type=CONTENT_TYPE,
                scope=subjects.job_events(job.job_id),
                expected_sequence=last.sequence,
            )
        except SequenceMismatch as error:
            newest = await self._last_event(job.job_id)
            if newest is not None and newest.event.id == event.id:
                # Our own write, whose acknowledgement was lost.
                return Recorded(job, newest.sequence)
            raise Superseded(f"Job {job.job_id} was changed by somebody else.") from error
        return Recorded(job, sequence)

    async def read(self, job_id: str) -> Recorded | None:
        """The job's present state, or None if there is no such job. Raises DependencyUnavailable."""
        newest = await self._last_event(job_id)
        return None if newest is None else Recorded(newest.job, newest.sequence)

    async def events(self, job_id: str, after_sequence: int = 0) -> AsyncIterator[RecordedEvent]:
        """Every event of a job after a stream sequence, oldest first, up to the present. Raises DependencyUnavailable."""
        newest = await self._last_event(job_id)
        if newest is None or newest.sequence <= after_sequence:
            return
        sequence = after_sequence
        while sequence < newest.sequence:
            found = await self._next_event(job_id, sequence + 1)
            if found is None:
                return
            yield found
            sequence = found.sequence

    async def lines(self, job_id: str) -> list[LogLine]:
        """The job's log, oldest line first. Raises DependencyUnavailable."""
        return [line async for recorded in self.events(job_id) for line in recorded.event.data.lines]

    async def queue(self, job: Job) -> bool:
        """Queue the work of the job's present stage. False if the same work is queued or under way already.

        Raises DependencyUnavailable.
        """
        item = WorkItem(service=job.stage, job_id=job.job_id, kind=job.kind, published_at=now())
        try:
            await self._bus.publish(
                subjects.work(job.stage, job.job_id),
                item.model_dump_json().encode(),
                message_id=new_event_id(),
                content_type="application/json",
            )
        except AlreadyQueued:
            return False
        return True

    async def _last_event(self, job_id: str) -> RecordedEvent | None:
        # Asked of the stream's leader: a direct get may be answered by a replica that lags behind.
        return await self._get(subjects.job_events(job_id), sequence=None)

    async def _next_event(self, job_id: str, sequence: int) -> RecordedEvent | None:
        return await self._get(subjects.job_events(job_id), sequence=sequence)

    async def _get(self, subject: str, sequence: int | None) -> RecordedEvent | None:
        stream = self._bus.jetstream
        for attempt in range(_READ_TRIES):
            try:
                if sequence is None:
                    message = await stream.get_last_msg(subjects.JOBS_STREAM, subject)
                else:
                    message = await stream.get_msg(
                        subjects.JOBS_STREAM, seq=sequence, subject=subject, next=True, direct=True
                    )
            except nats.js.errors.NotFoundError as error:
                if error.err_code == _STREAM_NOT_FOUND:
                    # Without this a bus that lost its streams would pass for one without jobs.
                    raise DependencyUnavailable("The bus has no job log.") from error
                return None
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                if attempt + 1 == _READ_TRIES:
                    raise DependencyUnavailable(f"The job log cannot be read: {error!r}.") from error
                await asyncio.sleep(0.1 * 2**attempt)
            else:
                return RecordedEvent(parse_event(message.data or b""), message.seq or 0)
        raise AssertionError("the last try returns or raises")


def parse_event(payload: bytes) -> JobEvent:
    """Raises UnreadableEvent."""
    try:
        return JobEvent.model_validate_json(payload)
    except ValidationError as error:
        raise UnreadableEvent(f"Not an event of the job log: {error.error_count()} errors.") from error
