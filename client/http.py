"""Requests to the server, with every failure turned into one of `client.errors`."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from client.errors import ClientError, ConnectionLost, Misconfigured, UnreadableAnswer, refusal

_Model = TypeVar("_Model", bound=BaseModel)
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Patience:
    """How long a lost connection is put up with."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    give_up_s: float = 300.0
    """Without a single sign of the server."""
    silence_s: float = 45.0
    """A stream that shows no sign of life for so long is lost. Heartbeats come every 15 s."""
    polling_s: float = 2.0


class Backoff:
    """Pauses that double, with jitter, until patience ends."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pause_s = patience.first_pause_s
        self._since = time.monotonic()

    def succeeded(self) -> None:
        self._pause_s = self._patience.first_pause_s
        self._since = time.monotonic()

    def wait(self, error: ClientError) -> None:
        """Sleep before the next try. Raises `error` if there should be none."""
        pause_s = self._pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
        if time.monotonic() + pause_s - self._since > self._patience.give_up_s:
            raise error
        time.sleep(pause_s)
        self._pause_s = min(self._pause_s * 2, self._patience.longest_pause_s)


def connect(url: str, api_key: str | None, timeout_s: float) -> httpx.Client:
    """A client for the server at `url`. Raises Misconfigured for an address that is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Misconfigured(f"{url} is not an address: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Misconfigured(f"{url} is not an address. It must look like http://127.0.0.1:8000.")
    headers = {"User-Agent": "alidade"}
    if api_key:
        if not api_key.isascii() or not api_key.isprintable():
            raise Misconfigured("The API key holds characters that no key has. Was it copied whole?")
        headers["Authorization"] = f"Bearer {api_key}"
    return httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=timeout_s)


def with_read_timeout(timeout: httpx.Timeout, read_s: float) -> httpx.Timeout:
    """The same limits but for how long an answer may stay silent."""
    return httpx.Timeout(connect=timeout.connect, read=read_s, write=timeout.write, pool=timeout.pool)


@contextmanager
def explained(client: httpx.Client) -> Iterator[None]:
    """Raises ConnectionLost for whatever goes wrong below HTTP."""
    try:
        yield
    except httpx.TimeoutException:
        raise ConnectionLost(f"{client.base_url} does not answer in time.") from None
    except (httpx.TransportError, httpx.StreamError) as error:
        reason = str(error) or type(error).__name__
        raise ConnectionLost(f"{client.base_url} cannot be reached: {reason}.") from None


def raise_for_status(response: httpx.Response) -> None:
    """Raises Refused with what the server says. Reads the rest of a streamed answer."""
    if response.is_success:
        return
    response.read()
    raise refusal(response.status_code, _message(response))


def parse(response: httpx.Response, model: type[_Model]) -> _Model:
    """The answer as a model. Raises Refused, UnreadableAnswer."""
    raise_for_status(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableAnswer(
            f"{response.url} answered with something that is not from Alidade ({where}: {first['msg']}).",
            status=response.status_code,
        ) from None


def _message(response: httpx.Response) -> str:
    """The sentence in any API's form of error, or what came instead."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if isinstance(body, dict):
        for name in ("message", "detail"):
            if isinstance(body.get(name), str):
                return str(body[name])
    text = " ".join(response.text.split())[:_SHOWN_CHARACTERS]
    return f"HTTP {response.status_code} {response.reason_phrase}" + (f": {text}" if text else "")
