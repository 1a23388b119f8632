"""Asks Airflow to train anew: its stable REST API, version 2 (Airflow 3)."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

import aiohttp
from aiohttp import web
from pydantic import JsonValue

from contracts.model import Frozen
from runtime.admission import Admission
from runtime.clock import now
from runtime.logs import get_logger
from runtime.refusals import Refusal
from runtime.settings import AirflowSettings
from services.gateway.routes import Answer, Route

log = get_logger(__name__)

DAG_ID = "experiment_pipeline_dag"
_RUNS_PATH = f"/api/v2/dags/{DAG_ID}/dagRuns"
_TOKEN_PATH = "/auth/token"  # noqa: S105 - a path


class Triggered(Frozen):
    status: Literal["triggered"] = "triggered"


class Airflow:
    """One Airflow, and at most one trigger of this process on its way to it."""

    def __init__(self, settings: AirflowSettings) -> None:
        self._settings = settings
        self._is_triggering = False

    async def trigger(self) -> None:
        """Start a run of the retraining pipeline. Raises Refusal: 409 while another trigger is under way, 502."""
        if self._settings.url is None:
            raise _failed("No Airflow is set up: its address is the setting ALIDADE_AIRFLOW__URL.")
        if self._is_triggering:
            raise Refusal(HTTPStatus.CONFLICT, "A retraining is being triggered at this moment; wait for its answer.")
        self._is_triggering = True
        try:
            await self._within_time(self._settings.url.rstrip("/"))
        finally:
            self._is_triggering = False

    async def _within_time(self, url: str) -> None:
        timeout_s = self._settings.timeout_s
        try:
            # Around all of it: the token, the call, and an answer that comes byte by byte.
            async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as session:
                run_id = await self._start_run(session, url)
        except TimeoutError:
            log.warning("airflow_silent", timeout_s=timeout_s)
            raise _failed(f"Airflow did not answer within {timeout_s:g} s.") from None
        except (aiohttp.ClientError, OSError) as error:
            # Its own message names addresses inside the system.
            log.warning("airflow_unreachable", reason=repr(error))
            raise _failed("Airflow cannot be reached.") from error
        log.info("retraining_triggered", dag_id=DAG_ID, dag_run_id=run_id)

    async def _start_run(self, session: aiohttp.ClientSession, url: str) -> str:
        headers = await self._credentials(session, url)
        body: dict[str, JsonValue] = {
            "logical_date": now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "conf": {"triggered_by": "api"},
        }
        run = await _post(session, url + _RUNS_PATH, body, headers)
        return str(run.get("dag_run_id"))

    async def _credentials(self, session: aiohttp.ClientSession, url: str) -> dict[str, str]:
        token = self._settings.token
        if token is None and self._settings.username is not None:
            login: dict[str, JsonValue] = {
                "username": self._settings.username,
                "password": self._settings.password or "",
            }
            issued = (await _post(session, url + _TOKEN_PATH, login, {})).get("access_token")
            if not isinstance(issued, str):
                raise _failed("Airflow issued no token for the user name and password that are set.")
            token = issued
        return {} if token is None else {"Authorization": f"Bearer {token}"}


async def _post(
    session: aiohttp.ClientSession, url: str, body: JsonValue, headers: Mapping[str, str]
) -> Mapping[str, JsonValue]:
    """What Airflow answers to a POST. Raises Refusal (502) unless it is a JSON object with a 2xx status."""
    # A redirect is not followed: credentials go where the settings say, and nowhere else.
    async with session.post(url, json=body, headers=headers, allow_redirects=False) as answer:
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            log.warning("airflow_refused", path=answer.url.path, status=answer.status)
            raise _failed(f"Airflow refused the request with status {answer.status}{_hint(answer.status)}.")
        try:
            said: JsonValue = await answer.json(content_type=None)
        except ValueError:
            said = None
    if not isinstance(said, dict):
        raise _failed("What answers at Airflow's address is not Airflow's API.")
    return said


def _hint(status: int) -> str:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return ": the credentials in the settings under ALIDADE_AIRFLOW__ are not valid for it"
        case HTTPStatus.NOT_FOUND:
            return f": it has no pipeline {DAG_ID}, or is older than version 3"
        case _:
            return ""


def _failed(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_GATEWAY, message)


AIRFLOW = web.AppKey("airflow", Airflow)


async def trigger_retraining(request: web.Request) -> web.Response:
    """POST /drift/trigger-retrain."""
    await request.app[AIRFLOW].trigger()
    return web.json_response(Triggered().model_dump(mode="json"))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/drift/trigger-retrain",
        trigger_retraining,
        "Scenes",
        "Trigger a retraining",
        f"Starts a run of the pipeline `{DAG_ID}` in Airflow. One trigger at a time.",
        (
            Answer(200, "The run is started", Triggered),
            Answer(409, "Another trigger is under way"),
            Answer(502, "Airflow cannot be reached, refuses, or is not set up"),
        ),
        admission=Admission.KEY,
    ),
)
