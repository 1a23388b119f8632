"""A running gateway as tests use it, with ingest's own answers to `inspect`."""

import contextlib
import io
import uuid
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from contracts import keys, subjects
from contracts.building_settings import BuildingRequest
from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.events import EventType
from contracts.jobs import Job, JobKind, JobStatus, LogLine, Progress, ResultFile
from contracts.uploads import Dataset, InspectRequest
from runtime.access import Access, add_api_key
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.job_view import JobView
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from services.gateway.app import build_app
from services.gateway.parts import Parts
from services.gateway.server import GatewayRunner
from services.ingest.clouds.step import look_into_cloud
from services.ingest.step import Inspector, look_into_capture

UPLOAD_LIMIT_BYTES = 1 << 20
CLOUD_LIMIT_BYTES = 2 << 20
CAPTURE_FILES = ("rgb.mp4", "odometry.csv", "camera_matrix.csv")


def capture_zip(padding_bytes: int = 0) -> bytes:
    """An archive with the names of a capture in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in CAPTURE_FILES:
            archive.writestr(name, bytes(10 + (padding_bytes if name == "rgb.mp4" else 0)))
    return packed.getvalue()


@dataclass
class InspectAnswers:
    """Ingest's own answers, and what it was asked."""

    inspector: Inspector
    asked: list[InspectRequest] = field(default_factory=list)
    instead: bytes | None = None
    """What a test answers in its place, where ingest cannot be brought to it."""

    async def reply(self, payload: bytes) -> bytes:
        self.asked.append(InspectRequest.model_validate_json(payload))
        return await self.inspector.answer(payload) if self.instead is None else self.instead


@dataclass
class Gateway:
    """A running gateway, and the ways into it."""

    url: str
    port: int
    parts: Parts
    client: aiohttp.ClientSession
    access_file: Path
    api_key: str
    inspections: InspectAnswers
    """Of captures."""
    cloud_inspections: InspectAnswers
    owner: str

    @property
    def key(self) -> dict[str, str]:
        """Headers of this test's own owner."""
        return {"Authorization": f"Bearer {self.api_key}"}

    def somebody_else(self) -> dict[str, str]:
        """Headers of another owner."""
        return {"Authorization": f"Bearer {add_api_key(self.access_file, uuid.uuid4().hex)}"}

    async def upload(self, content: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(content), filename="capture.zip", content_type="application/zip")
        path = f"{self.url}/api/v1/upload"
        async with self.client.post(path, data=form, headers=headers or self.key) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
        async with self.client.get(self.url + path, headers=self.key if headers is None else headers) as answer:
            return answer.status, await answer.json()

    async def post(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, object]]:
        chosen = self.key if headers is None else headers
        async with self.client.post(self.url + path, json=body, headers=chosen) as answer:
            return answer.status, await answer.json()

    async def stored_keys(self) -> list[str]:
        return [info.key async for info in self.parts.store.list("")]

    async def dataset(self, owner: str | None = None, kind: JobKind = JobKind.CAPTURE) -> str:
        """A data set as an upload leaves it."""
        dataset_id = uuid.uuid4().hex[:12]
        record = Dataset(
            dataset_id=dataset_id,
            kind=kind,
            owner=owner or self.owner,
            key=keys.upload(dataset_id),
            etag="e",
            size_bytes=1,
            files=CAPTURE_FILES,
            created_at=now(),
        )
        await self.parts.store.put_bytes(keys.dataset(dataset_id), record.model_dump_json().encode())
        return dataset_id

    async def job(self, lines: tuple[LogLine, ...] = ()) -> Recorded:
        """A queued job of this test's owner, as another gateway might have made it."""
        moment = now()
        job = Job(
            job_id=uuid.uuid4().hex[:12],
            kind=JobKind.CAPTURE,
            owner=self.owner,
            stage="ingest",
            request=CaptureRequest(dataset_id="a1b2c3d4e5f6", settings=CaptureSettings()),
            created_at=moment,
            updated_at=moment,
        )
        recorded = await self.parts.job_log.create(job, lines)
        self.parts.view.learn(recorded)
        return recorded

    async def building_job(self, owner: str | None = None, unknown: tuple[str, ...] = ()) -> Recorded:
        """A queued building job, as another gateway might have made it."""
        moment = now()
        job = Job(
            job_id=str(uuid.uuid4()),
            kind=JobKind.BUILDING,
            owner=owner or self.owner,
            stage="ingest",
            request=BuildingRequest(dataset_id="a1b2c3d4e5f6", file_name="scan.ptx", unknown_settings=unknown),
            created_at=moment,
            updated_at=moment,
        )
        recorded = await self.parts.job_log.create(job)
        self.parts.view.learn(recorded)
        return recorded

    async def change(
        self, last: Recorded, event_type: EventType, lines: tuple[LogLine, ...] = (), **changes: object
    ) -> Recorded:
        """What a worker would write about a job."""
        recorded = await self.parts.job_log.write(last, event_type, last.job.changed(now(), **changes), lines)
        self.parts.view.learn(recorded)
        return recorded

    async def completed(self, content: bytes) -> Recorded:
        """A job that has delivered `content`."""
        recorded = await self.job()
        key = keys.result(recorded.job.job_id, 1, "remap_result.zip")
        await self.parts.store.put_bytes(key, content, "application/zip")
        stored = await self.parts.store.stat(key)
        assert stored is not None
        result = ResultFile(
            name="anything.zip",
            key=key,
            content_type="application/zip",
            size_bytes=stored.size_bytes,
            etag=stored.etag,
        )
        return await self.change(
            recorded,
            EventType.COMPLETED,
            status=JobStatus.COMPLETED,
            progress=Progress(percent=100, step="packaging"),
            results=(result,),
            finished_at=now(),
        )

    async def completed_building(self, last: Recorded, files: Mapping[str, tuple[bytes, str]]) -> Recorded:
        """A building job that has delivered `files`: their contents and types by name."""
        results: list[ResultFile] = []
        for name, (content, content_type) in files.items():
            key = keys.result(last.job.job_id, 1, name)
            await self.parts.store.put_bytes(key, content, content_type)
            stored = await self.parts.store.stat(key)
            assert stored is not None
            results.append(
                ResultFile(
                    name=name, key=key, content_type=content_type, size_bytes=stored.size_bytes, etag=stored.etag
                )
            )
        return await self.change(
            last,
            EventType.COMPLETED,
            status=JobStatus.COMPLETED,
            progress=Progress(percent=100, step="finalizing"),
            results=tuple(results),
            finished_at=now(),
        )


@contextlib.asynccontextmanager
async def running_gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[Gateway]:
    owner = f"owner-{uuid.uuid4().hex[:8]}"
    async with await Bus.connect(gateway_settings.bus, "gateway-test") as bus:
        job_log = JobLog(bus, "gateway")
        async with JobView(bus, job_log) as view:
            parts = Parts(gateway_settings, access, bus, store, job_log, view)
            inspections = InspectAnswers(Inspector(store, look_into_capture))
            clouds = InspectAnswers(Inspector(store, look_into_cloud))
            subscriptions = [
                await bus.answer(subjects.inspect(kind), "ingest", answers.reply)
                for kind, answers in ((JobKind.CAPTURE, inspections), (JobKind.BUILDING, clouds))
            ]
            runner = GatewayRunner(build_app(parts), shutdown_s=2.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession() as client:
                yield Gateway(
                    url=f"http://127.0.0.1:{port}",
                    port=port,
                    parts=parts,
                    client=client,
                    access_file=gateway_settings.access.file,
                    api_key=add_api_key(gateway_settings.access.file, owner),
                    inspections=inspections,
                    cloud_inspections=clouds,
                    owner=owner,
                )
            await runner.cleanup()
            if bus.is_connected:
                for subscription in subscriptions:
                    await subscription.unsubscribe()
