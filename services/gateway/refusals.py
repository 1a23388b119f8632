"""Why a request is not done: an HTTP status and a sentence, before any API gives it its own form."""

from collections.abc import Mapping
from http import HTTPStatus

from contracts.errors import AlidadeError, ConfigurationError, DependencyUnavailable, ErrorCode, UserError

RETRY_AFTER_S = 5

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
INTERNAL_SENTENCE = "Something went wrong on our side. It has been logged under the request id in X-Request-ID."


class Refusal(Exception):
    """A request that is answered with an error. `message` is a sentence for the person who sent it."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def refusal_of(error: AlidadeError) -> Refusal:
    """How an error of ours is answered. What is our own fault is told without its details."""
    if isinstance(error, UserError):
        return Refusal(_STATUS_OF_CODE.get(error.code, HTTPStatus.BAD_REQUEST), error.message)
    if isinstance(error, DependencyUnavailable):
        # Its own message names addresses inside the system.
        sentence = "A service that is needed for this does not answer at the moment. Try again in a few seconds."
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, sentence, {"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(error, ConfigurationError) or error.code not in _STATUS_OF_CODE:
        return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_SENTENCE)
    return Refusal(_STATUS_OF_CODE[error.code], error.message)


def not_found(what: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, what)


def too_large(limit_bytes: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The upload is larger than {_readable_size(limit_bytes)}, the most that is taken.",
    )


def _readable_size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:g} {unit}" if size_bytes % factor else f"{size_bytes // factor} {unit}"
    return f"{size_bytes} bytes"
