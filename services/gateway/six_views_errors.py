"""Errors as the six-view document has them: its table of codes, and which of ours is called what there."""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from pydantic import JsonValue

from contracts.errors import DependencyUnavailable, ErrorCode, UserError
from contracts.jobs import Failure, Job
from contracts.model import Frozen
from contracts.object_settings import ModelType, ObjectRequest
from contracts.pipelines import model_of_step, models_of
from runtime.refusals import Refusal, refusal_of


class Code(StrEnum):
    """The codes of the document."""

    VALIDATION_FAILED = "VALIDATION_FAILED"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    INVALID_FILE_FORMAT = "INVALID_FILE_FORMAT"
    INVALID_FILE_COUNT = "INVALID_FILE_COUNT"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_NOT_READY = "JOB_NOT_READY"
    JOB_EXPIRED = "JOB_EXPIRED"
    MODEL_FAILED = "MODEL_FAILED"
    MODEL_OOM = "MODEL_OOM"
    MODEL_VRAM_OOM = "MODEL_VRAM_OOM"
    MODEL_CONVERGENCE_FAILED = "MODEL_CONVERGENCE_FAILED"
    QUALITY_THRESHOLD_FAILED = "QUALITY_THRESHOLD_FAILED"
    INCOMPLETE_RESULTS = "INCOMPLETE_RESULTS"
    GPU_UNAVAILABLE = "GPU_UNAVAILABLE"
    DISK_FULL = "DISK_FULL"
    MEMORY_EXHAUSTED = "MEMORY_EXHAUSTED"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"


@dataclass(frozen=True)
class Meaning:
    """A row of the table."""

    status: HTTPStatus
    suggestion: str


_INVALID, _FAILED, _BUSY = (
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
TABLE: Mapping[Code, Meaning] = {
    Code.VALIDATION_FAILED: Meaning(_INVALID, "Fix the validation errors and try again."),
    Code.FILE_TOO_LARGE: Meaning(
        _INVALID, "Reduce image resolution or compress PNGs before uploading (max 20MB per file)."
    ),
    Code.INVALID_FILE_FORMAT: Meaning(_INVALID, "Ensure all uploaded files are valid PNG images."),
    Code.INVALID_FILE_COUNT: Meaning(_INVALID, "Upload exactly 6 view images and 6 depth render images."),
    Code.JOB_NOT_FOUND: Meaning(HTTPStatus.NOT_FOUND, "Check the job ID and try again."),
    Code.JOB_NOT_READY: Meaning(
        HTTPStatus.CONFLICT, "Wait for job to complete before downloading. Poll GET /jobs/{job_id} for status."
    ),
    Code.JOB_EXPIRED: Meaning(HTTPStatus.GONE, "Job results are no longer available. Submit a new job if needed."),
    Code.MODEL_FAILED: Meaning(_FAILED, "Model processing failed. Try again with different inputs or contact support."),
    Code.MODEL_OOM: Meaning(_FAILED, "System ran out of memory. Try again when resources are available."),
    Code.MODEL_VRAM_OOM: Meaning(
        _FAILED, "GPU ran out of VRAM (16GB limit). Try again when GPU resources are available."
    ),
    Code.MODEL_CONVERGENCE_FAILED: Meaning(
        _FAILED, "Model failed to converge. Try uploading higher-quality or better-lit input images."
    ),
    Code.QUALITY_THRESHOLD_FAILED: Meaning(
        _FAILED, "Reconstruction quality below threshold. Try uploading higher-quality input images."
    ),
    Code.INCOMPLETE_RESULTS: Meaning(_FAILED, "Job outputs are incomplete. Contact support."),
    Code.GPU_UNAVAILABLE: Meaning(_BUSY, "No GPU available. Job will retry automatically."),
    Code.DISK_FULL: Meaning(_BUSY, "Server disk is full. Contact support."),
    Code.MEMORY_EXHAUSTED: Meaning(_BUSY, "Server out of memory. Try again later."),
    Code.UNKNOWN_ERROR: Meaning(_FAILED, "An unexpected error occurred. Contact support if this persists."),
}
"""The document's table of error codes."""

_CODES: Mapping[ErrorCode, Code] = {
    ErrorCode.INVALID_REQUEST: Code.VALIDATION_FAILED,
    ErrorCode.INVALID_JSON: Code.VALIDATION_FAILED,
    ErrorCode.INVALID_SETTING: Code.VALIDATION_FAILED,
    ErrorCode.INVALID_CAMERAS: Code.VALIDATION_FAILED,
    ErrorCode.INVALID_DEPTH: Code.VALIDATION_FAILED,
    ErrorCode.UNSUPPORTED_FORMAT: Code.VALIDATION_FAILED,
    ErrorCode.INVALID_IMAGE: Code.INVALID_FILE_FORMAT,
    ErrorCode.INVALID_FILE_COUNT: Code.INVALID_FILE_COUNT,
    ErrorCode.TOO_LARGE: Code.FILE_TOO_LARGE,
    ErrorCode.NOT_FOUND: Code.JOB_EXPIRED,
    ErrorCode.NO_MODEL: Code.MODEL_CONVERGENCE_FAILED,
    ErrorCode.MODEL_OOM: Code.MODEL_OOM,
    ErrorCode.MODEL_VRAM_OOM: Code.MODEL_VRAM_OOM,
    ErrorCode.MODEL_CONVERGENCE_FAILED: Code.MODEL_CONVERGENCE_FAILED,
    ErrorCode.QUALITY_THRESHOLD_FAILED: Code.QUALITY_THRESHOLD_FAILED,
    ErrorCode.GPU_UNAVAILABLE: Code.GPU_UNAVAILABLE,
}
"""What the document has a name for. Whatever else ends a job is a failure of its model; of a request, unknown."""

_OF_STATUS: Mapping[HTTPStatus, Code] = {
    HTTPStatus.BAD_REQUEST: Code.VALIDATION_FAILED,
    HTTPStatus.REQUEST_TIMEOUT: Code.VALIDATION_FAILED,
    HTTPStatus.UNPROCESSABLE_ENTITY: Code.VALIDATION_FAILED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.FILE_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR: Code.UNKNOWN_ERROR,
}
"""Refusals of the parts that all APIs share."""
_OUTSIDE: Mapping[HTTPStatus, str] = {
    HTTPStatus.UNAUTHORIZED: "Send a valid API key.",
    HTTPStatus.FORBIDDEN: "Send a valid API key.",
    HTTPStatus.NOT_FOUND: "Check the address and try again.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Use a method that the Allow header names.",
    HTTPStatus.PRECONDITION_FAILED: "Download the results anew.",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Ask for a range within the file.",
    HTTPStatus.EXPECTATION_FAILED: "Send the request without an Expect header.",
}
"""What HTTP knows and the document does not. Codes are then the names of `ErrorCode`, or of the status."""
_NAMES: Mapping[HTTPStatus, str] = {
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: ErrorCode.RANGE_NOT_SATISFIABLE,
}
_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_FULL_S3 = frozenset({"XMinioStorageFull", "InsufficientStorage", "QuotaExceeded"})
_BUS_DISK_FULL, _BUS_MEMORY_FULL = 10047, 10028
"""JSStorageResourcesExceededErr and JSMemoryResourcesExceededErr of the NATS server."""


class ErrorBody(Frozen):
    code: str
    """For programs."""
    message: str
    """What went wrong."""
    details: dict[str, JsonValue]
    """The job's id, the form's field, measured figures: what belongs to the code."""
    suggestion: str
    """What to do about it."""


class ObjectError(Frozen):
    """The form of every error of the six-view API."""

    error: ErrorBody


class ObjectRefusal(Refusal):
    """A refusal with a code of the table. Its status is the table's, unless `status` says otherwise."""

    def __init__(
        self,
        code: Code,
        message: str,
        details: Mapping[str, JsonValue] | None = None,
        *,
        status: HTTPStatus | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status or TABLE[code].status, message, headers)
        self.row = code
        self.details = dict(details or {})


def invalid_field(field: str, message: str) -> ObjectRefusal:
    """What a field of the request says cannot be (422)."""
    return ObjectRefusal(Code.VALIDATION_FAILED, message, {"field": field, "fields": {field: message}})


def object_refusal_of(error: Exception, path: str) -> Refusal:
    """How an exception from a handler of this API is answered."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UserError):
        body = failure_body(Failure(code=error.code, message=error.message, field=error.field, details=error.details))
        return ObjectRefusal(Code(body.code), body.message, body.details)
    refusal = refusal_of(error, path)
    for cause in _causes(error):
        short_of = _shortage(cause)
        if short_of is not None:
            return ObjectRefusal(short_of, TABLE[short_of].suggestion.partition(". ")[0] + ".", headers=refusal.headers)
    if isinstance(error, DependencyUnavailable):
        # The table has no code for an outage. Its status stays one that says "later", as in every other API here.
        return ObjectRefusal(
            Code.UNKNOWN_ERROR, refusal.message, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=refusal.headers
        )
    return ObjectRefusal(Code.UNKNOWN_ERROR, refusal.message)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _shortage(error: BaseException) -> Code | None:
    """What the server is short of, if this says so. Errors of SDKs are known by what they carry."""
    if isinstance(error, MemoryError) or getattr(error, "err_code", None) == _BUS_MEMORY_FULL:
        return Code.MEMORY_EXHAUSTED
    if isinstance(error, OSError) and error.errno in _DISK_FULL_ERRNOS:
        return Code.DISK_FULL
    if getattr(error, "err_code", None) == _BUS_DISK_FULL or getattr(error, "code", None) in _DISK_FULL_S3:
        return Code.DISK_FULL
    return None


def adapted(refusal: Refusal) -> Refusal:
    """The refusal with this API's status: shared parts refuse as HTTP would, and the document has its own table."""
    code = _OF_STATUS.get(refusal.status)
    if isinstance(refusal, ObjectRefusal) or code is None:
        return refusal
    return ObjectRefusal(code, refusal.message, headers=refusal.headers)


def object_error(refusal: Refusal) -> ObjectError:
    """The body of a refusal."""
    if isinstance(refusal, ObjectRefusal):
        suggestion = TABLE[refusal.row].suggestion
        body = ErrorBody(code=refusal.row, message=refusal.message, details=refusal.details, suggestion=suggestion)
        return ObjectError(error=body)
    name = _NAMES.get(refusal.status) or refusal.status.phrase.upper().replace(" ", "_").replace("-", "_")
    suggestion = _OUTSIDE.get(refusal.status, TABLE[Code.UNKNOWN_ERROR].suggestion)
    return ObjectError(error=ErrorBody(code=name, message=refusal.message, details={}, suggestion=suggestion))


def failure_body(failure: Failure) -> ErrorBody:
    """What went wrong with what a request brought, in the document's form."""
    code = _CODES.get(failure.code, Code.UNKNOWN_ERROR)
    details: dict[str, JsonValue] = dict(failure.details)
    if failure.field is not None:
        details["field"] = failure.field
        if code is Code.VALIDATION_FAILED:
            details["fields"] = {failure.field: failure.message}
    return ErrorBody(code=code, message=failure.message, details=details, suggestion=TABLE[code].suggestion)


def job_error(job: Job) -> ErrorBody | None:
    """Why the job failed; None if it has not."""
    if job.error is None:
        return None
    known = failure_body(job.error)
    if known.code != Code.UNKNOWN_ERROR or job.error.code is ErrorCode.DEPENDENCY_UNAVAILABLE:
        return known
    details = {**known.details, "model": _model(job), "pipeline_stage": job.progress.step.rpartition(".")[2]}
    suggestion = TABLE[Code.MODEL_FAILED].suggestion
    return ErrorBody(code=Code.MODEL_FAILED, message=known.message, details=details, suggestion=suggestion)


def job_refusal(job: Job) -> ObjectRefusal:
    """For whoever wants the results of a job that failed."""
    body = job_error(job)
    assert body is not None
    return ObjectRefusal(Code(body.code), body.message, {"job_id": job.job_id, **body.details})


def current_model(job: Job) -> ModelType | None:
    """The model that the job's present step belongs to; what is done once for all models counts to the first."""
    if not isinstance(job.request, ObjectRequest):
        return None
    return model_of_step(job.progress.step) or models_of(job.request.settings.model_type)[0]


def _model(job: Job) -> str | None:
    model = current_model(job)
    return None if model is None else model.value


def job_not_found(job_id: str) -> ObjectRefusal:
    return ObjectRefusal(Code.JOB_NOT_FOUND, f"Job '{job_id}' not found", {"job_id": job_id})


def job_expired(job_id: str) -> ObjectRefusal:
    return ObjectRefusal(
        Code.JOB_EXPIRED, f"Job '{job_id}' results have expired or been cleaned up", {"job_id": job_id}
    )
