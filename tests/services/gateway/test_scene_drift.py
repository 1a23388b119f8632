"""`POST /drift`: ingest's own measurements over the real bus, against baselines in the real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts import subjects
from contracts.drift import Measured, Measurements, Statistic
from contracts.errors import ErrorCode
from contracts.jobs import Failure, JobKind
from contracts.uploads import InspectRequest
from runtime.access import Access
from runtime.baselines import Baselines
from runtime.object_store import ObjectStore
from runtime.settings import Settings
from services.ingest.photos.step import Measurer
from tests.services.gateway.scene_gateway import (
    PHOTOS_LIMIT_BYTES,
    Part,
    SceneGateway,
    answering,
    photos_zip,
    running_scene_gateway,
    send,
)

MEMORY_BYTES = 4 << 30
SUBJECT = subjects.measure(JobKind.SCENE)
FILE: Part = ("file", "photos.zip", photos_zip())
NAMES = {"drift_detected", "severity", "checks"}


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


def measured(brightness: float, width: float = 640) -> Measurements:
    return Measurements(
        features={
            "brightness": Statistic(mean=brightness, std=10, count=40),
            "width": Statistic(mean=width, std=0, count=40),
        }
    )


def answer_of(measurements: Measurements) -> bytes:
    return Measured(measurements=measurements, images=40).model_dump_json().encode()


async def only_baselines(gateway: SceneGateway) -> bool:
    return all(key.startswith("baselines/") for key in await gateway.stored_keys())


async def test_ingest_measures_what_was_sent_and_nothing_of_it_is_kept(gateway: SceneGateway, tmp_path: Path) -> None:
    measurer = Measurer(gateway.parts.store, tmp_path, MEMORY_BYTES)
    # Four pictures of one grey each: 40, 41, 42 and 43 of 255.
    usual = Measurements(features={"brightness": Statistic(mean=141.5, std=20, count=100)})
    await Baselines(gateway.parts.store).accept(gateway.owner, "custom", "job-1", usual)
    subscription = await gateway.parts.bus.answer(SUBJECT, "ingest", measurer.answer)
    status, body = await send(gateway, [FILE], "/drift")
    assert status == 200, body
    assert body.keys() >= NAMES
    assert (body["drift_detected"], body["severity"], body["status"]) == (True, "high", "critical")
    check = body["checks"]["brightness"]  # type: ignore[index]
    assert (check["drift"], check["severity"]) == (True, "critical")
    assert check["live_val"] == pytest.approx(41.5, abs=0.5)
    assert check["difference"] == pytest.approx(-5.0, abs=0.05)
    status, body = await send(gateway, [("file", "photos.zip", b"not a ZIP" * 100)], "/drift")
    assert (status, list(body)) == (400, ["detail"])
    assert await only_baselines(gateway)
    await subscription.unsubscribe()


@pytest.mark.parametrize(
    ("live", "severity", "drifted"),
    [
        (measured(105), "low", []),
        (measured(135), "moderate", ["brightness"]),
        (measured(155, 1000), "high", ["brightness", "width"]),
    ],
)
async def test_every_feature_has_its_flag(
    gateway: SceneGateway, live: Measurements, severity: str, drifted: list[str]
) -> None:
    await Baselines(gateway.parts.store).accept(gateway.owner, "portal", "job-1", measured(100))
    async with answering(gateway, SUBJECT, answer_of(live)) as questions:
        status, body = await send(gateway, [FILE, ("dataset_name", None, b"portal")], "/drift")
    assert (status, body["severity"], body["drift_detected"]) == (200, severity, bool(drifted))
    checks = body["checks"]
    assert isinstance(checks, dict)
    assert {name: check["drift"] for name, check in checks.items()} == {
        name: name in drifted for name in ("brightness", "width")
    }
    assert [alert["feature"] for alert in body["alerts"]] == drifted  # type: ignore[attr-defined]
    assert (body["n_scenes_checked"], body["n_features_checked"]) == (1, 2)
    question = InspectRequest.model_validate_json(questions[0])
    assert (question.kind, question.size_bytes, question.file_name) == (JobKind.SCENE, len(FILE[2]), "photos.zip")
    assert await only_baselines(gateway)


async def test_a_check_does_not_change_what_later_ones_are_compared_with(gateway: SceneGateway) -> None:
    baselines = Baselines(gateway.parts.store)
    accepted = await baselines.accept(gateway.owner, "custom", "job-1", measured(100))
    async with answering(gateway, SUBJECT, answer_of(measured(155))):
        for _ in range(2):
            assert (await send(gateway, [FILE], "/drift"))[1]["severity"] == "high"
    assert await baselines.load(gateway.owner, "custom") == accepted


async def test_baselines_of_others_and_of_other_names_do_not_count(gateway: SceneGateway) -> None:
    baselines = Baselines(gateway.parts.store)
    await baselines.accept("somebody-else", "custom", "job-1", measured(100))
    await baselines.accept(gateway.owner, "portal", "job-2", measured(100))
    async with answering(gateway, SUBJECT, answer_of(measured(155))):
        status, body = await send(gateway, [("dataset_name", None, b""), FILE], "/drift")
    assert (status, body["drift_detected"], body["severity"], body["checks"]) == (200, False, "low", {})
    assert body["n_features_checked"] == 0
    assert "no baseline" in str(body["message"])


async def test_a_scene_name_is_no_field_of_this_form(gateway: SceneGateway) -> None:
    async with answering(gateway, SUBJECT, answer_of(measured(100))):
        status, _ = await send(gateway, [("scene_name", None, b"x" * 500), FILE], "/drift")
    assert status == 200


@pytest.mark.parametrize(
    ("code", "expected"),
    [(ErrorCode.INVALID_ARCHIVE, 400), (ErrorCode.DEPENDENCY_UNAVAILABLE, 503), (ErrorCode.WORKER_CRASHED, 500)],
)
async def test_ingests_reason_decides_on_the_status(gateway: SceneGateway, code: ErrorCode, expected: int) -> None:
    failure = Failure(code=code, message="Told by ingest.")
    async with answering(gateway, SUBJECT, Measured(error=failure).model_dump_json().encode()):
        status, body = await send(gateway, [FILE], "/drift")
    assert (status, list(body)) == (expected, ["detail"])
    assert ("Told by ingest." in str(body["detail"])) == (expected == 400)
    assert await gateway.stored_keys() == []


async def test_without_ingest_it_is_a_503_that_leaves_nothing(gateway: SceneGateway) -> None:
    status, body = await send(gateway, [FILE], "/drift")
    assert (status, list(body)) == (503, ["detail"])
    assert await gateway.stored_keys() == []


async def test_the_form_has_the_limits_of_an_upload(gateway: SceneGateway) -> None:
    for content, expected in ((bytes(PHOTOS_LIMIT_BYTES + 1), 413), (b"", 400)):
        status, body = await send(gateway, [("file", "photos.zip", content)], "/drift")
        assert (status, list(body)) == (expected, ["detail"])
    assert (await send(gateway, [("dataset_name", None, b"portal")], "/drift"))[0] == 400
    assert await gateway.stored_keys() == []
