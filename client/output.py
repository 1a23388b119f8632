"""What the command says: to people on a terminal, or to programs as one JSON object per line."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from client.models import Download, JobDetail, JobSummary, LogEntry, Update
from contracts.jobs import JobStatus

ShowBytes = Callable[[int, int], None]
"""Takes bytes done and bytes in all."""
ShowUpdate = Callable[[Update], None]

_BYTES_EVENT_S = 0.5
_COLOURS = {
    JobStatus.QUEUED: "yellow",
    JobStatus.PROCESSING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "magenta",
}


class Output(Protocol):
    """Everything that the command has to say."""

    def transfer(self, what: str, name: str) -> AbstractContextManager[ShowBytes]:
        """Show an upload or a download; `what` is `upload` or `download`."""

    def watching(self, job_id: str) -> AbstractContextManager[ShowUpdate]:
        """Show where a job is."""

    def uploaded(self, dataset_id: str, files: int) -> None: ...
    def started(self, job_id: str) -> None: ...
    def ended(self, update: Update) -> None: ...
    def downloaded(self, download: Download) -> None: ...
    def jobs(self, jobs: tuple[JobSummary, ...]) -> None: ...
    def status(self, job: JobDetail) -> None: ...
    def log_line(self, line: LogEntry) -> None: ...
    def cancelled(self, job_id: str) -> None: ...
    def key(self, owner: str, api_key: str) -> None: ...
    def notice(self, message: str) -> None: ...
    def error(self, code: str, message: str) -> None: ...


class JsonOutput:
    """One object per line on standard output, and nothing else there. `event` says what it is about."""

    def _say(self, event: str, fields: dict[str, JsonValue]) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    @contextmanager
    def transfer(self, what: str, name: str) -> Iterator[ShowBytes]:
        """At most two lines a second, and the last one."""
        next_at = 0.0

        def show(done: int, total: int) -> None:
            nonlocal next_at
            if time.monotonic() >= next_at or done == total:
                next_at = time.monotonic() + _BYTES_EVENT_S
                self._say(what, {"file": name, "bytes": done, "total_bytes": total})

        yield show

    @contextmanager
    def watching(self, job_id: str) -> Iterator[ShowUpdate]:  # noqa: ARG002 - every update names its job
        yield lambda update: None if update.status.is_final else self._say("progress", update.model_dump(mode="json"))

    def uploaded(self, dataset_id: str, files: int) -> None:
        self._say("uploaded", {"dataset_id": dataset_id, "files": files})

    def started(self, job_id: str) -> None:
        self._say("started", {"job_id": job_id})

    def ended(self, update: Update) -> None:
        self._say(update.status.value, update.model_dump(mode="json"))

    def downloaded(self, download: Download) -> None:
        self._say("downloaded", download.model_dump(mode="json"))

    def jobs(self, jobs: tuple[JobSummary, ...]) -> None:
        for job in jobs:
            self._say("job", job.model_dump(mode="json"))

    def status(self, job: JobDetail) -> None:
        self._say("job", job.model_dump(mode="json"))

    def log_line(self, line: LogEntry) -> None:
        self._say("log", line.model_dump(mode="json"))

    def cancelled(self, job_id: str) -> None:
        self._say("cancelled", {"job_id": job_id})

    def key(self, owner: str, api_key: str) -> None:
        self._say("key", {"owner": owner, "api_key": api_key})

    def notice(self, message: str) -> None:
        self._say("notice", {"message": message})

    def error(self, code: str, message: str) -> None:
        self._say("error", {"code": code, "message": message})


class TerminalOutput:
    """Results on standard output; bars, notices and errors on standard error."""

    def __init__(self, out: Console | None = None, err: Console | None = None) -> None:
        self._out = out or Console(highlight=False)
        self._err = err or Console(stderr=True, highlight=False)

    @contextmanager
    def transfer(self, what: str, name: str) -> Iterator[ShowBytes]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self._err) as progress:
            task = progress.add_task(escape(f"{what.capitalize()} {name}"), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    @contextmanager
    def watching(self, job_id: str) -> Iterator[ShowUpdate]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[detail]}"),
        )
        with Progress(*columns, console=self._err) as progress:
            steps = _Steps(progress.console)
            task = progress.add_task(f"Job {job_id}", total=100, left="", detail="")

            def show(update: Update) -> None:
                steps.follow(update)
                left = f"{update.estimated_remaining} left" if update.estimated_remaining else ""
                progress.update(
                    task,
                    completed=update.percentage,
                    description=escape(update.step),
                    left=left,
                    detail=escape(_detail(update)),
                )

            yield show

    def uploaded(self, dataset_id: str, files: int) -> None:
        self._err.print(f"Data set {dataset_id}: {files:,} files")

    def started(self, job_id: str) -> None:
        self._err.print(f"Job [bold]{job_id}[/] is queued")

    def ended(self, update: Update) -> None:
        match update.status:
            case JobStatus.COMPLETED:
                self._err.print(f"[green]✓[/] Job {update.job_id} is done")
            case JobStatus.CANCELLED:
                self._err.print(f"Job {update.job_id} was cancelled")
            case _:
                self._err.print(
                    f"[red]✗[/] Job {update.job_id} failed: {escape(update.error or 'no reason was given')}"
                )

    def downloaded(self, download: Download) -> None:
        taken_up = f", taken up at {_size(download.resumed_at_bytes)}" if download.resumed_at_bytes else ""
        # Not wrapped: a path is for copying.
        self._out.print(Text(str(download.path)), soft_wrap=True)
        self._err.print(f"{_size(download.size_bytes)}{taken_up}")

    def jobs(self, jobs: tuple[JobSummary, ...]) -> None:
        if not jobs:
            self._err.print("There are no jobs yet. `alidade submit capture.zip` makes one.")
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("JOB", "STATUS", "", "STEP", "CREATED", "UPDATED"):
            table.add_column(heading, justify="right" if not heading else "left", no_wrap=True)
        for job in jobs:
            times = (moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") for moment in (job.created_at, job.updated_at))
            table.add_row(job.job_id, _status(job.status), f"{job.progress} %", escape(job.current_step), *times)
        self._out.print(table)

    def status(self, job: JobDetail) -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="dim")
        table.add_column()
        table.add_row("job", job.job_id)
        table.add_row("status", _status(job.status))
        table.add_row("progress", f"{job.progress} %  {escape(job.current_step)}")
        table.add_row("created", job.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
        table.add_row("updated", job.updated_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
        for warning in job.warnings:
            table.add_row("warning", f"[yellow]{escape(warning)}[/]")
        if job.error:
            table.add_row("error", f"[red]{escape(job.error)}[/]")
        table.add_row("settings", escape(" ".join(f"{name}={_plain(value)}" for name, value in job.settings.items())))
        self._out.print(table)

    def log_line(self, line: LogEntry) -> None:
        moment = line.time.astimezone().strftime("%H:%M:%S")
        self._out.print(f"[dim]{moment}[/] [cyan]{escape(line.step)}[/] {escape(line.message)}", soft_wrap=True)

    def cancelled(self, job_id: str) -> None:
        self._err.print(f"Job {job_id} is cancelled")

    def key(self, owner: str, api_key: str) -> None:
        self._out.print(Text(api_key), soft_wrap=True)
        self._err.print(f"A key for {escape(owner)}. It is kept as a hash only: this is the one time it is shown.")

    def notice(self, message: str) -> None:
        self._err.print(f"[yellow]{escape(message)}[/]")

    def error(self, code: str, message: str) -> None:  # noqa: ARG002 - codes are for programs
        self._err.print(f"[red]Error:[/] {escape(message)}", soft_wrap=True)


class _Steps:
    """Leaves a line above the bar for every step that is over, and for every warning."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step: str | None = None
        self._began = 0.0
        self._warned: set[str] = set()

    def follow(self, update: Update) -> None:
        for warning in update.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._console.print(f"[yellow]![/] {escape(warning)}")
        step = update.step if update.status is JobStatus.PROCESSING else None
        if step == self._step:
            return
        if self._step is not None and update.status in (JobStatus.PROCESSING, JobStatus.COMPLETED):
            took_s = time.monotonic() - self._began
            self._console.print(f"[green]✓[/] {escape(self._step)} [dim]{took_s:.1f} s[/]")
        self._step, self._began = step, time.monotonic()


def _detail(update: Update) -> str:
    """What the step is doing, for instance `pairs 120/435, 33 items/sec`."""
    counts = (
        f"{update.processed_items:,}/{update.total_items:,}" if update.total_items and update.processed_items else ""
    )
    first = " ".join(part for part in (update.operation, counts) if part)
    return ", ".join(part for part in (first, update.processing_speed) if part)


def _status(status: JobStatus) -> str:
    return f"[{_COLOURS[status]}]{status.value}[/]"


def _plain(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _size(size_bytes: int) -> str:
    for unit, limit in (("B", 1 << 10), ("KiB", 1 << 20), ("MiB", 1 << 30)):
        if size_bytes < limit:
            return f"{size_bytes / (limit >> 10):.3g} {unit}"
    return f"{size_bytes / (1 << 30):.2f} GiB"
