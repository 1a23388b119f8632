"""Room on disk for one worker, and the removal of what dead workers left."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from contracts.errors import ConfigurationError


class ScratchFolder:
    """A folder below `parent` that is the worker's own, and is gone when it leaves.

    A worker that was killed leaves its folder behind; whoever comes next removes it. Who lives is known by an
    advisory lock (flock(2)) on a file beside the folder: the kernel drops it with the process, whatever ends that.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent.absolute() / name
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Raises ConfigurationError if the folder cannot be made."""
        try:
            self._make()
        except OSError as error:
            raise ConfigurationError(
                f"The scratch folder {self.path} cannot be made: {error.strerror}. "
                "Choose another with ALIDADE_WORKER__SCRATCH."
            ) from error
        for other in self.path.parent.iterdir():
            if other.is_dir() and other != self.path:
                _remove_if_dead(other)
        return self

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(_lock_of(self.path))
        assert self._lock is not None, "a worker's name is its own"
        self.path.mkdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            _remove(self.path, self._lock)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _locked(file: Path) -> int | None:
    """A descriptor that holds the lock, or None if somebody else does."""
    while True:
        lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        # Somebody removed the file between our opening and our locking it.
        os.close(lock)


def _remove_if_dead(folder: Path) -> None:
    lock = _locked(_lock_of(folder))
    if lock is not None:
        _remove(folder, lock)


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)
    os.close(lock)
