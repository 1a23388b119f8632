"""`python -m services.ingest`: settings, wiring, run."""

import asyncio
import contextlib
import sys
from contextlib import AsyncExitStack

from contracts import subjects
from contracts.jobs import JobKind
from runtime.custodian import Custodian
from runtime.job_view import JobView
from runtime.service import run_service
from runtime.settings import Settings
from runtime.worker_service import WorkerParts, serve_worker
from services.ingest.clouds.step import CloudStep, look_into_cloud
from services.ingest.step import CaptureStep, IngestStep, Inspector, look_into_capture

SERVICE = "ingest"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.ingest.entry", "services.ingest.clouds.entry"),
        build_step=_build_step,
        extras=_answer_and_keep_house,
    )


def _build_step(parts: WorkerParts) -> IngestStep:
    return IngestStep(
        {
            JobKind.CAPTURE: CaptureStep(parts.store, parts.children),
            JobKind.BUILDING: CloudStep(parts.store, parts.children),
        }
    )


async def _answer_and_keep_house(parts: WorkerParts, stack: AsyncExitStack) -> None:
    for kind, look in ((JobKind.CAPTURE, look_into_capture), (JobKind.BUILDING, look_into_cloud)):
        await parts.bus.answer(subjects.inspect(kind), SERVICE, Inspector(parts.store, look).answer)
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
