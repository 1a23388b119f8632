"""Ingest's stages on a real bus and store: what it leaves alone, and that it lets go at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts import keys, subjects
from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.events import EventType
from contracts.identifiers import new_capture_job_id, new_dataset_id
from contracts.jobs import Job, JobKind, JobStatus
from contracts.uploads import Dataset
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.object_store import ObjectStore, StoreAddress
from runtime.settings import BusSettings, WorkerSettings
from runtime.stage_child import StageChildren
from runtime.step_outputs import read_stage_manifest, write_stage_manifest
from runtime.worker import Worker
from services.ingest.clouds.step import CloudStep
from services.ingest.step import CaptureStep
from tests.runtime.breakable_link import BreakableLink


@pytest.fixture
def job() -> Job:
    moment = now()
    return Job(
        job_id=new_capture_job_id(),
        kind=JobKind.CAPTURE,
        owner="ada",
        stage="ingest",
        request=CaptureRequest(dataset_id=new_dataset_id(), settings=CaptureSettings()),
        created_at=moment,
        updated_at=moment,
    )


@pytest.fixture
async def bus(restartable_nats) -> AsyncIterator[Bus]:
    async with await Bus.connect(BusSettings(url=restartable_nats.url), "test") as connected:
        yield connected


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[StageChildren]:
    made = StageChildren(WorkerSettings(), preload=())
    yield made
    await made.close()


@pytest.mark.parametrize("step", [CaptureStep, CloudStep])
async def test_a_superseded_attempt_leaves_its_successors_manifest_alone(
    store: ObjectStore, children: StageChildren, job: Job, step: type[CaptureStep | CloudStep]
) -> None:
    """It was paused; meanwhile another worker has finished the stage, and the next stage is about to read what it left."""
    await write_stage_manifest(store, job.job_id, "ingest", {"conversion": "steps/…"}, {"frames": "f"})
    await step(store, children).clean_up(job)
    assert (await read_stage_manifest(store, job.job_id, "ingest")).recipes == {"frames": "f"}


async def test_a_cancel_is_obeyed_while_the_store_stalls(
    bus: Bus, store: ObjectStore, store_address: StoreAddress, *, children: StageChildren, job: Job, tmp_path: Path
) -> None:
    dataset_id = job.request.dataset_id
    await store.put_bytes(keys.upload(dataset_id), b"x" * (4 << 20))
    record = Dataset(
        dataset_id=dataset_id,
        kind=JobKind.CAPTURE,
        owner="ada",
        key=keys.upload(dataset_id),
        etag="e",
        size_bytes=4 << 20,
        files=(),
        created_at=now(),
    )
    await store.put_bytes(keys.dataset(dataset_id), record.model_dump_json().encode())
    job_log = JobLog(bus, "test")
    async with (
        BreakableLink(store_address.endpoint_url) as link,
        ObjectStore(replace(store_address, endpoint_url=link.url)) as stalling,
    ):
        settings = WorkerSettings(scratch=tmp_path / "scratch")
        worker = Worker("ingest", bus, JobLog(bus, "ingest"), CaptureStep(stalling, children), settings)
        working = asyncio.create_task(worker.run())
        link.freeze("down")
        created = await job_log.create(job)
        await job_log.queue(job)
        await link.sent(b"GET ", 1)
        started = await job_log.read(job.job_id)
        assert started is not None
        assert started.sequence > created.sequence
        cancelled = started.job.changed(now(), status=JobStatus.CANCELLED, claim=None, finished_at=now())
        await job_log.write(started, EventType.CANCELLED, cancelled)
        async with asyncio.timeout(2):
            while (await bus.jetstream.stream_info(subjects.WORK_STREAM)).state.messages:
                await asyncio.sleep(0.01)
        assert not any(path.is_file() for path in (tmp_path / "scratch").rglob("upload*"))
        worker.stop()
        await asyncio.wait_for(working, 20)
        link.thaw()
