"""The object store against a real S3 server (SeaweedFS)."""

import asyncio
import contextlib
import errno
import io
import os
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import psutil
import pytest

from contracts.errors import ConfigurationError, DependencyUnavailable, ErrorCode, UserError
from deploy.local.ports import reserve_ports
from runtime.object_store import (
    PART_BYTES,
    ObjectChanged,
    ObjectNotFound,
    ObjectStore,
    ObjectTooLarge,
    StoreAddress,
    Transfer,
    relative_path,
)

MB = 1 << 20


async def read_all(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.001)


async def test_put_stat_get_delete(store: ObjectStore) -> None:
    await store.put_bytes("jobs/1/report.json", b"{}", "application/json")

    info = await store.stat("jobs/1/report.json")
    assert info is not None
    assert (info.key, info.size_bytes, info.content_type) == ("jobs/1/report.json", 2, "application/json")
    assert await store.get_bytes("jobs/1/report.json", 10) == b"{}"

    await store.delete("jobs/1/report.json")
    await store.delete("jobs/1/report.json")
    assert await store.stat("jobs/1/report.json") is None
    assert not await store.exists("jobs/1/report.json")


@pytest.mark.parametrize("key", ["with space", "plus+sign", "ümlaut/日本.png", "per%20cent", "a&b=c"])
async def test_keys_of_every_kind(store: ObjectStore, key: str) -> None:
    await store.put_bytes(f"k/{key}", b"x")
    assert [info.key async for info in store.list("k/")] == [f"k/{key}"]
    assert await store.get_bytes(f"k/{key}", 1) == b"x"


async def test_missing_and_too_large(store: ObjectStore, tmp_path: Path) -> None:
    await store.put_bytes("eleven", b"x" * 11)
    with pytest.raises(ObjectTooLarge):
        await store.get_bytes("eleven", 10)
    with pytest.raises(ObjectNotFound):
        await store.get_bytes("nothing", 10)
    with pytest.raises(ObjectNotFound):
        await store.get_file("nothing", tmp_path / "nothing")
    with pytest.raises(ObjectNotFound):
        await store.ranged_file("nothing")
    assert names_in(tmp_path) == []


async def test_files_in_several_parts_come_back_whole(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "video.mp4"
    source.write_bytes(os.urandom(2 * PART_BYTES + 12345))

    assert await store.put_file("v/video.mp4", source) == source.stat().st_size
    info = await store.get_file("v/video.mp4", tmp_path / "new" / "copy.mp4")

    assert info.content_type == "video/mp4"
    assert (tmp_path / "new" / "copy.mp4").read_bytes() == source.read_bytes()
    assert names_in(tmp_path / "new") == ["copy.mp4"]


async def test_a_cancelled_download_leaves_nothing_behind(store: ObjectStore, tmp_path: Path) -> None:
    await store.put_bytes("large", bytes(64 * MB))
    downloading = asyncio.ensure_future(store.get_file("large", tmp_path / "large"))
    await until(lambda: names_in(tmp_path) != [])
    downloading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await downloading
    await until(lambda: names_in(tmp_path) == [])


async def test_a_download_replaces_the_file_that_was_there(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old and longer")
    await store.put_bytes("f", b"new")
    await store.put_bytes("empty", b"")
    await store.get_file("f", tmp_path / "f")
    await store.get_file("empty", tmp_path / "empty")
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "empty").read_bytes() == b""


async def test_copy_list_and_delete_prefix(store: ObjectStore) -> None:
    await asyncio.gather(*(store.put_bytes(f"a/{number:04}", b"1") for number in range(1100)))
    await store.copy("a/0000", "b/copy")

    assert [info.key async for info in store.list("a/")] == [f"a/{number:04}" for number in range(1100)]
    assert await store.delete_prefix("a/") == 1100
    assert [info.key async for info in store.list("")] == ["b/copy"]
    with pytest.raises(ValueError, match="empty prefix"):
        await store.delete_prefix("")


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
async def test_streaming_uploads_of_every_length(store: ObjectStore, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    async with store.upload("up", "application/zip") as upload:
        for start in range(0, size_bytes, 777_777):
            await upload.write(data[start : start + 777_777])

    assert upload.size_bytes == size_bytes
    assert await store.get_bytes("up", size_bytes) == data
    info = await store.stat("up")
    assert info is not None
    assert info.content_type == "application/zip"


async def test_an_upload_holds_little_memory(store: ObjectStore) -> None:
    process = psutil.Process()
    chunk = os.urandom(MB)
    before = process.memory_info().rss
    most = before
    async with store.upload("large") as upload:
        for _ in range(256):
            await upload.write(chunk)
            most = max(most, process.memory_info().rss)
    assert (most - before) / MB < 120
    info = await store.stat("large")
    assert info is not None
    assert info.size_bytes == 256 * MB


async def test_an_exception_leaves_nothing_behind(store: ObjectStore) -> None:
    threads = threading.active_count()
    with pytest.raises(ConnectionResetError):
        async with store.upload("lost") as upload:
            await upload.write(bytes(3 * PART_BYTES))
            assert await store.dangling_uploads() == ["lost"]
            raise ConnectionResetError
    assert await store.dangling_uploads() == []
    assert not await store.exists("lost")
    assert threading.active_count() <= threads + 16


@pytest.mark.parametrize("parts", [0, 1, 4])
async def test_a_cancellation_leaves_nothing_behind(store: ObjectStore, parts: int) -> None:
    written = asyncio.Event()

    async def client() -> None:
        async with store.upload("lost") as upload:
            await upload.write(bytes(parts * PART_BYTES + 100))
            written.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(client())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.dangling_uploads() == []
    assert not await store.exists("lost")


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_cancellation_at_any_moment_leaves_nothing_behind(store: ObjectStore, turns: int) -> None:
    async def client() -> None:
        async with store.upload("lost") as upload:
            await upload.write(bytes(PART_BYTES + 100))

    task = asyncio.ensure_future(client())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.dangling_uploads() == []
    assert not await store.exists("lost")


async def test_cancelling_the_commit_takes_the_object_back(store: ObjectStore) -> None:
    leaving = asyncio.Event()

    async def client() -> None:
        async with store.upload("lost") as upload:
            await upload.write(bytes(2 * PART_BYTES + 100))
            leaving.set()

    task = asyncio.ensure_future(client())
    await leaving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.dangling_uploads() == []
    assert not await store.exists("lost")


async def test_uploads_of_a_killed_process_are_swept(store: ObjectStore) -> None:
    upload_id = await store.begin_parts("orphan", "text/plain")
    await store.send_part("orphan", upload_id, 1, bytes(5 * MB))

    assert await store.sweep_dangling_uploads(older_than_s=3600) == 0
    assert await store.dangling_uploads() == ["orphan"]
    assert await store.sweep_dangling_uploads(older_than_s=0) == 1
    assert await store.dangling_uploads() == []


async def test_ranges(store: ObjectStore) -> None:
    data = os.urandom(3 * MB)
    await store.put_bytes("r", data)
    info = await store.stat("r")
    assert info is not None

    assert await read_all(store.open_range("r")) == data
    assert await read_all(store.open_range("r", 1000, 1001)) == data[1000:1001]
    assert await read_all(store.open_range("r", 2 * MB)) == data[2 * MB :]
    assert await read_all(store.open_range("r", 0, 1 * MB, if_match=info.etag)) == data[:MB]
    assert await read_all(store.open_range("r", 5, 5)) == b""
    assert max([len(chunk) async for chunk in store.open_range("r")]) <= 256 << 10

    with pytest.raises(ObjectChanged):
        await read_all(store.open_range("r", 0, 10, if_match="0" * 32))
    with pytest.raises(UserError) as caught:
        await read_all(store.open_range("r", 4 * MB, 5 * MB))
    assert caught.value.code is ErrorCode.RANGE_NOT_SATISFIABLE


async def test_a_reader_that_stops_early_closes_its_connection(store: ObjectStore) -> None:
    await store.put_bytes("long", bytes(32 * MB))
    for _ in range(20):
        async with contextlib.aclosing(store.open_range("long")) as chunks:
            assert len(await anext(chunks)) > 0
    established = [c for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]
    port = urlsplit(store.address.endpoint_url).port
    assert sum(1 for c in established if c.raddr and c.raddr.port == port) <= 16


async def test_a_reader_cancelled_while_it_reads(store: ObjectStore) -> None:
    await store.put_bytes("long", bytes(64 * MB))

    async def drain() -> None:
        async with contextlib.aclosing(store.open_range("long")) as chunks:
            async for _ in chunks:
                reading.set()

    for _ in range(10):
        reading = asyncio.Event()
        task = asyncio.ensure_future(drain())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await read_all(store.open_range("long", 0, 100)) == bytes(100)


async def test_a_zip_is_read_without_copying_it(store: ObjectStore) -> None:
    names = [f"capture/depth/{number:06}.png" for number in range(3000)]
    contents = {name: os.urandom(900) for name in names[::500]}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        for name in names:
            writing.writestr(name, contents.get(name, b"small"))
        writing.writestr("capture/rgb.mp4", bytes(5 * MB), compress_type=zipfile.ZIP_STORED)
    await store.put_bytes("c.zip", archive.getvalue())
    file = await store.ranged_file("c.zip")

    def read() -> tuple[list[str], dict[str, bytes], int]:
        with file, zipfile.ZipFile(file) as reading:
            found = {name: reading.read(name) for name in contents}
            with reading.open("capture/rgb.mp4") as video:
                return reading.namelist(), found, sum(len(part) for part in iter(lambda: video.read(100_000), b""))

    listed, found, video_bytes = await asyncio.to_thread(read)
    assert listed == [*names, "capture/rgb.mp4"]
    assert found == contents
    assert video_bytes == 5 * MB


async def test_a_ranged_file_reads_like_any_file(store: ObjectStore) -> None:
    data = os.urandom(3 * MB + 17)
    await store.put_bytes("f", data)
    expected = io.BytesIO(data)

    def compare() -> None:
        for offset, whence, length in (
            (0, 0, 5),
            (-22, 2, 22),
            (2 * MB, 0, 200_000),
            (-100, 1, 50),
            (0, 0, -1),
            (9 << 20, 0, 4),
        ):
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            assert file.read(length) == expected.read(length)
            assert file.tell() == expected.tell()

    with await store.ranged_file("f") as file:
        await asyncio.to_thread(compare)


@pytest.mark.parametrize("size_bytes", [0, 1, 21, 22])
async def test_a_ranged_file_refuses_to_go_before_its_start_as_any_file_does(
    store: ObjectStore, tmp_path: Path, size_bytes: int
) -> None:
    data = b"P" * size_bytes
    await store.put_bytes("f", data)
    (tmp_path / "f").write_bytes(data)

    def compare(ranged: BinaryIO, local: BinaryIO) -> None:
        for offset, whence in ((-1, io.SEEK_SET), (-1, io.SEEK_CUR), (-size_bytes - 1, io.SEEK_END)):
            errors = []
            for file in (ranged, local):
                file.seek(0)
                with pytest.raises(OSError) as caught:
                    file.seek(offset, whence)
                errors.append(caught.value.errno)
                assert file.tell() == 0
            assert errors == [errno.EINVAL, errno.EINVAL]
        # Whoever looks for the end record of a ZIP begins with such a step.
        for file in (ranged, local):
            with pytest.raises(zipfile.BadZipFile):
                zipfile.ZipFile(file)
        ranged.seek(0)
        assert ranged.read() == data

    with await store.ranged_file("f") as ranged, (tmp_path / "f").open("rb") as local:
        await asyncio.to_thread(compare, ranged, local)


async def test_a_ranged_file_notices_that_the_object_was_replaced(store: ObjectStore) -> None:
    await store.put_bytes("f", b"a" * 100)
    with await store.ranged_file("f") as file:
        await store.put_bytes("f", b"b" * 100)
        with pytest.raises(ObjectChanged):
            await asyncio.to_thread(file.read, 10)


async def test_folders_go_there_and_back(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(200):
        path = source / f"images/{number % 3}/{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 100))
    (source / "features.h5").write_bytes(os.urandom(PART_BYTES + 1))

    sent = await store.put_many(source, "jobs/1/sfm/")
    received = await store.get_many("jobs/1/sfm/", tmp_path / "target")

    size_bytes = sum(number * 100 for number in range(200)) + PART_BYTES + 1
    assert sent == received == Transfer(files=201, size_bytes=size_bytes)
    for path in source.rglob("*.*"):
        assert (tmp_path / "target" / path.relative_to(source)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("key", ["p/../evil", "p/a/../../evil", "p/..", "p/", "p//"])
def test_a_key_does_not_lead_out_of_the_folder(key: str) -> None:
    with pytest.raises(ValueError, match="does not name a file"):
        relative_path(key, "p/")


def test_a_key_is_never_absolute() -> None:
    assert relative_path("p//etc/passwd", "p/") == Path("etc/passwd")


async def test_an_unreachable_store_is_named_so() -> None:
    with reserve_ports(1) as reserved:
        address = StoreAddress(f"http://127.0.0.1:{reserved.ports[0]}", "key", "secret", "bucket")
        async with ObjectStore(address) as absent:
            with pytest.raises(DependencyUnavailable):
                await absent.get_bytes("x", 10)
            with pytest.raises(DependencyUnavailable):
                async with absent.upload("x") as upload:
                    await upload.write(bytes(PART_BYTES))


async def test_wrong_credentials_are_a_matter_of_settings(store: ObjectStore) -> None:
    async with ObjectStore(replace(store.address, secret_key="wrong")) as stranger:
        with pytest.raises(ConfigurationError):
            await stranger.get_bytes("x", 10)


async def test_an_impossible_address_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        ObjectStore(StoreAddress("localhost:8333", "key", "secret", "bucket"))


class CuttingProxy:
    """Passes connections through to the store, and cuts the first `cuts` of them after `limit_bytes` of answer."""

    def __init__(self, endpoint_url: str, limit_bytes: int, cuts: int) -> None:
        self._target = urlsplit(endpoint_url)
        self._limit_bytes = limit_bytes
        self.cuts_left = cuts

    async def __aenter__(self) -> str:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        directions = {
            asyncio.ensure_future(self._pass_on(reader, up_writer, cut=False)),
            asyncio.ensure_future(self._pass_on(up_reader, writer, cut=True)),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cut: bool) -> None:
        passed = 0
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
            passed += len(chunk)
            if cut and self.cuts_left and passed > self._limit_bytes:
                self.cuts_left -= 1
                return


async def test_a_download_goes_on_where_the_connection_broke(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(12 * MB)
    await store.put_bytes("d", data)
    proxy = CuttingProxy(store.address.endpoint_url, 4 * MB, cuts=2)
    async with proxy as endpoint_url, ObjectStore(replace(store.address, endpoint_url=endpoint_url)) as shaky:
        await shaky.get_file("d", tmp_path / "d")
    assert proxy.cuts_left == 0
    assert (tmp_path / "d").read_bytes() == data


async def test_a_range_that_breaks_off_is_an_error(store: ObjectStore) -> None:
    await store.put_bytes("d", bytes(12 * MB))
    proxy = CuttingProxy(store.address.endpoint_url, 4 * MB, cuts=1)
    async with proxy as endpoint_url, ObjectStore(replace(store.address, endpoint_url=endpoint_url)) as shaky:
        with pytest.raises(DependencyUnavailable):
            await read_all(shaky.open_range("d"))
