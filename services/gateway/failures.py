"""Whatever goes wrong in a handler becomes an answer in the form of its API; nothing of ours leaks into it."""

from http import HTTPStatus

from aiohttp import web

from runtime.logs import get_logger
from runtime.refusals import Refusal, refusal_of_http
from services.gateway.dialects import dialect_of, error_response
from services.gateway.limits import too_large
from services.gateway.routes import Handler

log = get_logger(__name__)

STARTED = web.RequestKey("answer_started", bool)


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
        return error_response(request.path, refusal)


async def note_start(request: web.Request, _: web.StreamResponse) -> None:
    """For `on_response_prepare`."""
    request[STARTED] = True


def _refusal(request: web.Request, error: Exception) -> Refusal:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return too_large("The request", request.client_max_size)
        case web.HTTPException():
            return of_http(request, error)
        case ConnectionError() | web.RequestPayloadError():
            return Refusal(HTTPStatus.BAD_REQUEST, "The request's body is not complete, or not encoded as it says.")
        case _:
            return dialect_of(request.path).refusal_of(error, request.path)


def of_http(request: web.BaseRequest, error: web.HTTPException) -> Refusal:
    """What aiohttp raises by itself: an unknown path, a wrong method, an expectation that nobody meets."""
    return refusal_of_http(error.status, error.reason, request.method, request.path, error.headers.get("Allow", ""))
