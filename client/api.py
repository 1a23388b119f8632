"""The SDK: `with Alidade(url, api_key) as alidade: …`. Synchronous; not for several threads at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from pydantic import JsonValue

from client.downloading import download
from client.errors import FileUnusable, JobCancelled, JobFailed
from client.http import Patience, connect, explained, parse, with_read_timeout
from client.models import (
    CancelledJob,
    Download,
    JobDetail,
    JobList,
    JobLogs,
    JobSummary,
    LogEntry,
    StartedJob,
    Update,
    UploadedDataset,
)
from client.uploading import CountedFile, Progress
from client.watching import Notice, watch
from contracts.jobs import JobStatus

_INSPECTION_S = 300.0
"""After an upload the server looks into it before it answers."""
_TOP_LEVEL = ("input_colorspace", "output_colorspace")


def _unheard(_: str) -> None:
    pass


def _uncounted(_done: int, _total: int) -> None:
    pass


class Alidade:
    """A server, as the owner of a key sees it.

    Every method raises ConnectionLost, NotAllowed, NotFound, Conflict, Refused or UnreadableAnswer (`client.errors`).
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, timeout_s: float = 30.0, patience: Patience | None = None
    ) -> None:
        """Raises Misconfigured for an address or a key that can be none. Connects with the first request."""
        self._http = connect(url, api_key, timeout_s)
        self._patience = patience or Patience()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def upload(self, path: Path, on_progress: Progress = _uncounted) -> UploadedDataset:
        """Upload a capture's ZIP, streamed from disk. Raises FileUnusable if it cannot be read."""
        try:
            with CountedFile(path, on_progress) as file:
                timeout = with_read_timeout(self._http.timeout, _INSPECTION_S)
                with explained(self._http):
                    response = self._http.post(
                        "api/v1/upload", files={"file": (path.name, file, "application/zip")}, timeout=timeout
                    )
        except OSError as error:
            raise FileUnusable(f"{path} cannot be read: {error.strerror}.") from None
        return parse(response, UploadedDataset)

    def process(self, dataset_id: str, settings: Mapping[str, JsonValue] | None = None) -> StartedJob:
        """Start a job. Settings that are not given have the server's defaults (contracts.capture_settings)."""
        given = dict(settings or {})
        body: dict[str, JsonValue] = {"dataset_id": dataset_id}
        body |= {name: given.pop(name) for name in _TOP_LEVEL if name in given}
        body["settings"] = given
        with explained(self._http):
            response = self._http.post("api/v1/process", json=body)
        return parse(response, StartedJob)

    def jobs(self) -> tuple[JobSummary, ...]:
        """Every job of the key's owner, most recent first."""
        with explained(self._http):
            response = self._http.get("api/v1/jobs")
        return parse(response, JobList).jobs

    def status(self, job_id: str) -> JobDetail:
        with explained(self._http):
            response = self._http.get(f"api/v1/jobs/{quote(job_id, safe='')}/status")
        return parse(response, JobDetail)

    def logs(self, job_id: str) -> tuple[LogEntry, ...]:
        """What the job has said so far, oldest line first."""
        with explained(self._http):
            response = self._http.get(f"api/v1/jobs/{quote(job_id, safe='')}/logs")
        return parse(response, JobLogs).log

    def cancel(self, job_id: str) -> JobStatus:
        """Stop a job. Raises Conflict if it has completed or failed."""
        with explained(self._http):
            response = self._http.post(f"api/v1/jobs/{quote(job_id, safe='')}/cancel")
        return parse(response, CancelledJob).status

    def download(self, job_id: str, out: Path, on_progress: Progress = _uncounted) -> Download:
        """Fetch the result of a completed job into the file, or the folder, `out`.

        Goes on where an earlier attempt stopped, in this process or before. Raises Conflict if there is no result yet,
        FileUnusable.
        """
        path = f"api/v1/jobs/{quote(job_id, safe='')}/result"
        return download(self._http, path, out, f"{job_id}.zip", patience=self._patience, on_progress=on_progress)

    def watch(self, job_id: str, *, last_event_id: int | None = None, on_notice: Notice = _unheard) -> Iterator[Update]:
        """The job's updates up to the final one; goes on after a lost connection. See `client.watching.watch`."""
        return watch(
            self._http,
            quote(job_id, safe=""),
            lambda: self.status(job_id),
            patience=self._patience,
            last_event_id=last_event_id,
            on_notice=on_notice,
        )

    def wait(self, job_id: str) -> Update:
        """The final update of a job that completes. Raises JobFailed, JobCancelled."""
        *_, last = self.watch(job_id)
        return completed(last)


def completed(last: Update) -> Update:
    """The final update of a completed job. Raises JobFailed, JobCancelled."""
    if last.status is JobStatus.CANCELLED:
        raise JobCancelled(f"Job {last.job_id} was cancelled.")
    if last.status is not JobStatus.COMPLETED:
        raise JobFailed(last.error or f"Job {last.job_id} failed without saying why.")
    return last
