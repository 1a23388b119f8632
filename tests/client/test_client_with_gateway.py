"""The client against the real gateway and notifier, on a real bus and object store; the test plays the workers."""

import asyncio
import io
import json
import os
import secrets
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from client.api import Alidade
from client.errors import Conflict, NotAllowed, NotFound
from client.models import Update
from contracts import keys, subjects
from contracts.events import EventType
from contracts.jobs import JobKind, JobStatus, LogLine, Progress, ResultFile
from contracts.object_files import MODEL_FILES
from contracts.uploads import Inspection
from deploy.local.ports import reserve_ports
from runtime.access import add_api_key, create_access_file
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.object_store import ObjectStore, StoreAddress
from runtime.settings import BusSettings

ROOT = Path(__file__).parents[2]
READY_S = 20


@contextmanager
def service(module: str, environment: dict[str, str], ops_port: int) -> Iterator[None]:
    command = [sys.executable, "-m", module]
    settings = {**os.environ, **environment, "ALIDADE_OPS__PORT": str(ops_port)}
    with subprocess.Popen(command, env=settings, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            _wait_until_ready(f"http://127.0.0.1:{ops_port}/readyz", process)
            yield
        finally:
            process.terminate()
            process.communicate(timeout=20)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(READY_S * 20):
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pause.wait(0.05)
    raise AssertionError(f"{url} is not ready")


class System:
    """A gateway and a notifier, and the bus and the store that they use."""

    def __init__(self, url: str, key: str, other_key: str, bus: Bus, store: ObjectStore) -> None:
        self.url = url
        self.key = key
        self.other_key = other_key
        self.job_log = JobLog(bus, "test")
        self.store = store


@pytest.fixture
async def system(
    nats_url: str, store: ObjectStore, store_address: StoreAddress, tmp_path: Path
) -> AsyncIterator[System]:
    access = tmp_path / "access.json"
    # Other tests leave jobs on the same bus.
    key = create_access_file(access, "grace").api_key
    with reserve_ports(4) as reserved, ExitStack() as running:
        gateway, notifier, gateway_ops, notifier_ops = reserved.ports
        environment = {
            "ALIDADE_BUS__URL": nats_url,
            "ALIDADE_STORE__ENDPOINT_URL": store_address.endpoint_url,
            "ALIDADE_STORE__ACCESS_KEY": store_address.access_key,
            "ALIDADE_STORE__SECRET_KEY": store_address.secret_key,
            "ALIDADE_STORE__BUCKET": store_address.bucket,
            "ALIDADE_ACCESS__FILE": str(access),
            "ALIDADE_GATEWAY__PORT": str(gateway),
            "ALIDADE_GATEWAY__REMAP_PORT": "0",
            "ALIDADE_GATEWAY__NOTIFIER_URL": f"http://127.0.0.1:{notifier}",
            "ALIDADE_NOTIFIER__PORT": str(notifier),
            "ALIDADE_CLIENT__URL": "http://ignored.example",
        }
        async with await Bus.connect(BusSettings(url=nats_url), "test") as bus:
            for kind in JobKind:
                await bus.answer(subjects.inspect(kind), "ingest", _found_good)
            await asyncio.to_thread(running.enter_context, service("services.notifier", environment, notifier_ops))
            await asyncio.to_thread(running.enter_context, service("services.gateway", environment, gateway_ops))
            yield System(f"http://127.0.0.1:{gateway}", key, add_api_key(access, "bob"), bus, store)
            await asyncio.to_thread(running.close)


async def _found_good(_: bytes) -> bytes:
    return Inspection(files=("rgb.mp4", "odometry.csv")).model_dump_json().encode()


async def _work_on(system: System, last: Recorded, result: bytes) -> None:
    """What workers would write, step by step."""
    for step, percent in (("conversion", 20.0), ("features", 40.0), ("matching", 70.0), ("mapping", 90.0)):
        line = LogLine(time=now(), message=f"Step {step}", step=step)
        progress = Progress(percent=percent, step=step)
        job = last.job.changed(now(), status=JobStatus.PROCESSING, progress=progress)
        last = await system.job_log.write(last, EventType.LOGGED, job, [line])
    key = keys.result(last.job.job_id, 1, "result.zip")
    await system.store.put_bytes(key, result, "application/zip")
    stored = await system.store.stat(key)
    assert stored is not None
    file = ResultFile(
        name="result.zip", key=key, content_type="application/zip", size_bytes=len(result), etag=stored.etag
    )
    done = last.job.changed(now(), status=JobStatus.COMPLETED, results=(file,), finished_at=now())
    await system.job_log.write(last, EventType.COMPLETED, done)


async def test_a_capture_goes_the_whole_way(system: System, tmp_path: Path) -> None:
    capture = tmp_path / "capture.zip"
    with zipfile.ZipFile(capture, "w") as archive:
        archive.writestr("rgb.mp4", secrets.token_bytes(1_000_000))
    result = secrets.token_bytes(3_000_000)
    with Alidade(system.url, system.key) as alidade:
        dataset = await asyncio.to_thread(alidade.upload, capture)
        assert dataset.files == ("rgb.mp4", "odometry.csv")
        started = await asyncio.to_thread(alidade.process, dataset.dataset_id, {"fps": 4, "input_colorspace": "sRGB"})
        recorded = await system.job_log.read(started.job_id)
        assert recorded is not None
        assert recorded.job.request.settings.fps == 4
        assert recorded.job.request.settings.input_colorspace == "srgb"
        with pytest.raises(Conflict):
            await asyncio.to_thread(alidade.download, started.job_id, tmp_path / "early.zip")

        updates = await asyncio.to_thread(lambda: alidade.watch(started.job_id))
        first = await asyncio.to_thread(next, updates)
        assert (first.status, first.event_id) == (JobStatus.QUEUED, recorded.sequence)
        working = asyncio.create_task(_work_on(system, recorded, result))
        rest: list[Update] = await asyncio.to_thread(list, updates)
        await working
        assert [update.percentage for update in rest] == [20, 40, 70, 90, 100]
        assert rest[-1].step == "Done"

        again = await asyncio.to_thread(lambda: list(alidade.watch(started.job_id, last_event_id=first.event_id)))
        assert again == rest
        [after_the_end] = await asyncio.to_thread(
            lambda: list(alidade.watch(started.job_id, last_event_id=rest[-1].event_id))
        )
        assert after_the_end.status is JobStatus.COMPLETED

        got = await asyncio.to_thread(alidade.download, started.job_id, tmp_path)
        assert got.path.name == f"remap_result_{started.job_id}.zip"
        assert got.path.read_bytes() == result
        assert [line.message for line in await asyncio.to_thread(alidade.logs, started.job_id)][-1] == "Step mapping"
        assert [job.job_id for job in await asyncio.to_thread(alidade.jobs)] == [started.job_id]
    await asyncio.to_thread(_a_stranger_sees_nothing, system, started.job_id)
    await asyncio.to_thread(_a_part_is_taken_up, system, started.job_id, result, tmp_path / "resumed.zip")


def _a_stranger_sees_nothing(system: System, job_id: str) -> None:
    with Alidade(system.url, system.other_key) as bob:
        assert bob.jobs() == ()
        with pytest.raises(NotFound):
            list(bob.watch(job_id))
    with Alidade(system.url, "wrong") as nobody, pytest.raises(NotAllowed):
        list(nobody.watch(job_id))


def _a_part_is_taken_up(system: System, job_id: str, result: bytes, out: Path) -> None:
    path = f"api/v1/jobs/{job_id}/result"
    request = urllib.request.Request(f"{system.url}/{path}", headers={"Authorization": f"Bearer {system.key}"})
    with urllib.request.urlopen(request) as response:
        etag = response.headers["ETag"]
    out.with_name(out.name + ".part").write_bytes(result[:1_234_567])
    record = {"path": f"{system.url}/{path}", "etag": etag}
    out.with_name(out.name + ".part.json").write_text(json.dumps(record))
    with Alidade(system.url, system.key) as alidade:
        got = alidade.download(job_id, out)
    assert got.resumed_at_bytes == 1_234_567
    assert out.read_bytes() == result


def _submit(alidade: Alidade, kind: JobKind, folder: Path) -> str:
    """What the kind's API takes, as the client sends it. Returns the job's id."""
    match kind:
        case JobKind.BUILDING:
            cloud, config = folder / "scan.xyz", folder / "config.yaml"
            cloud.write_text("0 0 0\n")
            config.write_text("exterior_scan: true\n")
            return alidade.submit_cloud(cloud, config).job_id
        case JobKind.OBJECT:
            for i in range(6):
                (folder / f"view_{i}.png").write_bytes(_PNG)
                (folder / f"depth_{i}.png").write_bytes(_PNG)
            return alidade.submit_views(folder, "nvdiffrec").job_id
        case JobKind.SCENE:
            with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
                archive.writestr("a.jpg", b"x")
            return alidade.submit_photos(folder / "photos.zip", "heritage", "portal").job_id
        case JobKind.CAPTURE:
            raise AssertionError


_RESULT_NAMES = {
    JobKind.BUILDING: "model.ifc",
    JobKind.OBJECT: "result.zip",
    JobKind.SCENE: "cluster0_decimated_model0.ply",
}
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def _result_of_an_object() -> bytes:
    """A ZIP with every promised file."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in MODEL_FILES:
            archive.writestr(f"nvdiffrec/{name}", secrets.token_bytes(1000))
    return whole.getvalue()


async def _finish(system: System, last: Recorded, content: bytes) -> None:
    """What the last worker would write."""
    name = _RESULT_NAMES[last.job.kind]
    key = keys.result(last.job.job_id, 1, name)
    await system.store.put_bytes(key, content, "application/octet-stream")
    stored = await system.store.stat(key)
    assert stored is not None
    file = ResultFile(
        name=name, key=key, content_type="application/octet-stream", size_bytes=len(content), etag=stored.etag
    )
    done = last.job.changed(now(), status=JobStatus.COMPLETED, results=(file,), finished_at=now())
    await system.job_log.write(last, EventType.COMPLETED, done)


@pytest.mark.parametrize("kind", [JobKind.BUILDING, JobKind.OBJECT, JobKind.SCENE])
async def test_other_kinds_go_the_whole_way_in_one_request(system: System, tmp_path: Path, kind: JobKind) -> None:
    content = _result_of_an_object() if kind is JobKind.OBJECT else secrets.token_bytes(100_000)
    (tmp_path / "in").mkdir()
    with Alidade(system.url, system.key) as alidade:
        job_id = await asyncio.to_thread(_submit, alidade, kind, tmp_path / "in")
        recorded = await system.job_log.read(job_id)
        assert recorded is not None
        assert (recorded.job.kind, recorded.job.owner) == (kind, "grace")
        first = await asyncio.to_thread(alidade.present, job_id)
        assert (first.kind, first.status) == (kind, JobStatus.QUEUED)
        await _finish(system, recorded, content)
        [*_, last] = await asyncio.to_thread(lambda: list(alidade.watch(job_id)))
        assert (last.kind, last.status) == (kind, JobStatus.COMPLETED)
        got = await asyncio.to_thread(lambda: alidade.download(job_id, tmp_path / "out.bin", kind=kind))
    if kind is JobKind.SCENE:
        with zipfile.ZipFile(got.path) as archive:
            assert archive.read(_RESULT_NAMES[kind]) == content
    else:
        assert got.path.read_bytes() == content


async def test_an_object_s_job_is_cancelled_in_both_steps(system: System, tmp_path: Path) -> None:
    with Alidade(system.url, system.key) as alidade:
        job_id = await asyncio.to_thread(_submit, alidade, JobKind.OBJECT, tmp_path)
        assert await asyncio.to_thread(alidade.cancel, job_id) is JobStatus.CANCELLED
        [last] = await asyncio.to_thread(lambda: list(alidade.watch(job_id)))
        assert last.status is JobStatus.CANCELLED


async def test_a_cancelled_job_is_watched_to_its_end(tmp_path: Path, system: System) -> None:
    capture = tmp_path / "capture.zip"
    capture.write_bytes(b"zip")
    with Alidade(system.url, system.key) as alidade:
        dataset = await asyncio.to_thread(alidade.upload, capture)
        started = await asyncio.to_thread(alidade.process, dataset.dataset_id)
        assert await asyncio.to_thread(alidade.cancel, started.job_id) is JobStatus.CANCELLED
        [last] = await asyncio.to_thread(lambda: list(alidade.watch(started.job_id)))
        assert (last.status, last.error) == (JobStatus.CANCELLED, "The job was cancelled.")
