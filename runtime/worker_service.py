"""A service that takes work, from its connections to its last hand-back. What differs between services is passed in."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.object_store import ObjectStore
from runtime.service import bus_check, serve_ops, store_address
from runtime.settings import Settings
from runtime.stage_child import StageChildren
from runtime.worker import Step, Worker


@dataclass(frozen=True)
class WorkerParts:
    """What a worker service stands on."""

    settings: Settings
    bus: Bus
    store: ObjectStore
    job_log: JobLog
    children: StageChildren


Extras = Callable[[WorkerParts, AsyncExitStack], Awaitable[None]]


async def serve_worker(
    service: str,
    settings: Settings,
    stop: asyncio.Event,
    *,
    preload: tuple[str, ...],
    build_step: Callable[[WorkerParts], Step],
    extras: Extras | None = None,
) -> None:
    """Take work until `stop` is set, then hand back what is under way.

    `preload` are the modules that the child imports before its task comes. `extras` may start what the service does
    besides, and closes it through the stack it is given. Raises DependencyUnavailable if bus or store do not answer.
    """
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(await Bus.connect(settings.bus, service))
        store = await stack.enter_async_context(ObjectStore(store_address(settings.store)))
        await store.ensure_bucket()
        children = StageChildren(settings.worker, preload)
        stack.push_async_callback(children.close)
        await children.prepare()
        parts = WorkerParts(settings, bus, store, JobLog(bus, service), children)
        worker = Worker(service, bus, parts.job_log, build_step(parts), settings.worker)
        if extras is not None:
            await extras(parts, stack)
        await serve_ops(stack, settings.ops, {"bus": bus_check(bus), "store": store.check})
        working = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        stopping.cancel()
        await working
