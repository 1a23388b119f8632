"""The HTTP server below the application: what never reaches a route is answered in a documented form all the same."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from runtime.logs import get_logger
from runtime.refusals import refusal_of
from services.gateway.dialects import error_response
from services.gateway.failures import of_http

log = get_logger(__name__)

_READ_BUFFER_BYTES = 1 << 18
"""The size in which uploads are read."""
_SHUTDOWN_S = 20.0
_UNREADABLE = "The request is not valid HTTP, or its address or a header is longer than 8190 bytes."

_BaseHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class GatewayRunner(web.AppRunner):
    """Runs the application. What is under way at a stop has `shutdown_s` to end."""

    def __init__(self, app: web.Application, *, shutdown_s: float = _SHUTDOWN_S) -> None:
        super().__init__(app, shutdown_timeout=shutdown_s)

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(_refusing(plain.request_handler), request_factory=plain.request_factory)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), read_bufsize=_READ_BUFFER_BYTES)


class _Connection(web.RequestHandler):
    """aiohttp's own, which answers what it cannot read with plain text and logs a traceback with the text in it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's own sentence, which quotes what it could not read
    ) -> web.StreamResponse:
        """An answer to a request that could not be read, or whose handling broke outside of every handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("The answer had begun.")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            # Not what the exception says: what could not be read may hold a key.
            log.info("request_unreadable", error=type(exc).__name__, remote=request.remote)
            response = _unreadable(HTTPStatus(status))
        else:
            broke = exc if isinstance(exc, Exception) else RuntimeError("no answer in time")
            response = error_response(request.path, refusal_of(broke, request.path))
        response.headers["Server"] = "Alidade"
        response.force_close()
        return response


def _unreadable(status: HTTPStatus) -> web.Response:
    """Nobody can tell which API was meant, so each finds here the fields of its own form."""
    body: dict[str, str | list[str]] = {
        "error": status.phrase,
        "message": _UNREADABLE,
        "detail": _UNREADABLE,
        "type": "bad_request",
        "loc": [],
    }
    return web.json_response(body, status=status)


def _refusing(handler: _BaseHandler) -> _BaseHandler:
    """Answers what aiohttp raises before the application's own middlewares are in place: `Expect` on an unknown path."""

    async def refusing(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return error_response(request.path, of_http(request, error))

    return refusing
