"""The six-view document, field by field and status by status. A worker is played here; ingest's answers are its own."""

import asyncio
import hashlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts import keys, subjects
from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.identifiers import BASE36_8, new_dataset_id, new_object_job_id
from contracts.jobs import Claim, Failure, Job, JobKind, JobStatus, Progress, ResultFile
from contracts.object_files import MODEL_FILES, STORED_NAMES
from contracts.object_settings import ModelType, ObjectRequest, ObjectSettings
from contracts.outcomes import ModelOutcome, ObjectOutcome
from contracts.uploads import Dataset
from runtime.access import ANONYMOUS_OWNER, Access
from runtime.clock import now
from runtime.job_log import Recorded
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from runtime.stage_work import StageWork
from services.ingest.step import Inspector
from services.ingest.views.step import look_into_views
from tests.services.gateway.running_gateway import Gateway, running_gateway
from tests.services.ingest.view_files import SIZE_PX, depth, jpeg, png, view

FILE_LIMIT_BYTES = 64 << 10
ALL_LIMIT_BYTES = 256 << 10
CAMERAS = {
    "intrinsics": {"width": 512, "height": 512, "fx": 1111, "fy": 1111, "cx": 256, "cy": 256},
    "views": [{"camera_from_world": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.5], [0, 0, 0, 1]]}] * 6,
    "depth": {"encoding": "metric", "scale": 0.0001},
}

Part = tuple[str, str | None, bytes]


@pytest.fixture
async def six(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[Gateway]:
    """A gateway that takes pictures of 64 kB, 256 kB together, with an ingest that looks into them."""
    limits = {"view_limit_bytes": FILE_LIMIT_BYTES, "views_limit_bytes": ALL_LIMIT_BYTES}
    smaller = gateway_settings.gateway.model_copy(update=limits)
    async with running_gateway(gateway_settings.model_copy(update={"gateway": smaller}), access, store) as gateway:
        answer = Inspector(store, look_into_views).answer
        inspections = await gateway.parts.bus.answer(subjects.inspect(JobKind.OBJECT), "ingest", answer)
        yield gateway
        await inspections.unsubscribe()
        await gateway.parts.bus.jetstream.purge_stream(subjects.WORK_STREAM, subject=subjects.work_of("mesh"))


def pictures(suffix: str = "") -> list[Part]:
    views = [(f"views{suffix}", f"view{n}.png", view(n)) for n in range(1, 7)]
    return views + [(f"depth_renders{suffix}", f"depth{n}.png", depth(n)) for n in range(1, 7)]


async def send(
    gateway: Gateway, parts: Sequence[Part], headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    """From nobody, unless `headers` say otherwise."""
    body = io.BytesIO()
    for field, name, content in parts:
        file_name = "" if name is None else f'; filename="{name}"'
        body.write(f'--edge\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n\r\n'.encode())
        body.write(content + b"\r\n")
    body.write(b"--edge--\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    request = gateway.client.post(f"{gateway.url}/jobs", data=body.getvalue(), headers={**kind, **(headers or {})})
    async with request as answer:
        return answer.status, await answer.json()


async def recorded(gateway: Gateway, job_id: object) -> Recorded:
    found = await gateway.parts.job_log.read(str(job_id))
    assert found is not None
    return found


async def object_job(
    gateway: Gateway, model: ModelType = ModelType.RECONVIAGEN, owner: str = ANONYMOUS_OWNER
) -> Recorded:
    """A queued job as another gateway might have made it."""
    moment = now()
    job = Job(
        job_id=new_object_job_id(),
        kind=JobKind.OBJECT,
        owner=owner,
        stage="mesh",
        request=ObjectRequest(dataset_id=new_dataset_id(), settings=ObjectSettings(model_type=model)),
        created_at=moment,
        updated_at=moment,
    )
    made = await gateway.parts.job_log.create(job)
    gateway.parts.view.learn(made)
    return made


async def completed(
    gateway: Gateway, last: Recorded, without: str | None = None, age: timedelta = timedelta()
) -> bytes:
    """The job has delivered all that the document names, but for the file `without`. Returns its ZIP."""
    job_id = last.job.job_id
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in MODEL_FILES:
            if name != without:
                archive.writestr(f"{ModelType.RECONVIAGEN}/{name}", b"of no matter")
        archive.writestr("README.txt", b"Six views")
    key = keys.result(job_id, 1, f"{job_id}.zip")
    await gateway.parts.store.put_bytes(key, packed.getvalue(), "application/zip")
    stored = await gateway.parts.store.stat(key)
    assert stored is not None
    result = ResultFile(
        name=f"{job_id}.zip",
        key=key,
        content_type="application/zip",
        size_bytes=stored.size_bytes,
        etag=stored.etag,
    )
    made = ModelOutcome(model=ModelType.RECONVIAGEN, engine="builtin", status="normal", psnr=31.204, ssim=0.97)
    await gateway.change(
        last,
        EventType.COMPLETED,
        status=JobStatus.COMPLETED,
        progress=Progress(percent=100, step="reconviagen.exporting"),
        results=(result,),
        outcome=ObjectOutcome(models=(made,)),
        finished_at=now() - age,
    )
    return packed.getvalue()


def error_of(body: Mapping[str, object]) -> dict[str, object]:
    error = body["error"]
    assert isinstance(error, dict)
    return error


async def get(gateway: Gateway, path: str) -> tuple[int, dict[str, object]]:
    return await gateway.get(path, headers={})


async def post(gateway: Gateway, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    return await gateway.post(path, body, headers={})


async def test_a_submission_is_answered_as_documented_and_kept_whole(six: Gateway) -> None:
    status, body = await send(six, [*pictures(), ("model_type", None, b"both"), ("cameras", None, b"")])
    assert status == 200, body
    assert list(body) == ["job_id", "status", "model_type", "created_at"]
    assert BASE36_8.fullmatch(str(body["job_id"]))
    assert (body["status"], body["model_type"]) == ("queued", "both")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(body["created_at"]))
    job = (await recorded(six, body["job_id"])).job
    assert (job.kind, job.status, job.stage, job.owner) == (JobKind.OBJECT, JobStatus.QUEUED, "mesh", ANONYMOUS_OWNER)
    stored = await six.parts.store.get_bytes(keys.upload(job.request.dataset_id), 1 << 20)
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        assert tuple(archive.namelist()) == STORED_NAMES
        assert archive.testzip() is None
        assert [archive.read(name) for name in STORED_NAMES] == [content for _, _, content in pictures()]
        assert archive.getinfo("view_0.png").comment == b"view1.png"
    record = await six.parts.store.get_bytes(keys.dataset(job.request.dataset_id), 1 << 20)
    dataset = Dataset.model_validate_json(record)
    assert (dataset.kind, dataset.files) == (JobKind.OBJECT, STORED_NAMES)
    assert not await six.parts.job_log.queue(job), "its work is in the queue"


async def test_brackets_and_any_order_of_fields_are_taken(six: Gateway) -> None:
    parts = pictures("[]")
    mixed = [("cameras", None, json.dumps(CAMERAS).encode()), *parts[6:], *parts[:6]]
    status, body = await send(six, mixed)
    assert status == 200, body
    assert body["model_type"] == "reconviagen"
    job = (await recorded(six, body["job_id"])).job
    assert isinstance(job.request, ObjectRequest)
    assert job.request.settings.cameras is not None
    assert job.request.settings.cameras.intrinsics_of(3).fx == 1111
    stored = await six.parts.store.get_bytes(keys.upload(job.request.dataset_id), 1 << 20)
    with zipfile.ZipFile(io.BytesIO(stored)) as archive:
        assert archive.read("view_5.png") == view(6)
        assert archive.read("depth_0.png") == depth(1)


def replaced(place: int, content: bytes, name: str | None = None) -> list[Part]:
    """Views are at 0 to 5, depth renders at 6 to 11."""
    parts = pictures()
    field, known, _ = parts[place]
    parts[place] = (field, name or known, content)
    return parts


def with_cameras(**changes: object) -> list[Part]:
    return [*pictures(), ("cameras", None, json.dumps({**CAMERAS, **changes}).encode())]


BLACK = png(np.zeros((SIZE_PX, SIZE_PX), np.uint16))
COLOURED = cv2.imencode(".png", np.full((SIZE_PX, SIZE_PX, 3), 9000, np.uint16))[1].tobytes()
MALFORMED: dict[str, tuple[list[Part], str, str, str]] = {
    "five views": (pictures()[1:], "INVALID_FILE_COUNT", "views", "Expected 6 view images, got 5"),
    "seven views": ([*pictures(), pictures()[0]], "INVALID_FILE_COUNT", "views", "Expected 6 view images, got 7"),
    "no views": (pictures()[6:], "INVALID_FILE_COUNT", "views", "Expected 6 view images, got 0"),
    "five depths": (pictures()[:-1], "INVALID_FILE_COUNT", "depth_renders", "Expected 6 depth render images, got 5"),
    "empty parts": ([*pictures()[1:], ("views", "", b"")], "INVALID_FILE_COUNT", "views", "got 5"),
    "another name": (replaced(0, view(), "front.jpg"), "INVALID_FILE_FORMAT", "views", "front.jpg is not a PNG"),
    "a JPEG": (replaced(2, jpeg()), "INVALID_FILE_FORMAT", "views", "View 3 (view3.png) is not a PNG image but a JPEG"),
    "cut short": (replaced(9, depth()[:-30]), "INVALID_FILE_FORMAT", "depth_renders", "is cut short or damaged"),
    "empty file": (replaced(1, b""), "INVALID_FILE_FORMAT", "views", "View 2 (view2.png) is empty"),
    "one pixel": (replaced(0, view(size_px=1)), "VALIDATION_FAILED", "views", "1 x 1 pixels, too small"),
    "black depth": (replaced(6, BLACK), "VALIDATION_FAILED", "depth_renders", "Depth render 1 (depth1.png) shows no object"),
    "mixed sizes": (replaced(3, view(size_px=40)), "VALIDATION_FAILED", "views", "all six must have one size"),
    "coloured depth": (replaced(7, COLOURED), "VALIDATION_FAILED", "depth_renders", "save depth as a grey PNG"),
    "a large file": (replaced(4, bytes(FILE_LIMIT_BYTES + 1)), "FILE_TOO_LARGE", "views", "larger than 64 kB"),
    "a text": ([*pictures(), ("views", None, b"x")], "VALIDATION_FAILED", "views", "holds no file"),
    "model": ([*pictures(), ("model_type", None, b"nerf")], "VALIDATION_FAILED", "model_type", "reconviagen, nvdiffrec, both"),
    "no JSON": ([*pictures(), ("cameras", None, b"{")], "VALIDATION_FAILED", "cameras", "cameras is not valid JSON"),
    "five cameras": (with_cameras(views=CAMERAS["views"][1:]), "VALIDATION_FAILED", "cameras", "cameras.views: "),
    "no intrinsics": (with_cameras(intrinsics=None), "VALIDATION_FAILED", "cameras", "no intrinsics for view 0"),
    "unknown name": (with_cameras(focal=3), "VALIDATION_FAILED", "cameras", "cameras.focal: Extra inputs"),
    "twice": ([*pictures(), *[("model_type", None, b"both")] * 2], "VALIDATION_FAILED", "model_type", "comes twice"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_upload_gets_its_documented_code_and_leaves_nothing(six: Gateway, what: str) -> None:
    parts, code, field, words = MALFORMED[what]
    status, body = await send(six, parts)
    error = error_of(body)
    assert (status, error["code"]) == (422, code), body
    assert list(error) == ["code", "message", "details", "suggestion"]
    assert words in str(error["message"])
    details = error["details"]
    assert isinstance(details, dict)
    assert details["field"] == field
    if code == "VALIDATION_FAILED":
        assert any(name == field or name.startswith(f"{field}.") for name in details["fields"])
    # A refused upload is cleared away beside the answer.
    async with asyncio.timeout(10):
        while await six.stored_keys():
            await asyncio.sleep(0.01)


async def test_the_documents_example_of_a_refusal(six: Gateway) -> None:
    status, body = await send(six, pictures()[1:])
    assert status == 422
    assert body == {
        "error": {
            "code": "INVALID_FILE_COUNT",
            "message": "Expected 6 view images, got 5",
            "details": {"field": "views"},
            "suggestion": "Upload exactly 6 view images and 6 depth render images.",
        }
    }


async def test_all_files_together_have_a_limit(six: Gateway) -> None:
    large = view(1, size_px=140)
    assert 5 * len(large) > ALL_LIMIT_BYTES > 4 * len(large)
    parts = pictures()
    for n in range(6):
        parts[n] = ("views", f"view{n}.png", large)
    status, body = await send(six, parts)
    assert (status, error_of(body)["code"]) == (422, "FILE_TOO_LARGE")
    assert "larger than 256 kB" in str(error_of(body)["message"])


async def test_what_is_announced_too_large_is_refused_before_it_comes(six: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", six.port)
    head = "POST /jobs HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
    writer.write(f"{head}Content-Length: {10 << 30}\r\nExpect: 100-continue\r\n\r\n".encode())
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    assert line.startswith(b"HTTP/1.1 422")


async def test_what_is_no_form_is_refused(six: Gateway) -> None:
    for content in ({"json": {"views": []}}, {"data": b"x", "headers": {"Content-Type": "image/png"}}):
        async with six.client.post(f"{six.url}/jobs", **content) as answer:
            assert answer.status == 422
            assert error_of(await answer.json())["code"] == "VALIDATION_FAILED"
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    async with six.client.post(f"{six.url}/jobs", data=b"--edge\r\nbroken", headers=kind) as answer:
        assert (answer.status, error_of(await answer.json())["code"]) == (422, "VALIDATION_FAILED")


async def test_an_ingest_that_is_silent_leaves_nothing_behind(
    gateway_settings: Settings, access: Access, store: ObjectStore
) -> None:
    async with running_gateway(gateway_settings, access, store) as gateway:
        status, body = await send(gateway, pictures())
        assert (status, error_of(body)["code"]) == (503, "UNKNOWN_ERROR")
        async with asyncio.timeout(10):
            while await gateway.stored_keys():
                await asyncio.sleep(0.01)


async def test_a_jobs_state_is_the_documents(six: Gateway) -> None:
    queued = await object_job(six, ModelType.BOTH)
    job_id = queued.job.job_id
    status, body = await get(six, f"/jobs/{job_id}")
    assert status == 200
    documented = ["job_id", "status", "progress", "current_model", "created_at", "updated_at", "error"]
    assert list(body)[:7] == documented
    assert [body[name] for name in documented[1:4]] == ["queued", 0, None]
    moving = await six.change(
        queued,
        EventType.PROGRESSED,
        status=JobStatus.PROCESSING,
        progress=Progress(percent=45.7, step="nvdiffrec.texturing_mesh"),
    )
    _, body = await get(six, f"/jobs/{job_id}")
    assert [body[name] for name in documented[1:4]] == ["processing", 45, "nvdiffrec"]
    assert body["step"] == "Texturing the mesh"
    assert re.fullmatch(r"[-\d]+T[:\d]+Z", str(body["updated_at"]))
    assert body["error"] is None
    await completed(six, moving)
    _, body = await get(six, f"/jobs/{job_id}")
    assert [body[name] for name in documented[1:4]] == ["completed", 100, None]
    assert body["models"] == [
        {"model": "reconviagen", "engine": "builtin", "quality": "normal", "psnr": 31.2, "ssim": 0.97}
    ]


async def test_a_failed_job_tells_why_and_so_does_its_download(six: Gateway) -> None:
    failure = Failure(
        code=ErrorCode.QUALITY_THRESHOLD_FAILED, message="Unlike its views.", details={"psnr": 12.5, "ssim": 0.5}
    )
    last = await object_job(six)
    await six.change(last, EventType.FAILED, status=JobStatus.FAILED, error=failure)
    _, body = await get(six, f"/jobs/{last.job.job_id}")
    assert body["status"] == "failed"
    assert body["error"] == {
        "code": "QUALITY_THRESHOLD_FAILED",
        "message": "Unlike its views.",
        "details": {"psnr": 12.5, "ssim": 0.5},
        "suggestion": "Reconstruction quality below threshold. Try uploading higher-quality input images.",
    }
    status, body = await get(six, f"/jobs/{last.job.job_id}/download")
    assert (status, error_of(body)["code"]) == (500, "QUALITY_THRESHOLD_FAILED")


@pytest.mark.parametrize("path", ["/jobs/k3m8xq2p", "/jobs/k3m8xq2p/download", "/jobs/K3M8/download"])
async def test_ids_that_never_were_are_not_found(six: Gateway, path: str) -> None:
    job_id = path.split("/")[2]
    status, body = await get(six, path)
    assert status == 404
    assert body == {
        "error": {
            "code": "JOB_NOT_FOUND",
            "message": f"Job '{job_id}' not found",
            "details": {"job_id": job_id},
            "suggestion": "Check the job ID and try again.",
        }
    }


async def test_other_peoples_jobs_do_not_exist(six: Gateway) -> None:
    mine = await object_job(six, owner=six.owner)
    path = f"/jobs/{mine.job.job_id}"
    assert (await six.get(path))[0] == 200
    for headers in ({}, six.somebody_else()):
        for found in (
            await six.get(path, headers),
            await six.get(f"{path}/download", headers),
            await six.post(f"{path}/cancel", {"confirm": True}, headers),
        ):
            assert (found[0], error_of(found[1])["code"]) == (404, "JOB_NOT_FOUND")
    assert (await recorded(six, mine.job.job_id)).job.status is JobStatus.QUEUED


async def test_a_wrong_key_is_refused_in_this_apis_form(six: Gateway) -> None:
    status, body = await six.get("/jobs/k3m8xq2p/download", {"X-API-Key": "wrong"})
    assert (status, error_of(body)["code"]) == (403, "FORBIDDEN")


async def test_cancelling_takes_two_steps(six: Gateway) -> None:
    _, body = await send(six, pictures())
    job_id = body["job_id"]
    status, body = await post(six, f"/jobs/{job_id}/cancel", {"confirm": False})
    assert (status, body) == (
        200,
        {
            "job_id": job_id,
            "status": "cancel_requested",
            "message": "Cancellation requested. Send confirm=true to confirm cancellation.",
        },
    )
    assert (await get(six, f"/jobs/{job_id}"))[1]["status"] == "queued"
    status, body = await post(six, f"/jobs/{job_id}/cancel", {"confirm": True})
    assert (status, body) == (
        200,
        {
            "job_id": job_id,
            "status": "cancelled",
            "message": "Job cancellation confirmed. Task will abort at next checkpoint.",
        },
    )
    assert (await get(six, f"/jobs/{job_id}"))[1]["status"] == "cancelled"
    async with asyncio.timeout(10):
        while await six.stored_keys():
            await asyncio.sleep(0.01)
    status, body = await get(six, f"/jobs/{job_id}/download")
    assert (status, error_of(body)["code"]) == (410, "JOB_EXPIRED")


async def test_a_body_may_be_left_out(six: Gateway) -> None:
    job_id = (await object_job(six)).job.job_id
    async with six.client.post(f"{six.url}/jobs/{job_id}/cancel") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "cancel_requested")


async def test_a_confirmation_of_what_nobody_asked_for_counts_as_the_request(six: Gateway) -> None:
    path = f"/jobs/{(await object_job(six)).job.job_id}/cancel"
    assert (await post(six, path, {"confirm": True}))[1]["status"] == "cancel_requested"
    assert (await post(six, path, {"confirm": True}))[1]["status"] == "cancelled"


async def test_a_request_lapses_after_an_hour(six: Gateway) -> None:
    last = await object_job(six)
    path = f"/jobs/{last.job.job_id}/cancel"
    old = await six.change(last, EventType.PROGRESSED, cancel_requested_at=now() - timedelta(minutes=61))
    assert (await post(six, path, {"confirm": True}))[1]["status"] == "cancel_requested"
    await six.change(
        await recorded(six, old.job.job_id), EventType.PROGRESSED, cancel_requested_at=now() - timedelta(minutes=59)
    )
    assert (await post(six, path, {"confirm": True}))[1]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "event", "state"),
    [
        (JobStatus.COMPLETED, EventType.COMPLETED, "SUCCESS"),
        (JobStatus.FAILED, EventType.FAILED, "FAILURE"),
        (JobStatus.CANCELLED, EventType.CANCELLED, "REVOKED"),
    ],
)
@pytest.mark.parametrize("body", [None, {"confirm": True}])
async def test_what_has_ended_cannot_be_cancelled(
    six: Gateway, status: JobStatus, event: EventType, state: str, body: object
) -> None:
    asked = await six.change(await object_job(six), EventType.PROGRESSED, cancel_requested_at=now())
    failure = Failure(code=ErrorCode.INTERNAL, message="x") if status is JobStatus.FAILED else None
    last = await six.change(asked, event, status=status, error=failure, finished_at=now())
    job_id = last.job.job_id
    answered, said = await post(six, f"/jobs/{job_id}/cancel", body)
    assert answered == 400
    assert said == {
        "error": {
            "code": "JOB_NOT_READY",
            "message": f"Cannot cancel job in state '{state}'",
            "details": {"job_id": job_id, "current_state": state},
            "suggestion": "Wait for job to complete before downloading. Poll GET /jobs/{job_id} for status.",
        }
    }
    assert (await recorded(six, job_id)).job.status is status


@pytest.mark.parametrize("body", [{"confirm": "perhaps"}, {"sure": True}, [True]])
async def test_a_body_that_is_not_understood_cancels_nothing(six: Gateway, body: object) -> None:
    last = await object_job(six)
    status, said = await post(six, f"/jobs/{last.job.job_id}/cancel", body)
    assert (status, error_of(said)["code"]) == (422, "VALIDATION_FAILED")
    assert (await recorded(six, last.job.job_id)).job.cancel_requested_at is None


async def test_a_worker_at_work_survives_the_request(six: Gateway, tmp_path: Path) -> None:
    last = await object_job(six)
    claim = Claim(service="mesh", worker="mesh-1", attempt=1)
    claimed = await six.change(last, EventType.STARTED, status=JobStatus.PROCESSING, claim=claim, attempts=1)
    work = StageWork(six.parts.job_log, claimed, tmp_path)
    work.log("before")
    writing = asyncio.create_task(work.write_until_stopped())
    job_id = last.job.job_id
    async with asyncio.timeout(20):
        while not await six.parts.job_log.lines(job_id):
            await asyncio.sleep(0.01)
        assert (await post(six, f"/jobs/{job_id}/cancel"))[1]["status"] == "cancel_requested"
        for text in ("after", "and after"):
            work.log(text)
        while len(await six.parts.job_log.lines(job_id)) < 3:
            await asyncio.sleep(0.01)
    assert not work.stopped.is_set()
    assert [line.message for line in await six.parts.job_log.lines(job_id)] == ["before", "after", "and after"]
    assert work.job.cancel_requested_at is not None
    assert (await post(six, f"/jobs/{job_id}/cancel", {"confirm": True}))[1]["status"] == "cancelled"
    work.log("too late")
    async with asyncio.timeout(20):
        await work.stopped.wait()
        await writing
    assert len(await six.parts.job_log.lines(job_id)) == 4, "the fourth says who cancelled"


async def test_results_come_as_one_zip_with_ranges_and_conditions(six: Gateway) -> None:
    last = await object_job(six)
    whole = await completed(six, last)
    url = f"{six.url}/jobs/{last.job.job_id}/download"
    async with six.client.get(url) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/zip"
        assert answer.headers["Content-Disposition"] == f"attachment; filename={last.job.job_id}.zip"
        assert await answer.read() == whole
        tag = answer.headers["ETag"]
    async with six.client.get(url, headers={"Range": "bytes=100-", "If-Range": tag}) as answer:
        assert (answer.status, await answer.read()) == (206, whole[100:])
    async with six.client.get(url, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with six.client.head(url) as answer:
        assert int(answer.headers["Content-Length"]) == len(whole)
    async with six.client.get(url, headers={"Range": "bytes=99999999-"}) as answer:
        assert (answer.status, error_of(await answer.json())["code"]) == (416, "RANGE_NOT_SATISFIABLE")


@pytest.mark.parametrize(("status", "state"), [(JobStatus.QUEUED, "PENDING"), (JobStatus.PROCESSING, "PROGRESS")])
async def test_a_job_at_work_has_no_results_yet(six: Gateway, status: JobStatus, state: str) -> None:
    last = await object_job(six)
    step = "reconviagen.fusing_depth"
    await six.change(last, EventType.PROGRESSED, status=status, progress=Progress(percent=45.2, step=step))
    job_id = last.job.job_id
    answered, body = await get(six, f"/jobs/{job_id}/download")
    assert answered == 409
    assert body == {
        "error": {
            "code": "JOB_NOT_READY",
            "message": f"Job '{job_id}' is still processing (45% complete)",
            "details": {"job_id": job_id, "progress": 45, "state": state},
            "suggestion": "Wait for job to complete before downloading. Poll GET /jobs/{job_id} for status.",
        }
    }


@pytest.mark.parametrize("how", ["a day ago", "removed"])
async def test_results_expire(six: Gateway, how: str) -> None:
    last = await object_job(six)
    await completed(six, last, age=timedelta(hours=24 if how == "a day ago" else 0))
    job_id = last.job.job_id
    if how == "removed":
        await six.parts.store.delete_prefix(keys.results(job_id))
    status, body = await get(six, f"/jobs/{job_id}/download")
    assert status == 410
    assert body == {
        "error": {
            "code": "JOB_EXPIRED",
            "message": f"Job '{job_id}' results have expired or been cleaned up",
            "details": {"job_id": job_id},
            "suggestion": "Job results are no longer available. Submit a new job if needed.",
        }
    }


async def test_results_that_lack_a_file_are_not_sent(six: Gateway) -> None:
    last = await object_job(six)
    await completed(six, last, without="mesh.obj")
    job_id = last.job.job_id
    status, body = await get(six, f"/jobs/{job_id}/download")
    assert status == 500
    assert body == {
        "error": {
            "code": "INCOMPLETE_RESULTS",
            "message": f"Job '{job_id}' has incomplete results",
            "details": {"job_id": job_id, "missing": ["mesh.obj"]},
            "suggestion": "Job outputs are incomplete. Contact support.",
        }
    }


async def test_the_views_of_different_jobs_are_kept_apart(six: Gateway) -> None:
    digests = set()
    for n in (1, 2):
        _, body = await send(six, replaced(0, view(100 + n)))
        job = (await recorded(six, body["job_id"])).job
        stored = await six.parts.store.get_bytes(keys.upload(job.request.dataset_id), 1 << 20)
        digests.add(hashlib.sha256(stored).hexdigest())
    assert len(digests) == 2
