"""The ReMap document's own client code and tables, byte for byte, against a gateway process on both of its ports."""

import asyncio
import http.client
import io
import json
import re
import uuid
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.upload import GatewayProcess, gateway_process
from contracts import keys, subjects
from contracts.events import EventType
from contracts.jobs import JobKind, JobStatus, LogLine, Progress, ResultFile
from deploy.local.ports import LOOPBACK
from runtime.access import add_api_key, create_access_file
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.object_store import ObjectStore
from runtime.settings import BusSettings
from services.ingest.step import Inspector, look_into_capture

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
RESULT = b"PK the archive that a worker delivered" * 1000
LISTED = ("rgb.mp4", "odometry.csv", "camera_matrix.csv", "depth/000001.png", "depth/000002.png")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        content: dict[str, object] = json.loads(self.body)
        return content


@dataclass(frozen=True)
class Served:
    """A gateway process, and what ingest and a worker would have at their side."""

    process: GatewayProcess
    api_key: str
    bus: Bus
    store: ObjectStore

    async def send(
        self, port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """As the document's client sends it: with its headers, the key among them, and nothing else."""
        return await asyncio.to_thread(self._send, port, method, path, body, headers or {})

    def _send(self, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10.0)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.api_key}"} | headers)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    async def work_on(self, job_id: str) -> None:
        """What workers write about a job, up to its result."""
        job_log = JobLog(self.bus, "test")
        recorded = await job_log.read(job_id)
        assert recorded is not None
        line = LogLine(time=now(), message="Pipeline started", step="Initializing")
        working = recorded.job.changed(
            now(), status=JobStatus.PROCESSING, progress=Progress(percent=65, step="matching")
        )
        recorded = await job_log.write(recorded, EventType.PROGRESSED, working, [line])
        key = keys.result(job_id, 1, "remap_result.zip")
        await self.store.put_bytes(key, RESULT, "application/zip")
        stored = await self.store.stat(key)
        assert stored is not None
        result = ResultFile(
            name="r.zip", key=key, content_type="application/zip", size_bytes=stored.size_bytes, etag=stored.etag
        )
        done = recorded.job.changed(now(), status=JobStatus.COMPLETED, results=(result,), finished_at=now())
        await job_log.write(recorded, EventType.COMPLETED, done)


@pytest.fixture
async def served(tmp_path: Path, nats_url: str, store: ObjectStore) -> AsyncIterator[Served]:
    api_key = create_access_file(tmp_path / "access.json").api_key
    with gateway_process(tmp_path, nats_url, store.address) as process:
        async with await Bus.connect(BusSettings(url=nats_url), "test") as bus:
            await bus.answer(subjects.inspect(JobKind.CAPTURE), "ingest", Inspector(store, look_into_capture).answer)
            yield Served(process, api_key, bus, store)
        assert process.stop() == 0
        assert "Traceback" not in process.stderr.read_text()


def capture() -> bytes:
    """The files that the document's example lists."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in LISTED:
            archive.writestr(name, b"content")
    return packed.getvalue()


def swift_form(content: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and headers as the document's `uploadDataset` makes them."""
    boundary = str(uuid.uuid4()).upper()
    body = f"--{boundary}\r\n".encode()
    body += b'Content-Disposition: form-data; name="file"; filename="dataset.zip"\r\n'
    body += b"Content-Type: application/zip\r\n\r\n"
    body += content
    body += f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


async def test_the_documents_client_gets_through_on_either_port(served: Served) -> None:
    ports = (served.process.port, served.process.remap_port)
    for port, other in (ports, ports[::-1]):
        health = (await served.send(port, "GET", "/api/v1/health")).json
        assert list(health) == ["status", "version", "server", "timestamp"]
        assert TIMESTAMP.fullmatch(str(health["timestamp"]))
        body, headers = swift_form(capture())
        uploaded = await served.send(port, "POST", "/api/v1/upload", body, headers)
        assert uploaded.status == 201
        dataset_id = uploaded.json["dataset_id"]
        assert uploaded.json == {
            "dataset_id": dataset_id,
            "files": list(LISTED),
            "message": "Dataset uploaded successfully",
        }
        asked = {
            "dataset_id": dataset_id,
            "settings": {"fps": 4.0, "stray_approach": "full_sfm", "feature_type": "superpoint_aachen"},
        }
        as_json = {"Content-Type": "application/json"}
        started = await served.send(port, "POST", "/api/v1/process", json.dumps(asked).encode(), as_json)
        job_id = started.json["job_id"]
        assert (started.status, started.json) == (
            202,
            {"job_id": job_id, "status": "queued", "message": "Processing started"},
        )
        early = await served.send(port, "GET", f"/api/v1/jobs/{job_id}/result")
        assert (early.status, early.json["error"]) == (409, "Conflict")
        await served.work_on(str(job_id))
        await until_completed(served, other, str(job_id))
        await what_was_done_is_told(served, other, str(job_id))


async def until_completed(served: Served, port: int, job_id: str) -> None:
    async with asyncio.timeout(10.0):
        while True:
            status = (await served.send(port, "GET", f"/api/v1/jobs/{job_id}/status")).json
            assert isinstance(status["status"], str)
            assert isinstance(status["progress"], int)
            if status["status"] == "completed":
                break
    assert (status["progress"], status["current_step"], status["error"]) == (100, "Done", None)
    settings = status["settings"]
    assert isinstance(settings, dict)
    assert (settings["fps"], settings["max_keypoints"]) == (4.0, 8192)


async def what_was_done_is_told(served: Served, port: int, job_id: str) -> None:
    logs = (await served.send(port, "GET", f"/api/v1/jobs/{job_id}/logs")).json
    assert logs["job_id"] == job_id
    entries = logs["log"]
    assert isinstance(entries, list)
    assert [entry["message"] for entry in entries] == ["Job queued", "Pipeline started"]
    result = await served.send(port, "GET", f"/api/v1/jobs/{job_id}/result")
    assert (result.status, result.body) == (200, RESULT)
    assert result.headers["Content-Type"] == "application/zip"
    assert result.headers["Content-Disposition"] == f'attachment; filename="remap_result_{job_id}.zip"'
    listed = (await served.send(port, "GET", "/api/v1/jobs")).json["jobs"]
    assert isinstance(listed, list)
    assert (listed[0]["job_id"], listed[0]["status"]) == (job_id, "completed")
    cancel = await served.send(port, "POST", f"/api/v1/jobs/{job_id}/cancel")
    assert (cancel.status, cancel.json["error"]) == (409, "Conflict")


async def test_the_documents_errors_on_either_port(served: Served, tmp_path: Path) -> None:
    stranger = {"Authorization": f"Bearer {add_api_key(tmp_path / 'access.json', 'somebody else')}"}
    as_json = {"Content-Type": "application/json"}
    no_file, form = swift_form(b"")
    cases = [
        ("POST", "/api/v1/upload", no_file, form, 400, "Bad Request"),
        ("POST", "/api/v1/upload", *swift_form(b"no archive"), 400, "Bad Request"),
        ("POST", "/api/v1/upload", None, form | {"Content-Length": str(11 << 30)}, 413, "Payload Too Large"),
        ("POST", "/api/v1/process", b"{", as_json, 400, "Bad Request"),
        ("POST", "/api/v1/process", b"{}", as_json, 400, "Bad Request"),
        ("POST", "/api/v1/process", b'{"dataset_id": "a1b2c3d4e5f6", "input_colorspace": "p3"}', as_json, 400, "Bad Request"),
        ("POST", "/api/v1/process", b'{"dataset_id": "a1b2c3d4e5f6"}', as_json, 404, "Not Found"),
        ("GET", "/api/v1/jobs/f7e8d9c0b1a2/status", None, {}, 404, "Not Found"),
        ("GET", "/api/v1/jobs/f7e8d9c0b1a2/logs", None, stranger, 404, "Not Found"),
        ("GET", "/api/v1/jobs/f7e8d9c0b1a2/result", None, {}, 404, "Not Found"),
        ("POST", "/api/v1/jobs/f7e8d9c0b1a2/cancel", None, {}, 404, "Not Found"),
        ("GET", "/api/v1/jobs", None, {"Authorization": ""}, 401, "Unauthorized"),
        ("GET", "/api/v1/jobs", None, {"Authorization": "Bearer YOUR_API_KEY"}, 403, "Forbidden"),
    ]  # fmt: skip
    for port in (served.process.port, served.process.remap_port):
        for method, path, body, headers, status, error in cases:
            answer = await served.send(port, method, path, body, headers)
            assert (answer.status, answer.json["error"]) == (status, error), path
            assert list(answer.json) == ["error", "message"]
