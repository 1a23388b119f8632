"""`python -m services.mesh`: settings, wiring, run."""

import asyncio
import sys

from runtime.service import run_service
from runtime.settings import Settings
from runtime.worker_service import serve_worker
from services.mesh.packages import own_models
from services.mesh.step import ObjectStep

SERVICE = "mesh"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    await serve_worker(
        SERVICE,
        settings,
        stop,
        preload=("services.mesh.entry",),
        build_step=lambda parts: ObjectStep(parts.store, parts.children, settings.gpu),
        models=own_models,
    )


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
