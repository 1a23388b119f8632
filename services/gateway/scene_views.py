"""Scene jobs as their document shows them."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from contracts.drift import DriftAlert, DriftCheck, DriftReport, Severity, drift_severity, has_drift
from contracts.errors import ErrorCode
from contracts.jobs import Job, JobStatus
from contracts.model import Frozen
from contracts.outcomes import SceneOutcome
from services.gateway.job_progress import percent

Stage = Literal["queued", "extracting", "matching", "triangulating", "decimating", "success", "failed", "cancelled"]

PROGRESS: dict[Stage, int] = {
    "queued": 0,
    "extracting": 10,
    "matching": 30,
    "triangulating": 70,
    "decimating": 85,
    "success": 100,
    "failed": 0,
    "cancelled": 0,
}
"""The document's table. It has no `cancelled`, which ends a job as `failed` does."""

_STAGE_OF_STEP: dict[str, Stage] = {
    "initializing": "queued",
    "extracting": "extracting",
    "features": "matching",
    "pairs": "matching",
    "matching": "matching",
    "mapping": "triangulating",
    "clouds": "decimating",
    "packaging": "decimating",
}
_MESSAGES = {
    "initializing": "Preparing the job …",
    "extracting": "Unpacking the archive and checking its pictures …",
    "features": "Finding features in the pictures …",
    "pairs": "Choosing the pairs of pictures to match …",
    "matching": "Matching features and verifying the pairs …",
    "mapping": "Reconstructing cameras and points …",
    "clouds": "Making and thinning the point clouds …",
    "packaging": "Writing the results …",
}
_NOTHING_YET = SceneOutcome(images=0)


class PipelineStarted(Frozen):
    job_id: str
    """A UUID."""
    message: Literal["Pipeline started."] = "Pipeline started."


class SceneJobState(Frozen):
    job_id: str
    stage: Stage
    status: Stage
    """The same as `stage`."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent, as the document's table gives it for the stage."""
    message: str
    """What is being done, or why the job ended without a result."""
    created_at: float
    """Seconds since 1970, as all times of this API."""
    started_at: float | None
    """When a worker took the job up first."""
    finished_at: float | None
    n_images: int
    """Pictures that could be read, duplicates counted once; 0 until they are counted."""
    n_points: int
    """Of all models together, before decimation."""
    registration_rate: float | None
    """Share of the pictures that are in a model; null until models are made."""
    error: str | None
    """Why the job failed, or null."""
    download_url: str | None
    """Where the point clouds are; null until there are any."""
    has_drift: bool
    drift_severity: Severity
    overall_progress: Annotated[int, Field(ge=0, le=100)]
    """Percent, moving within the stages too. Not in the document."""
    warnings: tuple[str, ...]
    """What was degraded or left out on the way. Not in the document."""
    error_code: ErrorCode | None
    """A stable name of why the job failed. Not in the document."""


class ClusterStatistics(Frozen):
    id: int
    name: str
    """For instance `cluster0_model0`; the largest comes first."""
    num_points3D: int  # noqa: N815 - the document's own name
    """Of the sparse model, before decimation."""
    filename: str
    """Of its PLY at `/download/jobs/{job_id}/{filename}`."""
    num_images: int
    """Not in the document."""


class Clusters(Frozen):
    clusters: tuple[ClusterStatistics, ...]
    """Empty until models are made."""


class DriftReportView(Frozen):
    """What differs from the collections that came before under the same name."""

    drift_detected: bool
    severity: Severity
    checks: dict[str, DriftCheck]
    """By feature, whether it has drifted or not. Empty when there is nothing to compare with yet."""
    timestamp: AwareDatetime
    n_scenes_checked: int
    n_features_checked: int
    """0 when there is nothing to compare with yet."""
    alerts: tuple[DriftAlert, ...]
    """The features that have drifted."""
    status: Literal["ok", "warning", "critical"]
    message: str
    """In a sentence, for people."""


class Insights(Frozen):
    registration_rate: float | None
    n_points: int
    has_drift: bool
    drift_severity: Severity
    drift_report: DriftReportView | None
    """Null until the job has delivered it, and once it has expired."""
    recommendation: str


def stage_of(job: Job) -> Stage:
    """Where a scene job is, in the document's words."""
    match job.status:
        case JobStatus.QUEUED:
            return "queued"
        case JobStatus.PROCESSING:
            return _STAGE_OF_STEP[job.progress.step]
        case JobStatus.COMPLETED:
            return "success"
        case JobStatus.FAILED:
            return "failed"
        case JobStatus.CANCELLED:
            return "cancelled"


def outcome_of(job: Job) -> SceneOutcome:
    """The figures of a scene job, as far as they are known by now."""
    return job.outcome if isinstance(job.outcome, SceneOutcome) else _NOTHING_YET


def scene_job_state(job: Job) -> SceneJobState:
    outcome = outcome_of(job)
    stage = stage_of(job)
    has_clouds = job.status is JobStatus.COMPLETED and any(is_point_cloud(file.name) for file in job.results)
    return SceneJobState(
        job_id=job.job_id,
        stage=stage,
        status=stage,
        progress=PROGRESS[stage],
        message=_message(job),
        created_at=job.created_at.timestamp(),
        started_at=job.started_at.timestamp() if job.started_at else None,
        finished_at=job.finished_at.timestamp() if job.finished_at else None,
        n_images=outcome.images,
        n_points=outcome.points,
        registration_rate=outcome.registration_rate,
        error=job.error.message if job.error else None,
        download_url=f"/download/jobs/{job.job_id}" if has_clouds else None,
        has_drift=outcome.has_drift,
        drift_severity=outcome.drift_severity,
        overall_progress=percent(job),
        warnings=job.warnings,
        error_code=job.error.code if job.error else None,
    )


def _message(job: Job) -> str:
    match job.status:
        case JobStatus.QUEUED:
            return "Waiting for a worker …"
        case JobStatus.PROCESSING:
            return _MESSAGES[job.progress.step]
        case JobStatus.COMPLETED:
            return "Reconstruction complete."
        case JobStatus.FAILED:
            return job.error.message if job.error else "The reconstruction failed."
        case JobStatus.CANCELLED:
            return "The job was cancelled."


def is_point_cloud(name: str) -> bool:
    """Whether a result of this name is one of the point clouds."""
    return name.endswith(".ply")


def drift_report_view(report: DriftReport) -> DriftReportView:
    return DriftReportView(
        drift_detected=has_drift(report),
        severity=drift_severity(report),
        checks=report.checks,
        timestamp=report.timestamp,
        n_scenes_checked=report.n_scenes_checked,
        n_features_checked=report.n_features_checked,
        alerts=report.alerts,
        status=report.status,
        message=report.message,
    )


def cluster_statistics(job: Job) -> Clusters:
    found = (
        ClusterStatistics(
            id=cluster.cluster_id,
            name=cluster.name,
            num_points3D=cluster.points,
            filename=cluster.file_name,
            num_images=cluster.images,
        )
        for cluster in outcome_of(job).clusters
    )
    return Clusters(clusters=tuple(found))
