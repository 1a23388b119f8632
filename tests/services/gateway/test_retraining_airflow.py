"""Triggering a retraining in a real Airflow 3, installed from the package index into an environment of its own.

`AIRFLOW_ENVIRONMENT` may name an environment that has one already.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from deploy.local.ports import reserve_ports
from runtime.access import Access
from runtime.object_store import ObjectStore
from runtime.settings import AirflowSettings, Settings
from tests.services.gateway.scene_gateway import running_scene_gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PASSWORD = "drawn-for-this-test"
READY_S = 300.0
PIPELINE = """\
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("experiment_pipeline_dag", schedule=None):
    EmptyOperator(task_id="train")
"""


@dataclass(frozen=True)
class RealAirflow:
    url: str
    token: str
    version: str

    async def runs(self) -> list[dict[str, object]]:
        """The runs of the pipeline that there are."""
        path = f"{self.url}/api/v2/dags/experiment_pipeline_dag/dagRuns"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession() as session, session.get(path, headers=headers) as answer:
            assert answer.status == 200
            found: list[dict[str, object]] = (await answer.json())["dag_runs"]
            return found


def install(folder: Path) -> Path:
    """The folder of an environment with Airflow in it."""
    given = os.environ.get("AIRFLOW_ENVIRONMENT")
    if given is not None:
        return Path(given)
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "apache-airflow==3.*"]
    subprocess.run(command, check=True, timeout=900)
    return environment


def settings_of(home: Path, port: int) -> dict[str, str]:
    """Airflow's own settings, and nothing of ours."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
    }


async def wait_until_ready(url: str, server: "subprocess.Popen[bytes]", log: Path) -> str:
    """The version that the server says it has."""
    deadline = time.monotonic() + READY_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and server.poll() is None:
            try:
                async with session.get(f"{url}/api/v2/version") as answer:
                    return str((await answer.json())["version"])
            except aiohttp.ClientError:
                # Another program's start: there is nothing to listen to.
                await asyncio.sleep(0.5)
    raise AssertionError(f"Airflow did not start: {log.read_text()[-2000:]}")


async def log_in(url: str) -> str:
    login = {"username": "ada", "password": PASSWORD}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/auth/token", json=login) as answer:
        assert answer.status == 201
        return str((await answer.json())["access_token"])


def run(program: Path, environment: Mapping[str, str], *arguments: str) -> None:
    command = [str(program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def start(program: Path, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen([program, "api-server"], env=environment, stdout=output, stderr=output)


@pytest.fixture(scope="module")
async def airflow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    program = await asyncio.to_thread(install, home) / "bin" / "airflow"
    (home / "dags").mkdir()
    (home / "dags" / "experiment_pipeline.py").write_text(PIPELINE)
    (home / "passwords.json").write_text(json.dumps({"ada": PASSWORD}))
    with reserve_ports(1) as reserved:
        environment = settings_of(home, reserved.ports[0])
        await asyncio.to_thread(run, program, environment, "db", "migrate")
        await asyncio.to_thread(run, program, environment, "dags", "reserialize")
        log = home / "server.log"
        server = start(program, environment, log)
        url = f"http://127.0.0.1:{reserved.ports[0]}"
        try:
            version = await wait_until_ready(url, server, log)
            yield RealAirflow(url, await log_in(url), version)
        finally:
            server.terminate()
            try:
                await asyncio.to_thread(server.wait, 60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


async def test_a_run_is_started_with_a_token_and_with_a_password(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: RealAirflow
) -> None:
    assert airflow.version.startswith("3.")
    assert await airflow.runs() == []
    for number, credentials in enumerate(
        (
            AirflowSettings(url=airflow.url, token=airflow.token),
            AirflowSettings(url=airflow.url, username="ada", password=PASSWORD),
        ),
        start=1,
    ):
        async with running_scene_gateway(gateway_settings, access, store, credentials) as gateway:
            assert await gateway.post("/drift/trigger-retrain") == (200, {"status": "triggered"})
        runs = await airflow.runs()
        assert len(runs) == number
        assert all(run["conf"] == {"triggered_by": "api"} for run in runs)
        assert all(run["logical_date"] for run in runs)


async def test_airflows_refusals_are_a_502(
    gateway_settings: Settings, access: Access, store: ObjectStore, airflow: RealAirflow
) -> None:
    before = await airflow.runs()
    for credentials, expected in (
        (AirflowSettings(url=airflow.url), 401),
        (AirflowSettings(url=airflow.url, token="a.b.c"), 403),
        (AirflowSettings(url=airflow.url, username="ada", password="wrong"), 401),
    ):
        async with running_scene_gateway(gateway_settings, access, store, credentials) as gateway:
            status, body = await gateway.post("/drift/trigger-retrain")
        assert (status, list(body)) == (502, ["detail"])
        assert f"status {expected}" in str(body["detail"])
    assert await airflow.runs() == before
