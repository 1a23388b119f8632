"""Each API has its own form of error. A path decides which one speaks, also where no route answers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from contracts.errors import UserError
from contracts.identifiers import UUID
from contracts.model import Frozen
from runtime.cloud2bim_errors import Cloud2bimError, cloud2bim_error, refusal_of_user_error
from runtime.refusals import Detail, Refusal, refusal_of
from services.gateway.six_views_errors import ObjectError, adapted, object_error, object_refusal_of


class RemapError(Frozen):
    """The form of every error under `/api/v1`."""

    error: str
    """Type of the error, for instance `Not Found`."""
    message: str
    """What went wrong, and how to mend it."""


def _refusal_of(error: Exception, path: str) -> Refusal:
    return refusal_of_user_error(error, path) if isinstance(error, UserError) else refusal_of(error, path)


def _as_it_is(refusal: Refusal) -> Refusal:
    return refusal


@dataclass(frozen=True)
class Dialect:
    """How an API words its errors."""

    name: str
    prefixes: tuple[str, ...]
    """The API's paths, with everything below them; of `/` only itself."""
    error_model: type[BaseModel]
    error: Callable[[Refusal], BaseModel]
    refusal_of: Callable[[Exception, str], Refusal] = _refusal_of
    """How an exception from the handler of a path is answered."""
    adapted: Callable[[Refusal], Refusal] = _as_it_is
    """A refusal of parts that all APIs share, with the status that this one has for it."""
    others: re.Pattern[str] | None = None
    """Paths below its own that are another API's."""

    def speaks(self, path: str) -> bool:
        """Whether `path` lies in this API."""
        if self.others is not None and self.others.fullmatch(path):
            return False
        return any(path == prefix or (prefix != "/" and path.startswith(prefix + "/")) for prefix in self.prefixes)

    def response(self, refusal: Refusal) -> web.Response:
        """A refusal in this API's form."""
        own = self.adapted(refusal)
        body = self.error(own).model_dump(mode="json")
        return web.json_response(body, status=own.status, headers=own.headers)


# The words of the ReMap document where it has them; Python's own phrases change with its versions.
_REMAP_TYPES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Payload Too Large",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Range Not Satisfiable",
}


def _remap_error(refusal: Refusal) -> RemapError:
    kind = _REMAP_TYPES.get(refusal.status, refusal.status.phrase)
    return RemapError(error=kind, message=refusal.message)


def _detail(refusal: Refusal) -> Detail:
    return Detail(detail=refusal.message)


REMAP = Dialect("ReMap", ("/api/v1",), RemapError, _remap_error)
CLOUD2BIM = Dialect(
    "Cloud2BIM",
    ("/", "/submit", "/convert", "/status", "/results", "/api/progress", "/api/stream"),
    Cloud2bimError,
    cloud2bim_error,
)
SIX_VIEWS = Dialect(
    "six views",
    ("/jobs",),
    ObjectError,
    object_error,
    refusal_of=object_refusal_of,
    adapted=adapted,
    others=re.compile(rf"/jobs/{UUID.pattern}|/jobs/[^/]+/insights"),
)
"""The others below /jobs are the scene API's."""
DEFAULT = Dialect("default", (), Detail, _detail)
_WITH_PATHS = (REMAP, CLOUD2BIM, SIX_VIEWS)


def dialect_of(path: str) -> Dialect:
    """The dialect of the API that `path` belongs to."""
    return next((dialect for dialect in _WITH_PATHS if dialect.speaks(path)), DEFAULT)


def error_response(path: str, refusal: Refusal) -> web.Response:
    """A refusal in the form of the API that `path` belongs to."""
    return dialect_of(path).response(refusal)
