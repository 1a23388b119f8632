"""The six-view API: six pictures of an object and their depth become a textured mesh.

`GET /jobs/{job_id}` shares its path with the scene API: `status` is called for ids of this one.
"""

import asyncio
import zipfile
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import IO

from aiohttp import web
from pydantic import BaseModel, ValidationError

from contracts import keys
from contracts.identifiers import new_dataset_id
from contracts.jobs import Job, JobKind, JobStatus, ResultFile
from contracts.object_files import DEPTHS_FIELD, MODEL_FILES, VIEWS_FIELD
from contracts.object_settings import VIEWS, ModelType, ObjectRequest
from contracts.pipelines import models_of
from runtime.admission import Admission
from runtime.clock import now
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.refusals import Refusal
from runtime.settings import GatewaySettings, RetentionSettings
from services.gateway import uploads
from services.gateway.datasets import forget_upload, inspect_upload, record_dataset
from services.gateway.downloads import send_file
from services.gateway.job_progress import percent
from services.gateway.json_bodies import read_json_object
from services.gateway.limits import FORM_OVERHEAD_BYTES, UploadLimit
from services.gateway.owned_jobs import JobHasEnded, cancel_job, find_job, request_cancel, submit_job, with_its_end
from services.gateway.parts import owner_of, parts_of
from services.gateway.routes import RANGE_HEADERS, Answer, FormBody, FormFile, FormText, JsonBody, Route
from services.gateway.six_views_answers import (
    CELERY_STATES,
    CancelConfirmed,
    CancelRequest,
    CancelRequested,
    ObjectJobState,
    SubmittedViews,
    object_job_state,
    submitted,
)
from services.gateway.six_views_errors import (
    Code,
    ObjectRefusal,
    invalid_field,
    job_expired,
    job_not_found,
    job_refusal,
)
from services.gateway.six_views_form import CAMERAS_FIELD, MODEL_FIELD, TEXT_BYTES, store_views

log = get_logger(__name__)

CANCEL_REQUEST_LASTS = timedelta(hours=1)
"""A request that is not confirmed for so long was never made."""
_TAG = "Six views"
_FORM = FormBody(
    (
        FormFile(
            VIEWS_FIELD, "Views as PNG, in the order front, back, left, right, top, bottom; also `views[]`", VIEWS
        ),
        FormFile(DEPTHS_FIELD, "Depth renders as PNG, in the same order; also `depth_renders[]`", VIEWS),
    ),
    (
        FormText(MODEL_FIELD, f"The model that runs: {', '.join(ModelType)}", ModelType.RECONVIAGEN.value),
        FormText(CAMERAS_FIELD, "JSON: what is known of the cameras and of the depth; see docs/objects.md", ""),
    ),
)


def _json(view: BaseModel) -> web.Response:
    return web.json_response(view.model_dump(mode="json"))


def _upload_limit(settings: GatewaySettings) -> UploadLimit:
    return UploadLimit(settings.views_limit_bytes, 2 * TEXT_BYTES + FORM_OVERHEAD_BYTES)


async def submit(request: web.Request) -> web.Response:
    """POST /jobs: store what was sent, have it looked into, and start a job on it."""
    parts = parts_of(request)
    gateway, owner = parts.settings.gateway, owner_of(request)
    limit = _upload_limit(gateway)
    uploads.refuse_announced_upload(request, limit)
    dataset_id = new_dataset_id()
    key = keys.upload(dataset_id)
    views = await store_views(request, parts.store, key, limit, gateway.view_limit_bytes)
    try:
        inspected = await inspect_upload(parts.store, parts.bus, JobKind.OBJECT, key, gateway.inspect_timeout_s)
        uploads.refuse_if_sender_left(request)
        await record_dataset(parts.store, dataset_id, owner, inspected)
    except BaseException:
        await parts.store.finish_in_background(forget_upload(parts.store, dataset_id))
        raise
    # From here on nothing is removed: a job whose acknowledgement was lost may be using it.
    wanted = ObjectRequest(dataset_id=dataset_id, settings=views.settings)
    job = await submit_job(parts.job_log, parts.view, wanted, owner)
    log.info("job_submitted", job_id=job.job_id, dataset_id=dataset_id, owner=owner, size_bytes=views.size_bytes)
    return _json(submitted(job))


async def status(request: web.Request) -> web.Response:
    """GET /jobs/{job_id}. Whose request it is must be known by now."""
    return _json(object_job_state(await _job(request)))


async def cancel(request: web.Request) -> web.Response:
    """POST /jobs/{job_id}/cancel: a request, and within an hour its confirmation.

    A confirmation of what nobody has asked for, or asked for too long ago, counts as the request: one call alone never
    cancels.
    """
    parts, owner = parts_of(request), owner_of(request)
    wanted = await _cancel_request(request)
    job = await _job(request)
    try:
        if not (wanted.confirm and is_cancel_requested(job, now())):
            _refuse_if_cancelled(job)
            await request_cancel(parts.job_log, parts.view, job.job_id, JobKind.OBJECT, owner)
            return _json(CancelRequested(job_id=job.job_id))
        await cancel_job(parts.job_log, parts.view, job.job_id, JobKind.OBJECT, owner)
    except JobHasEnded as error:
        raise _has_ended(error.job) from None
    # The worker clears away what is its own. What cannot be removed now, housekeeping will.
    await parts.store.finish_in_background(forget_upload(parts.store, job.request.dataset_id))
    log.info("job_cancelled", job_id=job.job_id, owner=owner)
    return _json(CancelConfirmed(job_id=job.job_id))


def is_cancel_requested(job: Job, moment: datetime) -> bool:
    """Whether the owner has asked for a cancellation that can still be confirmed."""
    asked_at = job.cancel_requested_at
    return not job.status.is_final and asked_at is not None and moment - asked_at < CANCEL_REQUEST_LASTS


def _refuse_if_cancelled(job: Job) -> None:
    if job.status is JobStatus.CANCELLED:
        raise _has_ended(job)


def _has_ended(job: Job) -> ObjectRefusal:
    state = CELERY_STATES[job.status]
    return ObjectRefusal(
        Code.JOB_NOT_READY,
        f"Cannot cancel job in state '{state}'",
        {"job_id": job.job_id, "current_state": state},
        # The document has 409 for this code in its table, and 400 for this request.
        status=HTTPStatus.BAD_REQUEST,
    )


async def _cancel_request(request: web.Request) -> CancelRequest:
    if not request.can_read_body:
        return CancelRequest()
    try:
        return CancelRequest.model_validate(await read_json_object(request))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = str(fault["loc"][0])
        what = "it must be true or false" if name == "confirm" else "the body has one field, confirm"
        raise invalid_field(name, f"{name} is not understood: {what}.") from None


async def download(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{job_id}/download."""
    parts = parts_of(request)
    job = await with_its_end(parts.job_log, parts.view, await _job(request))
    result = _result(job, parts.settings.retention)
    await _refuse_if_incomplete(parts.store, job, result)
    try:
        return await send_file(request, parts.store, result, disposition=f"attachment; filename={result.name}")
    except Refusal as refusal:
        if refusal.status is HTTPStatus.NOT_FOUND:
            raise job_expired(job.job_id) from None
        raise


def _result(job: Job, retention: RetentionSettings) -> ResultFile:
    """The job's ZIP. Raises Refusal (409, 410, or as the job failed)."""
    match job.status:
        case JobStatus.QUEUED | JobStatus.PROCESSING:
            progress = percent(job)
            raise ObjectRefusal(
                Code.JOB_NOT_READY,
                f"Job '{job.job_id}' is still processing ({progress}% complete)",
                {"job_id": job.job_id, "progress": progress, "state": CELERY_STATES[job.status]},
            )
        case JobStatus.FAILED:
            raise job_refusal(job)
        case JobStatus.CANCELLED:
            raise job_expired(job.job_id)
        case JobStatus.COMPLETED:
            ended_at = job.finished_at or job.updated_at
            if not job.results or (now() - ended_at).total_seconds() >= retention.object_results_s:
                raise job_expired(job.job_id)
            return job.results[0]


async def _refuse_if_incomplete(store: ObjectStore, job: Job, result: ResultFile) -> None:
    """Raises Refusal: 410 if the ZIP is gone, 500 if a file that the API promises is not in it."""
    try:
        file = await store.ranged_file(result.key)
    except ObjectNotFound:
        raise job_expired(job.job_id) from None
    missing = await asyncio.to_thread(_missing, file, job)
    if missing:
        raise ObjectRefusal(
            Code.INCOMPLETE_RESULTS,
            f"Job '{job.job_id}' has incomplete results",
            {"job_id": job.job_id, "missing": list(missing)},
        )


def _missing(file: IO[bytes], job: Job) -> tuple[str, ...]:
    """Promised files that the ZIP's directory lacks; with their folder where there are several."""
    assert isinstance(job.request, ObjectRequest)
    models = models_of(job.request.settings.model_type)
    try:
        with zipfile.ZipFile(file) as archive:
            found = set(archive.namelist())
    except zipfile.BadZipFile:
        found = set()
    return tuple(
        name if len(models) == 1 else f"{model}/{name}"
        for model in models
        for name in MODEL_FILES
        if f"{model}/{name}" not in found
    )


async def _job(request: web.Request) -> Job:
    job_id = request.match_info["job_id"]
    try:
        recorded = await find_job(parts_of(request).view, job_id, JobKind.OBJECT, owner_of(request))
    except Refusal:
        raise job_not_found(job_id) from None
    return recorded.job


_NO_JOB = Answer(404, "Job not found")

STATUS_ANSWER = Answer(200, "The job's present state", ObjectJobState)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/jobs",
        submit,
        _TAG,
        "Submit six views",
        "Starts a job that makes a textured mesh of six views of an object and their depth renders.",
        (Answer(200, "The job is stored and queued", SubmittedViews), Answer(422, "What was sent cannot be used")),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        body=_FORM,
        upload_limit=_upload_limit,
    ),
    Route(
        "POST",
        "/jobs/{job_id}/cancel",
        cancel,
        _TAG,
        "Cancel a job",
        "Two steps: ask for it, then confirm it with `confirm=true` within an hour. The body may be left out.",
        (
            Answer(200, "Asked for, or confirmed", CancelRequested),
            Answer(400, "The job has ended"),
            _NO_JOB,
            Answer(422, "The body cannot be read"),
        ),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        body=JsonBody(CancelRequest, {"confirm": True}),
    ),
    Route(
        "GET",
        "/jobs/{job_id}/download",
        download,
        _TAG,
        "Download the results",
        "One ZIP with a folder for each model. Takes byte ranges and conditions, so that a broken download can be resumed.",
        (
            Answer(200, "The ZIP", "application/zip", ("ETag", "Accept-Ranges", "Content-Disposition")),
            Answer(206, "The part asked for", "application/zip", ("ETag", "Content-Range", "Content-Disposition")),
            Answer(304, "Not changed since the `ETag` in `If-None-Match`"),
            _NO_JOB,
            Answer(409, "The job is still at work"),
            Answer(410, "The results have expired"),
            Answer(412, "The result is another one than `If-Match` names"),
            Answer(416, "The range lies beyond the end", None, ("Content-Range",)),
            Answer(500, "The job failed, or its results are not complete"),
        ),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        request_headers=RANGE_HEADERS,
    ),
)
