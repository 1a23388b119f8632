"""`/metrics`: what this gateway counts itself, and what the job log and the bus say.

What is said of jobs is folded from the log, so it is right after a restart, and the same from every replica.
"""

import asyncio
from collections.abc import Iterable, Iterator

import nats.errors
import nats.js.errors
from aiohttp import web
from nats.js.client import JetStreamContext
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts import subjects
from contracts.jobs import Job, JobKind, JobStatus
from contracts.outcomes import SceneOutcome
from contracts.pipelines import PIPELINES
from runtime import metrics
from runtime.admission import Admission
from runtime.bus import Bus
from runtime.logs import get_logger
from services.gateway.parts import parts_of
from services.gateway.routes import Answer, Route
from services.gateway.worker_devices import DEVICES

log = get_logger(__name__)

MODEL_SERVICE = "sfm"
_BUS_S = 2.0
_SERVICES = tuple(dict.fromkeys(stage.service for pipeline in PIPELINES for stage in pipeline.stages))


class _Said(Collector):
    """Metrics that were gathered for one answer."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


async def metrics_page(request: web.Request) -> web.Response:
    """GET /metrics."""
    parts = parts_of(request)
    device = await request.app[DEVICES].of(MODEL_SERVICE)
    said = _Said(
        (
            *scene_metrics([recorded.job for recorded in parts.view.all_jobs()]),
            _gauge(metrics.MODEL_SERVER_READY, float(device is not None and device.ready)),
            await queue_depths(parts.bus),
        )
    )
    return web.Response(
        body=generate_latest(REGISTRY) + generate_latest(said), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


def scene_metrics(jobs: Iterable[Job]) -> Iterator[Metric]:
    """What the scene API's document says of its jobs, out of all jobs that there are."""
    scenes = [job for job in jobs if job.kind is JobKind.SCENE]
    done = sorted((job for job in scenes if job.status is JobStatus.COMPLETED), key=_finished_s)
    rates = [rate for job in done if (rate := _outcome(job).registration_rate) is not None]
    counted = sorted((job for job in scenes if job.outcome is not None), key=lambda job: job.created_at)
    yield _latency([_finished_s(job) - job.started_at.timestamp() for job in done if job.started_at is not None])
    yield _gauge(metrics.REGISTERED_IMAGES_RATIO, rates[-1] if rates else float("nan"))
    yield _gauge(metrics.ACTIVE_JOBS, float(sum(job.status is JobStatus.PROCESSING for job in scenes)))
    yield _gauge(metrics.DATA_VALID_IMAGES, float(_outcome(counted[-1]).images if counted else 0))


def _outcome(job: Job) -> SceneOutcome:
    return job.outcome if isinstance(job.outcome, SceneOutcome) else SceneOutcome(images=0)


def _finished_s(job: Job) -> float:
    return (job.finished_at or job.updated_at).timestamp()


def _latency(seconds: list[float]) -> Metric:
    bounds = [(f"{bound:g}", bound) for bound in metrics.LATENCY_BUCKETS_S] + [("+Inf", float("inf"))]
    buckets = [(label, float(sum(value <= bound for value in seconds))) for label, bound in bounds]
    named = metrics.INFERENCE_LATENCY
    return HistogramMetricFamily(named.name, named.description, buckets=buckets, sum_value=sum(seconds))


def _gauge(named: metrics.Named, value: float) -> Metric:
    return GaugeMetricFamily(named.name, named.description, value=value)


async def queue_depths(bus: Bus) -> Metric:
    """How much work of each service waits for a worker. A service that the bus cannot tell of is left out."""
    family = GaugeMetricFamily(metrics.QUEUE_DEPTH.name, metrics.QUEUE_DEPTH.description, labels=["service"])
    depths = await asyncio.gather(*(_known_depth(bus, service) for service in _SERVICES))
    for service, depth in zip(_SERVICES, depths, strict=True):
        if depth is not None:
            family.add_metric([service], float(depth))
    return family


async def _known_depth(bus: Bus, service: str) -> int | None:
    if not bus.is_connected:
        # The client would wait for the connection, and the scrape with it.
        return None
    try:
        async with asyncio.timeout(_BUS_S):
            return await _depth(bus.jetstream, service)
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
        log.warning("queue_depth_unknown", service=service, reason=repr(error))
        return None


async def _depth(stream: JetStreamContext, service: str) -> int:
    try:
        info = await stream.consumer_info(subjects.WORK_STREAM, subjects.consumer(service))
    except nats.js.errors.NotFoundError:
        # No worker of this service has been there yet, so all of its work waits.
        state = (await stream.stream_info(subjects.WORK_STREAM, subjects_filter=subjects.work_of(service))).state
        return sum((state.subjects or {}).values())
    return info.num_pending or 0


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/metrics",
        metrics_page,
        "Health",
        "Metrics",
        "Prometheus text format. Requests are counted by each replica for itself; what is said of jobs and queues is the "
        "same from all of them.",
        (Answer(200, "The metrics", "text/plain"),),
        admission=Admission.EVERYBODY,
    ),
)
