"""A stage's computation in a child process, with its messages passed on to the job."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import psutil
from pydantic import JsonValue

from contracts.errors import JobCancelled
from contracts.jobs import Performance
from runtime.child import (
    ChildLimits,
    ChildMessage,
    ChildProgram,
    ChildTask,
    ChildUsage,
    Logged,
    Progressed,
    SpareChild,
    StepFinished,
    StepStarted,
    Warned,
    run_child,
)
from runtime.logs import get_logger
from runtime.settings import WorkerSettings
from runtime.stage_work import StageWork
from runtime.step_outputs import StepRecord

log = get_logger(__name__)

_MIB = 1 << 20

OnFinished = Callable[[str, StepRecord], Awaitable[None]]


@dataclass
class _Listener:
    """Passes one child's messages on, and keeps what each step said for its manifest."""

    work: StageWork
    on_finished: OnFinished
    record: StepRecord

    async def on_message(self, message: ChildMessage) -> None:
        match message:
            case StepStarted(name):
                self.record = StepRecord()
                self.work.step(name)
            case Progressed(done, total, operation, usage):
                self.work.performance(_performance(usage))
                self.work.progress(done, total, operation)
            case Logged(text):
                self.record.log(text)
                self.work.log(text)
            case Warned(text):
                self.record.warn(text)
                self.work.warn(text)
            case StepFinished(name):
                await self.on_finished(name, self.record)


class StageChildren:
    """Runs the children of one worker, and keeps one spare with its modules imported. Close it at the end."""

    def __init__(self, settings: WorkerSettings, preload: tuple[str, ...]) -> None:
        self._limits = ChildLimits(memory_bytes=settings.memory_bytes, deadline_s=settings.deadline_s)
        self._spare = SpareChild(ChildProgram(preload=preload))

    async def prepare(self) -> None:
        """Start the spare, so that the first job does not wait for imports."""
        await self._spare.prepare()

    async def close(self) -> None:
        await self._spare.close()

    async def run(
        self, work: StageWork, entry: str, arguments: Mapping[str, JsonValue], on_finished: OnFinished
    ) -> Mapping[str, JsonValue]:
        """Call `entry` with `arguments` in a child. `on_finished(step, record)` is awaited for every finished step.

        Raises what `runtime.child.run_child` raises; the reason of the stop if the work was stopped.
        """
        listener = _Listener(work, on_finished, StepRecord())
        child = await self._spare.take()
        try:
            result = await run_child(
                ChildTask(entry, arguments),
                on_message=listener.on_message,
                limits=self._limits,
                cancel=work.stopped,
                child=child,
            )
        except JobCancelled as error:
            raise work.stop_reason or error from None
        finally:
            if not work.stopped.is_set():
                await self._prepare_again()
        return result.value

    async def _prepare_again(self) -> None:
        try:
            await self._spare.prepare()
        except OSError as error:
            # Too many processes or open files, for instance: that is the next job's affair, not this one's.
            log.warning("spare_not_started", reason=str(error))


def _performance(usage: ChildUsage) -> Performance:
    memory_bytes = psutil.virtual_memory().total
    return Performance(
        cpu_percent=round(usage.cpu_percent, 1),
        memory_percent=round(100.0 * usage.rss_bytes / memory_bytes, 1),
        memory_used_mb=round(usage.rss_bytes / _MIB, 1),
    )
