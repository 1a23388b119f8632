"""Housekeeping: stranded jobs come back, expired things go, what is in use stays."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from contracts import keys, subjects
from contracts.errors import DependencyUnavailable
from contracts.events import EventType
from contracts.identifiers import new_object_job_id
from contracts.jobs import Job, JobKind, JobStatus
from contracts.object_settings import ObjectRequest
from contracts.uploads import Dataset
from runtime.clock import now
from runtime.custodian import Custodian
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.object_store import ObjectStore
from runtime.settings import RetentionSettings
from runtime.step_outputs import StepOutputs, StepRecord, recipe_of

HOUR = timedelta(hours=1)
SETTINGS = RetentionSettings(uploads_s=7 * 86400, results_s=30 * 86400, stranded_s=60)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
async def custodian(bus, job_log: JobLog, store: ObjectStore):
    async with JobView(bus, job_log) as view:
        yield Custodian(store, view, job_log, SETTINGS)


async def _put_dataset(store: ObjectStore, dataset_id: str) -> None:
    await store.put_bytes(keys.upload(dataset_id), b"zip")
    record = Dataset(
        dataset_id=dataset_id,
        kind=JobKind.CAPTURE,
        owner="ada",
        key=keys.upload(dataset_id),
        etag="e",
        size_bytes=3,
        files=(),
        created_at=now(),
    )
    await store.put_bytes(keys.dataset(dataset_id), record.model_dump_json().encode())


async def _keep_step(store: ObjectStore, dataset_id: str, tmp_path: Path, text: str) -> tuple[StepOutputs, str]:
    folder = tmp_path / "step"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text(text)
    outputs = StepOutputs(store, "test", dataset_id)
    recipe = recipe_of("features", 1, {"n": 1}, {"frames": "f"})
    await outputs.keep("features", recipe, folder, StepRecord(lines=["said"]))
    return outputs, recipe


async def test_a_job_without_work_in_the_queue_is_queued_once(custodian, job_log: JobLog, make_job) -> None:
    stranded, waiting, finished = make_job(), make_job(), make_job()
    await job_log.create(waiting)
    await job_log.queue(waiting)
    created = await job_log.create(finished)
    done = finished.changed(now(), status=JobStatus.COMPLETED)
    await job_log.write(created, EventType.COMPLETED, done)
    custodian._view.learn(await job_log.create(stranded))
    assert await custodian.queue_stranded_jobs(now()) == 0, "too young to be stranded"
    assert await custodian.queue_stranded_jobs(now() + 2 * MINUTE) == 1
    assert not await job_log.queue(stranded)
    assert await custodian.queue_stranded_jobs(now() + 2 * MINUTE) == 0


async def test_an_expired_data_set_goes_with_all_that_was_computed_on_it(
    custodian, job_log: JobLog, store: ObjectStore, make_job, tmp_path: Path
) -> None:
    job = make_job()
    used = job.request.dataset_id
    custodian._view.learn(await job_log.create(job))
    await _put_dataset(store, used)
    await _put_dataset(store, "unused000000")
    await _keep_step(store, "unused000000", tmp_path, "x")
    assert await custodian.remove_expired_datasets(now() + 6 * DAY) == 0
    assert await custodian.remove_expired_datasets(now() + 8 * DAY) == 1, "a job waits for the other"
    assert [info.key async for info in store.list("")] == [keys.dataset(used), keys.upload(used)]


async def test_results_go_after_their_time(custodian, job_log: JobLog, store: ObjectStore, make_job) -> None:
    job = make_job()
    created = await job_log.create(job)
    done = job.changed(now(), status=JobStatus.COMPLETED, finished_at=now())
    custodian._view.learn(await job_log.write(created, EventType.COMPLETED, done))
    await store.put_bytes(keys.result(job.job_id, 1, "r.zip"), b"r")
    assert await custodian.remove_expired_results(now() + 29 * DAY) == 0
    assert await custodian.remove_expired_results(now() + 31 * DAY) == 1
    assert not await store.exists(keys.result(job.job_id, 1, "r.zip"))


async def test_abandoned_uploads_and_superseded_copies_go(custodian, store: ObjectStore, tmp_path: Path) -> None:
    await _put_dataset(store, "kept00000000")
    await store.put_bytes(keys.upload("abandoned000"), b"zip")
    await _keep_step(store, "kept00000000", tmp_path, "first")
    outputs, recipe = await _keep_step(store, "kept00000000", tmp_path, "second")
    assert await custodian.remove_abandoned(now()) == 0, "it may still be in the making"
    assert await custodian.remove_abandoned(now() + 2 * DAY) == 2
    assert not await store.exists(keys.upload("abandoned000"))
    manifest = await outputs.find("features", recipe)
    assert manifest is not None
    assert manifest.lines == ("said",)
    await outputs.restore(manifest, tmp_path / "restored")
    assert (tmp_path / "restored" / "a.txt").read_text() == "second"


def test_recipes_depend_on_everything_and_on_no_order() -> None:
    base = recipe_of("s", 1, {"a": 1, "b": 2}, {"x": "1"})
    assert base == recipe_of("s", 1, {"b": 2, "a": 1}, {"x": "1"})
    others = {
        recipe_of("t", 1, {"a": 1, "b": 2}, {"x": "1"}),
        recipe_of("s", 2, {"a": 1, "b": 2}, {"x": "1"}),
        recipe_of("s", 1, {"a": 1, "b": 3}, {"x": "1"}),
        recipe_of("s", 1, {"a": 1, "b": 2}, {"x": "2"}),
    }
    assert len(others) == 4
    assert base not in others


async def test_what_is_left_of_a_data_set_without_a_record_goes(custodian, store: ObjectStore, tmp_path: Path) -> None:
    """Whoever removed it was cut off after the record; the manifest of its steps still names their files."""
    await _keep_step(store, "cutoff000000", tmp_path, "x")
    await _put_dataset(store, "kept00000000")
    await _keep_step(store, "kept00000000", tmp_path, "y")
    assert await custodian.remove_abandoned(now()) == 0
    assert await custodian.remove_abandoned(now() + 2 * DAY) == 1
    assert [info.key async for info in store.list(keys.dataset_steps("cutoff000000"))] == []
    assert len([info.key async for info in store.list(keys.dataset_steps("kept00000000"))]) == 2


async def test_steps_of_a_running_job_stay_whatever_became_of_its_data_set(
    custodian, job_log: JobLog, store: ObjectStore, make_job, tmp_path: Path
) -> None:
    job = make_job()
    custodian._view.learn(await job_log.create(job))
    outputs, recipe = await _keep_step(store, job.request.dataset_id, tmp_path, "x")
    assert await custodian.remove_abandoned(now() + 2 * DAY) == 0
    assert await outputs.find("features", recipe) is not None


async def test_results_of_jobs_that_nobody_remembers_go(
    custodian, job_log: JobLog, store: ObjectStore, make_job
) -> None:
    """Their log has expired, for instance while the system was switched off for a month."""
    waiting = make_job()
    custodian._view.learn(await job_log.create(waiting))
    await store.put_bytes(keys.result("forgotten000", 1, "r.zip"), b"r")
    await store.put_bytes(keys.stage_manifest("forgotten000", "ingest"), b"{}")
    await store.put_bytes(keys.stage_manifest(waiting.job_id, "ingest"), b"{}")
    assert await custodian.remove_expired_results(now() + 29 * DAY) == 0
    assert await custodian.remove_expired_results(now() + 31 * DAY) == 1
    assert [info.key async for info in store.list("")] == [keys.stage_manifest(waiting.job_id, "ingest")]


async def test_one_unreadable_manifest_does_not_end_housekeeping(custodian, store: ObjectStore, tmp_path: Path) -> None:
    await _put_dataset(store, "kept00000000")
    await _keep_step(store, "kept00000000", tmp_path, "x")
    await store.put_bytes(keys.step_manifest("kept00000000", "pairs", "0" * 32), b"not a manifest")
    await store.put_bytes(keys.step_copy("kept00000000", "pairs", "0" * 32, "1234abcd") + "pairs.txt", b"x")
    await store.put_bytes(keys.upload("abandoned000"), b"zip")
    assert await custodian.remove_abandoned(now() + 2 * DAY) == 1
    assert not await store.exists(keys.upload("abandoned000"))
    assert len([info async for info in store.list(keys.STEPS)]) == 4, "what a manifest may name stays"


async def test_a_large_record_is_a_record(custodian, store: ObjectStore) -> None:
    """An archive of very many files: its upload is not abandoned."""
    await store.put_bytes(keys.upload("large0000000"), b"zip")
    await store.put_bytes(keys.dataset("large0000000"), b'{"files": "' + b"x" * (17 << 20) + b'"}')
    assert await custodian.remove_abandoned(now() + 2 * DAY) == 0
    assert await store.exists(keys.upload("large0000000"))


async def test_nothing_is_removed_while_the_log_is_not_followed(
    bus, job_log: JobLog, store: ObjectStore, restartable_nats
) -> None:
    """A job that nobody here has heard of may be using the data set at this moment."""
    async with JobView(bus, job_log) as view:
        hasty = Custodian(store, view, job_log, RetentionSettings(uploads_s=1e-6))
        await _put_dataset(store, "expired00000")
        restartable_nats.kill()
        async with asyncio.timeout(20):
            while bus.is_connected:
                await asyncio.sleep(0.01)
        with pytest.raises(DependencyUnavailable):
            await hasty.sweep()
        assert await store.exists(keys.dataset("expired00000"))
        restartable_nats.start()
        async with asyncio.timeout(20):
            while not view.is_current:
                await asyncio.sleep(0.01)
        await hasty.sweep()
        assert not await store.exists(keys.dataset("expired00000"))


async def test_housekeeping_goes_on_after_whatever_went_wrong(
    bus, job_log: JobLog, store: ObjectStore, make_job, tmp_path: Path
) -> None:
    """A stranded job is still found after a sweep that failed, for instance because somebody removed the bucket."""
    async with JobView(bus, job_log) as view:
        custodian = Custodian(store, view, job_log, RetentionSettings(stranded_s=60, sweep_s=0.05))
        await store.remove_bucket()
        sweeping = asyncio.create_task(custodian.run())
        try:
            for _ in range(2):
                stranded = make_job().changed(now() - 2 * MINUTE)
                await job_log.create(stranded)
                async with asyncio.timeout(20):
                    while await job_log.queue(stranded):
                        await bus.jetstream.purge_stream(subjects.WORK_STREAM)
                        await asyncio.sleep(0.2)
            assert not sweeping.done()
        finally:
            await store.ensure_bucket()
            sweeping.cancel()
            await asyncio.wait({sweeping})
        assert sweeping.cancelled()


async def _ended_object(custodian, job_log: JobLog, status: JobStatus, event: EventType) -> Job:
    moment = now()
    job = Job(
        job_id=new_object_job_id(),
        kind=JobKind.OBJECT,
        owner="ada",
        stage="mesh",
        request=ObjectRequest(dataset_id=new_object_job_id()),
        created_at=moment,
        updated_at=moment,
    )
    created = await job_log.create(job)
    ended = job.changed(moment, status=status, finished_at=moment)
    custodian._view.learn(await job_log.write(created, event, ended))
    return ended


async def test_objects_are_kept_for_a_day(custodian, job_log: JobLog, store: ObjectStore) -> None:
    job = await _ended_object(custodian, job_log, JobStatus.COMPLETED, EventType.COMPLETED)
    await store.put_bytes(keys.result(job.job_id, 1, "r.zip"), b"r")
    assert await custodian.remove_expired_results(now() + 23 * HOUR) == 0
    assert await custodian.remove_expired_results(now() + 25 * HOUR) == 1


async def test_what_a_cancelled_object_job_left_goes_at_once(custodian, job_log: JobLog, store: ObjectStore) -> None:
    cancelled = await _ended_object(custodian, job_log, JobStatus.CANCELLED, EventType.CANCELLED)
    done = await _ended_object(custodian, job_log, JobStatus.COMPLETED, EventType.COMPLETED)
    for job in (cancelled, done):
        await _put_dataset(store, job.request.dataset_id)
        await store.put_bytes(keys.result(job.job_id, 1, "r.zip"), b"r")
    await custodian.remove_expired_results(now())
    await custodian.remove_expired_datasets(now())
    kept = done.request.dataset_id
    assert [info.key async for info in store.list("")] == [
        keys.dataset(kept),
        keys.result(done.job_id, 1, "r.zip"),
        keys.upload(kept),
    ]
