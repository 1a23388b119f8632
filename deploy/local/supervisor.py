"""The services of one machine as child processes: started together, started again when one dies, stopped in order."""

import contextlib
import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.errors import DependencyUnavailable
from deploy.local.ports import LOOPBACK
from deploy.local.servers import spawn

_POLL_S = 0.05
_READY_S = 60.0
_STOP_S = 15.0
_PAUSE_BASE_S = 0.5
_PAUSE_LIMIT_S = 30.0
_HEALTHY_S = 60.0
_TAIL_CHARACTERS = 2000


@dataclass(frozen=True)
class ServiceSpec:
    """A service: its name on this machine, its module, and the port of its liveness and readiness answers."""

    name: str
    module: str
    ops_port: int


@dataclass
class _Service:
    spec: ServiceSpec
    process: "subprocess.Popen[bytes]"
    began: float
    deaths: int = 0
    start_at: float | None = field(default=None)
    """When it is to be started again; None while it runs."""


class Supervisor:
    """Keeps services running. Call from the main thread: the services die with the thread that starts them."""

    def __init__(
        self, specs: Sequence[ServiceSpec], environment: Mapping[str, str], logs: Path, inherited: Sequence[int] = ()
    ) -> None:
        """`inherited` are descriptors that every service keeps open."""
        self._specs = specs
        self._environment = environment
        self._logs = logs
        self._inherited = inherited
        self._services: list[_Service] = []

    def start(self) -> None:
        """Start every service, without waiting for any."""
        for spec in self._specs:
            _keep_one_old_log(self._log_of(spec))
            self._services.append(_Service(spec, self._spawn(spec), time.monotonic()))

    def wait_until_ready(self, stop: threading.Event) -> None:
        """Return when every service is ready, or `stop` is set. Raises DependencyUnavailable that quotes the log."""
        deadline = time.monotonic() + _READY_S
        waiting = list(self._services)
        while waiting and not stop.is_set():
            for service in waiting:
                if service.process.poll() is not None:
                    raise self._unready(service.spec, f"ended with status {service.process.returncode}")
            waiting = [service for service in waiting if not _is_ready(service.spec)]
            if waiting and time.monotonic() > deadline:
                raise self._unready(waiting[0].spec, f"is not ready after {_READY_S:g} s")
            stop.wait(_POLL_S if waiting else 0)

    def watch(self, stop: threading.Event, on_restart: Callable[[], None]) -> None:
        """Start dead services again, after a pause that grows with each death, until `stop` is set.

        `on_restart` is called after each start: the service has another process id.
        """
        while not stop.wait(0.2):
            moment = time.monotonic()
            for service in self._services:
                if service.start_at is None and service.process.poll() is not None:
                    self._plan_restart(service, moment)
                elif service.start_at is not None and moment >= service.start_at:
                    service.process = self._spawn(service.spec)
                    service.began, service.start_at = moment, None
                    on_restart()

    def process_ids(self) -> dict[str, int]:
        return {service.spec.name: service.process.pid for service in self._services}

    def stop(self) -> None:
        """Ask every service to stop, so that workers hand their jobs back; end what does not stop in time."""
        for service in self._services:
            with contextlib.suppress(ProcessLookupError):
                service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for service in self._services:
            try:
                service.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()

    def _plan_restart(self, service: _Service, moment: float) -> None:
        service.deaths = 1 if moment - service.began > _HEALTHY_S else service.deaths + 1
        pause_s = min(_PAUSE_BASE_S * 2 ** (service.deaths - 1), _PAUSE_LIMIT_S)
        service.start_at = moment + pause_s
        print(
            f"{service.spec.name} ended with status {service.process.returncode}; started again in {pause_s:g} s. "
            f"Log: {self._log_of(service.spec)}",
            file=sys.stderr,
        )

    def _spawn(self, spec: ServiceSpec) -> "subprocess.Popen[bytes]":
        environment = {**self._environment, "ALIDADE_OPS__PORT": str(spec.ops_port)}
        return spawn([sys.executable, "-P", "-m", spec.module], self._log_of(spec), environment, self._inherited)

    def _log_of(self, spec: ServiceSpec) -> Path:
        return self._logs / f"{spec.name}.log"

    def _unready(self, spec: ServiceSpec, what: str) -> DependencyUnavailable:
        log = self._log_of(spec)
        tail = log.read_text(errors="replace")[-_TAIL_CHARACTERS:] if log.exists() else ""
        return DependencyUnavailable(f"The service {spec.name} {what}. The end of {log}:\n{tail}")


def _is_ready(spec: ServiceSpec) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, spec.ops_port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _keep_one_old_log(log: Path) -> None:
    """Every start begins a new log; the one before is kept."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".log.1"))
