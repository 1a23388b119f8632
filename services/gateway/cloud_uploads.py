"""The form of the Cloud2BIM API: a point cloud, streamed into the object store, and its configuration, in any order."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import BodyPartReader, web

from contracts.errors import ErrorCode
from runtime import metrics
from runtime.cloud2bim_errors import FieldRefusal, invalid
from runtime.object_store import ObjectStore
from services.gateway.building_requests import CONFIG_FIELD, Configuration, read_configuration
from services.gateway.limits import UploadLimit, too_large
from services.gateway.uploads import form_parts, part_chunks, refuse_encoded
from services.gateway.yaml_documents import YAML_LIMIT_BYTES

CLOUD_FIELD = "point_cloud_file"
_NAME_LENGTH = 255


@dataclass(frozen=True)
class UploadedCloud:
    """What a form brought. `file_name` is the cloud's, without folders."""

    file_name: str
    size_bytes: int
    configuration: Configuration


async def store_cloud(request: web.Request, store: ObjectStore, key: str, limit: UploadLimit) -> UploadedCloud:
    """Stream the form's point cloud into the object `key`, and read its configuration.

    The object exists only if the whole form was read and its configuration can be used. Raises Refusal (400, 408, 413,
    422), DependencyUnavailable.
    """
    if request.content_type != "multipart/form-data":
        raise invalid(
            f"Send a form (multipart/form-data) with the point cloud in '{CLOUD_FIELD}' and a YAML file in "
            f"'{CONFIG_FIELD}'.",
            CLOUD_FIELD,
        )
    form = _CloudForm(request, limit)
    async with aclosing(form.cloud_chunks()) as chunks:
        first = await anext(chunks, b"")
        if not first:
            raise FieldRefusal(
                HTTPStatus.BAD_REQUEST,
                f"{form.file_name} is empty: it holds no points.",
                (CLOUD_FIELD,),
                ErrorCode.INVALID_CLOUD.lower(),
            )
        async with store.upload(key) as upload:
            await upload.write(first)
            async for chunk in chunks:
                await upload.write(chunk)
    assert form.configuration is not None
    return UploadedCloud(form.file_name, upload.size_bytes, form.configuration)


class _CloudForm:
    """A form while it is read."""

    def __init__(self, request: web.Request, limit: UploadLimit) -> None:
        self._request = request
        self._limit = limit
        self._seen: set[str] = set()
        self.file_name = ""
        self.configuration: Configuration | None = None

    async def cloud_chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the cloud. Ends only after the whole form was read, and everything in it can be used."""
        async with aclosing(form_parts(self._request, self._limit)) as parts:
            async for part in parts:
                name = self._noted(part)
                if name == CONFIG_FIELD:
                    # At once: who sends it first learns of a mistake before the cloud is sent.
                    self.configuration = read_configuration(await self._read_small(part))
                    continue
                async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
                    async for chunk in chunks:
                        if name == CLOUD_FIELD:
                            metrics.UPLOAD_BYTES.inc(len(chunk))
                            yield chunk
        for field, what in ((CLOUD_FIELD, "the point cloud"), (CONFIG_FIELD, "the configuration, a YAML file")):
            if field not in self._seen:
                raise invalid(f"{field} is missing: send {what} in the form's field '{field}'.", field)

    def _noted(self, part: BodyPartReader) -> str:
        """The part's field, after a look at what comes with it."""
        field = part.name or ""
        if field not in (CLOUD_FIELD, CONFIG_FIELD):
            return field
        if field in self._seen:
            raise invalid(f"{field} comes twice; send one file.", field)
        self._seen.add(field)
        refuse_encoded(part)
        if field == CLOUD_FIELD:
            if not part.filename:
                raise invalid(f"{field} holds no file (it has no file name).", field)
            self.file_name = plain_name(part.filename)
        return field

    async def _read_small(self, part: BodyPartReader) -> bytes:
        content = bytearray()
        async with aclosing(part_chunks(self._request, part, self._limit)) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > YAML_LIMIT_BYTES:
                    refusal = too_large(CONFIG_FIELD, YAML_LIMIT_BYTES)
                    raise FieldRefusal(refusal.status, refusal.message, (CONFIG_FIELD,))
        return bytes(content)


def plain_name(file_name: str) -> str:
    """A file's name as senders write it, without folders of any system and without what cannot be printed.

    A long one keeps its end, which tells the kind of file.
    """
    last = re.split(r"[/\\]", file_name)[-1]
    printable = "".join(character if character.isprintable() else "?" for character in last).strip()
    return printable[-_NAME_LENGTH:] or "upload"
