"""Every subject and stream of the bus. Nowhere else is one spelt out."""

from contracts.events import EventType
from contracts.jobs import JobKind

JOBS_STREAM = "JOBS"
WORK_STREAM = "WORK"
DEAD_STREAM = "DEAD"

ALL_JOB_EVENTS = "alidade.v1.jobs.>"
ALL_WORK = "alidade.v1.work.>"
ALL_DEAD = "alidade.v1.dead.>"


def job_event(kind: JobKind, job_id: str, event_type: EventType) -> str:
    """Where a change of a job is published."""
    return f"alidade.v1.jobs.{kind}.{job_id}.{event_type}"


def job_events(job_id: str) -> str:
    """Every event of one job, whatever its kind: the scope of compare-and-set."""
    return f"alidade.v1.jobs.*.{job_id}.>"


def cancellations(job_id: str) -> str:
    """The event that stops one job."""
    return f"alidade.v1.jobs.*.{job_id}.{EventType.CANCELLED}"


def work(service: str, job_id: str) -> str:
    """One stage of one job; the stream keeps one message per subject, so it cannot be queued twice."""
    return f"alidade.v1.work.{service}.{job_id}"


def work_of(service: str) -> str:
    """What a service's consumer takes."""
    return f"alidade.v1.work.{service}.>"


def dead(service: str, job_id: str) -> str:
    """Work that was given up."""
    return f"alidade.v1.dead.{service}.{job_id}"


def inspect(kind: JobKind) -> str:
    """Request and reply: "is this upload valid, and what is in it?" """
    return f"alidade.v1.ask.inspect.{kind}"


def device(service: str) -> str:
    """Request and reply: "what do you compute on?" One worker of the service answers."""
    return f"alidade.v1.ask.device.{service}"


def measure(kind: JobKind) -> str:
    """Request and reply: "what would this upload's statistics be?" """
    return f"alidade.v1.ask.measure.{kind}"


def consumer(service: str) -> str:
    """The durable pull consumer of a service on the stream WORK."""
    return f"{service}-workers"
