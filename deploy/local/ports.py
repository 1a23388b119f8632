"""Free TCP ports on the loopback address, reserved among everything that Alidade starts on this machine."""

import fcntl
import os
import random
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from contracts.errors import ConfigurationError

LOOPBACK = "127.0.0.1"

FIRST_PORT = 11_000
END_PORT = 22_000
"""Below Linux's ephemeral ports (32768 and up), so that no outgoing connection takes a port between its choice and its
use; and so low that a port's companion 10,000 above it (SeaweedFS's gRPC) lies below them too."""

COMPANION_OFFSET = 10_000


@dataclass(frozen=True)
class PortReservation:
    """Ports that no other reservation on this machine gets while this one is open, or its process lives.

    A reservation is an advisory lock on one file per port: the kernel drops it with the process, so nothing goes stale.
    """

    ports: tuple[int, ...]
    _locks: tuple[int, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives the ports back. Call once, after what listened on them has stopped."""
        for lock in self._locks:
            os.close(lock)


def reserve_ports(count: int) -> PortReservation:
    """Reserves `count` ports that nobody listens on, each with its companion 10,000 above it.

    Raises:
        ConfigurationError: fewer than `count` are free.
    """
    candidates = list(range(FIRST_PORT, END_PORT))
    random.SystemRandom().shuffle(candidates)
    ports: list[int] = []
    locks: list[int] = []
    for port in candidates:
        if len(ports) == count:
            break
        lock = _lock(port)
        if lock is None:
            continue
        if is_free(port) and is_free(port + COMPANION_OFFSET):
            ports.append(port)
            locks.append(lock)
        else:
            os.close(lock)
    reservation = PortReservation(tuple(ports), tuple(locks))
    if len(ports) < count:
        reservation.release()
        raise ConfigurationError(
            f"Only {len(ports)} of {count} ports are free between {FIRST_PORT} and {END_PORT - 1}."
        )
    return reservation


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of the loopback address at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a predecessor in TIME_WAIT are no hindrance, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _lock(port: int) -> int | None:
    folder = Path(tempfile.gettempdir()) / f"alidade-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
