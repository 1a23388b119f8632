"""`python -m services.ingest`: settings, wiring, run."""

import asyncio
import contextlib
import secrets
import sys
from contextlib import AsyncExitStack

from contracts import subjects
from contracts.jobs import JobKind
from runtime.custodian import Custodian
from runtime.job_view import JobView
from runtime.scratch import ScratchFolder
from runtime.service import run_service
from runtime.settings import Settings
from runtime.worker_service import WorkerParts, serve_worker
from services.ingest.clouds.step import CloudStep, look_into_cloud
from services.ingest.photos.step import Measurer, PhotosStep, look_into_photos
from services.ingest.step import CaptureStep, IngestStep, Inspector, Look, look_into_capture
from services.ingest.views.step import look_into_views

SERVICE = "ingest"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.ingest.entry", "services.ingest.clouds.entry", "services.ingest.photos.entry"),
        build_step=_build_step,
        extras=_answer_and_keep_house,
    )


def _build_step(parts: WorkerParts) -> IngestStep:
    return IngestStep(
        {
            JobKind.CAPTURE: CaptureStep(parts.store, parts.children),
            JobKind.BUILDING: CloudStep(parts.store, parts.children),
            JobKind.SCENE: PhotosStep(parts.store, parts.children),
        }
    )


async def _answer_and_keep_house(parts: WorkerParts, stack: AsyncExitStack) -> None:
    looks: dict[JobKind, Look] = {
        JobKind.CAPTURE: look_into_capture,
        JobKind.BUILDING: look_into_cloud,
        JobKind.SCENE: look_into_photos,
        JobKind.OBJECT: look_into_views,
    }
    for kind, look in looks.items():
        await parts.bus.answer(subjects.inspect(kind), SERVICE, Inspector(parts.store, look).answer)
    measuring = stack.enter_context(ScratchFolder(parts.settings.worker.scratch / "measuring", secrets.token_hex(6)))
    measurer = Measurer(parts.store, measuring.path, parts.settings.worker.memory_bytes)
    await parts.bus.answer(subjects.measure(JobKind.SCENE), SERVICE, measurer.answer)
    view = await stack.enter_async_context(JobView(parts.bus, parts.job_log))
    custodian = Custodian(parts.store, view, parts.job_log, parts.settings.retention)
    sweeping = asyncio.create_task(custodian.run())
    stack.push_async_callback(_end, sweeping)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
