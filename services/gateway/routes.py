"""A route and everything that is said about it: the application and `/openapi.json` are both made from these."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, JsonValue

from runtime.admission import Admission
from runtime.settings import GatewaySettings
from services.gateway.limits import UploadLimit

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
class FormFile:
    """A file of a form; several of the same field where `count` says so."""

    field: str
    description: str
    count: int = 1


@dataclass(frozen=True)
class FormText:
    """A text field of a form, which may be left out."""

    field: str
    description: str
    default: str


@dataclass(frozen=True)
class FormBody:
    """A multipart/form-data request body of files, and of texts beside them."""

    files: tuple[FormFile, ...]
    texts: tuple[FormText, ...] = ()


@dataclass(frozen=True)
class RequestHeader:
    name: str
    description: str


RANGE_HEADERS = (
    RequestHeader("Range", "One range of bytes, for instance `bytes=1048576-`"),
    RequestHeader("If-Range", "Send the range only if the `ETag` is still this one"),
    RequestHeader("If-Match", "Send only if the `ETag` is this one"),
    RequestHeader("If-None-Match", "Send only if the `ETag` is another one"),
)
"""What `downloads.send_file` looks at."""


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
    upload_limit: Callable[[GatewaySettings], UploadLimit] | None = None
    """Of a route that takes uploads, how large: `100 Continue` waits until what is announced is within it."""

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)
