"""Each API has its own form of error. A path decides which one speaks, also where no route answers."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel

from contracts.model import Frozen
from runtime.cloud2bim_errors import Cloud2bimError, cloud2bim_error
from runtime.refusals import Detail, Refusal


class RemapError(Frozen):
    """The form of every error under `/api/v1`."""

    error: str
    """Type of the error, for instance `Not Found`."""
    message: str
    """What went wrong, and how to mend it."""


@dataclass(frozen=True)
class Dialect:
    """How an API words its errors."""

    name: str
    prefixes: tuple[str, ...]
    """The API's paths, with everything below them; of `/` only itself."""
    error_model: type[BaseModel]
    error: Callable[[Refusal], BaseModel]

    def speaks(self, path: str) -> bool:
        """Whether `path` lies in this API."""
        return any(path == prefix or (prefix != "/" and path.startswith(prefix + "/")) for prefix in self.prefixes)


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
DEFAULT = Dialect("default", (), Detail, _detail)
_WITH_PATHS = (REMAP, CLOUD2BIM)


def dialect_of(path: str) -> Dialect:
    """The dialect of the API that `path` belongs to."""
    return next((dialect for dialect in _WITH_PATHS if dialect.speaks(path)), DEFAULT)


def error_response(path: str, refusal: Refusal) -> web.Response:
    """A refusal in the form of the API that `path` belongs to."""
    body = dialect_of(path).error(refusal)
    return web.json_response(body.model_dump(mode="json"), status=refusal.status, headers=refusal.headers)
