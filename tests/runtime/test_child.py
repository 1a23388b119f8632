"""Child processes: every way in which one can end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pydantic import JsonValue

from contracts.errors import (
    ErrorCode,
    GpuUnavailable,
    JobCancelled,
    OutOfMemory,
    OutOfVideoMemory,
    UserError,
    WorkerCrashed,
)
from runtime.child import (
    ChildFailed,
    ChildLimits,
    ChildMessage,
    ChildProcess,
    ChildProgram,
    ChildResult,
    ChildTask,
    Logged,
    Progressed,
    SpareChild,
    StepFinished,
    StepStarted,
    Warned,
    run_child,
)

PROGRAM = ChildProgram(allowed=("child_cases",))
LIMITS = ChildLimits(memory_bytes=2 << 30, deadline_s=60.0)
CANCELLED_S = 2.0
"""Within this a cancelled computation must be over."""
GONE_S = 20.0
"""After this a process that is still there is not just slow."""


@pytest.fixture(autouse=True)
def cases_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


class Listener:
    """Keeps the messages, and sets `heard` at the first log line."""

    def __init__(self) -> None:
        self.messages: list[ChildMessage] = []
        self.heard = asyncio.Event()

    async def __call__(self, message: ChildMessage) -> None:
        self.messages.append(message)
        if isinstance(message, Logged):
            self.heard.set()


async def run(
    function: str,
    arguments: dict[str, JsonValue] | None = None,
    *,
    listener: Listener | None = None,
    limits: ChildLimits = LIMITS,
    cancel: asyncio.Event | None = None,
) -> ChildResult:
    return await run_child(
        ChildTask(f"child_cases:{function}", arguments or {}),
        on_message=listener or Listener(),
        limits=limits,
        cancel=cancel or asyncio.Event(),
        child=await ChildProcess.start(PROGRAM),
    )


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def seconds_until(condition: Callable[[], bool], timeout_s: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - started


async def test_result_and_messages_in_order() -> None:
    listener = Listener()
    result = await run("add", {"a": 2, "b": 3}, listener=listener)

    assert result.value["sum"] == 5
    assert result.usage.peak_rss_bytes > 5 << 20
    assert not alive(int(str(result.value["pid"])))
    *others, finished = listener.messages
    assert finished == StepFinished("adding")
    assert others[:3] == [StepStarted("adding"), Logged("grüße"), Warned("careful")]
    assert isinstance(others[3], Progressed)
    assert (others[3].done, others[3].total, others[3].operation) == (1, 1, "sum")


async def test_no_result_is_an_empty_one() -> None:
    assert (await run("nothing")).value == {}


async def test_long_tasks_and_long_results_pass() -> None:
    arguments: dict[str, JsonValue] = {"paths": [f"/data/images/{number:06}.png" for number in range(50_000)]}
    assert (await run("echo", arguments)).value == arguments


async def test_progress_is_thinned_and_its_end_is_told() -> None:
    listener = Listener()
    started = time.monotonic()
    await run("chatter", {"count": 200_000}, listener=listener)
    elapsed_s = time.monotonic() - started

    told = [message.done for message in listener.messages if isinstance(message, Progressed)]
    assert told == sorted(told)
    assert told[-1] == 200_000
    assert len(told) <= 10 * elapsed_s + 2


async def test_a_slow_listener_misses_no_line() -> None:
    lines: list[str] = []

    async def slow(message: ChildMessage) -> None:
        await asyncio.sleep(0)
        assert isinstance(message, Logged)
        lines.append(message.message)

    await run_child(
        ChildTask("child_cases:logs", {"count": 5000}),
        on_message=slow,
        limits=LIMITS,
        cancel=asyncio.Event(),
        child=await ChildProcess.start(PROGRAM),
    )
    assert lines == [str(number) for number in range(5000)]


async def test_user_errors_arrive_whole() -> None:
    with pytest.raises(UserError) as caught:
        await run("user_error")
    assert caught.value.code is ErrorCode.INVALID_ODOMETRY
    assert caught.value.message == "Row 7 has 3 columns; 9 are needed."
    assert caught.value.field == "odometry.csv"


async def test_figures_of_a_user_error_arrive() -> None:
    with pytest.raises(UserError) as caught:
        await run("figures_of_a_user_error")
    assert caught.value.details == {"psnr": 14.2, "views": 6, "model": "both"}


async def test_a_full_graphics_card_is_told_from_full_memory() -> None:
    pytest.importorskip("torch")
    with pytest.raises(OutOfVideoMemory) as caught:
        await run("video_memory_error")
    assert caught.value.code is ErrorCode.MODEL_VRAM_OOM
    assert "GiB" not in caught.value.message, "sizes and processes of the card are the operator's affair"
    assert caught.value.detail is not None
    assert "20.00 GiB" in caught.value.detail


async def test_a_missing_card_arrives_as_such() -> None:
    with pytest.raises(GpuUnavailable, match="No graphics card answers"):
        await run("no_card")


async def test_other_exceptions_arrive_with_their_trace() -> None:
    with pytest.raises(ChildFailed, match="ZeroDivisionError: division by zero") as caught:
        await run("bug", {"zero": 0})
    assert caught.value.exception == "ZeroDivisionError"
    assert "child_cases.py" in caught.value.detail


async def test_a_result_that_is_no_json_is_an_error() -> None:
    with pytest.raises(ChildFailed, match="JSON"):
        await run("not_json")


@pytest.mark.parametrize("entry", ["os:system", "child_cases", "child_cases:missing", "services.nothing:run"])
async def test_only_allowed_entries_run(entry: str) -> None:
    with pytest.raises(ChildFailed) as caught:
        await run_child(
            ChildTask(entry, {}),
            on_message=Listener(),
            limits=LIMITS,
            cancel=asyncio.Event(),
            child=await ChildProcess.start(PROGRAM),
        )
    expected = "AttributeError" if entry.endswith("missing") else "PermissionError"
    assert caught.value.exception == expected


async def test_a_native_abort_is_a_crash_with_its_last_words() -> None:
    listener = Listener()
    with pytest.raises(WorkerCrashed, match="SIGABRT") as caught:
        await run("abort", listener=listener)
    assert caught.value.detail is not None
    assert "requires ONNX support" in caught.value.detail
    assert "child_cases.py" in caught.value.detail
    assert listener.messages == [Logged("about to abort")]


async def test_a_kill_from_outside_is_a_crash() -> None:
    with pytest.raises(WorkerCrashed, match=r"SIGKILL .*memory"):
        await run("kill_itself")


async def test_an_exit_without_result_is_a_crash() -> None:
    with pytest.raises(WorkerCrashed, match="exited with status 3"):
        await run("leave")


async def test_a_crash_is_seen_while_a_descendant_holds_the_pipes() -> None:
    # The descendant sleeps for ten minutes.
    async with asyncio.timeout(60):
        with pytest.raises(WorkerCrashed, match="SIGABRT"):
            await run("crash_with_descendant")


@pytest.mark.parametrize("function", ["allocate", "allocate_in_descendant"])
async def test_the_memory_limit_counts_the_whole_family(function: str) -> None:
    limits = ChildLimits(memory_bytes=200 << 20, deadline_s=30.0)
    with pytest.raises(OutOfMemory, match=r"needed 0\.\d\d GB of memory; 0\.21 GB are allowed"):
        await run(function, {"bytes": 300 << 20}, limits=limits)


async def test_a_failed_allocation_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="Unable to allocate 40 GiB"):
        await run("memory_error")


async def test_the_deadline_is_the_users_affair(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deadline_s = 0.7
    while not pids.exists():
        # On a busy machine the child may not come to its work in time.
        with pytest.raises(UserError) as caught:
            await run(
                "work_for_long",
                {"pids": str(pids), "own_session": False},
                limits=ChildLimits(memory_bytes=2 << 30, deadline_s=deadline_s),
            )
        assert caught.value.code is ErrorCode.JOB_TIMEOUT
        deadline_s *= 4
    await seconds_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), GONE_S)


@pytest.mark.parametrize("own_session", [False, True])
async def test_cancelling_kills_the_whole_family_at_once(tmp_path: Path, own_session: bool) -> None:
    pids, listener, cancel = tmp_path / "pids", Listener(), asyncio.Event()
    running = asyncio.ensure_future(
        run("work_for_long", {"pids": str(pids), "own_session": own_session}, listener=listener, cancel=cancel)
    )
    await listener.heard.wait()
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(alive(pid) for pid in family)

    started = time.monotonic()
    cancel.set()
    with pytest.raises(JobCancelled):
        await running
    await seconds_until(lambda: not any(alive(pid) for pid in family), GONE_S)
    assert time.monotonic() - started < CANCELLED_S


async def test_cancelling_works_while_native_code_holds_the_interpreter(tmp_path: Path) -> None:
    pids, listener, cancel = tmp_path / "pids", Listener(), asyncio.Event()
    running = asyncio.ensure_future(run("hold_the_interpreter", {"pids": str(pids)}, listener=listener, cancel=cancel))
    await listener.heard.wait()
    started = time.monotonic()
    cancel.set()
    with pytest.raises(JobCancelled):
        await running
    assert time.monotonic() - started < CANCELLED_S
    assert not alive(int(pids.read_text()))


async def test_a_cancelled_task_kills_its_child(tmp_path: Path) -> None:
    pids, listener = tmp_path / "pids", Listener()
    running = asyncio.ensure_future(run("work_for_long", {"pids": str(pids), "own_session": False}, listener=listener))
    await listener.heard.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await seconds_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), GONE_S)


async def test_a_failing_listener_ends_the_work(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def lost_claim(message: ChildMessage) -> None:
        raise JobCancelled("somebody else has the job")

    with pytest.raises(JobCancelled, match="somebody else"):
        await run_child(
            ChildTask("child_cases:work_for_long", {"pids": str(pids), "own_session": False}),
            on_message=lost_claim,
            limits=LIMITS,
            cancel=asyncio.Event(),
            child=await ChildProcess.start(PROGRAM),
        )
    await seconds_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), GONE_S)


async def test_a_crash_leaves_no_descendant_in_a_session_of_its_own(tmp_path: Path) -> None:
    """Its ancestry is gone when the crash is noticed; it was seen before."""
    pids, seen = tmp_path / "pids", tmp_path / "seen"
    child = await ChildProcess.start(PROGRAM)

    async def until_measured(_: ChildMessage) -> None:
        stray = int(pids.read_text())
        await seconds_until(lambda: any(known.pid == stray for known in child.known), GONE_S)
        seen.touch()

    task = ChildTask("child_cases:crash_and_leave_a_stray", {"pids": str(pids), "seen": str(seen)})
    with pytest.raises(WorkerCrashed, match="SIGABRT"):
        await run_child(task, on_message=until_measured, limits=LIMITS, cancel=asyncio.Event(), child=child)
    await seconds_until(lambda: not alive(int(pids.read_text())), GONE_S)


async def test_cancelling_kills_first_and_tidies_up_afterwards(tmp_path: Path) -> None:
    """The listener is storing a step's output, and a slow store does not let go of it."""
    pids, cancel = tmp_path / "pids", asyncio.Event()
    storing, let_go = asyncio.Event(), asyncio.Event()

    async def slow_to_stop(_: ChildMessage) -> None:
        try:
            storing.set()
            await asyncio.Event().wait()
        finally:
            await let_go.wait()

    running = asyncio.ensure_future(
        run_child(
            ChildTask("child_cases:work_for_long", {"pids": str(pids), "own_session": True}),
            on_message=slow_to_stop,
            limits=LIMITS,
            cancel=cancel,
            child=await ChildProcess.start(PROGRAM),
        )
    )
    await storing.wait()
    family = [int(pid) for pid in pids.read_text().split()]
    cancel.set()
    await seconds_until(lambda: not any(alive(pid) for pid in family), CANCELLED_S)
    assert not running.done()
    let_go.set()
    with pytest.raises(JobCancelled):
        await running


async def test_words_that_are_no_text_and_words_without_end_pass() -> None:
    listener = Listener()
    with pytest.raises(UserError) as caught:
        await run("odd_words", listener=listener)
    assert caught.value.field == "?.png"
    assert caught.value.message.startswith("?.png yyy")
    assert len(caught.value.message) < 3000
    assert [message.operation for message in listener.messages if isinstance(message, Progressed)] == ["reading ?.png"]
    first, second = [message.message for message in listener.messages if isinstance(message, Logged)]
    assert first == "name ?.png"
    assert 1000 < len(second) < 3000


PARENT = """
import asyncio, sys, threading, time
from runtime.child import ChildLimits, ChildProcess, ChildProgram, ChildTask, run_child

async def heard(message):
    print("running", flush=True)

async def main():
    child = await ChildProcess.start(ChildProgram(allowed=("child_cases",)))
    task = ChildTask("child_cases:" + sys.argv[1], {"pids": sys.argv[2], "own_session": False})
    await run_child(task, on_message=heard, limits=ChildLimits(1 << 40, 1e6), cancel=asyncio.Event(), child=child)

for _ in range(100):
    # A process closes its files when its last thread ends, which may be long after its first one did.
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
asyncio.run(main())
"""


@pytest.mark.parametrize(("function", "times"), [("work_for_long", 8), ("hold_the_interpreter", 1)])
def test_the_family_dies_with_a_killed_parent(tmp_path: Path, function: str, times: int) -> None:
    """Several times, because it is the kernel that decides in which order a parent's threads and files go."""
    pids = tmp_path / "pids"
    for _ in range(times):
        command = [sys.executable, "-c", PARENT, function, str(pids)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"running\n"
            parent.kill()
        deadline = time.monotonic() + GONE_S
        while any(alive(int(pid)) for pid in pids.read_text().split()):
            assert time.monotonic() < deadline, "somebody lives on"


async def test_a_waiting_spare_dies_with_its_parent() -> None:
    code = (
        PARENT.split("    task = ", maxsplit=1)[0]
        + "    print(child.process.pid, flush=True)\n    await asyncio.sleep(600)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code + "asyncio.run(main())", stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    spare = int(await parent.stdout.readline())
    assert alive(spare)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await seconds_until(lambda: not alive(spare), GONE_S)


async def test_a_spare_has_its_modules_ready() -> None:
    spares = SpareChild(ChildProgram(allowed=("child_cases",), preload=("wave", "no_such_module")))
    await spares.prepare()
    first = await spares.take()
    await spares.prepare()
    task = ChildTask("child_cases:loaded", {"module": "wave"})
    result = await run_child(task, on_message=Listener(), limits=LIMITS, cancel=asyncio.Event(), child=first)
    assert result.value["loaded"] is True
    assert result.value["pid"] == first.process.pid
    second = await spares.take()
    assert second.process.pid != first.process.pid
    await second.close()
    await spares.close()


async def test_two_jobs_that_end_together_prepare_one_spare() -> None:
    spares = SpareChild(PROGRAM)
    before = set(psutil.Process().children())
    await asyncio.gather(*(spares.prepare() for _ in range(3)))
    assert len(set(psutil.Process().children()) - before) == 1
    await spares.close()
    assert set(psutil.Process().children()) <= before


async def test_a_dead_spare_is_replaced() -> None:
    spares = SpareChild(PROGRAM)
    await spares.prepare()
    dead = await spares.take()
    spares._spare = dead
    os.kill(dead.process.pid, signal.SIGKILL)
    await dead.process.wait()
    child = await spares.take()
    result = await run_child(
        ChildTask("child_cases:add", {"a": 1, "b": 1}),
        on_message=Listener(),
        limits=LIMITS,
        cancel=asyncio.Event(),
        child=child,
    )
    assert result.value["sum"] == 2


async def test_nothing_is_left_open() -> None:
    await run("nothing")
    process = psutil.Process()
    descriptors = process.num_fds()
    for _ in range(5):
        await run("nothing")
        with pytest.raises(WorkerCrashed):
            await run("leave")
    assert process.num_fds() == descriptors
