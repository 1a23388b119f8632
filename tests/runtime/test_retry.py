"""The one place that decides what follows a failure."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DependencyUnavailable, ErrorCode, GpuUnavailable, OutOfMemory, OutOfVideoMemory, UserError
from runtime.object_store import ObjectNotFound
from runtime.retry import GiveUp, TryAgain, WaitForDependency, judge, public_words
from runtime.settings import WorkerSettings

SETTINGS = WorkerSettings(max_attempts=4, retry_base_s=2, retry_limit_s=60)


@given(st.integers(1, 100))
def test_the_users_data_is_never_tried_twice(failed_attempts: int) -> None:
    verdict = judge(UserError(ErrorCode.INVALID_VIDEO, "Broken.", field="rgb.mp4"), failed_attempts, 1, SETTINGS)
    assert isinstance(verdict, GiveUp)
    assert verdict.is_users_fault
    assert verdict.failure.field == "rgb.mp4"


@given(st.integers(1, 3))
def test_pauses_grow_and_stay_within_bounds(failed_attempts: int) -> None:
    verdict = judge(RuntimeError("x"), failed_attempts, 1, SETTINGS)
    assert isinstance(verdict, TryAgain)
    assert 2 ** (failed_attempts - 1) <= verdict.delay_s <= min(2**failed_attempts, 60)


def test_after_the_last_attempt_the_reason_is_kept() -> None:
    verdict = judge(OutOfMemory("It took 13 GB of 12."), 4, 4, SETTINGS)
    assert isinstance(verdict, GiveUp)
    assert not verdict.is_users_fault
    assert verdict.failure.code is ErrorCode.MODEL_OOM
    assert "13 GB" in verdict.failure.message


def test_what_a_card_lacks_is_tried_again_and_told_at_last() -> None:
    for error, code in (
        (OutOfVideoMemory("The card is full."), ErrorCode.MODEL_VRAM_OOM),
        (GpuUnavailable("No card answers."), ErrorCode.GPU_UNAVAILABLE),
    ):
        assert isinstance(judge(error, 1, 1, SETTINGS), TryAgain)
        verdict = judge(error, 4, 4, SETTINGS)
        assert isinstance(verdict, GiveUp)
        assert verdict.failure.code is code
        assert error.message in verdict.failure.message


def test_figures_that_belong_to_the_reason_are_kept() -> None:
    error = UserError(ErrorCode.QUALITY_THRESHOLD_FAILED, "Unlike.", details={"psnr": 14.2})
    verdict = judge(error, 1, 1, SETTINGS)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.details == {"psnr": 14.2}


def test_unexpected_exceptions_keep_their_words_to_themselves() -> None:
    verdict = judge(ValueError("/home/ada/secret"), 4, 4, SETTINGS)
    assert isinstance(verdict, GiveUp)
    assert verdict.failure.code is ErrorCode.INTERNAL
    assert "secret" not in verdict.failure.message


@given(st.integers(1, 5000))
def test_an_outage_is_waited_for_and_not_for_ever(deliveries: int) -> None:
    verdict = judge(DependencyUnavailable("The object store does not answer."), 4, deliveries, SETTINGS)
    if deliveries < SETTINGS.max_deliveries:
        assert isinstance(verdict, WaitForDependency)
        assert verdict.delay_s <= 60
    else:
        assert isinstance(verdict, GiveUp)
        assert verdict.failure.code is ErrorCode.DEPENDENCY_UNAVAILABLE


def test_addresses_and_keys_are_not_for_the_jobs_owner() -> None:
    for error in (
        DependencyUnavailable("The object store does not answer (steps/a): host='10.0.0.7', port=8333"),
        ObjectNotFound("There is no object 'jobs/f7e8d9c0b1a2/ingest/manifest.json'."),
    ):
        assert not any(word in public_words(error) for word in ("10.0.0.7", "8333", "steps/", "jobs/"))
