"""What can go wrong for a client, as one tree."""

from http import HTTPStatus


class ClientError(Exception):
    """The root. `code` is stable and for programs, `message` for people; `status` is HTTP's, if a server answered."""

    code = "CLIENT_ERROR"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Misconfigured(ClientError):
    """No server is known, or no key, or what is known cannot be used."""

    code = "MISCONFIGURED"


class InvalidSetting(ClientError):
    """A setting of a job that does not exist, or a value that it cannot have."""

    code = "INVALID_SETTING"


class FileUnusable(ClientError):
    """A local file cannot be read or written."""

    code = "FILE_UNUSABLE"


class ConnectionLost(ClientError):
    """The server cannot be reached, or could not be reached again in time."""

    code = "CONNECTION_LOST"


class Refused(ClientError):
    """The server answered with an error."""

    code = "REFUSED"


class NotAllowed(Refused):
    """The key is missing or not valid (401, 403)."""

    code = "NOT_ALLOWED"


class NotFound(Refused):
    """There is no such job, data set or result, at least not for this key (404)."""

    code = "NOT_FOUND"


class Conflict(Refused):
    """The job is not in a state that allows this (409)."""

    code = "CONFLICT"


class UnreadableAnswer(ClientError):
    """Something answered that does not speak this API."""

    code = "UNREADABLE_ANSWER"


class JobFailed(ClientError):
    """The job ended without a result."""

    code = "JOB_FAILED"


class JobCancelled(ClientError):
    """The job was cancelled."""

    code = "JOB_CANCELLED"


def refusal(status: int, message: str) -> Refused:
    """The exception for an HTTP status."""
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return NotAllowed(message, status=status)
        case HTTPStatus.NOT_FOUND:
            return NotFound(message, status=status)
        case HTTPStatus.CONFLICT:
            return Conflict(message, status=status)
        case _:
            return Refused(message, status=status)
