"""`python -m services.gateway`: settings, wiring, run."""

import asyncio
import sys
from contextlib import AsyncExitStack

from aiohttp import web

from contracts.errors import ConfigurationError
from runtime.access import Access, create_access_file
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.logs import get_logger
from runtime.object_store import ObjectStore
from runtime.service import bus_check, run_service, serve_ops, store_address, taking_port, view_check
from runtime.settings import AccessSettings, GatewaySettings, Settings
from services.gateway.app import build_app
from services.gateway.parts import Parts
from services.gateway.server import GatewayRunner

SERVICE = "gateway"
_STORE_THREADS = 48
"""Every upload uses up to three at once, every download one."""

log = get_logger(__name__)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve both ports until `stop` is set.

    Raises ConfigurationError if the gateway cannot run as it is set up, DependencyUnavailable if bus or store do not
    answer.
    """
    _ensure_access_file(settings.access)
    access = Access(settings.access, settings.gateway.host)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(ObjectStore(store_address(settings.store), threads=_STORE_THREADS))
        await store.ensure_bucket()
        bus = await stack.enter_async_context(await Bus.connect(settings.bus, SERVICE))
        job_log = JobLog(bus, SERVICE)
        view = await stack.enter_async_context(JobView(bus, job_log))
        runner = GatewayRunner(build_app(Parts(settings, access, bus, store, job_log, view)))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await _listen(runner, settings.gateway)
        checks = {"bus": bus_check(bus), "store": store.check, "view": view_check(view)}
        await serve_ops(stack, settings.ops, checks)
        await stop.wait()
        log.info("gateway_stopping")


def _ensure_access_file(settings: AccessSettings) -> None:
    """At first start, let one person in. What lets them in is shown this once, and kept as hashes only."""
    if settings.file.exists():
        return
    try:
        credentials = create_access_file(settings.file)
    except FileExistsError:
        # Another replica on the same folder was faster.
        return
    except OSError as error:
        raise ConfigurationError(f"The access file {settings.file} cannot be written: {error.strerror}.") from error
    # Not a log line: logs are kept.
    sys.stderr.write(
        f"New credentials, shown this once (hashes are in {settings.file}):\n"
        f"  API key   {credentials.api_key}\n"
        f"  username  {credentials.username}\n"
        f"  password  {credentials.password}\n"
    )
    sys.stderr.flush()


async def _listen(runner: web.AppRunner, settings: GatewaySettings) -> None:
    """Both ports serve the same application."""
    wanted = [(settings.port, "ALIDADE_GATEWAY__PORT")]
    # Zero means any free port, and two of them are two ports.
    if settings.remap_port is not None and (settings.remap_port == 0 or settings.remap_port != settings.port):
        wanted.append((settings.remap_port, "ALIDADE_GATEWAY__REMAP_PORT (null for none)"))
    for port, setting in wanted:
        with taking_port(settings.host, port, setting):
            await web.TCPSite(runner, settings.host, port).start()
    log.info("gateway_listening", addresses=[f"{address[0]}:{address[1]}" for address in runner.addresses])


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, serve))
