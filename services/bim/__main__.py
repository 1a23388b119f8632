"""`python -m services.bim`: settings, wiring, run."""

import asyncio
import sys

from runtime.service import run_service
from runtime.settings import Settings
from runtime.worker_service import serve_worker
from services.bim.step import BuildingStep

SERVICE = "bim"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.bim.pipeline",),
        build_step=lambda parts: BuildingStep(parts.store, parts.children),
    )


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
