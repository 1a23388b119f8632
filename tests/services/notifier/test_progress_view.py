"""The documented fields, and what they say about a job at every point of its life."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from contracts.errors import ErrorCode
from contracts.jobs import Failure, Job, JobStatus, Performance, Progress
from services.notifier.progress_view import event_name, percentage, progress_data, remaining_s
from tests.services.notifier.conftest import new_building_job, new_job

START = datetime(2026, 5, 26, 10, 30, 0, tzinfo=UTC)


def job_at_work(**changes: object) -> Job:
    progress = Progress(
        percent=60.0,
        step="pairs",
        operation="pairing",
        processed_items=20,
        total_items=30,
        items_per_s=1234.5,
        remaining_s=10.0,
    )
    at_work = new_job().changed(
        START + timedelta(seconds=120),
        status=JobStatus.PROCESSING,
        started_at=START,
        progress=progress,
        performance=Performance(cpu_percent=78.51, memory_percent=42.1, memory_used_mb=1024.0),
    )
    return at_work.model_copy(update=changes)


def test_the_documented_fields_have_the_documented_form() -> None:
    job = job_at_work()
    assert json.loads(progress_data(job).model_dump_json()) == {
        "job_id": job.job_id,
        "kind": "capture",
        "status": "processing",
        "progress": {
            "percentage": 60,
            "stage": "pairs",
            "stage_description": "Pairs",
            "current_operation": "pairing",
            "processed_items": 20,
            "total_items": 30,
            "estimated_remaining": "00:01:20",
            "processing_speed": "1234 items/sec",
        },
        "performance": {"cpu_percent": 78.5, "memory_percent": 42.1, "memory_used_mb": 1024.0},
        "timestamp": "2026-05-26T10:32:00Z",
        "warnings": [],
    }


def test_time_left_is_the_step_and_the_later_steps_at_the_pace_so_far() -> None:
    # Pairs end at 65 %: 10 s, then 35 % at 2 s each.
    assert remaining_s(job_at_work()) == pytest.approx(10 + 35 * 2)


@pytest.mark.parametrize(
    "changes",
    [{"started_at": None}, {"status": JobStatus.QUEUED}, {"progress": Progress(percent=60.0, step="pairs")}],
)
def test_no_time_left_is_made_up(changes: dict[str, object]) -> None:
    data = progress_data(job_at_work(**changes))
    assert data.progress.estimated_remaining is None


def test_hours_are_told() -> None:
    job = job_at_work(progress=Progress(percent=100.0, step="packaging", remaining_s=7384.4))
    assert progress_data(job).progress.estimated_remaining == "02:03:04"


@pytest.mark.parametrize(("percent", "shown"), [(0.0, 0), (45.9, 45), (99.99, 99), (100.0, 99)])
def test_only_a_completed_job_has_100(percent: float, shown: int) -> None:
    job = job_at_work(progress=Progress(percent=percent, step="pairs"))
    assert percentage(job) == shown
    assert percentage(job.changed(START, status=JobStatus.COMPLETED)) == 100


def test_a_failure_says_why() -> None:
    failure = Failure(code=ErrorCode.NO_MODEL, message="No two pictures overlap.", field="file")
    failed = job_at_work(status=JobStatus.FAILED, error=failure)
    data = json.loads(progress_data(failed).model_dump_json())
    assert event_name(failed) == "error"
    assert (data["error"], data["error_code"], data["error_field"]) == ("No two pictures overlap.", "NO_MODEL", "file")
    assert (data["status"], data["progress"]["stage_description"]) == ("failed", "Error")
    assert data["progress"]["percentage"] == 60


def test_a_cancelled_job_ends_with_an_error_event_that_says_so() -> None:
    cancelled = job_at_work(status=JobStatus.CANCELLED, performance=None)
    data = json.loads(progress_data(cancelled).model_dump_json())
    assert event_name(cancelled) == "error"
    assert (data["status"], data["error"], data["error_code"]) == ("cancelled", "The job was cancelled.", None)


def test_the_end_is_called_complete() -> None:
    done = job_at_work(status=JobStatus.COMPLETED)
    assert event_name(done) == "complete"
    assert progress_data(done).progress.stage_description == "Done"


def building_at_work(step: str, **changes: object) -> Job:
    progress = Progress(
        percent=45.2, step=step, processed_items=450, total_items=1000, items_per_s=15_000.4, remaining_s=9.0
    )
    at_work = new_building_job().changed(
        START + timedelta(seconds=100),
        status=JobStatus.PROCESSING,
        started_at=START,
        progress=progress,
        performance=Performance(cpu_percent=78.5, memory_percent=42.1, memory_used_mb=1024.0),
    )
    return at_work.model_copy(update=changes)


def test_a_building_job_has_the_fields_of_the_document() -> None:
    data = json.loads(progress_data(building_at_work("preprocessing")).model_dump_json())
    documented = {
        "job_id": str,
        "status": str,
        "progress": {
            "percentage": int,
            "stage": str,
            "stage_description": str,
            "estimated_remaining": str,
            "processing_speed": str,
        },
        "performance": {"cpu_percent": float, "memory_percent": float, "memory_used_mb": float},
        "timestamp": str,
    }

    def check(found: dict[str, object], wanted: dict[str, object]) -> None:
        for name, form in wanted.items():
            value = found[name]
            if isinstance(form, dict):
                assert isinstance(value, dict)
                check(value, form)
            else:
                assert type(value) is form, name

    check(data, documented)
    assert data["progress"]["processing_speed"] == "15000 points/sec"
    # The step needs 9 s; after its 40 % come 60 % at 100 s for 45.2 %.
    assert data["progress"]["estimated_remaining"] == "00:02:22"


@pytest.mark.parametrize(
    ("step", "speed"),
    [
        ("loading_point_cloud", "15000 points/sec"),
        ("finalizing", "15000 points/sec"),
        ("wall_detection", None),
        ("generating_ifc", None),
    ],
)
def test_what_is_not_counted_in_points_has_no_speed_in_points(step: str, speed: str | None) -> None:
    assert progress_data(building_at_work(step)).progress.processing_speed == speed


@pytest.mark.parametrize(
    ("status", "word", "description"),
    [
        (JobStatus.QUEUED, "pending", "Detecting walls and openings"),
        (JobStatus.PROCESSING, "processing", "Detecting walls and openings"),
        (JobStatus.COMPLETED, "completed", "Job completed"),
        (JobStatus.FAILED, "failed", "Job failed"),
        (JobStatus.CANCELLED, "failed", "Job cancelled"),
    ],
)
def test_a_building_job_has_one_of_the_documents_four_states(status: JobStatus, word: str, description: str) -> None:
    data = progress_data(building_at_work("wall_detection", status=status))
    assert (data.status, data.progress.stage_description) == (word, description)
