"""Drift of collections of photographs: of a job, as it was delivered, and of an archive that is only looked at."""

from aiohttp import web
from pydantic import ValidationError

from contracts import keys, subjects
from contracts.drift import MEASURING_LIMIT_S, DriftReport, Measured, Measurements, compare, recommendation
from contracts.errors import AlidadeError, DependencyUnavailable
from contracts.identifiers import new_dataset_id
from contracts.jobs import Job, JobKind
from contracts.scene_settings import SceneRequest
from contracts.uploads import InspectRequest
from runtime.baselines import Baselines
from runtime.clock import now
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore, ObjectTooLarge
from services.gateway.datasets import error_of
from services.gateway.limits import UploadLimit
from services.gateway.parts import Parts, owner_of, parts_of
from services.gateway.scene_uploads import DATASET_FIELD, store_photos
from services.gateway.scene_views import DriftReportView, Insights, drift_report_view, outcome_of

log = get_logger(__name__)

REPORT_NAME = "drift_report.json"
"""Of the drift report, among a job's results."""
DEFAULT_DATASET = str(SceneRequest.model_fields[DATASET_FIELD].default)
_REPORT_LIMIT_BYTES = 1 << 20
_GRACE_S = 10.0
"""Ingest keeps its limit itself, and says so."""


async def insights_of(store: ObjectStore, job: Job) -> Insights:
    """Registration and drift of a scene job. Raises DependencyUnavailable."""
    outcome = outcome_of(job)
    report = await _delivered_report(store, job)
    return Insights(
        registration_rate=outcome.registration_rate,
        n_points=outcome.points,
        has_drift=outcome.has_drift,
        drift_severity=outcome.drift_severity,
        drift_report=None if report is None else drift_report_view(report),
        recommendation=recommendation(outcome.drift_severity),
    )


async def _delivered_report(store: ObjectStore, job: Job) -> DriftReport | None:
    for file in job.results:
        if file.name != REPORT_NAME:
            continue
        try:
            return DriftReport.model_validate_json(await store.get_bytes(file.key, _REPORT_LIMIT_BYTES))
        except ObjectNotFound:
            log.info("drift_report_expired", job_id=job.job_id)
        except (ObjectTooLarge, ValidationError) as error:
            log.warning("drift_report_unreadable", job_id=job.job_id, reason=type(error).__name__)
    return None


async def drift_of(request: web.Request, limit: UploadLimit) -> DriftReportView:
    """How the archive in the request's form differs from the sender's collections of the name in it.

    Nothing of the archive is kept, and it does not count for later comparisons. Raises Refusal (400, 408, 413), UserError
    with ingest's reason, DependencyUnavailable.
    """
    parts = parts_of(request)
    key = keys.upload(new_dataset_id())
    photos = await store_photos(request, (DATASET_FIELD,), parts.store, key, limit)
    try:
        measurements = await _measure(parts, key, photos.file_name)
        name = photos.names.get(DATASET_FIELD, DEFAULT_DATASET)
        baseline = await Baselines(parts.store).load(owner_of(request), name)
    finally:
        await parts.store.finish_in_background(parts.store.delete(key))
    report = compare(None if baseline is None else baseline.measurements, measurements, now())
    log.info("drift_checked", dataset_name=name, status=report.status, features=report.n_features_checked)
    return drift_report_view(report)


async def _measure(parts: Parts, key: str, file_name: str) -> Measurements:
    stored = await parts.store.stat(key)
    if stored is None:
        raise DependencyUnavailable(f"The upload {key} is not in the object store.")
    question = InspectRequest(
        kind=JobKind.SCENE, key=key, etag=stored.etag, size_bytes=stored.size_bytes, file_name=file_name
    )
    subject = subjects.measure(JobKind.SCENE)
    answer = await parts.bus.request(
        subject, question.model_dump_json().encode(), timeout_s=MEASURING_LIMIT_S + _GRACE_S
    )
    measured = Measured.model_validate_json(answer)
    if measured.error is not None:
        raise error_of(measured.error)
    if measured.measurements is None:
        raise AlidadeError("Ingest answered with neither measurements nor a reason.")
    return measured.measurements
