"""The worker loop when what it stands on breaks: paused workers, lost connections, full disks, late messages."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamInfo

from contracts import subjects
from contracts.errors import ConfigurationError, DependencyUnavailable, ErrorCode, Superseded
from contracts.events import CONTENT_TYPE, EventType, JobEvent, JobEventData, event_type_name
from contracts.identifiers import new_event_id
from contracts.jobs import JobStatus
from runtime import bus as bus_module
from runtime import metrics
from runtime.bus import Bus, SequenceMismatch
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.settings import BusSettings
from runtime.stage_work import MAX_LINES, StageWork
from tests.runtime.breakable_link import BreakableLink
from tests.runtime.scripted_worker import RESULT, Script, Stage, nothing, running, until_stopped


@pytest.fixture
async def link(restartable_nats) -> AsyncIterator[BreakableLink]:
    async with BreakableLink(restartable_nats.url) as breakable:
        yield breakable


@pytest.fixture
async def far_bus(link: BreakableLink) -> AsyncIterator[Bus]:
    """A bus behind the breakable link."""
    async with await Bus.connect(BusSettings(url=link.url), "far") as connected:
        yield connected


async def _work_stream(bus: Bus) -> StreamInfo:
    return await bus.jetstream.stream_info(subjects.WORK_STREAM)


async def _cancel(job_log: JobLog, job_id: str) -> None:
    while True:
        last = await job_log.read(job_id)
        assert last is not None
        cancelled = last.job.changed(now(), status=JobStatus.CANCELLED, claim=None, finished_at=now())
        try:
            await job_log.write(last, EventType.CANCELLED, cancelled)
        except Superseded:
            continue
        return


async def test_a_cancel_that_lost_its_compare_and_set_stops_nothing(stage: Stage, make_job) -> None:
    """Whoever listens hears it all the same: the server passes on what the stream refuses."""
    go_on = asyncio.Event()

    async def act(work: StageWork) -> None:
        stopped, going = asyncio.create_task(work.stopped.wait()), asyncio.create_task(go_on.wait())
        await asyncio.wait({stopped, going}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.stop_reason is not None:
            raise work.stop_reason

    step = Script(act)
    job = make_job(stage="sfm")
    heard = asyncio.Event()

    async def hear(_: Msg) -> None:
        heard.set()

    async with running(stage.worker("sfm", step)):
        await stage.bus.listen(subjects.cancellations(job.job_id), hear)
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        cancelled = job.changed(now(), status=JobStatus.CANCELLED)
        event = JobEvent(
            id=new_event_id(),
            source="/alidade/test",
            type=event_type_name(EventType.CANCELLED),
            subject=job.job_id,
            time=now(),
            data=JobEventData(job=cancelled),
        )
        with pytest.raises(SequenceMismatch):
            await stage.bus.publish_if_last(
                subjects.job_event(job.kind, job.job_id, EventType.CANCELLED),
                event.model_dump_json().encode(),
                message_id=event.id,
                content_type=CONTENT_TYPE,
                scope=subjects.job_events(job.job_id),
                expected_sequence=0,
            )
        await asyncio.wait_for(heard.wait(), 20)
        await stage.bus._client.flush()
        go_on.set()
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert step.cleaned == []


async def test_a_cancel_is_heard_although_the_connection_was_lost(
    stage: Stage, make_job, link: BreakableLink, far_bus: Bus
) -> None:
    step = Script(until_stopped)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step, far_bus)):
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        link.cut()
        await _cancel(stage.job_log, job.job_id)
        link.mend()
        await asyncio.wait_for(step.has_cleaned.wait(), 20)
    assert step.cleaned == [job.job_id]


async def test_a_worker_whose_writes_went_unanswered_goes_on(
    stage: Stage, make_job, link: BreakableLink, far_bus: Bus, monkeypatch
) -> None:
    """Its events were stored, but it never heard so. They are its own: nobody superseded it."""
    monkeypatch.setattr(bus_module, "_PUBLISH_TRIES", 1)
    far_bus.jetstream._timeout = 0.3
    frozen, stored, finish = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def act(work: StageWork) -> None:
        await frozen.wait()
        work.log("before")
        await stored.wait()
        work.log("after")
        await finish.wait()

    step = Script(act)
    job = make_job(stage="sfm")
    # Long enough for the work to stay with this worker while it hears nothing.
    async with running(stage.worker("sfm", step, far_bus, ack_wait_s=60)):
        await stage.submit(job)
        with stage.view.feed(job.job_id, 1000) as feed:
            await asyncio.wait_for(step.began.wait(), 20)
            link.freeze("down")
            frozen.set()
            await link.sent(b"PUB alidade.v1.jobs.", 3)
            link.thaw()
            stored.set()
            async with asyncio.timeout(20):
                while True:
                    event = await feed.get()
                    assert event is not None
                    if any(line.message == "after" for line in event.event.data.lines):
                        break
            finish.set()
            done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert (done.attempts, done.failed_attempts) == (1, 0)
    assert step.runs == [job.job_id]
    assert await stage.messages(job.job_id) == ["before", "after", "Pipeline finished successfully"]


async def test_a_completion_that_went_unanswered_keeps_its_results(
    stage: Stage, make_job, link: BreakableLink, far_bus: Bus, monkeypatch
) -> None:
    """The end of the job was stored, but its worker never heard so: it must not take itself for superseded."""
    monkeypatch.setattr(bus_module, "_PUBLISH_TRIES", 1)
    far_bus.jetstream._timeout = 0.3
    finish = asyncio.Event()

    async def act(_: StageWork) -> None:
        await finish.wait()

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step, far_bus, ack_wait_s=60)):
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        link.freeze("down")
        finish.set()
        await link.sent(b".completed ", 2)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
        link.thaw()
        async with asyncio.timeout(20):
            while (await _work_stream(stage.bus)).state.messages:
                await asyncio.sleep(0.05)
    assert (done.status, done.results) == (JobStatus.COMPLETED, (RESULT,))
    assert step.cleaned == []
    assert await stage.messages(job.job_id) == ["Pipeline finished successfully"]


async def test_work_that_was_delivered_again_meanwhile_is_left_to_its_new_owner(stage: Stage, make_job) -> None:
    """A worker was paused between taking the work and claiming the job; another one has it by now."""
    step, late = Script(until_stopped), Script(nothing)
    job = make_job(stage="sfm")
    await stage.bus.ensure_work_consumer("sfm", ack_wait_s=2)
    await stage.submit(job)
    held = await stage.bus.pull_work("sfm", timeout_s=20)
    assert held is not None
    async with running(stage.worker("sfm", step)):
        await asyncio.wait_for(step.began.wait(), 20)
        await stage.worker("sfm", late)._take(held)
        found = await stage.job_log.read(job.job_id)
        assert found is not None
        assert (found.job.attempts, found.job.failed_attempts) == (1, 0)
        assert found.job.claim is not None
    assert late.runs == []


async def test_a_superseded_worker_does_not_give_away_the_work_of_its_successor(stage: Stage, make_job) -> None:
    """It is told to stop at the same time, and wants to hand its job back."""
    step = Script(until_stopped)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step, ack_wait_s=60)):
        await stage.submit(job)
        started = await stage.until(job.job_id, lambda j: j.claim is not None)
        await asyncio.wait_for(step.began.wait(), 20)
        last = await stage.job_log.read(job.job_id)
        assert last is not None
        assert started.claim is not None
        newer = started.claim.model_copy(update={"worker": "another", "attempt": 2})
        await stage.job_log.write(last, EventType.STARTED, started.changed(now(), claim=newer, attempts=2))
    assert await stage.bus.pull_work("sfm", timeout_s=1.5) is None
    assert (await _work_stream(stage.bus)).state.messages == 1


async def test_a_busy_worker_does_not_sit_on_work_that_came_late(
    stage: Stage, make_job, link: BreakableLink, far_bus: Bus
) -> None:
    """Every pull that a stalled connection held up is answered in the end; whoever is free must get that work."""
    hoarder, free = Script(until_stopped), Script(nothing)
    jobs = [make_job(stage="sfm") for _ in range(4)]
    async with running(stage.worker("sfm", hoarder, far_bus, ack_wait_s=60)):
        await link.sent(b"CONSUMER.MSG.NEXT", 1)
        link.freeze()
        await link.sent(b"CONSUMER.MSG.NEXT", 3)
        for job in jobs:
            await stage.submit(job)
        link.thaw()
        await asyncio.wait_for(hoarder.began.wait(), 20)
        async with running(stage.worker("sfm", free, ack_wait_s=60)):
            async with asyncio.timeout(20):
                for job in jobs:
                    if job.job_id not in hoarder.runs:
                        done = await stage.until(job.job_id, lambda j: j.status.is_final)
                        assert done.attempts == 1
    assert len(hoarder.runs) == 1


async def test_a_worker_that_cannot_prepare_says_what_is_wrong(stage: Stage, make_job) -> None:
    """For instance a full disk: not a worker that died, and told as what it is."""
    step = Script(nothing)
    first, job = make_job(stage="sfm"), make_job(stage="sfm")
    gauge = metrics.JOBS_RUNNING.labels("sfm")
    before = gauge._value.get()
    worker = stage.worker("sfm", step)
    async with running(worker):
        await stage.submit(first)
        await stage.until(first.job_id, lambda j: j.status.is_final)
        (folder,) = [path for path in (stage.settings.scratch / "sfm").iterdir() if path.is_dir()]
        shutil.rmtree(folder)
        folder.write_text("a file where the folder should be")
        await stage.submit(job)
        failed = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.code is ErrorCode.INTERNAL
    assert step.runs == [first.job_id]
    assert sum(line.startswith("Attempt ") for line in await stage.messages(job.job_id)) == 2
    assert worker._running == {}
    assert gauge._value.get() == before


async def test_a_job_that_was_handed_on_has_not_failed_because_the_queue_is_full(stage: Stage, make_job) -> None:
    step = Script(nothing)
    job = make_job()
    config = (await _work_stream(stage.bus)).config
    await stage.bus.jetstream.update_stream(config.evolve(max_msgs=1))
    async with running(stage.worker("ingest", step), stage.worker("sfm", step)):
        await stage.submit(job)
        await stage.until(job.job_id, lambda j: j.stage == "sfm")
        await stage.bus.jetstream.update_stream(config.evolve(max_msgs=-1))
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert (done.attempts, done.failed_attempts) == (2, 0)
    assert await stage.messages(job.job_id) == ["Pipeline finished successfully"]


async def test_an_outage_of_the_store_uses_up_no_attempts(stage: Stage, make_job) -> None:
    async def act(_: StageWork) -> None:
        if len(step.runs) <= 2 * stage.settings.max_attempts:
            raise DependencyUnavailable("The object store does not answer.")

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step, retry_limit_s=0.1)):
        await stage.submit(job)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED
    assert done.failed_attempts == 0
    assert (await stage.messages(job.job_id))[0].startswith("A part of this service does not answer")


async def test_a_worker_that_gets_its_own_work_again_keeps_count(stage: Stage, make_job) -> None:
    """The work came back although it was in progress: the newer attempt has the job, in the same process."""
    step = Script(until_stopped)
    job = make_job(stage="sfm")
    await stage.bus.ensure_work_consumer("sfm", ack_wait_s=2)
    await stage.submit(job)
    held = await stage.bus.pull_work("sfm", timeout_s=20)
    assert held is not None
    worker = stage.worker("sfm", step, concurrency=2)
    async with running(worker):
        await stage.until(job.job_id, lambda j: j.attempts == 1)
        await asyncio.wait_for(step.began.wait(), 20)
        await held.nak()
        await stage.until(job.job_id, lambda j: j.attempts == 2)
        await asyncio.wait_for(step.has_cleaned.wait(), 20)
    handed_back = await stage.job_log.read(job.job_id)
    assert handed_back is not None
    assert handed_back.job.claim is None, "the second attempt was stopped and handed back as well"
    assert worker._running == {}


DYING = """
import asyncio, sys
from pathlib import Path
from runtime.bus import Bus
from runtime.job_log import JobLog
from runtime.settings import BusSettings, WorkerSettings
from runtime.worker import Worker

class Step:
    async def run(self, work):
        (work.scratch / "gigabytes").write_text("x")
        print("running", flush=True)
        await asyncio.Event().wait()

    async def clean_up(self, job):
        pass

async def main():
    bus = await Bus.connect(BusSettings(url=sys.argv[1]), "dying")
    await Worker("sfm", bus, JobLog(bus, "sfm"), Step(), WorkerSettings(scratch=Path(sys.argv[2]), ack_wait_s=2)).run()

asyncio.run(main())
"""


async def test_what_a_killed_worker_left_on_disk_is_removed(stage: Stage, make_job, restartable_nats) -> None:
    job = make_job(stage="sfm")
    await stage.submit(job)
    scratch = stage.settings.scratch
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, restartable_nats.url, str(scratch), stdout=subprocess.PIPE
    )
    assert dying.stdout is not None
    while await dying.stdout.readline() != b"running\n":
        assert dying.returncode is None
    assert list(scratch.rglob("gigabytes"))
    os.kill(dying.pid, signal.SIGKILL)
    await dying.wait()
    step = Script(nothing)
    async with running(stage.worker("sfm", step)):
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert (done.status, done.failed_attempts) == (JobStatus.COMPLETED, 1)
    assert not list(scratch.rglob("gigabytes"))


async def test_what_a_living_worker_has_on_disk_is_left_alone(stage: Stage, make_job) -> None:
    async def act(work: StageWork) -> None:
        (work.scratch / "in-use").write_text("x")
        await until_stopped(work)

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        other = Script(nothing)
        second = make_job(stage="sfm")
        async with running(stage.worker("sfm", other)):
            await stage.submit(second)
            await stage.until(second.job_id, lambda j: j.status.is_final)
        assert len(list(stage.settings.scratch.rglob("in-use"))) == 1


async def test_a_flood_of_log_lines_ends_no_job(stage: Stage, make_job) -> None:
    """It is more than the bus takes in one message, and more than anybody reads."""
    flood = [f"{number:06} " + "x" * 200 for number in range(60_000)]

    async def act(work: StageWork) -> None:
        for message in flood:
            work.log(message)

    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", Script(act))):
        await stage.submit(job)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert (done.status, done.attempts) == (JobStatus.COMPLETED, 1)
    *kept, notice, _ = await stage.messages(job.job_id)
    assert kept == flood[: MAX_LINES - 1]
    assert notice == "Only the first 4,999 lines are kept."


async def test_a_step_that_waits_for_something_else_is_stopped_too(stage: Stage, make_job) -> None:
    """For instance for a store that is slow: not every await looks at `work.stopped`."""

    async def act(_: StageWork) -> None:
        await asyncio.Event().wait()

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        await _cancel(stage.job_log, job.job_id)
        async with asyncio.timeout(2):
            await step.has_cleaned.wait()
    assert step.cleaned == [job.job_id]


async def test_work_is_taken_again_after_its_consumer_was_lost(stage: Stage, make_job) -> None:
    step = Script(nothing)
    first, second = make_job(stage="sfm"), make_job(stage="sfm")
    async with running(stage.worker("sfm", step)):
        await stage.submit(first)
        await stage.until(first.job_id, lambda j: j.status.is_final)
        await stage.bus.jetstream.delete_consumer(subjects.WORK_STREAM, subjects.consumer("sfm"))
        await stage.submit(second)
        done = await stage.until(second.job_id, lambda j: j.status.is_final)
    assert done.status is JobStatus.COMPLETED


async def test_a_restart_of_the_bus_under_way_costs_no_attempt(stage: Stage, make_job, restartable_nats) -> None:
    go_on = asyncio.Event()

    async def act(work: StageWork) -> None:
        work.log("before")
        await go_on.wait()
        work.log("after")

    step = Script(act)
    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", step, ack_wait_s=60)):
        await stage.submit(job)
        await asyncio.wait_for(step.began.wait(), 20)
        restartable_nats.kill()
        restartable_nats.start()
        go_on.set()
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert (done.status, done.attempts, done.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    assert await stage.messages(job.job_id) == ["before", "after", "Pipeline finished successfully"]


async def test_names_that_are_no_text_do_not_end_a_job(stage: Stage, make_job) -> None:
    """File names on Linux are bytes; Python smuggles those that are not UTF-8 in as lone surrogates."""

    async def act(work: StageWork) -> None:
        work.log("skipped \udcff.png")
        work.warn("odd \udcff.png")

    job = make_job(stage="sfm")
    async with running(stage.worker("sfm", Script(act))):
        await stage.submit(job)
        done = await stage.until(job.job_id, lambda j: j.status.is_final)
    assert (done.status, done.attempts) == (JobStatus.COMPLETED, 1)
    assert (await stage.messages(job.job_id))[:2] == ["skipped ?.png", "odd ?.png"]
    assert done.warnings == ("odd ?.png",)


async def test_work_of_a_newer_version_is_left_for_a_newer_worker(stage: Stage, make_job) -> None:
    step = Script(nothing)
    job = make_job(stage="sfm")
    newer = b'{"version": 1, "service": "sfm", "job_id": "0123456789ab", "kind": "hologram", "published_at": "2030-01-01T00:00:00Z"}'
    await stage.bus.publish(
        subjects.work("sfm", "0123456789ab"), newer, message_id=new_event_id(), content_type="application/json"
    )
    async with running(stage.worker("sfm", step)):
        await stage.submit(job)
        await stage.until(job.job_id, lambda j: j.status.is_final)
    assert step.runs == [job.job_id]
    assert (await _work_stream(stage.bus)).state.messages == 1


async def test_a_scratch_folder_that_cannot_be_is_named(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    worker = stage.worker("sfm", Script(nothing), scratch=tmp_path / "file" / "scratch")
    with pytest.raises(ConfigurationError, match="ALIDADE_WORKER__SCRATCH"):
        await worker.run()
