"""The ReMap API: eight endpoints under `/api/v1`."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from contracts import keys
from contracts.identifiers import new_dataset_id
from contracts.jobs import JobKind, JobStatus
from runtime.admission import Admission
from runtime.clock import now
from runtime.logs import get_logger
from runtime.refusals import Refusal, not_found
from runtime.settings import GatewaySettings
from services.gateway import uploads
from services.gateway.capture_requests import ProcessRequest, capture_request
from services.gateway.datasets import find_dataset, forget_upload, inspect_upload, record_dataset
from services.gateway.downloads import send_file
from services.gateway.json_bodies import read_json_object
from services.gateway.limits import UploadLimit
from services.gateway.owned_jobs import LogReader, cancel_job, find_job, submit_job, with_its_end
from services.gateway.parts import owner_of, parts_of
from services.gateway.remap_views import (
    DatasetUploaded,
    Health,
    JobCancelled,
    JobInDetail,
    JobList,
    JobLogs,
    ProcessingStarted,
    job_in_detail,
    job_in_list,
    job_logs,
)
from services.gateway.routes import RANGE_HEADERS, Answer, FormBody, FormFile, JsonBody, Route

log = get_logger(__name__)

FORM_FIELD = "file"
LOG_READER = web.AppKey("log_reader", LogReader)

_TAG = "ReMap"
_NO_JOB = Answer(404, "Job not found")


def _json(
    view: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(view.model_dump(mode="json"), status=status, headers=headers)


async def health(_: web.Request) -> web.Response:
    return _json(Health(timestamp=now()), headers={"Cache-Control": "no-store"})


def _upload_limit(settings: GatewaySettings) -> UploadLimit:
    return UploadLimit(settings.upload_limit_bytes)


async def upload(request: web.Request) -> web.Response:
    parts = parts_of(request)
    gateway = parts.settings.gateway
    limit = _upload_limit(gateway)
    uploads.refuse_announced_upload(request, limit)
    dataset_id = new_dataset_id()
    key = keys.upload(dataset_id)
    await uploads.store_form_file(request, FORM_FIELD, parts.store, key, limit)
    try:
        inspected = await inspect_upload(parts.store, parts.bus, JobKind.CAPTURE, key, gateway.inspect_timeout_s)
        uploads.refuse_if_sender_left(request)
        dataset = await record_dataset(parts.store, dataset_id, owner_of(request), inspected)
    except BaseException:
        await parts.store.finish_in_background(forget_upload(parts.store, dataset_id))
        raise
    log.info("dataset_created", dataset_id=dataset_id, size_bytes=dataset.size_bytes, files=len(dataset.files))
    return _json(DatasetUploaded(dataset_id=dataset_id, files=dataset.files), HTTPStatus.CREATED)


async def process(request: web.Request) -> web.Response:
    parts = parts_of(request)
    asked = capture_request(await read_json_object(request))
    owner = owner_of(request)
    await find_dataset(parts.store, asked.dataset_id, JobKind.CAPTURE, owner)
    job = await submit_job(parts.job_log, parts.view, asked, owner)
    log.info("job_submitted", job_id=job.job_id, dataset_id=asked.dataset_id, owner=owner)
    return _json(ProcessingStarted(job_id=job.job_id, status=job.status), HTTPStatus.ACCEPTED)


async def jobs(request: web.Request) -> web.Response:
    mine = parts_of(request).view.jobs(JobKind.CAPTURE, owner_of(request))
    return _json(JobList(jobs=tuple(job_in_list(recorded.job) for recorded in mine)))


async def status(request: web.Request) -> web.Response:
    recorded = await find_job(parts_of(request).view, _job_id(request), JobKind.CAPTURE, owner_of(request))
    return _json(job_in_detail(recorded.job))


async def logs(request: web.Request) -> web.Response:
    recorded = await find_job(parts_of(request).view, _job_id(request), JobKind.CAPTURE, owner_of(request))
    lines = await request.app[LOG_READER].lines(recorded.job.job_id)
    return _json(job_logs(recorded.job.job_id, lines))


async def result(request: web.Request) -> web.StreamResponse:
    parts = parts_of(request)
    recorded = await find_job(parts.view, _job_id(request), JobKind.CAPTURE, owner_of(request))
    job = await with_its_end(parts.job_log, parts.view, recorded.job)
    if job.status is not JobStatus.COMPLETED:
        hint = f"it has {job.status}" if job.status is JobStatus.FAILED else f"its status is {job.status}"
        raise Refusal(HTTPStatus.CONFLICT, f"The job is not completed yet: {hint}.")
    if not job.results:
        raise not_found("The job has delivered no result.")
    named = job.results[0].model_copy(update={"name": f"remap_result_{job.job_id}.zip"})
    return await send_file(request, parts.store, named)


async def cancel(request: web.Request) -> web.Response:
    parts = parts_of(request)
    job = await cancel_job(parts.job_log, parts.view, _job_id(request), JobKind.CAPTURE, owner_of(request))
    log.info("job_cancelled", job_id=job.job_id)
    return _json(JobCancelled(job_id=job.job_id))


def _job_id(request: web.Request) -> str:
    return request.match_info["job_id"]


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/health",
        health,
        _TAG,
        "Health check",
        "Whether the server is running.",
        (Answer(200, "The server is running", Health),),
        admission=Admission.EVERYBODY,
    ),
    Route(
        "POST",
        "/api/v1/upload",
        upload,
        _TAG,
        "Upload a data set",
        "A ReScan or Stray Scanner capture as a ZIP archive: `rgb.mov` or `rgb.mp4` (or a folder `rgb/` of images), "
        "`odometry.csv`, `camera_matrix.csv`; optionally `depth/*.png` and `confidence/*.png`.",
        (
            Answer(201, "The capture is stored and can be processed", DatasetUploaded),
            Answer(400, "No file attached, invalid ZIP, or missing required ReScan files"),
            Answer(408, "The sender fell silent"),
            Answer(413, "File too large"),
        ),
        body=FormBody((FormFile(FORM_FIELD, "ZIP archive that holds the capture"),)),
        upload_limit=_upload_limit,
    ),
    Route(
        "POST",
        "/api/v1/process",
        process,
        _TAG,
        "Start processing",
        "Starts the pipeline on an uploaded data set. Every setting is optional; a setting that does not exist is "
        "refused with a list of those that do.",
        (
            Answer(202, "The job is stored and queued", ProcessingStarted),
            Answer(400, "Missing `dataset_id`, invalid JSON, or an unsupported setting or colour space"),
            Answer(404, "Data set not found (upload first)"),
            Answer(408, "The sender fell silent"),
            Answer(413, "The request is too large"),
        ),
        body=JsonBody(
            ProcessRequest,
            {
                "dataset_id": "a1b2c3d4e5f6",
                "settings": {"fps": 4.0, "feature_type": "superpoint_aachen", "stray_approach": "full_sfm"},
            },
        ),
    ),
    Route(
        "GET",
        "/api/v1/jobs",
        jobs,
        _TAG,
        "List jobs",
        "Every job of the key's owner, most recent first.",
        (Answer(200, "The jobs", JobList),),
    ),
    Route(
        "GET",
        "/api/v1/jobs/{job_id}/status",
        status,
        _TAG,
        "Job status",
        "Status and progress of a job.",
        (Answer(200, "The job's present state", JobInDetail), _NO_JOB),
    ),
    Route(
        "GET",
        "/api/v1/jobs/{job_id}/logs",
        logs,
        _TAG,
        "Job logs",
        "What the job has said so far.",
        (Answer(200, "The lines, oldest first", JobLogs), _NO_JOB),
    ),
    Route(
        "GET",
        "/api/v1/jobs/{job_id}/result",
        result,
        _TAG,
        "Job result",
        "The COLMAP model of a completed job as a ZIP archive. Takes byte ranges and conditions, so that a broken "
        "download can be resumed.",
        (
            Answer(200, "The archive", "application/zip", ("ETag", "Accept-Ranges", "Content-Disposition")),
            Answer(206, "The part asked for", "application/zip", ("ETag", "Content-Range", "Content-Disposition")),
            Answer(304, "Not changed since the `ETag` in `If-None-Match`"),
            Answer(404, "Job not found, or its result has expired"),
            Answer(409, "Job not completed yet (poll the status first)"),
            Answer(412, "The result is another one than `If-Match` names"),
            Answer(416, "The range lies beyond the end", None, ("Content-Range",)),
        ),
        request_headers=RANGE_HEADERS,
    ),
    Route(
        "POST",
        "/api/v1/jobs/{job_id}/cancel",
        cancel,
        _TAG,
        "Cancel a job",
        "Stops a queued or running job. A job that is cancelled already stays so.",
        (Answer(200, "The job is cancelled", JobCancelled), _NO_JOB, Answer(409, "Already completed or failed")),
    ),
)
