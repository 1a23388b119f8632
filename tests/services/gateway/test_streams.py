"""Server-Sent Events passed through from the notifier, with a notifier of the test's own behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from deploy.local.ports import reserve_ports
from runtime.access import Access
from runtime.object_store import ObjectStore
from runtime.settings import AccessSettings, Settings
from tests.services.gateway.running_gateway import Gateway, running_gateway

PATHS = ["/api/progress/abc/stream", "/api/progress/abc/stream/basic", "/api/stream/progress/abc"]


@dataclass
class Upstream:
    """Sends what the test puts in, and remembers what it was asked."""

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)
    to_send: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path.endswith("/missing/stream"):
            return web.json_response({"detail": "Job not found"}, status=404)
        if request.path.endswith("/over/stream"):
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        try:
            while chunk := await self.to_send.get():
                await response.write(chunk)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    stand_in = Upstream()
    app = web.Application()
    app.router.add_get("/{path:.*}", stand_in.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
def streaming_settings(gateway_settings: Settings, upstream: Upstream) -> Settings:
    redirected = gateway_settings.gateway.model_copy(update={"notifier_url": upstream.url})
    return gateway_settings.model_copy(update={"gateway": redirected})


@pytest.fixture
async def streaming(streaming_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[Gateway]:
    async with running_gateway(streaming_settings, access, store) as gateway:
        yield gateway


@pytest.mark.parametrize("path", PATHS)
async def test_chunks_pass_as_they_come_with_the_headers_that_matter(
    streaming: Gateway, upstream: Upstream, path: str
) -> None:
    headers = streaming.key | {"Last-Event-ID": "41", "Cookie": "private=1"}
    async with streaming.client.get(f"{streaming.url}{path}?a=%20b", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache"
        for chunk in (b"id: 42\ndata: {}\n\n", b": heartbeat\n\n"):
            await upstream.to_send.put(chunk)
            assert await asyncio.wait_for(answer.content.readexactly(len(chunk)), 2.0) == chunk
        await upstream.to_send.put(b"")
        assert await asyncio.wait_for(answer.content.read(), 2.0) == b""
    (request,) = upstream.requests
    assert request.raw_path == f"{path}?a=%20b"
    assert request.headers["Authorization"] == streaming.key["Authorization"]
    assert request.headers["Last-Event-ID"] == "41"
    assert "Cookie" not in request.headers


async def test_a_client_that_leaves_a_silent_stream_is_noticed(streaming: Gateway, upstream: Upstream) -> None:
    async with streaming.client.get(streaming.url + PATHS[0], headers={"X-API-Key": streaming.api_key}) as answer:
        await upstream.to_send.put(b"data: 1\n\n")
        await answer.content.readexactly(9)
        answer.close()
    await asyncio.wait_for(upstream.left.wait(), 5.0)
    assert upstream.requests[0].headers["X-API-Key"] == streaming.api_key


async def test_what_the_notifier_refuses_is_refused(streaming: Gateway) -> None:
    assert await streaming.get("/api/progress/missing/stream") == (404, {"detail": "Job not found"})


async def test_who_has_heard_the_end_is_told_not_to_come_back(streaming: Gateway) -> None:
    url = f"{streaming.url}/api/progress/over/stream"
    async with streaming.client.get(url, headers=streaming.key) as answer:
        assert (answer.status, await answer.read()) == (204, b"")


async def test_streams_are_for_get_only_and_other_paths_are_not_there(streaming: Gateway, upstream: Upstream) -> None:
    for path in PATHS:
        for method in ("HEAD", "POST", "OPTIONS"):
            async with streaming.client.request(method, streaming.url + path, headers=streaming.key) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    for path in ("/api/progress", "/api/progress/abc", "/api/progress/abc/stream/", "/api/stream/progress/abc/basic"):
        status, body = await streaming.get(path)
        assert (status, list(body)) == (404, ["detail", "type", "loc"])
    assert upstream.requests == []


async def test_a_stop_ends_streams(
    streaming_settings: Settings, access: Access, store: ObjectStore, upstream: Upstream
) -> None:
    async with aiohttp.ClientSession() as client:
        async with running_gateway(streaming_settings, access, store) as gateway:
            answer = await client.get(gateway.url + PATHS[0], headers=gateway.key)
            await upstream.to_send.put(b"data: 1\n\n")
            await answer.content.readexactly(9)
            stopped = asyncio.create_task(answer.content.read())
        assert await asyncio.wait_for(stopped, 1.0) == b""


async def test_without_a_notifier_it_is_a_503(gateway_settings: Settings, access: Access, store: ObjectStore) -> None:
    with reserve_ports(1) as reserved:
        nobody = gateway_settings.gateway.model_copy(update={"notifier_url": f"http://127.0.0.1:{reserved.ports[0]}"})
    async with (
        running_gateway(gateway_settings.model_copy(update={"gateway": nobody}), access, store) as gateway,
        gateway.client.get(gateway.url + PATHS[0], headers=gateway.key) as answer,
    ):
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert list(await answer.json()) == ["detail", "type", "loc"]


async def test_without_a_key_on_loopback_only(
    gateway_settings: Settings, streaming_settings: Settings, access: Access, store: ObjectStore, upstream: Upstream
) -> None:
    """Bound to an address that others can reach, the streams demand a key, whatever the notifier behind allows."""
    await upstream.to_send.put(b"")
    async with running_gateway(streaming_settings, access, store) as gateway:
        async with gateway.client.get(gateway.url + PATHS[0]) as answer:
            assert answer.status == 200
        status, _ = await gateway.get(PATHS[0], {"X-API-Key": "wrong"})
        assert status == 403
    public = Access(AccessSettings(file=gateway_settings.access.file), "0.0.0.0")
    async with running_gateway(streaming_settings, public, store) as gateway:
        status, body = await gateway.get(PATHS[0], {})
        assert (status, list(body)) == (401, ["detail", "type", "loc"])
        await upstream.to_send.put(b"")
        async with gateway.client.get(gateway.url + PATHS[0], headers=gateway.key) as answer:
            assert answer.status == 200
