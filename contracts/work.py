"""Items of the stream WORK, and what is kept of them in the stream DEAD."""

from typing import Literal

from pydantic import AwareDatetime

from contracts.jobs import Failure, JobKind
from contracts.model import Message


class WorkItem(Message):
    """One stage of one job, for whichever worker of the service takes it first."""

    version: Literal[1] = 1
    service: str
    job_id: str
    kind: JobKind
    published_at: AwareDatetime


class DeadItem(Message):
    """Work that was given up, with its reason, for people to look into."""

    version: Literal[1] = 1
    work: WorkItem
    reason: Failure
    deliveries: int
    died_at: AwareDatetime
