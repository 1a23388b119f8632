"""The forms of the scene API: an archive of photographs, streamed into the object store, and names, in any order."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import BodyPartReader, web
from pydantic import TypeAdapter, ValidationError

from contracts.scene_settings import Name
from runtime import metrics
from runtime.object_store import ObjectStore
from runtime.refusals import Refusal
from services.gateway.cloud_uploads import plain_name
from services.gateway.limits import UploadLimit
from services.gateway.uploads import form_parts, part_chunks, refuse_encoded

FILE_FIELD = "file"
DATASET_FIELD = "dataset_name"
SCENE_FIELD = "scene_name"
NAME_CHARACTERS = 128
_TEXT_BYTES = 4 * NAME_CHARACTERS
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class UploadedPhotos:
    """What a form brought. `names` are the text fields that were filled in."""

    file_name: str
    size_bytes: int
    names: dict[str, str]


async def store_photos(
    request: web.Request, names: tuple[str, ...], store: ObjectStore, key: str, limit: UploadLimit
) -> UploadedPhotos:
    """Stream the form's archive into the object `key`, and read the text fields in `names`; other fields are skipped.

    The object exists only if the whole form was read and found sound. Raises Refusal (400, 408, 413),
    DependencyUnavailable.
    """
    if request.content_type != "multipart/form-data":
        raise _bad(f"Send a form (multipart/form-data) with a ZIP archive of photographs in '{FILE_FIELD}'.")
    form = _PhotosForm(request, names, limit)
    async with aclosing(form.file_chunks()) as chunks:
        first = await anext(chunks, b"")
        if not first:
            raise _bad("The file that was sent is empty.")
        async with store.upload(key, "application/zip") as upload:
            await upload.write(first)
            async for chunk in chunks:
                await upload.write(chunk)
    return UploadedPhotos(form.file_name, upload.size_bytes, form.filled_in)


class _PhotosForm:
    """A form while it is read."""

    def __init__(self, request: web.Request, names: tuple[str, ...], limit: UploadLimit) -> None:
        self._request = request
        self._names = names
        self._limit = limit
        self._seen: set[str] = set()
        self.file_name = ""
        self.filled_in: dict[str, str] = {}

    async def file_chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the archive. Ends only after the whole form was read, and everything in it can be used."""
        async with aclosing(form_parts(self._request, self._limit)) as parts:
            async for part in parts:
                field = self._noted(part)
                if field in self._names:
                    # At once: who sends it first learns of a mistake before the archive is sent.
                    await self._read_name(part, field)
                    continue
                async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
                    async for chunk in chunks:
                        if field == FILE_FIELD:
                            metrics.UPLOAD_BYTES.inc(len(chunk))
                            yield chunk
        if FILE_FIELD not in self._seen:
            raise _bad(f"No file attached: send the archive in the form field '{FILE_FIELD}'.")

    def _noted(self, part: BodyPartReader) -> str:
        """The part's field, after a look at what comes with it."""
        field = part.name or ""
        if field != FILE_FIELD and field not in self._names:
            return ""
        if field in self._seen:
            raise _bad(f"The form field '{field}' comes twice; send one.")
        self._seen.add(field)
        refuse_encoded(part)
        if field == FILE_FIELD:
            if not part.filename:
                raise _bad(f"No file attached: the form field '{field}' holds no file (it has no file name).")
            self.file_name = plain_name(part.filename)
        return field

    async def _read_name(self, part: BodyPartReader, field: str) -> None:
        content = bytearray()
        async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > _TEXT_BYTES:
                    raise _bad_name(field)
        try:
            text = content.decode().strip()
        except UnicodeDecodeError:
            raise _bad(f"The form field '{field}' is not UTF-8.") from None
        if not text:
            # What a page's form sends for a field that was left empty.
            return
        try:
            name = _NAME.validate_python(text)
        except ValidationError:
            raise _bad_name(field) from None
        if not name.isprintable():
            raise _bad_name(field)
        self.filled_in[field] = name


def _bad_name(field: str) -> Refusal:
    return _bad(f"The form field '{field}' must be a name of at most {NAME_CHARACTERS} characters that can be printed.")


def _bad(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)
