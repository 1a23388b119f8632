"""Heavy work in a child process: native code may crash, hang or run out of memory, and the worker lives on.

`run_child` starts `runtime.child_entry`, hands it a task, passes its messages on, and ends in one of few ways: a
result, or one exception of `contracts.errors` that says what happened. Whatever way it ends, no process is left; unless
one made itself a session of its own and lost its parent within the quarter of a second between two looks at them.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import psutil
from pydantic import JsonValue

from contracts.errors import (
    ErrorCode,
    GpuUnavailable,
    JobCancelled,
    OutOfMemory,
    OutOfVideoMemory,
    TransientError,
    UserError,
    WorkerCrashed,
)

POLL_S = 0.25
TAIL_BYTES = 16 << 10
MAX_LINE_BYTES = 16 << 20
MAX_WAITING_MESSAGES = 1000
EXIT_GRACE_S = 2.0
_LAST_WORDS = frozenset({"result", "user_error", "out_of_memory", "out_of_video_memory", "gpu_unavailable", "error"})
"""Types of the message after which nothing comes."""


@dataclass(frozen=True)
class ChildTask:
    """`entry` is `package.module:function`, called as `function(arguments, report)` in the child. It returns a
    mapping that JSON can hold, or None. Paths travel as strings."""

    entry: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True)
class ChildLimits:
    """Resident memory of the child with all its descendants, in bytes, and the time it may take, in seconds."""

    memory_bytes: int
    deadline_s: float


@dataclass(frozen=True)
class ChildUsage:
    """What the child and its descendants use. `cpu_percent`: 100 is one core, over the last quarter of a second."""

    rss_bytes: int = 0
    peak_rss_bytes: int = 0
    cpu_percent: float = 0.0


@dataclass(frozen=True)
class StepStarted:
    name: str


@dataclass(frozen=True)
class Progressed:
    """`done` of `total` items of the current step, and what the process uses meanwhile."""

    done: int
    total: int
    operation: str | None
    usage: ChildUsage


@dataclass(frozen=True)
class Logged:
    message: str


@dataclass(frozen=True)
class Warned:
    message: str


@dataclass(frozen=True)
class StepFinished:
    """The step's outputs are complete on disk."""

    name: str


ChildMessage = StepStarted | Progressed | Logged | Warned | StepFinished


@dataclass(frozen=True)
class ChildResult:
    """What the entry returned, and the most it used."""

    value: Mapping[str, JsonValue]
    usage: ChildUsage


class ChildFailed(TransientError):
    """The entry raised an exception that nobody foresaw. `detail` holds the last lines of its traceback."""

    def __init__(self, message: str, *, exception: str, detail: str) -> None:
        super().__init__(message, detail=detail)
        self.exception = exception


class Cancellation(Protocol):
    """What `asyncio.Event` offers: `wait` returns when the work is to stop."""

    async def wait(self) -> object: ...


@dataclass(frozen=True)
class ChildProgram:
    """How children are started. Entries must lie in a module whose name begins with one of `allowed`; the modules of
    `preload` are imported before the child asks for its task (see `SpareChild`)."""

    allowed: tuple[str, ...] = ("services.",)
    preload: tuple[str, ...] = ()


class ChildProcess:
    """A child that waits for its task. Made by `start`; must be closed."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int, messages: "_Pipe", output: "_Pipe") -> None:
        self.process = process
        self.messages = messages
        self.output = output
        self.known: set[psutil.Process] = set()
        """Descendants that were seen. Those in sessions of their own cannot be found any more once the child is dead."""
        self._lifeline: int | None = lifeline

    @classmethod
    async def start(cls, program: ChildProgram) -> "ChildProcess":
        """Starts the interpreter in a session of its own. Call from the thread that runs the event loop."""
        task_read, task_write = os.pipe()
        messages_read, messages_write = os.pipe()
        output_read, output_write = os.pipe()
        options = {"parent": os.getpid(), "allowed": program.allowed, "preload": program.preload}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-u", "-m", "runtime.child_entry", str(messages_write), json.dumps(options)),
                stdin=task_read,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(messages_write,),
                start_new_session=True,
                # Small systems gain nothing from threads, which wait for one another where all cores are busy:
                # a Cholesky decomposition of 600 rows was seen to take 0.7 s instead of 3 ms.
                env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
            )
        except BaseException:
            for descriptor in (task_write, messages_read, output_read):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (task_read, messages_write, output_write):
                os.close(descriptor)
        return cls(process, task_write, await _Pipe.open(messages_read), await _Pipe.open(output_read))

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    async def give(self, task: ChildTask) -> None:
        """Hands the task over. That the child died meanwhile is found out later, like any other death."""
        line = json.dumps({"entry": task.entry, "arguments": dict(task.arguments)}).encode() + b"\n"
        assert self._lifeline is not None
        with contextlib.suppress(BrokenPipeError):
            await asyncio.to_thread(_write_all, self._lifeline, line)

    async def close(self) -> None:
        """Kills what is left of the child and its descendants and frees everything. Repeatable."""
        if self._lifeline is None:
            return
        lifeline, self._lifeline = self._lifeline, None
        self.kill()
        await self.process.wait()
        os.close(lifeline)
        self.messages.close()
        self.output.close()

    def kill(self) -> None:
        """Kills what is left of the child and its descendants. Repeatable, until `close`."""
        strays = self.known.union(_family(self.process.pid)[1:] if self.alive else ())
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stray in strays:
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()


class SpareChild:
    """Keeps one child waiting with its modules imported, so that the next task does not wait for them.

    `take` never fails because the spare died: it then starts another. Close it at the end.
    """

    def __init__(self, program: ChildProgram) -> None:
        self._program = program
        self._spare: ChildProcess | None = None
        self._starting = asyncio.Lock()

    async def prepare(self) -> None:
        """Starts a spare, unless there is one. It imports its modules while the caller goes on."""
        async with self._starting:
            if self._spare is None:
                self._spare = await ChildProcess.start(self._program)

    async def take(self) -> ChildProcess:
        """The spare, or a new child if there is none. Ownership passes to the caller."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.alive:
            return spare
        if spare is not None:
            await spare.close()
        return await ChildProcess.start(self._program)

    async def close(self) -> None:
        if self._spare is not None:
            await self._spare.close()
            self._spare = None


async def run_child(
    task: ChildTask,
    *,
    on_message: Callable[[ChildMessage], Awaitable[None]],
    limits: ChildLimits,
    cancel: Cancellation,
    child: ChildProcess | None = None,
) -> ChildResult:
    """Runs a task in a child process and returns its result.

    `on_message` is awaited for one message after the other, in order; while it is busy, a newer progress replaces the
    one that waits. If it raises, the child is killed and the exception is passed on. `child` is a started child (from
    `SpareChild.take`); it is used up.

    Raises:
        UserError: the entry raised it; or, with code JOB_TIMEOUT, the deadline passed.
        OutOfMemory: the memory limit was passed, or an allocation failed.
        OutOfVideoMemory: the graphics card's memory was used up.
        GpuUnavailable: the entry raised it.
        WorkerCrashed: the child died without a result; the message has the signal, the detail the end of its output.
        ChildFailed: the entry raised anything else.
        JobCancelled: `cancel` was set. The child is killed at once.
    """
    if child is None:
        child = await ChildProcess.start(ChildProgram())
    run = _Run(child, limits, on_message)
    try:
        return await run.outcome(task, cancel)
    finally:
        await asyncio.shield(child.close())


class _Run:
    """One task in one child: who listens, who watches, and which of them has the last word."""

    def __init__(
        self, child: ChildProcess, limits: ChildLimits, on_message: Callable[[ChildMessage], Awaitable[None]]
    ) -> None:
        self._child = child
        self._limits = limits
        self._on_message = on_message
        self._usage = ChildUsage()
        self._waiting: deque[ChildMessage] = deque()
        self._changed = asyncio.Condition()
        self._listened = False
        self._tail = bytearray()

    async def outcome(self, task: ChildTask, cancel: Cancellation) -> ChildResult:
        # Beside everything else, for a child that hangs in its imports does not read a long task.
        give = asyncio.ensure_future(self._child.give(task))
        output = asyncio.ensure_future(self._collect_output())
        listen = asyncio.ensure_future(self._listen())
        deliver = asyncio.ensure_future(self._deliver())
        watch = asyncio.ensure_future(self._watch())
        stop = asyncio.ensure_future(cancel.wait())
        everything = (give, output, listen, deliver, watch, stop)
        try:
            await self._first_end(listen, deliver, watch, stop)
            last = listen.result()
            if last is None:
                raise await self._death(output)
            return self._judge(last)
        finally:
            # First of all: what listens may take its time to let go, for instance of a slow store.
            self._child.kill()
            for waiting in everything:
                waiting.cancel()
            await asyncio.gather(*everything, return_exceptions=True)

    async def _first_end(
        self,
        listen: "asyncio.Task[Mapping[str, JsonValue] | None]",
        deliver: "asyncio.Task[None]",
        watch: "asyncio.Task[None]",
        stop: "asyncio.Task[object]",
    ) -> None:
        """Returns when the child has said its last word and every message is delivered; raises if something else
        comes first."""
        while not (listen.done() and deliver.done()):
            await asyncio.wait(
                {future for future in (listen, deliver, watch, stop) if not future.done()},
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stop.done():
                raise JobCancelled("The job was cancelled.")
            for future in (deliver, watch, listen):
                if future.done():
                    future.result()

    async def _listen(self) -> Mapping[str, JsonValue] | None:
        """Queues the child's messages up to its last word, which is returned; None if it dies without one."""
        exited = asyncio.ensure_future(self._child.process.wait())
        try:
            while (line := await self._next_line(exited)) is not None:
                fields: Mapping[str, JsonValue] = json.loads(line)
                if fields["type"] in _LAST_WORDS:
                    return fields
                await self._queue(_message_of(fields, self._usage))
            return None
        finally:
            exited.cancel()
            async with self._changed:
                self._listened = True
                self._changed.notify_all()

    async def _next_line(self, exited: "asyncio.Task[int]") -> bytes | None:
        """The next message; None at the end. A descendant may hold the pipe open: the child's exit counts as well."""
        reading = asyncio.ensure_future(self._child.messages.reader.readuntil(b"\n"))
        try:
            await asyncio.wait({reading, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # What the child wrote before it ended is in the pipe by now.
                await asyncio.wait({reading}, timeout=POLL_S)
            return reading.result() if reading.done() else None
        except asyncio.IncompleteReadError:
            return None
        finally:
            reading.cancel()

    async def _queue(self, message: ChildMessage) -> None:
        async with self._changed:
            if self._waiting and isinstance(message, Progressed) and isinstance(self._waiting[-1], Progressed):
                self._waiting.pop()
            # Not reading on fills the pipe, and that slows a child down that talks without end.
            await self._changed.wait_for(lambda: len(self._waiting) < MAX_WAITING_MESSAGES)
            self._waiting.append(message)
            self._changed.notify_all()

    async def _deliver(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting or self._listened)
                if not self._waiting:
                    return
                message = self._waiting.popleft()
                self._changed.notify_all()
            await self._on_message(message)

    async def _watch(self) -> None:
        """Measures the child until it is gone, and raises when it passes a limit."""
        started = time.monotonic()
        cpu_before: dict[int, float] = {}
        measured = started
        while self._child.alive:
            processes = _family(self._child.process.pid)
            self._child.known = {known for known in self._child.known.union(processes[1:]) if known.is_running()}
            rss_bytes, cpu_now = _measure(processes)
            now = time.monotonic()
            used_s = sum(cpu_s - cpu_before.get(pid, 0.0) for pid, cpu_s in cpu_now.items())
            cpu_percent = 100.0 * used_s / (now - measured) if cpu_before else 0.0
            self._usage = ChildUsage(rss_bytes, max(rss_bytes, self._usage.peak_rss_bytes), cpu_percent)
            cpu_before, measured = cpu_now, now
            self._enforce(now - started)
            await asyncio.sleep(POLL_S)

    def _enforce(self, elapsed_s: float) -> None:
        if self._usage.rss_bytes > self._limits.memory_bytes:
            raise OutOfMemory(
                f"The work needed {_gb(self._usage.rss_bytes)} of memory; {_gb(self._limits.memory_bytes)} are allowed."
            )
        if elapsed_s > self._limits.deadline_s:
            raise UserError(
                ErrorCode.JOB_TIMEOUT,
                f"The work was stopped after {_duration(elapsed_s)}, the longest it may take. "
                "Use fewer or smaller images, or ask whoever runs this service to raise the limit.",
            )

    async def _collect_output(self) -> None:
        while chunk := await self._child.output.reader.read(1 << 16):
            self._tail += chunk
            del self._tail[:-TAIL_BYTES]

    async def _death(self, output: "asyncio.Task[None]") -> WorkerCrashed:
        """Why the child ended without a word. Waits for the end of its output, though not for its descendants."""
        await asyncio.wait({asyncio.ensure_future(self._child.process.wait())}, timeout=EXIT_GRACE_S)
        await asyncio.wait({output}, timeout=POLL_S)
        return WorkerCrashed(
            f"The work ended without a result: {_ending(self._child.process.returncode)}.",
            detail=self._tail.decode(errors="replace").strip()[-4000:],
        )

    def _judge(self, last: Mapping[str, JsonValue]) -> ChildResult:
        message = str(last.get("message", ""))
        match last["type"]:
            case "user_error":
                raise _user_error(last)
            case "out_of_memory":
                raise OutOfMemory(f"The work ran out of memory at {_gb(self._usage.peak_rss_bytes)}: {message}")
            case "out_of_video_memory":
                raise OutOfVideoMemory("The graphics card has not enough memory left for this work.", detail=message)
            case "gpu_unavailable":
                raise GpuUnavailable(message)
            case "error":
                name = str(last["name"])
                raise ChildFailed(f"{name}: {message}", exception=name, detail=str(last["trace"]))
        value, peak_rss_bytes = last["value"], last["peak_rss_bytes"]
        assert isinstance(value, dict)
        assert isinstance(peak_rss_bytes, int)
        # The child knows its own peak exactly; what was measured from here includes its descendants.
        peak = max(peak_rss_bytes, self._usage.peak_rss_bytes)
        return ChildResult(value, replace(self._usage, peak_rss_bytes=peak))


class _Pipe:
    """The reading end of a pipe on the event loop."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self._transport = transport

    @classmethod
    async def open(cls, descriptor: int) -> "_Pipe":
        reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        return cls(reader, transport)

    def close(self) -> None:
        self._transport.close()


def _message_of(fields: Mapping[str, JsonValue], usage: ChildUsage) -> ChildMessage:
    match fields:
        case {"type": "step", "name": str(name)}:
            return StepStarted(name)
        case {"type": "progress", "done": int(done), "total": int(total), "operation": operation}:
            return Progressed(done, total, None if operation is None else str(operation), usage)
        case {"type": "log", "message": str(message)}:
            return Logged(message)
        case {"type": "warn", "message": str(message)}:
            return Warned(message)
        case {"type": "finished", "name": str(name)}:
            return StepFinished(name)
    raise WorkerCrashed(f"The child sent something that is no message: {fields!r:.200}")


def _user_error(fields: Mapping[str, JsonValue]) -> UserError:
    field, details = fields["field"], fields["details"]
    assert isinstance(details, dict)
    return UserError(
        ErrorCode(str(fields["code"])),
        str(fields["message"]),
        field=None if field is None else str(field),
        details={name: value for name, value in details.items() if isinstance(value, str | int | float)},
    )


def _family(pid: int) -> list[psutil.Process]:
    """The process and its living descendants; empty if it is gone."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _measure(processes: list[psutil.Process]) -> tuple[int, dict[int, float]]:
    """Resident bytes of all together (shared pages count more than once), and CPU seconds by pid."""
    rss_bytes = 0
    cpu_s: dict[int, float] = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            rss_bytes += process.memory_info().rss
            times = process.cpu_times()
            cpu_s[process.pid] = times.user + times.system
    return rss_bytes, cpu_s


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "it closed its channel and went on"
    if returncode >= 0:
        return f"it exited with status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = str(-returncode)
    hint = " (the system may have run out of memory)" if -returncode == signal.SIGKILL else ""
    return f"it was ended by signal {name}{hint}"


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
