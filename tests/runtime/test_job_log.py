"""The job log: compare-and-set, history, work queueing."""

import asyncio

import pytest

from contracts import subjects
from contracts.errors import DependencyUnavailable, Superseded
from contracts.events import CONTENT_TYPE, EventType, JobEvent, JobEventData, event_type_name
from contracts.jobs import JobStatus, LogLine
from runtime import job_log as job_log_module
from runtime.clock import now
from runtime.job_log import JobLog, Recorded


async def test_a_job_is_read_back_as_written(job_log: JobLog, make_job) -> None:
    job = make_job()
    created = await job_log.create(job)
    assert await job_log.read(job.job_id) == created
    assert await job_log.read("000000000000") is None


async def test_an_id_is_taken_once(job_log: JobLog, make_job) -> None:
    job = make_job()
    await job_log.create(job)
    with pytest.raises(Superseded):
        await job_log.create(job)


async def test_of_a_cancel_and_a_completion_one_wins(job_log: JobLog, make_job) -> None:
    outcomes = []
    for _ in range(20):
        created = await job_log.create(make_job())
        cancelled = created.job.changed(now(), status=JobStatus.CANCELLED)
        completed = created.job.changed(now(), status=JobStatus.COMPLETED)
        results = await asyncio.gather(
            job_log.write(created, EventType.CANCELLED, cancelled),
            job_log.write(created, EventType.COMPLETED, completed),
            return_exceptions=True,
        )
        winners = [r for r in results if isinstance(r, Recorded)]
        assert len(winners) == 1
        assert [type(r) for r in results if not isinstance(r, Recorded)] == [Superseded]
        assert await job_log.read(created.job.job_id) == winners[0]
        outcomes.append(winners[0].job.status)
    assert len(outcomes) == 20


async def test_own_write_with_a_lost_acknowledgement_is_recognised(bus, job_log: JobLog, make_job, monkeypatch) -> None:
    created = await job_log.create(make_job())
    job = created.job.changed(now(), status=JobStatus.PROCESSING)
    monkeypatch.setattr(job_log_module, "new_event_id", lambda: "the-same-id")
    # What the server has stored already when the client, having heard nothing, publishes again.
    event = JobEvent(
        id="the-same-id",
        source="/alidade/test",
        type=event_type_name(EventType.STARTED),
        subject=job.job_id,
        time=job.updated_at,
        data=JobEventData(job=job),
    )
    sequence = await bus.publish(
        subjects.job_event(job.kind, job.job_id, EventType.STARTED),
        event.model_dump_json().encode(),
        message_id=event.id,
        content_type=CONTENT_TYPE,
    )
    assert await job_log.write(created, EventType.STARTED, job) == Recorded(job, sequence)


async def test_history_goes_on_after_a_sequence(job_log: JobLog, make_job) -> None:
    last = await job_log.create(make_job())
    other = await job_log.create(make_job())
    sequences = [last.sequence]
    for number in range(5):
        line = LogLine(time=now(), message=f"line {number}", step="Features")
        last = await job_log.write(last, EventType.LOGGED, last.job.changed(now()), [line])
        other = await job_log.write(other, EventType.PROGRESSED, other.job.changed(now()))
        sequences.append(last.sequence)
    job_id = last.job.job_id
    assert [event.sequence async for event in job_log.events(job_id)] == sequences
    assert [event.sequence async for event in job_log.events(job_id, sequences[2])] == sequences[3:]
    assert [line.message for line in await job_log.lines(job_id)] == [f"line {number}" for number in range(5)]


async def test_the_same_work_is_queued_once(job_log: JobLog, make_job) -> None:
    job = make_job()
    assert await job_log.queue(job)
    assert not await job_log.queue(job)
    assert await job_log.queue(job.changed(now(), stage="sfm"))


async def test_writes_survive_a_restart_of_the_server(job_log: JobLog, make_job, restartable_nats) -> None:
    last = await job_log.create(make_job())
    restartable_nats.kill()
    writing = asyncio.create_task(job_log.write(last, EventType.STARTED, last.job.changed(now())))
    restartable_nats.start()
    written = await writing
    assert await job_log.read(last.job.job_id) == written
    assert written.sequence > last.sequence


async def test_a_full_queue_is_no_queued_work(bus, job_log: JobLog, make_job) -> None:
    config = (await bus.jetstream.stream_info(subjects.WORK_STREAM)).config
    await bus.jetstream.update_stream(config.evolve(max_msgs=1))
    queued = make_job()
    assert await job_log.queue(queued)
    assert not await job_log.queue(queued)
    with pytest.raises(DependencyUnavailable, match="maximum messages exceeded"):
        await job_log.queue(make_job())


async def test_a_bus_that_lost_its_log_does_not_pass_for_one_without_jobs(bus, job_log: JobLog, make_job) -> None:
    created = await job_log.create(make_job())
    await bus.jetstream.delete_stream(subjects.JOBS_STREAM)
    with pytest.raises(DependencyUnavailable):
        await job_log.read(created.job.job_id)
