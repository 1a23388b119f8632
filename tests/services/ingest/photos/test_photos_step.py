"""Photographs on a real bus and store: the stage of a job, the two questions, and what both leave behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts import keys, subjects
from contracts.drift import Measured
from contracts.errors import ErrorCode
from contracts.identifiers import new_dataset_id, new_uuid_job_id
from contracts.jobs import Job, JobKind, JobStatus
from contracts.outcomes import SceneOutcome
from contracts.photos import PhotoManifest
from contracts.scene_settings import SceneRequest
from contracts.uploads import Dataset, Inspection, InspectRequest
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.object_store import ObjectStore
from runtime.settings import BusSettings, WorkerSettings
from runtime.stage_child import StageChildren
from runtime.step_outputs import StepOutputs, read_stage_manifest
from runtime.worker import Worker
from services.ingest.photos.step import STEP, Measurer, PhotosStep, look_into_photos
from services.ingest.step import Inspector
from tests.runtime.scripted_worker import Stage, running
from tests.services.ingest.photos.photo_files import encoded, textured, zip_of

MEMORY_BYTES = 4 << 30


@pytest.fixture
async def bus(restartable_nats) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings(url=restartable_nats.url), "test") as connected:
        yield connected


@pytest.fixture
async def stage(bus: Bus, tmp_path: Path) -> AsyncIterator[Stage]:
    job_log = JobLog(bus, "test")
    async with JobView(bus, job_log) as view:
        yield Stage(bus, view, job_log, tmp_path / "scratch")


@pytest.fixture
async def worker(stage: Stage, store: ObjectStore) -> AsyncIterator[Worker]:
    children = StageChildren(WorkerSettings(), preload=("services.ingest.photos.entry",))
    step = PhotosStep(store, children)
    yield Worker("ingest", stage.bus, JobLog(stage.bus, "ingest"), step, stage.settings)
    await children.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "measuring"
    folder.mkdir()
    return folder


async def upload(store: ObjectStore, files: dict[str, bytes]) -> str:
    """A data set as the gateway stores it; returns its id."""
    dataset_id, data = new_dataset_id(), zip_of(files).getvalue()
    key = keys.upload(dataset_id)
    await store.put_bytes(key, data)
    record = Dataset(
        dataset_id=dataset_id,
        kind=JobKind.SCENE,
        owner="ada",
        key=key,
        etag="e",
        size_bytes=len(data),
        files=tuple(files),
        created_at=now(),
    )
    await store.put_bytes(keys.dataset(dataset_id), record.model_dump_json().encode())
    return dataset_id


def scene_job(dataset_id: str) -> Job:
    moment = now()
    return Job(
        job_id=new_uuid_job_id(),
        kind=JobKind.SCENE,
        owner="ada",
        stage="ingest",
        request=SceneRequest(dataset_id=dataset_id),
        created_at=moment,
        updated_at=moment,
    )


def left_ingest(job: Job) -> bool:
    return job.stage != "ingest" or job.status.is_final


FILES = {
    "set/a.jpg": encoded(textured(1)),
    "set/b.jpg": encoded(textured(2)),
    "set/c.jpg": encoded(textured(3)),
    "set/copy of c.jpg": encoded(textured(3)),
    "set/broken.jpg": b"\xff\xd8\xff",
}


async def test_a_job_leaves_canonical_pictures_and_says_how_many(
    stage: Stage, store: ObjectStore, worker: Worker, tmp_path: Path
) -> None:
    dataset_id = await upload(store, FILES)
    first, second = scene_job(dataset_id), scene_job(dataset_id)
    async with running(worker):
        ended = []
        for job in (first, second):
            await stage.submit(job)
            ended.append(await stage.until(job.job_id, left_ingest))
    for job in ended:
        assert (job.status, job.stage) == (JobStatus.PROCESSING, "sfm")
        assert job.outcome == SceneOutcome(images=3)
        assert job.progress.percent == 30
        assert any("broken.jpg" in warning for warning in job.warnings)
    lines = await stage.messages(second.job_id)
    assert any("reused from an earlier job" in line for line in lines)
    assert any("3 pictures, 1 cameras" in line for line in lines)
    manifests = [await read_stage_manifest(store, job.job_id, "ingest") for job in (first, second)]
    assert manifests[0].steps == manifests[1].steps
    assert manifests[0].recipes == manifests[1].recipes
    outputs = StepOutputs(store, "test", dataset_id)
    await outputs.restore(await outputs.load(manifests[0].steps[STEP]), tmp_path / "restored")
    manifest = PhotoManifest.model_validate_json((tmp_path / "restored" / "photos.json").read_bytes())
    assert [photo.name for photo in manifest.photos] == ["a.jpg", "b.jpg", "c.jpg"]
    for photo in manifest.photos:
        assert (tmp_path / "restored" / photo.file).read_bytes() == FILES[f"set/{photo.name}"]


async def test_pictures_that_cannot_be_used_fail_the_job_with_the_reason(
    stage: Stage, store: ObjectStore, worker: Worker
) -> None:
    corrupt = scene_job(await upload(store, {f"{n}.jpg": b"x" for n in range(3)}))
    expired = scene_job(new_dataset_id())
    async with running(worker):
        for job in (corrupt, expired):
            await stage.submit(job)
        ended = [await stage.until(job.job_id, left_ingest) for job in (corrupt, expired)]
    assert [job.status for job in ended] == [JobStatus.FAILED, JobStatus.FAILED]
    assert [job.error and job.error.code for job in ended] == [ErrorCode.INVALID_IMAGE, ErrorCode.NOT_FOUND]


async def question(store: ObjectStore, files: dict[str, bytes]) -> InspectRequest:
    data = zip_of(files).getvalue()
    key = keys.upload(new_dataset_id())
    await store.put_bytes(key, data)
    return InspectRequest(kind=JobKind.SCENE, key=key, etag="e", size_bytes=len(data))


async def ask(bus: Bus, subject: str, request: InspectRequest) -> bytes:
    return await bus.request(subject, request.model_dump_json().encode(), timeout_s=60)


async def test_an_inspection_lists_the_pictures_or_says_what_is_wrong(bus: Bus, store: ObjectStore) -> None:
    subject = subjects.inspect(JobKind.SCENE)
    await bus.answer(subject, "ingest", Inspector(store, look_into_photos).answer)
    good = Inspection.model_validate_json(await ask(bus, subject, await question(store, FILES)))
    assert good.files == ("a.jpg", "b.jpg", "broken.jpg", "c.jpg", "copy of c.jpg")
    assert good.error is None
    bad = Inspection.model_validate_json(await ask(bus, subject, await question(store, {"a.txt": b"x"})))
    assert bad.files == ()
    assert bad.error is not None
    assert bad.error.code is ErrorCode.MISSING_FILE


async def test_a_measurement_tells_statistics_and_leaves_nothing(bus: Bus, store: ObjectStore, scratch: Path) -> None:
    subject = subjects.measure(JobKind.SCENE)
    await bus.answer(subject, "ingest", Measurer(store, scratch, MEMORY_BYTES).answer)
    measured = Measured.model_validate_json(await ask(bus, subject, await question(store, FILES)))
    assert measured.error is None
    assert measured.images == 3
    assert measured.measurements is not None
    assert measured.measurements.features["width"].mean == 96
    assert measured.measurements.features["width"].count == 3
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({f"{n}.jpg": b"x" for n in range(3)}, ErrorCode.INVALID_IMAGE),
        ({"a.txt": b"x"}, ErrorCode.MISSING_FILE),
        (None, ErrorCode.NOT_FOUND),
    ],
)
async def test_a_measurement_that_fails_says_why(
    store: ObjectStore, scratch: Path, *, files: dict[str, bytes] | None, code: ErrorCode
) -> None:
    request = await question(store, files or {})
    if files is None:
        await store.delete(request.key)
    measurer = Measurer(store, scratch, MEMORY_BYTES)
    measured = Measured.model_validate_json(await measurer.answer(request.model_dump_json().encode()))
    assert measured.measurements is None
    assert measured.error is not None
    assert measured.error.code is code
    assert list(scratch.iterdir()) == []


async def test_the_event_loop_goes_on_while_pictures_are_measured(store: ObjectStore, scratch: Path) -> None:
    large = encoded(textured(1, 4000, 3000), "PNG", compress_level=1)
    request = await question(store, {"a.png": large, "b.jpg": encoded(textured(2, 4000, 3000))})
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, loop.time() - before)

    watching = asyncio.create_task(watch())
    answer = await Measurer(store, scratch, MEMORY_BYTES).answer(request.model_dump_json().encode())
    watching.cancel()
    assert Measured.model_validate_json(answer).images == 2
    assert longest_s < 0.5
