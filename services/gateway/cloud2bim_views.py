"""Jobs as the Cloud2BIM document shows them."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.building_settings import BuildingRequest
from contracts.errors import ErrorCode
from contracts.jobs import Job, JobStatus
from contracts.model import Frozen
from contracts.pipelines import BUILDING
from services.gateway.job_progress import percent

_FIRST = BUILDING.stages[0].steps[0]

Status = Literal["pending", "processing", "completed", "failed"]


class Endpoints(Frozen):
    submit: str = "/submit"
    convert: str = "/convert"
    status: str = "/status/{job_id}"
    results: str = "/results/{job_id}/model.ifc"
    point_mapping: str = "/results/{job_id}/point_mapping.json"
    stream_progress: str = "/api/progress/{job_id}/stream"
    stream_basic: str = "/api/progress/{job_id}/stream/basic"


class ServiceInformation(Frozen):
    service: Literal["Cloud2BIM Service"] = "Cloud2BIM Service"
    version: Literal["1.0.0"] = "1.0.0"
    """Of the API."""
    description: str = "Async point cloud to IFC BIM model conversion service with real-time progress tracking"
    endpoints: Endpoints = Endpoints()


class ProgressAtStart(Frozen):
    percentage: Literal[0] = 0
    stage: str = _FIRST.name
    stage_description: str = _FIRST.label
    current_operation: None = None
    processed_items: Literal[0] = 0
    total_items: Literal[0] = 0
    estimated_remaining_seconds: None = None
    processing_speed: None = None


class Submitted(Frozen):
    """The answer of `/submit`."""

    job_id: str
    """A UUID."""
    status: Literal["pending"] = "pending"
    message: Literal["Job submitted successfully"] = "Job submitted successfully"
    stage: str = _FIRST.name
    progress: ProgressAtStart = ProgressAtStart()


class Converting(Frozen):
    """The answer of `/convert`."""

    job_id: str
    """A UUID."""
    status: Literal["pending"] = "pending"
    message: Literal["Job submitted successfully"] = "Job submitted successfully"
    stage: Literal["queued"] = "queued"
    progress: Literal[0] = 0


class BuildingJobState(Frozen):
    job_id: str
    status: Status
    message: str
    """What is being done, or why the job failed."""
    stage: str
    """`queued`, then the name of the step that was last under way."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent."""
    warnings: tuple[str, ...]
    """What was degraded or left out on the way. Not in the document."""
    unknown_settings: tuple[str, ...]
    """Names in the configuration that mean nothing here and were ignored. Not in the document."""
    error_code: ErrorCode | None
    """A stable name of why the job failed. Not in the document."""


class MappedElement(Frozen):
    element_id: str
    element_type: str
    """Its class in IFC, for instance `IfcWall`."""
    point_indices: tuple[int, ...]
    """Places of the element's points in the uploaded file, from 0, ascending."""
    point_count: int


class PointMapping(Frozen):
    """`point_mapping.json`."""

    total_points: int
    mapped_points: int
    elements: tuple[MappedElement, ...]


def building_job_state(job: Job) -> BuildingJobState:
    request = job.request
    return BuildingJobState(
        job_id=job.job_id,
        status=_status(job),
        message=_message(job),
        stage="queued" if job.status is JobStatus.QUEUED else job.progress.step,
        progress=percent(job),
        warnings=job.warnings,
        unknown_settings=request.unknown_settings if isinstance(request, BuildingRequest) else (),
        error_code=job.error.code if job.error else None,
    )


def _status(job: Job) -> Status:
    """The document knows four: to its clients a job that was cancelled has ended without a result."""
    match job.status:
        case JobStatus.QUEUED:
            return "pending"
        case JobStatus.PROCESSING:
            return "processing"
        case JobStatus.COMPLETED:
            return "completed"
        case JobStatus.FAILED | JobStatus.CANCELLED:
            return "failed"


def _message(job: Job) -> str:
    match job.status:
        case JobStatus.QUEUED:
            return "Job is queued"
        case JobStatus.PROCESSING:
            return BUILDING.step(job.progress.step).label
        case JobStatus.COMPLETED:
            return BUILDING.done_label
        case JobStatus.FAILED:
            return job.error.message if job.error else BUILDING.failed_label
        case JobStatus.CANCELLED:
            return BUILDING.cancelled_label
