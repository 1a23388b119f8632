"""Errors in each API's own form, whoever raises them; access, cross-origin requests and tokens."""

import asyncio
import io
import time

import jwt
import pytest

from runtime.access import Credentials, read_access_file
from services.gateway import remap, tokens
from services.gateway.json_bodies import JSON_LIMIT_BYTES
from tests.services.gateway.running_gateway import Gateway

PROTECTED = [(route.method, route.path) for route in remap.ROUTES if not route.path.endswith("/health")]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_every_endpoint_but_health_demands_a_key(gateway: Gateway, method: str, path: str) -> None:
    url = gateway.url + path.replace("{job_id}", "000000000000")
    for header in (None, "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", gateway.api_key, "Bearer a b"):
        headers = {} if header is None else {"Authorization": header}
        async with gateway.client.request(method, url, headers=headers) as answer:
            assert answer.status == 401, header
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            body = await answer.json()
            assert body["error"] == "Unauthorized"
            assert "Authorization" in body["message"]
    for credential in ("wrong", "a.b.c", "ald_" + "x" * 43, "ümläut"):
        headers = {"Authorization": f"Bearer {credential}"}
        async with gateway.client.request(method, url, headers=headers) as answer:
            assert answer.status == 403, credential
            assert (await answer.json())["error"] == "Forbidden"


async def test_unknown_routes_are_answered_in_their_apis_form(gateway: Gateway) -> None:
    for path in ("/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/jobs/a/b/c"):
        status, body = await gateway.get(path, headers={})
        assert (status, body["error"], list(body)) == (404, "Not Found", ["error", "message"])
    for path in ("/submit/", "/status", "/status/a/b", "/results/a", "/api/progress", "/api/stream/a"):
        status, body = await gateway.get(path, headers={})
        assert (status, body["type"], body["loc"], list(body)) == (404, "not_found", [], ["detail", "type", "loc"])
    for path in ("/nothing", "/api/v10/health", "/api", "/submitted"):
        status, body = await gateway.get(path, headers={})
        assert (status, list(body)) == (404, ["detail"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/health", "GET, HEAD"),
        ("GET", "/api/v1/upload", "POST"),
        ("DELETE", "/api/v1/jobs", "GET, HEAD"),
        ("PUT", "/api/v1/jobs/000000000000/cancel", "POST"),
        ("OPTIONS", "/api/v1/process", "POST"),
    ],
)
async def test_wrong_methods_name_the_right_ones(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    async with gateway.client.request(method, gateway.url + path, headers=gateway.key) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == allowed
        body = await answer.json()
        assert body["error"] == "Method Not Allowed"
        assert allowed in body["message"]
    async with gateway.client.request("DELETE", gateway.url + "/auth/token") as answer:
        assert (answer.status, list(await answer.json())) == (405, ["detail"])


async def test_too_large_json_is_a_413(gateway: Gateway) -> None:
    for path, form in (("/api/v1/process", ["error", "message"]), ("/auth/token", ["detail"])):
        body = b" " * (JSON_LIMIT_BYTES + 1)
        async with gateway.client.post(gateway.url + path, data=io.BytesIO(body), headers=gateway.key) as answer:
            assert (answer.status, list(await answer.json())) == (413, form)


async def test_an_unexpected_exception_is_a_500_that_tells_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> list[object]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway.parts.view, "jobs", explode)
    async with gateway.client.get(f"{gateway.url}/api/v1/jobs", headers=gateway.key) as answer:
        assert answer.status == 500
        body = await answer.json()
        assert body["error"] == "Internal Server Error"
        assert "secret" not in str(body)
        request_id = answer.headers["X-Request-ID"]
    logged = capsys.readouterr()
    assert "secret detail" in logged.out + logged.err
    assert request_id in logged.out + logged.err


@pytest.mark.parametrize(
    ("path", "form"), [("/api/v1/jobs", ["error", "message"]), ("/api/progress/a/stream", ["detail", "type", "loc"])]
)
async def test_what_breaks_before_any_handler_is_a_500_that_tells_nothing_too(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str, form: list[str]
) -> None:
    def explode(_: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(gateway.parts.access, "by_bearer", explode)
    # An expectation is looked at before the application's middlewares are in place.
    headers = gateway.key | {"Expect": "100-continue"}
    async with gateway.client.get(gateway.url + path, headers=headers) as answer:
        assert (answer.status, answer.headers["Server"]) == (500, "Alidade")
        body = await answer.json()
        assert list(body) == form
        assert "secret" not in str(body)
    assert "secret detail" in "".join(capsys.readouterr())


async def test_a_request_keeps_the_id_it_came_with_if_it_is_one(gateway: Gateway) -> None:
    url = f"{gateway.url}/api/v1/health"
    async with gateway.client.get(url, headers={"X-Request-ID": "abc-1"}) as answer:
        assert answer.headers["X-Request-ID"] == "abc-1"
        assert answer.headers["Server"] == "Alidade"
    async with gateway.client.get(url, headers={"X-Request-ID": "not an id"}) as answer:
        assert len(answer.headers["X-Request-ID"]) == 16


async def test_allowed_origins_only(gateway: Gateway) -> None:
    url = f"{gateway.url}/api/v1/process"
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with gateway.client.options(url, headers=asking | {"Origin": "https://app.example"}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    async with gateway.client.options(url, headers=asking | {"Origin": "https://evil.example"}) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with gateway.client.get(url, headers={"Origin": "https://app.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert answer.headers["Vary"] == "Origin"
        assert "ETag" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_password_becomes_a_token_that_is_let_in(gateway: Gateway, person: Credentials) -> None:
    login = {"username": person.username, "password": person.password}
    status, body = await gateway.post("/auth/token", login, headers={})
    assert status == 200
    token = str(body.pop("access_token"))
    assert body == {"token_type": "bearer", "expires_in": 900}
    dataset_id = await gateway.dataset(owner=person.username)
    bearer = {"Authorization": f"Bearer {token}"}
    status, body = await gateway.post("/api/v1/process", {"dataset_id": dataset_id}, bearer)
    assert status == 202
    assert (await gateway.get(f"/api/v1/jobs/{body['job_id']}/status", bearer))[0] == 200
    assert (await gateway.get(f"/api/v1/jobs/{body['job_id']}/status"))[0] == 404
    assert (await gateway.post(f"/api/v1/jobs/{body['job_id']}/cancel", headers=bearer))[0] == 200


async def test_an_expired_token_is_refused(gateway: Gateway) -> None:
    secret = read_access_file(gateway.access_file).token_secrets[0]
    past = int(time.time()) - 3600
    claims = {"sub": gateway.owner, "iat": past, "exp": past + 900}
    token = jwt.encode(claims, secret, algorithm="HS256")
    status, _ = await gateway.get("/api/v1/jobs", {"Authorization": f"Bearer {token}"})
    assert status == 403


async def test_wrong_logins(gateway: Gateway, person: Credentials) -> None:
    for login in ({"username": "nobody", "password": "x"}, {"username": person.username, "password": "x"}):
        status, body = await gateway.post("/auth/token", login, headers={})
        assert (status, body) == (401, {"detail": "Invalid credentials"})
    malformed: tuple[object, ...] = (
        {},
        [],
        {"username": "a"},
        {"username": 1, "password": "x"},
        {"username": "a", "password": None},
    )
    for body_sent in malformed:
        status, body = await gateway.post("/auth/token", body_sent, headers={})
        assert (status, list(body)) == (400, ["detail"])


async def test_guessing_is_stopped_also_when_it_comes_all_at_once(gateway: Gateway, person: Credentials) -> None:
    login = {"username": person.username, "password": "guess"}
    url = f"{gateway.url}/auth/token"

    async def guess() -> tuple[int, str | None]:
        async with gateway.client.post(url, json=login) as answer:
            return answer.status, answer.headers.get("Retry-After")

    answers = await asyncio.gather(*(guess() for _ in range(tokens.ATTEMPTS + 3)))
    assert sorted(status for status, _ in answers) == [401] * tokens.ATTEMPTS + [429] * 3
    assert all(0 < int(wait) <= tokens.WINDOW_S for status, wait in answers if status == 429 and wait is not None)
    right = login | {"password": person.password}
    assert (await gateway.post("/auth/token", right, headers={}))[0] == 429
    other = {"username": "somebody", "password": "x"}
    assert (await gateway.post("/auth/token", other, headers={}))[0] == 401
