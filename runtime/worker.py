"""The worker loop: take work, claim the job, have it done, write the outcome, acknowledge last.

What holds whatever dies when:
- Work is acknowledged only after the event that makes it needless is in the log, so it is never lost.
- Every event is a compare-and-set, so of two workers with the same job one finds out at its next write and stops.
- Handing on writes the event first and queues the next stage's work second; a redelivery in between finds the job
  in the next stage and queues that work again, which the stream refuses if it is there already.
"""

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pydantic import ValidationError

from contracts import subjects
from contracts.errors import (
    AlidadeError,
    DependencyUnavailable,
    JobCancelled,
    Superseded,
    WorkerCrashed,
)
from contracts.events import EventType
from contracts.identifiers import new_event_id
from contracts.jobs import Claim, Failure, Job, JobStatus, LogLine, ResultFile
from contracts.pipelines import PIPELINES
from contracts.work import DeadItem, WorkItem
from runtime import metrics
from runtime.bus import Bus
from runtime.clock import now
from runtime.job_log import JobLog, Recorded
from runtime.logs import get_logger
from runtime.retry import GiveUp, TryAgain, judge, public_words
from runtime.settings import WorkerSettings
from runtime.stage_work import StageWork

log = get_logger(__name__)

_PULL_S = 1.0
"""Length of one pull: short, because a pull under way stays deaf over a restart of the server."""
_CLAIM_TRIES = 5


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
class _Delivery:
    message: Msg
    item: WorkItem


class Worker:
    """Takes the work of one service. `run` returns after `stop` once every job is handed back."""

    def __init__(self, service: str, bus: Bus, job_log: JobLog, step: Step, settings: WorkerSettings) -> None:
        self._service = service
        self._bus = bus
        self._job_log = job_log
        self._step = step
        self._settings = settings
        self._name = f"{service}-{socket.gethostname()}-{new_event_id()[:8]}"
        self._stopping = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._running: dict[str, StageWork] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Take no more work, and hand back what is under way."""
        self._stopping.set()
        for work in self._running.values():
            work.stop(ShuttingDown("The worker is shutting down."))

    async def run(self) -> None:
        """Work until `stop` is called."""
        subscription = await self._bus.work_subscription(self._service, ack_wait_s=self._settings.ack_wait_s)
        log.info("worker_ready", worker=self._name, concurrency=self._settings.concurrency)
        while not self._stopping.is_set():
            await self._slots.acquire()
            message = await self._next_message(subscription)
            if message is None:
                self._slots.release()
                continue
            if self._stopping.is_set():
                await _hand_back(message, 0.0)
                break
            self._start(self._take(message))
        if self._tasks:
            await asyncio.wait(self._tasks)
        log.info("worker_stopped", worker=self._name)

    def _start(self, taken: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(taken)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._slots.release())

    async def _next_message(self, subscription: JetStreamContext.PullSubscription) -> Msg | None:
        try:
            (message,) = await subscription.fetch(1, timeout=_PULL_S)
        except TimeoutError:
            return None
        except (nats.errors.Error, nats.js.errors.Error, OSError) as error:
            log.warning("pull_failed", error=repr(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.5)
            return None
        return message

    async def _take(self, message: Msg) -> None:
        try:
            item = WorkItem.model_validate_json(message.data)
        except ValidationError:
            log.exception("work_unreadable", subject=message.subject)
            await message.term()
            return
        delivery = _Delivery(message, item)
        beating = asyncio.create_task(self._keep(message))
        try:
            await self._work_on(delivery)
        except (DependencyUnavailable, Superseded) as error:
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

    async def _work_on(self, delivery: _Delivery) -> None:
        claimed = await self._claim(delivery.item)
        if claimed is None:
            await _acknowledge(delivery.message)
            return
        if claimed.job.failed_attempts >= self._settings.max_attempts:
            # Every attempt so far took its worker down with it.
            work = StageWork(self._job_log, claimed, Path())
            died = WorkerCrashed("The worker died while it computed this job.")
            await self._settle_failure(delivery, work, died, claimed.job.failed_attempts)
            return
        await self._compute(delivery, claimed)

    async def _claim(self, item: WorkItem) -> Recorded | None:
        """Make the job ours, or None if there is nothing left to do for this item."""
        for _ in range(_CLAIM_TRIES):
            last = await self._job_log.read(item.job_id)
            if last is None or last.job.status.is_final:
                return None
            if last.job.stage != self._service:
                # Handed on, but whoever did it may have died before the next stage's work was queued.
                await self._job_log.queue(last.job)
                return None
            job = last.job
            # A claim that nobody gave back belongs to a worker that died.
            died = 1 if job.claim is not None else 0
            attempt = job.attempts + 1
            moment = now()
            claimed = job.changed(
                moment,
                status=JobStatus.PROCESSING,
                claim=Claim(service=self._service, worker=self._name, attempt=attempt),
                attempts=attempt,
                failed_attempts=job.failed_attempts + died,
                started_at=job.started_at or moment,
            )
            with contextlib.suppress(Superseded):
                return await self._job_log.write(last, EventType.STARTED, claimed)
        raise Superseded(f"Job {item.job_id} changes too often to be claimed.")

    async def _compute(self, delivery: _Delivery, claimed: Recorded) -> None:
        job_id = claimed.job.job_id
        scratch = self._settings.scratch.absolute() / self._service / f"{job_id}-{claimed.job.attempts}"
        await asyncio.to_thread(_empty_folder, scratch)
        work = StageWork(self._job_log, claimed, scratch)
        self._running[job_id] = work
        if self._stopping.is_set():
            work.stop(ShuttingDown("The worker is shutting down."))
        began = time.monotonic()
        metrics.JOBS_RUNNING.labels(self._service).inc()
        log.info("stage_started", job_id=job_id, attempt=work.attempt)
        cancellations = await self._bus.listen(subjects.cancellations(job_id), _stopper(work))
        await self._stop_if_changed(work, claimed)
        writer = asyncio.create_task(work.write_until_stopped())
        try:
            await self._run_step(delivery, work)
        finally:
            del self._running[job_id]
            work.stopped.set()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            with contextlib.suppress(nats.errors.Error):
                await cancellations.unsubscribe()
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            metrics.JOBS_RUNNING.labels(self._service).dec()
            metrics.STAGE_SECONDS.labels(self._service, claimed.job.kind).observe(time.monotonic() - began)

    async def _stop_if_changed(self, work: StageWork, claimed: Recorded) -> None:
        """A cancel that came after the claim and before anybody listened would otherwise be heard much later."""
        newest = await self._job_log.read(claimed.job.job_id)
        if newest is None or newest.sequence == claimed.sequence:
            return
        if newest.job.status is JobStatus.CANCELLED:
            work.stop(JobCancelled(f"Job {claimed.job.job_id} was cancelled."))
        else:
            work.stop(Superseded(f"Job {claimed.job.job_id} was changed by somebody else."))

    async def _run_step(self, delivery: _Delivery, work: StageWork) -> None:
        """Run the step and settle whatever comes of it."""
        try:
            await self._refuse_if_stopped(work)
            results = await self._step.run(work)
            await self._refuse_if_stopped(work)
            await self._settle_success(delivery, work, results)
        except JobCancelled:
            log.info("stage_cancelled", job_id=work.job.job_id)
            await self._step.clean_up(work.job)
            await _acknowledge(delivery.message)
        except Superseded:
            # The job belongs to another attempt, and so does its message: leave both alone.
            log.warning("stage_superseded", job_id=work.job.job_id)
            await self._step.clean_up(work.job)
        except ShuttingDown:
            await self._settle_hand_back(delivery, work)
        except Exception as error:
            if work.stop_reason is not None:
                # The step broke because it was stopped under way; the reason for the stop is what counts.
                await self._settle_stop(delivery, work, work.stop_reason)
            else:
                if not isinstance(error, AlidadeError):
                    log.exception("stage_broke", job_id=work.job.job_id)
                await self._settle_failure(delivery, work, error, work.job.failed_attempts + 1)

    async def _refuse_if_stopped(self, work: StageWork) -> None:
        if work.stop_reason is not None:
            raise work.stop_reason

    async def _settle_stop(self, delivery: _Delivery, work: StageWork, reason: AlidadeError) -> None:
        if isinstance(reason, ShuttingDown):
            await self._settle_hand_back(delivery, work)
            return
        await self._step.clean_up(work.job)
        if isinstance(reason, JobCancelled):
            await _acknowledge(delivery.message)

    async def _settle_success(self, delivery: _Delivery, work: StageWork, results: tuple[ResultFile, ...]) -> None:
        pipeline = PIPELINES[work.job.kind]
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
        await _acknowledge(delivery.message)
        metrics.JOBS_FINISHED.labels(self._service, work.job.kind, "done").inc()
        log.info("stage_done", job_id=work.job.job_id, attempt=work.attempt)

    async def _settle_hand_back(self, delivery: _Delivery, work: StageWork) -> None:
        """The job waits again, as if it had not been taken; nobody's fault."""
        waiting = work.present().changed(now(), claim=None)
        try:
            await work.finish(EventType.PROGRESSED, waiting)
        except JobCancelled:
            await self._step.clean_up(work.job)
            await _acknowledge(delivery.message)
            return
        await _hand_back(delivery.message, 0.0)
        log.info("stage_handed_back", job_id=work.job.job_id, attempt=work.attempt)

    async def _settle_failure(
        self, delivery: _Delivery, work: StageWork, error: Exception, failed_attempts: int
    ) -> None:
        verdict = judge(error, failed_attempts, self._settings)
        log.warning(
            "stage_failed",
            job_id=work.job.job_id,
            reason=repr(error),
            detail=error.detail if isinstance(error, AlidadeError) else None,
            verdict=type(verdict).__name__,
        )
        try:
            match verdict:
                case TryAgain(delay_s):
                    line = f"Attempt {work.attempt} failed: {public_words(error)} Trying again in {delay_s:.0f} s."
                    work.log(line)
                    again = work.present().changed(now(), claim=None, failed_attempts=failed_attempts)
                    await work.finish(EventType.LOGGED, again)
                    await _hand_back(delivery.message, delay_s)
                case GiveUp():
                    await self._give_up(delivery, work, verdict, failed_attempts)
        except JobCancelled:
            await self._step.clean_up(work.job)
            await _acknowledge(delivery.message)

    async def _give_up(self, delivery: _Delivery, work: StageWork, verdict: GiveUp, failed_attempts: int) -> None:
        moment = now()
        failed = work.present().changed(
            moment,
            status=JobStatus.FAILED,
            error=verdict.failure,
            claim=None,
            failed_attempts=failed_attempts,
            finished_at=moment,
        )
        label = PIPELINES[failed.kind].failed_label
        line = LogLine(time=moment, message=f"ERROR: {verdict.failure.message}", step=label, level="error")
        if not verdict.is_users_fault:
            await self._bury(delivery.item, verdict.failure, failed_attempts)
        await work.finish(EventType.FAILED, failed, [line])
        await _acknowledge(delivery.message)
        metrics.JOBS_FINISHED.labels(self._service, failed.kind, "failed").inc()

    async def _bury(self, item: WorkItem, failure: Failure, failed_attempts: int) -> None:
        dead = DeadItem(work=item, reason=failure, deliveries=failed_attempts, died_at=now())
        await self._bus.publish(
            subjects.dead(item.service, item.job_id),
            dead.model_dump_json().encode(),
            message_id=new_event_id(),
            content_type="application/json",
        )


def _stopper(work: StageWork) -> Callable[[Msg], Coroutine[None, None, None]]:
    async def on_cancelled(_: Msg) -> None:
        work.stop(JobCancelled(f"Job {work.job.job_id} was cancelled."))

    return on_cancelled


def _empty_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _acknowledge(message: Msg) -> None:
    """If the acknowledgement is lost the work comes back, and whoever takes it finds nothing left to do."""
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        await message.ack_sync(timeout=5)


async def _hand_back(message: Msg, delay_s: float) -> None:
    """If this is lost the work comes back after the consumer's `ack_wait`."""
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        await message.nak(delay=delay_s or None)
