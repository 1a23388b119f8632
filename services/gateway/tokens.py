"""`POST /auth/token`: a password becomes a short-lived token, and guessing becomes slow."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from http import HTTPStatus
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, ValidationError

from contracts.model import Frozen
from runtime.access import Access, Principal
from runtime.admission import Admission
from runtime.refusals import Refusal
from services.gateway.json_bodies import read_json_object
from services.gateway.routes import Answer, JsonBody, Route

ATTEMPTS = 10
WINDOW_S = 300.0
_SUBJECTS_KEPT = 10_000
_CHECKS_AT_ONCE = 2
"""argon2id takes 64 MB and 50 ms a check: that many at once, the others wait."""


class Login(Frozen):
    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024)]


class Token(Frozen):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, not a token
    expires_in: int
    """Seconds."""


class Attempts:
    """Counts failed attempts by user name and address over a sliding window, in a bounded memory."""

    def __init__(self) -> None:
        self._moments: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def begin(self, subject: tuple[str, str]) -> None:
        """Count an attempt before it is checked, so that many at once do not slip through. Raises Refusal (429)."""
        moment = time.monotonic()
        moments = self._moments.setdefault(subject, deque())
        self._moments.move_to_end(subject)
        while moments and moment - moments[0] > WINDOW_S:
            moments.popleft()
        if len(moments) >= ATTEMPTS:
            wait_s = math.ceil(WINDOW_S - (moment - moments[0]))
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many failed attempts. Try again in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )
        moments.append(moment)
        while len(self._moments) > _SUBJECTS_KEPT:
            self._moments.popitem(last=False)

    def succeeded(self, subject: tuple[str, str]) -> None:
        """Forget the attempts of somebody who knew the password."""
        self._moments.pop(subject, None)


class TokenDesk:
    """Checks passwords, a few at a time."""

    def __init__(self, access: Access, lifetime_s: int) -> None:
        self._access = access
        self._lifetime_s = lifetime_s
        self._attempts = Attempts()
        self._room = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def token(self, login: Login, address: str) -> Token:
        """A token for who knows the password. Raises Refusal: 401, 429."""
        subject = (login.username, address)
        self._attempts.begin(subject)
        async with self._room:
            principal = await asyncio.to_thread(self._access.by_password, login.username, login.password)
        if principal is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Invalid credentials", {"WWW-Authenticate": "Bearer"})
        self._attempts.succeeded(subject)
        return self._issue(principal)

    def _issue(self, principal: Principal) -> Token:
        return Token(access_token=self._access.issue_token(principal), expires_in=self._lifetime_s)


DESK = web.AppKey("token_desk", TokenDesk)


async def issue_token(request: web.Request) -> web.Response:
    """POST /auth/token."""
    document = await read_json_object(request)
    try:
        login = Login.model_validate(document)
    except ValidationError:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, 'The body must be {"username": "…", "password": "…"}, both of them text.'
        ) from None
    token = await request.app[DESK].token(login, request.remote or "")
    return web.json_response(token.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/auth/token",
        issue_token,
        "Access",
        "Obtain a token",
        "A JSON Web Token for a user name and a password, to be sent as `Authorization: Bearer <token>`.",
        (
            Answer(200, "The token", Token),
            Answer(400, "The request is not understood"),
            Answer(401, "Invalid credentials"),
            Answer(408, "The sender fell silent"),
            Answer(413, "The request is too large"),
            Answer(429, "Too many failed attempts", None, ("Retry-After",)),
        ),
        admission=Admission.EVERYBODY,
        body=JsonBody(Login, {"username": "admin", "password": "…"}),
    ),
)
