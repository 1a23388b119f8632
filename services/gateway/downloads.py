"""Stored files as HTTP answers: byte ranges and conditions (RFC 9110, sections 13 and 14) over a bounded memory."""

import re
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from contracts.errors import AlidadeError
from contracts.jobs import ResultFile
from runtime.logs import get_logger
from runtime.object_store import ObjectChanged, ObjectNotFound, ObjectStore
from runtime.refusals import Refusal, not_found

log = get_logger(__name__)

_ONE_RANGE = re.compile(r"bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.IGNORECASE | re.ASCII)
_ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')
_EXPIRED = "The result is no longer stored: it has expired, or was removed."


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` up to but not including `end`."""

    start: int
    end: int


async def send_file(
    request: web.Request, store: ObjectStore, file: ResultFile, *, disposition: str | None = None
) -> web.StreamResponse:
    """Answer with a stored file, or the part of it that was asked for. `disposition` is for APIs with a form of their own.

    Raises Refusal: 404 if it has expired, 412 and 416 by the request's conditions; DependencyUnavailable.
    """
    tag = f'"{file.etag}"'
    _refuse_unless_matching(request, tag)
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition or f'attachment; filename="{file.name}"',
    }
    if _matches(request.headers.get("If-None-Match"), tag, weakly=True):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    part = _wanted_part(request, tag, file.size_bytes)
    status = HTTPStatus.OK
    if part is None:
        part = ByteRange(0, file.size_bytes)
    else:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.size_bytes}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = file.content_type
    response.content_length = part.end - part.start
    if request.method == "HEAD":
        return await _send_head(request, response, store, file)
    return await _send_part(request, response, store, file, part)


async def _send_head(
    request: web.Request, response: web.StreamResponse, store: ObjectStore, file: ResultFile
) -> web.StreamResponse:
    stored = await store.stat(file.key)
    if stored is None or stored.etag != file.etag:
        raise not_found(_EXPIRED)
    await response.prepare(request)
    return response


async def _send_part(
    request: web.Request, response: web.StreamResponse, store: ObjectStore, file: ResultFile, part: ByteRange
) -> web.StreamResponse:
    async with aclosing(store.open_range(file.key, part.start, part.end, if_match=file.etag)) as chunks:
        try:
            # Before the first byte is out there is still time for an error's own status.
            first = await anext(chunks, b"")
        except (ObjectNotFound, ObjectChanged):
            raise not_found(_EXPIRED) from None
        await response.prepare(request)
        try:
            if first:
                await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except AlidadeError as error:
            log.warning("download_broke", key=file.key, reason=error.message)
            _cut(request)
        except ConnectionError:
            log.info("download_left", key=file.key)
    return response


def _cut(request: web.Request) -> None:
    """Close the connection: too few bytes tell the client that the download is not complete."""
    if request.transport is not None:
        request.transport.abort()


def _refuse_unless_matching(request: web.Request, tag: str) -> None:
    condition = request.headers.get("If-Match")
    if condition is not None and not _matches(condition, tag, weakly=False):
        raise Refusal(HTTPStatus.PRECONDITION_FAILED, "The result is another one than If-Match names.", {"ETag": tag})


def _matches(condition: str | None, tag: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags, or `*`, holds `tag` (RFC 9110, 8.8.3.2)."""
    if condition is None:
        return False
    if condition.strip() == "*":
        return True
    found = _ENTITY_TAG.findall(condition)
    return tag in ([entry.removeprefix("W/") for entry in found] if weakly else found)


def _wanted_part(request: web.Request, tag: str, size_bytes: int) -> ByteRange | None:
    """The range to send, or None for the whole file: no range, several, one that is not understood, or a stale one."""
    wanted = request.headers.get("Range")
    if wanted is None or request.method != "GET":
        return None
    if request.headers.get("If-Range", tag).strip() != tag:
        return None
    match = _ONE_RANGE.fullmatch(wanted.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    if start >= end:
        raise Refusal(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The range lies beyond the end: the result has {size_bytes} bytes.",
            {"Content-Range": f"bytes */{size_bytes}"},
        )
    return ByteRange(start, end)
