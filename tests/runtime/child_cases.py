"""What the child processes of `test_child.py` do. Imported in the child by name."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from contracts.errors import ErrorCode, GpuUnavailable, UserError
from runtime.child_entry import ChildReporter


def add(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    report.step("adding")
    report.log("grüße")
    report.warn("careful")
    report.progress(1, 1, "sum")
    report.finished("adding")
    return {"sum": arguments["a"] + arguments["b"], "pid": os.getpid()}


def nothing(arguments: dict[str, Any], report: ChildReporter) -> None:
    report.log("nothing to return")


def echo(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    return arguments


def chatter(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    report.step("chatting")
    for done in range(arguments["count"] + 1):
        report.progress(done, arguments["count"])
    return {}


def logs(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    for number in range(arguments["count"]):
        report.log(f"{number}")
    return {}


def user_error(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    raise UserError(ErrorCode.INVALID_ODOMETRY, "Row 7 has 3 columns; 9 are needed.", field="odometry.csv")


def bug(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    return {"ratio": 1 / arguments["zero"]}


def not_json(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    return {"value": float("nan")}


def memory_error(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    raise MemoryError("Unable to allocate 40 GiB")


def figures_of_a_user_error(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    raise UserError(ErrorCode.QUALITY_THRESHOLD_FAILED, "Unlike.", details={"psnr": 14.2, "views": 6, "model": "both"})


def video_memory_error(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    """As torch raises it, without a card: its own type where torch is installed."""
    import torch  # noqa: PLC0415

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 15.9 GiB in all.")


def no_card(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    raise GpuUnavailable("No graphics card answers.")


def abort(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    report.log("about to abort")
    os.write(2, b"F20261120 database.cc:42] Check failed: requires ONNX support\n")
    os.abort()


def kill_itself(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def leave(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    os._exit(3)


def crash_with_descendant(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    """Dies while a forked descendant still holds every pipe open."""
    if os.fork() == 0:
        time.sleep(600)
    os.abort()


def allocate(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    held = bytearray(arguments["bytes"])
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    time.sleep(600)
    return {"held": len(held)}


def allocate_in_descendant(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    code = f"import time; held = b'x' * {arguments['bytes']}; time.sleep(600)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return {}


def work_for_long(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    """Writes the pids of itself, of a grandchild and of one in a session of its own, and computes on."""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    grandchildren = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=arguments["own_session"])]
    Path(arguments["pids"]).write_text(" ".join(str(pid) for pid in (os.getpid(), *(p.pid for p in grandchildren))))
    report.log("running")
    while True:
        sum(range(10_000))


def hold_the_interpreter(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    """Like native code that never lets another thread run: one call that keeps the interpreter for minutes."""
    Path(arguments["pids"]).write_text(str(os.getpid()))
    report.log("running")
    sys.setswitchinterval(1000.0)
    sum(range(1 << 40))
    return {}


def loaded(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    return {"loaded": arguments["module"] in sys.modules, "threads": threading.active_count(), "pid": os.getpid()}


def crash_and_leave_a_stray(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    """Dies while a descendant in a session of its own computes on, after that has been seen."""
    stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(arguments["pids"]).write_text(str(stray.pid))
    seen = Path(arguments["seen"])
    report.log("running")
    while not seen.exists():
        time.sleep(0.01)
    os.abort()


def odd_words(arguments: dict[str, Any], report: ChildReporter) -> dict[str, object]:
    report.log("name \udcff.png")
    report.log("x" * 1_000_000)
    report.progress(1, 2, "reading \udcff.png")
    raise UserError(ErrorCode.INVALID_IMAGE, "\udcff.png " + "y" * 1_000_000, field="\udcff.png")
