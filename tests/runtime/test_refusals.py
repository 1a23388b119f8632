"""Which status and which sentence an exception is answered with, and what is kept to ourselves."""

from http import HTTPStatus

import pytest

from contracts.errors import (
    AlidadeError,
    ConfigurationError,
    DependencyUnavailable,
    ErrorCode,
    OutOfMemory,
    Superseded,
    UserError,
)
from runtime.object_store import ObjectNotFound
from runtime.refusals import Refusal, not_found, refusal_of, refusal_of_http


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.INVALID_JSON, 400),
        (ErrorCode.UNSUPPORTED_COLORSPACE, 400),
        (ErrorCode.UNSAFE_ARCHIVE, 400),
        (ErrorCode.NOT_FOUND, 404),
        (ErrorCode.CONFLICT, 409),
        (ErrorCode.TOO_LARGE, 413),
        (ErrorCode.RANGE_NOT_SATISFIABLE, 416),
    ],
)
def test_what_the_user_can_mend_is_told_as_it_is(code: ErrorCode, status: int) -> None:
    refusal = refusal_of(UserError(code, "Mend this."), "/p")
    assert (refusal.status, refusal.message, refusal.headers) == (status, "Mend this.", {})


def test_a_refusal_is_its_own_answer() -> None:
    refusal = Refusal(HTTPStatus.CONFLICT, "No.", {"A": "b"})
    assert refusal_of(refusal, "/p") is refusal
    assert not_found("Gone.").status is HTTPStatus.NOT_FOUND


def test_what_does_not_answer_is_a_503_that_says_when_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    refusal = refusal_of(DependencyUnavailable("10.0.0.1 is silent"), "/p")
    assert refusal.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert int(refusal.headers["Retry-After"]) > 0
    assert "10.0.0.1" not in refusal.message
    assert "10.0.0.1 is silent" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        AlidadeError("secret"),
        ConfigurationError("secret"),
        Superseded("secret"),
        OutOfMemory("secret"),
        # A handler that expects this says so itself: the key is not for others to read.
        ObjectNotFound("secret"),
    ],
)
def test_our_own_fault_is_a_500_that_tells_nothing_and_is_logged(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = refusal_of(error, "/p")
    assert refusal.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert "secret" not in refusal.message
    logged = "".join(capsys.readouterr())
    assert "secret" in logged
    assert "/p" in logged


def test_what_a_web_framework_refuses() -> None:
    unknown = refusal_of_http(404, "Not Found", "GET", "/a\n\ud800" + "b" * 500, "")
    assert unknown.status is HTTPStatus.NOT_FOUND
    assert "/a??bbb" in unknown.message
    assert len(unknown.message) < 200
    wrong = refusal_of_http(405, "Method Not Allowed", "PUT", "/a", "GET,HEAD")
    assert (wrong.status, wrong.headers) == (405, {"Allow": "GET, HEAD"})
    assert wrong.message == "/a does not take PUT, only GET, HEAD."
    other = refusal_of_http(417, "Expectation Failed", "GET", "/a", "")
    assert (other.status, other.message) == (417, "Expectation Failed.")
