"""The child process that does a step's heavy work: `python -m runtime.child_entry CHANNEL_FD OPTIONS`.

Started by `runtime.child`, never by hand. OPTIONS is a JSON object
{"parent": pid, "allowed": [prefix, ...], "preload": [module, ...]}.
The task arrives as one JSON line on standard input, which then stays open as a lifeline: its end means that the parent
is gone. Messages leave as JSON lines on the descriptor CHANNEL_FD; standard output and error are free for native code.

Imports little, so that a child is ready within a few hundredths of a second.
"""

import contextlib
import ctypes
import faulthandler
import fcntl
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from contracts.errors import GpuUnavailable, UserError
from contracts.progress import as_line

PROGRESS_INTERVAL_S = 0.1
MAX_RESULT_BYTES = 8 << 20
TRACE_LINES = 12

PR_SET_PDEATHSIG = 1


class Entry(Protocol):
    """What a task names: `run(arguments, report)`. Returns what JSON can hold, or None."""

    def __call__(self, arguments: dict[str, object], report: "ChildReporter", /) -> Mapping[str, object] | None: ...


class Channel:
    """Writes messages to the parent, one JSON object a line. May be used from several threads."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, kind: str, fields: Mapping[str, object]) -> None:
        # What is no text (file names that are not UTF-8, as Python holds them) nobody further on could pass on.
        self.send_line(json.dumps({"type": kind, **fields}, ensure_ascii=False).encode(errors="replace"))

    def send_line(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]


class ChildReporter:
    """`contracts.progress.Reporter` towards the parent. Lets at most ten progress messages a second through."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._next_progress = 0.0

    def step(self, name: str) -> None:
        self._next_progress = 0.0
        self._channel.send("step", {"name": name})

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        now = time.monotonic()
        # The last one is always told: a bar that stops at 97 % looks like a fault.
        if now < self._next_progress and done < total:
            return
        self._next_progress = now + PROGRESS_INTERVAL_S
        self._channel.send("progress", {"done": int(done), "total": int(total), "operation": operation})

    def log(self, message: str) -> None:
        self._channel.send("log", {"message": as_line(message)})

    def warn(self, message: str) -> None:
        self._channel.send("warn", {"message": as_line(message)})

    def finished(self, step: str) -> None:
        """The step's outputs are complete on disk: the parent may upload them and never ask for the step again."""
        self._channel.send("finished", {"name": step})


def main(arguments: list[str]) -> None:
    """Waits for the task, runs it, and leaves without the interpreter's slow and crash-prone farewell."""
    channel = Channel(int(arguments[0]))
    options = json.loads(arguments[1])
    die_with_parent(int(options["parent"]))
    faulthandler.enable()
    for module in options["preload"]:
        # A module that is missing here is the task's affair, and only if the task needs it.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    lifeline = os.dup(0)
    task_line = read_line(lifeline)
    if not task_line:
        os._exit(0)
    watch_lifeline(lifeline)
    task = json.loads(task_line)
    run_task(task["entry"], task["arguments"], options["allowed"], channel)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_task(entry: str, arguments: dict[str, object], allowed: list[str], channel: Channel) -> None:
    """Runs the entry and sends its result, or what went wrong."""
    try:
        line = encode_result(load_entry(entry, allowed)(arguments, ChildReporter(channel)))
    except UserError as error:
        fields = {"code": str(error.code), "field": error.field, "details": dict(error.details)}
        channel.send("user_error", {"message": as_line(error.message), **fields})
    except GpuUnavailable as error:
        channel.send("gpu_unavailable", {"message": as_line(error.message)})
    except MemoryError as error:
        channel.send("out_of_memory", {"message": str(error) or "an allocation failed"})
    except BaseException as error:
        if is_out_of_video_memory(error):
            channel.send("out_of_video_memory", {"message": as_line(str(error))})
            return
        trace = "".join(traceback.format_exception(error)).strip().splitlines()
        sys.stderr.write("\n".join(trace) + "\n")
        last_lines = "\n".join(as_line(line) for line in trace[-TRACE_LINES:])
        name = type(error).__qualname__
        channel.send("error", {"name": name, "message": as_line(str(error)), "trace": last_lines})
    else:
        channel.send_line(line)


def is_out_of_video_memory(error: BaseException) -> bool:
    """Whether torch says that the graphics card's memory is used up.

    Told by the name of the exception's type, for torch is not imported here.
    """
    kinds = type(error).__mro__
    return any(kind.__name__ == "OutOfMemoryError" and kind.__module__.split(".")[0] == "torch" for kind in kinds)


def encode_result(result: Mapping[str, object] | None) -> bytes:
    """The message that carries the result. Raises `ValueError` if it is too large or holds a NaN."""
    message = {"type": "result", "value": dict(result or {}), "peak_rss_bytes": peak_rss_bytes()}
    line = json.dumps(message, allow_nan=False).encode()
    if len(line) > MAX_RESULT_BYTES:
        raise ValueError(f"the result has {len(line):,} bytes; results of that size belong into files")
    return line


def peak_rss_bytes() -> int:
    """The most memory that this process held (proc(5), VmHWM), or 0 where that is not known.

    Not getrusage(2): its maximum survives exec, and so begins with the size of the parent.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def load_entry(name: str, allowed: list[str]) -> Entry:
    """The function `package.module:function`. A task may come over the bus: only allowed packages are imported.

    Raises:
        PermissionError: the module's name begins with none of `allowed`.
    """
    module, _, function = name.partition(":")
    if not function.isidentifier() or not any(module.startswith(prefix) for prefix in allowed):
        raise PermissionError(f"{name!r} is not an entry that a child may run")
    found: Entry = getattr(importlib.import_module(module), function)
    return found


def read_line(descriptor: int) -> bytes:
    """Reads up to a newline; empty if the other end closed before that."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return b""
        line += chunk
    return bytes(line)


def die_with_parent(parent_pid: int) -> None:
    """Asks Linux to kill this process when its parent ends (prctl(2)); elsewhere the lifeline alone does it."""
    if sys.platform != "linux":
        return
    _set_parent_death_signal(signal.SIGKILL)
    # It may have ended before the request, and then no signal ever comes. (A parent that is 1 lives in a container.)
    if os.getppid() != parent_pid:
        os._exit(1)
    # When memory runs out, the kernel shall take the child and not the worker that would report it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_parent_death_signal(number: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def watch_lifeline(lifeline: int) -> None:
    """Kills the whole process group, grandchildren too, when the other end of the lifeline closes.

    On Linux the kernel does it by itself (fcntl(2), O_ASYNC with F_SETSIG and F_SETOWN on a process group), even
    while native code holds the interpreter. A thread does it everywhere else, and where O_ASYNC is not available.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_kill_group_at_end_of, args=(lifeline,), name="lifeline", daemon=True).start()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
            # Now it would do harm: a parent's threads may end before its files are closed, and if this process were
            # killed first, nobody would be left to be told of the lifeline's end, and the grandchildren lived on.
            _set_parent_death_signal(0)


def _kill_group_at_end_of(lifeline: int) -> None:
    # Also catches an end that came before O_ASYNC was set.
    poll = select.poll()
    poll.register(lifeline, select.POLLHUP)
    poll.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
