"""Why an HTTP request is not done: a status and a sentence, before an API gives it its own form. Knows no web framework."""

import re
from collections.abc import Mapping
from http import HTTPStatus

from contracts.errors import AlidadeError, DependencyUnavailable, ErrorCode, UserError
from contracts.model import Frozen
from runtime.logs import get_logger

log = get_logger(__name__)

RETRY_AFTER_S = 5
_INTERNAL = (
    "Something went wrong on our side; it has been logged. X-Request-ID, if the answer has one, tells where in the log."
)
_UNAVAILABLE = "A service that is needed for this does not answer at the moment. Try again in a few seconds."
_SHOWN_PATH = 120

_STATUS_OF_CODE = {
    ErrorCode.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.PRECONDITION_FAILED: HTTPStatus.PRECONDITION_FAILED,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.RANGE_NOT_SATISFIABLE: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
}


class Refusal(AlidadeError):
    """A request that is answered with an error. `message` is a sentence for the person who sent it."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Detail(Frozen):
    """The form of an error in every API that does not document one of its own."""

    detail: str
    """What went wrong, and how to mend it."""


def refusal_of(error: Exception, path: str) -> Refusal:
    """How an exception from the handler of `path` is answered. What is our own fault is logged, and told without details."""
    match error:
        case Refusal():
            return error
        case UserError():
            return Refusal(_STATUS_OF_CODE.get(error.code, HTTPStatus.BAD_REQUEST), error.message)
        case DependencyUnavailable():
            log.warning("request_failed", path=path, reason=error.message)
            # Its own message names addresses inside the system.
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE, {"Retry-After": str(RETRY_AFTER_S)})
        case _:
            log.error("request_broke", path=path, exc_info=error)
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, _INTERNAL)


def refusal_of_http(status: int, reason: str, method: str, path: str, allowed: str) -> Refusal:
    """What a web framework refuses by itself: an unknown path, a wrong method (`allowed` is what `Allow` says), others."""
    match status:
        case HTTPStatus.NOT_FOUND:
            return not_found(f"There is nothing at {_shown(path)}. See /docs.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            names = ", ".join(name.strip() for name in allowed.split(","))
            message = f"{_shown(path)} does not take {_shown(method)}, only {names}."
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, message, {"Allow": names})
        case _:
            return Refusal(HTTPStatus(status), f"{reason}.")


def not_found(what: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, what)


def _shown(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)[:_SHOWN_PATH]
