"""The view: catches up, follows, survives, and cuts off who lags."""

import asyncio

from contracts.events import EventType
from contracts.jobs import JobKind, JobStatus
from runtime.clock import now
from runtime.job_log import JobLog
from runtime.job_view import JobView


async def test_knows_every_job_from_the_start_and_follows(bus, job_log: JobLog, make_job) -> None:
    mine = [await job_log.create(make_job("ada")) for _ in range(30)]
    await job_log.create(make_job("bob"))
    done = await job_log.write(mine[3], EventType.COMPLETED, mine[3].job.changed(now(), status=JobStatus.COMPLETED))
    async with JobView(bus, job_log) as view:
        listed = view.jobs(JobKind.CAPTURE, "ada")
        assert [r.job.job_id for r in listed] == [r.job.job_id for r in reversed(mine)]
        assert await view.find(done.job.job_id) == done
        with view.feed(mine[0].job.job_id, 8) as feed:
            started = await job_log.write(mine[0], EventType.STARTED, mine[0].job.changed(now()))
            event = await asyncio.wait_for(feed.get(), 5)
            assert event is not None
            assert event.sequence == started.sequence
        assert await view.find(mine[0].job.job_id) == started


async def test_an_empty_log_is_caught_up_with(bus, job_log: JobLog) -> None:
    async with JobView(bus, job_log) as view:
        assert view.all_jobs() == []
        assert view.is_current


async def test_follows_again_after_the_server_was_killed(bus, job_log: JobLog, make_job, restartable_nats) -> None:
    created = await job_log.create(make_job())
    async with JobView(bus, job_log) as view:
        with view.feed(created.job.job_id, 64) as feed:
            restartable_nats.kill()
            restartable_nats.start()
            started = await job_log.write(created, EventType.STARTED, created.job.changed(now()))
            event = await asyncio.wait_for(feed.get(), 20)
            assert event is not None
            assert event.sequence == started.sequence


async def test_a_listener_that_lags_is_cut_off(bus, job_log: JobLog, make_job) -> None:
    last = await job_log.create(make_job())
    async with JobView(bus, job_log) as view:
        with view.feed(last.job.job_id, 2) as lagging, view.feed(last.job.job_id, 64) as listening:
            for _ in range(4):
                last = await job_log.write(last, EventType.PROGRESSED, last.job.changed(now()))
            for _ in range(4):
                assert await asyncio.wait_for(listening.get(), 5) is not None
            assert await lagging.get() is not None
            assert await lagging.get() is not None
            assert await lagging.get() is None
            assert lagging.is_cut_off


async def test_a_listener_that_was_cut_off_hears_no_more_with_a_gap(bus, job_log: JobLog, make_job) -> None:
    """What comes after the gap may not be told: whoever resumes behind it would never learn what is missing."""
    last = await job_log.create(make_job())
    async with JobView(bus, job_log) as view:
        with view.feed(last.job.job_id, 1) as lagging, view.feed(last.job.job_id, 64) as listening:
            for _ in range(2):
                last = await job_log.write(last, EventType.PROGRESSED, last.job.changed(now()))
                await asyncio.wait_for(listening.get(), 5)
            first = await lagging.get()
            assert first is not None
            await job_log.write(last, EventType.PROGRESSED, last.job.changed(now()))
            await asyncio.wait_for(listening.get(), 5)
            assert await asyncio.wait_for(lagging.get(), 5) is None


async def test_is_not_current_until_it_has_caught_up_again(bus, job_log: JobLog, make_job, restartable_nats) -> None:
    created = await job_log.create(make_job())
    async with JobView(bus, job_log) as view:
        assert view.is_current
        reconnected = asyncio.Event()
        seen: list[bool] = []

        def look() -> None:
            seen.append(view.is_current)
            reconnected.set()

        bus.on_reconnect(look)
        with view.feed(created.job.job_id, 64) as feed:
            restartable_nats.kill()
            restartable_nats.start()
            await asyncio.wait_for(reconnected.wait(), 20)
            assert seen == [False]
            await job_log.write(created, EventType.STARTED, created.job.changed(now()))
            assert await asyncio.wait_for(feed.get(), 20) is not None
            assert view.is_current
