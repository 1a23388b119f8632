"""Whatever comes over the wire: an answer in a documented form, and neither a 500 nor a traceback."""

import asyncio
import base64
import gzip
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.access import Access
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from services.gateway import json_bodies
from tests.services.gateway.running_gateway import Gateway, capture_zip, running_gateway

IN_TIME_S = 10.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """The body, which must have the form of the ReMap document."""
        content: dict[str, str] = json.loads(self.body)
        assert list(content) == ["error", "message"], content
        assert all(isinstance(value, str) and value for value in content.values())
        return content


@pytest.fixture(scope="module")
async def gateway(gateway_settings: Settings, access: Access, shared_store: ObjectStore) -> AsyncIterator[Gateway]:
    """One for all of these tests, which is part of what they say: none leaves anything behind that disturbs another."""
    async with running_gateway(gateway_settings, access, shared_store) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_broke(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback of ours or of aiohttp's, in any of these tests."""
    yield
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert "request_broke" not in printed


async def exchange(gateway: Gateway, request: bytes) -> Answer:
    """Send bytes, and read until the gateway hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    async with asyncio.timeout(IN_TIME_S):
        received = await reader.read()
    writer.close()
    return parsed(received)


def parsed(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Server"] == "Alidade"
    return Answer(int(status_line.split(" ")[1]), headers, body)


def head(gateway: Gateway, line: str, *headers: str, key: bool = True) -> bytes:
    """A request's head. What is not Latin-1 cannot be written this way, and need not be."""
    own = [f"Authorization: {gateway.key['Authorization']}"] if key else []
    lines = [f"{line} HTTP/1.1", "Host: gateway", "Connection: close", *own, *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def post(gateway: Gateway, path: str, body: bytes, *headers: str) -> Answer:
    return await exchange(gateway, head(gateway, f"POST {path}", f"Content-Length: {len(body)}", *headers) + body)


BODIES = {
    "nothing": b"",
    "half an object": b'{"dataset_id": ',
    "an array": b"[]",
    "a string": b'"a1b2c3d4e5f6"',
    "null": b"null",
    "a number": b"5",
    "NaN": b'{"dataset_id": NaN}',
    "-Infinity within": b'{"dataset_id": "a1b2c3d4e5f6", "settings": {"fps": -Infinity}}',
    "not UTF-8": b'{"dataset_id": "\xff\xfe"}',
    "nested deep": b'{"a":' * 20_000,
    "nested deep and closed": b'{"dataset_id": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested within reach": b'{"dataset_id": "a", "settings": {"fps": ' + b"[" * 400 + b"]" * 400 + b"}}",
    "thousands of digits": b'{"dataset_id": "a", "settings": {"fps": ' + b"9" * 9000 + b"}}",
    "a name that comes twice": b'{"dataset_id": "a1b2c3d4e5f6", "dataset_id": "b1b2c3d4e5f6"}',
    "a setting that comes twice": b'{"dataset_id": "a1b2c3d4e5f6", "settings": {"fps": 2, "fps": 3}}',
    "half a surrogate pair": b'{"dataset_id": "a1b2c3d4e5f6", "settings": {"color_pipeline": "\\ud800"}}',
    "half a surrogate pair as a name": b'{"dataset_id": "a1b2c3d4e5f6", "settings": {"\\udfff": 1}}',
    "settings of the wrong type": b'{"dataset_id": "a1b2c3d4e5f6", "settings": [1, 2]}',
    "a form": b"dataset_id=a1b2c3d4e5f6",
    "two documents": b"{}{}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_no_request_is_a_400(gateway: Gateway, body: bytes) -> None:
    for content_type in ("application/json", "text/plain; charset=nonsense", ";;;"):
        answer = await post(gateway, "/api/v1/process", body, f"Content-Type: {content_type}")
        assert (answer.status, answer.error["error"]) == (400, "Bad Request")
    answer = await post(gateway, "/auth/token", body, "Content-Type: application/json")
    assert (answer.status, list(json.loads(answer.body))) == (400, ["detail"])


async def test_a_name_that_comes_twice_is_named(gateway: Gateway) -> None:
    answer = await post(gateway, "/api/v1/process", BODIES["a setting that comes twice"])
    assert "fps comes twice" in answer.error["message"]


async def test_json_is_json_under_any_content_type(gateway: Gateway) -> None:
    body = json.dumps({"dataset_id": await gateway.dataset()}).encode()
    for content_type in ("Content-Type: application/x-www-form-urlencoded", "X-None: 1"):
        assert (await post(gateway, "/api/v1/process", body, content_type)).status == 202


async def test_bodies_are_taken_compressed_and_a_bomb_is_a_413(gateway: Gateway) -> None:
    body = json.dumps({"dataset_id": await gateway.dataset()}).encode()
    zipped = "Content-Encoding: gzip"
    assert (await post(gateway, "/api/v1/process", gzip.compress(body), zipped)).status == 202
    bomb = await post(gateway, "/api/v1/process", gzip.compress(bytes(64 << 20)), zipped)
    assert (bomb.status, bomb.error["error"]) == (413, "Payload Too Large")


@pytest.mark.parametrize("path", ["/api/v1/process", "/api/v1/upload"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_that_is_not_encoded_as_it_says_is_a_400(gateway: Gateway, path: str, encoding: str) -> None:
    form = "Content-Type: multipart/form-data; boundary=b"
    answer = await post(gateway, path, b"this is not compressed", f"Content-Encoding: {encoding}", form)
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == "Bad Request"


@pytest.mark.parametrize("path", ["/api/v1/process", "/api/v1/upload", "/auth/token"])
async def test_a_body_beyond_the_limit_is_refused_by_its_announcement(gateway: Gateway, path: str) -> None:
    request = head(gateway, f"POST {path}", "Content-Length: 99999999", "Content-Type: multipart/form-data; boundary=b")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    # Not a byte of the body was sent.
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 2.0)
    writer.close()
    assert parsed(answer).status == 413


async def test_a_body_that_does_not_come_is_a_408(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "BODY_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head(gateway, "POST /api/v1/process", "Content-Length: 100") + b"{")
    answer = parsed(await asyncio.wait_for(reader.readuntil(b"}"), 2.0))
    writer.close()
    assert (answer.status, answer.error["error"]) == (408, "Request Timeout")


async def test_a_sender_that_leaves_in_the_middle_of_its_body_disturbs_nobody(gateway: Gateway) -> None:
    for path in ("/api/v1/process", "/auth/token", "/api/v1/upload"):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        form = "Content-Type: multipart/form-data; boundary=b"
        writer.write(head(gateway, f"POST {path}", "Content-Length: 100", form) + b"--b\r\n")
        await writer.drain()
        writer.write_eof()
        writer.close()
    assert (await exchange(gateway, head(gateway, "GET /api/v1/jobs"))).status == 200


UNREADABLE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": b"GET /api/v1/jobs HTTP/9.9\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /api/v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a colon": b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "a header with a control character": b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "a huge header": b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "a huge name of a header": b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\n" + b"a" * 100_000 + b": b\r\n\r\n",
    "a huge path": b"GET /api/v1/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "thousands of headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    "no host": b"GET /api/v1/jobs HTTP/1.1\r\n\r\n",
    "a path that is not ASCII": b"GET /api/v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "two lengths": b"POST /api/v1/process HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a negative length": b"POST /api/v1/process HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length of many digits": b"POST /api/v1/process HTTP/1.1\r\nHost: x\r\nContent-Length: "
    + b"9" * 40
    + b"\r\n\r\n",
    "a length and chunks": b"POST /api/v1/process HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks without sizes": b"POST /api/v1/process HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
}


@pytest.mark.parametrize("request_bytes", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_is_not_http_is_a_400_with_the_fields_of_every_api(gateway: Gateway, request_bytes: bytes) -> None:
    answer = await exchange(gateway, request_bytes)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json; charset=utf-8")
    content = json.loads(answer.body)
    assert content["error"] == "Bad Request"
    assert content["message"] == content["detail"]
    assert (content["type"], content["loc"]) == ("bad_request", [])
    assert "not valid HTTP" in content["message"]


async def test_a_key_in_what_cannot_be_read_does_not_reach_the_log(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    secret = "ald_" + "s3cret" * 2000
    answer = await exchange(gateway, head(gateway, "GET /api/v1/jobs", f"Authorization: Bearer {secret}", key=False))
    assert answer.status == 400
    assert b"s3cret" not in answer.body
    assert "request_unreadable" in (logged := "".join(capsys.readouterr()) + caplog.text)
    assert "s3cret" not in logged


PATHS = {
    "/api/v1/jobs/%00/status": 404,
    "/api/v1/jobs/%zz/status": 404,
    "/api/v1/jobs/%ff%fe/logs": 404,
    "/api/v1/jobs/..%2f..%2fetc/result": 404,
    "/api/v1/jobs/%2e%2e/status": 404,
    "/api/v1/../../etc/passwd": 404,
    "/api/v1/jobs/": 404,
    "/api/v1/JOBS": 404,
    "/api/v1/jobs?limit=%ff&limit": 200,
    "http://elsewhere.example/api/v1/jobs": 200,
    "/api/v1/jobs/" + "a" * 4000 + "/status": 404,
    "/api/v1/jobs/" + "0" * 12 + "%0a/status": 404,
}


@pytest.mark.parametrize(("path", "status"), PATHS.items())
async def test_odd_paths_are_found_or_not(gateway: Gateway, path: str, status: int) -> None:
    answer = await exchange(gateway, head(gateway, f"GET {path}"))
    assert answer.status == status
    if status == 404:
        assert answer.error["error"] == "Not Found"
        assert len(answer.body) < 300


@pytest.mark.parametrize(
    ("line", "status", "form"),
    [
        ("OPTIONS *", 404, ["detail"]),
        ("CONNECT elsewhere.example:443", 404, ["detail"]),
        ("OPTIONS /api/v1/jobs", 405, ["error", "message"]),
        ("PATCH /api/v1/jobs", 405, ["error", "message"]),
        ("TRACE /api/v1/health", 405, ["error", "message"]),
        ("GET //api/v1/jobs", 404, ["detail"]),
    ],
)
async def test_odd_methods_and_targets_are_refused(gateway: Gateway, line: str, status: int, form: list[str]) -> None:
    answer = await exchange(gateway, head(gateway, line))
    assert (answer.status, list(json.loads(answer.body))) == (status, form)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/upload"])
async def test_an_expectation_that_nobody_meets_is_answered_in_the_apis_form(gateway: Gateway, path: str) -> None:
    answer = await exchange(gateway, head(gateway, f"GET {path}", "Expect: tea"))
    assert (answer.status, answer.error["error"]) == (417, "Expectation Failed")


HEADERS = {
    "an empty accept": "Accept:",
    "an accept of pictures": "Accept: image/png",
    "an odd origin": "Origin: \xff\xfe",
    "a websocket": "Upgrade: websocket",
    "a broken range": "Range: bytes=\xb2-",
    "a broken date": "If-Modified-Since: yesterday",
    "broken tags": 'If-None-Match: ",,"W/"',
    "a long key beside": "X-API-Key: " + "k" * 8000,
    "a cookie": 'Cookie: a="\\; b=\x80',
    "an odd request id": "X-Request-ID: \xff",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
async def test_odd_headers_change_nothing(gateway: Gateway, header: str) -> None:
    plain = await exchange(gateway, head(gateway, "GET /api/v1/jobs"))
    answer = await exchange(gateway, head(gateway, "GET /api/v1/jobs", header))
    assert (answer.status, answer.body) == (200, plain.body)


@pytest.mark.parametrize(
    "credential",
    [
        "\xff\xfe",
        "a" * 8000,
        "..",
        base64.urlsafe_b64encode(b"[" * 4000).decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"alg":["HS256"]}').decode() + ".e30.AAAA",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ],
)
async def test_odd_credentials_are_a_403(gateway: Gateway, credential: str) -> None:
    header = f"Authorization: Bearer {credential}"
    answer = await exchange(gateway, head(gateway, "GET /api/v1/jobs", header, key=False))
    assert (answer.status, answer.error["error"]) == (403, "Forbidden")


CONTENT_TYPES = (
    "multipart/form-data",
    "multipart/form-data; boundary",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\xff",
    'multipart/form-data; boundary="unclosed',
    "multipart/form-data; boundary=other",
    "multipart/form-data; boundary=" + "b" * 5000,
    "multipart/mixed; boundary=b",
    "application/json",
    "application/octet-stream",
    ";;;",
    "",
)
DISPOSITIONS = (
    "",
    "Content-Disposition: form-data\r\n",
    "Content-Disposition: form-data; name=file; filename=c.zip; name=other\r\n",
    'Content-Disposition: form-data; name="file; filename="c.zip"\r\n',
    "Content-Disposition: attachment; filename==\r\n",
    'Content-Disposition: form-data; name="file"\r\nContent-Type: ;;\r\n',
    "Content-Disposition: \xff\xfe\r\n",
    'Content-Disposition: form-data; name="file"; filename="c.zip"\r\nContent-Length: 5\r\n',
    'Content-Disposition: form-data; name="file"; filename="c.zip"\r\nContent-Length: -5\r\n',
    'Content-Disposition: form-data; name="file"; filename="c.zip"\r\nContent-Length: many\r\n',
    'Content-Disposition: form-data; name="file"; filename="c.zip"\r\nContent-Transfer-Encoding: 8bit\r\n'
    + "A: b\r\n" * 500,
)


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
async def test_a_form_under_another_content_type_is_a_400(gateway: Gateway, content_type: str) -> None:
    before = await gateway.stored_keys()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="c.zip"\r\n\r\n'
        + capture_zip()
        + b"\r\n--b--\r\n"
    )
    answer = await post(gateway, "/api/v1/upload", body, f"Content-Type: {content_type}")
    assert (answer.status, answer.error["error"]) == (400, "Bad Request")
    assert await gateway.stored_keys() == before


# aiohttp warns of headers that it cannot read; these are there to be unreadable.
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader", "ignore::aiohttp.BadContentDispositionParam")
@pytest.mark.parametrize("disposition", DISPOSITIONS)
async def test_a_part_that_is_not_described_properly_is_a_400(gateway: Gateway, disposition: str) -> None:
    before = await gateway.stored_keys()
    before = await gateway.stored_keys()
    body = b"--b\r\n" + disposition.encode("latin-1") + b"\r\nno archive\r\n--b--\r\n"
    answer = await post(gateway, "/api/v1/upload", body, "Content-Type: multipart/form-data; boundary=b")
    assert (answer.status, answer.error["error"]) == (400, "Bad Request")
    assert await gateway.stored_keys() == before


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader", "ignore::aiohttp.BadContentDispositionParam")
@settings(max_examples=40, deadline=None)
@given(data=st.data())
async def test_a_form_with_damage_anywhere_is_refused_or_whole(gateway: Gateway, data: st.DataObject) -> None:
    whole = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="c.zip"\r\n\r\n'
        + capture_zip()
        + b"\r\n--b--\r\n"
    )
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from(
            [whole[:place], whole[place:], whole[:place] + b"\xff" + whole[place + 1 :], whole + whole[place:]]
        )
    )
    answer = await post(gateway, "/api/v1/upload", damaged, "Content-Type: multipart/form-data; boundary=b")
    assert answer.status in (201, 400)
    if answer.status == 400:
        assert answer.error["error"] == "Bad Request"


@settings(max_examples=40, deadline=None)
@given(
    raw=st.binary(min_size=1, max_size=80),
    after=st.sampled_from([b"", b"GET /api/v1/", b"POST /api/v1/process HTTP/1.1\r\n"]),
)
async def test_noise_is_answered_or_hung_up_on(gateway: Gateway, raw: bytes, after: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(after + raw + b"\r\n\r\n")
    writer.write_eof()
    async with asyncio.timeout(IN_TIME_S):
        received = await reader.read()
    writer.close()
    if received:
        assert parsed(received).status in (400, 401, 404, 405)
