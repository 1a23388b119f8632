"""How a service process begins and ends: settings, logs, signals, ports, readiness, exit code."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack

from contracts.errors import AlidadeError, ConfigurationError, DependencyUnavailable
from runtime.bus import Bus
from runtime.job_view import JobView
from runtime.logs import configure_logs, get_logger
from runtime.object_store import StoreAddress
from runtime.ops import Check, OpsServer
from runtime.settings import OpsSettings, Settings, StoreSettings, load_settings

log = get_logger(__name__)

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


def run_service(name: str, serve: Serve) -> int:
    """Run `serve(settings, stop)` until it returns; `stop` is set at SIGTERM or SIGINT. Returns the exit code."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        return 2
    configure_logs(settings.logs, name)
    try:
        asyncio.run(_serve(settings, serve))
    except AlidadeError as error:
        log.error("service_failed", reason=error.message)  # noqa: TRY400 - the reason is for people, not a traceback
        return 1
    log.info("service_stopped")
    return 0


async def _serve(settings: Settings, serve: Serve) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


def store_address(settings: StoreSettings) -> StoreAddress:
    """The object store's address from its settings."""
    return StoreAddress(
        endpoint_url=settings.endpoint_url,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        bucket=settings.bucket,
        region=settings.region,
    )


@contextlib.contextmanager
def taking_port(host: str, port: int, setting: str) -> Iterator[None]:
    """Around the start of a server: an address that cannot be served becomes a ConfigurationError naming `setting`."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} on {host} cannot be served ({error.strerror or error}). Choose another with {setting}."
        ) from error


async def serve_ops(stack: AsyncExitStack, settings: OpsSettings, checks: Mapping[str, Check]) -> None:
    """Serve `/healthz`, `/readyz` and `/metrics` until `stack` closes. Raises ConfigurationError for a taken port."""
    with taking_port(settings.host, settings.port, "ALIDADE_OPS__PORT"):
        await stack.enter_async_context(OpsServer(settings, dict(checks)))


def bus_check(bus: Bus) -> Check:
    """A readiness check: the connection to the bus is up."""

    async def check() -> None:
        if not bus.is_connected:
            raise DependencyUnavailable("The connection to the bus is lost.")

    return check


def view_check(view: JobView) -> Check:
    """A readiness check: the view follows the job log."""

    async def check() -> None:
        if not view.is_current:
            raise DependencyUnavailable("The job log is not followed: the view of it is behind.")

    return check
