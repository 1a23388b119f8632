"""Results: whole, in ranges, under conditions."""

import asyncio

import aiohttp
import pytest

from tests.services.gateway.running_gateway import Gateway

CONTENT = bytes(range(256)) * 4096  # 1 MB


async def fetch(
    gateway: Gateway, job_id: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[aiohttp.ClientResponse, bytes]:
    path = f"{gateway.url}/api/v1/jobs/{job_id}/result"
    async with gateway.client.request(method, path, headers=gateway.key | (headers or {})) as answer:
        return answer, await answer.read()


async def test_the_whole_result_comes_as_documented(gateway: Gateway) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    answer, body = await fetch(gateway, job_id)
    assert (answer.status, body) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="remap_result_{job_id}.zip"'
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')


async def test_head_has_the_headers_and_no_body(gateway: Gateway) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    answer, body = await fetch(gateway, job_id, {"Range": "bytes=0-9"}, method="HEAD")
    assert (answer.status, body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert "ETag" in answer.headers


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1048000-", 1048000, 1048576),
        ("bytes=-10", 1048566, 1048576),
        ("bytes=-99999999", 0, 1048576),
        ("bytes=1048575-99999999", 1048575, 1048576),
        ("Bytes= 5-6", 5, 7),
    ],
)
async def test_one_range_is_sent(gateway: Gateway, wanted: str, start: int, end: int) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    answer, body = await fetch(gateway, job_id, {"Range": wanted})
    assert (answer.status, body) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("wanted", ["bytes=1048576-", "bytes=9999999-99999999", "bytes=-0"])
async def test_a_range_beyond_the_end_is_a_416(gateway: Gateway, wanted: str) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    answer, body = await fetch(gateway, job_id, {"Range": wanted})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert b'"error": "Range Not Satisfiable"' in body


@pytest.mark.parametrize(
    "wanted", ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-1,-2", "bytes", "bytes=٣-"]
)
async def test_a_range_that_is_not_understood_is_ignored(gateway: Gateway, wanted: str) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    answer, body = await fetch(gateway, job_id, {"Range": wanted})
    assert (answer.status, body) == (200, CONTENT)


async def test_conditions(gateway: Gateway) -> None:
    job_id = (await gateway.completed(CONTENT)).job.job_id
    tag = (await fetch(gateway, job_id, method="HEAD"))[0].headers["ETag"]
    for same in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer, body = await fetch(gateway, job_id, {"If-None-Match": same})
        assert (answer.status, body, answer.headers["ETag"]) == (304, b"", tag)
    assert (await fetch(gateway, job_id, {"If-None-Match": '"other"'}))[0].status == 200
    part = {"Range": "bytes=0-9"}
    assert (await fetch(gateway, job_id, part | {"If-Range": tag}))[0].status == 206
    answer, body = await fetch(gateway, job_id, part | {"If-Range": '"other"'})
    assert (answer.status, body) == (200, CONTENT)
    assert (await fetch(gateway, job_id, {"If-Match": tag}))[0].status == 200
    answer, body = await fetch(gateway, job_id, {"If-Match": '"other"'})
    assert answer.status == 412
    assert b'"error": "Precondition Failed"' in body


async def test_conditions_come_before_ranges_and_hold_for_head_too(gateway: Gateway) -> None:
    """RFC 9110, 13.2.2: If-Match, then If-None-Match, then the range under If-Range."""
    job_id = (await gateway.completed(CONTENT)).job.job_id
    tag = (await fetch(gateway, job_id, method="HEAD"))[0].headers["ETag"]
    part = {"Range": "bytes=0-0"}
    for headers, status in (
        (part | {"If-None-Match": tag}, 304),
        (part | {"If-Match": '"other"', "If-None-Match": tag}, 412),
        (part | {"If-Match": tag, "If-None-Match": '"other"', "If-Range": tag}, 206),
        ({"Range": "bytes=99999999-", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=99999999-", "If-None-Match": "*"}, 304),
        # Weak tags never compare as strong ones (8.8.3.2).
        (part | {"If-Match": f"W/{tag}"}, 412),
        (part | {"If-Range": f"W/{tag}"}, 200),
    ):
        assert (await fetch(gateway, job_id, headers))[0].status == status, headers
    for headers, status in (({"If-None-Match": tag}, 304), ({"If-Match": '"other"'}, 412), (part, 200)):
        answer, body = await fetch(gateway, job_id, headers, method="HEAD")
        assert (answer.status, body) == (status, b""), headers


async def test_an_empty_result_is_sent_as_one(gateway: Gateway) -> None:
    job_id = (await gateway.completed(b"")).job.job_id
    answer, body = await fetch(gateway, job_id)
    assert (answer.status, body) == (200, b"")
    assert (await fetch(gateway, job_id, {"Range": "bytes=0-"}))[0].status == 416


async def test_an_expired_or_replaced_result_is_a_404(gateway: Gateway) -> None:
    recorded = await gateway.completed(CONTENT)
    key = recorded.job.results[0].key
    await gateway.parts.store.put_bytes(key, b"something else")
    for method in ("GET", "HEAD"):
        assert (await fetch(gateway, recorded.job.job_id, method=method))[0].status == 404
    await gateway.parts.store.delete(key)
    answer, body = await fetch(gateway, recorded.job.job_id)
    assert answer.status == 404
    assert b"expired" in body
    assert (await fetch(gateway, recorded.job.job_id, method="HEAD"))[0].status == 404


async def test_a_client_that_leaves_does_not_disturb_the_next_one(gateway: Gateway) -> None:
    large = CONTENT * 32
    job_id = (await gateway.completed(large)).job.job_id
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    authorization = gateway.key["Authorization"]
    head = f"GET /api/v1/jobs/{job_id}/result HTTP/1.1\r\nHost: gateway\r\nAuthorization: {authorization}\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    answer, body = await fetch(gateway, job_id)
    assert (answer.status, len(body)) == (200, len(large))
