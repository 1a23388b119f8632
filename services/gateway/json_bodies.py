"""Request bodies of JSON (RFC 8259): read within bounds of size and time, and taken only if they are unambiguous."""

import asyncio
import json
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web
from pydantic import JsonValue

from contracts.errors import ErrorCode, UserError
from runtime.refusals import Refusal
from services.gateway.limits import refuse_if_announced_too_large

JSON_LIMIT_BYTES = 1 << 20
BODY_S = 60.0
"""A body that is not here by then is given up."""
_SHOWN = 60


async def read_json_object(request: web.Request) -> dict[str, JsonValue]:
    """The request's body. Its Content-Type is not looked at: `curl -d` sends JSON under another one.

    Raises Refusal (408, 413), UserError(INVALID_JSON).
    """
    refuse_if_announced_too_large(request, "The request", JSON_LIMIT_BYTES)
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"The request's body did not come within {BODY_S:g} s.") from None
    return parse_json_object(body)


def parse_json_object(body: bytes) -> dict[str, JsonValue]:
    """RFC 8259 JSON, whose top must be an object. Raises UserError(INVALID_JSON).

    Where the RFC leaves to readers what a text means (sections 4 and 8.2: a name that comes twice, half a surrogate
    pair), it is refused.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _invalid("a string holds half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} in line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise _invalid("unreadable text") from None
    if not isinstance(document, dict):
        found = type(document).__name__
        raise UserError(ErrorCode.INVALID_JSON, f"The request's body must be a JSON object; it is of type {found}.")
    return document


def shown(value: JsonValue) -> str:
    """A value as JSON, cut where it gets long."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or arrays nested hundreds deep.
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def shown_name(name: str) -> str:
    """A field's name as it came, cut where it gets long, without what cannot be printed."""
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_repetition(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, value in pairs:
        if name in found:
            raise _invalid(f"the name {shown_name(name)} comes twice in one object")
        found[name] = value
    return found


def _invalid(why: str) -> UserError:
    return UserError(ErrorCode.INVALID_JSON, f"The request's body is not valid JSON: {why}.")
