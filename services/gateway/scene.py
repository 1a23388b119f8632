"""The scene API: collections of photographs become point clouds. The state of a job is in `shared_paths`."""

from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from contracts import keys
from contracts.identifiers import new_dataset_id
from contracts.jobs import Job, JobKind, JobStatus, ResultFile
from contracts.scene_settings import SceneRequest
from runtime.admission import Admission
from runtime.logs import get_logger
from runtime.refusals import Refusal, not_found
from runtime.settings import GatewaySettings
from services.gateway import uploads
from services.gateway.datasets import forget_upload, inspect_upload, record_dataset
from services.gateway.downloads import send_file
from services.gateway.limits import UploadLimit
from services.gateway.owned_jobs import find_job, submit_job, with_its_end
from services.gateway.parts import owner_of, parts_of
from services.gateway.routes import RANGE_HEADERS, Answer, FormBody, FormFile, FormText, Handler, Route
from services.gateway.scene_downloads import send_archive
from services.gateway.scene_drift import DEFAULT_DATASET, drift_of, insights_of
from services.gateway.scene_uploads import DATASET_FIELD, FILE_FIELD, SCENE_FIELD, store_photos
from services.gateway.scene_views import (
    Clusters,
    DriftReportView,
    Insights,
    PipelineStarted,
    cluster_statistics,
    is_point_cloud,
    scene_job_state,
    stage_of,
)

log = get_logger(__name__)

CSV_NAME = "submission.csv"
"""Of the poses, among a job's results."""

_TAG = "Scenes"
_ARCHIVE = FormFile(FILE_FIELD, "ZIP archive of pictures: .jpg, .jpeg, .png, .tif, .tiff, .bmp, .webp")
_DATASET = FormText(
    DATASET_FIELD, "Logical name of the data set; collections of one name are compared", DEFAULT_DATASET
)
_SCENE = FormText(SCENE_FIELD, "Logical name of the scene", str(SceneRequest.model_fields[SCENE_FIELD].default))


def _json(view: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(view.model_dump(mode="json"), status=status)


def _upload_limit(settings: GatewaySettings) -> UploadLimit:
    return UploadLimit(settings.photos_limit_bytes)


async def upload(request: web.Request) -> web.Response:
    """POST /upload."""
    parts = parts_of(request)
    gateway, owner = parts.settings.gateway, owner_of(request)
    limit = _upload_limit(gateway)
    uploads.refuse_announced_upload(request, limit)
    dataset_id = new_dataset_id()
    key = keys.upload(dataset_id)
    photos = await store_photos(request, (DATASET_FIELD, SCENE_FIELD), parts.store, key, limit)
    try:
        inspected = await inspect_upload(
            parts.store, parts.bus, JobKind.SCENE, key, gateway.inspect_timeout_s, file_name=photos.file_name
        )
        uploads.refuse_if_sender_left(request)
        await record_dataset(parts.store, dataset_id, owner, inspected)
    except BaseException:
        await parts.store.finish_in_background(forget_upload(parts.store, dataset_id))
        raise
    # From here on nothing is removed: a job whose acknowledgement was lost may be using it.
    asked = SceneRequest.model_validate({"dataset_id": dataset_id, **photos.names})
    job = await submit_job(parts.job_log, parts.view, asked, owner)
    log.info("job_submitted", job_id=job.job_id, dataset_id=dataset_id, owner=owner, size_bytes=photos.size_bytes)
    return _json(PipelineStarted(job_id=job.job_id), HTTPStatus.ACCEPTED)


async def status(request: web.Request) -> web.Response:
    """GET /status/{job_id} and GET /jobs/{job_id} of a scene; `shared_paths` has the routes."""
    return _json(scene_job_state(await _job(request)))


async def clusters(request: web.Request) -> web.Response:
    """GET /clusters/{job_id}."""
    return _json(cluster_statistics(await _job(request)))


async def insights(request: web.Request) -> web.Response:
    """GET /jobs/{job_id}/insights."""
    return _json(await insights_of(parts_of(request).store, await _job(request)))


async def download_all(request: web.Request) -> web.StreamResponse:
    """GET /download/jobs/{job_id}."""
    job = await _completed_job(request)
    files = [file for file in job.results if is_point_cloud(file.name)]
    if not files:
        raise not_found("The job has no point cloud: its pictures gave no 3D points.")
    return await send_archive(request, parts_of(request).store, files, f"scene_{job.job_id}.zip")


async def download_csv(request: web.Request) -> web.StreamResponse:
    """GET /download/jobs/{job_id}/csv."""
    return await _send(request, CSV_NAME, "text/csv")


async def download_file(request: web.Request) -> web.StreamResponse:
    """GET /download/jobs/{job_id}/{filename}."""
    return await _send(request, request.match_info["filename"], "application/octet-stream")


async def _send(request: web.Request, name: str, content_type: str) -> web.StreamResponse:
    job = await _completed_job(request)
    delivered = {file.name: file for file in job.results}
    if name not in delivered:
        raise not_found(f"The job has delivered no such file. It has delivered: {', '.join(delivered) or 'nothing'}.")
    file: ResultFile = delivered[name].model_copy(update={"content_type": content_type})
    return await send_file(request, parts_of(request).store, file)


async def _completed_job(request: web.Request) -> Job:
    """Raises Refusal: 404 without such a job, 409 if it has not completed."""
    parts = parts_of(request)
    job = await with_its_end(parts.job_log, parts.view, await _job(request))
    match job.status:
        case JobStatus.COMPLETED:
            return job
        case JobStatus.FAILED | JobStatus.CANCELLED:
            why = f" {job.error.message}" if job.error else ""
            raise Refusal(HTTPStatus.CONFLICT, f"The job has no results, for it has ended as {stage_of(job)}.{why}")
        case _:
            raise Refusal(HTTPStatus.CONFLICT, f"The job is not complete yet: it is at the stage {stage_of(job)}.")


async def _job(request: web.Request) -> Job:
    job_id = request.match_info["job_id"]
    recorded = await find_job(parts_of(request).view, job_id, JobKind.SCENE, owner_of(request))
    return recorded.job


async def drift(request: web.Request) -> web.Response:
    """POST /drift."""
    limit = _upload_limit(parts_of(request).settings.gateway)
    uploads.refuse_announced_upload(request, limit)
    return _json(await drift_of(request, limit))


_NO_JOB = Answer(404, "Job not found")
_UPLOAD_REFUSED = (
    Answer(400, "No archive of pictures, or a name that cannot be used"),
    Answer(408, "The sender fell silent"),
    Answer(413, "The archive is too large"),
)


def _download(path: str, handler: Handler, summary: str, description: str, content: str) -> Route:
    return Route(
        "GET",
        path,
        handler,
        _TAG,
        summary,
        f"{description} Takes byte ranges and conditions, so that a broken download can be resumed.",
        (
            Answer(200, "The file", content, ("ETag", "Accept-Ranges", "Content-Disposition")),
            Answer(206, "The part asked for", content, ("ETag", "Content-Range", "Content-Disposition")),
            Answer(304, "Not changed since the `ETag` in `If-None-Match`"),
            Answer(404, "Job or file not found, or the file has expired"),
            Answer(409, "The job is not complete"),
            Answer(412, "The file is another one than `If-Match` names"),
            Answer(416, "The range lies beyond the end", None, ("Content-Range",)),
        ),
        admission=Admission.KEY,
        request_headers=RANGE_HEADERS,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/upload",
        upload,
        _TAG,
        "Upload photographs",
        "A ZIP archive of pictures, also in folders, starts a reconstruction job.",
        (Answer(202, "The job is stored and queued", PipelineStarted), *_UPLOAD_REFUSED),
        admission=Admission.KEY,
        body=FormBody((_ARCHIVE,), (_DATASET, _SCENE)),
        upload_limit=_upload_limit,
    ),
    Route(
        "GET",
        "/download/jobs/{job_id}",
        download_all,
        _TAG,
        "Point clouds",
        "Every PLY file of a completed job in one ZIP archive, written while it is sent.",
        (
            Answer(200, "The archive", "application/zip", ("Content-Disposition",)),
            Answer(404, "Job not found, or it has no point cloud"),
            Answer(409, "The job is not complete"),
        ),
        admission=Admission.KEY,
    ),
    _download(
        "/download/jobs/{job_id}/csv",
        download_csv,
        "Poses",
        "The pose of every picture as CSV: dataset, scene, image, rotation_matrix, translation_vector.",
        "text/csv",
    ),
    _download(
        "/download/jobs/{job_id}/{filename}",
        download_file,
        "One file",
        "A file that the job has delivered, by its name; `/clusters/{job_id}` has those of the point clouds.",
        "application/octet-stream",
    ),
    Route(
        "GET",
        "/clusters/{job_id}",
        clusters,
        _TAG,
        "Clusters",
        "The models that the pictures fell into, largest first.",
        (Answer(200, "What is known by now", Clusters), _NO_JOB),
        admission=Admission.KEY,
    ),
    Route(
        "GET",
        "/jobs/{job_id}/insights",
        insights,
        _TAG,
        "Insights",
        "Registration and drift of a job in one answer.",
        (Answer(200, "What is known by now", Insights), _NO_JOB),
        admission=Admission.KEY,
    ),
    Route(
        "POST",
        "/drift",
        drift,
        _TAG,
        "Check for drift",
        "Compares a ZIP archive of pictures with those accepted before under the same name. Nothing of it is kept.",
        (Answer(200, "The report", DriftReportView), *_UPLOAD_REFUSED),
        admission=Admission.KEY,
        body=FormBody((_ARCHIVE,), (_DATASET,)),
        upload_limit=_upload_limit,
    ),
)
