"""What the server says, typed and frozen. Fields that are not named here are ignored."""

from pathlib import Path

from pydantic import AwareDatetime, JsonValue

from contracts.jobs import JobKind, JobStatus
from contracts.model import Frozen, Message


class UploadedDataset(Message):
    dataset_id: str
    files: tuple[str, ...]
    """What the archive holds, relative to the capture's own folder."""


class StartedJob(Message):
    job_id: str
    status: JobStatus


class SubmittedJob(Message):
    """A job of an API that takes upload and settings in one request."""

    job_id: str


class JobSummary(Message):
    job_id: str
    status: JobStatus
    progress: int
    """Percent."""
    current_step: str
    created_at: AwareDatetime
    updated_at: AwareDatetime


class JobDetail(JobSummary):
    error: str | None
    settings: dict[str, JsonValue]
    warnings: tuple[str, ...] = ()


class JobList(Message):
    jobs: tuple[JobSummary, ...]


class LogEntry(Message):
    time: AwareDatetime
    message: str
    step: str = ""


class JobLogs(Message):
    log: tuple[LogEntry, ...]


class CancelledJob(Message):
    job_id: str
    status: JobStatus


class StreamProgress(Message):
    """The part `progress` of what a stream sends."""

    percentage: int
    stage: str
    stage_description: str
    current_operation: str | None = None
    processed_items: int | None = None
    total_items: int | None = None
    estimated_remaining: str | None = None
    processing_speed: str | None = None


class StreamData(Message):
    """One update, as a stream sends it."""

    job_id: str
    kind: JobKind = JobKind.CAPTURE
    status: str
    """As the kind's own document words it."""
    progress: StreamProgress
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None


class Update(Frozen):
    """Where a job is, at one moment of watching it."""

    job_id: str
    kind: JobKind = JobKind.CAPTURE
    status: JobStatus
    percentage: int
    step: str
    operation: str | None = None
    processed_items: int | None = None
    total_items: int | None = None
    estimated_remaining: str | None = None
    """`HH:MM:SS`"""
    processing_speed: str | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None
    event_id: int | None = None
    """Where a later `watch` can go on; None if the server has no event stream."""

    @classmethod
    def from_stream(cls, data: StreamData, event_id: int | None) -> "Update":
        progress = data.progress
        return cls(
            job_id=data.job_id,
            kind=data.kind,
            status=_status(data),
            percentage=progress.percentage,
            step=progress.stage_description,
            operation=progress.current_operation,
            processed_items=progress.processed_items,
            total_items=progress.total_items,
            estimated_remaining=progress.estimated_remaining,
            processing_speed=progress.processing_speed,
            warnings=data.warnings,
            error=data.error,
            error_code=data.error_code,
            event_id=event_id,
        )

    @classmethod
    def from_status(cls, job: JobDetail) -> "Update":
        return cls(
            job_id=job.job_id,
            status=job.status,
            percentage=job.progress,
            step=job.current_step,
            warnings=job.warnings,
            error=job.error,
        )


def _status(data: StreamData) -> JobStatus:
    """The Cloud2BIM document knows neither `queued` nor `cancelled`: they come as `pending` and as `failed` without a code."""
    if data.kind is JobKind.BUILDING and data.status == "pending":
        return JobStatus.QUEUED
    if data.kind is JobKind.BUILDING and data.status == JobStatus.FAILED and data.error_code is None:
        return JobStatus.CANCELLED
    return JobStatus(data.status)


class Download(Frozen):
    """A result on this machine."""

    path: Path
    size_bytes: int
    resumed_at_bytes: int
    """Where an earlier, incomplete download was taken up; 0 if there was none."""
