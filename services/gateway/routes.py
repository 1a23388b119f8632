"""A route and everything that is said about it: the application and `/openapi.json` are both made from these."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, JsonValue

from runtime.admission import Admission

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Answer:
    """A status that a route answers with. `content` is a JSON model, or a media type of bytes, or nothing."""

    status: int
    description: str
    content: type[BaseModel] | str | None = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class JsonBody:
    """A JSON request body."""

    model: type[BaseModel]
    example: Mapping[str, JsonValue]


@dataclass(frozen=True)
class FormBody:
    """A multipart/form-data request body with one file."""

    field: str
    description: str


@dataclass(frozen=True)
class RequestHeader:
    name: str
    description: str


@dataclass(frozen=True)
class Route:
    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    tag: str
    summary: str
    description: str
    answers: tuple[Answer, ...]
    admission: Admission = Admission.BEARER
    body: JsonBody | FormBody | None = None
    request_headers: tuple[RequestHeader, ...] = ()
    answers_head: bool = True
    """Whether a GET route answers HEAD too. A stream without an end does not."""
    streams_body: bool = False
    """The handler judges the request before its body is sent: `100 Continue` waits for that."""

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)
