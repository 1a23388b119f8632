"""The documented fields, and what they say about a job at every point of its life."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from contracts.errors import ErrorCode
from contracts.jobs import Failure, Job, JobStatus, Performance, Progress
from services.notifier.progress_view import event_name, percentage, progress_data, remaining_s
from tests.services.notifier.conftest import new_job

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
