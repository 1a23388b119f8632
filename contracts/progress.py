"""How an algorithm says where it is, without knowing who listens."""

from typing import Protocol

LONGEST_LINE = 2000
"""Characters of one line of a job's log."""


def as_line(message: str) -> str:
    """A message as the job's log keeps it: cut where it gets long, without what is no text.

    File names on Linux are bytes; those that are not UTF-8 come as lone surrogates, which JSON cannot carry.
    """
    text = message if len(message) <= LONGEST_LINE else message[:LONGEST_LINE] + "…"
    return text.encode(errors="replace").decode()


class Reporter(Protocol):
    """Passed into every step. Calls are cheap and may come per frame or per pair: the receiver thins them."""

    def step(self, name: str) -> None:
        """A step of the pipeline begins; `name` is a step's name in `contracts.pipelines`."""

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        """`done` of `total` items of the current step are finished."""

    def log(self, message: str) -> None:
        """A line for the job's log, as its owner will read it."""

    def warn(self, message: str) -> None:
        """A line for the job's log that is also kept in the job's `warnings` and its report."""


class StageReporter(Reporter, Protocol):
    """A reporter for code that runs several steps, each of which leaves files behind."""

    def finished(self, step: str) -> None:
        """The step's files are complete on disk, and may be stored from now on."""


class Silence:
    """A reporter for callers that do not listen."""

    def step(self, name: str) -> None:
        pass

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        pass

    def log(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass

    def finished(self, step: str) -> None:
        pass
