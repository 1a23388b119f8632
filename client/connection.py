"""Which server, and with which key: from options, the environment, or what `alidade up` has left."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from client.errors import Misconfigured

URL_VARIABLE = "ALIDADE_CLIENT__URL"
KEY_VARIABLE = "ALIDADE_CLIENT__API_KEY"
CREDENTIALS = "credentials.json"
DEFAULT_STATE = Path(".alidade")

HOW_TO_GET_A_KEY = (
    f"Give one with --api-key or in {KEY_VARIABLE}. `alidade up` makes one and keeps it in its state folder (--state); "
    "whoever runs the server makes more with `alidade keys add --owner NAME`."
)


@dataclass(frozen=True)
class Connection:
    """Where to go and what to show at the door."""

    url: str
    api_key: str


def find_connection(url: str | None, api_key: str | None, state: Path) -> Connection:
    """Options win over the environment, and that over the state folder. Raises Misconfigured.

    A key from the state folder goes to the server of that folder only.
    """
    url = url or os.environ.get(URL_VARIABLE)
    api_key = api_key or os.environ.get(KEY_VARIABLE)
    kept = _kept(state) if not (url and api_key) else None
    if url is None:
        if kept is None:
            raise Misconfigured(
                f"No server is known. Start one with `alidade up`, or give --url or {URL_VARIABLE} "
                f"(there is no {state / CREDENTIALS}; --state names another folder)."
            )
        url = kept.url
    if api_key is None and kept is not None and kept.url.rstrip("/") == url.rstrip("/"):
        api_key = kept.api_key
    if not api_key:
        raise Misconfigured(f"An API key for {url} is missing. {HOW_TO_GET_A_KEY}")
    return Connection(url, api_key)


def _kept(state: Path) -> Connection | None:
    """What `alidade up` has written into its state folder. Raises Misconfigured if that cannot be read."""
    path = state / CREDENTIALS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Connection(str(content["url"]), str(content["api_key"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{path} cannot be read ({type(error).__name__}).") from None
