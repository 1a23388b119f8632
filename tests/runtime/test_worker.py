"""The worker loop: whatever happens to workers, a job ends once, and its work is not lost."""

import asyncio

from contracts import subjects
from contracts.errors import ErrorCode, UserError, WorkerCrashed
from contracts.events import EventType
from contracts.jobs import Job, JobStatus
from contracts.work import DeadItem
from runtime.clock import now
from runtime.stage_work import StageWork
from tests.runtime.scripted_worker import RESULT, Script, Stage, nothing, running, until_stopped


async def test_a_job_passes_all_stages_and_delivers(stage: Stage, make_job) -> None:
    async def act(work: StageWork) -> None:
        work.step("features" if work.job.stage == "sfm" else "conversion")
        work.log("half way")
        work.progress(1, 2)
        assert work.scratch.is_dir()

    step = Script(act)
    job = make_job()
    async with running(stage.worker("ingest", step), stage.worker("sfm", step)):
        await stage.submit(job)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert done.progress.percent == 100
    assert done.results == (RESULT,)
    assert done.claim is None
    assert step.runs == [job.job_id, job.job_id]
    lines = await stage.job_log.lines(job.job_id)
    assert [line.message for line in lines] == ["half way", "half way", "Pipeline finished successfully"]
    assert [line.step for line in lines] == ["ReScan → COLMAP", "Features", "Done"]
    assert not any(path.is_dir() for path in (stage.settings.scratch / "sfm").iterdir())


async def test_the_users_mistake_is_not_tried_again(stage: Stage, make_job) -> None:
    async def act(_: StageWork) -> None:
        raise UserError(ErrorCode.MISSING_FILE, "odometry.csv is missing; add it.", field="odometry.csv")

    step = Script(act)
    job = make_job()
    async with running(stage.worker("ingest", step)):
        await stage.submit(job)
        failed = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.field) == (ErrorCode.MISSING_FILE, "odometry.csv")
    assert step.runs == [job.job_id]
    assert (await stage.job_log.lines(job.job_id))[-1].message == "ERROR: odometry.csv is missing; add it."


async def test_other_failures_are_tried_again_then_kept_as_dead(stage: Stage, make_job) -> None:
    async def act(_: StageWork) -> None:
        raise WorkerCrashed("The moon is in the way.", detail="/secret/path")

    step = Script(act)
    job = make_job()
    async with running(stage.worker("ingest", step)):
        await stage.submit(job)
        failed = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert failed.status is JobStatus.FAILED
    assert step.runs == [job.job_id] * stage.settings.max_attempts
    message = await stage.bus.jetstream.get_last_msg(subjects.DEAD_STREAM, subjects.dead("ingest", job.job_id))
    dead = DeadItem.model_validate_json(message.data or b"")
    assert "moon" in dead.reason.message
    assert not any("secret" in line.message for line in await stage.job_log.lines(job.job_id))
    assert dead.work.job_id == job.job_id


async def test_a_failure_then_success_completes_once(stage: Stage, make_job) -> None:
    async def act(work: StageWork) -> None:
        if work.attempt == 1:
            raise RuntimeError("a defect of ours")

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert done.attempts == 2
    lines = [line.message for line in await stage.job_log.lines(job.job_id)]
    assert "a defect of ours" not in " ".join(lines), "what an unexpected exception says is not for the user"
    assert lines[0].startswith("Attempt 1 failed")


async def test_a_cancel_stops_the_work_at_once(stage: Stage, make_job) -> None:
    step = Script(until_stopped)
    job = make_job()
    async with running(stage.worker("ingest", step)):
        await stage.submit(job)
        started = await stage.until(job.job_id, lambda j: j.status is JobStatus.PROCESSING)
        last = await stage.job_log.read(job.job_id)
        assert last is not None
        await stage.job_log.write(last, EventType.CANCELLED, started.changed(now(), status=JobStatus.CANCELLED))
        async with asyncio.timeout(2):
            await step.has_cleaned.wait()
    assert step.cleaned == [job.job_id]
    final = await stage.job_log.read(job.job_id)
    assert final is not None
    assert final.job.status is JobStatus.CANCELLED


async def test_a_job_cancelled_while_it_waits_is_never_run(stage: Stage, make_job) -> None:
    step = Script(nothing)
    job, other = make_job(), make_job(stage="sfm")
    created = await stage.submit(job)
    await stage.job_log.write(created, EventType.CANCELLED, job.changed(now(), status=JobStatus.CANCELLED))
    async with running(stage.worker("ingest", step), stage.worker("sfm", step)):
        await stage.submit(other)
        await stage.until(other.job_id, lambda j: j.status.is_final)
    assert step.runs == [other.job_id]


async def test_a_stopped_worker_hands_back_and_another_goes_on(stage: Stage, make_job) -> None:
    first, second = Script(until_stopped), Script(nothing)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", first)):
        await stage.submit(job)
        await asyncio.wait_for(first.began.wait(), 10)
    handed_back = await stage.job_log.read(job.job_id)
    assert handed_back is not None
    assert handed_back.job.claim is None
    async with running(stage.worker("sfm", second)):
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert done.failed_attempts == 0
    assert (first.runs, second.runs) == ([job.job_id], [job.job_id])


async def test_a_superseded_worker_completes_nothing(stage: Stage, make_job) -> None:
    """A worker that slept through its claim wakes up and finds that the job belongs to another attempt."""
    asleep = asyncio.Event()

    async def sleep_through(_: StageWork) -> None:
        await asleep.wait()

    step = Script(sleep_through)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        started = await stage.until(job.job_id, lambda j: j.claim is not None)
        last = await stage.job_log.read(job.job_id)
        assert last is not None
        assert started.claim is not None
        newer = started.claim.model_copy(update={"worker": "another", "attempt": 2})
        taken = await stage.job_log.write(last, EventType.STARTED, started.changed(now(), claim=newer, attempts=2))
        asleep.set()
        async with asyncio.timeout(5):
            await step.has_cleaned.wait()
    assert await stage.job_log.read(job.job_id) == taken


async def test_a_job_whose_workers_all_died_is_given_up(stage: Stage, make_job) -> None:
    """A claim that nobody gave back is a death; three of them are enough."""
    step = Script(nothing)
    job = make_job(stage="sfm").changed(now(), failed_attempts=2, attempts=3)
    claim = {"service": "sfm", "worker": "dead", "attempt": 3}
    job = Job.model_validate({**job.model_dump(), "claim": claim, "status": JobStatus.PROCESSING})
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        failed = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code is ErrorCode.WORKER_CRASHED
    assert step.runs == []


async def test_work_lost_between_event_and_queue_is_queued_again(stage: Stage, make_job) -> None:
    """The worker died after it wrote that the next stage has the job, and before it queued the work."""
    step = Script(nothing)
    job = make_job(stage="sfm")
    await stage.job_log.create(job)
    await stage.job_log.queue(job.changed(now(), stage="ingest"))
    async with running(stage.worker("ingest", step), stage.worker("sfm", step)):
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert step.runs == [job.job_id]
