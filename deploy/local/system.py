"""A whole system for a while: what the demo, the benchmarks and the end-to-end tests run against."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import DependencyUnavailable
from deploy.local.servers import spawn
from deploy.local.state import Credentials, Running, StateFolder

_STOP_S = 40.0


@dataclass(frozen=True)
class System:
    """A running system: how to come in, and what it consists of."""

    credentials: Credentials
    running: Running
    state: Path

    @property
    def url(self) -> str:
        return self.credentials.url

    @property
    def api_key(self) -> str:
        return self.credentials.api_key


@contextmanager
def running_system(
    state: Path, *, sfm_workers: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Start `alidade up` on free ports with its state in `state`, and stop it at the end.

    `environment` holds further settings. Raises DependencyUnavailable if it does not become ready.
    """
    state.mkdir(parents=True, exist_ok=True)
    log = state / "up.out"
    log.unlink(missing_ok=True)
    ports = ("--port", "0", "--remap-port", "0", "--workers", str(sfm_workers))
    command = [sys.executable, "-m", "client", "up", "--state", str(state), "--json", *ports]
    process = spawn(command, log, environment or {})
    try:
        yield _system(process, log, state)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _system(process: "subprocess.Popen[bytes]", log: Path, state: Path) -> System:
    """Wait for the line that `up --json` prints when it is ready."""
    while process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith("{") and line.endswith("}"):
                running = StateFolder(state).read_running()
                if running is not None:
                    return System(Credentials(**json.loads(line)), running, state)
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise DependencyUnavailable(f"`alidade up` ended with status {process.returncode}: {log.read_text()}")
