"""Answers that are not streams."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.errors import AlidadeError, DependencyUnavailable
from runtime.logs import get_logger

log = get_logger(__name__)

_RETRY_AFTER = {"Retry-After": "5"}


class Refusal(AlidadeError):
    """An HTTP status with a sentence for whoever sent the request."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in the Cloud2BIM document's form."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _detail(refusal.status, refusal.message, refusal.headers)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _detail(error.status, f"{error.reason}: {request.method} {request.path}", allow)
    except DependencyUnavailable as error:
        log.warning("request_unanswered", reason=error.message)
        return _detail(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not available at the moment.", _RETRY_AFTER)


def _detail(status: int, message: str, headers: Mapping[str, str]) -> web.Response:
    return web.json_response({"detail": message}, status=status, headers=dict(headers))
