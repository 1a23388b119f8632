"""A ZIP that is sent on while it is made: its entries are stored as they come, and no more of them is held than one chunk."""

import zipfile
from types import TracebackType
from typing import IO, Self

_NAME_BYTES = 1024


class _Outbox:
    """What the ZIP's writer has written and nobody has taken yet. Cannot be sought in: sizes follow the entries' data."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes, /) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class StoredArchive:
    """A ZIP of stored entries. `begin`, `add` often, `end`, for each; `close` last; `taken` whenever there is something.

    A context manager, for one that is not made to its end.
    """

    def __init__(self) -> None:
        self._outbox = _Outbox()
        self._archive = zipfile.ZipFile(self._outbox, "w", zipfile.ZIP_STORED)
        self._entry: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entry is not None:
            self.end()
        self.close()

    def begin(self, name: str, sent_as: str) -> None:
        """The entry `name` begins; `sent_as`, what the sender calls the file, goes into the directory as its comment."""
        # A fixed date, so that the same files make the same archive.
        info = zipfile.ZipInfo(name)
        info.comment = sent_as.encode(errors="replace")[:_NAME_BYTES]
        self._entry = self._archive.open(info, "w")

    def add(self, chunk: bytes) -> None:
        assert self._entry is not None
        self._entry.write(chunk)

    def end(self) -> None:
        assert self._entry is not None
        self._entry.close()
        self._entry = None

    def close(self) -> None:
        """Writes the directory. Repeatable."""
        self._archive.close()

    def taken(self) -> bytes:
        """What was made since the last call."""
        made = bytes(self._outbox.waiting)
        self._outbox.waiting.clear()
        return made
