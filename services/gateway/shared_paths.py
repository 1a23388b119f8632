"""Paths that several APIs have. A job's state is answered as the API of the job's kind has it; health is one answer for all.

An id that is nobody's, or somebody else's, is answered by the API that gives out ids of its form. So whoever asks learns
nothing of jobs that are not theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, RootModel

from contracts.devices import Gpu, WorkerDevice
from contracts.errors import AlidadeError
from contracts.identifiers import BASE36_8, UUID
from contracts.jobs import Job, JobKind
from contracts.model import Frozen
from runtime.access import Principal
from runtime.admission import Admission, admit
from runtime.clock import now
from runtime.refusals import Refusal
from services.gateway import cloud2bim, scene, six_views
from services.gateway.cloud2bim_views import BuildingJobState
from services.gateway.dialects import CLOUD2BIM, DEFAULT, SIX_VIEWS, Dialect
from services.gateway.parts import PRINCIPAL, parts_of
from services.gateway.routes import Answer, Handler, Route
from services.gateway.scene_metrics import MODEL_SERVICE
from services.gateway.scene_views import SceneJobState
from services.gateway.six_views_answers import ObjectJobState
from services.gateway.worker_devices import DEVICES

_GPU_SERVICE = "mesh"
_TAG = "Health"


@dataclass(frozen=True)
class _Api:
    """How an API answers for the state of a job."""

    admission: Admission
    state: Handler
    dialect: Dialect


_APIS: Mapping[JobKind, _Api] = {
    JobKind.BUILDING: _Api(Admission.KEY_UNLESS_ANONYMOUS, cloud2bim.status, CLOUD2BIM),
    JobKind.OBJECT: _Api(Admission.KEY_UNLESS_ANONYMOUS, six_views.status, SIX_VIEWS),
    JobKind.SCENE: _Api(Admission.KEY, scene.status, DEFAULT),
}
"""Captures have a path of their own."""


class JobState(RootModel[BuildingJobState | ObjectJobState | SceneJobState]):
    """As the API of the job's kind has it."""


class RootHealth(Frozen):
    """What the documents of scenes and of six views ask for."""

    status: Literal["healthy"] = "healthy"
    gpu: Gpu | None
    """Of a worker for six views; null where it has none, or where no such worker runs."""
    version: str
    timestamp: float
    """Seconds since 1970."""


class Unhealthy(Frozen):
    status: Literal["unhealthy"] = "unhealthy"
    error: Literal["GPU not initialized"] = "GPU not initialized"


class Ready(Frozen):
    status: Literal["ready"] = "ready"
    device: str
    """What a worker for scenes computes on, for instance `CPU (8 cores)`."""


async def health(request: web.Request) -> web.Response:
    """GET /health. A worker that is absent makes nothing unhealthy: its jobs wait for it."""
    device = await request.app[DEVICES].of(_GPU_SERVICE)
    if device is not None and device.gpu_required and device.gpu is None:
        return _json(Unhealthy(), HTTPStatus.SERVICE_UNAVAILABLE)
    gpu = None if device is None else device.gpu
    return _json(RootHealth(gpu=gpu, version=version("alidade"), timestamp=now().timestamp()))


async def ready(request: web.Request) -> web.Response:
    """GET /ready. Raises Refusal (503)."""
    return _json(Ready(device=_of_ready(await request.app[DEVICES].of(MODEL_SERVICE)).device))


def _of_ready(device: WorkerDevice | None) -> WorkerDevice:
    if device is None:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "No worker for scenes answers. Jobs are taken, and wait for one.")
    if not device.ready:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"The worker for scenes ({device.device}) is not ready: it loads its models, or misses a GPU that it must have.",
        )
    return device


def _json(view: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(view.model_dump(mode="json"), status=status, headers={"Cache-Control": "no-store"})


async def status(request: web.Request) -> web.StreamResponse:
    """GET /status/{job_id}."""
    job_id = request.match_info["job_id"]
    return await _state(request, JobKind.OBJECT if BASE36_8.fullmatch(job_id) else JobKind.BUILDING)


async def job(request: web.Request) -> web.StreamResponse:
    """GET /jobs/{job_id}."""
    job_id = request.match_info["job_id"]
    return await _state(request, JobKind.SCENE if UUID.fullmatch(job_id) else JobKind.OBJECT)


async def _state(request: web.Request, stranger: JobKind) -> web.StreamResponse:
    """`stranger` is the kind whose API answers for an id that is no job of the sender."""
    api = _APIS[stranger]
    try:
        found = await _find(request)
        if found is not None:
            api = _APIS.get(found.kind, api)
        if found is None or _admit(request, api).owner != found.owner:
            api = _APIS[stranger]
            _admit(request, api)
        return await api.state(request)
    except AlidadeError as error:
        return api.dialect.response(api.dialect.refusal_of(error, request.path))


async def _find(request: web.Request) -> Job | None:
    """The job that the path names, whoever's it is. Raises DependencyUnavailable."""
    job_id = request.match_info["job_id"]
    if not any(form.fullmatch(job_id) for form in (UUID, BASE36_8)):
        return None
    recorded = await parts_of(request).view.find(job_id)
    return None if recorded is None else recorded.job


def _admit(request: web.Request, api: _Api) -> Principal:
    """Who sent the request, as `api` asks. Raises Refusal (401, 403)."""
    principal = admit(request.headers, parts_of(request).access, api.admission)
    if principal is None:
        raise TypeError(f"{api.admission} gives nobody a name")
    request[PRINCIPAL] = principal
    return principal


def _job_route(path: str, handler: Handler, description: str) -> Route:
    return Route(
        "GET",
        path,
        handler,
        "Jobs",
        "Job status",
        description,
        (Answer(200, "The job's present state, as the API of its kind has it", JobState), Answer(404, "Job not found")),
        admission=Admission.BY_JOB,
    )


ROUTES: tuple[Route, ...] = (
    _job_route(
        "/status/{job_id}",
        status,
        "Status and progress of a job of Cloud2BIM, of the scene API, or of the six-view API. A scene job asks for a key.",
    ),
    _job_route("/jobs/{job_id}", job, "The same as `/status/{job_id}`."),
    Route(
        "GET",
        "/health",
        health,
        _TAG,
        "Health check",
        "Whether the service is running, and which GPU it has.",
        (
            Answer(200, "The service is running", RootHealth),
            Answer(503, "A GPU that must be there is not", Unhealthy),
        ),
        admission=Admission.EVERYBODY,
    ),
    Route(
        "GET",
        "/ready",
        ready,
        _TAG,
        "Readiness",
        "Whether a worker for scenes takes work, and what it computes on.",
        (Answer(200, "It does", Ready), Answer(503, "No worker answers, or it is not ready yet")),
        admission=Admission.EVERYBODY,
    ),
)
