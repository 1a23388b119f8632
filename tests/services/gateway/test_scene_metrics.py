"""`/metrics`: every name of the document, with true values that outlive a restart."""

import math
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts import subjects
from contracts.devices import WorkerDevice
from contracts.events import EventType
from contracts.jobs import Job, JobKind, JobStatus
from contracts.outcomes import SceneOutcome
from contracts.scene_settings import SceneRequest
from contracts.work import WorkItem
from runtime.access import Access
from runtime.clock import now
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from services.gateway.scene_metrics import scene_metrics
from tests.services.gateway.scene_gateway import (
    SceneGateway,
    answering,
    at_step,
    forget_work,
    running_scene_gateway,
    scene_job,
)

DOCUMENTED = {
    "api_requests_total",
    "api_errors_total",
    "inference_latency_seconds",
    "registered_images_ratio",
    "active_jobs_total",
    "model_server_ready",
    "data_valid_images_total",
}
Labels = frozenset[tuple[str, str]]


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


async def scraped(gateway: SceneGateway) -> dict[tuple[str, Labels], float]:
    async with gateway.client.get(gateway.url + "/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    families = list(text_string_to_metric_families(text))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def test_every_documented_name_is_there_from_the_first_scrape(gateway: SceneGateway) -> None:
    await gateway.get(f"/jobs/{uuid.uuid4()}")
    names = {name for name, _ in await scraped(gateway)}
    assert DOCUMENTED - {"inference_latency_seconds"} <= names
    assert {f"inference_latency_seconds_{part}" for part in ("bucket", "sum", "count")} <= names
    assert "alidade_queue_depth" in names


async def test_requests_are_counted_by_method_route_and_status(gateway: SceneGateway) -> None:
    before = await scraped(gateway)
    route = {"method": "GET", "endpoint": "/clusters/{job_id}"}
    for job_id in (uuid.uuid4(), uuid.uuid4()):
        await gateway.get(f"/clusters/{job_id}")
    recorded = await scene_job(gateway)
    await gateway.get(f"/clusters/{recorded.job.job_id}")
    after = await scraped(gateway)

    def grown(name: str, **labels: str) -> float:
        return after[name, frozenset(labels.items())] - before.get((name, frozenset(labels.items())), 0.0)

    assert grown("api_requests_total", **route, status="404") == 2
    assert grown("api_requests_total", **route, status="200") == 1
    assert grown("api_errors_total", endpoint="/clusters/{job_id}") == 2
    assert not any(str(recorded.job.job_id) in dict(labels).get("endpoint", "") for _, labels in after)


def finished(seconds: float, rate: float | None, minutes_ago: float, images: int = 10) -> Job:
    ended = now() - timedelta(minutes=minutes_ago)
    return Job(
        job_id=str(uuid.uuid4()),
        kind=JobKind.SCENE,
        owner="o",
        status=JobStatus.COMPLETED,
        stage="sfm",
        request=SceneRequest(dataset_id="a1b2c3d4e5f6"),
        outcome=SceneOutcome(images=images, registration_rate=rate),
        created_at=ended - timedelta(seconds=seconds + 100),
        started_at=ended - timedelta(seconds=seconds),
        finished_at=ended,
        updated_at=ended,
    )


def said(jobs: list[Job]) -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sample.labels.get("le", ""))): sample.value
        for family in scene_metrics(jobs)
        for sample in family.samples
    }


def test_latencies_fall_into_buckets_of_up_to_an_hour() -> None:
    found = said([finished(seconds, 0.5, 10) for seconds in (0.5, 45.0, 60.0, 3599.0, 7200.0)])
    bounds = [bound for name, bound in found if name == "inference_latency_seconds_bucket"]
    assert float(bounds[-2]) == 3600.0
    assert bounds[-1] == "+Inf"
    counts = {bound: found["inference_latency_seconds_bucket", bound] for bound in bounds}
    assert (counts["1"], counts["30"], counts["60"], counts["1800"]) == (1, 1, 3, 3)
    assert (counts["3600"], counts["+Inf"]) == (4, 5)
    assert list(counts.values()) == sorted(counts.values())
    assert found["inference_latency_seconds_count", ""] == 5
    assert found["inference_latency_seconds_sum", ""] == pytest.approx(10904.5, abs=0.01)


def test_the_ratio_is_that_of_the_job_that_ended_last() -> None:
    older, newer = finished(10, 0.25, 20), finished(900, 0.75, 5)
    without = finished(10, None, 1, images=77)
    for order in ([older, newer, without], [without, newer, older]):
        found = said(order)
        assert found["registered_images_ratio", ""] == 0.75
        assert found["data_valid_images_total", ""] == 77
    assert math.isnan(said([])["registered_images_ratio", ""])
    assert said([])["inference_latency_seconds_count", ""] == 0


def test_other_kinds_and_failed_jobs_do_not_count() -> None:
    other = finished(10, 0.5, 1).model_copy(update={"kind": JobKind.BUILDING})
    failed = finished(10, 0.5, 1).model_copy(update={"status": JobStatus.FAILED})
    found = said([other, failed])
    assert found["inference_latency_seconds_count", ""] == 0
    assert found["active_jobs_total", ""] == 0
    assert math.isnan(found["registered_images_ratio", ""])


async def test_values_come_from_the_log_so_another_replica_says_the_same(
    gateway: SceneGateway, gateway_settings: Settings, access: Access, store: ObjectStore
) -> None:
    before = await scraped(gateway)
    recorded = await at_step(gateway, await scene_job(gateway), "extracting")
    await gateway.change(recorded, EventType.PROGRESSED, outcome=SceneOutcome(images=4321))
    async with running_scene_gateway(gateway_settings, access, store) as replica:
        for samples in (await scraped(gateway), await scraped(replica)):
            assert value(samples, "active_jobs_total") == value(before, "active_jobs_total") + 1
            assert value(samples, "data_valid_images_total") == 4321
        newest = await gateway.parts.job_log.read(recorded.job.job_id)
        assert newest is not None
        await gateway.change(newest, EventType.CANCELLED, status=JobStatus.CANCELLED, finished_at=now())
    assert value(await scraped(gateway), "active_jobs_total") == value(before, "active_jobs_total")


async def test_the_depth_of_a_queue_is_what_waits_in_it(gateway: SceneGateway) -> None:
    bus = gateway.parts.bus
    await bus.jetstream.purge_stream(subjects.WORK_STREAM)
    jobs = [(await scene_job(gateway)).job for _ in range(3)]
    for job in jobs:
        assert await gateway.parts.job_log.queue(job)
    # No worker has been there: the stream itself tells.
    assert value(await scraped(gateway), "alidade_queue_depth", service="ingest") == 3
    await bus.ensure_work_consumer("ingest", ack_wait_s=30.0)
    assert value(await scraped(gateway), "alidade_queue_depth", service="ingest") == 3
    taken = await bus.pull_work("ingest", timeout_s=5.0)
    assert taken is not None
    assert WorkItem.model_validate_json(taken.data).service == "ingest"
    samples = await scraped(gateway)
    assert value(samples, "alidade_queue_depth", service="ingest") == 2
    assert {dict(labels)["service"] for name, labels in samples if name == "alidade_queue_depth"} == {
        "ingest",
        "sfm",
        "bim",
        "mesh",
    }
    for job in jobs:
        await forget_work(gateway, job.job_id)
    await bus.jetstream.delete_consumer(subjects.WORK_STREAM, subjects.consumer("ingest"))


@pytest.mark.parametrize(("is_ready", "expected"), [(True, 1.0), (False, 0.0)])
async def test_the_model_server_is_ready_when_its_worker_is(
    gateway: SceneGateway, is_ready: bool, expected: float
) -> None:
    device = WorkerDevice(service="sfm", ready=is_ready, device="CPU (2 cores)")
    async with answering(gateway, subjects.device("sfm"), device.model_dump_json().encode()):
        assert value(await scraped(gateway), "model_server_ready") == expected


async def test_without_the_bus_the_page_is_there_with_what_is_known(gateway: SceneGateway) -> None:
    await scene_job(gateway)
    await gateway.parts.bus.close()
    samples = await scraped(gateway)
    assert value(samples, "model_server_ready") == 0
    assert ("active_jobs_total", frozenset()) in samples
    assert not any(name == "alidade_queue_depth" for name, _ in samples)
