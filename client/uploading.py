"""Sending a file from disk, piece by piece."""

import io
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[int, int], None]
"""Bytes done, bytes in all."""


class CountedFile(io.BufferedReader):
    """A file that tells how far it has been read. Raises OSError as `open` does."""

    def __init__(self, path: Path, on_progress: Progress) -> None:
        super().__init__(io.FileIO(path))
        self._size_bytes = path.stat().st_size
        self._on_progress = on_progress

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self._on_progress(self.tell(), self._size_bytes)
        return chunk
