"""The worker loop: take work, claim the job, have it done, write the outcome, acknowledge last.

What holds whatever dies when:
- Work is acknowledged only after the event that makes it needless is in the log, so it is never lost.
- Every event is a compare-and-set, so of two workers with the same job one finds out at its next write and stops. A
  worker that has nothing to write looks at the log from time to time, and as soon as it hears of a cancel.
- Work that was delivered again meanwhile is left to whoever has it now: neither acknowledged nor given back.
- Handing on writes the event first and queues the next stage's work second; a redelivery in between finds the job
  in the next stage and queues that work again, which the stream refuses if it is there already.
"""

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Protocol

import nats.errors
from nats.aio.msg import Msg
from pydantic import ValidationError

from contracts import subjects
from contracts.errors import (
    AlidadeError,
    DependencyUnavailable,
    JobCancelled,
    Superseded,
    TransientError,
    WorkerCrashed,
)
from contracts.events import EventType
from contracts.identifiers import new_event_id
from contracts.jobs import Claim, Delivery, Failure, Job, JobStatus, LogLine, ResultFile
from contracts.pipelines import pipeline_of
from contracts.work import DeadItem, WorkItem
from runtime import metrics
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.logs import get_logger
from runtime.retry import GiveUp, TryAgain, WaitForDependency, judge, public_words
from runtime.scratch import ScratchFolder
from runtime.settings import WorkerSettings
from runtime.stage_work import StageWork

log = get_logger(__name__)

_PULL_S = 1.0
"""Length of one pull: short, because a pull under way stays deaf over a restart of the server."""
_PULL_PAUSE_S = 0.5
_CLAIM_TRIES = 5
_LOOKS_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Pauses between looks at the log after a cancel was heard."""


class Step(Protocol):
    """What a service does with one stage of a job."""

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Do the stage; return what the job delivers if it is the last one.

        Raises UserError if the user's data is at fault. Must end soon after `work.stopped` is set.
        """

    async def clean_up(self, job: Job) -> None:
        """Remove what a cancelled or superseded attempt has stored. `job` is as that attempt knew it."""


class ShuttingDown(AlidadeError):
    """The worker was told to stop: it hands its jobs back."""


@dataclass(frozen=True)
class _Taken:
    """Work in hand: the message, what it says, and which delivery of it this is."""

    message: Msg
    item: WorkItem
    delivery: Delivery


class Worker:
    """Takes the work of one service. `run` returns after `stop` once every job is handed back."""

    def __init__(self, service: str, bus: Bus, job_log: JobLog, step: Step, settings: WorkerSettings) -> None:
        self._service = service
        self._bus = bus
        self._job_log = job_log
        self._step = step
        self._settings = settings
        self._name = f"{service}-{socket.gethostname()}-{new_event_id()[:8]}"
        self._scratch = ScratchFolder(settings.scratch / service, self._name)
        self._stopping = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._running: dict[StageWork, asyncio.Event] = {}
        """What is under way, and what makes it look at the log."""
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Take no more work, and hand back what is under way."""
        self._stopping.set()
        for work in self._running:
            work.stop(ShuttingDown("The worker is shutting down."))

    async def run(self) -> None:
        """Work until `stop` is called. Raises DependencyUnavailable if the bus does not answer at the start."""
        await self._ensure_consumer()
        self._bus.on_reconnect(self._look_again)
        await asyncio.to_thread(self._scratch.__enter__)
        try:
            log.info("worker_ready", worker=self._name, concurrency=self._settings.concurrency)
            await self._take_until_stopped()
        finally:
            await asyncio.to_thread(self._scratch.__exit__, None, None, None)
        log.info("worker_stopped", worker=self._name)

    async def _take_until_stopped(self) -> None:
        while not self._stopping.is_set():
            await self._slots.acquire()
            message = await self._next_message()
            if message is None:
                self._slots.release()
                continue
            if self._stopping.is_set():
                await _hand_back(message, 0.0)
                break
            self._start(self._take(message))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _look_again(self) -> None:
        """Whatever was published while the connection was lost was not heard."""
        for heard in self._running.values():
            heard.set()

    def _start(self, taken: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(taken)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._slots.release())

    async def _ensure_consumer(self) -> None:
        await self._bus.ensure_work_consumer(self._service, ack_wait_s=self._settings.ack_wait_s)

    async def _next_message(self) -> Msg | None:
        try:
            return await self._bus.pull_work(self._service, timeout_s=_PULL_S)
        except DependencyUnavailable as error:
            log.warning("pull_failed", reason=error.message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PULL_PAUSE_S):
                await self._stopping.wait()
        # The consumer may have been lost with the server's disk, or removed.
        with contextlib.suppress(DependencyUnavailable):
            await self._ensure_consumer()
        return None

    async def _take(self, message: Msg) -> None:
        try:
            item = WorkItem.model_validate_json(message.data)
        except ValidationError:
            # Perhaps from a newer version, and a worker of that version will read it: it is not ours to throw away.
            log.exception("work_unreadable", subject=message.subject)
            await _hand_back(message, self._settings.retry_limit_s)
            return
        metadata = message.metadata
        delivery = Delivery(sequence=metadata.sequence.stream, number=metadata.num_delivered)
        taken = _Taken(message, item, delivery)
        beating = asyncio.create_task(self._keep(message))
        try:
            await self._work_on(taken)
        except Superseded as error:
            # The job belongs to another attempt, and so does its message: leave both alone.
            log.warning("work_left", job_id=item.job_id, reason=error.message)
        except TransientError as error:
            # Neither claimed nor finished by us: whoever gets the next delivery sees how things stand.
            log.warning("work_put_back", job_id=item.job_id, reason=error.message)
            await _hand_back(message, self._settings.retry_base_s)
        except Exception:
            log.exception("work_broke", job_id=item.job_id)
            await _hand_back(message, self._settings.retry_base_s)
        finally:
            beating.cancel()

    async def _keep(self, message: Msg) -> None:
        """Tell the stream that the work is under way, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.ack_wait_s / 3)
            with contextlib.suppress(nats.errors.Error, OSError):
                await message.in_progress()

    async def _work_on(self, taken: _Taken) -> None:
        claimed = await self._claim(taken)
        if claimed is None:
            await _acknowledge(taken.message)
            return
        job = claimed.job
        work = StageWork(self._job_log, claimed, self._scratch.path / f"{job.job_id}-{job.attempts}")
        self._running[work] = asyncio.Event()
        if self._stopping.is_set():
            work.stop(ShuttingDown("The worker is shutting down."))
        try:
            await self._attempt(taken, work)
        finally:
            del self._running[work]

    async def _claim(self, taken: _Taken) -> Recorded | None:
        """Make the job ours, or None if there is nothing left to do for this item.

        Raises Superseded if the work was delivered to somebody else meanwhile; TransientError.
        """
        for _ in range(_CLAIM_TRIES):
            last = await self._job_log.read(taken.item.job_id)
            if last is None or last.job.status.is_final:
                return None
            if last.job.stage != self._service:
                # Handed on, but whoever did it may have died before the next stage's work was queued.
                await self._job_log.queue(last.job)
                return None
            job = last.job
            _refuse_if_overtaken(job, taken.delivery)
            # A claim that nobody gave back belongs to a worker that died.
            died = 1 if job.claim is not None else 0
            attempt = job.attempts + 1
            moment = now()
            claimed = job.changed(
                moment,
                status=JobStatus.PROCESSING,
                claim=Claim(service=self._service, worker=self._name, attempt=attempt),
                delivery=taken.delivery,
                attempts=attempt,
                failed_attempts=job.failed_attempts + died,
                started_at=job.started_at or moment,
            )
            with contextlib.suppress(Superseded):
                return await self._job_log.write(last, EventType.STARTED, claimed)
        raise TransientError(f"Job {taken.item.job_id} changes too often to be claimed.")

    async def _attempt(self, taken: _Taken, work: StageWork) -> None:
        """Do the work and settle whatever comes of it. Raises Superseded, DependencyUnavailable."""
        died = work.job.failed_attempts
        try:
            if died >= self._settings.max_attempts:
                # Every attempt so far took its worker down with it.
                crash = WorkerCrashed("The worker died while it computed this job.")
                await self._settle_failure(taken, work, crash, died)
            else:
                await self._run_step(taken, work)
        except JobCancelled:
            log.info("stage_cancelled", job_id=work.job.job_id)
            await self._clean_up(work)
            await _acknowledge(taken.message)
        except Superseded:
            await self._clean_up(work)
            raise

    async def _clean_up(self, work: StageWork) -> None:
        try:
            await self._step.clean_up(work.job)
        except AlidadeError as error:
            # It goes in time, with the rest of the job.
            log.warning("clean_up_failed", job_id=work.job.job_id, reason=error.message)

    async def _run_step(self, taken: _Taken, work: StageWork) -> None:
        began = time.monotonic()
        running = metrics.JOBS_RUNNING.labels(self._service)
        log.info("stage_started", job_id=work.job.job_id, attempt=work.attempt)
        try:
            with running.track_inprogress():
                results = await self._results(work)
        except Superseded:
            raise
        except ShuttingDown:
            await self._settle_hand_back(taken, work)
        except Exception as error:
            if not isinstance(error, AlidadeError):
                log.exception("stage_broke", job_id=work.job.job_id)
            await self._settle_failure(taken, work, error, work.job.failed_attempts + 1)
        else:
            await self._settle_success(taken, work, results)
        finally:
            metrics.STAGE_SECONDS.labels(self._service, work.job.kind).observe(time.monotonic() - began)

    async def _results(self, work: StageWork) -> tuple[ResultFile, ...]:
        """What the step delivers. Raises what it raises; the reason of the stop if the work was stopped."""
        await asyncio.to_thread(work.scratch.mkdir, parents=True)
        try:
            async with self._accompanied(work):
                await self._look(work)
                return await self._run_until_stopped(work)
        finally:
            await asyncio.to_thread(shutil.rmtree, work.scratch, ignore_errors=True)

    async def _run_until_stopped(self, work: StageWork) -> tuple[ResultFile, ...]:
        """The step may wait for something else when the work is stopped: it is cancelled."""
        running, stopped = asyncio.create_task(self._step.run(work)), asyncio.create_task(work.stopped.wait())
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            running.cancel()
            await asyncio.wait({running})
        if work.stop_reason is not None:
            if not running.cancelled():
                # What broke after the stop broke because of it.
                running.exception()
            raise work.stop_reason
        return running.result()

    @contextlib.asynccontextmanager
    async def _accompanied(self, work: StageWork) -> AsyncIterator[None]:
        """Meanwhile the work's progress goes out, and a cancel comes in."""
        heard = self._running[work]

        async def on_cancelled(_: Msg) -> None:
            heard.set()

        cancellations = await self._bus.listen(subjects.cancellations(work.job.job_id), on_cancelled)
        tasks = [asyncio.create_task(work.write_until_stopped()), asyncio.create_task(self._follow(work, heard))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with contextlib.suppress(nats.errors.Error):
                await cancellations.unsubscribe()

    async def _follow(self, work: StageWork, heard: asyncio.Event) -> None:
        """Look at the log now and then, and as soon as there is reason to."""
        while not work.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which up to Python 3.11 forgets a cancellation that crosses with the event.
                async with asyncio.timeout(self._settings.ack_wait_s / 3):
                    await heard.wait()
            # What is heard may be stored a little later, or never: a cancel that lost its compare-and-set is heard too.
            pauses_s = _LOOKS_S if heard.is_set() else (0.0,)
            heard.clear()
            for pause_s in pauses_s:
                await asyncio.sleep(pause_s)
                await self._look(work)

    async def _look(self, work: StageWork) -> None:
        """Stop the work if the log says that it is no longer this attempt's."""
        job_id = work.job.job_id
        try:
            newest = await self._job_log.read(job_id)
        except DependencyUnavailable as error:
            log.warning("look_failed", job_id=job_id, reason=error.message)
            return
        if newest is None:
            return
        if newest.job.status is JobStatus.CANCELLED:
            work.stop(JobCancelled(f"Job {job_id} was cancelled."))
        elif newest.job.attempts > work.attempt:
            work.stop(Superseded(f"Job {job_id} belongs to a newer attempt."))

    async def _settle_success(self, taken: _Taken, work: StageWork, results: tuple[ResultFile, ...]) -> None:
        pipeline = pipeline_of(work.job.request)
        following = pipeline.stage_after(self._service)
        moment = now()
        present = work.present()
        if following is None:
            done = present.changed(
                moment,
                status=JobStatus.COMPLETED,
                progress=present.progress.model_copy(update={"percent": 100.0, "remaining_s": 0.0}),
                results=results,
                claim=None,
                finished_at=moment,
            )
            line = LogLine(time=moment, message="Pipeline finished successfully", step=pipeline.done_label)
            await work.finish(EventType.COMPLETED, done, [line])
        else:
            handed_on = present.changed(moment, stage=following.service, claim=None, failed_attempts=0)
            await work.finish(EventType.PROGRESSED, handed_on)
            await self._job_log.queue(handed_on)
        await _acknowledge(taken.message)
        metrics.JOBS_FINISHED.labels(self._service, work.job.kind, "done").inc()
        log.info("stage_done", job_id=work.job.job_id, attempt=work.attempt)

    async def _settle_hand_back(self, taken: _Taken, work: StageWork) -> None:
        """The job waits again, as if it had not been taken; nobody's fault."""
        await work.finish(EventType.PROGRESSED, work.present().changed(now(), claim=None))
        await _hand_back(taken.message, 0.0)
        log.info("stage_handed_back", job_id=work.job.job_id, attempt=work.attempt)

    async def _settle_failure(self, taken: _Taken, work: StageWork, error: Exception, failed_attempts: int) -> None:
        verdict = judge(error, failed_attempts, taken.delivery.number, self._settings)
        log.warning(
            "stage_failed",
            job_id=work.job.job_id,
            reason=repr(error),
            detail=error.detail if isinstance(error, AlidadeError) else None,
            verdict=type(verdict).__name__,
        )
        words = public_words(error)
        match verdict:
            case TryAgain(delay_s):
                words = f"Attempt {work.attempt} failed: {words} Trying again in {delay_s:.0f} s."
                await self._try_again(taken, work, words, failed_attempts, delay_s)
            case WaitForDependency(delay_s):
                words = f"{words} Trying again in {delay_s:.0f} s."
                await self._try_again(taken, work, words, work.job.failed_attempts, delay_s)
            case GiveUp():
                await self._give_up(taken, work, verdict, failed_attempts)

    async def _try_again(
        self, taken: _Taken, work: StageWork, words: str, failed_attempts: int, delay_s: float
    ) -> None:
        moment = now()
        present = work.present()
        label = pipeline_of(present.request).step(present.progress.step).label
        line = LogLine(time=moment, message=words, step=label)
        again = present.changed(moment, claim=None, failed_attempts=failed_attempts)
        await work.finish(EventType.LOGGED, again, [line])
        await _hand_back(taken.message, delay_s)

    async def _give_up(self, taken: _Taken, work: StageWork, verdict: GiveUp, failed_attempts: int) -> None:
        moment = now()
        failed = work.present().changed(
            moment,
            status=JobStatus.FAILED,
            error=verdict.failure,
            claim=None,
            failed_attempts=failed_attempts,
            finished_at=moment,
        )
        label = pipeline_of(failed.request).failed_label
        line = LogLine(time=moment, message=f"ERROR: {verdict.failure.message}", step=label, level="error")
        if not verdict.is_users_fault:
            await self._bury(taken.item, verdict.failure, failed_attempts)
        await work.finish(EventType.FAILED, failed, [line])
        await _acknowledge(taken.message)
        metrics.JOBS_FINISHED.labels(self._service, failed.kind, "failed").inc()

    async def _bury(self, item: WorkItem, failure: Failure, failed_attempts: int) -> None:
        dead = DeadItem(work=item, reason=failure, deliveries=failed_attempts, died_at=now())
        await self._bus.publish(
            subjects.dead(item.service, item.job_id),
            dead.model_dump_json().encode(),
            message_id=new_event_id(),
            content_type="application/json",
        )


def _refuse_if_overtaken(job: Job, delivery: Delivery) -> None:
    """Raises Superseded if the same work was delivered again since this delivery, and somebody is at it."""
    last = job.delivery
    if job.claim is None or last is None:
        return
    if last.sequence == delivery.sequence and last.number >= delivery.number:
        raise Superseded(f"The work of job {job.job_id} was delivered again meanwhile.")


async def _acknowledge(message: Msg) -> None:
    """If the acknowledgement is lost the work comes back, and whoever takes it finds nothing left to do."""
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        await message.ack_sync(timeout=5)


async def _hand_back(message: Msg, delay_s: float) -> None:
    """If this is lost the work comes back after the consumer's `ack_wait`."""
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        await message.nak(delay=delay_s or None)
