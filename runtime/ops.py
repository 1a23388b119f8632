"""Liveness, readiness and metrics of a service, on a port of their own."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from contracts.errors import AlidadeError
from runtime.logs import get_logger
from runtime.settings import OpsSettings

log = get_logger(__name__)

Check = Callable[[], Awaitable[None]]


class OpsServer:
    """Serves `/healthz` (the process answers), `/readyz` (every check passes) and `/metrics`."""

    def __init__(self, settings: OpsSettings, checks: dict[str, Check]) -> None:
        self._settings = settings
        self._checks = checks
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        await site.start()
        log.info("ops_listening", address=self._runner.addresses[0])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _alive(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        problems = await failing(self._checks)
        status = 503 if problems else 200
        return web.json_response({"status": "unready" if problems else "ready", "problems": problems}, status=status)


async def failing(checks: dict[str, Check]) -> dict[str, str]:
    """The checks that do not pass, with what they say."""
    problems: dict[str, str] = {}
    for name, check in checks.items():
        try:
            await check()
        except AlidadeError as error:
            problems[name] = error.message
        except (OSError, TimeoutError) as error:
            problems[name] = repr(error)
    return problems


async def metrics(_: web.Request) -> web.Response:
    """Prometheus text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
