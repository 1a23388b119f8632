"""Data sets: an upload that ingest has found valid, and the record that makes it one."""

from dataclasses import dataclass

from contracts import keys, subjects
from contracts.errors import AlidadeError, DependencyUnavailable, ErrorCode, UserError
from contracts.identifiers import HEX12
from contracts.jobs import Failure, JobKind
from contracts.uploads import Dataset, Inspection, InspectRequest
from runtime.bus import Bus
from runtime.clock import now
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.refusals import not_found

_RECORD_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True)
class InspectedUpload:
    """An upload that ingest has found valid."""

    stored: InspectRequest
    files: tuple[str, ...]


async def inspect_upload(
    store: ObjectStore, bus: Bus, kind: JobKind, key: str, timeout_s: float, *, file_name: str | None = None
) -> InspectedUpload:
    """Ask ingest what was uploaded. `file_name` is what the sender calls it.

    Raises UserError with ingest's reason; DependencyUnavailable if ingest or the store behind it does not answer;
    AlidadeError if ingest is at fault.
    """
    stored = await store.stat(key)
    if stored is None:
        raise DependencyUnavailable(f"The upload {key} is not in the object store.")
    question = InspectRequest(kind=kind, key=key, etag=stored.etag, size_bytes=stored.size_bytes, file_name=file_name)
    answer = await bus.request(subjects.inspect(kind), question.model_dump_json().encode(), timeout_s=timeout_s)
    inspection = Inspection.model_validate_json(answer)
    if inspection.error is not None:
        raise error_of(inspection.error)
    return InspectedUpload(question, inspection.files)


def error_of(failure: Failure) -> AlidadeError:
    """The error that ingest met, as far as its code tells whose fault it is."""
    match failure.code:
        # The upload was there a moment ago, so that it is gone or replaced is no fault of whoever sent it.
        case ErrorCode.DEPENDENCY_UNAVAILABLE | ErrorCode.NOT_FOUND | ErrorCode.PRECONDITION_FAILED:
            return DependencyUnavailable(failure.message)
        case ErrorCode.INTERNAL | ErrorCode.WORKER_CRASHED | ErrorCode.MODEL_OOM:
            return AlidadeError(failure.message)
        case _:
            return UserError(failure.code, failure.message, field=failure.field)


async def record_dataset(store: ObjectStore, dataset_id: str, owner: str, upload: InspectedUpload) -> Dataset:
    """Write the record that makes an upload a data set. Raises DependencyUnavailable."""
    dataset = Dataset(
        dataset_id=dataset_id,
        kind=upload.stored.kind,
        owner=owner,
        key=upload.stored.key,
        etag=upload.stored.etag,
        size_bytes=upload.stored.size_bytes,
        files=upload.files,
        created_at=now(),
    )
    await store.put_bytes(keys.dataset(dataset_id), dataset.model_dump_json().encode(), "application/json")
    return dataset


async def find_dataset(store: ObjectStore, dataset_id: str, kind: JobKind, owner: str) -> Dataset:
    """The owner's data set. Raises Refusal (404) if there is none, or if it is somebody else's."""
    missing = not_found("Dataset not found. Upload it first; data sets are removed some days after their last use.")
    if not HEX12.fullmatch(dataset_id):
        raise missing
    try:
        record = await store.get_bytes(keys.dataset(dataset_id), _RECORD_LIMIT_BYTES)
    except ObjectNotFound:
        raise missing from None
    dataset = Dataset.model_validate_json(record)
    if dataset.owner != owner or dataset.kind is not kind:
        raise missing
    return dataset


async def forget_upload(store: ObjectStore, dataset_id: str) -> None:
    """Remove an upload that did not become a data set. Raises DependencyUnavailable."""
    # The record first, in case it was written although its acknowledgement was lost.
    await store.delete(keys.dataset(dataset_id))
    await store.delete(keys.upload(dataset_id))
