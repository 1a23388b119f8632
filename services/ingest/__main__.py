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
from services.ingest.step import CaptureStep, Inspector

SERVICE = "ingest"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.ingest.entry",),
        build_step=lambda parts: CaptureStep(parts.store, parts.children),
        extras=_answer_and_keep_house,
    )


async def _answer_and_keep_house(parts: WorkerParts, stack: AsyncExitStack) -> None:
    await parts.bus.answer(subjects.inspect(JobKind.CAPTURE), SERVICE, Inspector(parts.store).answer)
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
