"""The one place that decides what follows a failure: try again later, or give up, and with which words."""

import random
from dataclasses import dataclass

from contracts.errors import (
    AlidadeError,
    DependencyUnavailable,
    ErrorCode,
    GpuUnavailable,
    OutOfMemory,
    UserError,
    WorkerCrashed,
)
from contracts.jobs import Failure
from runtime.settings import WorkerSettings


@dataclass(frozen=True)
class TryAgain:
    """Hand the work back to the queue; nobody takes it before `delay_s` has passed."""

    delay_s: float


@dataclass(frozen=True)
class WaitForDependency:
    """Like `TryAgain`, and no failure of the job: what it stands on does not answer."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """The job has failed. `is_users_fault` decides whether the work is kept in the stream DEAD."""

    failure: Failure
    is_users_fault: bool


Verdict = TryAgain | WaitForDependency | GiveUp


def judge(error: Exception, failed_attempts: int, deliveries: int, settings: WorkerSettings) -> Verdict:
    """What follows `error`, the `failed_attempts`-th failure (from 1) of this stage of this job.

    `deliveries` is how often its work was delivered. The user's data is never tried twice. While the bus or the object
    store does not answer, no job can do anything: it waits, up to `settings.max_deliveries`. Everything else is tried
    again up to `settings.max_attempts`. Pauses grow exponentially, with jitter, so that workers that failed together
    do not come back together.
    """
    if isinstance(error, UserError):
        failure = Failure(code=error.code, message=error.message, field=error.field, details=error.details)
        return GiveUp(failure, is_users_fault=True)
    if isinstance(error, DependencyUnavailable) and deliveries < settings.max_deliveries:
        return WaitForDependency(_pause_s(deliveries, settings))
    if failed_attempts >= settings.max_attempts:
        return GiveUp(_last_words(error, failed_attempts), is_users_fault=False)
    return TryAgain(_pause_s(failed_attempts, settings))


def _pause_s(tries: int, settings: WorkerSettings) -> float:
    pause_s = min(settings.retry_base_s * 2.0 ** min(tries - 1, 64), settings.retry_limit_s)
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


def public_words(error: Exception) -> str:
    """What the job's owner may read of a failure. What other exceptions say may hold paths, addresses or data."""
    if isinstance(error, UserError | OutOfMemory | WorkerCrashed | GpuUnavailable):
        return error.message
    if isinstance(error, DependencyUnavailable):
        return "A part of this service does not answer at present."
    return "Something went wrong on our side."


def _last_words(error: Exception, failed_attempts: int) -> Failure:
    code = error.code if isinstance(error, AlidadeError) else ErrorCode.INTERNAL
    return Failure(code=code, message=f"{public_words(error)} Given up after {failed_attempts} attempts.")
