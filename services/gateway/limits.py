"""How much is taken in, and how more than that is refused."""

from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from runtime.refusals import Refusal

FORM_OVERHEAD_BYTES = 64 << 10
"""Boundaries, part headers and small fields around the file itself."""


@dataclass(frozen=True)
class UploadLimit:
    """How large a form may be: the file in it, and all that comes with the file."""

    file_bytes: int
    beside_bytes: int = FORM_OVERHEAD_BYTES


def refuse_if_announced_too_large(request: web.Request, what: str, limit_bytes: int, overhead_bytes: int = 0) -> None:
    """Raises Refusal (413) if the request's own Content-Length is beyond `limit_bytes` and what goes around them."""
    if request.content_length is not None and request.content_length > limit_bytes + overhead_bytes:
        raise too_large(what, limit_bytes)


def too_large(what: str, limit_bytes: int) -> Refusal:
    """`what` begins the sentence: "The upload"."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"{what} is larger than {_readable_size(limit_bytes)}, the most that is taken.",
    )


def _readable_size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:g} {unit}" if size_bytes % factor else f"{size_bytes // factor} {unit}"
    return f"{size_bytes} bytes"
