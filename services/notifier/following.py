"""A job's states from a place in the log onwards: what was missed first, then what comes, each once and in order."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager

import nats.errors
import nats.js.errors

from contracts import subjects
from contracts.errors import AlidadeError, DependencyUnavailable
from runtime.bus import Bus
from runtime.job_log import JobLog, Recorded
from runtime.job_view import Feed, JobView


class FeedEnded(AlidadeError):
    """The live feed was cut: its listener lags, or the service stops."""


async def newest_known(job_log: JobLog, known: Recorded, last_event_id: int | None) -> Recorded:
    """`known`, or what the stream itself has if a notifier that is ahead of this one seems to have told of more.

    Raises DependencyUnavailable.
    """
    if last_event_id is None or last_event_id <= known.sequence:
        return known
    return await job_log.read(known.job.job_id) or known


async def place_to_resume(bus: Bus, known: Recorded, last_event_id: int | None) -> int | None:
    """`last_event_id` if it is one of the job's and the stream still holds everything after it, else None.

    `known` is the newest state there is. Raises DependencyUnavailable.
    """
    if last_event_id is None or last_event_id > known.sequence:
        return None
    try:
        state = (await bus.jetstream.stream_info(subjects.JOBS_STREAM)).state
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
        raise DependencyUnavailable(f"The job log cannot be read: {error!r}.") from error
    return last_event_id if last_event_id >= state.first_seq - 1 else None


async def states(
    job_log: JobLog,
    view: JobView,
    job_id: str,
    resume_after: int | None,
    open_feed: Callable[[], AbstractContextManager[Feed]],
) -> AsyncGenerator[Recorded, None]:
    """The job's states, up to its final one. Without a place to resume from, the present state comes first.

    Raises FeedEnded, DependencyUnavailable.
    """
    sent = resume_after or 0
    if resume_after is not None:
        # The long way is gone before the feed opens, so that the feed does not overflow meanwhile.
        async for event in job_log.events(job_id, sent):
            sent = event.sequence
            yield Recorded(event.job, sent)
            if event.job.status.is_final:
                return
    with open_feed() as feed:
        # Whatever comes after this one is in the feed.
        newest = await view.find(job_id)
        if resume_after is not None:
            async for event in job_log.events(job_id, sent):
                sent = event.sequence
                yield Recorded(event.job, sent)
                if event.job.status.is_final:
                    return
        # The snapshot. After a resume only where a replica of the stream that lags has answered with too little.
        if newest is not None and newest.sequence > sent:
            sent = newest.sequence
            yield newest
            if newest.job.status.is_final:
                return
        async for recorded in _live(feed, sent):
            yield recorded


async def _live(feed: Feed, sent: int) -> AsyncGenerator[Recorded, None]:
    while (event := await feed.get()) is not None:
        if event.sequence <= sent:
            continue
        sent = event.sequence
        yield Recorded(event.job, sent)
        if event.job.status.is_final:
            return
    raise FeedEnded("The feed of the job was cut.")
