"""What workers compute on, as they say over the bus. Asked seldom: probes come every few seconds, and from many places."""

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web
from pydantic import ValidationError

from contracts import subjects
from contracts.devices import WorkerDevice
from contracts.errors import DependencyUnavailable
from runtime.bus import Bus
from runtime.logs import get_logger

log = get_logger(__name__)

ANSWER_S = 1.0
"""A worker that takes longer counts as one that is not there."""
FRESH_S = 3.0
"""How long an answer, or the lack of one, stands."""


@dataclass(frozen=True)
class _Known:
    device: WorkerDevice | None
    at_s: float


class WorkerDevices:
    """Asks a service's workers, whichever of them answers first, and remembers for a few seconds."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def of(self, service: str) -> WorkerDevice | None:
        """What a worker of `service` computes on; None if none answers in time. Never raises."""
        async with self._asking.setdefault(service, asyncio.Lock()):
            known = self._known.get(service)
            if known is None or time.monotonic() - known.at_s > FRESH_S:
                known = _Known(await self._ask(service), time.monotonic())
                self._known[service] = known
        return known.device

    async def _ask(self, service: str) -> WorkerDevice | None:
        try:
            answer = await self._bus.request(subjects.device(service), b"", timeout_s=ANSWER_S)
            return WorkerDevice.model_validate_json(answer)
        except DependencyUnavailable as error:
            log.debug("device_unknown", service=service, reason=error.message)
        except ValidationError:
            log.warning("device_unreadable", service=service)
        return None


DEVICES = web.AppKey("worker_devices", WorkerDevices)
