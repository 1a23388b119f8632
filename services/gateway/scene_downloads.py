"""Several stored files as one ZIP archive, written while it is sent: a bounded memory, and no copy in the store.

The files are stored and not compressed (PKWARE APPNOTE 6.3.10, 4.4.5). Their sizes and checksums follow them (4.3.9), so
each is read once.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiohttp import web

from contracts.errors import AlidadeError
from contracts.jobs import ResultFile
from runtime.logs import get_logger
from runtime.object_store import ObjectStore
from runtime.refusals import not_found
from services.gateway.six_views_archive import StoredArchive

log = get_logger(__name__)


async def send_archive(
    request: web.Request, store: ObjectStore, files: Sequence[ResultFile], name: str
) -> web.StreamResponse:
    """Answer with a ZIP archive of stored files, called `name`.

    Raises Refusal (404) if one of them has expired, DependencyUnavailable.
    """
    for file in files:
        stored = await store.stat(file.key)
        if stored is None or stored.etag != file.etag:
            raise not_found("The point clouds are no longer stored: they have expired, or were removed.")
    response = web.StreamResponse(
        headers={"Cache-Control": "private, no-cache", "Content-Disposition": f'attachment; filename="{name}"'}
    )
    response.content_type = "application/zip"
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async with aclosing(_packed(store, files)) as chunks:
            async for chunk in chunks:
                await response.write(chunk)
        await response.write_eof()
    except AlidadeError as error:
        log.warning("download_broke", archive=name, reason=error.message)
        if request.transport is not None:
            # An answer without its end tells the client that the download is not complete.
            request.transport.abort()
    except ConnectionError:
        log.info("download_left", archive=name)
    return response


async def _packed(store: ObjectStore, files: Sequence[ResultFile]) -> AsyncGenerator[bytes, None]:
    archive = StoredArchive()
    for file in files:
        archive.begin(file.name, "")
        async with aclosing(store.open_range(file.key, 0, file.size_bytes, if_match=file.etag)) as chunks:
            async for chunk in chunks:
                archive.add(chunk)
                yield archive.taken()
        archive.end()
    archive.close()
    yield archive.taken()
