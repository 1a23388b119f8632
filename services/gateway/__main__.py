"""`python -m services.gateway`: settings, wiring, and both ports until SIGTERM or SIGINT."""

import asyncio
import contextlib
import signal
import sys

from aiohttp import web

from contracts.errors import AlidadeError, ConfigurationError, DependencyUnavailable
from runtime.access import Access, create_access_file
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.job_view import JobView
from runtime.logs import configure_logs, get_logger
from runtime.object_store import ObjectStore, StoreAddress
from runtime.ops import Check, OpsServer
from runtime.settings import GatewaySettings, Settings, StoreSettings, load_settings
from services.gateway.app import READ_BUFFER_BYTES, SHUTDOWN_S, build_app
from services.gateway.parts import Parts

SERVICE = "gateway"
_STORE_THREADS = 48
"""Every upload uses up to three at once, every download one."""

log = get_logger(__name__)


def main() -> None:
    """Exit status 0 after an orderly stop, 1 with a sentence if the gateway cannot run as it is set up."""
    try:
        settings = load_settings()
        configure_logs(settings.logs, SERVICE)
        _ensure_access_file(settings)
        asyncio.run(run(settings))
    except AlidadeError as error:
        print(f"gateway: {error.message}", file=sys.stderr)  # noqa: T201 - logs may not be set up yet
        sys.exit(1)


def _ensure_access_file(settings: Settings) -> None:
    """At first start, let one person in. What lets them in is shown this once, and kept as hashes only."""
    path = settings.access.file
    if path.exists():
        return
    try:
        credentials = create_access_file(path)
    except FileExistsError:
        # Another replica on the same folder was faster.
        return
    except OSError as error:
        raise ConfigurationError(f"The access file {path} cannot be written: {error.strerror}.") from error
    print(  # noqa: T201 - not a log line: logs are kept
        f"New credentials, shown this once (hashes are in {path}):\n"
        f"  API key   {credentials.api_key}\n"
        f"  username  {credentials.username}\n"
        f"  password  {credentials.password}",
        file=sys.stderr,
        flush=True,
    )


async def run(settings: Settings) -> None:
    """Serve until a signal. Raises ConfigurationError, DependencyUnavailable if the parts cannot be connected."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    access = Access(settings.access, settings.gateway.host)
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(ObjectStore(store_address(settings.store), threads=_STORE_THREADS))
        await store.ensure_bucket()
        bus = await stack.enter_async_context(await Bus.connect(settings.bus, SERVICE))
        job_log = JobLog(bus, SERVICE)
        view = await stack.enter_async_context(JobView(bus, job_log))
        await stack.enter_async_context(OpsServer(settings.ops, _checks(bus, store, view)))
        await _serve(stack, Parts(settings, access, bus, store, job_log, view))
        await stopping.wait()
        log.info("gateway_stopping")


def store_address(settings: StoreSettings) -> StoreAddress:
    return StoreAddress(
        endpoint_url=settings.endpoint_url,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        bucket=settings.bucket,
        region=settings.region,
    )


def _checks(bus: Bus, store: ObjectStore, view: JobView) -> dict[str, Check]:
    async def bus_answers() -> None:
        if not bus.is_connected:
            raise DependencyUnavailable("The bus is not connected.")

    async def view_is_current() -> None:
        if not view.is_current:
            raise DependencyUnavailable("The view of the job log is behind.")

    return {"bus": bus_answers, "store": store.check, "view": view_is_current}


async def _serve(stack: contextlib.AsyncExitStack, parts: Parts) -> None:
    """Both ports serve the same application."""
    runner = web.AppRunner(
        build_app(parts), access_log=None, read_bufsize=READ_BUFFER_BYTES, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    gateway = parts.settings.gateway
    for port in _ports(gateway):
        try:
            await web.TCPSite(runner, gateway.host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} on {gateway.host} cannot be served ({error.strerror}). Choose another with "
                "ALIDADE_GATEWAY__PORT, or ALIDADE_GATEWAY__REMAP_PORT (null for none)."
            ) from error
    log.info("gateway_listening", addresses=[f"{address[0]}:{address[1]}" for address in runner.addresses])


def _ports(gateway: GatewaySettings) -> list[int]:
    wanted = [gateway.port] if gateway.remap_port is None else [gateway.port, gateway.remap_port]
    # Zero means any free port, and two of them are two ports.
    return wanted if 0 in wanted else list(dict.fromkeys(wanted))


if __name__ == "__main__":
    main()
