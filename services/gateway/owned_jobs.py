"""Jobs as their owner may use them: submitted, found, read, cancelled. To everybody else they do not exist."""

import asyncio
from collections import OrderedDict
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

_CANCEL_TRIES = 20
_CANCEL_PAUSE_S = 0.05
_CREATE_TRIES = 3
_LOGS_KEPT = 256
_NO_JOB = "Job not found."
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


def _owned(recorded: Recorded | None, kind: JobKind, owner: str) -> Recorded:
    if recorded is None or recorded.job.owner != owner or recorded.job.kind is not kind:
        raise not_found(_NO_JOB)
    return recorded


async def cancel_job(job_log: JobLog, view: JobView, job_id: str, kind: JobKind, owner: str) -> Job:
    """Cancel the owner's job; that it is cancelled already is no error.

    Compare-and-set on the log decides between a cancel and a completion: only one of them is ever written.
    Raises Refusal: 404 without such a job, 409 if it has completed or failed.
    """
    await find_job(view, job_id, kind, owner)
    for _ in range(_CANCEL_TRIES):
        recorded = _owned(await job_log.read(job_id), kind, owner)
        view.learn(recorded)
        job = recorded.job
        if job.status is JobStatus.CANCELLED:
            return job
        if job.status.is_final:
            raise Refusal(HTTPStatus.CONFLICT, f"The job cannot be cancelled: it has already {job.status}.")
        moment = now()
        cancelled = job.changed(moment, status=JobStatus.CANCELLED, performance=None, claim=None, finished_at=moment)
        line = LogLine(time=moment, message="Cancelled by the user", step=pipeline_of(job.request).cancelled_label)
        try:
            view.learn(await job_log.write(recorded, EventType.CANCELLED, cancelled, [line]))
        except Superseded:
            await asyncio.sleep(_CANCEL_PAUSE_S)
            continue
        return cancelled
    raise DependencyUnavailable(f"Job {job_id} changes too fast to be cancelled.")


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
