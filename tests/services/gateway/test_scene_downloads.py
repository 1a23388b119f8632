"""Results of scene jobs: every cloud in one archive, the poses, single files."""

import asyncio
import io
import random
import zipfile
from collections.abc import AsyncIterator

import aiohttp
import pytest

from contracts import keys
from contracts.errors import ErrorCode
from contracts.events import EventType
from contracts.jobs import Failure, JobStatus
from runtime.access import Access
from runtime.clock import now
from runtime.object_store import CHUNK_BYTES, ObjectStore
from runtime.settings import Settings
from services.gateway.scene_downloads import _packed
from tests.services.gateway.scene_gateway import (
    SceneGateway,
    at_step,
    completed_scene,
    ply_name,
    running_scene_gateway,
    scene_job,
)

CSV = b"dataset,scene,image,rotation_matrix,translation_vector\ncustom,cluster0,a.jpg,1;0;0;0;1;0;0;0;1,0;0;0\n"


@pytest.fixture
async def gateway(gateway_settings: Settings, access: Access, store: ObjectStore) -> AsyncIterator[SceneGateway]:
    async with running_scene_gateway(gateway_settings, access, store) as running:
        yield running


async def fetch(gateway: SceneGateway, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    async with gateway.client.get(gateway.url + path, headers=gateway.key | headers) as answer:
        return answer.status, dict(answer.headers), await answer.read()


async def test_a_finished_jobs_clouds_come_in_one_archive(gateway: SceneGateway) -> None:
    clouds = [random.Random(seed).randbytes(size) for seed, size in enumerate((700_001, CHUNK_BYTES, 0, 17))]
    done = await completed_scene(gateway, clouds, {"submission.csv": CSV, "drift_report.json": b"{}"})
    status, headers, body = await fetch(gateway, f"/download/jobs/{done.job_id}")
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    assert headers["Content-Disposition"] == f'attachment; filename="scene_{done.job_id}.zip"'
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [ply_name(done.job_id, number) for number in range(4)]
        assert [archive.read(name) for name in archive.namelist()] == clouds
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    path = f"{gateway.url}/download/jobs/{done.job_id}"
    async with gateway.client.head(path, headers=gateway.key) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "application/zip", b"")


async def test_no_more_than_a_chunk_of_an_archive_is_held(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, [bytes(3_000_000), bytes(2_000_000)])
    files = done.recorded.job.results
    sizes = [len(chunk) async for chunk in _packed(gateway.parts.store, files)]
    assert sum(sizes) > 5_000_000
    assert max(sizes) <= CHUNK_BYTES + 1000


async def test_what_breaks_on_the_way_is_no_complete_archive(gateway: SceneGateway) -> None:
    # More than sockets hold: the second cloud is not read before the client has read much of the first.
    done = await completed_scene(gateway, [bytes(32 << 20), b"ply"])
    first, second = done.recorded.job.results
    async with gateway.client.get(f"{gateway.url}/download/jobs/{done.job_id}", headers=gateway.key) as answer:
        assert answer.status == 200
        await answer.content.readexactly(1000)
        await gateway.parts.store.delete(second.key)
        with pytest.raises((aiohttp.ClientPayloadError, ConnectionError)):
            await answer.read()
    assert first.size_bytes == 32 << 20


@pytest.mark.parametrize("step", ["extracting", "matching", "mapping", "packaging"])
async def test_a_job_under_way_is_a_409(gateway: SceneGateway, step: str) -> None:
    recorded = await at_step(gateway, await scene_job(gateway), step)
    job_id = recorded.job.job_id
    for path in ("", "/csv", f"/{ply_name(job_id, 0)}"):
        status, body = await gateway.get(f"/download/jobs/{job_id}{path}")
        assert (status, list(body)) == (409, ["detail"])
        assert "not complete" in str(body["detail"])


async def test_a_failed_job_is_a_409_with_its_reason(gateway: SceneGateway) -> None:
    failure = Failure(code=ErrorCode.NO_MODEL, message="No two pictures show the same place.")
    recorded = await gateway.change(
        await scene_job(gateway), EventType.FAILED, status=JobStatus.FAILED, error=failure, finished_at=now()
    )
    status, body = await gateway.get(f"/download/jobs/{recorded.job.job_id}")
    assert status == 409
    assert failure.message in str(body["detail"])


async def test_a_job_without_points_has_no_archive_and_still_its_poses(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, (), {"submission.csv": CSV})
    status, body = await gateway.get(f"/download/jobs/{done.job_id}")
    assert (status, list(body)) == (404, ["detail"])
    assert "no 3D points" in str(body["detail"])
    assert (await fetch(gateway, f"/download/jobs/{done.job_id}/csv"))[0] == 200


async def test_the_poses_are_csv(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, others={"submission.csv": CSV})
    status, headers, body = await fetch(gateway, f"/download/jobs/{done.job_id}/csv")
    assert (status, body) == (200, CSV)
    assert headers["Content-Type"].split(";")[0] == "text/csv"
    assert headers["Content-Disposition"] == 'attachment; filename="submission.csv"'
    status, headers, body = await fetch(gateway, f"/download/jobs/{done.job_id}/csv", Range="bytes=8-12")
    assert (status, body) == (206, CSV[8:13])


async def test_every_delivered_file_is_there_by_its_name(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, others={"submission.csv": CSV, "drift_report.json": b"{}"})
    for name, content in done.files.items():
        status, headers, body = await fetch(gateway, f"/download/jobs/{done.job_id}/{name}")
        assert (status, headers["Content-Type"], body) == (200, "application/octet-stream", content), name


async def test_only_names_that_the_job_delivered_are_there(gateway: SceneGateway) -> None:
    done, other = await completed_scene(gateway), await completed_scene(gateway)
    names = (
        ply_name(other.job_id, 0),
        "cluster0_decimated_model0.ply",
        "..%2F..%2Fuploads",
        "%2e%2e",
        f"..%2F1%2F{ply_name(done.job_id, 0)}",
        "submission.csv",
        "*",
    )
    for name in names:
        status, body = await gateway.get(f"/download/jobs/{done.job_id}/{name}")
        assert (status, list(body)) == (404, ["detail"]), name


async def test_what_has_expired_is_a_404(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, others={"submission.csv": CSV})
    await gateway.parts.store.delete_prefix(keys.results(done.job_id))
    for path in ("", "/csv", f"/{ply_name(done.job_id, 1)}"):
        status, body = await gateway.get(f"/download/jobs/{done.job_id}{path}")
        assert (status, list(body)) == (404, ["detail"])
        assert "expired" in str(body["detail"])


async def test_many_downloads_at_once_are_all_whole(gateway: SceneGateway) -> None:
    done = await completed_scene(gateway, [random.Random(3).randbytes(400_000)] * 3)
    answers = await asyncio.gather(*(fetch(gateway, f"/download/jobs/{done.job_id}") for _ in range(5)))
    assert len({body for _, _, body in answers}) == 1
    with zipfile.ZipFile(io.BytesIO(answers[0][2])) as archive:
        assert archive.testzip() is None
