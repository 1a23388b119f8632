"""Triggering a retraining, against a server that speaks Airflow's documented v2 endpoints, and how they fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from pydantic import JsonValue

from deploy.local.ports import reserve_ports
from runtime.access import Access
from runtime.clock import now
from runtime.object_store import ObjectStore
from runtime.settings import AirflowSettings, Settings
from services.gateway.retraining import Airflow
from tests.services.gateway.scene_gateway import SceneGateway, running_scene_gateway

RUNS = "/api/v2/dags/experiment_pipeline_dag/dagRuns"
TOKEN = "a-token-of-airflow"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class AirflowServer:
    """`POST /auth/token` and `POST /api/v2/dags/{dag_id}/dagRuns` as Airflow 3 has them."""

    url: str = ""
    runs: list[dict[str, JsonValue]] = field(default_factory=list)
    logins: int = 0
    instead: Handler | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def login(self, request: web.Request) -> web.Response:
        self.logins += 1
        if await request.json() != {"username": "ada", "password": "s3cret"}:
            return web.json_response({"detail": "Invalid credentials"}, status=401)
        return web.json_response({"access_token": TOKEN}, status=201)

    async def run(self, request: web.Request) -> web.StreamResponse:
        self.arrived.set()
        if self.instead is not None:
            return await self.instead(request)
        # As a real Airflow 3.3 answers: see test_retraining_airflow.py.
        if "Authorization" not in request.headers:
            return web.json_response({"detail": "Not authenticated"}, status=401)
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return web.json_response({"detail": "Invalid JWT token"}, status=403)
        if request.match_info["dag_id"] != "experiment_pipeline_dag":
            return web.json_response({"detail": "The Dag was not found"}, status=404)
        body = await request.json()
        # `logical_date` may be null, but not be left out.
        if set(body) - {"logical_date", "conf", "dag_run_id", "note"} or "logical_date" not in body:
            return web.json_response({"detail": [{"loc": ["body"], "type": "extra_forbidden"}]}, status=422)
        self.runs.append(body)
        return web.json_response({"dag_run_id": "manual__1", "dag_id": "experiment_pipeline_dag", "state": "queued"})


@pytest.fixture
async def airflow() -> AsyncIterator[AirflowServer]:
    server = AirflowServer()
    app = web.Application()
    app.router.add_post("/auth/token", server.login)
    app.router.add_post("/api/v2/dags/{dag_id}/dagRuns", server.run)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@contextlib.asynccontextmanager
async def gateway_with(
    gateway_settings: Settings, access: Access, store: ObjectStore, settings: AirflowSettings
) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store, settings) as running:
        yield running


async def trigger(gateway: SceneGateway) -> tuple[int, dict[str, object]]:
    return await gateway.post("/drift/trigger-retrain")


async def refused(gateway: SceneGateway, says: str) -> None:
    status, body = await trigger(gateway)
    assert (status, list(body)) == (502, ["detail"])
    assert says in str(body["detail"])
    assert "127.0.0.1" not in str(body["detail"])


async def test_a_trigger_is_the_documented_call(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    settings = AirflowSettings(url=airflow.url + "/", token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        before = now()
        assert await trigger(gateway) == (200, {"status": "triggered"})
        assert await trigger(gateway) == (200, {"status": "triggered"})
    first, second = airflow.runs
    assert set(first) == {"logical_date", "conf"}
    assert first["conf"] == {"triggered_by": "api"}
    moment = str(first["logical_date"])
    assert moment.endswith("Z")
    said = datetime.fromisoformat(moment)
    assert said.tzinfo is not None
    assert before - timedelta(milliseconds=1) <= said.astimezone(UTC) <= now()
    # Airflow refuses a second run of one date.
    assert first["logical_date"] != second["logical_date"]
    assert airflow.logins == 0


async def test_a_user_name_and_password_become_a_token_first(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    settings = AirflowSettings(url=airflow.url, username="ada", password="s3cret")
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        assert await trigger(gateway) == (200, {"status": "triggered"})
    assert (airflow.logins, len(airflow.runs)) == (1, 1)


async def test_credentials_that_airflow_does_not_know_are_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    for settings, expected in (
        (AirflowSettings(url=airflow.url), 401),
        (AirflowSettings(url=airflow.url, token="another"), 403),
        (AirflowSettings(url=airflow.url, username="ada", password="wrong"), 401),
    ):
        async with gateway_with(gateway_settings, access, store, settings) as gateway:
            await refused(gateway, f"status {expected}")
    assert airflow.runs == []


@pytest.mark.parametrize("status", [302, 404, 409, 422, 500, 503])
async def test_an_answer_that_is_no_success_is_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer, status: int
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": "x"}, status=status, headers={"Location": airflow.url + RUNS})

    airflow.instead = answer
    settings = AirflowSettings(url=airflow.url, token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        await refused(gateway, f"status {status}")


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b"\xff", b""])
async def test_what_is_not_airflow_is_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer, body: bytes
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    airflow.instead = answer
    settings = AirflowSettings(url=airflow.url, token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        await refused(gateway, "not Airflow")


async def test_nobody_at_the_address_is_a_502(gateway_settings: Settings, access: Access, store: ObjectStore) -> None:
    with reserve_ports(1) as reserved:
        nowhere = f"http://127.0.0.1:{reserved.ports[0]}"
    for url, says in (
        (nowhere, "cannot be reached"),
        ("http://airflow.invalid", "cannot be reached"),
        ("no address", "cannot be reached"),
    ):
        async with gateway_with(gateway_settings, access, store, AirflowSettings(url=url)) as gateway:
            await refused(gateway, says)


async def test_no_airflow_is_a_502_that_names_the_setting(
    gateway_settings: Settings, access: Access, store: ObjectStore
) -> None:
    async with gateway_with(gateway_settings, access, store, AirflowSettings()) as gateway:
        await refused(gateway, "ALIDADE_AIRFLOW__URL")


async def test_a_connection_that_breaks_is_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    async def leave(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    airflow.instead = leave
    settings = AirflowSettings(url=airflow.url, token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        await refused(gateway, "cannot be reached")


async def test_an_airflow_that_does_not_answer_in_time_is_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.02)
        return response

    settings = AirflowSettings(url=airflow.url, token=TOKEN, timeout_s=0.3)
    for slow in (never, drip):
        airflow.instead = slow
        async with gateway_with(gateway_settings, access, store, settings) as gateway:
            await refused(gateway, "within 0.3 s")
    assert AirflowSettings().timeout_s == 10.0


async def test_one_trigger_at_a_time(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    go_on = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({"dag_run_id": "manual__1"})

    airflow.instead = wait
    settings = AirflowSettings(url=airflow.url, token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        first = asyncio.create_task(trigger(gateway))
        await airflow.arrived.wait()
        status, body = await trigger(gateway)
        assert (status, list(body)) == (409, ["detail"])
        go_on.set()
        assert await first == (200, {"status": "triggered"})
        # The way is free again, also after one that failed.
        airflow.instead = None
        assert (await trigger(gateway))[0] == 200


async def test_a_trigger_that_is_given_up_leaves_the_way_free(airflow: AirflowServer) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    airflow.instead = never
    desk = Airflow(AirflowSettings(url=airflow.url, token=TOKEN))
    under_way = asyncio.create_task(desk.trigger())
    await airflow.arrived.wait()
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    airflow.instead = None
    await desk.trigger()
    assert len(airflow.runs) == 1


async def test_a_trigger_demands_a_key(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: AirflowServer
) -> None:
    settings = AirflowSettings(url=airflow.url, token=TOKEN)
    async with gateway_with(gateway_settings, access, store, settings) as gateway:
        status, body = await gateway.post("/drift/trigger-retrain", headers={})
        assert (status, list(body)) == (401, ["detail"])
        async with aiohttp.ClientSession() as session, session.get(gateway.url + "/drift/trigger-retrain") as answer:
            assert answer.status == 405
    assert airflow.runs == []
