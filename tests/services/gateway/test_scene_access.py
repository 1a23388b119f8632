"""Who may use the scene API: tokens and keys, expired and forged ones, secrets that nobody knows beforehand."""

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest

from runtime.access import Access, Credentials, create_access_file, read_access_file
from runtime.admission import Admission
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from services.gateway import retraining, scene
from tests.services.gateway.scene_gateway import SceneGateway, completed_scene, running_scene_gateway, scene_job

PROTECTED = [(route.method, route.path) for route in (*scene.ROUTES, *retraining.ROUTES)]
WELL_KNOWN = (
    "secret",
    "changeme",
    "your-secret-key",
    "your-secret-key-change-in-production",
    "dev-secret",
    "admin",
    "",
)


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


def forged(gateway: SceneGateway, **changes: object) -> str:
    """A token with the gateway's own secret, which says something that it should not."""
    moment = int(time.time())
    claims = {"sub": gateway.owner, "iat": moment, "exp": moment + 900} | changes
    return jwt.encode(claims, read_access_file(gateway.access_file).token_secrets[0], algorithm="HS256")


def unsigned(gateway: SceneGateway) -> str:
    moment = int(time.time())
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": gateway.owner, "iat": moment, "exp": moment + 900})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def test_every_endpoint_of_the_document_but_the_probes_demands_a_key() -> None:
    assert {route.admission for route in (*scene.ROUTES, *retraining.ROUTES)} == {Admission.KEY}
    assert len(PROTECTED) == 8


@pytest.mark.parametrize(("method", "path"), [*PROTECTED, ("GET", "/jobs/{job_id}"), ("GET", "/status/{job_id}")])
async def test_missing_malformed_expired_and_forged_credentials_are_a_401(
    gateway: SceneGateway, method: str, path: str
) -> None:
    job = (await scene_job(gateway)).job
    url = gateway.url + path.replace("{job_id}", job.job_id).replace("{filename}", "a.ply")
    long_ago = int(time.time()) - 3600
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": gateway.api_key},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "ald_" + "x" * 43},
        {"X-API-Key": ""},
        *(
            {"Authorization": f"Bearer {token}"}
            for token in (
                "wrong",
                "a.b.c",
                forged(gateway, iat=long_ago, exp=long_ago + 900),
                forged(gateway)[:-4] + "AAAA",
                unsigned(gateway),
            )
        ),
    ]
    for headers in wrong:
        async with gateway.client.request(method, url, headers=headers) as answer:
            assert (answer.status, list(await answer.json())) == (401, ["detail"]), headers
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_keys_and_tokens_are_taken_in_either_header(gateway: SceneGateway) -> None:
    job_id = (await completed_scene(gateway)).job_id
    for headers in (gateway.key, {"X-API-Key": gateway.api_key}, {"Authorization": f"Bearer {forged(gateway)}"}):
        for path in (f"/clusters/{job_id}", f"/jobs/{job_id}", f"/status/{job_id}", f"/jobs/{job_id}/insights"):
            assert (await gateway.get(path, headers))[0] == 200, path


async def test_the_probes_ask_nobody(gateway: SceneGateway) -> None:
    for path in ("/health", "/metrics"):
        async with gateway.client.get(gateway.url + path) as answer:
            assert answer.status == 200
    async with gateway.client.get(gateway.url + "/ready") as answer:
        assert answer.status in (200, 503)


async def test_the_documents_login_gives_a_token_that_works(gateway: SceneGateway, person: Credentials) -> None:
    login = {"username": person.username, "password": person.password}
    status, body = await gateway.post("/auth/token", login, headers={})
    assert (status, body["token_type"], body["expires_in"], len(body)) == (200, "bearer", 900, 3)
    token = str(body["access_token"])
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    mine = await scene_job(gateway, owner=person.username)
    headers = {"Authorization": f"Bearer {token}"}
    assert (await gateway.get(f"/jobs/{mine.job.job_id}", headers))[0] == 200
    status, body = await gateway.post("/auth/token", login | {"password": "admin"}, headers={})
    assert (status, body) == (401, {"detail": "Invalid credentials"})


async def test_no_well_known_secret_signs_tokens(gateway: SceneGateway) -> None:
    moment = int(time.time())
    claims = {"sub": gateway.owner, "iat": moment, "exp": moment + 900}
    job_id = (await scene_job(gateway)).job.job_id
    for secret in WELL_KNOWN:
        head, body = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
            f"{head}.{body}".encode(), secret.encode()
        )
        token = f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert (await gateway.get(f"/jobs/{job_id}", {"Authorization": f"Bearer {token}"}))[0] == 401, secret


def test_secrets_are_drawn_and_passwords_are_salted(tmp_path: Path) -> None:
    first, second = (create_access_file(tmp_path / name) for name in ("a.json", "b.json"))
    files = [read_access_file(tmp_path / name) for name in ("a.json", "b.json")]
    assert first.password != second.password
    assert files[0].token_secrets != files[1].token_secrets
    assert all(len(secret) >= 32 for file in files for secret in file.token_secrets)
    for file, credentials in zip(files, (first, second), strict=True):
        assert file.users[0].argon2.startswith("$argon2id$")
        assert credentials.password not in (tmp_path / "a.json").read_text() + (tmp_path / "b.json").read_text()
    assert files[0].users[0].argon2 != files[1].users[0].argon2
