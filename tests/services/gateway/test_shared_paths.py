"""One path, several APIs: which of them answers for which id, and in which form. Health and readiness."""

import time
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest

from contracts import subjects
from contracts.devices import Gpu, WorkerDevice
from contracts.events import EventType
from contracts.jobs import Job, JobKind
from contracts.object_settings import ObjectRequest, ObjectSettings
from runtime.access import ANONYMOUS_OWNER, Access
from runtime.clock import now
from runtime.job_log import Recorded
from runtime.object_store import ObjectStore
from runtime.settings import AccessSettings, Settings
from services.gateway import worker_devices
from tests.services.gateway.running_gateway import Gateway
from tests.services.gateway.scene_gateway import SceneGateway, answering, running_scene_gateway, scene_job

CLOUD2BIM_404 = {"detail": "Job not found.", "type": "not_found", "loc": []}
SCENE_404 = {"detail": "Job not found."}
GPU = Gpu(
    name="NVIDIA GeForce RTX 4090",
    driver_version="535.129.03",
    memory_total_gb=24.0,
    memory_free_gb=18.5,
    memory_used_gb=5.5,
)
NOBODY: dict[str, str] = {}


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


async def object_job(gateway: Gateway, owner: str) -> Recorded:
    moment = now()
    job = Job(
        job_id=uuid.uuid4().hex[:8],
        kind=JobKind.OBJECT,
        owner=owner,
        stage="mesh",
        request=ObjectRequest(dataset_id="a1b2c3d4e5f6", settings=ObjectSettings()),
        created_at=moment,
        updated_at=moment,
    )
    recorded = await gateway.parts.job_log.create(job)
    gateway.parts.view.learn(recorded)
    return recorded


@pytest.mark.parametrize("path", ["/status", "/jobs"])
async def test_a_job_is_answered_in_the_form_of_its_kind(gateway: SceneGateway, path: str) -> None:
    building = await gateway.building_job(owner=ANONYMOUS_OWNER)
    views = await object_job(gateway, ANONYMOUS_OWNER)
    scene = await scene_job(gateway)
    status, body = await gateway.get(f"{path}/{building.job.job_id}", NOBODY)
    assert (status, body["status"], body["progress"], "error_code" in body) == (200, "pending", 0, True)
    status, body = await gateway.get(f"{path}/{views.job.job_id}", NOBODY)
    assert (status, body["status"], body["current_model"], body["error"]) == (200, "queued", None, None)
    status, body = await gateway.get(f"{path}/{scene.job.job_id}")
    assert (status, body["status"], body["stage"], body["has_drift"]) == (200, "queued", "queued", False)


async def test_unknown_ids_are_answered_by_the_api_that_gives_out_their_form(gateway: SceneGateway) -> None:
    unknown = str(uuid.uuid4())
    for headers in (gateway.key, NOBODY):
        assert await gateway.get(f"/status/{unknown}", headers) == (404, CLOUD2BIM_404)
    assert await gateway.get(f"/jobs/{unknown}") == (404, SCENE_404)
    assert (await gateway.get(f"/jobs/{unknown}", NOBODY))[0] == 401
    for path in ("/status", "/jobs"):
        for headers in (gateway.key, NOBODY):
            status, body = await gateway.get(f"{path}/k3m8xq2p", headers)
            assert (status, list(body)) == (404, ["error"])
            assert body["error"]["code"] == "JOB_NOT_FOUND"  # type: ignore[index]


@pytest.mark.parametrize("job_id", ["k3m8xq2", "K3M8XQ2P", "a1b2c3d4e5f6", "a.b", "*", "%3E", "x" * 500, "9" * 36])
async def test_ids_of_no_form_are_a_404_everywhere(gateway: SceneGateway, job_id: str) -> None:
    status, body = await gateway.get(f"/status/{job_id}")
    assert (status, body) == (404, CLOUD2BIM_404)
    status, body = await gateway.get(f"/jobs/{job_id}")
    assert (status, list(body)) == (404, ["error"])


async def test_the_job_of_somebody_else_is_answered_as_an_unknown_id(gateway: SceneGateway) -> None:
    other = gateway.somebody_else()
    for recorded in (await scene_job(gateway), await gateway.building_job()):
        assert await gateway.get(f"/status/{recorded.job.job_id}", other) == (404, CLOUD2BIM_404)
        assert await gateway.get(f"/jobs/{recorded.job.job_id}", other) == (404, SCENE_404)
    views = await object_job(gateway, gateway.owner)
    unknown = await gateway.get("/jobs/k3m8xq2p", other)
    status, body = await gateway.get(f"/jobs/{views.job.job_id}", other)
    assert (status, str(body).replace(views.job.job_id, "k3m8xq2p")) == (unknown[0], str(unknown[1]))


async def test_a_capture_is_not_found_here(gateway: SceneGateway) -> None:
    capture = await gateway.job()
    for path in ("/status", "/jobs"):
        assert (await gateway.get(f"{path}/{capture.job.job_id}"))[0] == 404
    assert (await gateway.get(f"/api/v1/jobs/{capture.job.job_id}/status"))[0] == 200


async def test_each_api_refuses_a_credential_in_its_own_way(gateway: SceneGateway) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    scene, building = await scene_job(gateway), await gateway.building_job(owner=ANONYMOUS_OWNER)
    for path in ("/status", "/jobs"):
        status, body = await gateway.get(f"{path}/{scene.job.job_id}", wrong)
        assert (status, list(body)) == (401, ["detail"])
        status, body = await gateway.get(f"{path}/{building.job.job_id}", wrong)
        assert (status, body["type"]) == (403, "forbidden")
    status, body = await gateway.get("/jobs/k3m8xq2p", wrong)
    assert (status, list(body)) == (403, ["error"])


async def test_bound_to_an_open_address_every_api_demands_a_key(
    gateway_settings: Settings, access_settings: AccessSettings, access: Access, store: ObjectStore
) -> None:
    closed = Access(access_settings, "0.0.0.0")
    async with running_scene_gateway(gateway_settings, closed, store) as gateway:
        for job_id in (str(uuid.uuid4()), "k3m8xq2p"):
            for path in ("/status", "/jobs"):
                assert (await gateway.get(f"{path}/{job_id}", NOBODY))[0] == 401
                assert (await gateway.get(f"{path}/{job_id}"))[0] == 404


async def test_a_job_log_that_cannot_be_read_is_a_503_in_the_form_of_the_api(gateway: SceneGateway) -> None:
    await gateway.parts.bus.close()
    status, body = await gateway.get(f"/status/{uuid.uuid4()}")
    assert (status, body["type"]) == (503, "service_unavailable")
    status, body = await gateway.get(f"/jobs/{uuid.uuid4()}")
    assert (status, list(body)) == (503, ["detail"])


def device(service: str, **changes: object) -> bytes:
    said = WorkerDevice(service=service, ready=True, device="CPU (8 cores)").model_copy(update=changes)
    return said.model_dump_json().encode()


async def test_health_is_healthy_without_any_worker(gateway: SceneGateway) -> None:
    before = time.time()
    status, body = await gateway.get("/health", NOBODY)
    assert (status, set(body)) == (200, {"status", "gpu", "version", "timestamp"})
    assert (body["status"], body["gpu"], body["version"]) == ("healthy", None, version("alidade"))
    assert before <= float(str(body["timestamp"])) <= time.time()


async def test_health_shows_the_gpu_that_a_worker_has(gateway: SceneGateway) -> None:
    async with answering(gateway, subjects.device("mesh"), device("mesh", gpu=GPU, device="RTX")) as questions:
        status, body = await gateway.get("/health", NOBODY)
        assert (status, body["status"], body["gpu"]) == (200, "healthy", GPU.model_dump())
        for _ in range(5):
            assert (await gateway.get("/health", NOBODY))[0] == 200
        # Probes come often; a worker is asked once in a while.
        assert len(questions) == 1


async def test_health_fails_only_where_a_gpu_must_be_and_is_not(
    gateway: SceneGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_devices, "FRESH_S", -1.0)
    for said, expected in (
        (device("mesh", gpu_required=True, ready=False), 503),
        (device("mesh", gpu_required=True, gpu=GPU), 200),
        (device("mesh"), 200),
        (b"{", 200),
    ):
        async with answering(gateway, subjects.device("mesh"), said):
            status, body = await gateway.get("/health", NOBODY)
        assert status == expected
        if expected == 503:
            assert body == {"status": "unhealthy", "error": "GPU not initialized"}
        else:
            assert body["status"] == "healthy"


async def test_ready_names_the_device_of_the_worker_for_scenes(gateway: SceneGateway) -> None:
    said = device("sfm", device="NVIDIA A100 (40.0 GB)", gpu=GPU)
    async with answering(gateway, subjects.device("sfm"), said), answering(gateway, subjects.device("mesh"), b"{"):
        assert await gateway.get("/ready", NOBODY) == (200, {"status": "ready", "device": "NVIDIA A100 (40.0 GB)"})


@pytest.mark.parametrize("said", [None, b"{", device("sfm", ready=False)])
async def test_unready_is_a_503_with_a_reason(gateway: SceneGateway, said: bytes | None) -> None:
    if said is None:
        status, body = await gateway.get("/ready", NOBODY)
    else:
        async with answering(gateway, subjects.device("sfm"), said):
            status, body = await gateway.get("/ready", NOBODY)
    assert (status, list(body)) == (503, ["detail"])


async def test_a_worker_that_does_not_answer_holds_up_no_probe(
    gateway: SceneGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_devices, "ANSWER_S", 0.2)
    silent = await gateway.parts.bus.listen(subjects.device("mesh"), _say_nothing)
    began = time.monotonic()
    status, body = await gateway.get("/health", NOBODY)
    assert (status, body["gpu"]) == (200, None)
    assert 0.1 < time.monotonic() - began < 5.0
    await silent.unsubscribe()


async def _say_nothing(_: object) -> None:
    """A worker that hangs."""


async def test_a_state_is_shown_as_soon_as_the_log_has_it(gateway: SceneGateway) -> None:
    recorded = await gateway.building_job(owner=ANONYMOUS_OWNER)
    await gateway.parts.job_log.write(
        recorded,
        EventType.PROGRESSED,
        recorded.job.changed(now(), stage="bim"),
    )
    # A job that this replica has not heard of is read from the log itself.
    gateway.parts.view.forget(recorded.job.job_id)
    assert (await gateway.get(f"/status/{recorded.job.job_id}", NOBODY))[0] == 200
