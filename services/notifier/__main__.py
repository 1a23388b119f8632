"""`python -m services.notifier`: settings, wiring, run."""

import asyncio
import sys
from contextlib import AsyncExitStack

from aiohttp import web

from runtime.access import Access, is_loopback
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.logs import get_logger
from runtime.service import run_service, serve_ops, taking_port, view_check
from runtime.settings import Settings
from services.notifier.app import Parts, build_app
from services.notifier.streams import OpenStreams

SERVICE = "notifier"
_GOODBYE_S = 3.0
_BACKLOG = 1024
"""After a restart every client comes back at once."""

log = get_logger(__name__)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve the streams until `stop` is set.

    Raises ConfigurationError if its ports or its access file cannot be used, DependencyUnavailable if the bus does not
    answer.
    """
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(await Bus.connect(settings.bus, SERVICE))
        job_log = JobLog(bus, SERVICE)
        view = await stack.enter_async_context(JobView(bus, job_log))
        streams = await stack.enter_async_context(OpenStreams(settings.notifier.heartbeat_s))
        access = Access(settings.access, _reachable_at(settings))
        app = build_app(Parts(settings.notifier, access, bus, job_log, view, streams))
        # A client that leaves ends its handler: nothing waits for the next event of a job on its behalf.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_GOODBYE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, port = settings.notifier.host, settings.notifier.port
        with taking_port(host, port, "ALIDADE_NOTIFIER__PORT"):
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        log.info("notifier_listening", address=runner.addresses[0])
        await serve_ops(stack, settings.ops, {"bus": view_check(view)})
        await stop.wait()


def _reachable_at(settings: Settings) -> str:
    """Where clients reach the streams: through the gateway, too, which may be bound to more than this machine."""
    return settings.gateway.host if is_loopback(settings.notifier.host) else settings.notifier.host


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
