"""Following a job over Server-Sent Events, through lost connections."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus

import httpx
from httpx_sse import EventSource
from pydantic import ValidationError

from client.errors import ClientError, ConnectionLost, NotFound, Refused, UnreadableAnswer
from client.http import Backoff, Patience, explained, raise_for_status, with_read_timeout
from client.models import StreamData, Update

Notice = Callable[[str], None]
AskStatus = Callable[[], Update]

_NO_STREAM_HERE = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.NOT_IMPLEMENTED,
)
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class _NoStream(ClientError):
    """The server does not serve events."""


class _Finished(ClientError):
    """The server says that nothing will follow."""


def watch(
    http: httpx.Client,
    job_id: str,
    ask_status: AskStatus,
    *,
    patience: Patience,
    last_event_id: int | None,
    on_notice: Notice,
) -> Iterator[Update]:
    """The job's updates up to the final one, each once. After a lost connection it goes on where it was.

    `on_notice` hears, in sentences, when the connection is lost or the server has no event stream.
    Raises NotFound, NotAllowed, Refused; ConnectionLost once patience ends.
    """
    backoff = Backoff(patience)
    position = last_event_id
    while True:
        try:
            with contextlib.closing(_stream(http, job_id, position, patience)) as stream:
                for update in stream:
                    backoff.succeeded()
                    position = update.event_id if update.event_id is not None else position
                    yield update
                    if update.status.is_final:
                        return
            # Ended before the job did: the server restarts.
            lost = ConnectionLost("The server ended the stream before the job ended.")
        except _Finished:
            yield _patiently(ask_status, backoff)
            return
        except _NoStream:
            yield from _poll(ask_status, patience, on_notice)
            return
        except ConnectionLost as error:
            lost = error
        on_notice(f"{lost.message} Connecting again.")
        backoff.wait(lost)


def present(http: httpx.Client, job_id: str, patience: Patience) -> Update:
    """Where the job is now, whatever its kind: the first thing that its stream says. Raises as `watch` does."""
    try:
        with contextlib.closing(_stream(http, job_id, None, patience)) as stream:
            for update in stream:
                return update
    except _NoStream as error:
        raise NotFound("There is no such job, at least not for this key.") from error
    raise ConnectionLost("The server ended the stream before it said anything.")


def _stream(http: httpx.Client, job_id: str, position: int | None, patience: Patience) -> Generator[Update, None, None]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if position is not None:
        headers["Last-Event-ID"] = str(position)
    timeout = with_read_timeout(http.timeout, patience.silence_s)
    with (
        explained(http),
        http.stream("GET", f"api/progress/{job_id}/stream", headers=headers, timeout=timeout) as response,
    ):
        _require_events(response)
        for event in EventSource(response).iter_sse():
            # Every update comes twice: unnamed for browsers, and under its name, with the id.
            if event.event == "message" or not event.data:
                continue
            yield _update(event.data, event.id)


def _require_events(response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.NO_CONTENT:
        raise _Finished("The job has ended.")
    if response.status_code in _NO_STREAM_HERE:
        raise _NoStream("There is no event stream.")
    if response.status_code in _TRY_AGAIN or response.is_server_error:
        with contextlib.suppress(Refused):
            raise_for_status(response)
        raise ConnectionLost(f"The event stream is not available at the moment (HTTP {response.status_code}).")
    raise_for_status(response)
    if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
        raise _NoStream("What answers is not an event stream.")


def _update(data: str, event_id: str) -> Update:
    try:
        parsed = StreamData.model_validate_json(data)
    except ValidationError as error:
        raise UnreadableAnswer(f"An event cannot be read: {error.errors()[0]['msg']}.") from None
    return Update.from_stream(parsed, int(event_id) if event_id.isdecimal() else None)


def _poll(ask_status: AskStatus, patience: Patience, on_notice: Notice) -> Iterator[Update]:
    """Raises NotFound if it was the job that is not there."""
    previous = ask_status()
    on_notice(f"This server has no event stream. Asking every {patience.polling_s:g} s instead.")
    yield previous
    backoff = Backoff(patience)
    while not previous.status.is_final:
        time.sleep(patience.polling_s)
        update = _patiently(ask_status, backoff)
        if update != previous:
            previous = update
            yield update


def _patiently(ask_status: AskStatus, backoff: Backoff) -> Update:
    while True:
        try:
            update = ask_status()
        except ConnectionLost as error:
            backoff.wait(error)
        except Refused as error:
            if isinstance(error, NotFound) or error.status is None or error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            backoff.wait(error)
        else:
            backoff.succeeded()
            return update
