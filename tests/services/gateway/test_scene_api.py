"""The scene document, field by field and status by status: uploads, states of jobs, clusters, insights."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from contracts import keys, subjects
from contracts.drift import Measurements, Statistic, compare
from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.identifiers import UUID
from contracts.jobs import Failure, JobKind, JobStatus
from contracts.outcomes import SceneOutcome
from contracts.pipelines import SCENE
from contracts.scene_settings import SceneRequest
from contracts.uploads import Dataset, Inspection, InspectRequest
from contracts.work import WorkItem
from runtime.access import Access
from runtime.clock import now
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from tests.services.gateway.scene_gateway import (
    PHOTOS_LIMIT_BYTES,
    Part,
    SceneGateway,
    at_step,
    completed_scene,
    forget_work,
    form_bytes,
    photos_zip,
    ply_name,
    post_form,
    running_scene_gateway,
    scene_job,
    send,
)

DOCUMENTED = {
    "job_id",
    "stage",
    "status",
    "progress",
    "message",
    "created_at",
    "started_at",
    "finished_at",
    "n_images",
    "n_points",
    "registration_rate",
    "error",
    "download_url",
    "has_drift",
    "drift_severity",
}
PHOTOS = photos_zip()
FILE: Part = ("file", "photos.zip", PHOTOS)


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


async def started(gateway: SceneGateway, parts: Sequence[Part]) -> SceneRequest:
    status, body = await send(gateway, parts)
    assert status == 202, body
    recorded = await gateway.parts.job_log.read(str(body["job_id"]))
    assert recorded is not None
    await forget_work(gateway, body["job_id"])
    assert isinstance(recorded.job.request, SceneRequest)
    return recorded.job.request


async def test_an_upload_is_accepted_with_202_and_starts_a_job(gateway: SceneGateway) -> None:
    async with post_form(gateway, [FILE]) as answer:
        assert answer.status == 202
        body = await answer.json()
    job_id = body["job_id"]
    assert UUID.fullmatch(job_id)
    assert body == {"job_id": job_id, "message": "Pipeline started."}
    recorded = await gateway.parts.job_log.read(job_id)
    assert recorded is not None
    job = recorded.job
    assert (job.kind, job.owner, job.status, job.stage) == (
        JobKind.SCENE,
        gateway.owner,
        JobStatus.QUEUED,
        SCENE.stages[0].service,
    )
    assert job.request == SceneRequest(dataset_id=job.request.dataset_id, dataset_name="custom", scene_name="scene_01")
    store = gateway.parts.store
    assert await store.get_bytes(keys.upload(job.request.dataset_id), 1 << 20) == PHOTOS
    dataset = Dataset.model_validate_json(await store.get_bytes(keys.dataset(job.request.dataset_id), 1 << 20))
    assert (dataset.kind, dataset.owner, len(dataset.files)) == (JobKind.SCENE, gateway.owner, 4)
    (question,) = gateway.photos.asked
    assert question == InspectRequest(
        kind=JobKind.SCENE, key=dataset.key, etag=dataset.etag, size_bytes=len(PHOTOS), file_name="photos.zip"
    )
    queued = await gateway.parts.bus.jetstream.get_last_msg(subjects.WORK_STREAM, subjects.work("ingest", job_id))
    assert WorkItem.model_validate_json(queued.data or b"").kind is JobKind.SCENE
    await forget_work(gateway, job_id)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
async def test_the_fields_come_in_any_order_with_others_between_them(
    gateway: SceneGateway, order: tuple[int, ...]
) -> None:
    parts: list[Part] = [FILE, ("dataset_name", None, "dům č. 5".encode()), ("scene_name", None, b" portal ")]
    other: Part = ("comment", None, b"x" * 5000)
    request = await started(gateway, [other, *(parts[place] for place in order), other])
    assert (request.dataset_name, request.scene_name) == ("dům č. 5", "portal")


async def test_a_name_that_is_left_empty_is_the_default(gateway: SceneGateway) -> None:
    request = await started(gateway, [("dataset_name", None, b""), FILE, ("scene_name", None, b" ")])
    assert (request.dataset_name, request.scene_name) == ("custom", "scene_01")


REFUSED: list[tuple[list[Part], str]] = [
    ([], "No file attached"),
    ([("files", "photos.zip", PHOTOS)], "'file'"),
    ([("file", None, PHOTOS)], "no file name"),
    ([("file", "photos.zip", b"")], "empty"),
    ([FILE, FILE], "twice"),
    ([FILE, ("dataset_name", None, b"x" * 129)], "128 characters"),
    ([("scene_name", None, b"x" * 100_000), FILE], "128 characters"),
    ([("dataset_name", None, b"a"), FILE, ("dataset_name", None, b"b")], "twice"),
    ([FILE, ("scene_name", None, b"a\x07b")], "printed"),
    ([("dataset_name", None, b"\xff\xfe"), FILE], "UTF-8"),
]


@pytest.mark.parametrize(("parts", "says"), REFUSED, ids=[says for _, says in REFUSED])
async def test_what_cannot_be_used_is_a_400_that_leaves_nothing(
    gateway: SceneGateway, parts: list[Part], says: str
) -> None:
    status, body = await send(gateway, parts)
    assert (status, list(body)) == (400, ["detail"])
    assert says in str(body["detail"])
    assert await gateway.stored_keys() == []
    assert gateway.photos.asked == []


@pytest.mark.parametrize("content", [b"not a ZIP at all" * 50, PHOTOS[: len(PHOTOS) // 2], photos_zip(0, 100)])
async def test_what_is_no_archive_of_pictures_is_a_400_with_ingests_reason(
    gateway: SceneGateway, content: bytes
) -> None:
    status, body = await send(gateway, [("file", "photos.zip", content)])
    assert (status, list(body)) == (400, ["detail"])
    assert len(gateway.photos.asked) == 1
    assert await gateway.stored_keys() == []


async def test_no_form_is_a_400(gateway: SceneGateway) -> None:
    status, body = await gateway.post("/upload", {"file": "photos.zip"})
    assert (status, list(body)) == (400, ["detail"])
    headers = gateway.key | {"Content-Type": "multipart/form-data; boundary=frontier"}
    async with gateway.client.post(gateway.url + "/upload", data=form_bytes([FILE])[:-40], headers=headers) as answer:
        assert (answer.status, list(await answer.json())) == (400, ["detail"])
    assert await gateway.stored_keys() == []


async def test_an_archive_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(gateway: SceneGateway) -> None:
    smallest = photos_zip(4, 1)
    exact = photos_zip(4, PHOTOS_LIMIT_BYTES - len(smallest) + 1)
    assert len(exact) == PHOTOS_LIMIT_BYTES
    await started(gateway, [("file", "photos.zip", exact)])
    for longer in (photos_zip(4, PHOTOS_LIMIT_BYTES - len(smallest) + 2), photos_zip(4, 3 * PHOTOS_LIMIT_BYTES)):
        status, body = await send(gateway, [("file", "photos.zip", longer)])
        assert (status, list(body)) == (413, ["detail"])
        assert "1 MB" in str(body["detail"])
    assert len(gateway.photos.asked) == 1


async def test_a_size_that_is_not_announced_is_noticed_on_the_way(gateway: SceneGateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        body = form_bytes([("file", "photos.zip", bytes(2 * PHOTOS_LIMIT_BYTES))])
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    headers = gateway.key | {"Content-Type": "multipart/form-data; boundary=frontier"}
    async with gateway.client.post(gateway.url + "/upload", data=chunks(), headers=headers) as answer:
        assert (answer.status, list(await answer.json())) == (413, ["detail"])
    assert await gateway.stored_keys() == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [(ErrorCode.DEPENDENCY_UNAVAILABLE, 503), (ErrorCode.INTERNAL, 500), (ErrorCode.INVALID_ARCHIVE, 400)],
)
async def test_whose_fault_it_is_decides_on_the_status(gateway: SceneGateway, code: ErrorCode, expected: int) -> None:
    failure = Failure(code=code, message="Told by ingest.", field="file")
    gateway.photos.instead = Inspection(error=failure).model_dump_json().encode()
    status, body = await send(gateway, [FILE])
    assert (status, list(body)) == (expected, ["detail"])
    assert ("Told by ingest." in str(body["detail"])) == (expected == 400)
    assert await gateway.stored_keys() == []


async def both_states(gateway: SceneGateway, job_id: str) -> dict[str, object]:
    first_status, first = await gateway.get(f"/status/{job_id}")
    second_status, second = await gateway.get(f"/jobs/{job_id}")
    assert (first_status, second_status) == (200, 200)
    assert first == second
    assert set(first) == DOCUMENTED | {"overall_progress", "warnings", "error_code"}
    return first


async def test_a_new_job_is_queued(gateway: SceneGateway) -> None:
    recorded = await scene_job(gateway)
    state = await both_states(gateway, recorded.job.job_id)
    assert {name: state[name] for name in DOCUMENTED - {"message"}} == {
        "job_id": recorded.job.job_id,
        "stage": "queued",
        "status": "queued",
        "progress": 0,
        "created_at": recorded.job.created_at.timestamp(),
        "started_at": None,
        "finished_at": None,
        "n_images": 0,
        "n_points": 0,
        "registration_rate": None,
        "error": None,
        "download_url": None,
        "has_drift": False,
        "drift_severity": "low",
    }


STAGES = {
    "initializing": ("queued", 0),
    "extracting": ("extracting", 10),
    "features": ("matching", 30),
    "pairs": ("matching", 30),
    "matching": ("matching", 30),
    "mapping": ("triangulating", 70),
    "clouds": ("decimating", 85),
    "packaging": ("decimating", 85),
}


async def test_stages_and_progress_follow_the_work_by_the_documents_table(gateway: SceneGateway) -> None:
    steps = [step for stage in SCENE.stages for step in stage.steps]
    assert {step.name for step in steps} == set(STAGES)
    recorded = await scene_job(gateway)
    for step in steps:
        # As soon as the step begins, and not once it is done.
        recorded = await at_step(gateway, recorded, step.name, step.from_percent)
        state = await both_states(gateway, recorded.job.job_id)
        assert (state["stage"], state["progress"]) == STAGES[step.name]
        assert state["status"] == state["stage"]
        assert state["overall_progress"] == int(step.from_percent)
        assert state["message"]


async def test_figures_are_shown_as_soon_as_they_are_known(gateway: SceneGateway) -> None:
    recorded = await at_step(gateway, await scene_job(gateway), "features")
    recorded = await gateway.change(recorded, EventType.PROGRESSED, outcome=SceneOutcome(images=45))
    state = await both_states(gateway, recorded.job.job_id)
    assert (state["n_images"], state["n_points"], state["registration_rate"]) == (45, 0, None)
    outcome = SceneOutcome(images=45, points=124532, registration_rate=0.9333, has_drift=True, drift_severity="high")
    recorded = await gateway.change(recorded, EventType.PROGRESSED, outcome=outcome)
    state = await both_states(gateway, recorded.job.job_id)
    assert (state["n_points"], state["registration_rate"]) == (124532, 0.9333)
    assert (state["has_drift"], state["drift_severity"]) == (True, "high")


async def test_a_completed_job_has_its_times_and_says_where_its_clouds_are(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway)
    job = done.recorded.job
    state = await both_states(gateway, job.job_id)
    assert (state["stage"], state["status"], state["progress"]) == ("success", "success", 100)
    assert job.started_at is not None and job.finished_at is not None
    assert [state[f"{name}_at"] for name in ("created", "started", "finished")] == [
        moment.timestamp() for moment in (job.created_at, job.started_at, job.finished_at)
    ]
    url = str(state["download_url"])
    async with gateway.client.get(gateway.url + url, headers=gateway.key) as answer:
        assert (answer.status, answer.content_type) == (200, "application/zip")


async def test_a_job_without_clouds_names_no_download(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, clouds=(), others={"submission.csv": b"dataset,scene\n"})
    assert (await both_states(gateway, done.job_id))["download_url"] is None


async def test_failed_and_cancelled_jobs_end_at_zero(gateway: SceneGateway) -> None:
    failure = Failure(code=ErrorCode.NO_MODEL, message="No two pictures show the same place.")
    recorded = await at_step(gateway, await scene_job(gateway), "mapping", 75)
    failed = await gateway.change(recorded, EventType.FAILED, status=JobStatus.FAILED, error=failure, finished_at=now())
    state = await both_states(gateway, failed.job.job_id)
    assert (state["stage"], state["progress"], state["error"]) == ("failed", 0, failure.message)
    assert (state["error_code"], state["download_url"]) == ("NO_MODEL", None)
    recorded = await at_step(gateway, await scene_job(gateway), "matching", 40)
    cancelled = await gateway.change(recorded, EventType.CANCELLED, status=JobStatus.CANCELLED, finished_at=now())
    state = await both_states(gateway, cancelled.job.job_id)
    assert (state["stage"], state["status"], state["progress"], state["error"]) == ("cancelled", "cancelled", 0, None)


async def test_clusters_are_listed_with_the_names_of_their_files(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway)
    status, body = await gateway.get(f"/clusters/{done.job_id}")
    assert status == 200
    assert body == {
        "clusters": [
            {
                "id": number,
                "name": f"cluster{number}_model0",
                "num_points3D": 1000 - number,
                "filename": ply_name(done.job_id, number),
                "num_images": 20 - number,
            }
            for number in (0, 1)
        ]
    }
    waiting = await scene_job(gateway)
    assert await gateway.get(f"/clusters/{waiting.job.job_id}") == (200, {"clusters": []})


BASELINE = Measurements(features={"brightness": Statistic(mean=100, std=10, count=50)})


def measured(brightness: float) -> Measurements:
    return Measurements(features={"brightness": Statistic(mean=brightness, std=10, count=50)})


@pytest.mark.parametrize(
    ("brightness", "severity", "recommendation"),
    [
        (105, "low", "No action needed."),
        (140, "moderate", "Moderate drift detected. Monitor future submissions."),
        (180, "high", "High drift detected. Evaluated auto-retraining trigger."),
    ],
)
async def test_insights_carry_the_flags_of_the_report(
    gateway: SceneGateway, brightness: float, severity: str, recommendation: str
) -> None:
    report = compare(BASELINE, measured(brightness), now())
    drifted = severity != "low"
    outcome = SceneOutcome.model_validate(
        {
            "images": 45,
            "points": 124532,
            "registration_rate": 0.9333,
            "has_drift": drifted,
            "drift_severity": severity,
        }
    )
    done = await completed_scene(
        gateway, others={"drift_report.json": report.model_dump_json().encode()}, outcome=outcome
    )
    status, body = await gateway.get(f"/jobs/{done.job_id}/insights")
    shown = body.pop("drift_report")
    assert (status, body) == (
        200,
        {
            "registration_rate": 0.9333,
            "n_points": 124532,
            "has_drift": drifted,
            "drift_severity": severity,
            "recommendation": recommendation,
        },
    )
    assert isinstance(shown, dict)
    assert (shown["drift_detected"], shown["severity"]) == (drifted, severity)
    assert shown["checks"]["brightness"]["drift"] is drifted
    assert [alert["feature"] for alert in shown["alerts"]] == ["brightness"] * drifted
    assert (shown["n_features_checked"], shown["n_scenes_checked"]) == (1, 1)
    state = await both_states(gateway, done.job_id)
    assert (state["has_drift"], state["drift_severity"]) == (drifted, severity)


async def test_insights_of_a_job_under_way_are_what_is_known(gateway: SceneGateway) -> None:
    waiting = await scene_job(gateway)
    status, body = await gateway.get(f"/jobs/{waiting.job.job_id}/insights")
    assert (status, body["drift_report"], body["registration_rate"], body["n_points"]) == (200, None, None, 0)
    assert body["recommendation"] == "No action needed."


async def test_insights_survive_a_report_that_has_expired_or_cannot_be_read(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, others={"drift_report.json": b"{"})
    status, body = await gateway.get(f"/jobs/{done.job_id}/insights")
    assert (status, body["drift_report"], body["n_points"]) == (200, None, 1999)
    await gateway.parts.store.delete_prefix(keys.results(done.job_id))
    status, body = await gateway.get(f"/jobs/{done.job_id}/insights")
    assert (status, body["drift_report"], body["n_points"]) == (200, None, 1999)


PATHS = ["/clusters/{id}", "/jobs/{id}/insights", "/download/jobs/{id}", "/download/jobs/{id}/csv", "/jobs/{id}"]


@pytest.mark.parametrize("path", PATHS)
async def test_to_everybody_else_a_job_does_not_exist(gateway: SceneGateway, path: str) -> None:
    done = await completed_scene(gateway)
    other = gateway.somebody_else()
    url = path.replace("{id}", done.job_id)
    assert await gateway.get(url, other) == (404, {"detail": "Job not found."})
    unknown = [str(uuid.uuid4())] if path == "/jobs/{id}" else [str(uuid.uuid4()), "x", "a*b", done.job_id[:8]]
    for job_id in unknown:
        assert await gateway.get(path.replace("{id}", job_id), other) == (404, {"detail": "Job not found."}), job_id


async def test_two_uploads_are_two_jobs_at_the_same_time(gateway: SceneGateway) -> None:
    answers = await asyncio.gather(*(send(gateway, [FILE]) for _ in range(2)))
    ids = {str(body["job_id"]) for status, body in answers if status == 202}
    assert len(ids) == 2
    for job_id in ids:
        queued = await gateway.parts.bus.jetstream.get_last_msg(subjects.WORK_STREAM, subjects.work("ingest", job_id))
        assert WorkItem.model_validate_json(queued.data or b"").job_id == job_id
        await forget_work(gateway, job_id)
