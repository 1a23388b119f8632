"""The Cloud2BIM document, field by field and status by status, but for its streams."""

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import keys, subjects
from contracts.building_settings import BuildingRequest, BuildingSettings
from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.identifiers import UUID
from contracts.jobs import Failure, Job, JobKind, JobStatus, Progress
from contracts.pipelines import BUILDING
from contracts.uploads import Dataset, Inspection
from contracts.work import WorkItem
from deploy.local.ports import reserve_ports
from runtime.access import ANONYMOUS_OWNER, Access
from runtime.object_store import ObjectStore, StoreAddress
from runtime.settings import AccessSettings, Settings
from services.gateway.yaml_documents import YAML_LIMIT_BYTES
from services.ingest.clouds.step import look_into_cloud
from services.ingest.step import Inspector
from tests.services.gateway.running_gateway import CLOUD_LIMIT_BYTES, Gateway, running_gateway

CLOUD = b"".join(b"%.3f %.3f %.3f\n" % (n * 0.01, n * 0.02, n * 0.03) for n in range(100))
CONFIG = b"pc_resolution: 0.01\nifc:\n  project_name: Villa\n"
ERROR = ["detail", "type", "loc"]
PATHS = ["/submit", "/convert"]

Fields = Mapping[str, tuple[str | None, bytes]]


def fields(cloud: bytes = CLOUD, config: bytes = CONFIG, name: str = "scan.xyz") -> Fields:
    return {"point_cloud_file": (name, cloud), "config_file": ("config.yaml", config)}


async def send(
    gateway: Gateway, parts: Fields, path: str = "/submit", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    """A form with its parts in the order given. Without headers it comes from nobody."""
    async with post_form(gateway, list(parts.items()), path, headers or {}) as answer:
        return answer.status, await answer.json()


def post_form(
    gateway: Gateway,
    parts: Sequence[tuple[str, tuple[str | None, bytes]]],
    path: str = "/submit",
    headers: Mapping[str, str] | None = None,
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return gateway.client.post(
        gateway.url + path,
        data=io.BytesIO(form_bytes(parts)),
        headers={**(headers or {}), "Content-Type": "multipart/form-data; boundary=frontier"},
    )


def form_bytes(parts: Sequence[tuple[str, tuple[str | None, bytes]]]) -> bytes:
    body = io.BytesIO()
    for field, (name, content) in parts:
        file_name = "" if name is None else f'; filename="{name}"'
        body.write(f'--frontier\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n\r\n'.encode())
        body.write(content + b"\r\n")
    body.write(b"--frontier--\r\n")
    return body.getvalue()


@pytest.fixture(scope="module")
async def damaged_gateway(
    gateway_settings: Settings, access: Access, shared_store: ObjectStore
) -> AsyncIterator[Gateway]:
    """One for all examples of a test."""
    async with running_gateway(gateway_settings, access, shared_store) as running:
        yield running


async def started(gateway: Gateway, parts: Fields, headers: Mapping[str, str] | None = None) -> Job:
    status, body = await send(gateway, parts, headers=headers)
    assert status == 202, body
    recorded = await gateway.parts.job_log.read(str(body["job_id"]))
    assert recorded is not None
    await forget_work(gateway, recorded.job.job_id)
    return recorded.job


async def forget_work(gateway: Gateway, job_id: object) -> None:
    await gateway.parts.bus.jetstream.purge_stream(subjects.WORK_STREAM, subject=subjects.work("ingest", str(job_id)))


async def nothing_is_left(gateway: Gateway) -> bool:
    return await gateway.stored_keys() == []


async def test_the_service_introduces_itself_to_everybody(gateway: Gateway) -> None:
    async with gateway.client.get(gateway.url + "/") as answer:
        assert answer.status == 200
        assert json.loads(await answer.text()) == {
            "service": "Cloud2BIM Service",
            "version": "1.0.0",
            "description": "Async point cloud to IFC BIM model conversion service with real-time progress tracking",
            "endpoints": {
                "submit": "/submit",
                "convert": "/convert",
                "status": "/status/{job_id}",
                "results": "/results/{job_id}/model.ifc",
                "point_mapping": "/results/{job_id}/point_mapping.json",
                "stream_progress": "/api/progress/{job_id}/stream",
                "stream_basic": "/api/progress/{job_id}/stream/basic",
            },
        }


async def test_submit_answers_as_documented(gateway: Gateway) -> None:
    status, body = await send(gateway, fields(), "/submit")
    assert status == 202
    assert UUID.fullmatch(str(body["job_id"]))
    assert body == {
        "job_id": str(uuid.UUID(str(body["job_id"]), version=4)),
        "status": "pending",
        "message": "Job submitted successfully",
        "stage": "initializing",
        "progress": {
            "percentage": 0,
            "stage": "initializing",
            "stage_description": "Initializing job...",
            "current_operation": None,
            "processed_items": 0,
            "total_items": 0,
            "estimated_remaining_seconds": None,
            "processing_speed": None,
        },
    }
    await forget_work(gateway, body["job_id"])


async def test_convert_answers_as_documented(gateway: Gateway) -> None:
    status, body = await send(gateway, fields(), "/convert")
    assert status == 202
    assert UUID.fullmatch(str(body["job_id"]))
    assert {**body, "job_id": ""} == {
        "job_id": "",
        "status": "pending",
        "message": "Job submitted successfully",
        "stage": "queued",
        "progress": 0,
    }
    await forget_work(gateway, body["job_id"])


async def test_a_submission_stores_the_cloud_asks_ingest_and_queues_the_work(gateway: Gateway) -> None:
    status, body = await send(gateway, fields(name="scans/upper floor.xyz"))
    job_id = str(body["job_id"])
    recorded = await gateway.parts.job_log.read(job_id)
    assert (status, recorded is not None) == (202, True)
    assert recorded is not None
    job = recorded.job
    request = job.request
    assert isinstance(request, BuildingRequest)
    assert (job.kind, job.owner, job.status, job.stage) == (
        JobKind.BUILDING,
        ANONYMOUS_OWNER,
        JobStatus.QUEUED,
        "ingest",
    )
    assert request.file_name == "upper floor.xyz"
    assert request.settings == BuildingSettings.model_validate(
        {"pc_resolution": 0.01, "ifc": {"project_name": "Villa"}}
    )
    store = gateway.parts.store
    assert await store.get_bytes(keys.upload(request.dataset_id), 1 << 20) == CLOUD
    dataset = Dataset.model_validate_json(await store.get_bytes(keys.dataset(request.dataset_id), 1 << 20))
    assert (dataset.kind, dataset.owner, dataset.files) == (JobKind.BUILDING, ANONYMOUS_OWNER, ("upper floor.xyz",))
    (question,) = gateway.cloud_inspections.asked
    assert (question.kind, question.file_name, question.etag) == (JobKind.BUILDING, "upper floor.xyz", dataset.etag)
    queued = await gateway.parts.bus.jetstream.get_last_msg(subjects.WORK_STREAM, subjects.work("ingest", job_id))
    assert WorkItem.model_validate_json(queued.data or b"").kind is JobKind.BUILDING
    await forget_work(gateway, job_id)


@pytest.mark.parametrize("path", PATHS)
async def test_the_fields_come_in_any_order_with_others_between_them(gateway: Gateway, path: str) -> None:
    cloud, config = fields()["point_cloud_file"], fields()["config_file"]
    other = (None, b"x" * 5000)
    for parts in (
        {"config_file": config, "comment": other, "point_cloud_file": cloud},
        {"comment": other, "point_cloud_file": cloud, "config_file": (None, CONFIG), "end": other},
    ):
        status, body = await send(gateway, parts, path)
        assert status == 202
        await forget_work(gateway, body["job_id"])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("scan.xyz", "scan.xyz"),
        (r"C:\\scans\\house.xyz", "house.xyz"),
        ("../../etc/passwd.xyz", "passwd.xyz"),
        ("Žižkov 2.xyz", "Žižkov 2.xyz"),
        ("folder/", "upload"),
        ("x" * 300 + ".xyz", "x" * 251 + ".xyz"),
    ],
)
async def test_of_a_files_name_the_last_part_is_kept(gateway: Gateway, sent: str, kept: str) -> None:
    request = (await started(gateway, fields(name=sent))).request
    assert isinstance(request, BuildingRequest)
    assert request.file_name == kept


async def test_an_empty_configuration_asks_for_the_defaults(gateway: Gateway) -> None:
    request = (await started(gateway, fields(config=b""))).request
    assert request.settings == BuildingSettings()


async def test_unknown_settings_are_taken_and_named(gateway: Gateway) -> None:
    job = await started(gateway, fields(config=b"voxel: 1\ndetection:\n  cells: 3\n"))
    assert isinstance(job.request, BuildingRequest)
    assert job.request.unknown_settings == ("voxel", "detection.cells")
    status, body = await gateway.get(f"/status/{job.job_id}", headers={})
    assert (status, body["unknown_settings"]) == (200, ["voxel", "detection.cells"])


MISSING: list[tuple[Fields, int, list[str], str]] = [
    ({"config_file": ("c.yaml", CONFIG)}, 422, ["point_cloud_file"], "missing"),
    ({"point_cloud_file": ("s.xyz", CLOUD)}, 422, ["config_file"], "missing"),
    ({"other": ("s.xyz", CLOUD)}, 422, ["point_cloud_file"], "missing"),
    ({"point_cloud_file": (None, CLOUD), "config_file": ("c.yaml", CONFIG)}, 422, ["point_cloud_file"], "no file name"),
    (fields(cloud=b""), 400, ["point_cloud_file"], "is empty"),
    (fields(config=b"a: ["), 422, ["config_file"], "YAML"),
    (fields(config=b"- 1"), 422, ["config_file"], "a list"),
    (fields(config=b"\xff\xfe"), 422, ["config_file"], "UTF-8"),
    (fields(config=b"#" * (YAML_LIMIT_BYTES + 1)), 413, ["config_file"], "1 MB"),
    (fields(config=b"preprocessing: {voxel_size: x}"), 422, ["config_file", "preprocessing", "voxel_size"], '"x"'),
    (fields(config=b"min_wall_thickness: 2"), 422, ["config_file", "min_wall_thickness"], "max_wall_thickness"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("refused", MISSING, ids=[f"{refused[1]} {refused[3]}" for refused in MISSING])
@pytest.mark.parametrize("order", [1, -1])
async def test_what_cannot_be_used_is_refused_with_its_field_and_leaves_nothing(
    gateway: Gateway, path: str, refused: tuple[Fields, int, list[str], str], order: int
) -> None:
    parts, status, loc, says = refused
    found, body = await send(gateway, dict(list(parts.items())[::order]), path)
    assert (found, list(body), body["loc"]) == (status, ERROR, loc)
    assert says in str(body["detail"])
    assert body["type"] == {422: "validation_error", 400: "invalid_cloud", 413: "payload_too_large"}[status]
    assert await nothing_is_left(gateway)
    assert gateway.cloud_inspections.asked == []


async def test_a_field_that_comes_twice_is_refused(gateway: Gateway) -> None:
    for field in fields():
        async with post_form(gateway, [*fields().items(), (field, fields()[field])]) as answer:
            body = await answer.json()
        assert (answer.status, body["loc"]) == (422, [field])
        assert "twice" in body["detail"]
    assert await nothing_is_left(gateway)


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_no_form_is_a_422(gateway: Gateway, path: str) -> None:
    status, body = await gateway.post(path, {"point_cloud_file": "scan.ptx"}, headers={})
    assert (status, body["type"], body["loc"]) == (422, "validation_error", ["point_cloud_file"])
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    broken = b'--b\r\nContent-Disposition: form-data; name="point_cloud_file"; filename="a.xyz"\r\n\r\n1 2 3\n'
    async with gateway.client.post(gateway.url + path, data=broken, headers=headers) as answer:
        body = await answer.json()
        assert (answer.status, body["type"], body["loc"], list(body)) == (400, "bad_request", [], ERROR)
    assert await nothing_is_left(gateway)


async def test_what_is_no_cloud_is_a_400_with_ingests_reason(gateway: Gateway) -> None:
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(500), b"hello world\n" * 20):
        status, body = await send(gateway, fields(cloud=content, name="scan.ply"))
        assert (status, body["type"], body["loc"]) == (400, "invalid_cloud", ["point_cloud_file"]), body
        assert "scan.ply" in str(body["detail"])
    assert len(gateway.cloud_inspections.asked) == 3
    assert await nothing_is_left(gateway)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (ErrorCode.DEPENDENCY_UNAVAILABLE, 503, "service_unavailable"),
        (ErrorCode.INTERNAL, 500, "internal_server_error"),
        (ErrorCode.UNSUPPORTED_FORMAT, 400, "unsupported_format"),
    ],
)
async def test_whose_fault_it_is_decides_on_the_status(
    gateway: Gateway, code: ErrorCode, status: int, kind: str
) -> None:
    failure = Failure(code=code, message="Told by ingest.", field="point_cloud_file")
    gateway.cloud_inspections.instead = Inspection(error=failure).model_dump_json().encode()
    found, body = await send(gateway, fields())
    assert (found, body["type"], body["loc"]) == (status, kind, ["point_cloud_file"] if status == 400 else [])
    assert ("Told by ingest." in str(body["detail"])) == (status == 400)
    assert await nothing_is_left(gateway)


async def test_without_store_or_bus_it_is_a_503(gateway: Gateway) -> None:
    with reserve_ports(1) as reserved:
        nowhere = StoreAddress(f"http://127.0.0.1:{reserved.ports[0]}", "key", "secret", "bucket")
    async with ObjectStore(nowhere) as dead:
        gateway.cloud_inspections.inspector = Inspector(dead, look_into_cloud)
        status, body = await send(gateway, fields())
    assert (status, list(body)) == (503, ERROR)
    assert "127.0.0.1" not in str(body)
    await gateway.parts.bus.close()
    status, body = await send(gateway, fields())
    assert (status, body["type"]) == (503, "service_unavailable")
    assert await nothing_is_left(gateway)


async def test_a_cloud_of_exactly_the_limit_is_taken_whatever_its_configuration_and_one_byte_more_is_not(
    gateway: Gateway,
) -> None:
    exact = (CLOUD * (CLOUD_LIMIT_BYTES // len(CLOUD) + 1))[:CLOUD_LIMIT_BYTES]
    long_config = b"# " + b"x" * (YAML_LIMIT_BYTES - 3) + b"\n"
    for parts in (fields(exact, long_config), dict(reversed(fields(exact, long_config).items()))):
        await started(gateway, parts)
    before = await gateway.stored_keys()
    status, body = await send(gateway, fields(exact + b"1", b""))
    assert (status, body["type"], body["loc"]) == (413, "payload_too_large", [])
    assert "2 MB" in str(body["detail"])
    assert await gateway.stored_keys() == before


async def test_an_announced_length_beyond_the_limit_is_refused_before_the_body_is_sent(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /submit HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n" % (4 * CLOUD_LIMIT_BYTES)
    )
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5.0)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type": "payload_too_large"' in answer


@pytest.mark.parametrize("sent_bytes", [100, 300_000])
async def test_a_submission_that_is_cut_off_leaves_nothing(gateway: Gateway, sent_bytes: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    disposition = b'--b\r\nContent-Disposition: form-data; name="point_cloud_file"; filename="s.xyz"\r\n\r\n'
    writer.write(
        b"POST /submit HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + disposition + b"1 2 3\n" * (sent_bytes // 6)
    )
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(10.0):
        while [task for task in asyncio.all_tasks() if "_handle_request" in repr(task)]:
            await asyncio.sleep(0.01)
    assert await nothing_is_left(gateway)
    assert gateway.cloud_inspections.asked == []


# aiohttp warns of headers that it cannot read; these are there to be unreadable.
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader", "ignore::aiohttp.BadContentDispositionParam")
@settings(max_examples=40, deadline=None)
@given(data=st.data())
async def test_a_form_with_damage_anywhere_is_refused_or_whole(damaged_gateway: Gateway, data: st.DataObject) -> None:
    whole = form_bytes(list(fields().items()))
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [whole[:place], whole[place:], whole[:place] + b"\xff" + whole[place + 1 :], whole + whole[place:]]
        )
    )
    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    async with damaged_gateway.client.post(f"{damaged_gateway.url}/submit", data=damaged, headers=headers) as answer:
        body = await answer.json()
        assert answer.status in (202, 400, 422)
        if answer.status == 202:
            await forget_work(damaged_gateway, body["job_id"])
        else:
            assert list(body) == ERROR


@pytest.mark.parametrize(
    ("step", "percent", "message"),
    [
        ("initializing", 0.0, "Initializing job..."),
        ("loading_point_cloud", 2.9, "Loading point cloud"),
        ("wall_detection", 65.0, "Detecting walls and openings"),
        ("finalizing", 100.0, "Mapping points and writing results"),
    ],
)
async def test_status_while_a_job_is_at_work(gateway: Gateway, step: str, percent: float, message: str) -> None:
    recorded = await gateway.building_job()
    await gateway.change(
        recorded,
        EventType.PROGRESSED,
        status=JobStatus.PROCESSING,
        progress=Progress(percent=percent, step=step),
        warnings=("Storey 2 was left out.",),
    )
    status, body = await gateway.get(f"/status/{recorded.job.job_id}")
    assert status == 200
    assert body == {
        "job_id": recorded.job.job_id,
        "status": "processing",
        "message": message,
        "stage": step,
        "progress": min(int(percent), 99),
        "warnings": ["Storey 2 was left out."],
        "unknown_settings": [],
        "error_code": None,
    }
    assert type(body["progress"]) is int


async def test_status_at_both_ends(gateway: Gateway) -> None:
    recorded = await gateway.building_job()
    path = f"/status/{recorded.job.job_id}"
    _, body = await gateway.get(path)
    assert (body["status"], body["stage"], body["progress"], body["message"]) == (
        "pending", "queued", 0, "Job is queued",
    )  # fmt: skip
    await gateway.completed_building(recorded, {})
    _, body = await gateway.get(path)
    assert (body["status"], body["progress"], body["message"]) == ("completed", 100, "Job completed")


async def test_a_failed_job_says_why_and_a_cancelled_one_has_failed_too(gateway: Gateway) -> None:
    recorded = await gateway.building_job()
    failure = Failure(code=ErrorCode.INVALID_CLOUD, message="scan.ptx ends in the middle of scan 2.")
    await gateway.change(
        recorded,
        EventType.FAILED,
        status=JobStatus.FAILED,
        error=failure,
        progress=Progress(percent=12.0, step="loading_point_cloud"),
    )
    _, body = await gateway.get(f"/status/{recorded.job.job_id}")
    assert (body["status"], body["message"], body["stage"], body["progress"], body["error_code"]) == (
        "failed", failure.message, "loading_point_cloud", 12, "INVALID_CLOUD",
    )  # fmt: skip
    cancelled = await gateway.building_job()
    await gateway.change(cancelled, EventType.CANCELLED, status=JobStatus.CANCELLED)
    _, body = await gateway.get(f"/status/{cancelled.job.job_id}")
    assert (body["status"], body["message"], body["error_code"]) == ("failed", "Job cancelled", None)


def test_every_step_has_its_own_words() -> None:
    steps = [step for stage in BUILDING.stages for step in stage.steps]
    assert [step.name for step in steps] == [
        "initializing",
        "loading_point_cloud",
        "preprocessing",
        "slab_detection",
        "wall_detection",
        "opening_detection",
        "zone_detection",
        "generating_ifc",
        "finalizing",
    ]
    assert len({step.label for step in steps}) == len(steps)


RESULTS = {
    "model.ifc": (b"ISO-10303-21;\nEND-ISO-10303-21;\n", "application/x-step"),
    "point_mapping.json": (b'{"total_points": 0, "mapped_points": 0, "elements": []}', "application/json"),
    "model.glb": (b"glTF" + bytes(16), "model/gltf-binary"),
    "report.json": (b"{}", "application/json"),
    "plan_0.png": (b"\x89PNG\r\n", "image/png"),
    "plan_1.svg": (b"<svg/>", "image/svg+xml"),
}


async def test_results_are_delivered_whole_in_part_and_by_condition(gateway: Gateway) -> None:
    recorded = await gateway.completed_building(await gateway.building_job(), RESULTS)
    for name, (content, content_type) in RESULTS.items():
        url = f"{gateway.url}/results/{recorded.job.job_id}/{name}"
        async with gateway.client.get(url, headers=gateway.key) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, content_type, content)
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            tag = answer.headers["ETag"]
        async with gateway.client.get(url, headers=gateway.key | {"If-None-Match": tag}) as answer:
            assert answer.status == 304
        async with gateway.client.get(url, headers=gateway.key | {"Range": "bytes=1-"}) as answer:
            assert (answer.status, await answer.read()) == (206, content[1:])
        async with gateway.client.get(url, headers=gateway.key | {"Range": "bytes=900-"}) as answer:
            body = await answer.json()
            assert (answer.status, body["type"], list(body)) == (416, "range_not_satisfiable", ERROR)
        async with gateway.client.head(url, headers=gateway.key) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(content)))


async def test_what_is_not_delivered_is_a_404_that_names_what_is(gateway: Gateway) -> None:
    recorded = await gateway.completed_building(await gateway.building_job(), {"model.ifc": RESULTS["model.ifc"]})
    for name in ("point_mapping.json", "model.glb", "plan_7.png", "nothing", "..%2Fmodel.ifc", "MODEL.IFC"):
        status, body = await gateway.get(f"/results/{recorded.job.job_id}/{name}")
        assert (status, body["type"], list(body)) == (404, "not_found", ERROR)
        assert "model.ifc" in str(body["detail"])
    await gateway.parts.store.delete(recorded.job.results[0].key)
    status, body = await gateway.get(f"/results/{recorded.job.job_id}/model.ifc")
    assert (status, body["type"]) == (404, "not_found")
    assert "expired" in str(body["detail"])


async def test_results_that_are_not_there_yet_are_a_404_that_says_so(gateway: Gateway) -> None:
    waiting = await gateway.building_job()
    failed = await gateway.building_job()
    failure = Failure(code=ErrorCode.INVALID_CLOUD, message="A single plane.")
    await gateway.change(failed, EventType.FAILED, status=JobStatus.FAILED, error=failure)
    for recorded, says in ((waiting, "status is pending"), (failed, "A single plane.")):
        for name in ("model.ifc", "point_mapping.json", "plan_0.svg"):
            status, body = await gateway.get(f"/results/{recorded.job.job_id}/{name}")
            assert (status, body["type"]) == (404, "not_found")
            assert says in str(body["detail"])


async def test_jobs_of_others_and_jobs_that_never_were_look_the_same(gateway: Gateway) -> None:
    mine = await gateway.completed_building(await gateway.building_job(), {"model.ifc": RESULTS["model.ifc"]})
    capture = await gateway.job()
    missing = (404, {"detail": "Job not found.", "type": "not_found", "loc": []})
    for path in ("/status/{}", "/results/{}/model.ifc", "/results/{}/report.json"):
        ours = path.format(mine.job.job_id)
        assert await gateway.get(ours, gateway.somebody_else()) == missing
        assert await gateway.get(ours, {}) == missing
        for job_id in (str(uuid.uuid4()), capture.job.job_id, "*.%3E", "%00", "x" * 2000, "0" * 36):
            assert await gateway.get(path.format(job_id)) == missing


async def test_jobs_belong_to_the_key_that_made_them_or_to_nobody(gateway: Gateway) -> None:
    mine = await started(gateway, fields(), {"X-API-Key": gateway.api_key})
    assert mine.owner == gateway.owner
    for headers, status in (({"X-API-Key": gateway.api_key}, 200), (gateway.key, 200), ({}, 404)):
        assert (await gateway.get(f"/status/{mine.job_id}", headers))[0] == status
    nobodys = await started(gateway, fields())
    assert nobodys.owner == ANONYMOUS_OWNER
    assert (await gateway.get(f"/status/{nobodys.job_id}", {}))[0] == 200
    assert (await gateway.get(f"/status/{nobodys.job_id}"))[0] == 404
    assert (await gateway.get(f"/api/v1/jobs/{mine.job_id}/status"))[0] == 404


async def test_a_wrong_key_is_never_taken_for_none(gateway: Gateway) -> None:
    for headers, status, kind in (
        ({"X-API-Key": "wrong"}, 403, "forbidden"),
        ({"X-API-Key": ""}, 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, 403, "forbidden"),
    ):
        for found, body in (
            await send(gateway, fields(), headers=headers),
            await gateway.get(f"/status/{uuid.uuid4()}", headers),
        ):
            assert (found, body["type"], list(body)) == (status, kind, ERROR)
    assert await nothing_is_left(gateway)


async def test_without_a_key_on_loopback_only(gateway_settings: Settings, access: Access, store: ObjectStore) -> None:
    public = Access(AccessSettings(file=gateway_settings.access.file), "0.0.0.0")
    async with running_gateway(gateway_settings, public, store) as gateway:
        assert (await gateway.get("/", {}))[0] == 200
        for status, body in (await send(gateway, fields()), await gateway.get(f"/status/{uuid.uuid4()}", {})):
            assert (status, body["type"], list(body)) == (401, "unauthorized", ERROR)
        await started(gateway, fields(), {"X-API-Key": gateway.api_key})


@pytest.mark.parametrize(("method", "path"), [("GET", "/submit"), ("DELETE", "/status/x"), ("POST", "/results/x/a")])
async def test_wrong_methods_are_answered_in_this_apis_form(gateway: Gateway, method: str, path: str) -> None:
    async with gateway.client.request(method, gateway.url + path) as answer:
        body = await answer.json()
        assert (answer.status, body["type"], list(body)) == (405, "method_not_allowed", ERROR)
        assert answer.headers["Allow"] == ("POST" if path == "/submit" else "GET, HEAD")


async def test_the_rate_is_limited_where_it_is_set(
    gateway_settings: Settings, access: Access, store: ObjectStore
) -> None:
    limited = gateway_settings.gateway.model_copy(update={"rate_limit_per_minute": 2})
    async with running_gateway(gateway_settings.model_copy(update={"gateway": limited}), access, store) as gateway:
        for path in PATHS:
            status, body = await send(gateway, fields(), path)
            assert status == 202
            await forget_work(gateway, body["job_id"])
        before = await gateway.stored_keys()
        async with post_form(gateway, []) as answer:
            body = await answer.json()
            assert (answer.status, body["type"], list(body)) == (429, "too_many_requests", ERROR)
            assert 0 < int(answer.headers["Retry-After"]) <= 30
        assert await gateway.stored_keys() == before
        await started(gateway, fields(), {"X-API-Key": gateway.api_key})
        for _ in range(5):
            assert (await gateway.get(f"/status/{uuid.uuid4()}", {}))[0] == 404


async def test_browsers_of_allowed_origins_may_submit(gateway: Gateway) -> None:
    asking = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    async with gateway.client.options(f"{gateway.url}/submit", headers=asking) as answer:
        assert answer.status == 204
        assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    async with gateway.client.get(f"{gateway.url}/", headers={"Origin": "https://app.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
