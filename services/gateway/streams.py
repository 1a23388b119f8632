"""Server-Sent Events of the notifier, passed through chunk by chunk. On a cluster an ingress does this instead."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web

from contracts.errors import DependencyUnavailable
from runtime.admission import Admission
from runtime.logs import get_logger
from services.gateway.parts import REQUEST_ID, parts_of
from services.gateway.routes import Answer, RequestHeader, Route

log = get_logger(__name__)

_PASSED_UP = ("Accept", "Authorization", "X-API-Key", "Last-Event-ID")
_PASSED_DOWN = ("Content-Type", "Cache-Control", "X-Accel-Buffering", "Retry-After", "WWW-Authenticate")
_CONNECT_S = 5.0
_FIRST_BYTE_S = 30.0
_LOOK_S = 2.0
"""How often a silent stream looks whether its client is still there."""


class StreamProxy:
    """Open streams to the notifier. Made with the application, closed with it."""

    def __init__(self) -> None:
        # No limit of connections: each holds one client's stream.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S),
            auto_decompress=False,
        )
        self._closing = asyncio.Event()

    def stop(self) -> None:
        """End every stream; clients come back by themselves with Last-Event-ID."""
        self._closing.set()

    async def close(self) -> None:
        self.stop()
        await self._session.close()

    async def forward(self, request: web.Request, base_url: str) -> web.StreamResponse:
        """Answer with what the notifier answers. Raises DependencyUnavailable before the first byte."""
        headers = _chosen(request.headers, _PASSED_UP) | {"X-Request-ID": request[REQUEST_ID]}
        # No `async with`, which would wait for a stream that does not end: `close` drops the connection at once.
        try:
            async with asyncio.timeout(_FIRST_BYTE_S):
                upstream = await self._session.get(
                    base_url.rstrip("/") + request.raw_path, headers=headers, allow_redirects=False
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DependencyUnavailable(f"The notifier at {base_url} does not answer: {error!r}.") from error
        try:
            response = web.StreamResponse(status=upstream.status, headers=_chosen(upstream.headers, _PASSED_DOWN))
            await response.prepare(request)
            async for chunk in self._chunks(request, upstream):
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            log.debug("stream_left", path=request.path)
        except aiohttp.ClientError as error:
            log.warning("stream_broke", path=request.path, error=repr(error))
            response.force_close()
        finally:
            upstream.close()
        return response

    async def _stopped(self) -> bytes:
        await self._closing.wait()
        return b""

    async def _chunks(self, request: web.Request, upstream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """What the notifier sends, as it comes, until it ends, the client leaves or the gateway stops."""
        closing = asyncio.ensure_future(self._stopped())
        reading: asyncio.Future[bytes] | None = None
        try:
            while not self._closing.is_set():
                reading = reading or asyncio.ensure_future(upstream.content.readany())
                await asyncio.wait({reading, closing}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if request.transport is None or request.transport.is_closing():
                    return
                if not reading.done():
                    continue
                chunk, reading = reading.result(), None
                if not chunk:
                    return
                yield chunk
        finally:
            closing.cancel()
            if reading is not None:
                reading.cancel()


def _chosen(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


PROXY = web.AppKey("stream_proxy", StreamProxy)


async def stream(request: web.Request) -> web.StreamResponse:
    """GET /api/progress/{job_id}/stream and its like."""
    return await request.app[PROXY].forward(request, parts_of(request).settings.gateway.notifier_url)


def _stream_route(path: str, summary: str, description: str) -> Route:
    return Route(
        "GET",
        path,
        stream,
        "Streams",
        summary,
        description,
        (Answer(200, "The stream", "text/event-stream"), Answer(404, "Job not found")),
        admission=Admission.KEY_UNLESS_ANONYMOUS,
        request_headers=(RequestHeader("Last-Event-ID", "Resume after this event"),),
        answers_head=False,
    )


ROUTES: tuple[Route, ...] = (
    _stream_route(
        "/api/progress/{job_id}/stream",
        "Progress as it happens",
        "Server-Sent Events of a job of any kind, up to its last one.",
    ),
    _stream_route(
        "/api/progress/{job_id}/stream/basic", "Percentage as it happens", "Server-Sent Events with percentages only."
    ),
    _stream_route(
        "/api/stream/progress/{job_id}", "Progress as it happens", "The same as `/api/progress/{job_id}/stream`."
    ),
)
