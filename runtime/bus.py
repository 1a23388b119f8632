"""The bus: NATS with JetStream behind the few operations that Alidade needs.

What is worked around in the client library (nats-py 2.16), and why:
- a publish whose acknowledgement is lost may or may not have been stored: it is repeated with the same id, and the
  server's deduplication makes that harmless;
- a pull in flight stays deaf after the server restarts: pulls are short, so the next one hears again;
- a pull that was given up may still be answered, when the server or the connection stalled, and the message would wait
  unseen in the subscription: every pull has an inbox of its own, and what comes late is handed back;
- a request that is cancelled just as its reply comes returns as if nothing had been: it is made to end as cancelled;
- the client connects for as long as it takes, and so would never say that nobody is there: we give it a time limit;
- the default error callback prints a traceback for every reconnect attempt: ours logs one line.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    PubAck,
    RetentionPolicy,
    StatusCode,
    StorageType,
    StreamConfig,
)

from contracts import subjects
from contracts.errors import AlidadeError, DependencyUnavailable
from runtime.logs import get_logger
from runtime.settings import BusSettings

log = get_logger(__name__)

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_WRONG_LAST_SEQUENCE = 10071
_STORE_FAILED = 10077
_SUBJECT_IS_FULL = "maximum messages per subject exceeded"
"""The server has one code for everything that its store refuses, a full disk included; only the words differ."""
_CONNECT_S = 10.0
_PULL_GRACE_S = 1.0
"""How much longer than the server the client waits for the end of a pull."""
_UNANSWERED_PULLS = 100
"""Pulls that were given up and may still be answered: with one every two seconds, those of some minutes."""
_NO_WORK = frozenset({StatusCode.NO_MESSAGES, StatusCode.REQUEST_TIMEOUT})
_DEDUPLICATION_S = 120.0
_PUBLISH_TRIES = 5
_PUBLISH_TIMEOUT_S = 4.0
_FLUSH_S = 2
_DEAD_KEPT_S = 90 * 86400.0


class SequenceMismatch(AlidadeError):
    """Compare-and-set failed: somebody else wrote first."""


class AlreadyQueued(AlidadeError):
    """The same work is in the queue."""


class MessageTooLarge(AlidadeError):
    """The server takes no message of that size, however often it is sent."""


class _Client(Client):
    """`request` uses `asyncio.wait_for`, which up to Python 3.11 forgets a cancellation that crosses with the result.

    A task that loops over requests would then go on for ever, and whoever cancelled it wait for it.
    """

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109  (the library's own signature)
        old_style: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        reply = await super().request(subject, payload, timeout, old_style, headers)
        if task and task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
        return reply


class Bus:
    """One connection to NATS. Made by `Bus.connect`, closed by `close` or as an async context manager."""

    def __init__(self, client: Client, settings: BusSettings) -> None:
        self._client = client
        self._settings = settings
        self._on_reconnect: list[Callable[[], None]] = []
        self._unanswered: deque[Subscription] = deque()
        self.jetstream: JetStreamContext = client.jetstream(timeout=_PUBLISH_TIMEOUT_S)

    @classmethod
    async def connect(cls, settings: BusSettings, name: str) -> Self:
        """Connect and make sure that the streams exist. Raises DependencyUnavailable after some seconds of trying."""
        client = _Client()
        bus = cls(client, settings)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await client.connect(
                    settings.url,
                    name=name,
                    user=settings.username,
                    password=settings.password,
                    connect_timeout=5,
                    reconnect_time_wait=1,
                    max_reconnect_attempts=-1,
                    allow_reconnect=True,
                    error_cb=bus._log_error,
                    disconnected_cb=bus._log_disconnect,
                    reconnected_cb=bus._tell_reconnect,
                )
            await bus._ensure_streams()
        except (OSError, nats.errors.Error, TimeoutError) as error:
            await client.close()
            raise DependencyUnavailable(f"The bus at {bus.address} does not answer: {error!r}.") from error
        except BaseException:
            await client.close()
            raise
        return bus

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str:
        """Where the bus is, without the credentials that the URL may hold."""
        return urlsplit(self._settings.url).netloc.rpartition("@")[2]

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after every lost and regained connection."""
        self._on_reconnect.append(callback)

    async def close(self) -> None:
        """Flush what is under way, then disconnect."""
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                await self._client.flush(timeout=_FLUSH_S)
        # Not `drain`: it waits half a minute for pulls that nobody will answer.
        await self._client.close()

    async def publish(self, subject: str, payload: bytes, *, message_id: str, content_type: str) -> int:
        """Publish into the subject's stream and return the stream sequence. Repeatable: `message_id` deduplicates.

        Raises AlreadyQueued if the stream keeps one message per subject and has one, MessageTooLarge,
        DependencyUnavailable.
        """
        return await self._publish(subject, payload, {MESSAGE_ID: message_id, "Content-Type": content_type})

    async def publish_if_last(
        self, subject: str, payload: bytes, *, message_id: str, content_type: str, scope: str, expected_sequence: int
    ) -> int:
        """Publish only if `expected_sequence` is the last sequence over the subjects in `scope` (0: there is none).

        The server compares before it deduplicates, so a repeated publish whose first acknowledgement was lost also
        ends in SequenceMismatch: the caller looks whether the last message is its own.
        Raises SequenceMismatch, MessageTooLarge, DependencyUnavailable.
        """
        headers = {
            MESSAGE_ID: message_id,
            "Content-Type": content_type,
            EXPECTED_SEQUENCE: str(expected_sequence),
            EXPECTED_SUBJECT: scope,
        }
        return await self._publish(subject, payload, headers)

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        for attempt in range(_PUBLISH_TRIES):
            try:
                ack: PubAck = await self.jetstream.publish(subject, payload, headers=dict(headers))
            except nats.js.errors.APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    raise SequenceMismatch(f"{subject}: {error.description}") from error
                if error.err_code == _STORE_FAILED and error.description == _SUBJECT_IS_FULL:
                    raise AlreadyQueued(subject) from error
                if attempt + 1 == _PUBLISH_TRIES:
                    raise DependencyUnavailable(f"The bus refused {subject}: {error.description}.") from error
            except nats.errors.MaxPayloadError as error:
                raise MessageTooLarge(f"{subject}: {len(payload):,} bytes are too many.") from error
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                if self._client.is_closed or attempt + 1 == _PUBLISH_TRIES:
                    raise DependencyUnavailable(f"The bus does not take {subject}: {error!r}.") from error
            else:
                return ack.seq
            await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Ask whichever service answers `subject`. Raises DependencyUnavailable if none does in time."""
        try:
            reply = await self._client.request(subject, payload, timeout=timeout_s)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise DependencyUnavailable(f"No service answers {subject}: {error!r}.") from error
        return reply.data

    async def answer(self, subject: str, group: str, reply: Callable[[bytes], Awaitable[bytes]]) -> Subscription:
        """Answer requests on `subject`, shared with the other members of `group`."""

        async def on_request(message: Msg) -> None:
            try:
                await message.respond(await reply(message.data))
            except Exception:
                log.exception("request_failed", subject=subject)

        async def on_message(message: Msg) -> None:
            # One slow answer must not hold up the next question.
            task = asyncio.create_task(on_request(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        tasks: set[asyncio.Task[None]] = set()
        return await self._client.subscribe(subject, queue=group, cb=on_message)

    async def listen(self, subject: str, on_message: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Hear what is published on `subject` from now on, without the stream's guarantees."""
        return await self._client.subscribe(subject, cb=on_message)

    async def ensure_work_consumer(self, service: str, *, ack_wait_s: float) -> None:
        """Make the durable pull consumer of a service if it is not there. Raises DependencyUnavailable."""
        config = ConsumerConfig(
            durable_name=subjects.consumer(service),
            filter_subject=subjects.work_of(service),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_s,
            max_deliver=-1,
            max_ack_pending=10_000,
        )
        try:
            await self.jetstream.add_consumer(subjects.WORK_STREAM, config)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
            raise DependencyUnavailable(f"The bus cannot keep the consumer of {service}: {error!r}.") from error

    async def pull_work(self, service: str, *, timeout_s: float) -> Msg | None:
        """One message of a service's work, or None if none comes in time.

        Raises DependencyUnavailable; also if the consumer is gone (see `ensure_work_consumer`).
        """
        if not self._client.is_connected:
            # The client would keep the pull for later, and one for every try.
            raise DependencyUnavailable("The connection to the bus is lost.")
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

        async def on_answer(message: Msg) -> None:
            if not answer.done():
                answer.set_result(message)
            elif JetStreamContext.is_status_msg(message) is None:
                log.info("late_work_handed_back", subject=message.subject)
                with contextlib.suppress(nats.errors.Error):
                    await message.nak()

        inbox = self._client.new_inbox()
        wanted = {"batch": 1, "expires": int(timeout_s * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.WORK_STREAM}.{subjects.consumer(service)}"
        try:
            subscription = await self._client.subscribe(inbox, cb=on_answer)
            try:
                await self._client.publish(subject, json.dumps(wanted).encode(), inbox)
                # The server ends the pull itself, and says so: its end cannot cross with a message.
                async with asyncio.timeout(timeout_s + _PULL_GRACE_S):
                    message = await answer
            finally:
                if answer.cancel() or answer.cancelled():
                    await self._listen_on(subscription)
                else:
                    await subscription.unsubscribe()
        except TimeoutError:
            return None
        except (nats.errors.Error, OSError) as error:
            raise DependencyUnavailable(f"The bus gives no work: {error!r}.") from error
        return _work_in(message)

    async def _listen_on(self, given_up: Subscription) -> None:
        """For a while, so that what comes late is handed back."""
        self._unanswered.append(given_up)
        if len(self._unanswered) > _UNANSWERED_PULLS:
            await self._unanswered.popleft().unsubscribe()

    async def _ensure_streams(self) -> None:
        for config in _streams(self._settings):
            config.storage = StorageType.FILE
            config.num_replicas = self._settings.replicas
            config.allow_direct = True
            await self._ensure_stream(config)

    async def _ensure_stream(self, config: StreamConfig) -> None:
        try:
            try:
                await self.jetstream.add_stream(config)
            except nats.js.errors.BadRequestError:
                # It exists with other limits, for instance another age: bring it up to the settings.
                await self.jetstream.update_stream(config)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
            raise DependencyUnavailable(f"The bus cannot keep the stream {config.name}: {error!r}.") from error

    async def _log_error(self, error: Exception) -> None:
        log.warning("bus_error", error=repr(error))

    async def _log_disconnect(self) -> None:
        log.warning("bus_disconnected", address=self.address)

    async def _tell_reconnect(self) -> None:
        log.info("bus_reconnected", address=self.address)
        for callback in self._on_reconnect:
            callback()


def _work_in(answer: Msg) -> Msg | None:
    """The answer to a pull, or None if it says that there is no work. Raises DependencyUnavailable."""
    status = JetStreamContext.is_status_msg(answer)
    if status is None:
        return answer
    if status in _NO_WORK:
        return None
    raise DependencyUnavailable(f"The bus refuses to give work: {answer.headers}.")


def _streams(settings: BusSettings) -> tuple[StreamConfig, ...]:
    jobs = StreamConfig(
        name=subjects.JOBS_STREAM,
        subjects=[subjects.ALL_JOB_EVENTS],
        retention=RetentionPolicy.LIMITS,
        max_age=settings.keep_jobs_s,
        duplicate_window=_DEDUPLICATION_S,
    )
    work = StreamConfig(
        name=subjects.WORK_STREAM,
        subjects=[subjects.ALL_WORK],
        retention=RetentionPolicy.WORK_QUEUE,
        max_msgs_per_subject=1,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
        duplicate_window=_DEDUPLICATION_S,
    )
    dead = StreamConfig(
        name=subjects.DEAD_STREAM,
        subjects=[subjects.ALL_DEAD],
        retention=RetentionPolicy.LIMITS,
        max_age=_DEAD_KEPT_S,
    )
    return jobs, work, dead
