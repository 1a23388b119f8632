"""Objects in an S3 store: uploads, stage outputs, results.

The `minio` SDK is synchronous; each of its calls runs in a bounded pool of threads, so that nothing here ever blocks
the event loop. Reads, and writes of bytes that are at hand, are tried again a few times when the connection fails.
A streaming upload as a whole is never repeated (its bytes are gone); its parts, which are still in memory, are.

Uploads drive S3's multipart calls directly instead of `put_object(length=-1)`: the SDK aborts an upload while its own
threads still send parts, and a part that arrives after the abort stays in the store for ever (S3 API reference,
AbortMultipartUpload). Here the abort waits for the parts first, and a failed part stops the upload at once.
"""

import asyncio
import contextlib
import errno
import io
import itertools
import mimetypes
import os
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.datatypes import Object, Part, Upload
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from contracts.errors import AlidadeError, ConfigurationError, DependencyUnavailable, ErrorCode, UserError

PART_BYTES = 8 << 20
"""Size of an uploaded part. S3 allows 10,000 parts: 80 GB an object."""

PARTS_IN_FLIGHT = 3
"""Parts of one upload that are sent at the same time; with the one being filled they bound its memory to 32 MB."""

CHUNK_BYTES = 256 << 10
WINDOW_BYTES = 1 << 20
FILES_IN_FLIGHT = 8
DEFAULT_CONTENT_TYPE = "application/octet-stream"
BACKOFF_S = (0.1, 0.4, 1.2)

_CONFIGURATION_CODES = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"})
_MISSING_CODES = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchUpload"})

T = TypeVar("T")


class ObjectNotFound(AlidadeError):
    """There is no object under this key."""

    code = ErrorCode.NOT_FOUND


class ObjectChanged(AlidadeError):
    """The object was replaced while it was being read: its ETag is no longer the one asked for."""

    code = ErrorCode.PRECONDITION_FAILED


class ObjectTooLarge(AlidadeError):
    """The object is larger than the reader is ready to hold in memory."""

    code = ErrorCode.TOO_LARGE


@dataclass(frozen=True)
class StoreAddress:
    """Where the store is and who we are to it. `endpoint_url` is `http(s)://host[:port]`."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"StoreAddress({self.endpoint_url!r}, bucket={self.bucket!r})"


@dataclass(frozen=True)
class ObjectInfo:
    """What the store knows of an object. `etag` is without quotes; `content_type` is None in listings."""

    key: str
    size_bytes: int
    etag: str
    content_type: str | None
    modified_at: datetime


@dataclass(frozen=True)
class Transfer:
    """What `put_many` or `get_many` moved."""

    files: int
    size_bytes: int
    sizes_bytes: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Of each file, by its path relative to the folder."""


class ObjectStore:
    """One bucket of an S3 store. Safe to share between tasks of one event loop; `close` it at the end.

    Every method raises `DependencyUnavailable` when the store cannot be reached or answers with a server error, and
    `ConfigurationError` when it refuses the credentials or the bucket does not exist.
    """

    def __init__(self, address: StoreAddress, *, threads: int = 16, read_timeout_s: float = 60.0) -> None:
        """Connects to nothing yet. `threads` bounds how many calls to the store run at the same time."""
        url = urlsplit(address.endpoint_url)
        if url.scheme not in {"http", "https"} or not url.netloc or url.path.strip("/"):
            raise ConfigurationError(
                f"The object store's address {address.endpoint_url!r} is not of the form http://host:port."
            )
        self.address = address
        self._bucket = address.bucket
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="object-store")
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5.0, read=read_timeout_s), maxsize=threads, retries=False
        )
        self._client = Minio(
            url.netloc,
            access_key=address.access_key,
            secret_key=address.secret_key,
            secure=url.scheme == "https",
            region=address.region,
            http_client=self._http,
        )
        self._aborts: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for aborts that are still under way, then closes connections and threads."""
        if self._aborts:
            await asyncio.gather(*self._aborts, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)
        self._http.clear()

    async def ensure_bucket(self) -> None:
        """Creates the bucket if it does not exist."""

        def ensure() -> None:
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket, location=self.address.region)
            except S3Error as error:
                if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise

        await self._retried(ensure, self._bucket)

    async def remove_bucket(self) -> None:
        """Removes the bucket and all that is in it."""
        async for info in self.list(""):
            await self.delete(info.key)
        await self._retried(lambda: self._client.remove_bucket(self._bucket), self._bucket)

    async def check(self) -> None:
        """Raises `DependencyUnavailable` or `ConfigurationError` unless the bucket is there and answers."""
        if not await self._once(lambda: self._client.bucket_exists(self._bucket), self._bucket):
            raise ConfigurationError(f"The object store has no bucket {self._bucket!r}.")

    async def put_bytes(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> None:
        """Writes an object in one request; a reader sees the old object or the new one, never a part of it."""
        await self._retried(lambda: self._put(key, data, content_type), key)

    async def put_new(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> bool:
        """Writes an object in one request unless there is one under its key; whether it was written.

        Where an acknowledgement was lost the answer may be False although it was: read the object to know.
        """

        def put() -> None:
            self._client._put_object(self._bucket, key, data, {"Content-Type": content_type, "If-None-Match": "*"})

        try:
            await self._retried(put, key)
        except ObjectChanged:
            return False
        return True

    async def put_file(self, key: str, path: Path, content_type: str | None = None) -> int:
        """Writes a file as an object, in parallel parts if it is large; returns its bytes.

        Without `content_type` the type is guessed from the file's name.
        """
        kind = content_type or content_type_of(path.name)
        size_bytes = await self._in_thread(lambda: path.stat().st_size)
        if size_bytes <= PART_BYTES:
            await self._retried(lambda: self._put(key, path.read_bytes(), kind), key)
            return size_bytes
        async with self.upload(key, kind) as upload:
            with await self._in_thread(lambda: path.open("rb")) as file:
                while chunk := await self._in_thread(lambda: file.read(PART_BYTES)):
                    await upload.write(chunk)
        return upload.size_bytes

    async def get_bytes(self, key: str, max_bytes: int) -> bytes:
        """Reads a whole object of at most `max_bytes`. Raises `ObjectNotFound`, `ObjectTooLarge`."""

        def get() -> bytes:
            response = self._client.get_object(self._bucket, key)
            try:
                size_bytes = int(response.headers.get("content-length", "0"))
                if size_bytes > max_bytes:
                    raise ObjectTooLarge(
                        f"The object {key!r} has {size_bytes:,} bytes; at most {max_bytes:,} are read."
                    )
                return response.read(decode_content=False)
            finally:
                _dispose(response)

        return await self._retried(get, key)

    async def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Downloads an object to `path`, which appears only when it is complete (atomic rename).

        A broken connection is taken up again at the byte where it broke, pinned to the same ETag. Raises
        `ObjectNotFound`; `ObjectChanged` if the object was replaced meanwhile.
        """
        info = await self._known(key)
        await self._download(info, path)
        return info

    async def stat(self, key: str) -> ObjectInfo | None:
        """The object's size, ETag, type and time, or None if there is none."""
        try:
            return await self._known(key)
        except ObjectNotFound:
            return None

    async def exists(self, key: str) -> bool:
        return await self.stat(key) is not None

    async def list(self, prefix: str) -> AsyncGenerator[ObjectInfo, None]:
        """Every object whose key starts with `prefix`, in the order of keys, a page of the store at a time."""
        found: Iterator[Object] = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        while page := await self._once(lambda: list_page(found), prefix):
            for entry in page:
                if not entry.is_dir:
                    yield _info_of(entry)

    async def delete(self, key: str) -> None:
        """Removes an object; that it is already gone is no error."""
        await self._retried(lambda: self._client.remove_object(self._bucket, key), key)

    async def delete_prefix(self, prefix: str) -> int:
        """Removes every object whose key starts with `prefix`, which must not be empty; returns how many."""
        if not prefix:
            raise ValueError("an empty prefix would empty the bucket")
        keys = [info.key async for info in self.list(prefix)]

        def delete(batch: tuple[str, ...]) -> None:
            errors = list(self._client.remove_objects(self._bucket, [DeleteObject(key) for key in batch]))
            if errors:
                raise DependencyUnavailable(f"The object store did not delete {errors[0].name!r}: {errors[0].message}.")

        for start in range(0, len(keys), 1000):
            batch = tuple(keys[start : start + 1000])
            await self._retried(lambda batch=batch: delete(batch), prefix)  # type: ignore[misc]
        return len(keys)

    async def copy(self, source_key: str, target_key: str) -> None:
        """Copies an object (up to 5 GB, S3's limit for one request) inside the store."""
        source = CopySource(self._bucket, source_key)
        await self._retried(lambda: self._client.copy_object(self._bucket, target_key, source), source_key)

    async def open_range(
        self, key: str, start: int = 0, end: int | None = None, if_match: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Bytes `start` up to but not including `end` (None: to the end of the object), in chunks of at most 256 KiB.

        At most one chunk is held; the connection is closed when the consumer stops early (use `contextlib.aclosing`).
        Raises `ObjectNotFound`; `ObjectChanged` if the ETag is not `if_match`; `DependencyUnavailable` if the store
        sends less than it announced; `UserError(RANGE_NOT_SATISFIABLE)` if the object ends before `start`.
        """
        if end is not None and end <= start:
            return
        headers = _if_match(if_match)
        length = 0 if end is None else end - start
        response = await self._retried(
            lambda: self._client.get_object(self._bucket, key, offset=start, length=length, request_headers=headers),
            key,
        )
        reading: asyncio.Future[bytes] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(
                    self._once(lambda: response.read(CHUNK_BYTES, decode_content=False), key)
                )
                chunk = await asyncio.shield(reading)
                if not chunk:
                    return
                yield chunk
        finally:
            # A thread may still be reading: its socket must not be closed, let alone be given to another call.
            if reading is None or reading.done():
                _dispose(response)
            else:
                reading.add_done_callback(asyncio.Future.exception)  # nobody else will look at it
                reading.add_done_callback(lambda _: _dispose(response))

    def upload(self, key: str, content_type: str = DEFAULT_CONTENT_TYPE) -> "ObjectUpload":
        """A streaming upload of unknown length: `async with store.upload(key) as upload: await upload.write(chunk)`."""
        return ObjectUpload(self, key, content_type)

    async def put_many(self, folder: Path, prefix: str) -> Transfer:
        """Uploads every file below `folder` in parallel; `folder/a/b.png` becomes `prefix` + `a/b.png`.

        What comes into the folder meanwhile is not uploaded, and what leaves it before its turn neither.
        """
        files = await self._in_thread(lambda: sorted(path for path in folder.rglob("*") if path.is_file()))
        sizes_bytes: dict[str, int] = {}

        async def put(path: Path) -> None:
            name = path.relative_to(folder).as_posix()
            with contextlib.suppress(FileNotFoundError):
                sizes_bytes[name] = await self.put_file(prefix + name, path)

        await _in_parallel(put, files)
        return _transfer(sizes_bytes)

    async def get_many(self, prefix: str, folder: Path) -> Transfer:
        """Downloads every object below `prefix` in parallel into `folder`, the inverse of `put_many`."""
        wanted = [info async for info in self.list(prefix)]

        sizes_bytes: dict[str, int] = {}

        async def get(info: ObjectInfo) -> None:
            path = relative_path(info.key, prefix)
            await self._download(info, folder / path)
            sizes_bytes[path.as_posix()] = info.size_bytes

        await _in_parallel(get, wanted)
        return _transfer(sizes_bytes)

    async def sweep_dangling_uploads(self, older_than_s: float) -> int:
        """Aborts multipart uploads that began more than `older_than_s` seconds ago (a killed process leaves them)."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)

        def sweep() -> int:
            old = [found for found in self._dangling() if found.initiated_time and found.initiated_time <= before]
            for found in old:
                self._client._abort_multipart_upload(self._bucket, found.object_name, str(found.upload_id))
            return len(old)

        return await self._retried(sweep, self._bucket)

    async def dangling_uploads(self) -> Sequence[str]:
        """Keys of the multipart uploads that are neither completed nor aborted."""
        found = await self._retried(lambda: [upload.object_name for upload in self._dangling()], self._bucket)
        return sorted(found)

    async def ranged_file(self, key: str) -> io.BufferedReader:
        """A seekable, read-only file over ranged GETs, for `zipfile.ZipFile` and its like, used in a thread.

        Holds the last MB (where a ZIP keeps its directory) and one MB around the reading position. All reads are
        pinned to the ETag of this moment: `ObjectChanged` if the object is replaced. Raises `ObjectNotFound`.
        """
        info = await self._known(key)
        return io.BufferedReader(_RangedObject(self, info), buffer_size=64 << 10)

    def read_range(self, key: str, start: int, end: int, if_match: str | None) -> bytes:
        """Bytes `start` to `end` (exclusive) in the calling thread. Raises like `open_range`."""

        def read() -> bytes:
            response = self._client.get_object(
                self._bucket, key, offset=start, length=end - start, request_headers=_if_match(if_match)
            )
            try:
                data = response.read(decode_content=False)
            finally:
                _dispose(response)
            if len(data) != end - start:
                raise DependencyUnavailable(f"The object store sent {len(data)} of {end - start} bytes of {key!r}.")
            return data

        return _patiently(read, key)

    # ---- what `ObjectUpload` needs

    async def begin_parts(self, key: str, content_type: str) -> str:
        """Starts a multipart upload and returns its id."""
        return await self._once(
            lambda: str(self._client._create_multipart_upload(self._bucket, key, {"Content-Type": content_type})),
            key,
        )

    async def send_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Sends one part and returns its ETag; repeatable, for the same number replaces the part."""
        return await self._retried(
            lambda: str(self._client._upload_part(self._bucket, key, data, None, upload_id, number)), key
        )

    async def complete_parts(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        parts = [Part(number, etag) for number, etag in enumerate(etags, start=1)]
        await self._once(lambda: self._client._complete_multipart_upload(self._bucket, key, upload_id, parts), key)

    async def abort_parts(self, key: str, upload_id: str) -> None:
        with contextlib.suppress(ObjectNotFound):
            await self._retried(lambda: self._client._abort_multipart_upload(self._bucket, key, upload_id), key)

    async def finish_in_background(self, work: Awaitable[None]) -> None:
        """Waits for `work`, which goes on even if the waiting task is cancelled; `close` waits for it too."""
        task = asyncio.ensure_future(work)
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)
        await asyncio.shield(task)

    # ---- private

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        self._client.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type=content_type)

    async def _known(self, key: str) -> ObjectInfo:
        return _info_of(await self._retried(lambda: self._client.stat_object(self._bucket, key), key))

    async def _download(self, info: ObjectInfo, path: Path) -> None:
        abandoned = threading.Event()
        try:
            await self._in_thread(lambda: self._download_here(info, path, abandoned))
        except asyncio.CancelledError:
            abandoned.set()
            raise

    def _download_here(self, info: ObjectInfo, path: Path, abandoned: threading.Event) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                _patiently(lambda: self._receive_rest(info, file, abandoned), info.key)
                # A temporary file is its owner's alone; a downloaded one is a file like any other.
                os.fchmod(file.fileno(), 0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _receive_rest(self, info: ObjectInfo, file: IO[bytes], abandoned: threading.Event) -> None:
        """Goes on at the end of `file` with what is missing of the object."""
        start = file.seek(0, io.SEEK_END)
        if start == info.size_bytes:
            return
        response = self._client.get_object(self._bucket, info.key, offset=start, request_headers=_if_match(info.etag))
        try:
            while not abandoned.is_set() and (chunk := response.read(1 << 20, decode_content=False)):
                file.write(chunk)
        finally:
            _dispose(response)
        file.flush()
        if abandoned.is_set():
            raise asyncio.CancelledError
        if file.tell() != info.size_bytes:
            raise DependencyUnavailable(
                f"The object store sent {file.tell():,} of {info.size_bytes:,} bytes of {info.key!r}."
            )

    def _dangling(self) -> Sequence[Upload]:
        found = []
        key_marker: str | None = None
        upload_id_marker: str | None = None
        while True:
            page = self._client._list_multipart_uploads(
                self._bucket, key_marker=key_marker, upload_id_marker=upload_id_marker
            )
            found += page.uploads
            if not page.is_truncated or not page.uploads:
                return found
            key_marker, upload_id_marker = page.next_key_marker, page.next_upload_id_marker

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _once(self, call: Callable[[], T], subject: str) -> T:
        return await self._in_thread(lambda: _translated(call, subject))

    async def _retried(self, call: Callable[[], T], subject: str) -> T:
        for pause_s in BACKOFF_S:
            try:
                return await self._once(call, subject)
            except DependencyUnavailable:
                await asyncio.sleep(pause_s)
        return await self._once(call, subject)


class ObjectUpload:
    """An object in the making. Leaving the `async with` block cleanly commits it; an exception or a cancellation
    aborts it, and then neither the object nor a dangling multipart upload is left behind.

    `write` waits while three parts are under way: a fast producer is slowed to the store's pace, and one upload never
    holds more than 32 MB. `size_bytes` counts what was written.
    """

    def __init__(self, store: ObjectStore, key: str, content_type: str) -> None:
        self.key = key
        self.size_bytes = 0
        self._store = store
        self._content_type = content_type
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[asyncio.Task[str]] = []
        self._room = asyncio.Semaphore(PARTS_IN_FLIGHT)

    async def __aenter__(self) -> Self:
        return self

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Appends bytes. Raises `DependencyUnavailable` as soon as a part has failed."""
        self.size_bytes += len(chunk)
        rest = memoryview(chunk)
        while rest:
            taken = rest[: PART_BYTES - len(self._buffer)]
            self._buffer += taken
            rest = rest[len(taken) :]
            if len(self._buffer) == PART_BYTES:
                await self._send()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            await self._store.finish_in_background(self._abort())
            return
        committing = asyncio.ensure_future(self._commit())
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            await self._store.finish_in_background(self._revoke(committing))
            raise
        except Exception:
            await self._store.finish_in_background(self._abort())
            raise

    async def _send(self) -> None:
        for part in self._parts:
            if part.done():
                part.result()
        await self._room.acquire()
        data = bytes(self._buffer)
        self._buffer.clear()
        number = len(self._parts) + 1
        if self._upload_id is None:
            try:
                await self._begin()
            except BaseException:
                self._room.release()
                raise
        part = asyncio.ensure_future(self._store.send_part(self.key, str(self._upload_id), number, data))
        part.add_done_callback(lambda _: self._room.release())
        self._parts.append(part)

    async def _begin(self) -> None:
        # Shielded, for a cancellation in between would lose the id of an upload that then dangles.
        beginning = asyncio.ensure_future(self._store.begin_parts(self.key, self._content_type))
        try:
            self._upload_id = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            self._upload_id = await beginning
            raise

    async def _commit(self) -> None:
        if self._upload_id is None:
            await self._store.put_bytes(self.key, bytes(self._buffer), self._content_type)
            return
        if self._buffer:
            await self._send()
        etags = await asyncio.gather(*self._parts)
        await self._store.complete_parts(self.key, self._upload_id, etags)

    async def _abort(self) -> None:
        self._buffer.clear()
        # A cancelled part would go on in its thread and could arrive after the abort: wait for it instead.
        await asyncio.gather(*self._parts, return_exceptions=True)
        if self._upload_id is not None:
            await self._store.abort_parts(self.key, self._upload_id)

    async def _revoke(self, committing: "asyncio.Future[None]") -> None:
        try:
            await committing
        except Exception:
            await self._abort()
        else:
            await self._store.delete(self.key)


class _RangedObject(io.RawIOBase):
    """The raw part of `ObjectStore.ranged_file`: position, window and tail over ranged GETs."""

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        super().__init__()
        self._store = store
        self._info = info
        self._position = 0
        self._tail_start = max(0, info.size_bytes - WINDOW_BYTES)
        self._tail: bytes | None = None
        self._window_start = 0
        self._window = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._info.size_bytes}[whence]
        if base + offset < 0:
            # What a file raises; zipfile counts on it for anything shorter than its own end record.
            raise OSError(errno.EINVAL, "negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, target: "bytearray | memoryview", /) -> int:  # type: ignore[override]
        length = min(len(target), self._info.size_bytes - self._position)
        if length <= 0:
            return 0
        data = self._at(self._position, length)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _at(self, start: int, length: int) -> bytes:
        """From 1 to `length` bytes at `start`."""
        if start >= self._tail_start:
            if self._tail is None:
                self._tail = self._fetch(self._tail_start, self._info.size_bytes)
            return self._tail[start - self._tail_start :][:length]
        if not self._window_start <= start < self._window_start + len(self._window):
            end = min(start + max(length, WINDOW_BYTES), self._tail_start)
            self._window = self._fetch(start, end)
            self._window_start = start
        return self._window[start - self._window_start :][:length]

    def _fetch(self, start: int, end: int) -> bytes:
        return self._store.read_range(self._info.key, start, end, self._info.etag)


def content_type_of(name: str) -> str:
    """The media type that a file's name suggests."""
    return mimetypes.guess_type(name)[0] or DEFAULT_CONTENT_TYPE


def list_page(found: Iterator[T]) -> list[T]:
    """The next thousand of `found`, which is what the store sends in one answer."""
    return list(itertools.islice(found, 1000))


def _transfer(sizes_bytes: Mapping[str, int]) -> Transfer:
    return Transfer(len(sizes_bytes), sum(sizes_bytes.values()), sizes_bytes)


async def _in_parallel(move: Callable[[T], Awaitable[None]], items: list[T]) -> None:
    """Runs `move` over `items`, a few at a time; the first failure cancels the rest and is raised as it is."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await move(item)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(FILES_IN_FLIGHT, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def relative_path(key: str, prefix: str) -> Path:
    """Where the object `key` goes in the folder that `prefix` stands for. Raises `ValueError` if that lies outside."""
    relative = PurePosixPath(key.removeprefix(prefix).lstrip("/"))
    if not relative.parts or ".." in relative.parts:
        raise ValueError(f"the key {key!r} does not name a file below {prefix!r}")
    return Path(relative)


def _info_of(found: Object) -> ObjectInfo:
    return ObjectInfo(
        key=str(found.object_name),
        size_bytes=int(found.size or 0),
        etag=(found.etag or "").strip('"'),
        content_type=found.content_type,
        modified_at=found.last_modified or datetime.fromtimestamp(0, UTC),
    )


def _if_match(etag: str | None) -> dict[str, str | list[str] | tuple[str]] | None:
    return None if etag is None else {"If-Match": f'"{etag}"'}


def _dispose(response: BaseHTTPResponse) -> None:
    """Gives the connection back if the body was read to its end, and closes it otherwise."""
    if response.length_remaining:
        response.close()
    response.release_conn()


def _translated(call: Callable[[], T], subject: str) -> T:
    """Runs an SDK call and turns what it raises into our errors. `subject` is the key or bucket concerned."""
    try:
        return call()
    except S3Error as error:
        raise _from_s3(error, subject) from error
    except (ServerError, InvalidResponseError, MinioException, HTTPError) as error:
        raise DependencyUnavailable(f"The object store does not answer ({subject}): {error}") from error


def _patiently(call: Callable[[], T], subject: str) -> T:
    """Runs a repeatable SDK call in the calling thread, a few times if the store does not answer."""
    for pause_s in BACKOFF_S:
        try:
            return _translated(call, subject)
        except DependencyUnavailable:
            time.sleep(pause_s)
    return _translated(call, subject)


def _from_s3(error: S3Error, subject: str) -> AlidadeError:
    code = error.code or ""
    status = error.response.status
    if code == "NoSuchBucket" or (code in _CONFIGURATION_CODES and status in {401, 403}):
        return ConfigurationError(f"The object store refuses {subject!r}: {code}, {error.message}")
    if code in _MISSING_CODES or status == 404:
        return ObjectNotFound(f"There is no object {subject!r}.")
    if code in {"PreconditionFailed", "ConditionalRequestConflict"} or status == 412:
        return ObjectChanged(f"The object {subject!r} was replaced while it was being read.")
    if code == "InvalidRange" or status == 416:
        return UserError(ErrorCode.RANGE_NOT_SATISFIABLE, f"The range lies beyond the end of {subject!r}.")
    return DependencyUnavailable(f"The object store failed on {subject!r}: {code}, {error.message}")
