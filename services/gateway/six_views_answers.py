"""Jobs as the six-view document shows them."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from contracts.jobs import Job, JobStatus
from contracts.model import Frozen
from contracts.object_settings import ModelType, ObjectRequest
from contracts.outcomes import ModelOutcome, ObjectOutcome
from contracts.pipelines import pipeline_of
from services.gateway.job_progress import percent
from services.gateway.six_views_errors import ErrorBody, current_model, job_error

Status = Literal["queued", "processing", "completed", "failed", "cancelled"]

CELERY_STATES = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.PROCESSING: "PROGRESS",
    JobStatus.COMPLETED: "SUCCESS",
    JobStatus.FAILED: "FAILURE",
    JobStatus.CANCELLED: "REVOKED",
}
"""The document calls states in errors by these names."""


class SubmittedViews(Frozen):
    """The answer of `POST /jobs`."""

    job_id: str
    """Eight characters of 0-9 and a-z."""
    status: Literal["queued"] = "queued"
    model_type: ModelType
    created_at: str
    """UTC, to the second."""


class ObjectModelState(Frozen):
    """What one model has made of the views."""

    model: ModelType
    engine: str
    """What did the work under the model's name."""
    quality: Literal["normal", "warning", "failure"]
    psnr: float
    ssim: float


class ObjectJobState(Frozen):
    """The answer of `GET /jobs/{job_id}`."""

    job_id: str
    status: Status
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent."""
    current_model: ModelType | None
    """The model that is at work; null while nothing is."""
    created_at: str
    updated_at: str
    error: ErrorBody | None
    """Why the job failed."""
    step: str
    """What is being done, for people. Not in the document."""
    warnings: tuple[str, ...]
    """What was degraded on the way, for instance that another engine did a model's work. Not in the document."""
    models: tuple[ObjectModelState, ...]
    """Of the models that are done. Not in the document."""


class CancelRequest(Frozen):
    """The body of `POST /jobs/{job_id}/cancel`."""

    confirm: bool = False
    """False asks for the cancellation, true confirms it."""


class CancelRequested(Frozen):
    job_id: str
    status: Literal["cancel_requested"] = "cancel_requested"
    message: str = "Cancellation requested. Send confirm=true to confirm cancellation."


class CancelConfirmed(Frozen):
    job_id: str
    status: Literal["cancelled"] = "cancelled"
    message: str = "Job cancellation confirmed. Task will abort at next checkpoint."


def submitted(job: Job) -> SubmittedViews:
    assert isinstance(job.request, ObjectRequest)
    return SubmittedViews(
        job_id=job.job_id, model_type=job.request.settings.model_type, created_at=_utc(job.created_at)
    )


def object_job_state(job: Job) -> ObjectJobState:
    return ObjectJobState(
        job_id=job.job_id,
        status=job.status.value,
        progress=percent(job),
        current_model=current_model(job) if job.status is JobStatus.PROCESSING else None,
        created_at=_utc(job.created_at),
        updated_at=_utc(job.updated_at),
        error=job_error(job),
        step=_step(job),
        warnings=job.warnings,
        models=tuple(_model_state(made) for made in _made(job)),
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _step(job: Job) -> str:
    pipeline = pipeline_of(job.request)
    match job.status:
        case JobStatus.QUEUED:
            return "Job queued"
        case JobStatus.PROCESSING:
            return pipeline.step(job.progress.step).label
        case JobStatus.COMPLETED:
            return pipeline.done_label
        case JobStatus.FAILED:
            return pipeline.failed_label
        case JobStatus.CANCELLED:
            return pipeline.cancelled_label


def _made(job: Job) -> tuple[ModelOutcome, ...]:
    return job.outcome.models if isinstance(job.outcome, ObjectOutcome) else ()


def _model_state(made: ModelOutcome) -> ObjectModelState:
    return ObjectModelState(
        model=made.model,
        engine=made.engine,
        quality=made.status,
        psnr=round(made.psnr, 2),
        ssim=round(made.ssim, 4),
    )
