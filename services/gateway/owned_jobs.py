"""Jobs as their owner may use them: submitted, found, read, cancelled. To everybody else they do not exist."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from contracts.errors import DependencyUnavailable, Superseded
from contracts.events import EventType
from contracts.identifiers import BASE36_8, HEX12, UUID, new_capture_job_id, new_object_job_id, new_uuid_job_id
from contracts.jobs import Job, JobKind, JobStatus, LogLine, Request
from contracts.pipelines import pipeline_of
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.job_view import JobView
from runtime.refusals import Refusal, not_found

_CHANGE_TRIES = 20
_CHANGE_PAUSE_S = 0.05
_CREATE_TRIES = 3
_LOGS_KEPT = 256
_NO_JOB = "Job not found."
_ENDED = {JobStatus.COMPLETED: "completed", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "been cancelled"}
_NEW_ID = {
    JobKind.CAPTURE: new_capture_job_id,
    JobKind.BUILDING: new_uuid_job_id,
    JobKind.OBJECT: new_object_job_id,
    JobKind.SCENE: new_uuid_job_id,
}
_ID_FORM = {JobKind.CAPTURE: HEX12, JobKind.BUILDING: UUID, JobKind.OBJECT: BASE36_8, JobKind.SCENE: UUID}


async def submit_job(job_log: JobLog, view: JobView, request: Request, owner: str) -> Job:
    """Store a new job and queue its work. When this returns, the job survives whatever happens.

    Raises DependencyUnavailable.
    """
    recorded = await _create(job_log, request, owner)
    await job_log.queue(recorded.job)
    view.learn(recorded)
    return recorded.job


async def _create(job_log: JobLog, request: Request, owner: str) -> Recorded:
    kind = JobKind(request.kind)
    first = pipeline_of(request).stages[0]
    for _ in range(_CREATE_TRIES):
        moment = now()
        job = Job(
            job_id=_NEW_ID[kind](),
            kind=kind,
            owner=owner,
            stage=first.service,
            request=request,
            created_at=moment,
            updated_at=moment,
        )
        line = LogLine(time=moment, message="Job queued", step=first.steps[0].label)
        try:
            return await job_log.create(job, [line])
        except Superseded:
            # The random id is taken.
            continue
    raise DependencyUnavailable("No free job id was found.")


async def find_job(view: JobView, job_id: str, kind: JobKind, owner: str) -> Recorded:
    """The owner's job. Raises Refusal (404) if there is none, or if it is somebody else's."""
    recorded = await view.find(job_id) if _ID_FORM[kind].fullmatch(job_id) else None
    return _owned(recorded, kind, owner)


async def with_its_end(job_log: JobLog, view: JobView, job: Job) -> Job:
    """The job as the log itself has it, unless it is known to have ended already.

    Who hears of the end from a stream of events may ask for the results before this gateway's view knows.
    """
    if job.status.is_final:
        return job
    recorded = await job_log.read(job.job_id)
    if recorded is None:
        return job
    view.learn(recorded)
    return recorded.job


def _owned(recorded: Recorded | None, kind: JobKind, owner: str) -> Recorded:
    if recorded is None or recorded.job.owner != owner or recorded.job.kind is not kind:
        raise not_found(_NO_JOB)
    return recorded


class JobHasEnded(Refusal):
    """409: `job` has ended, and cannot be changed any more."""

    def __init__(self, job: Job, message: str) -> None:
        super().__init__(HTTPStatus.CONFLICT, message)
        self.job = job


@dataclass(frozen=True)
class _Change:
    """An event to be written."""

    event_type: EventType
    job: Job
    lines: tuple[LogLine, ...] = ()


async def cancel_job(job_log: JobLog, view: JobView, job_id: str, kind: JobKind, owner: str) -> Job:
    """Cancel the owner's job; that it is cancelled already is no error.

    Compare-and-set on the log decides between a cancel and a completion: only one of them is ever written.
    Raises Refusal: 404 without such a job, JobHasEnded if it has completed or failed.
    """
    return await _changed(job_log, view, job_id, kind, owner, change=_cancelled)


async def request_cancel(job_log: JobLog, view: JobView, job_id: str, kind: JobKind, owner: str) -> Job:
    """Note in the log that the owner means to cancel the job. Raises Refusal: 404 without such a job, JobHasEnded.

    Every replica of the gateway knows of it then. The worker goes on: the event leaves it its claim.
    """
    return await _changed(job_log, view, job_id, kind, owner, change=_cancel_requested)


async def _changed(
    job_log: JobLog, view: JobView, job_id: str, kind: JobKind, owner: str, *, change: Callable[[Job], _Change | None]
) -> Job:
    """The job after `change`, which is tried again for as long as somebody else is faster. None: it is so already."""
    await find_job(view, job_id, kind, owner)
    for _ in range(_CHANGE_TRIES):
        recorded = _owned(await job_log.read(job_id), kind, owner)
        view.learn(recorded)
        wanted = change(recorded.job)
        if wanted is None:
            return recorded.job
        try:
            view.learn(await job_log.write(recorded, wanted.event_type, wanted.job, wanted.lines))
        except Superseded:
            await asyncio.sleep(_CHANGE_PAUSE_S)
            continue
        return wanted.job
    raise DependencyUnavailable(f"Job {job_id} changes too fast to be changed by its owner.")


def _cancelled(job: Job) -> _Change | None:
    if job.status is JobStatus.CANCELLED:
        return None
    _refuse_if_ended(job)
    moment = now()
    cancelled = job.changed(moment, status=JobStatus.CANCELLED, performance=None, claim=None, finished_at=moment)
    line = LogLine(time=moment, message="Cancelled by the user", step=pipeline_of(job.request).cancelled_label)
    return _Change(EventType.CANCELLED, cancelled, (line,))


def _cancel_requested(job: Job) -> _Change:
    _refuse_if_ended(job)
    moment = now()
    # Without a line: a worker that finds events in its way takes their lines for its own.
    return _Change(EventType.PROGRESSED, job.changed(moment, cancel_requested_at=moment))


def _refuse_if_ended(job: Job) -> None:
    if job.status.is_final:
        raise JobHasEnded(job, f"The job cannot be cancelled: it has already {_ENDED[job.status]}.")


@dataclass
class _KnownLines:
    sequence: int
    lines: list[LogLine]


class LogReader:
    """Reads jobs' logs, and remembers what it has read: a client that polls costs only what is new."""

    def __init__(self, job_log: JobLog) -> None:
        self._job_log = job_log
        self._known: OrderedDict[str, _KnownLines] = OrderedDict()

    async def lines(self, job_id: str) -> tuple[LogLine, ...]:
        """The job's log, oldest line first. Raises DependencyUnavailable."""
        known = self._known.get(job_id) or _KnownLines(0, [])
        read = _KnownLines(known.sequence, list(known.lines))
        async for event in self._job_log.events(job_id, known.sequence):
            read.lines.extend(event.event.data.lines)
            read.sequence = event.sequence
        self._known[job_id] = read
        self._known.move_to_end(job_id)
        while len(self._known) > _LOGS_KEPT:
            self._known.popitem(last=False)
        return tuple(read.lines)
