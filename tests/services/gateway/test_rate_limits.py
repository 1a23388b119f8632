"""The token bucket: so many at once, so many a minute, each client for itself, in a bounded memory."""

import pytest

from runtime.refusals import Refusal
from services.gateway.rate_limits import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def wait_s(limit: RateLimit, client: str = "a") -> int:
    with pytest.raises(Refusal) as refused:
        limit.count(client)
    assert refused.value.status == 429
    return int(refused.value.headers["Retry-After"])


def test_a_minutes_worth_at_once_then_at_the_pace() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    for _ in range(10):
        limit.count("a")
    assert wait_s(limit) == 6
    clock.now_s += 5.0
    assert wait_s(limit) == 1
    clock.now_s += 1.0
    limit.count("a")
    assert wait_s(limit) == 6


def test_who_waits_as_told_is_let_in_and_refusals_do_not_count() -> None:
    clock = Clock()
    limit = RateLimit(7, clock)
    for _ in range(7):
        limit.count("a")
    for _ in range(50):
        told_s = wait_s(limit)
    clock.now_s += told_s
    limit.count("a")


def test_a_long_pause_saves_up_no_more_than_a_minutes_worth() -> None:
    clock = Clock()
    limit = RateLimit(3, clock)
    limit.count("a")
    clock.now_s += 86400.0
    for _ in range(3):
        limit.count("a")
    assert wait_s(limit) == 20


def test_clients_are_counted_apart_and_the_longest_silent_is_forgotten() -> None:
    limit = RateLimit(1, Clock(), clients_kept=2)
    limit.count("a")
    limit.count("b")
    assert wait_s(limit, "a")
    limit.count("c")
    assert wait_s(limit, "a")
    assert wait_s(limit, "c")
    limit.count("b")


def test_without_a_limit_nobody_is_refused() -> None:
    limit = RateLimit(None)
    for _ in range(1000):
        limit.count("a")
