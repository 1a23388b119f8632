"""Scene jobs as workers leave them, and forms as clients send them."""

import io
import struct
import uuid
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from contracts import keys, subjects
from contracts.events import EventType
from contracts.jobs import Job, JobKind, JobStatus, Progress, ResultFile
from contracts.outcomes import SceneCluster, SceneOutcome
from contracts.scene_settings import SceneRequest
from runtime.access import Access
from runtime.clock import now
from runtime.job_log import Recorded
from runtime.object_store import ObjectStore
from runtime.settings import AirflowSettings, Settings
from services.ingest.photos.step import look_into_photos
from services.ingest.step import Inspector
from tests.services.gateway.running_gateway import Gateway, InspectAnswers, running_gateway

PHOTOS_LIMIT_BYTES = 1 << 20

Part = tuple[str, str | None, bytes]
"""Field, file name, content."""


class SceneGateway(Gateway):
    """A gateway that takes archives of photographs of up to 1 MB, with ingest's own answers about them."""

    photos: InspectAnswers


@asynccontextmanager
async def running_scene_gateway(
    settings: Settings, access: Access, store: ObjectStore, airflow: AirflowSettings | None = None
) -> AsyncIterator[SceneGateway]:
    smaller = settings.gateway.model_copy(update={"photos_limit_bytes": PHOTOS_LIMIT_BYTES})
    changed = settings.model_copy(update={"gateway": smaller, "airflow": airflow or AirflowSettings()})
    async with running_gateway(changed, access, store) as running:
        answers = InspectAnswers(Inspector(store, look_into_photos))
        subscription = await running.parts.bus.answer(subjects.inspect(JobKind.SCENE), "ingest", answers.reply)
        gateway = SceneGateway(**vars(running))
        gateway.photos = answers
        yield gateway
        if running.parts.bus.is_connected:
            await subscription.unsubscribe()


def png(grey: int = 128, width_px: int = 8, height_px: int = 8) -> bytes:
    """A picture of one grey (PNG specification, third edition, section 5)."""
    rows = (b"\0" + bytes([grey]) * width_px) * height_px
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def photos_zip(pictures: int = 4, padding_bytes: int = 0) -> bytes:
    """An archive of different pictures, and `padding_bytes` of something else."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(pictures):
            archive.writestr(f"photos/{number:04}.png", png(40 + number, 96, 72))
        if padding_bytes:
            archive.writestr("notes.txt", bytes(padding_bytes))
    return packed.getvalue()


def form_bytes(parts: Sequence[Part]) -> bytes:
    body = io.BytesIO()
    for field, name, content in parts:
        file_name = "" if name is None else f'; filename="{name}"'
        body.write(f'--frontier\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n\r\n'.encode())
        body.write(content + b"\r\n")
    body.write(b"--frontier--\r\n")
    return body.getvalue()


def post_form(
    gateway: Gateway, parts: Sequence[Part], path: str = "/upload", headers: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return gateway.client.post(
        gateway.url + path,
        data=io.BytesIO(form_bytes(parts)),
        headers={
            **(gateway.key if headers is None else headers),
            "Content-Type": "multipart/form-data; boundary=frontier",
        },
    )


async def send(
    gateway: Gateway, parts: Sequence[Part], path: str = "/upload", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    async with post_form(gateway, parts, path, headers) as answer:
        return answer.status, await answer.json()


async def forget_work(gateway: Gateway, job_id: object) -> None:
    await gateway.parts.bus.jetstream.purge_stream(subjects.WORK_STREAM, subject=subjects.work("ingest", str(job_id)))


async def scene_job(gateway: Gateway, owner: str | None = None) -> Recorded:
    """A queued scene job, as another gateway might have made it."""
    moment = now()
    job = Job(
        job_id=str(uuid.uuid4()),
        kind=JobKind.SCENE,
        owner=owner or gateway.owner,
        stage="ingest",
        request=SceneRequest(dataset_id="a1b2c3d4e5f6"),
        created_at=moment,
        updated_at=moment,
    )
    recorded = await gateway.parts.job_log.create(job)
    gateway.parts.view.learn(recorded)
    return recorded


async def at_step(gateway: Gateway, last: Recorded, step: str, percent: float = 50.0) -> Recorded:
    """The job, taken up by a worker and at a step."""
    return await gateway.change(
        last,
        EventType.PROGRESSED,
        status=JobStatus.PROCESSING,
        started_at=last.job.started_at or now(),
        progress=Progress(percent=percent, step=step),
    )


@dataclass(frozen=True)
class Delivered:
    """A completed job and the files that it has delivered."""

    recorded: Recorded
    files: Mapping[str, bytes]

    @property
    def job_id(self) -> str:
        return self.recorded.job.job_id


def ply_name(job_id: str, cluster: int) -> str:
    return f"cluster{cluster}_decimated_model0_{job_id[:8]}.ply"


async def completed_scene(
    gateway: Gateway,
    clouds: Sequence[bytes] = (b"ply\nfirst" * 100, b"ply\nsecond" * 100),
    others: Mapping[str, bytes] | None = None,
    outcome: SceneOutcome | None = None,
) -> Delivered:
    """What a finished pipeline leaves: point clouds of clusters, other files, figures."""
    last = await at_step(gateway, await scene_job(gateway), "packaging", 98.0)
    job_id = last.job.job_id
    files = {ply_name(job_id, number): cloud for number, cloud in enumerate(clouds)} | dict(others or {})
    results = [await _stored(gateway, job_id, name, content) for name, content in files.items()]
    clusters = tuple(
        SceneCluster(
            cluster_id=number,
            name=f"cluster{number}_model0",
            images=20 - number,
            points=1000 - number,
            file_name=ply_name(job_id, number),
        )
        for number in range(len(clouds))
    )
    found = outcome or SceneOutcome(images=45, points=1999, registration_rate=0.9333)
    recorded = await gateway.change(
        last,
        EventType.COMPLETED,
        status=JobStatus.COMPLETED,
        progress=Progress(percent=100, step="packaging"),
        results=tuple(results),
        outcome=found.model_copy(update={"clusters": clusters}),
        finished_at=now(),
    )
    return Delivered(recorded, files)


async def _stored(gateway: Gateway, job_id: str, name: str, content: bytes) -> ResultFile:
    key = keys.result(job_id, 2, name)
    await gateway.parts.store.put_bytes(key, content)
    info = await gateway.parts.store.stat(key)
    assert info is not None
    # Whatever the worker thought its type is: the API says which one it answers with.
    return ResultFile(name=name, key=key, content_type="model/mesh", size_bytes=info.size_bytes, etag=info.etag)


@asynccontextmanager
async def answering(gateway: Gateway, subject: str, answer: bytes) -> AsyncIterator[list[bytes]]:
    """While the block runs, `subject` is answered as a worker would. Gives the questions that came."""
    questions: list[bytes] = []

    async def reply(question: bytes) -> bytes:
        questions.append(question)
        return answer

    subscription = await gateway.parts.bus.answer(subject, "test", reply)
    try:
        yield questions
    finally:
        await subscription.unsubscribe()
