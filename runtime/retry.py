"""The one place that decides what follows a failure: try again later, or give up, and with which words."""

import random
from dataclasses import dataclass

from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.jobs import Failure
from runtime.settings import WorkerSettings


@dataclass(frozen=True)
class TryAgain:
    """Hand the work back to the queue; nobody takes it before `delay_s` has passed."""

    delay_s: float


@dataclass(frozen=True)
class GiveUp:
    """The job has failed. `is_users_fault` decides whether the work is kept in the stream DEAD."""

    failure: Failure
    is_users_fault: bool


Verdict = TryAgain | GiveUp


def judge(error: Exception, failed_attempts: int, settings: WorkerSettings) -> Verdict:
    """What follows `error`, the `failed_attempts`-th failure (from 1) of this stage of this job.

    The user's data is never tried twice. Everything else is tried again after an exponential pause with jitter
    (so that workers that failed together do not come back together), up to `settings.max_attempts`.
    """
    if isinstance(error, UserError):
        return GiveUp(Failure(code=error.code, message=error.message, field=error.field), is_users_fault=True)
    if failed_attempts >= settings.max_attempts:
        return GiveUp(_last_words(error, failed_attempts), is_users_fault=False)
    pause_s = min(settings.retry_base_s * 2 ** (failed_attempts - 1), settings.retry_limit_s)
    return TryAgain(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret


def public_words(error: Exception) -> str:
    """What the job's owner may read of a failure. What an unexpected exception says may hold paths or data."""
    if isinstance(error, AlidadeError) and error.code is not ErrorCode.INTERNAL:
        return error.message
    return "Something went wrong on our side."


def _last_words(error: Exception, failed_attempts: int) -> Failure:
    code = error.code if isinstance(error, AlidadeError) else ErrorCode.INTERNAL
    return Failure(code=code, message=f"{public_words(error)} Given up after {failed_attempts} attempts.")
