"""The form of the six-view API: pictures, streamed into one object of the store, and what is to be made of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web
from pydantic import ValidationError

from contracts.errors import UserError
from contracts.object_files import DEPTHS_FIELD, VIEWS_FIELD, stored_name
from contracts.object_settings import VIEWS, GivenCameras, ModelType, ObjectSettings
from runtime import metrics
from runtime.object_store import ObjectStore
from runtime.refusals import Refusal
from services.gateway.cloud_uploads import plain_name
from services.gateway.json_bodies import parse_json_object, shown
from services.gateway.limits import UploadLimit, too_large
from services.gateway.six_views_archive import StoredArchive
from services.gateway.six_views_errors import Code, ObjectRefusal, invalid_field
from services.gateway.uploads import form_parts, part_chunks, refuse_encoded

MODEL_FIELD = "model_type"
CAMERAS_FIELD = "cameras"
TEXT_BYTES = 256 << 10
"""Of each field that is no file."""
_WHAT = {VIEWS_FIELD: "view images", DEPTHS_FIELD: "depth render images"}
_SHOWN_FAULTS = 5


@dataclass(frozen=True)
class UploadedViews:
    """What a form brought. `size_bytes`: of all pictures."""

    settings: ObjectSettings
    size_bytes: int


@dataclass
class _Read:
    """What was found in a form so far."""

    counts: dict[str, int] = field(default_factory=lambda: {VIEWS_FIELD: 0, DEPTHS_FIELD: 0})
    texts: set[str] = field(default_factory=set)
    model: ModelType = ModelType.RECONVIAGEN
    cameras: GivenCameras | None = None
    size_bytes: int = 0


async def store_views(
    request: web.Request, store: ObjectStore, key: str, limit: UploadLimit, file_limit_bytes: int
) -> UploadedViews:
    """Stream the form's twelve pictures into the object `key`, a ZIP as `contracts.object_files` has it.

    Pictures may come in any order of fields; within a field, the order is the upload order. The object exists only if the whole
    form was read, and counts and settings are right. `limit` is that of all files together. Raises Refusal,
    DependencyUnavailable.
    """
    if request.content_type != "multipart/form-data":
        raise invalid_field(
            VIEWS_FIELD, f"Send a form (multipart/form-data) with 6 files in '{VIEWS_FIELD}' and 6 in '{DEPTHS_FIELD}'."
        )
    form = _ViewsForm(request, limit, file_limit_bytes)
    async with store.upload(key, "application/zip") as upload, aclosing(form.archived()) as pieces:
        async for piece in pieces:
            await upload.write(piece)
    settings = ObjectSettings(model_type=form.read.model, cameras=form.read.cameras)
    return UploadedViews(settings, form.read.size_bytes)


class _ViewsForm:
    """A form while it is read."""

    def __init__(self, request: web.Request, limit: UploadLimit, file_limit_bytes: int) -> None:
        self._request = request
        self._limit = limit
        self._file_limit_bytes = file_limit_bytes
        self.read = _Read()

    async def archived(self) -> AsyncGenerator[bytes, None]:
        """The ZIP, piece by piece. Ends only after the whole form was read and has twelve files."""
        parts = form_parts(self._request, self._limit)
        with StoredArchive() as archive:
            async with aclosing(parts):
                async for part in parts:
                    async with aclosing(self._part(part, archive)) as pieces:
                        async for piece in pieces:
                            yield piece
            self._refuse_wrong_counts()
            archive.close()
            yield archive.taken()

    async def _part(self, part: BodyPartReader, archive: StoredArchive) -> AsyncGenerator[bytes, None]:
        # Many HTTP libraries write an array's name with brackets.
        name = (part.name or "").removesuffix("[]")
        if name in self.read.counts and part.filename:
            async with aclosing(self._file(part, name, archive)) as pieces:
                async for piece in pieces:
                    yield piece
        elif name in self.read.counts:
            # A page's form sends an empty part for a file that was not chosen: none is counted.
            await self._refuse_text(part, name)
        elif name in {MODEL_FIELD, CAMERAS_FIELD}:
            await self._note(part, name)
        else:
            await self._skip(part)

    async def _file(self, part: BodyPartReader, name: str, archive: StoredArchive) -> AsyncGenerator[bytes, None]:
        file_name = plain_name(part.filename or "")
        refuse_encoded(part)
        if not file_name.lower().endswith(".png"):
            raise ObjectRefusal(
                Code.INVALID_FILE_FORMAT,
                f"{file_name} is not a PNG image: its name does not end in .png",
                {"field": name, "file": file_name},
            )
        index = self.read.counts[name]
        self.read.counts[name] = index + 1
        if index >= VIEWS:
            # Read to its end all the same, so that the answer tells how many there were.
            await self._skip(part)
            return
        archive.begin(stored_name(name, index), file_name)
        file_bytes = 0
        async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
            async for chunk in chunks:
                file_bytes += len(chunk)
                self._count(len(chunk), file_bytes, name, file_name)
                archive.add(chunk)
                yield archive.taken()
        archive.end()
        yield archive.taken()

    def _count(self, chunk_bytes: int, file_bytes: int, name: str, file_name: str) -> None:
        metrics.UPLOAD_BYTES.inc(chunk_bytes)
        self.read.size_bytes += chunk_bytes
        details = {"field": name, "file": file_name}
        if file_bytes > self._file_limit_bytes:
            raise ObjectRefusal(Code.FILE_TOO_LARGE, too_large(file_name, self._file_limit_bytes).message, details)
        if self.read.size_bytes > self._limit.file_bytes:
            raise ObjectRefusal(Code.FILE_TOO_LARGE, too_large("The upload", self._limit.file_bytes).message, details)

    async def _skip(self, part: BodyPartReader) -> None:
        async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
            async for _ in chunks:
                pass

    async def _refuse_text(self, part: BodyPartReader, name: str) -> None:
        if await self._text(part, name):
            raise invalid_field(name, f"A part of '{name}' holds no file: it has no file name.")

    async def _note(self, part: BodyPartReader, name: str) -> None:
        """At once: who sends it first learns of a mistake before the pictures are sent. Empty asks for the default."""
        if name in self.read.texts:
            raise invalid_field(name, f"{name} comes twice; send it once.")
        self.read.texts.add(name)
        text = (await self._text(part, name)).strip()
        if text and name == MODEL_FIELD:
            self.read.model = _model_type(text)
        elif text:
            self.read.cameras = read_cameras(text)

    async def _text(self, part: BodyPartReader, name: str) -> bytes:
        content = bytearray()
        async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > TEXT_BYTES:
                    raise invalid_field(name, f"{name} is longer than {TEXT_BYTES >> 10} kB.")
        return bytes(content)

    def _refuse_wrong_counts(self) -> None:
        for name, count in self.read.counts.items():
            if count != VIEWS:
                raise ObjectRefusal(
                    Code.INVALID_FILE_COUNT, f"Expected {VIEWS} {_WHAT[name]}, got {count}", {"field": name}
                )


def _model_type(text: bytes) -> ModelType:
    value = text.decode(errors="replace")
    try:
        return ModelType(value)
    except ValueError:
        names = ", ".join(ModelType)
        raise invalid_field(MODEL_FIELD, f"model_type is {shown(value)}; it must be one of {names}.") from None


def read_cameras(text: bytes) -> GivenCameras:
    """What the form field `cameras` says. Raises Refusal (422) that names the places that are wrong."""
    try:
        parse_json_object(text)
    except UserError as error:
        message = error.message.replace("The request's body", CAMERAS_FIELD)
        raise invalid_field(CAMERAS_FIELD, message) from None
    try:
        return GivenCameras.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise _camera_faults(error) from None


def _camera_faults(error: ValidationError) -> Refusal:
    faults = {
        ".".join([CAMERAS_FIELD, *(str(part) for part in fault["loc"])]): fault["msg"].removeprefix("Value error, ")
        for fault in error.errors(include_url=False, include_input=False)[:_SHOWN_FAULTS]
    }
    message = "; ".join(f"{place}: {what}" for place, what in faults.items())
    return ObjectRefusal(Code.VALIDATION_FAILED, message, {"field": CAMERAS_FIELD, "fields": dict(faults)})
