"""A view of the job log, folded into memory: what gateways and notifiers answer from."""

import asyncio
import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from contracts import subjects
from contracts.jobs import JobKind
from runtime.bus import Bus
from runtime.job_log import JobLog, Recorded, RecordedEvent, UnreadableEvent, parse_event
from runtime.logs import get_logger

log = get_logger(__name__)

_HEARTBEAT_S = 1.0
_RETRY_LIMIT_S = 5.0


class Feed:
    """The events of one job from now on, for one listener. A listener that lags is cut off, not buffered for ever."""

    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[RecordedEvent | None] = asyncio.Queue(size)
        self.is_cut_off = False

    def put(self, event: RecordedEvent) -> None:
        if self.is_cut_off:
            # Events behind a gap would hide it.
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.is_cut_off = True

    def close(self) -> None:
        """Wake the listener and end its feed, for instance at shutdown."""
        self.is_cut_off = True
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def get(self) -> RecordedEvent | None:
        """The next event, or None once the feed has ended."""
        if self.is_cut_off and self._queue.empty():
            return None
        return await self._queue.get()


class JobView:
    """Follows the stream JOBS. `async with JobView(bus, job_log) as view` returns once the view has caught up."""

    def __init__(self, bus: Bus, job_log: JobLog) -> None:
        self._bus = bus
        self._job_log = job_log
        self._jobs: dict[str, Recorded] = {}
        self._feeds: dict[str, set[Feed]] = {}
        self._sequence = 0
        self._pending: int | None = None
        self._caught_up = asyncio.Event()
        self._resubscribe = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._bus.on_reconnect(self._begin_again)
        self._follower = asyncio.create_task(self._follow(), name="job-view")
        await self._caught_up.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for feeds in self._feeds.values():
            for feed in feeds:
                feed.close()
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower

    def _begin_again(self) -> None:
        self._caught_up.clear()
        self._resubscribe.set()

    @property
    def is_current(self) -> bool:
        """Whether the view has caught up with the log and follows it at present."""
        return self._caught_up.is_set() and self._bus.is_connected

    def jobs(self, kind: JobKind, owner: str) -> list[Recorded]:
        """Jobs of a kind that belong to `owner`, most recent first."""
        mine = [r for r in self._jobs.values() if r.job.kind == kind and r.job.owner == owner]
        return sorted(mine, key=lambda r: (r.job.created_at, r.job.job_id), reverse=True)

    def all_jobs(self) -> list[Recorded]:
        """Every job, in no order."""
        return list(self._jobs.values())

    async def find(self, job_id: str) -> Recorded | None:
        """The job, from memory; on a miss from the stream itself. Raises DependencyUnavailable."""
        return self._jobs.get(job_id) or await self._job_log.read(job_id)

    def learn(self, recorded: Recorded) -> None:
        """Take over what this process has just written, so that it reads its own writes."""
        known = self._jobs.get(recorded.job.job_id)
        if known is None or known.sequence < recorded.sequence:
            self._jobs[recorded.job.job_id] = recorded

    def forget(self, job_id: str) -> None:
        """Drop a job whose log has expired."""
        self._jobs.pop(job_id, None)

    @contextlib.contextmanager
    def feed(self, job_id: str, size: int) -> Iterator[Feed]:
        """Events of a job from now on; at most `size` of them wait."""
        feed = Feed(size)
        self._feeds.setdefault(job_id, set()).add(feed)
        try:
            yield feed
        finally:
            feeds = self._feeds[job_id]
            feeds.discard(feed)
            if not feeds:
                del self._feeds[job_id]

    async def _follow(self) -> None:
        """Keep a subscription; begin a new one after every lost connection, from the last event seen."""
        delay_s = 0.1
        while True:
            self._resubscribe.clear()
            try:
                subscription = await self._subscribe()
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                log.warning("job_view_retries", error=repr(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_LIMIT_S)
                continue
            delay_s = 0.1
            try:
                await self._resubscribe.wait()
            finally:
                with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
                    await subscription.unsubscribe()

    async def _subscribe(self) -> JetStreamContext.PushSubscription:
        if self._sequence:
            config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._sequence + 1)
        else:
            # One message per job and event type: enough to know every job's present state.
            config = ConsumerConfig(
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, filter_subject=subjects.ALL_JOB_EVENTS
            )
        subscription = await self._bus.jetstream.subscribe(
            subjects.ALL_JOB_EVENTS,
            stream=subjects.JOBS_STREAM,
            cb=self._on_message,
            ordered_consumer=True,
            idle_heartbeat=_HEARTBEAT_S,
            config=config,
        )
        info = await subscription.consumer_info()
        if info.num_pending == 0 and info.delivered is not None and not info.delivered.consumer_seq:
            self._caught_up.set()
        return subscription

    async def _on_message(self, message: Msg) -> None:
        metadata = message.metadata
        self._sequence = max(self._sequence, metadata.sequence.stream)
        try:
            event = RecordedEvent(parse_event(message.data), metadata.sequence.stream)
        except UnreadableEvent:
            log.exception("event_unreadable", subject=message.subject, sequence=metadata.sequence.stream)
        else:
            self.learn(Recorded(event.job, event.sequence))
            for feed in self._feeds.get(event.job.job_id, ()):
                feed.put(event)
        if metadata.num_pending == 0:
            self._caught_up.set()
