"""The job: one frozen record that every event carries whole."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from contracts.building_settings import BuildingRequest
from contracts.capture_settings import CaptureRequest
from contracts.errors import Details, ErrorCode
from contracts.model import Message
from contracts.object_settings import ObjectRequest
from contracts.outcomes import Outcome
from contracts.scene_settings import SceneRequest


class JobKind(StrEnum):
    """What is made: each kind belongs to one of the four APIs."""

    CAPTURE = "capture"
    BUILDING = "building"
    OBJECT = "object"
    SCENE = "scene"


class JobStatus(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """A final status never changes again."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Failure(Message):
    """Why a job failed."""

    code: ErrorCode
    message: str
    """A sentence for the job's owner."""
    field: str | None = None
    details: Details = Field(default_factory=dict)
    """Figures that belong to the reason, by the names of the job's API."""


class Progress(Message):
    """Where a job is. `percent` never goes back within one job."""

    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    step: str = "initializing"
    """A step's name in the job's pipeline."""
    operation: str | None = None
    processed_items: int | None = None
    total_items: int | None = None
    items_per_s: float | None = None
    remaining_s: float | None = None


class Performance(Message):
    """What the worker's child process uses at this moment."""

    cpu_percent: float
    memory_percent: float
    memory_used_mb: float


class LogLine(Message):
    """A line of a job's log, as its owner reads it."""

    time: AwareDatetime
    message: str
    step: str
    """Label of the step in the job's API, for instance `SfM`."""
    level: Literal["info", "warning", "error"] = "info"


class ResultFile(Message):
    """A file that a completed job delivers."""

    name: str
    """Name offered to the person who downloads it."""
    key: str
    content_type: str
    size_bytes: int
    etag: str


class Claim(Message):
    """The worker that may change the job. A newer attempt supersedes an older one."""

    service: str
    worker: str
    attempt: Annotated[int, Field(ge=1)]


Request = Annotated[CaptureRequest | BuildingRequest | ObjectRequest | SceneRequest, Field(discriminator="kind")]
"""What a job was asked to do. Kinds are added without a new version: a reader leaves alone the kinds it does not know."""


class Delivery(Message):
    """One delivery of one message of the stream WORK."""

    sequence: Annotated[int, Field(ge=1)]
    """The message's stream sequence."""
    number: Annotated[int, Field(ge=1)]
    """How often the message had been delivered, this time included."""


class Job(Message):
    """Everything about a job. The last event of a job carries its present state."""

    version: Literal[1] = 1
    job_id: str
    kind: JobKind
    owner: str
    """Name of the credential's owner. To everybody else the job does not exist."""
    status: JobStatus = JobStatus.QUEUED
    stage: str
    """The service that has the work, or had it last."""
    progress: Progress = Progress()
    performance: Performance | None = None
    request: Request
    warnings: tuple[str, ...] = ()
    error: Failure | None = None
    results: tuple[ResultFile, ...] = ()
    outcome: Outcome | None = None
    claim: Claim | None = None
    delivery: Delivery | None = None
    """What the last claim was made with. Work that was delivered earlier has been overtaken."""
    attempts: int = 0
    """How often a worker took this job up, over all stages."""
    failed_attempts: int = 0
    """How many of them, in the present stage, ended without handing the job back or on."""
    cancel_requested_at: AwareDatetime | None = None
    """When a cancellation was asked for that has yet to be confirmed, in APIs that take two steps."""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None

    def changed(self, at: datetime, **changes: object) -> "Job":
        """A copy with `changes`, stamped `at`."""
        return self.model_copy(update={**changes, "updated_at": at})
