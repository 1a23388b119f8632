"""Data sets: what was uploaded, and the question "is this valid, and what is in it?" put to ingest."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from contracts.jobs import Failure, JobKind
from contracts.model import Message


class InspectRequest(Message):
    """Gateway to ingest, by NATS request and reply, within the upload request."""

    version: Literal[1] = 1
    kind: JobKind
    key: str
    etag: str
    size_bytes: int
    file_name: str | None = None
    """As the sender calls the file, without folders: where the content leaves its kind open, the name may tell."""


class Inspection(Message):
    """The answer: the files found, or why the upload is refused."""

    version: Literal[1] = 1
    files: tuple[str, ...] = ()
    """Relative to the capture's own root."""
    error: Failure | None = None


class Dataset(Message):
    """`datasets/<dataset_id>.json`: written last, so a data set that can be read is complete."""

    version: Literal[1] = 1
    dataset_id: str
    kind: JobKind
    owner: str
    key: str
    etag: str
    size_bytes: Annotated[int, Field(ge=0)]
    files: tuple[str, ...]
    created_at: AwareDatetime
