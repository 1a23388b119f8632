"""`alidade up` that is killed, told to stop too early or twice, or loses its terminal."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from client.api import Alidade
from deploy.local.state import StateFolder

GONE_S = 60.0
"""After this a process that is still there is not just slow."""


@contextmanager
def _up(state: Path) -> "Iterator[subprocess.Popen[str]]":
    ports = ("--port", "0", "--remap-port", "0")
    command = [sys.executable, "-m", "client", "up", "--state", str(state), "--json", *ports]
    # Where the tests themselves run under `nohup`, `up` would inherit that, and stay when its terminal goes.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=GONE_S)


def _ready(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    said: dict[str, str] = json.loads(line)
    return said


def _gone(family: list[psutil.Process]) -> bool:
    _, left = psutil.wait_procs(family, GONE_S)
    return not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_killed_and_started_again_at_once_then_left_by_its_terminal(tmp_path: Path) -> None:
    """The servers of the first are still stopping: the second may not touch their files before they have."""
    with _up(tmp_path) as first:
        before = _ready(first)
        _kill_and_await_its_successor(first, StateFolder(tmp_path), "notifier")
        family = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        first.wait()
    with _up(tmp_path) as second:
        after = _ready(second)
        assert _gone(family)
        assert after["api_key"] == before["api_key"]
        with Alidade(after["url"], after["api_key"]) as alidade:
            assert alidade.jobs() == ()
        family = psutil.Process(second.pid).children(recursive=True)
        second.send_signal(signal.SIGHUP)
        second.wait(GONE_S)
        assert second.returncode == 0
        assert _gone(family)
        assert not (tmp_path / "running.json").exists()


def _kill_and_await_its_successor(process: "subprocess.Popen[str]", state: StateFolder, service: str) -> None:
    """What is said to run is what runs now."""
    running = state.read_running()
    assert running is not None
    killed = running.services[service]
    os.kill(killed, signal.SIGKILL)
    while running.services[service] == killed:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert process.returncode is None
        running = state.read_running()
        assert running is not None
    assert psutil.pid_exists(running.services[service])


def test_told_to_stop_while_starting_and_told_twice(tmp_path: Path) -> None:
    with _up(tmp_path) as process:
        me = psutil.Process(process.pid)
        while not (family := me.children()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        family += me.children(recursive=True)
        said, complained = process.communicate(timeout=GONE_S)
        assert (process.returncode, said, complained) == (0, "", "")
        assert _gone(family)


NOHUP = """
import os, signal, threading
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from deploy.local.up import set_at_signals
stop = threading.Event()
set_at_signals(stop)
os.kill(os.getpid(), signal.SIGHUP)
print(stop.is_set())
os.kill(os.getpid(), signal.SIGTERM)
print(stop.is_set())
"""


def test_nohup_is_respected() -> None:
    said = subprocess.run([sys.executable, "-c", NOHUP], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["False", "True"]
