"""Uploads: streamed, checked, and gone without a trace when anything is wrong with them."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from contracts import keys
from contracts.errors import ErrorCode
from contracts.jobs import Failure, JobKind
from contracts.uploads import Dataset, Inspection
from deploy.local.ports import reserve_ports
from runtime.access import Access
from runtime.object_store import ObjectStore, StoreAddress
from runtime.settings import Settings
from services.gateway import uploads
from services.ingest.step import Inspector, look_into_capture
from tests.services.gateway.running_gateway import (
    CAPTURE_FILES,
    UPLOAD_LIMIT_BYTES,
    Gateway,
    capture_zip,
    running_gateway,
)

BOUNDARY = "frontier"


def form(
    content: bytes, *, disposition: str = 'name="file"; filename="c.zip"', extra: str = "", end: str = "--"
) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n{extra}\r\n".encode()
    return head + content + f"\r\n--{BOUNDARY}{end}\r\n".encode()


async def post_raw(
    gateway: Gateway,
    body: bytes | AsyncIterator[bytes],
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
) -> tuple[int, dict[str, str]]:
    headers = gateway.key | {"Content-Type": content_type}
    async with gateway.client.post(f"{gateway.url}/api/v1/upload", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def dangling_parts(gateway: Gateway) -> list[object]:
    return list(await asyncio.to_thread(gateway.parts.store._dangling))


async def test_upload_answers_as_documented_and_leaves_a_data_set(gateway: Gateway) -> None:
    archive = capture_zip()
    status, body = await gateway.upload(archive)
    assert status == 201
    dataset_id = str(body["dataset_id"])
    assert len(dataset_id) == 12
    assert body == {
        "dataset_id": dataset_id,
        "files": list(CAPTURE_FILES),
        "message": "Dataset uploaded successfully",
    }
    store = gateway.parts.store
    assert await store.get_bytes(keys.upload(dataset_id), len(archive)) == archive
    record = Dataset.model_validate_json(await store.get_bytes(keys.dataset(dataset_id), 1 << 20))
    assert (record.owner, record.kind, record.size_bytes) == (gateway.owner, JobKind.CAPTURE, len(archive))
    (question,) = gateway.inspections.asked
    assert (question.etag, question.size_bytes) == (record.etag, len(archive))
    status, _ = await gateway.post("/api/v1/process", {"dataset_id": dataset_id})
    assert status == 202


async def test_other_fields_around_the_file_are_ignored(gateway: Gateway) -> None:
    between = f"--{BOUNDARY}\r\n".encode()
    parts = (form(b"hello", disposition='name="comment"', end=""), form(capture_zip(), end=""))
    body = b"".join(part.removesuffix(between) for part in parts) + form(b"x", disposition='name="y"')
    status, _ = await post_raw(gateway, body)
    assert status == 201


async def test_chunked_upload_without_a_length(gateway: Gateway) -> None:
    whole = form(capture_zip(UPLOAD_LIMIT_BYTES // 2))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 1000):
            yield whole[start : start + 1000]

    status, body = await post_raw(gateway, chunks())
    assert (status, body.get("message")) == (201, "Dataset uploaded successfully")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (form(b"abc", disposition='name="other"; filename="c.zip"'), "No file attached"),
        (form(b"abc", disposition='name="file"'), "No file attached"),
        (form(b"", disposition='name="file"; filename=""'), "No file attached"),
        (form(b""), "empty"),
        (f"--{BOUNDARY}--\r\n".encode(), "No file attached"),
        (b"", "not a complete multipart"),
        (b"no boundary at all", "not a complete multipart"),
        (form(b"x" * 5000)[:-40], "not a complete multipart"),
        (form(b"x" * 300_000)[:200_000], "not a complete multipart"),
        (form(b"x", extra="Content-Transfer-Encoding: base64\r\n"), "Content-Transfer-Encoding"),
        (form(b"x", extra="Content-Type: multipart/mixed; boundary=b\r\n"), "multipart"),
        (form(b"x", extra="Content-Type: multipart/mixed\r\n"), "multipart"),
        (form(b"x", extra="broken header\r\n"), "not a complete multipart"),
        (form(b"x", extra="A: " + "a" * 20_000 + "\r\n"), "not a complete multipart"),
    ],
)
async def test_what_is_not_a_form_with_a_file_is_a_400_and_leaves_nothing(
    gateway: Gateway, body: bytes, says: str
) -> None:
    status, answer = await post_raw(gateway, body)
    assert (status, answer["error"]) == (400, "Bad Request")
    assert says in answer["message"]
    assert await gateway.stored_keys() == []
    assert await dangling_parts(gateway) == []


@pytest.mark.parametrize(
    "content_type",
    [
        "application/zip",
        "multipart/form-data",
        "multipart/mixed; boundary=b",
        f"multipart/form-data; boundary={'b' * 99}",
    ],
)
async def test_other_content_types_are_a_400(gateway: Gateway, content_type: str) -> None:
    status, answer = await post_raw(gateway, form(capture_zip()), content_type)
    assert (status, answer["error"]) == (400, "Bad Request")


@pytest.mark.parametrize(
    "content",
    [
        # An end record has 22 bytes: whoever looks for it in less seeks to before the start.
        *(b"P" * size_bytes for size_bytes in (1, 4, 21, 22, 23)),
        b"PK\x05\x06",
        b"PK\x03\x04" + bytes(18),
        b"this is no archive" * 10,
        capture_zip()[:-1],
        capture_zip()[1:],
    ],
)
async def test_what_is_no_archive_is_a_400_with_ingests_reason_and_is_removed(gateway: Gateway, content: bytes) -> None:
    status, body = await gateway.upload(content)
    assert (status, body["error"]) == (400, "Bad Request")
    assert "ZIP" in str(body["message"])
    assert len(gateway.inspections.asked) == 1
    assert await gateway.stored_keys() == []


@pytest.mark.parametrize("left_out", CAPTURE_FILES)
async def test_an_archive_without_a_required_file_is_a_400_that_names_it(gateway: Gateway, left_out: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in CAPTURE_FILES:
            if name != left_out:
                archive.writestr(name, b"content")
    status, body = await gateway.upload(packed.getvalue())
    assert (status, body["error"]) == (400, "Bad Request")
    assert left_out in str(body["message"])
    assert await gateway.stored_keys() == []


async def test_an_ingest_without_its_store_is_a_503_and_the_upload_is_removed(gateway: Gateway) -> None:
    with reserve_ports(1) as reserved:
        nowhere = StoreAddress(f"http://127.0.0.1:{reserved.ports[0]}", "key", "secret", "bucket")
    async with ObjectStore(nowhere) as dead:
        gateway.inspections.inspector = Inspector(dead, look_into_capture)
        headers = gateway.key | {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        url = f"{gateway.url}/api/v1/upload"
        async with gateway.client.post(url, data=form(capture_zip()), headers=headers) as answer:
            body = await answer.json()
            assert (answer.status, body["error"]) == (503, "Service Unavailable")
            assert int(answer.headers["Retry-After"]) > 0
    assert "127.0.0.1" not in body["message"]
    assert await gateway.stored_keys() == []


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (ErrorCode.DEPENDENCY_UNAVAILABLE, 503, "Service Unavailable"),
        (ErrorCode.NOT_FOUND, 503, "Service Unavailable"),
        (ErrorCode.PRECONDITION_FAILED, 503, "Service Unavailable"),
        (ErrorCode.INTERNAL, 500, "Internal Server Error"),
        (ErrorCode.UNSAFE_ARCHIVE, 400, "Bad Request"),
        (ErrorCode.MISSING_FILE, 400, "Bad Request"),
    ],
)
async def test_whose_fault_it_is_decides_on_the_status(
    gateway: Gateway, code: ErrorCode, status: int, error: str
) -> None:
    failure = Failure(code=code, message="Told by ingest.")
    gateway.inspections.instead = Inspection(error=failure).model_dump_json().encode()
    found, body = await gateway.upload(capture_zip())
    assert (found, body["error"]) == (status, error)
    assert ("Told by ingest." in str(body["message"])) == (status == 400)
    assert await gateway.stored_keys() == []


async def test_an_answer_of_ingest_that_cannot_be_read_is_a_500_and_the_upload_is_removed(gateway: Gateway) -> None:
    gateway.inspections.instead = b"{"
    status, body = await gateway.upload(capture_zip())
    assert (status, body["error"]) == (500, "Internal Server Error")
    assert await gateway.stored_keys() == []


async def test_without_an_ingest_the_upload_is_a_503_and_is_removed(gateway: Gateway) -> None:
    await gateway.parts.bus.close()
    status, body = await gateway.upload(capture_zip())
    assert (status, body["error"]) == (503, "Service Unavailable")
    assert await gateway.stored_keys() == []


async def test_an_announced_length_beyond_the_limit_is_refused_before_the_body_is_sent(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    request = (
        "POST /api/v1/upload HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\n"
        f"Authorization: {gateway.key['Authorization']}\r\nContent-Length: {10 * UPLOAD_LIMIT_BYTES}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5.0)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error": "Payload Too Large"' in answer
    writer.close()


async def test_expect_continue_is_honoured_for_who_will_be_let_in(gateway: Gateway) -> None:
    body = form(capture_zip())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = (
        "POST /api/v1/upload HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\n"
        f"Authorization: {gateway.key['Authorization']}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    writer.write(head.encode())
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await asyncio.wait_for(reader.readline(), 5.0)).startswith(b"HTTP/1.1 201 ")
    writer.close()


async def test_a_chunked_upload_that_passes_the_limit_is_a_413_at_once_and_leaves_nothing(gateway: Gateway) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield form(b"")[: -len(f"\r\n--{BOUNDARY}--\r\n")]
        while sent < 100 * UPLOAD_LIMIT_BYTES:
            sent += 1 << 16
            yield b"x" * (1 << 16)
            await asyncio.sleep(0)

    try:
        status, body = await post_raw(gateway, endless())
    except aiohttp.ClientConnectionError:
        # The answer was on its way while we were still sending; what counts is below.
        pass
    else:
        assert (status, body["error"]) == (413, "Payload Too Large")
        assert "1 MB" in body["message"]
    assert await gateway.stored_keys() == []
    assert await dangling_parts(gateway) == []


async def test_a_form_that_is_long_by_empty_parts_is_a_413(gateway: Gateway) -> None:
    empty = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'.encode()
    body = empty * (3 * UPLOAD_LIMIT_BYTES // len(empty))

    async def chunks() -> AsyncIterator[bytes]:
        # Of no announced length.
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    try:
        status, answer = await post_raw(gateway, chunks())
    except aiohttp.ClientConnectionError:
        # The answer was on its way while we were still sending.
        return
    assert (status, answer["error"]) == (413, "Payload Too Large")


async def test_a_sender_that_falls_silent_is_a_408_and_leaves_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "STALL_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = (
        f"POST /api/v1/upload HTTP/1.1\r\nHost: gateway\r\nAuthorization: {gateway.key['Authorization']}\r\n"
        f"Content-Length: 100000\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    writer.write(head.encode() + form(b"x" * 1000)[:500])
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5.0)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"error": "Request Timeout"' in answer
    assert await gateway.stored_keys() == []


async def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(gateway: Gateway) -> None:
    frame_bytes = len(capture_zip())
    exact = capture_zip(UPLOAD_LIMIT_BYTES - frame_bytes)
    assert len(exact) == UPLOAD_LIMIT_BYTES
    status, _ = await gateway.upload(exact)
    assert status == 201
    before = await gateway.stored_keys()
    status, body = await gateway.upload(capture_zip(UPLOAD_LIMIT_BYTES - frame_bytes + 1))
    assert (status, body["error"]) == (413, "Payload Too Large")
    assert await gateway.stored_keys() == before


@pytest.mark.parametrize("sent_bytes", [100, 300_000, (9 << 20)])
async def test_an_upload_that_is_cut_off_leaves_nothing(large_gateway: Gateway, sent_bytes: int) -> None:
    gateway = large_gateway
    body = form(b"x" * (20 << 20))
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = (
        f"POST /api/v1/upload HTTP/1.1\r\nHost: gateway\r\nAuthorization: {gateway.key['Authorization']}\r\n"
        f"Content-Length: {len(body)}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    writer.write(head.encode() + body[:sent_bytes])
    await writer.drain()
    if sent_bytes > 8 << 20:
        # The first part of 8 MB is under way: there is something that could be left behind.
        await until(lambda: dangling_parts(gateway))
    writer.transport.abort()
    await until_gone(gateway)
    assert await gateway.stored_keys() == []
    assert gateway.inspections.asked == []


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10.0):
        while not await condition():
            await asyncio.sleep(0.01)


async def until_gone(gateway: Gateway) -> None:
    """The gateway has noticed, and what it had begun is aborted."""
    async with asyncio.timeout(10.0):
        while [task for task in asyncio.all_tasks() if "_handle_request" in repr(task)]:
            await asyncio.sleep(0.01)
        while await dangling_parts(gateway):
            await asyncio.sleep(0.01)


async def test_without_an_object_store_it_is_a_503(gateway_settings: Settings, access: Access) -> None:
    with reserve_ports(1) as reserved:
        nowhere = StoreAddress(f"http://127.0.0.1:{reserved.ports[0]}", "key", "secret", "bucket")
    async with ObjectStore(nowhere) as dead, running_gateway(gateway_settings, access, dead) as gateway:
        answers = await asyncio.gather(
            gateway.upload(capture_zip()), gateway.post("/api/v1/process", {"dataset_id": "a1b2c3d4e5f6"})
        )
    for status, body in answers:
        assert (status, body["error"]) == (503, "Service Unavailable")
        assert "127.0.0.1" not in str(body)
