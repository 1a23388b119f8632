"""Events of the stream JOBS: CloudEvents 1.0 in structured JSON (NATS protocol binding, section 3.2)."""

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime

from contracts.jobs import Job, LogLine
from contracts.model import Message

CONTENT_TYPE = "application/cloudevents+json"


class EventType(StrEnum):
    """What happened; the last token of the event's subject."""

    CREATED = "created"
    STARTED = "started"
    PROGRESSED = "progressed"
    LOGGED = "logged"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEventData(Message):
    """The payload: the whole job after the change, and the log lines that came with it."""

    job: Job
    lines: tuple[LogLine, ...] = ()


class JobEvent(Message):
    """The CloudEvents envelope. `id` is also the publish's deduplication id."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    """`/alidade/<service>`"""
    type: str
    """`alidade.v1.job.<event type>`"""
    subject: str
    """The job's id."""
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Literal["urn:alidade:schema:job-event:1"] = "urn:alidade:schema:job-event:1"
    data: JobEventData


def event_type_name(event_type: EventType) -> str:
    """The CloudEvents `type` attribute."""
    return f"alidade.v1.job.{event_type}"
