"""How far a job is, as people see it."""

from contracts.jobs import Job, JobStatus


def percent(job: Job) -> int:
    """Whole percent, rounded down: 100 means done."""
    if job.status is JobStatus.COMPLETED:
        return 100
    return min(int(job.progress.percent), 99)
