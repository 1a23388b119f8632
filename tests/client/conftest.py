"""A small server that speaks the documented API from a thread of its own, and breaks off when a test says so."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web

from client.api import Alidade
from client.http import Patience

KEY = "ald_test"
JOB = "f7e8d9c0b1a2"
HASTE = Patience(first_pause_s=0.01, longest_pause_s=0.02, give_up_s=3.0, silence_s=0.3, polling_s=0.01)

StreamHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def update(percentage: int, status: str = "processing", **more: object) -> dict[str, object]:
    progress = {
        "percentage": percentage,
        "stage": "features",
        "stage_description": "Features",
        "estimated_remaining": "00:02:30",
        "processing_speed": "12 items/sec",
    }
    return {"job_id": JOB, "status": status, "progress": progress, "performance": None, "timestamp": "x", **more}


def framed(name: str, data: dict[str, object], event_id: int) -> bytes:
    """As the notifier frames it: unnamed first, then named with the id."""
    text = json.dumps(data)
    return f"data: {text}\n\nevent: {name}\nid: {event_id}\ndata: {text}\n\n".encode()


@dataclass
class Server:
    """What the tests set, and what the server has seen."""

    url: str = ""
    status: str = "processing"
    error: str | None = None
    result: bytes = b""
    etag: str = '"one"'
    cut_after: list[int] = field(default_factory=list)
    """Each download takes one from the front and stops after so many bytes."""
    streams: list[StreamHandler] = field(default_factory=list)
    """Each connection to the stream takes one from the front; without any, the path does not exist."""
    lines: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    processed: list[dict[str, object]] = field(default_factory=list)
    uploaded: list[tuple[str, int]] = field(default_factory=list)

    def headers(self, path_end: str) -> list[dict[str, str]]:
        return [headers for _, path, headers in self.seen if path.endswith(path_end)]

    def detail(self) -> dict[str, object]:
        moment = datetime(2026, 1, 15, tzinfo=UTC).isoformat()
        return {
            "job_id": JOB,
            "status": self.status,
            "progress": 100 if self.status == "completed" else 42,
            "current_step": "Matching",
            "created_at": moment,
            "updated_at": moment,
            "error": self.error,
            "settings": {"fps": 4.0, "camera_model": "PINHOLE"},
            "warnings": ["Features were replaced."],
        }


@web.middleware
async def _check_key(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]):
    server = request.app[SERVER]
    server.seen.append((request.method, request.path, dict(request.headers)))
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": "Forbidden", "message": "The API key is not valid."}, status=403)
    if "job_id" in request.match_info and request.match_info["job_id"] != JOB:
        return web.json_response({"error": "Not Found", "message": "Job not found."}, status=404)
    return await handler(request)


SERVER = web.AppKey("server", Server)


async def _stream(request: web.Request) -> web.StreamResponse:
    streams = request.app[SERVER].streams
    if not streams:
        raise web.HTTPNotFound
    return await streams.pop(0)(request)


async def _upload(request: web.Request) -> web.Response:
    part = await (await request.multipart()).next()
    assert part is not None
    size = 0
    while chunk := await part.read_chunk(1 << 16):
        size += len(chunk)
    request.app[SERVER].uploaded.append((part.filename, size))
    return web.json_response({"dataset_id": "a1b2c3d4e5f6", "files": ["rgb.mp4"], "message": "ok"}, status=201)


async def _process(request: web.Request) -> web.Response:
    request.app[SERVER].processed.append(await request.json())
    return web.json_response({"job_id": JOB, "status": "queued", "message": "Processing started"}, status=202)


async def _result(request: web.Request) -> web.StreamResponse:
    server = request.app[SERVER]
    total = len(server.result)
    headers = {"ETag": server.etag, "Content-Disposition": 'attachment; filename="../remap_result.zip"'}
    start = 0
    if (wanted := request.headers.get("Range")) and request.headers.get("If-Range", server.etag) == server.etag:
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= total:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
    response = web.StreamResponse(status=206 if "Content-Range" in headers else 200, headers=headers)
    response.content_length = total - start
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    end = start + server.cut_after.pop(0) if server.cut_after else total
    await response.write(server.result[start:end])
    if end < total:
        assert request.transport is not None
        request.transport.close()
    return response


async def _jobs(request: web.Request) -> web.Response:
    return web.json_response({"jobs": [request.app[SERVER].detail()]})


async def _status(request: web.Request) -> web.Response:
    return web.json_response(request.app[SERVER].detail())


async def _logs(request: web.Request) -> web.Response:
    moment = datetime(2026, 1, 15, tzinfo=UTC).isoformat()
    lines = [{"time": moment, "message": line, "step": "SfM"} for line in request.app[SERVER].lines]
    return web.json_response({"job_id": JOB, "log": lines})


async def _cancel(request: web.Request) -> web.Response:
    server = request.app[SERVER]
    if server.status in ("completed", "failed"):
        return web.json_response({"error": "Conflict", "message": "It has already completed."}, status=409)
    server.status = "cancelled"
    return web.json_response({"job_id": JOB, "status": "cancelled"})


def _app(server: Server) -> web.Application:
    app = web.Application(middlewares=[_check_key], client_max_size=0)
    app[SERVER] = server
    app.router.add_post("/api/v1/upload", _upload)
    app.router.add_post("/api/v1/process", _process)
    app.router.add_get("/api/v1/jobs", _jobs)
    app.router.add_get("/api/v1/jobs/{job_id}/status", _status)
    app.router.add_get("/api/v1/jobs/{job_id}/logs", _logs)
    app.router.add_get("/api/v1/jobs/{job_id}/result", _result)
    app.router.add_post("/api/v1/jobs/{job_id}/cancel", _cancel)
    app.router.add_get("/api/progress/{job_id}/stream", _stream)
    return app


@pytest.fixture
def server() -> Iterator[Server]:
    described = Server()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_app(described), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        described.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield described
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def alidade(server: Server) -> Iterator[Alidade]:
    with Alidade(server.url, KEY, patience=HASTE) as connected:
        yield connected


def sends(*frames: bytes, then: str = "end") -> StreamHandler:
    """A stream that sends `frames`, then ends, breaks off, or falls silent."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n:\n\n" + b"".join(frames))
        assert request.transport is not None
        if then == "break":
            request.transport.close()
        if then == "silence":
            await asyncio.Event().wait()
        return response

    return handle


def answers(status: int, content_type: str = "application/json", text: str = "{}") -> StreamHandler:
    """No stream but an answer."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=None if status == 204 else text, content_type=content_type)

    return handle
