"""The document's table of errors, row by row, and that nothing of ours falls outside it."""

import errno
import json
from http import HTTPStatus

import pytest

from contracts.errors import AlidadeError, DependencyUnavailable, ErrorCode, UserError
from contracts.identifiers import new_object_job_id
from contracts.jobs import Failure, Job, JobKind, JobStatus, Progress
from contracts.object_settings import ModelType, ObjectRequest, ObjectSettings
from runtime.clock import now
from runtime.refusals import Refusal, not_found
from services.gateway.dialects import SIX_VIEWS, dialect_of
from services.gateway.six_views_errors import TABLE, Code, job_error, job_refusal

DOCUMENT = """\
| **VALIDATION_FAILED** | 422 | Request validation failed (generic) | Fix the validation errors and try again. |
| **FILE_TOO_LARGE** | 422 | Uploaded file exceeds size limit | Reduce image resolution or compress PNGs before uploading (max 20MB per file). |
| **INVALID_FILE_FORMAT** | 422 | File is not a valid PNG image | Ensure all uploaded files are valid PNG images. |
| **INVALID_FILE_COUNT** | 422 | Wrong number of files uploaded | Upload exactly 6 view images and 6 depth render images. |
| **JOB_NOT_FOUND** | 404 | Job ID does not exist | Check the job ID and try again. |
| **JOB_NOT_READY** | 409 | Job not in correct state for operation | Wait for job to complete before downloading. Poll GET /jobs/{job_id} for status. |
| **JOB_EXPIRED** | 410 | Job results no longer available | Job results are no longer available. Submit a new job if needed. |
| **MODEL_FAILED** | 500 | Model processing failed (generic) | Model processing failed. Try again with different inputs or contact support. |
| **MODEL_OOM** | 500 | System ran out of memory | System ran out of memory. Try again when resources are available. |
| **MODEL_VRAM_OOM** | 500 | GPU ran out of VRAM | GPU ran out of VRAM (16GB limit). Try again when GPU resources are available. |
| **MODEL_CONVERGENCE_FAILED** | 500 | Model failed to converge | Model failed to converge. Try uploading higher-quality or better-lit input images. |
| **QUALITY_THRESHOLD_FAILED** | 500 | Reconstruction quality below threshold | Reconstruction quality below threshold. Try uploading higher-quality input images. |
| **INCOMPLETE_RESULTS** | 500 | Job outputs are missing files | Job outputs are incomplete. Contact support. |
| **GPU_UNAVAILABLE** | 503 | No GPU available for processing | No GPU available. Job will retry automatically. |
| **DISK_FULL** | 503 | Server disk is full | Server disk is full. Contact support. |
| **MEMORY_EXHAUSTED** | 503 | Server out of memory | Server out of memory. Try again later. |
| **UNKNOWN_ERROR** | 500 | Unexpected error occurred | An unexpected error occurred. Contact support if this persists. |
"""
ROWS = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in DOCUMENT.splitlines()]
PATH = "/jobs/k3m8xq2p"


def answered(error: Exception, path: str = PATH) -> tuple[int, dict[str, object]]:
    """Status and error as the gateway would answer."""
    refusal = dialect_of(path).refusal_of(error, path)
    response = SIX_VIEWS.response(refusal)
    assert response.text is not None
    body = json.loads(response.text)
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "details", "suggestion"]
    return response.status, body["error"]


def failed_job(failure: Failure, step: str = "nvdiffrec.texturing_mesh", model: ModelType = ModelType.BOTH) -> Job:
    moment = now()
    return Job(
        job_id=new_object_job_id(),
        kind=JobKind.OBJECT,
        owner="ada",
        status=JobStatus.FAILED,
        stage="mesh",
        progress=Progress(percent=50, step=step),
        request=ObjectRequest(dataset_id="a1b2c3d4e5f6", settings=ObjectSettings(model_type=model)),
        error=failure,
        created_at=moment,
        updated_at=moment,
    )


def test_the_table_is_the_documents() -> None:
    assert [row[0] for row in ROWS] == list(Code)
    for code, status, _, suggestion in ROWS:
        assert TABLE[Code(code)].status == int(status)
        assert TABLE[Code(code)].suggestion == suggestion


@pytest.mark.parametrize("code", ErrorCode)
def test_every_failure_of_a_job_has_a_row_and_its_status(code: ErrorCode) -> None:
    job = failed_job(Failure(code=code, message="It broke."))
    error = job_error(job)
    assert error is not None
    row = TABLE[Code(error.code)]
    assert error.suggestion == row.suggestion
    refusal = job_refusal(job)
    assert (refusal.status, refusal.row) == (row.status, error.code)
    assert refusal.details["job_id"] == job.job_id


@pytest.mark.parametrize("code", ErrorCode)
def test_every_fault_of_a_request_has_a_row_and_its_status(code: ErrorCode) -> None:
    status, error = answered(UserError(code, "It cannot be.", field="views"))
    row = TABLE[Code(str(error["code"]))]
    assert (status, error["suggestion"]) == (row.status, row.suggestion)
    assert error["details"]["field"] == "views"


def test_a_models_failure_names_model_and_stage() -> None:
    error = job_error(failed_job(Failure(code=ErrorCode.WORKER_CRASHED, message="It was ended by signal SIGSEGV.")))
    assert error is not None
    assert (error.code, error.details) == ("MODEL_FAILED", {"model": "nvdiffrec", "pipeline_stage": "texturing_mesh"})
    early = job_error(failed_job(Failure(code=ErrorCode.INTERNAL, message="Oh."), step="recovering_cameras"))
    assert early is not None
    assert early.details == {"model": "reconviagen", "pipeline_stage": "recovering_cameras"}


def test_figures_that_belong_to_the_reason_are_told() -> None:
    failure = Failure(code=ErrorCode.QUALITY_THRESHOLD_FAILED, message="Unlike.", details={"psnr": 14.2, "ssim": 0.61})
    error = job_error(failed_job(failure))
    assert error is not None
    assert (error.code, error.details) == ("QUALITY_THRESHOLD_FAILED", {"psnr": 14.2, "ssim": 0.61})


class _OfTheStore(Exception):
    code = "XMinioStorageFull"


class _OfTheBus(Exception):
    err_code = 10028


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "DISK_FULL"),
        (_OfTheStore(), "DISK_FULL"),
        (_OfTheBus(), "MEMORY_EXHAUSTED"),
        (MemoryError(), "MEMORY_EXHAUSTED"),
    ],
)
def test_what_the_server_is_short_of_is_said(cause: Exception, code: str) -> None:
    outage = DependencyUnavailable("The object store failed on 'uploads/x' at 10.0.0.7.")
    outage.__cause__ = cause
    for error in (outage, cause):
        status, body = answered(error)
        assert (status, body["code"]) == (503, code)
        assert "10.0.0.7" not in str(body)


def test_an_outage_says_later_and_no_addresses() -> None:
    refusal = SIX_VIEWS.refusal_of(DependencyUnavailable("10.0.0.7 does not answer"), PATH)
    response = SIX_VIEWS.response(refusal)
    assert response.headers["Retry-After"]
    status, body = answered(DependencyUnavailable("10.0.0.7 does not answer"))
    assert (status, body["code"]) == (503, "UNKNOWN_ERROR")
    assert "10.0.0.7" not in str(body)


def test_a_fault_of_ours_tells_nothing() -> None:
    for error in (AlidadeError("/srv/secret"), RuntimeError("/srv/secret")):
        status, body = answered(error)
        assert (status, body["code"]) == (500, "UNKNOWN_ERROR")
        assert "secret" not in str(body)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (HTTPStatus.BAD_REQUEST, 422, "VALIDATION_FAILED"),
        (HTTPStatus.REQUEST_TIMEOUT, 422, "VALIDATION_FAILED"),
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 422, "FILE_TOO_LARGE"),
        (HTTPStatus.UNAUTHORIZED, 401, "UNAUTHORIZED"),
        (HTTPStatus.METHOD_NOT_ALLOWED, 405, "METHOD_NOT_ALLOWED"),
        (HTTPStatus.PRECONDITION_FAILED, 412, "PRECONDITION_FAILED"),
        (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 416, "RANGE_NOT_SATISFIABLE"),
    ],
)
def test_refusals_of_shared_parts_get_this_apis_status(status: HTTPStatus, answer: int, code: str) -> None:
    said, body = answered(Refusal(status, "No."))
    assert (said, body["code"]) == (answer, code)


UUID = "3f7a91b2-1234-5678-abcd-ef0123456789"


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("/jobs", True),
        ("/jobs/k3m8xq2p", True),
        ("/jobs/no-such-form", True),
        ("/jobs/k3m8xq2p/download", True),
        (f"/jobs/{UUID}/cancel", True),
        (f"/jobs/{UUID}", False),
        (f"/jobs/{UUID}/insights", False),
        ("/jobs/k3m8xq2p/insights", False),
        ("/jobsy", False),
    ],
)
def test_paths_below_jobs_belong_to_two_apis(path: str, is_ours: bool) -> None:
    assert (dialect_of(path) is SIX_VIEWS) == is_ours
    refused = SIX_VIEWS.response(not_found("Nothing here."))
    assert refused.status == 404
