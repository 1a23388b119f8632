"""Jobs as the ReMap document shows them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema

from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.jobs import Job, JobStatus, LogLine
from contracts.model import Frozen
from contracts.pipelines import pipeline_of
from services.gateway.job_progress import percent


def timestamp_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `+00:00`, as in the document."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


Timestamp = Annotated[
    datetime,
    PlainSerializer(timestamp_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-15T10:30:00.000000+00:00"]}),
]


class Health(Frozen):
    status: Literal["ok"] = "ok"
    version: Literal["v1"] = "v1"
    server: Literal["ReMap"] = "ReMap"
    timestamp: Timestamp


class DatasetUploaded(Frozen):
    dataset_id: str
    files: tuple[str, ...]
    """What the archive holds, relative to the capture's own folder."""
    message: Literal["Dataset uploaded successfully"] = "Dataset uploaded successfully"


class ProcessingStarted(Frozen):
    job_id: str
    status: JobStatus
    message: Literal["Processing started"] = "Processing started"


class JobInList(Frozen):
    job_id: str
    status: JobStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent."""
    current_step: str
    created_at: Timestamp
    updated_at: Timestamp


class JobInDetail(JobInList):
    error: str | None
    """Why the job failed, or null."""
    settings: CaptureSettings
    """The settings in effect: what was asked for, completed by the defaults."""
    warnings: tuple[str, ...]
    """What was degraded or replaced on the way, for instance features that a worker does not have."""


class JobList(Frozen):
    jobs: tuple[JobInList, ...]
    """Most recent first."""


class LogEntry(Frozen):
    time: Timestamp
    message: str
    step: str
    """Label of the step that was under way."""


class JobLogs(Frozen):
    job_id: str
    log: tuple[LogEntry, ...]
    """Oldest line first."""
    logs: tuple[LogEntry, ...]
    """The same lines once more, under the name that the ReScan app reads."""


class JobCancelled(Frozen):
    job_id: str
    status: Literal[JobStatus.CANCELLED] = JobStatus.CANCELLED


def current_step(job: Job) -> str:
    """The step's name as people see it."""
    pipeline = pipeline_of(job.request)
    match job.status:
        case JobStatus.COMPLETED:
            return pipeline.done_label
        case JobStatus.FAILED:
            return pipeline.failed_label
        case JobStatus.CANCELLED:
            return pipeline.cancelled_label
        case _:
            return pipeline.label(job.progress.step)


def job_in_list(job: Job) -> JobInList:
    return JobInList(
        job_id=job.job_id,
        status=job.status,
        progress=percent(job),
        current_step=current_step(job),
        created_at=job.created_at,
        updated_at=job.updated_at,
    )


def job_in_detail(job: Job) -> JobInDetail:
    """Raises TypeError for a job of another kind."""
    if not isinstance(job.request, CaptureRequest):
        raise TypeError(f"a {job.kind} job is not a capture")
    return JobInDetail(
        job_id=job.job_id,
        status=job.status,
        progress=percent(job),
        current_step=current_step(job),
        created_at=job.created_at,
        updated_at=job.updated_at,
        error=job.error.message if job.error else None,
        settings=job.request.settings,
        warnings=job.warnings,
    )


def job_logs(job_id: str, lines: Iterable[LogLine]) -> JobLogs:
    entries = tuple(LogEntry(time=line.time, message=line.message, step=line.step) for line in lines)
    return JobLogs(job_id=job_id, log=entries, logs=entries)
