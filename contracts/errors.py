"""One tree of exceptions, and the codes that people and programs see.

Two kinds of failure matter to whoever runs work: `UserError` (the input or the request is at fault; trying
again cannot help) and everything else (a crash, a lost connection, too little memory; trying again may help).
"""

from collections.abc import Mapping
from enum import StrEnum

Details = Mapping[str, str | int | float]


class ErrorCode(StrEnum):
    """Stable names of failures. Names are never reused for another meaning."""

    # The request is at fault.
    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_JSON = "INVALID_JSON"
    INVALID_SETTING = "INVALID_SETTING"
    UNSUPPORTED_COLORSPACE = "UNSUPPORTED_COLORSPACE"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFLICT = "CONFLICT"
    TOO_LARGE = "TOO_LARGE"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"

    # What was uploaded is at fault.
    INVALID_ARCHIVE = "INVALID_ARCHIVE"
    UNSAFE_ARCHIVE = "UNSAFE_ARCHIVE"
    MISSING_FILE = "MISSING_FILE"
    INVALID_CAPTURE = "INVALID_CAPTURE"
    INVALID_ODOMETRY = "INVALID_ODOMETRY"
    INVALID_INTRINSICS = "INVALID_INTRINSICS"
    INVALID_VIDEO = "INVALID_VIDEO"
    INVALID_IMAGE = "INVALID_IMAGE"
    INVALID_DEPTH = "INVALID_DEPTH"
    INVALID_CLOUD = "INVALID_CLOUD"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    INVALID_FILE_COUNT = "INVALID_FILE_COUNT"
    INVALID_CAMERAS = "INVALID_CAMERAS"
    TOO_FEW_FRAMES = "TOO_FEW_FRAMES"
    NO_MODEL = "NO_MODEL"
    FEATURES_UNAVAILABLE = "FEATURES_UNAVAILABLE"
    JOB_TIMEOUT = "JOB_TIMEOUT"
    MODEL_OOM = "MODEL_OOM"
    MODEL_VRAM_OOM = "MODEL_VRAM_OOM"
    MODEL_CONVERGENCE_FAILED = "MODEL_CONVERGENCE_FAILED"
    QUALITY_THRESHOLD_FAILED = "QUALITY_THRESHOLD_FAILED"
    GPU_UNAVAILABLE = "GPU_UNAVAILABLE"

    # We are at fault, or something below us.
    WORKER_CRASHED = "WORKER_CRASHED"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    INTERNAL = "INTERNAL"


class AlidadeError(Exception):
    """The root of every exception that Alidade raises on purpose."""

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        """More for the operator's log; users never see it."""


class UserError(AlidadeError):
    """The user's request or data is at fault. `message` tells how to mend it; `field` names the culprit."""

    def __init__(
        self, code: ErrorCode, message: str, *, field: str | None = None, details: Details | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.details: Details = details or {}
        """Figures that belong to the reason, by the names of the job's API."""


class TransientError(AlidadeError):
    """Something that is not the user's fault; the work is tried again later."""


class DependencyUnavailable(TransientError):
    """The bus, the object store or another service does not answer."""

    code = ErrorCode.DEPENDENCY_UNAVAILABLE


class WorkerCrashed(TransientError):
    """The child process died: a native abort, a signal, an exit without a result."""

    code = ErrorCode.WORKER_CRASHED


class OutOfMemory(TransientError):
    """The child process passed its memory limit. Tried again once other work has left, then failed."""

    code = ErrorCode.MODEL_OOM


class OutOfVideoMemory(OutOfMemory):
    """The graphics card has no memory left. Tried again once other work has left, then failed."""

    code = ErrorCode.MODEL_VRAM_OOM


class GpuUnavailable(TransientError):
    """The work needs a graphics card, and this worker finds none that answers."""

    code = ErrorCode.GPU_UNAVAILABLE


class ConfigurationError(AlidadeError):
    """A setting is unknown or impossible. Raised at start, before anything is connected."""


class Superseded(AlidadeError):
    """Somebody else changed the job first: it was cancelled, finished, or claimed by a newer attempt."""


class JobCancelled(Superseded):
    """The job's owner cancelled it."""
