"""Files that come in as multipart/form-data: streamed into the object store, with nothing left behind when it fails."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import BodyPartReader, ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from contracts.errors import ErrorCode, UserError
from runtime import metrics
from runtime.object_store import ObjectStore
from runtime.refusals import Refusal
from services.gateway.limits import FORM_OVERHEAD_BYTES, UploadLimit, refuse_if_announced_too_large, too_large

CHUNK_BYTES = 1 << 18
STALL_S = 120.0
"""A sender that is silent for this long is given up."""
_WHAT = "The upload"
_PLAIN_ENCODINGS = ("", "binary", "7bit", "8bit")


def refuse_announced_upload(request: web.Request, limit: UploadLimit) -> None:
    """Raises Refusal (413) if the request's own Content-Length is beyond what can be taken."""
    refuse_if_announced_too_large(request, _WHAT, limit.file_bytes, limit.beside_bytes)


async def store_form_file(request: web.Request, field: str, store: ObjectStore, key: str, limit: UploadLimit) -> int:
    """Stream the form's file `field` into the object `key`; returns its size in bytes.

    The object exists only if the whole form was read: a lost sender, a file beyond `limit` or a broken form leave
    nothing behind. Raises Refusal (400, 408, 413), DependencyUnavailable.
    """
    if request.content_type != "multipart/form-data":
        raise _bad_form(f"The upload must be sent as multipart/form-data with the archive in the field '{field}'.")
    async with aclosing(_file_chunks(request, field, limit)) as chunks:
        first = await anext(chunks, b"")
        if not first:
            raise _bad_form("The file that was sent is empty.")
        async with store.upload(key, "application/zip") as upload:
            await upload.write(first)
            async for chunk in chunks:
                await upload.write(chunk)
    return upload.size_bytes


async def _file_chunks(request: web.Request, field: str, limit: UploadLimit) -> AsyncGenerator[bytes, None]:
    """The bytes of the form's file. Ends only after the whole form was read and found sound."""
    found = False
    async with aclosing(form_parts(request, limit)) as parts:
        async for part in parts:
            is_wanted = part.name == field and not found
            if is_wanted:
                _refuse_unless_file(part, field)
                found = True
            async with aclosing(part_chunks(request, part, limit)) as chunks:
                async for chunk in chunks:
                    if is_wanted:
                        metrics.UPLOAD_BYTES.inc(len(chunk))
                        yield chunk
    if not found:
        raise _bad_form(f"No file attached: send the archive in the form field '{field}'.")


async def form_parts(request: web.Request, limit: UploadLimit) -> AsyncGenerator[BodyPartReader, None]:
    """The parts of a form, each to be read before the next one. Raises Refusal (400, 408, 413)."""
    with _form_errors():
        form = await request.multipart()
    while True:
        with _form_errors():
            async with asyncio.timeout(STALL_S):
                part = await form.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise _bad_form("The form has a part that is itself multipart, which is not supported.")
        # Here too, for a form may be long by parts that are empty.
        _refuse_beyond(request, 0, limit)
        yield part


async def part_chunks(request: web.Request, part: BodyPartReader, limit: UploadLimit) -> AsyncGenerator[bytes, None]:
    """The bytes of a part. Raises Refusal (400, 408, 413)."""
    size_bytes = 0
    while chunk := await _next_chunk(part):
        size_bytes += len(chunk)
        _refuse_beyond(request, size_bytes, limit)
        yield chunk


def _refuse_beyond(request: web.Request, part_bytes: int, limit: UploadLimit) -> None:
    # Read ahead by up to a buffer: so much more than is taken is not noticed here.
    most_bytes = limit.file_bytes + limit.beside_bytes + FORM_OVERHEAD_BYTES
    if part_bytes > limit.file_bytes or request.content.total_bytes > most_bytes:
        raise too_large(_WHAT, limit.file_bytes)


def _refuse_unless_file(part: BodyPartReader, field: str) -> None:
    if not part.filename:
        raise _bad_form(f"No file attached: the form field '{field}' holds no file (it has no file name).")
    refuse_encoded(part)


def refuse_encoded(part: BodyPartReader) -> None:
    """Raises Refusal (400) if a part's bytes are not the file's own."""
    encoding = part.headers.get("Content-Transfer-Encoding", "").lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise _bad_form("The file has a Content-Transfer-Encoding; send its bytes as they are.")


async def _next_chunk(part: BodyPartReader) -> bytes:
    """The part's next bytes; empty only at its end."""
    with _form_errors():
        while not part.at_eof():
            async with asyncio.timeout(STALL_S):
                chunk = await part.read_chunk(CHUNK_BYTES)
            if chunk:
                return bytes(chunk)
    return b""


@contextlib.contextmanager
def _form_errors() -> Iterator[None]:
    """What aiohttp raises on a broken form or a lost sender, as a refusal."""
    try:
        yield
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"Nothing came for {STALL_S:g} s; the upload was given up.") from None
    except (ConnectionError, ClientError, web.RequestPayloadError) as error:
        raise _bad_form("The connection broke before the upload was complete.") from error
    except (ValueError, HttpProcessingError, AssertionError, RuntimeError, LookupError) as error:
        # aiohttp's form reader has no exception of its own; these are all that it raises on what it cannot read.
        raise _bad_form("The upload is not a complete multipart/form-data body.") from error


def _bad_form(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def refuse_if_sender_left(request: web.Request) -> None:
    """Raises if nobody is there any more to learn the upload's id."""
    if request.transport is None or request.transport.is_closing():
        raise UserError(ErrorCode.INVALID_REQUEST, "The sender left before the upload was checked.")
