"""The connection to the bus: what it says when it cannot do what it is asked to."""

import asyncio
import socket
from collections import deque

import pytest
from nats.js.api import StorageType, StreamConfig

from contracts import subjects
from contracts.errors import DependencyUnavailable
from contracts.identifiers import new_event_id
from runtime import bus as bus_module
from runtime.bus import Bus, MessageTooLarge
from runtime.job_log import JobLog
from runtime.settings import BusSettings


async def test_a_bus_that_is_not_there_is_named_and_not_waited_for_without_end(monkeypatch) -> None:
    monkeypatch.setattr(bus_module, "_CONNECT_S", 1.0)
    with socket.socket() as nobody:
        # Bound and not listening: nobody else can take it meanwhile.
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with asyncio.timeout(30):
            with pytest.raises(DependencyUnavailable, match=f"127.0.0.1:{port} does not answer"):
                await Bus.connect(BusSettings(url=f"nats://127.0.0.1:{port}"), "test")


async def test_a_stream_of_another_making_is_named(restartable_nats, bus: Bus) -> None:
    """For instance one that an operator made by hand, in memory."""
    await bus.jetstream.delete_stream(subjects.DEAD_STREAM)
    other = StreamConfig(name=subjects.DEAD_STREAM, subjects=[subjects.ALL_DEAD], storage=StorageType.MEMORY)
    await bus.jetstream.add_stream(other)
    with pytest.raises(DependencyUnavailable, match="cannot keep the stream DEAD"):
        await Bus.connect(BusSettings(url=restartable_nats.url), "second")


async def test_a_message_that_no_server_takes_is_not_sent_again_and_again(bus: Bus) -> None:
    subject = subjects.dead("sfm", "f7e8d9c0b1a2")
    payload = b"x" * (bus._client.max_payload + 1)
    with pytest.raises(MessageTooLarge):
        await bus.publish(subject, payload, message_id="1", content_type="text/plain")


async def test_a_pull_that_finds_nothing_leaves_nothing_behind(bus: Bus) -> None:
    await bus.ensure_work_consumer("sfm", ack_wait_s=2)
    for _ in range(3):
        assert await bus.pull_work("sfm", timeout_s=0.05) is None
    info = await bus.jetstream.consumer_info(subjects.WORK_STREAM, subjects.consumer("sfm"))
    assert info.num_waiting == 0
    assert bus._unanswered == deque()


async def test_work_that_comes_after_its_pull_was_given_up_is_handed_back(bus: Bus, job_log: JobLog, make_job) -> None:
    await bus.ensure_work_consumer("sfm", ack_wait_s=600)
    pulling = asyncio.create_task(bus.pull_work("sfm", timeout_s=600))
    async with asyncio.timeout(20):
        while not (await bus.jetstream.consumer_info(subjects.WORK_STREAM, subjects.consumer("sfm"))).num_waiting:
            await asyncio.sleep(0.01)
    pulling.cancel()
    await asyncio.wait({pulling})
    await job_log.queue(make_job(stage="sfm"))
    message = await bus.pull_work("sfm", timeout_s=20)
    assert message is not None
    assert message.metadata.num_delivered == 2


async def test_a_pull_without_its_consumer_says_so(bus: Bus) -> None:
    with pytest.raises(DependencyUnavailable):
        await bus.pull_work("sfm", timeout_s=1.0)


async def test_a_cancellation_that_crosses_with_a_reply_is_not_forgotten(bus: Bus) -> None:
    """As when a step ends just as its progress is stored: the worker cancels the writer, and waits for its end."""

    async def write_on() -> None:
        while True:
            await bus.publish(subjects.dead("sfm", "f7e8d9c0b1a2"), b"x", message_id=new_event_id(), content_type="a/b")

    async def cancel_after_reply(writing: asyncio.Task[None]) -> None:
        # The library sets the result of the reply's future; between that and the writer's turn comes this one's.
        pending = bus._client._resp_map
        while not pending:
            await asyncio.sleep(0)
        next(iter(pending.values())).add_done_callback(lambda _: writing.cancel())

    for _ in range(20):
        writing = asyncio.create_task(write_on())
        await cancel_after_reply(writing)
        _, going_on = await asyncio.wait({writing}, timeout=5)
        assert not going_on
        assert writing.cancelled()
