"""A service that takes work, from its connections to its last hand-back. What differs between services is passed in."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from contracts import subjects
from contracts.devices import Gpu
from runtime.bus import Bus
from runtime.devices import describe, find_gpu
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
Models = Callable[[Gpu | None], tuple[str, ...]]
"""What a worker can do on this card, besides what needs no weights."""


def no_models(_: Gpu | None) -> tuple[str, ...]:
    """Of services that need no weights."""
    return ()


async def serve_worker(
    service: str,
    settings: Settings,
    stop: asyncio.Event,
    *,
    preload: tuple[str, ...],
    build_step: Callable[[WorkerParts], Step],
    extras: Extras | None = None,
    models: Models = no_models,
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
        await answer_device(bus, service, settings, models)
        await serve_ops(stack, settings.ops, {"bus": bus_check(bus), "store": store.check})
        working = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        stopping.cancel()
        await working


async def answer_device(bus: Bus, service: str, settings: Settings, models: Models) -> None:
    """Answer what this worker computes on, for as long as the bus is connected."""

    async def answer(_: bytes) -> bytes:
        gpu = await asyncio.to_thread(find_gpu)
        device = describe(service, gpu, gpu_required=settings.gpu.required, models=models(gpu))
        return device.model_dump_json().encode()

    await bus.answer(subjects.device(service), service, answer)
