"""Whatever goes wrong in a handler becomes an answer in the form of its API; nothing of ours leaks into it."""

import re
from http import HTTPStatus

from aiohttp import web

from contracts.errors import AlidadeError
from runtime.logs import get_logger
from services.gateway.dialects import error_response
from services.gateway.refusals import INTERNAL_SENTENCE, Refusal, refusal_of, too_large
from services.gateway.routes import Handler

log = get_logger(__name__)

STARTED = web.RequestKey("answer_started", bool)
_SHOWN_PATH = 120


@web.middleware
async def answer_failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns exceptions into answers. An answer that has begun cannot be replaced: its connection is cut instead."""
    try:
        return await handler(request)
    except Exception as error:
        refusal = _refusal(request, error)
        if request.get(STARTED, False):
            log.exception("answer_broke", path=request.path)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The answer had begun.") from error
        return error_response(request.path, refusal.status, refusal.message, refusal.headers)


async def note_start(request: web.Request, _: web.StreamResponse) -> None:
    """For `on_response_prepare`."""
    request[STARTED] = True


def _refusal(request: web.Request, error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case AlidadeError():
            refusal = refusal_of(error)
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                log.warning("request_failed", path=request.path, error=type(error).__name__, reason=error.message)
            return refusal
        case web.HTTPException():
            return _of_http(request, error)
        case ConnectionError() | web.RequestPayloadError():
            return Refusal(HTTPStatus.BAD_REQUEST, "The connection broke before the request was complete.")
        case _:
            log.error("request_broke", path=request.path, exc_info=error)
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_SENTENCE)


def _of_http(request: web.Request, error: web.HTTPException) -> Refusal:
    """What aiohttp raises by itself: an unknown path, a wrong method, a body beyond the limit."""
    match error:
        case web.HTTPNotFound():
            return Refusal(HTTPStatus.NOT_FOUND, f"There is nothing at {_shown_path(request)}. See /docs.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            message = f"{_shown_path(request)} does not take {error.method}, only {allowed}."
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, message, {"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return too_large(request.client_max_size)
        case _:
            return Refusal(HTTPStatus(error.status), error.reason)


def _shown_path(request: web.Request) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", request.path)[:_SHOWN_PATH]
