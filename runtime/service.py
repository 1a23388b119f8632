"""How a service process begins and ends: settings, logs, signals, exit code."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

from contracts.errors import AlidadeError, ConfigurationError
from runtime.logs import configure_logs, get_logger
from runtime.object_store import StoreAddress
from runtime.settings import Settings, StoreSettings, load_settings

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
