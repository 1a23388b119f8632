"""Jobs as the Cloud2BIM document shows them on its streams (section 6), for every kind of job.

`kind`, `warnings`, the counts of items and the fields of errors are additions to the document.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.errors import ErrorCode
from contracts.jobs import Job, JobKind, JobStatus
from contracts.model import Frozen
from contracts.pipelines import pipeline_of

_COUNTED_IN_POINTS = frozenset({"loading_point_cloud", "preprocessing", "finalizing"})
"""Steps of a building job that go through the points one by one. The others count walls, rooms and the like."""

EventName = Literal["progress", "error", "complete"]


class ProgressPart(Frozen):
    percentage: Annotated[int, Field(ge=0, le=100)]
    """Rounded down: 100 means done."""
    stage: str
    stage_description: str
    current_operation: str | None
    processed_items: int | None
    total_items: int | None
    estimated_remaining: str | None
    """`HH:MM:SS`, for the whole job."""
    processing_speed: str | None
    """Of a building job in points; null where its step counts something else."""


class PerformancePart(Frozen):
    cpu_percent: float
    memory_percent: float
    memory_used_mb: float


class ProgressData(Frozen):
    job_id: str
    kind: JobKind
    status: str
    progress: ProgressPart
    performance: PerformancePart | None
    """What the worker uses; null while none is at work."""
    timestamp: str
    warnings: tuple[str, ...]


class ErrorData(ProgressData):
    """What the `error` event says besides."""

    error: str
    error_code: ErrorCode | None
    """Null for a job that was cancelled."""
    error_field: str | None


def event_name(job: Job) -> EventName:
    """The document's name of a job's present state. `error` also tells that a job was cancelled."""
    match job.status:
        case JobStatus.COMPLETED:
            return "complete"
        case JobStatus.FAILED | JobStatus.CANCELLED:
            return "error"
        case _:
            return "progress"


def progress_data(job: Job) -> ProgressData:
    """The job as the full stream shows it; an `ErrorData` if it has failed or was cancelled."""
    data = ProgressData(
        job_id=job.job_id,
        kind=job.kind,
        status=status_word(job),
        progress=_progress(job),
        performance=_performance(job),
        timestamp=_seconds_in_utc(job.updated_at),
        warnings=job.warnings,
    )
    if event_name(job) != "error":
        return data
    return ErrorData(
        **dict(data),
        error=job.error.message if job.error else "The job was cancelled.",
        error_code=job.error.code if job.error else None,
        error_field=job.error.field if job.error else None,
    )


def percentage(job: Job) -> int:
    """Whole percent. Only a completed job has 100: clients take that for the end."""
    return 100 if job.status is JobStatus.COMPLETED else min(int(job.progress.percent), 99)


def remaining_s(job: Job) -> float | None:
    """Seconds to the end: what the present step still needs, and the later steps at the pace of the whole job so far.

    None while there is nothing to judge by.
    """
    if job.status is not JobStatus.PROCESSING or job.started_at is None or job.progress.remaining_s is None:
        return None
    elapsed_s = (job.updated_at - job.started_at).total_seconds()
    if job.progress.percent < 1 or elapsed_s <= 0:
        return None
    later_percent = 100 - pipeline_of(job.request).step(job.progress.step).to_percent
    return job.progress.remaining_s + later_percent * elapsed_s / job.progress.percent


def status_word(job: Job) -> str:
    """A job's status. For buildings one of the four in the document, whose clients wait for `completed` or `failed`."""
    if job.kind is JobKind.BUILDING:
        match job.status:
            case JobStatus.QUEUED:
                return "pending"
            case JobStatus.CANCELLED:
                return "failed"
    return job.status.value


def _progress(job: Job) -> ProgressPart:
    seconds = remaining_s(job)
    return ProgressPart(
        percentage=percentage(job),
        stage=job.progress.step,
        stage_description=_description(job),
        current_operation=job.progress.operation,
        processed_items=job.progress.processed_items,
        total_items=job.progress.total_items,
        estimated_remaining=None if seconds is None else _clock_text(seconds),
        processing_speed=_speed(job),
    )


def _speed(job: Job) -> str | None:
    speed = job.progress.items_per_s
    if speed is None:
        return None
    if job.kind is JobKind.BUILDING:
        return f"{speed:.0f} points/sec" if job.progress.step in _COUNTED_IN_POINTS else None
    return f"{speed:.3g} items/sec" if speed < 100 else f"{speed:.0f} items/sec"


def _description(job: Job) -> str:
    pipeline = pipeline_of(job.request)
    match job.status:
        case JobStatus.COMPLETED:
            return pipeline.done_label
        case JobStatus.FAILED:
            return pipeline.failed_label
        case JobStatus.CANCELLED:
            return pipeline.cancelled_label
        case _:
            return pipeline.step(job.progress.step).label


def _performance(job: Job) -> PerformancePart | None:
    if job.performance is None:
        return None
    used = job.performance
    return PerformancePart(
        cpu_percent=round(used.cpu_percent, 1),
        memory_percent=round(used.memory_percent, 1),
        memory_used_mb=round(used.memory_used_mb, 1),
    )


def _clock_text(seconds: float) -> str:
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{whole_seconds:02d}"


def _seconds_in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
