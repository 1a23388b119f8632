"""`python -m services.sfm`: settings, wiring, run."""

import asyncio
import sys

from contracts.jobs import JobKind
from runtime.service import run_service
from runtime.settings import Settings
from runtime.worker_service import WorkerParts, serve_worker
from services.sfm.photos.step import SceneStep
from services.sfm.step import SfmStep, StepByKind

SERVICE = "sfm"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.sfm.pipeline", "services.sfm.photos.pipeline"),
        build_step=_build_step,
    )


def _build_step(parts: WorkerParts) -> StepByKind:
    return StepByKind(
        {
            JobKind.CAPTURE: SfmStep(parts.store, parts.children, parts.settings.weights),
            JobKind.SCENE: SceneStep(parts.store, parts.children),
        }
    )


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
