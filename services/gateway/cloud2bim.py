"""The Cloud2BIM API: point clouds become IFC buildings. Its streams are in `streams`."""

from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from contracts import keys
from contracts.building_settings import BuildingRequest
from contracts.identifiers import new_dataset_id
from contracts.jobs import Job, JobKind, JobStatus
from runtime.admission import Admission
from runtime.logs import get_logger
from runtime.refusals import Refusal, not_found
from runtime.settings import GatewaySettings
from services.gateway import uploads
from services.gateway.building_requests import CONFIG_FIELD
from services.gateway.cloud2bim_views import (
    Converting,
    PointMapping,
    ServiceInformation,
    Submitted,
    building_job_state,
)
from services.gateway.cloud_uploads import CLOUD_FIELD, UploadedCloud, store_cloud
from services.gateway.datasets import forget_upload, inspect_upload, record_dataset
from services.gateway.downloads import send_file
from services.gateway.limits import FORM_OVERHEAD_BYTES, UploadLimit
from services.gateway.owned_jobs import find_job, submit_job, with_its_end
from services.gateway.parts import owner_of, parts_of
from services.gateway.rate_limits import RateLimit, client_of
from services.gateway.routes import RANGE_HEADERS, Answer, FormBody, FormFile, Handler, Route
from services.gateway.yaml_documents import YAML_LIMIT_BYTES

log = get_logger(__name__)

SUBMISSIONS = web.AppKey("cloud2bim_submissions", RateLimit)

_TAG = "Cloud2BIM"
_ANY_FILE = "application/octet-stream"
_FORM = FormBody(
    (
        FormFile(CLOUD_FIELD, "Point cloud: PTX, XYZ or PLY; also E57, LAS, LAZ and PCD"),
        FormFile(CONFIG_FIELD, "Configuration: YAML of at most 1 MB. An empty file asks for every default"),
    )
)


def _json(view: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(view.model_dump(mode="json"), status=status)


async def information(_: web.Request) -> web.Response:
    return _json(ServiceInformation())


async def submit(request: web.Request) -> web.Response:
    job = await _take_in(request)
    return _json(Submitted(job_id=job.job_id), HTTPStatus.ACCEPTED)


async def convert(request: web.Request) -> web.Response:
    job = await _take_in(request)
    return _json(Converting(job_id=job.job_id), HTTPStatus.ACCEPTED)


def _upload_limit(settings: GatewaySettings) -> UploadLimit:
    return UploadLimit(settings.cloud_limit_bytes, YAML_LIMIT_BYTES + FORM_OVERHEAD_BYTES)


async def _take_in(request: web.Request) -> Job:
    """Store what was sent, have it looked into, and start a job on it."""
    request.app[SUBMISSIONS].count(client_of(request))
    parts = parts_of(request)
    gateway, owner = parts.settings.gateway, owner_of(request)
    limit = _upload_limit(gateway)
    uploads.refuse_announced_upload(request, limit)
    dataset_id = new_dataset_id()
    key = keys.upload(dataset_id)
    cloud = await store_cloud(request, parts.store, key, limit)
    try:
        inspected = await inspect_upload(
            parts.store, parts.bus, JobKind.BUILDING, key, gateway.inspect_timeout_s, file_name=cloud.file_name
        )
        uploads.refuse_if_sender_left(request)
        await record_dataset(parts.store, dataset_id, owner, inspected)
    except BaseException:
        await parts.store.finish_in_background(forget_upload(parts.store, dataset_id))
        raise
    # From here on nothing is removed: a job whose acknowledgement was lost may be using it.
    job = await submit_job(parts.job_log, parts.view, _building_request(dataset_id, cloud), owner)
    log.info("job_submitted", job_id=job.job_id, dataset_id=dataset_id, owner=owner, size_bytes=cloud.size_bytes)
    return job


def _building_request(dataset_id: str, cloud: UploadedCloud) -> BuildingRequest:
    return BuildingRequest(
        dataset_id=dataset_id,
        file_name=cloud.file_name,
        settings=cloud.configuration.settings,
        unknown_settings=cloud.configuration.unknown,
    )


async def status(request: web.Request) -> web.Response:
    """GET /status/{job_id} of a building; `shared_paths` has the route."""
    return _json(building_job_state(await _job(request)))


async def model(request: web.Request) -> web.StreamResponse:
    return await _send(request, "model.ifc")


async def point_mapping(request: web.Request) -> web.StreamResponse:
    return await _send(request, "point_mapping.json")


async def other_result(request: web.Request) -> web.StreamResponse:
    return await _send(request, request.match_info["file"])


async def _send(request: web.Request, name: str) -> web.StreamResponse:
    parts = parts_of(request)
    job = await with_its_end(parts.job_log, parts.view, await _job(request))
    if job.status is not JobStatus.COMPLETED:
        raise _no_result_yet(job)
    for file in job.results:
        if file.name == name:
            return await send_file(request, parts.store, file)
    names = ", ".join(file.name for file in job.results)
    raise not_found(f"The job has no such result. It has delivered: {names}.")


def _no_result_yet(job: Job) -> Refusal:
    """The document has one status for what is not there, 404, and none for what is not there yet."""
    state = building_job_state(job)
    if job.status.is_final:
        return not_found(f"The job has no results, for it has failed: {state.message}")
    return not_found(f"The job has no results yet: its status is {state.status}. Poll /status/{job.job_id} first.")


async def _job(request: web.Request) -> Job:
    job_id = request.match_info["job_id"]
    recorded = await find_job(parts_of(request).view, job_id, JobKind.BUILDING, owner_of(request))
    return recorded.job


_SUBMISSION_REFUSED = (
    Answer(400, "The form is not complete, or its file is no point cloud"),
    Answer(408, "The sender fell silent"),
    Answer(413, "A file is too large"),
    Answer(422, "A field is missing, or the configuration cannot be used"),
    Answer(429, "Too many requests", None, ("Retry-After",)),
)


def _submission(path: str, handler: Handler, description: str, answer: type[BaseModel]) -> Route:
    return Route(
        "POST",
        path,
        handler,
        _TAG,
        "Submit a point cloud",
        description,
        (Answer(202, "The job is stored and queued", answer), *_SUBMISSION_REFUSED),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        body=_FORM,
        upload_limit=_upload_limit,
    )


def _result(
    path: str, handler: Handler, summary: str, description: str, content: type[BaseModel] | str = _ANY_FILE
) -> Route:
    return Route(
        "GET",
        path,
        handler,
        _TAG,
        summary,
        f"{description} Takes byte ranges and conditions, so that a broken download can be resumed.",
        (
            Answer(200, "The file", content, ("ETag", "Accept-Ranges", "Content-Disposition")),
            Answer(206, "The part asked for", _ANY_FILE, ("ETag", "Content-Range", "Content-Disposition")),
            Answer(304, "Not changed since the `ETag` in `If-None-Match`"),
            Answer(404, "Job or result not found, not completed yet, or expired"),
            Answer(412, "The result is another one than `If-Match` names"),
            Answer(416, "The range lies beyond the end", None, ("Content-Range",)),
        ),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        request_headers=RANGE_HEADERS,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/",
        information,
        _TAG,
        "Service information",
        "What this service is, and where its endpoints are.",
        (Answer(200, "The service", ServiceInformation),),
        admission=Admission.EVERYBODY,
    ),
    _submission(
        "/submit",
        submit,
        "Starts a job that makes an IFC model of a point cloud; the answer tells progress.",
        Submitted,
    ),
    _submission("/convert", convert, "The same as `/submit`; the answer tells progress as a number only.", Converting),
    _result("/results/{job_id}/model.ifc", model, "IFC model", "The building as IFC4.", "application/x-step"),
    _result(
        "/results/{job_id}/point_mapping.json",
        point_mapping,
        "Point mapping",
        "Which points of the uploaded file belong to which element of the model.",
        PointMapping,
    ),
    _result(
        "/results/{job_id}/{file}",
        other_result,
        "Other results",
        "`model.glb`, `report.json`, and for each storey, counted from 0, `plan_<storey>.png` and `plan_<storey>.svg`.",
    ),
)
