"""Jobs through the ReMap API: every endpoint of the document, field by field and status by status."""

import asyncio
import re
from datetime import datetime
from itertools import pairwise

import pytest

from contracts import subjects
from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.jobs import Failure, JobKind, JobStatus, LogLine, Progress
from contracts.work import WorkItem
from runtime.clock import now
from runtime.job_log import Recorded
from runtime.refusals import Refusal
from services.gateway.owned_jobs import cancel_job
from tests.services.gateway.running_gateway import Gateway

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
NOT_FOUND = {"error": "Not Found", "message": "Job not found."}


async def test_health_needs_no_key(gateway: Gateway) -> None:
    status, body = await gateway.get("/api/v1/health", headers={})
    assert status == 200
    assert TIMESTAMP.fullmatch(str(body.pop("timestamp")))
    assert body == {"status": "ok", "version": "v1", "server": "ReMap"}


async def test_process_stores_the_job_with_the_documented_defaults_and_queues_its_work(gateway: Gateway) -> None:
    dataset_id = await gateway.dataset()
    status, body = await gateway.post("/api/v1/process", {"dataset_id": dataset_id})
    assert status == 202
    job_id = str(body["job_id"])
    assert re.fullmatch(r"[0-9a-f]{12}", job_id)
    assert body == {"job_id": job_id, "status": "queued", "message": "Processing started"}
    stored = await gateway.parts.job_log.read(job_id)
    assert stored is not None
    assert stored.job.owner == gateway.owner
    queued = await gateway.parts.bus.jetstream.get_last_msg(subjects.WORK_STREAM, subjects.work("ingest", job_id))
    assert WorkItem.model_validate_json(queued.data or b"").job_id == job_id
    status, shown = await gateway.get(f"/api/v1/jobs/{job_id}/status")
    assert status == 200
    assert shown["settings"] == {
        "fps": 5.0,
        "feature_type": "superpoint_aachen",
        "matcher_type": "superpoint+lightglue",
        "max_keypoints": 8192,
        "camera_model": "PINHOLE",
        "mapper_type": "GLOMAP",
        "stray_approach": "full_sfm",
        "pairing_mode": "exhaustive",
        "num_threads": None,
        "color_pipeline": "None",
        "input_colorspace": None,
        "output_colorspace": None,
        "stray_confidence": 2,
        "stray_depth_subsample": 2,
        "stray_gen_pointcloud": True,
        "strict_features": False,
    }
    await gateway.parts.bus.jetstream.purge_stream(subjects.WORK_STREAM, subject=subjects.work("ingest", job_id))


async def test_status_of_a_queued_job(gateway: Gateway) -> None:
    recorded = await gateway.job()
    _, body = await gateway.get(f"/api/v1/jobs/{recorded.job.job_id}/status")
    for name in ("created_at", "updated_at"):
        assert TIMESTAMP.fullmatch(str(body[name]))
    assert list(body) == [
        "job_id", "status", "progress", "current_step", "created_at", "updated_at", "error", "settings", "warnings",
    ]  # fmt: skip
    assert (body["status"], body["progress"], body["current_step"]) == ("queued", 0, "Initializing")
    assert body["error"] is None
    assert body["warnings"] == []


@pytest.mark.parametrize(
    ("step", "percent", "shown", "label"),
    [
        ("conversion", 10.0, 10, "ReScan → COLMAP"),
        ("features", 30.2, 30, "Features"),
        ("pairs", 64.99, 64, "Pairs"),
        ("matching", 65.0, 65, "Matching"),
        ("packaging", 100.0, 99, "SfM"),
    ],
)
async def test_progress_is_whole_and_the_step_has_its_documented_label(
    gateway: Gateway, step: str, percent: float, shown: int, label: str
) -> None:
    recorded = await gateway.job()
    await gateway.change(
        recorded,
        EventType.PROGRESSED,
        status=JobStatus.PROCESSING,
        progress=Progress(percent=percent, step=step),
        warnings=("sift was used.",),
    )
    _, body = await gateway.get(f"/api/v1/jobs/{recorded.job.job_id}/status")
    assert (body["status"], body["progress"], body["current_step"]) == ("processing", shown, label)
    assert isinstance(body["progress"], int)
    assert body["warnings"] == ["sift was used."]


async def fail(gateway: Gateway, recorded: Recorded) -> Recorded:
    failure = Failure(code=ErrorCode.TOO_FEW_FRAMES, message="Only 1 frame could be read.")
    return await gateway.change(recorded, EventType.FAILED, status=JobStatus.FAILED, error=failure)


async def test_final_states_are_named_as_documented(gateway: Gateway) -> None:
    done = await gateway.completed(b"zip")
    _, body = await gateway.get(f"/api/v1/jobs/{done.job.job_id}/status")
    assert (body["status"], body["progress"], body["current_step"]) == ("completed", 100, "Done")
    failed = await fail(gateway, await gateway.job())
    _, body = await gateway.get(f"/api/v1/jobs/{failed.job.job_id}/status")
    assert (body["status"], body["current_step"]) == ("failed", "Error")
    assert body["error"] == "Only 1 frame could be read."


async def test_logs_have_time_message_and_step_under_both_names(gateway: Gateway) -> None:
    lines = tuple(LogLine(time=now(), message=f"line {n}", step="Features") for n in range(3))
    recorded = await gateway.job(lines[:1])
    job_id = recorded.job.job_id
    _, first = await gateway.get(f"/api/v1/jobs/{job_id}/logs")
    await gateway.change(recorded, EventType.LOGGED, lines[1:])
    _, body = await gateway.get(f"/api/v1/jobs/{job_id}/logs")
    assert list(body) == ["job_id", "log", "logs"]
    assert body["job_id"] == job_id
    assert body["log"] == body["logs"]
    log = body["log"]
    assert isinstance(log, list)
    assert [entry["message"] for entry in log] == ["line 0", "line 1", "line 2"]
    assert first["log"] == log[:1]
    for entry, line in zip(log, lines, strict=True):
        assert list(entry) == ["time", "message", "step"]
        assert TIMESTAMP.fullmatch(entry["time"])
        assert datetime.fromisoformat(entry["time"]) == line.time
        assert entry["step"] == "Features"


async def test_list_holds_the_owners_jobs_most_recent_first(gateway: Gateway) -> None:
    made = [(await gateway.job()).job.job_id for _ in range(3)]
    status, body = await gateway.get("/api/v1/jobs")
    assert status == 200
    jobs = body["jobs"]
    assert isinstance(jobs, list)
    assert [job["job_id"] for job in jobs] == made[::-1]
    assert list(jobs[0]) == ["job_id", "status", "progress", "current_step", "created_at", "updated_at"]
    assert all(newer["created_at"] >= older["created_at"] for newer, older in pairwise(jobs))
    _, others = await gateway.get("/api/v1/jobs", gateway.somebody_else())
    assert others == {"jobs": []}


@pytest.mark.parametrize("what", ["status", "logs", "result"])
async def test_jobs_of_others_and_jobs_that_never_were_look_the_same(gateway: Gateway, what: str) -> None:
    job_id = (await gateway.completed(b"zip")).job.job_id
    assert await gateway.get(f"/api/v1/jobs/{job_id}/{what}", gateway.somebody_else()) == (404, NOT_FOUND)
    assert await gateway.get(f"/api/v1/jobs/000000000000/{what}") == (404, NOT_FOUND)
    assert await gateway.get(f"/api/v1/jobs/*.%3E/{what}") == (404, NOT_FOUND)


async def test_cancelling_somebody_elses_job_is_a_404_and_does_nothing(gateway: Gateway) -> None:
    job_id = (await gateway.job()).job.job_id
    assert await gateway.post(f"/api/v1/jobs/{job_id}/cancel", headers=gateway.somebody_else()) == (404, NOT_FOUND)
    assert await gateway.post("/api/v1/jobs/000000000000/cancel") == (404, NOT_FOUND)
    _, body = await gateway.get(f"/api/v1/jobs/{job_id}/status")
    assert body["status"] == "queued"


async def test_processing_somebody_elses_data_set_is_a_404(gateway: Gateway) -> None:
    theirs = await gateway.dataset(owner="somebody else")
    other_kind = await gateway.dataset(kind=JobKind.SCENE)
    for dataset_id in (theirs, other_kind, "000000000000", "../../secrets"):
        status, body = await gateway.post("/api/v1/process", {"dataset_id": dataset_id})
        assert (status, body["error"]) == (404, "Not Found")
        assert "Dataset not found" in str(body["message"])


async def test_cancel_is_written_once_and_tells_whoever_does_the_work(gateway: Gateway) -> None:
    recorded = await gateway.job()
    job_id = recorded.job.job_id
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: object) -> None:
        await heard.put(job_id)

    subscription = await gateway.parts.bus.listen(subjects.cancellations(job_id), hear)
    expected = (200, {"job_id": job_id, "status": "cancelled"})
    assert await gateway.post(f"/api/v1/jobs/{job_id}/cancel") == expected
    assert await asyncio.wait_for(heard.get(), 2.0) == job_id
    assert await gateway.post(f"/api/v1/jobs/{job_id}/cancel") == expected
    events = [event async for event in gateway.parts.job_log.events(job_id)]
    assert [event.job.status for event in events] == [JobStatus.QUEUED, JobStatus.CANCELLED]
    _, body = await gateway.get(f"/api/v1/jobs/{job_id}/status")
    assert (body["status"], body["current_step"], body["error"]) == ("cancelled", "Cancelled", None)
    await subscription.unsubscribe()


async def test_finished_jobs_cannot_be_cancelled(gateway: Gateway) -> None:
    done = await gateway.completed(b"zip")
    failed = await fail(gateway, await gateway.job())
    for recorded, word in ((done, "completed"), (failed, "failed")):
        status, body = await gateway.post(f"/api/v1/jobs/{recorded.job.job_id}/cancel")
        assert (status, body["error"]) == (409, "Conflict")
        assert word in str(body["message"])


async def test_of_a_cancel_and_a_completion_exactly_one_is_written(gateway: Gateway) -> None:
    parts = gateway.parts

    async def complete(recorded: Recorded) -> bool:
        done = recorded.job.changed(now(), status=JobStatus.COMPLETED)
        try:
            await parts.job_log.write(recorded, EventType.COMPLETED, done)
        except Exception:
            return False
        return True

    async def cancel(recorded: Recorded) -> bool:
        try:
            await cancel_job(parts.job_log, parts.view, recorded.job.job_id, JobKind.CAPTURE, gateway.owner)
        except Refusal as refusal:
            assert refusal.status == 409
            return False
        return True

    for _ in range(20):
        recorded = await gateway.job()
        completed, cancelled = await asyncio.gather(complete(recorded), cancel(recorded))
        assert completed != cancelled
        last = await parts.job_log.read(recorded.job.job_id)
        assert last is not None
        assert last.job.status is (JobStatus.COMPLETED if completed else JobStatus.CANCELLED)


async def test_cancel_wins_over_progress_that_keeps_coming(gateway: Gateway) -> None:
    recorded = await gateway.job()
    stop = asyncio.Event()

    async def keep_changing() -> None:
        last = recorded
        while not stop.is_set():
            try:
                last = await gateway.parts.job_log.write(last, EventType.PROGRESSED, last.job.changed(now()))
            except Exception:
                return
            await asyncio.sleep(0.01)

    changing = asyncio.create_task(keep_changing())
    status, _ = await gateway.post(f"/api/v1/jobs/{recorded.job.job_id}/cancel")
    stop.set()
    await changing
    assert status == 200


@pytest.mark.parametrize("final", [JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED])
async def test_result_of_a_job_that_has_not_completed_is_a_409(gateway: Gateway, final: JobStatus) -> None:
    recorded = await gateway.job()
    if final is not JobStatus.QUEUED:
        await gateway.change(recorded, EventType(final.value), status=final)
    status, body = await gateway.get(f"/api/v1/jobs/{recorded.job.job_id}/result")
    assert (status, body["error"]) == (409, "Conflict")
    assert final.value in str(body["message"])


async def test_a_job_that_another_gateway_made_is_found(gateway: Gateway) -> None:
    recorded = await gateway.job()
    gateway.parts.view.forget(recorded.job.job_id)
    status, body = await gateway.get(f"/api/v1/jobs/{recorded.job.job_id}/status")
    assert (status, body["job_id"]) == (200, recorded.job.job_id)


async def test_a_closed_bus_is_a_503_that_says_when_to_come_back(gateway: Gateway) -> None:
    dataset_id = await gateway.dataset()
    await gateway.parts.bus.close()
    url = f"{gateway.url}/api/v1/process"
    async with gateway.client.post(url, json={"dataset_id": dataset_id}, headers=gateway.key) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["error"] == "Service Unavailable"
