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
from client.kinds import find_views
from client.models import (
    CancelledJob,
    Download,
    JobDetail,
    JobList,
    JobLogs,
    JobSummary,
    LogEntry,
    StartedJob,
    SubmittedJob,
    Update,
    UploadedDataset,
)
from client.submitting import INSPECTION_S, submit_cloud, submit_photos, submit_views
from client.uploading import CountedFile, Progress
from client.watching import Notice, present, watch
from contracts.identifiers import BASE36_8, UUID
from contracts.jobs import JobKind, JobStatus

_TOP_LEVEL = ("input_colorspace", "output_colorspace")
_RESULTS = {
    JobKind.CAPTURE: ("api/v1/jobs/{}/result", "{}.zip"),
    JobKind.BUILDING: ("results/{}/model.ifc", "{}.ifc"),
    JobKind.OBJECT: ("jobs/{}/download", "{}.zip"),
    JobKind.SCENE: ("download/jobs/{}", "{}.zip"),
}
"""Where the result of a kind of job is, and what it is called if the server gives it no name."""


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
                timeout = with_read_timeout(self._http.timeout, INSPECTION_S)
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

    def submit_cloud(
        self, path: Path, configuration: Path | None = None, on_progress: Progress = _uncounted
    ) -> SubmittedJob:
        """A point cloud becomes a building. `configuration`: YAML of the Cloud2BIM document. Raises FileUnusable."""
        return submit_cloud(self._http, path, configuration, on_progress)

    def submit_views(
        self,
        folder: Path,
        model_type: str = "reconviagen",
        cameras: Path | None = None,
        on_progress: Progress = _uncounted,
    ) -> SubmittedJob:
        """Six views and depth renders below `folder` become a mesh. `cameras`: a JSON file. Raises FileUnusable."""
        return submit_views(self._http, find_views(folder), model_type, cameras, on_progress)

    def submit_photos(
        self,
        path: Path,
        dataset_name: str = "custom",
        scene_name: str = "scene_01",
        on_progress: Progress = _uncounted,
    ) -> SubmittedJob:
        """A ZIP of photographs becomes point clouds. Raises FileUnusable."""
        return submit_photos(self._http, path, dataset_name, scene_name, on_progress)

    def jobs(self) -> tuple[JobSummary, ...]:
        """Every capture job of the key's owner, most recent first."""
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
        """Stop a job of a capture or an object: the other APIs have no way to. Raises Conflict if it has ended."""
        if BASE36_8.fullmatch(job_id):
            return self._cancel_in_two_steps(job_id)
        with explained(self._http):
            response = self._http.post(f"api/v1/jobs/{quote(job_id, safe='')}/cancel")
        return parse(response, CancelledJob).status

    def _cancel_in_two_steps(self, job_id: str) -> JobStatus:
        path = f"jobs/{job_id}/cancel"
        with explained(self._http):
            parse(self._http.post(path), SubmittedJob)
            response = self._http.post(path, json={"confirm": True})
        return parse(response, CancelledJob).status

    def download(
        self, job_id: str, out: Path, on_progress: Progress = _uncounted, *, kind: JobKind = JobKind.CAPTURE
    ) -> Download:
        """Fetch the result of a completed job into the file, or the folder, `out`: of a building its IFC model.

        Goes on where an earlier attempt stopped, in this process or before. Raises Conflict if there is no result yet,
        FileUnusable.
        """
        path, name = _RESULTS[kind]
        return download(
            self._http,
            path.format(quote(job_id, safe="")),
            out,
            name.format(job_id),
            patience=self._patience,
            on_progress=on_progress,
        )

    def present(self, job_id: str) -> Update:
        """Where a job of any kind is now: of a capture by its status, which every server of the ReMap API has."""
        if BASE36_8.fullmatch(job_id) or UUID.fullmatch(job_id):
            return present(self._http, job_id, self._patience)
        return Update.from_status(self.status(job_id))

    def watch(self, job_id: str, *, last_event_id: int | None = None, on_notice: Notice = _unheard) -> Iterator[Update]:
        """The job's updates up to the final one; goes on after a lost connection. See `client.watching.watch`."""
        return watch(
            self._http,
            quote(job_id, safe=""),
            lambda: self.present(job_id),
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
