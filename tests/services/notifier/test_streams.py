"""Streams over real sockets and a real bus: nothing lost, nothing twice, nobody foreign, nothing without end."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from httpx_sse import ServerSentEvent
from httpx_sse._decoders import SSEDecoder

from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.jobs import Failure, JobStatus, Progress
from runtime.access import ANONYMOUS_OWNER
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import Recorded
from runtime.metrics import SSE_CLIENTS, SSE_DROPPED
from runtime.settings import NotifierSettings
from tests.services.notifier.conftest import (
    Notifier,
    advance,
    complete,
    new_building_job,
    new_job,
    running_notifier,
)

IN_TIME_S = 10


@asynccontextmanager
async def listening(url: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[ServerSentEvent]:
    decoder = SSEDecoder()
    async for line in response.content:
        event = decoder.decode(line.decode().rstrip("\n"))
        if event is not None and event.data:
            yield event


async def everything(url: str, headers: dict[str, str]) -> list[ServerSentEvent]:
    """All events until the server ends the stream."""
    async with asyncio.timeout(IN_TIME_S), listening(url, headers) as events:
        return [event async for event in events]


def heard_of(notifier: Notifier, recorded: Recorded) -> Recorded:
    """Some milliseconds later: what is written reaches a notifier's view by itself, but no test waits for that."""
    notifier.view.learn(recorded)
    return recorded


async def started_job(notifier: Notifier, owner: str = "ada") -> Recorded:
    """A job at 30 %."""
    return heard_of(notifier, await advance(notifier.job_log, await notifier.job_log.create(new_job(owner)), 30))


async def finished_job(notifier: Notifier, owner: str = "ada") -> Recorded:
    return heard_of(notifier, await complete(notifier.job_log, await started_job(notifier, owner)))


async def test_the_present_state_comes_first_then_every_change_then_the_end(notifier: Notifier) -> None:
    last = await started_job(notifier)
    async with asyncio.timeout(IN_TIME_S), listening(notifier.path(last), notifier.as_ada) as events:
        first = await anext(events)
        assert (first.event, json.loads(first.data)["progress"]["percentage"]) == ("message", 30)
        assert (await anext(events)).event == "progress"
        expected = [last := await advance(notifier.job_log, last, percent) for percent in (31, 32, 33)]
        expected.append(await complete(notifier.job_log, last))
        heard = [event async for event in events]
    named = [event for event in heard if event.event != "message"]
    unnamed = [event for event in heard if event.event == "message"]
    assert [int(event.id) for event in named] == [recorded.sequence for recorded in expected]
    assert [event.event for event in named] == ["progress", "progress", "progress", "complete"]
    assert [event.data for event in unnamed] == [event.data for event in named]
    assert json.loads(named[-1].data)["status"] == "completed"


async def test_the_document_s_client_path_serves_the_same(notifier: Notifier) -> None:
    done = await finished_job(notifier)
    at_other_path = f"{notifier.url}/api/stream/progress/{done.job.job_id}"
    there = await everything(at_other_path, notifier.as_ada)
    here = await everything(notifier.path(done), {"X-API-Key": notifier.key_of_ada})
    assert [(e.event, e.data, e.id) for e in there] == [(e.event, e.data, e.id) for e in here]
    assert len(here) == 2


async def test_nothing_is_lost_or_repeated_over_many_resumptions_while_events_keep_coming(notifier: Notifier) -> None:
    last = created = await notifier.job_log.create(new_job())
    written: list[int] = []

    async def write_on() -> None:
        nonlocal last
        for number in range(200):
            last = await advance(notifier.job_log, last, number / 2)
            written.append(last.sequence)
        last = await complete(notifier.job_log, last)
        written.append(last.sequence)

    writing = asyncio.create_task(write_on())
    heard: list[int] = []
    position, at_end = created.sequence, False
    async with asyncio.timeout(30):
        while not at_end:
            headers = {**notifier.as_ada, "Last-Event-ID": str(position)}
            async with listening(notifier.path(created), headers) as events:
                taken = 0
                async for event in events:
                    if event.event == "message":
                        continue
                    position = int(event.id)
                    heard.append(position)
                    at_end = event.event == "complete"
                    taken += 1
                    if taken == 7 and not at_end:
                        break
    await writing
    assert heard == written


async def test_the_query_resumes_too_and_an_id_of_zero_replays_the_history(notifier: Notifier) -> None:
    created = await notifier.job_log.create(new_job())
    done = await complete(notifier.job_log, await advance(notifier.job_log, created, 50))
    replayed = await everything(f"{notifier.path(done)}?last_event_id={created.sequence}", notifier.as_ada)
    assert [event.event for event in replayed] == ["message", "progress", "message", "complete"]
    whole = await everything(f"{notifier.path(done)}?last_event_id=0", notifier.as_ada)
    assert len(whole) == 6


@pytest.mark.parametrize("nonsense", ["99999999999", "abc", "-3", ""])
async def test_an_id_that_is_none_of_ours_gets_the_present_state(notifier: Notifier, nonsense: str) -> None:
    done = await finished_job(notifier)
    heard = await everything(notifier.path(done), {**notifier.as_ada, "Last-Event-ID": nonsense})
    assert [event.event for event in heard] == ["message", "complete"]


async def test_an_id_older_than_the_log_gets_the_present_state(bus: Bus, notifier: Notifier) -> None:
    first = await notifier.job_log.create(new_job())
    last = heard_of(notifier, await complete(notifier.job_log, await advance(notifier.job_log, first, 50)))
    await bus.jetstream.purge_stream("JOBS", seq=last.sequence)
    heard = await everything(notifier.path(last), {**notifier.as_ada, "Last-Event-ID": str(first.sequence)})
    assert [event.event for event in heard] == ["message", "complete"]


async def test_who_has_heard_the_end_is_told_not_to_come_back(notifier: Notifier) -> None:
    done = await finished_job(notifier)
    headers = {**notifier.as_ada, "Last-Event-ID": str(done.sequence)}
    async with aiohttp.ClientSession() as session, session.get(notifier.path(done), headers=headers) as response:
        assert response.status == 204


async def test_that_also_holds_at_a_notifier_that_lags_behind(notifier: Notifier) -> None:
    last = await started_job(notifier)
    # From here on its view is not told of anything: the end was heard at another replica.
    await notifier.view.__aexit__(None, None, None)
    done = await complete(notifier.job_log, last)
    headers = {**notifier.as_ada, "Last-Event-ID": str(done.sequence)}
    async with (
        asyncio.timeout(IN_TIME_S),
        aiohttp.ClientSession() as session,
        session.get(notifier.path(done), headers=headers) as response,
    ):
        assert (response.status, await response.read()) == (204, b"")


async def test_a_failure_is_an_error_event_with_its_reason(notifier: Notifier) -> None:
    last = await started_job(notifier)
    failure = Failure(code=ErrorCode.NO_MODEL, message="No two pictures overlap.")
    job = last.job.changed(now(), status=JobStatus.FAILED, error=failure)
    failed = heard_of(notifier, await notifier.job_log.write(last, EventType.FAILED, job))
    _, error = await everything(notifier.path(failed), notifier.as_ada)
    assert error.event == "error"
    assert json.loads(error.data)["error"] == "No two pictures overlap."


async def test_the_basic_stream_has_the_documented_form(notifier: Notifier) -> None:
    last = await started_job(notifier)
    async with asyncio.timeout(IN_TIME_S), listening(notifier.path(last) + "/basic", notifier.as_ada) as events:
        heard = [await anext(events)]
        for percent in (30.4, 45, 45.9):
            last = await advance(notifier.job_log, last, percent)
        done = await complete(notifier.job_log, last)
        heard += [event async for event in events]
    assert [(event.event, event.data) for event in heard] == [
        ("progress", "30"),
        ("progress", "45"),
        ("complete", "completed"),
    ]
    assert int(heard[-1].id) == done.sequence


async def test_a_cancelled_job_ends_the_basic_stream_with_its_word(notifier: Notifier) -> None:
    last = await started_job(notifier)
    job = last.job.changed(now(), status=JobStatus.CANCELLED)
    heard_of(notifier, await notifier.job_log.write(last, EventType.CANCELLED, job))
    [end] = await everything(notifier.path(last) + "/basic", notifier.as_ada)
    assert (end.event, end.data) == ("error", "cancelled")


async def test_the_basic_stream_of_a_building_is_the_documents_byte_for_byte_but_for_ids(notifier: Notifier) -> None:
    last = await notifier.job_log.create(new_building_job())
    at_work = last.job.changed(
        now(), status=JobStatus.PROCESSING, progress=Progress(percent=45.3, step="wall_detection")
    )
    last = heard_of(notifier, await notifier.job_log.write(last, EventType.PROGRESSED, at_work))
    async with (
        asyncio.timeout(IN_TIME_S),
        aiohttp.ClientSession(headers=notifier.as_ada) as session,
        session.get(notifier.path(last) + "/basic") as response,
    ):
        received = await response.content.readuntil(b"data: 45\n\n")
        await complete(notifier.job_log, last)
        received += await response.read()
    text = "".join(line for line in received.decode().splitlines(keepends=True) if not line.startswith("id: "))
    assert text == "retry: 2000\n\nevent: progress\ndata: 45\n\nevent: complete\ndata: completed\n\n"


async def test_a_cancelled_building_has_failed_on_both_streams(notifier: Notifier) -> None:
    last = await notifier.job_log.create(new_building_job())
    job = last.job.changed(now(), status=JobStatus.CANCELLED)
    heard_of(notifier, await notifier.job_log.write(last, EventType.CANCELLED, job))
    [end] = await everything(notifier.path(last) + "/basic", notifier.as_ada)
    assert (end.event, end.data) == ("error", "failed")
    unnamed, named = await everything(notifier.path(last), notifier.as_ada)
    assert (unnamed.event, named.event) == ("message", "error")
    assert json.loads(unnamed.data)["status"] == "failed"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic YWRhOmFkYQ=="}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"X-API-Key": "wrong"}, 403),
        ({"X-API-Key": "\udcff"}, 403),
        ({"X-API-Key": ""}, 401),
        ({"Authorization": "Bearer a b"}, 401),
        ({"Authorization": "Bearer \udcff"}, 403),
    ],
)
async def test_who_has_no_key_stays_outside(notifier: Notifier, headers: dict[str, str], status: int) -> None:
    last = await started_job(notifier)
    assert await _refusal(notifier.path(last), headers) == status


@pytest.mark.parametrize("job_id", ["0123456789ab", "*", ">", "a.b", "%2A", "x" * 65, "%00"])
async def test_a_job_that_is_not_there_is_404(notifier: Notifier, job_id: str) -> None:
    await started_job(notifier)
    assert await _refusal(f"{notifier.url}/api/progress/{job_id}/stream", notifier.as_ada) == 404


async def test_somebody_else_s_job_is_not_there(notifier: Notifier) -> None:
    last = await started_job(notifier)
    for path in (notifier.path(last), notifier.path(last) + "/basic"):
        assert await _refusal(path, {"X-API-Key": notifier.key_of_bob}) == 404


async def test_paths_and_methods_that_do_not_exist_are_answered_in_json(notifier: Notifier) -> None:
    assert await _refusal(f"{notifier.url}/api/progress", notifier.as_ada) == 404
    last = await started_job(notifier)
    async with aiohttp.ClientSession() as session, session.post(notifier.path(last)) as response:
        assert response.status == 405
        assert await response.json() == {
            "detail": f"{response.url.path} does not take POST, only GET.",
            "type": "method_not_allowed",
            "loc": [],
        }


async def test_what_breaks_is_a_500_that_tells_nothing(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def explode(_: str) -> None:
        raise RuntimeError("secret detail")

    last = await started_job(notifier)
    monkeypatch.setattr(notifier.view, "find", explode)
    async with aiohttp.ClientSession(headers=notifier.as_ada) as session, session.get(notifier.path(last)) as response:
        assert response.status == 500
        assert "secret" not in str(await response.json())
    assert "secret detail" in "".join(capsys.readouterr())


async def test_what_breaks_within_a_stream_cuts_it(notifier: Notifier) -> None:
    last = await started_job(notifier)
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(IN_TIME_S), listening(notifier.path(last), notifier.as_ada) as events:
            await anext(events)
            broken = last.job.changed(now(), progress=last.job.progress.model_copy(update={"step": "no such step"}))
            await notifier.job_log.write(last, EventType.PROGRESSED, broken)
            async for _ in events:
                pass


async def test_anonymous_hears_anonymous_jobs_only(bus: Bus, tmp_path: Path) -> None:
    async with running_notifier(bus, tmp_path, NotifierSettings(), anonymous="loopback") as notifier:
        done = await finished_job(notifier, ANONYMOUS_OWNER)
        assert len(await everything(notifier.path(done), {})) == 2
        assert await _refusal(notifier.path(await started_job(notifier)), {}) == 404
        assert await _refusal(notifier.path(done), {"X-API-Key": "wrong"}) == 403


async def test_a_silent_stream_shows_that_it_lives(bus: Bus, tmp_path: Path) -> None:
    async with running_notifier(bus, tmp_path, NotifierSettings(heartbeat_s=0.05)) as notifier:
        last = await started_job(notifier)
        async with (
            asyncio.timeout(IN_TIME_S),
            aiohttp.ClientSession(headers=notifier.as_ada) as session,
            session.get(notifier.path(last)) as response,
        ):
            assert await response.content.readline() == b"retry: 2000\n"
            beats = 0
            while beats < 3:
                beats += (await response.content.readline()) == b":\n"


async def test_who_does_not_read_is_dropped_and_others_are_not(bus: Bus, tmp_path: Path) -> None:
    settings = NotifierSettings(client_queue=8)
    async with running_notifier(bus, tmp_path, settings, stall_s=0.3) as notifier:
        last = await started_job(notifier)
        # Each update is about 100 kB twice: more than socket buffers hold.
        last = Recorded(last.job.changed(now(), warnings=("w" * 100_000,)), last.sequence)
        before = SSE_DROPPED._value.get()
        with socket.create_connection(("127.0.0.1", notifier.port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"GET /api/progress/{last.job.job_id}/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {notifier.key_of_ada}"
            deaf.sendall(f"{head}\r\n\r\n".encode())
            async with asyncio.timeout(IN_TIME_S), listening(notifier.path(last), notifier.as_ada) as events:
                await anext(events)
                written = []
                while SSE_DROPPED._value.get() == before:
                    last = await advance(notifier.job_log, last, 40)
                    written.append(last.sequence)
                    # The next one is written once the reading client has this one.
                    async for event in events:
                        if event.event == "progress" and int(event.id) == last.sequence:
                            break
            assert len(written) < 200
            deaf.settimeout(IN_TIME_S)
            taken = await asyncio.to_thread(_read_to_the_end, deaf)
            assert taken < 20_000_000


def _read_to_the_end(connection: socket.socket) -> int:
    taken = 0
    try:
        while chunk := connection.recv(1 << 16):
            taken += len(chunk)
    except ConnectionResetError:
        pass
    return taken


async def test_a_client_that_leaves_is_forgotten_at_once(notifier: Notifier) -> None:
    last = await started_job(notifier)
    before = SSE_CLIENTS._value.get()
    async with asyncio.timeout(IN_TIME_S), listening(notifier.path(last), notifier.as_ada) as events:
        await anext(events)
        assert SSE_CLIENTS._value.get() == before + 1
    async with asyncio.timeout(IN_TIME_S):
        while SSE_CLIENTS._value.get() != before:
            await asyncio.sleep(0.01)


async def test_a_stop_ends_every_stream_cleanly(bus: Bus, tmp_path: Path) -> None:
    async with asyncio.timeout(IN_TIME_S), running_notifier(bus, tmp_path, NotifierSettings()) as notifier:
        last = await started_job(notifier)
        async with listening(notifier.path(last), notifier.as_ada) as events:
            assert (await anext(events)).event == "message"
            assert (await anext(events)).event == "progress"
            notifier.streams.stop()
            assert [event async for event in events] == []


@pytest.mark.slow
async def test_five_hundred_listeners_are_reached_within_a_second(notifier: Notifier) -> None:
    last = await started_job(notifier)
    url = notifier.path(last)
    connector = aiohttp.TCPConnector(limit=0)
    async with asyncio.timeout(60), aiohttp.ClientSession(connector=connector, headers=notifier.as_ada) as session:
        ready = asyncio.Semaphore(0)

        async def listen() -> float:
            async with session.get(url) as response:
                async for event in _events(response):
                    if event.event == "progress":
                        ready.release()
                    elif event.event == "complete":
                        return asyncio.get_running_loop().time()
            raise AssertionError("the stream ended without an end")

        tasks = [asyncio.create_task(listen()) for _ in range(500)]
        for _ in tasks:
            await ready.acquire()
        began = asyncio.get_running_loop().time()
        await complete(notifier.job_log, last)
        ends = await asyncio.gather(*tasks)
    # Listeners and notifier share one process here; bench/sse.py measures them apart.
    assert max(ends) - began < 2.0


async def _refusal(url: str, headers: dict[str, str]) -> int:
    encoded = {name: value.encode("utf-8", "surrogateescape").decode("latin-1") for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.get(url, headers=encoded) as response:
        body = await response.json()
        assert list(body) == ["detail", "type", "loc"]
        assert body["detail"]
        assert body["type"] in {"unauthorized", "forbidden", "not_found"}
        assert body["loc"] == []
        return response.status
