"""What an attempt delivers: files under its own prefix, and what is recorded of them."""

from pathlib import Path

from contracts import keys
from contracts.jobs import Job, ResultFile
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.stage_work import StageWork


async def deliver(store: ObjectStore, work: StageWork, path: Path, name: str, content_type: str) -> ResultFile:
    """Store a file as a result of the attempt, under `name`. Raises ObjectNotFound if it is gone at once."""
    key = keys.result(work.job.job_id, work.attempt, name)
    await store.put_file(key, path, content_type)
    info = await store.stat(key)
    if info is None:
        raise ObjectNotFound(key)
    return ResultFile(name=name, key=key, content_type=content_type, size_bytes=info.size_bytes, etag=info.etag)


async def withdraw(store: ObjectStore, job: Job) -> None:
    """Remove what the job's present attempt delivered, and nothing of another attempt."""
    await store.delete_prefix(keys.result(job.job_id, job.attempts, ""))
