"""The mesh worker on a real bus and store, with real children: from a stored upload to what is delivered."""

import asyncio
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from contracts import keys, subjects
from contracts.devices import Gpu
from contracts.errors import AlidadeError, ErrorCode, GpuUnavailable, UserError
from contracts.events import EventType
from contracts.identifiers import new_dataset_id, new_object_job_id
from contracts.jobs import Job, JobKind, JobStatus
from contracts.object_files import DEPTHS_FIELD, MODEL_FILES, STORED_NAMES, VIEWS_FIELD, stored_name
from contracts.object_settings import GivenCameras, ModelType, ObjectRequest, ObjectSettings
from contracts.outcomes import ModelOutcome, ObjectOutcome
from contracts.pipelines import OBJECT
from contracts.progress import Silence
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.object_store import ObjectStore
from runtime.settings import BusSettings, GpuSettings, WorkerSettings
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.worker import Worker
from samples.objects import make_object
from samples.objects_files import write_upload
from samples.objects_views import exact_spec
from services.mesh import engines, packages
from services.mesh.builtin import BuiltinEngine
from services.mesh.packing import pack, unpack
from services.mesh.pipeline import ModelReporter
from services.mesh.step import ObjectStep, refuse_incomplete, refuse_unlike_its_views
from services.mesh.views import depth_name, view_name
from tests.services.ingest.view_files import png
from tests.services.mesh.conftest import Taken

CARD = Gpu(name="Card", driver_version="1", memory_total_gb=16, memory_free_gb=15, memory_used_gb=1)
IN_TIME_S = 120.0
SIZE_PX = 96
"""Small, for what is tested here is the way of the pictures and not what is made of them."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    folder = tmp_path_factory.mktemp("small")
    sample = make_object("bracket", 3)
    write_upload(sample, exact_spec(SIZE_PX), folder)
    told = json.loads((folder / "cameras.json").read_text())
    return Taken(sample, folder, GivenCameras.model_validate(told))


def zipped(folder: Path, instead: dict[str, bytes] | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in STORED_NAMES:
            archive.writestr(name, (instead or {}).get(name) or (folder / name).read_bytes())
    return packed.getvalue()


@dataclass
class Bench:
    """A bus and a store, and a worker to be started on them."""

    bus: Bus
    store: ObjectStore
    job_log: JobLog
    scratch: Path

    async def submit(self, cameras: GivenCameras | None, upload: bytes | None, model: ModelType) -> str:
        moment = now()
        job = Job(
            job_id=new_object_job_id(),
            kind=JobKind.OBJECT,
            owner="ada",
            stage="mesh",
            request=ObjectRequest(
                dataset_id=new_dataset_id(), settings=ObjectSettings(model_type=model, cameras=cameras)
            ),
            created_at=moment,
            updated_at=moment,
        )
        if upload is not None:
            await self.store.put_bytes(keys.upload(job.request.dataset_id), upload)
        await self.job_log.create(job)
        await self.job_log.queue(job)
        return job.job_id

    @asynccontextmanager
    async def worker(self, *, gpu_required: bool = False, memory_bytes: int = 8 << 30) -> AsyncIterator[None]:
        settings = WorkerSettings(scratch=self.scratch, max_attempts=1, memory_bytes=memory_bytes)
        children = StageChildren(settings, preload=())
        step = ObjectStep(self.store, children, GpuSettings(required=gpu_required))
        worker = Worker("mesh", self.bus, self.job_log, step, settings)
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await running
            await children.close()

    async def until(self, job_id: str, condition: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(IN_TIME_S):
            while True:
                found = await self.job_log.read(job_id)
                assert found is not None
                if condition(found.job):
                    return found.job
                await asyncio.sleep(0.02)

    async def end(self, job_id: str) -> Job:
        return await self.until(job_id, lambda job: job.status.is_final)


@pytest.fixture
async def bench(nats_url: str, store: ObjectStore, tmp_path: Path) -> AsyncIterator[Bench]:
    async with await Bus.connect(BusSettings(url=nats_url), "mesh") as bus:
        yield Bench(bus, store, JobLog(bus, "mesh"), tmp_path)
        await bus.jetstream.purge_stream(subjects.WORK_STREAM, subject=subjects.work_of("mesh"))


async def test_an_upload_becomes_an_archive_of_all_that_is_promised(bench: Bench, small: Taken) -> None:
    job_id = await bench.submit(small.cameras, zipped(small.folder), ModelType.RECONVIAGEN)
    async with bench.worker():
        job = await bench.end(job_id)
    assert job.status is JobStatus.COMPLETED, job.error
    (result,) = job.results
    assert (result.name, result.content_type) == (f"{job_id}.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(await bench.store.get_bytes(result.key, 64 << 20))) as archive:
        names = set(archive.namelist())
        quality = json.loads(archive.read("reconviagen/quality.json"))
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
    assert {f"reconviagen/{name}" for name in MODEL_FILES} < names
    assert "README.txt" in names
    assert quality["job_id"] == job_id
    assert isinstance(job.outcome, ObjectOutcome)
    (made,) = job.outcome.models
    assert (made.model, made.engine) == (ModelType.RECONVIAGEN, quality["engine"])
    assert made.psnr == pytest.approx(quality["metrics"]["psnr"])
    assert made.psnr > 25
    assert job.warnings == (quality["warnings"][0],), "another engine did the work, and that is said"
    assert "built-in reconstruction does the work of reconviagen" in job.warnings[0]
    steps = [event.job.progress.step async for event in bench.job_log.events(job_id)]
    assert steps[0] == "initializing"
    assert steps[-1] == "reconviagen.exporting"
    percents = [event.job.progress.percent async for event in bench.job_log.events(job_id)]
    assert percents == sorted(percents)


@pytest.mark.slow
async def test_noise_is_below_the_threshold_of_quality(bench: Bench, small: Taken) -> None:
    rng = np.random.default_rng(5)
    noise = {
        stored_name(VIEWS_FIELD, index): png(rng.choice(np.array([0, 255], np.uint8), (SIZE_PX, SIZE_PX, 3)))
        for index in range(6)
    }
    job_id = await bench.submit(small.cameras, zipped(small.folder, noise), ModelType.RECONVIAGEN)
    async with bench.worker():
        job = await bench.end(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code is ErrorCode.QUALITY_THRESHOLD_FAILED
    assert float(job.error.details["psnr"]) < 20 or float(job.error.details["ssim"]) < 0.75
    assert isinstance(job.outcome, ObjectOutcome)
    assert job.outcome.models[0].status == "failure"
    assert [info.key async for info in bench.store.list(keys.results(job_id))] == []


async def test_a_child_that_passes_its_memory_limit_ends_the_job_as_out_of_memory(bench: Bench, small: Taken) -> None:
    job_id = await bench.submit(small.cameras, zipped(small.folder), ModelType.RECONVIAGEN)
    async with bench.worker(memory_bytes=64 << 20):
        job = await bench.end(job_id)
    assert job.error is not None
    assert job.error.code is ErrorCode.MODEL_OOM
    assert "0.07 GB are allowed" in job.error.message


async def test_a_card_that_is_required_and_missing_ends_the_job(bench: Bench, small: Taken) -> None:
    job_id = await bench.submit(small.cameras, zipped(small.folder), ModelType.RECONVIAGEN)
    async with bench.worker(gpu_required=True):
        job = await bench.end(job_id)
    assert job.error is not None
    assert job.error.code is ErrorCode.GPU_UNAVAILABLE
    assert "ReconViaGen cannot run on this worker" in job.error.message


async def test_views_that_are_gone_are_asked_for_again(bench: Bench) -> None:
    job_id = await bench.submit(None, None, ModelType.RECONVIAGEN)
    async with bench.worker():
        job = await bench.end(job_id)
    assert job.error is not None
    assert (job.error.code, job.error.field) == (ErrorCode.NOT_FOUND, "views")


async def test_a_cancelled_job_is_over_within_two_seconds(bench: Bench, small: Taken) -> None:
    job_id = await bench.submit(small.cameras, zipped(small.folder), ModelType.RECONVIAGEN)
    async with bench.worker():
        await bench.until(job_id, lambda job: job.progress.step.startswith("reconviagen."))
        computing = [p for p in psutil.Process().children(recursive=True) if "runtime.child_entry" in p.cmdline()]
        assert computing
        found = await bench.job_log.read(job_id)
        while True:
            assert found is not None
            cancelled = found.job.changed(now(), status=JobStatus.CANCELLED, claim=None, finished_at=now())
            try:
                await bench.job_log.write(found, EventType.CANCELLED, cancelled)
                break
            except AlidadeError:
                found = await bench.job_log.read(job_id)
        began = time.monotonic()
        while any(process.is_running() for process in computing):
            assert time.monotonic() - began < 2.0
            await asyncio.sleep(0.01)
    assert (await bench.end(job_id)).status is JobStatus.CANCELLED
    assert [info.key async for info in bench.store.list(keys.RESULTS)] == []
    assert [path for path in bench.scratch.rglob("*") if path.is_file()] == []


def outcome(model: ModelType, status: str, psnr: float) -> ModelOutcome:
    return ModelOutcome.model_validate({"model": model, "engine": "e", "status": status, "psnr": psnr, "ssim": 0.5})


class _Warned(StageWork):
    """What a step says to its work."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


def test_one_good_model_of_two_is_a_result() -> None:
    work = _Warned()
    refuse_unlike_its_views(
        work, (outcome(ModelType.RECONVIAGEN, "failure", 14.0), outcome(ModelType.NVDIFFREC, "warning", 22.0))
    )
    assert work.said == ["The mesh of reconviagen does not match the views well enough: PSNR 14.0 dB."]
    with pytest.raises(UserError) as caught:
        refuse_unlike_its_views(
            work, (outcome(ModelType.RECONVIAGEN, "failure", 14.0), outcome(ModelType.NVDIFFREC, "failure", 16.0))
        )
    assert caught.value.details == {"psnr": 16.0, "ssim": 0.5, "model": "nvdiffrec"}


def test_a_job_that_lacks_a_file_has_not_completed(tmp_path: Path) -> None:
    request = ObjectRequest(dataset_id="a1b2c3d4e5f6")
    for name in MODEL_FILES:
        (tmp_path / "reconviagen" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "reconviagen" / name).touch()
    refuse_incomplete(tmp_path, request)
    (tmp_path / "reconviagen" / "mesh.obj").unlink()
    with pytest.raises(AlidadeError) as caught:
        refuse_incomplete(tmp_path, request)
    assert caught.value.detail == "missing: reconviagen/mesh.obj"


@pytest.mark.parametrize("model", [ModelType.RECONVIAGEN, ModelType.NVDIFFREC])
def test_without_its_packages_the_built_in_engine_does_a_models_work_and_says_so(
    model: ModelType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packages.NEEDS, model, packages.Needs("no_such_package", gpu=False))  # type: ignore[index]
    chosen = engines.choose(model, CARD, "builtin")
    assert isinstance(chosen.engine, BuiltinEngine)
    assert chosen.note is not None
    assert "no_such_package is not installed" in chosen.note
    assert model not in packages.own_models(CARD)
    with pytest.raises(GpuUnavailable, match="no_such_package"):
        engines.choose(model, CARD, "fail")


def test_a_model_runs_on_its_own_engine_where_all_is_there() -> None:
    chosen = engines.choose(ModelType.NVDIFFREC, None, "builtin")
    assert chosen.note is None
    assert not isinstance(chosen.engine, BuiltinEngine)
    with pytest.raises(GpuUnavailable, match="No graphics card answers"):
        engines.choose(ModelType.NVDIFFREC, None, "fail")


class _Steps(Silence):
    def __init__(self) -> None:
        self.names: list[str] = []

    def step(self, name: str) -> None:
        self.names.append(name)

    def finished(self, step: str) -> None:
        self.names.append(f"{step} finished")


def test_steps_of_a_model_carry_its_name_and_are_the_pipelines() -> None:
    said = _Steps()
    report = ModelReporter(said, ModelType.NVDIFFREC)
    for name in ("fusing_depth", "refining", "exporting"):
        report.step(name)
    report.finished("exporting")
    assert said.names == [
        "nvdiffrec.fusing_depth",
        "nvdiffrec.refining",
        "nvdiffrec.exporting",
        "nvdiffrec.exporting finished",
    ]
    for name in said.names[:3]:
        assert OBJECT[ModelType.BOTH].step(name)


def test_the_names_of_stored_files_are_those_that_are_read() -> None:
    for index in range(6):
        assert stored_name(VIEWS_FIELD, index) == view_name(index)
        assert stored_name(DEPTHS_FIELD, index) == depth_name(index)


def test_packing_is_repeatable_and_unpacking_takes_what_is_known(tmp_path: Path, small: Taken) -> None:
    upload = tmp_path / "upload.zip"
    upload.write_bytes(zipped(small.folder))
    with zipfile.ZipFile(upload, "a") as archive:
        archive.writestr("../outside.txt", "x")
    unpack(upload, tmp_path / "views")
    assert {path.name for path in (tmp_path / "views").iterdir()} == set(STORED_NAMES)
    assert not (tmp_path / "outside.txt").exists()
    for name in ("one.zip", "two.zip"):
        pack(tmp_path / "views", tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
