"""How often a client may submit: a token bucket each, in a bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from runtime.access import ANONYMOUS
from runtime.refusals import Refusal
from services.gateway.parts import PRINCIPAL

_CLIENTS_KEPT = 10_000


@dataclass
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """`per_minute` requests of one client, as many of them at once; None sets no limit."""

    def __init__(
        self, per_minute: int | None, clock: Callable[[], float] = time.monotonic, clients_kept: int = _CLIENTS_KEPT
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._clients_kept = clients_kept
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def count(self, client: str) -> None:
        """Take one request of `client` into account. Raises Refusal (429), which does not count."""
        if self._per_minute is None:
            return
        bucket = self._filled(client, self._per_minute)
        if bucket.tokens < 1:
            wait_s = math.ceil((1 - bucket.tokens) * 60 / self._per_minute)
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many requests: at most {self._per_minute} a minute are taken. Try again in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )
        bucket.tokens -= 1

    def _filled(self, client: str, per_minute: int) -> _Bucket:
        """The client's bucket at this moment. Who was silent for longest is forgotten first."""
        moment_s = self._clock()
        bucket = self._buckets.setdefault(client, _Bucket(per_minute, moment_s))
        self._buckets.move_to_end(client)
        while len(self._buckets) > self._clients_kept:
            self._buckets.popitem(last=False)
        bucket.tokens = min(per_minute, bucket.tokens + (moment_s - bucket.at_s) * per_minute / 60)
        bucket.at_s = moment_s
        return bucket


def client_of(request: web.Request) -> str:
    """Who is counted: the key's owner, or the address of who has no key."""
    principal = request[PRINCIPAL]
    return f"address {request.remote}" if principal == ANONYMOUS else f"owner {principal.owner}"
