"""Baselines of drift, versioned in the object store: what the accepted collections of one name measured together.

Every accepted collection makes a new version, under a key of its own that is written only if it does not exist yet
(compare-and-set). Two jobs that end at once both count: the second finds the key taken, reads what the first made of
the baseline, and adds to that.
"""

import asyncio
import random

from contracts import keys
from contracts.drift import Baseline, Measurements, merged
from contracts.errors import DependencyUnavailable
from runtime.clock import now
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore

log = get_logger(__name__)

VERSIONS_KEPT = 20
"""Of each baseline, the present one among them."""
JOBS_KEPT = 1000
"""Ids of accepted jobs that a baseline remembers: a job that is accepted again after as many others counts twice."""
_TRIES = 60
_PAUSE_S = 0.05
_LIMIT_BYTES = 1 << 20


class Baselines:
    """The baselines of all owners and names."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def load(self, owner: str, dataset_name: str) -> Baseline | None:
        """The present version, or None before the first collection is accepted. Raises DependencyUnavailable."""
        for _ in range(_TRIES):
            numbers = await self._numbers(owner, dataset_name)
            if not numbers:
                return None
            try:
                return await self.version(owner, dataset_name, numbers[-1])
            except ObjectNotFound:
                # Many versions came at once, and this one is past its time already.
                continue
        raise DependencyUnavailable(f"The baseline of {dataset_name!r} changes faster than it can be read.")

    async def version(self, owner: str, dataset_name: str, number: int) -> Baseline:
        """One version. Raises ObjectNotFound if there is none of this number, or no longer."""
        key = keys.baseline(owner, dataset_name, number)
        return Baseline.model_validate_json(await self._store.get_bytes(key, _LIMIT_BYTES))

    async def accept(self, owner: str, dataset_name: str, job_id: str, measurements: Measurements) -> Baseline:
        """Count the collection of a job, once however often this is called. Returns a version that it is part of.

        Raises DependencyUnavailable; then it is not known whether the collection counts, and this may be called again.
        """
        for _ in range(_TRIES):
            present = await self.load(owner, dataset_name)
            # Also after our own write: only what was read back counts. A writer that was asleep while versions came
            # and went may find its key free again, and then its version is not the present one.
            if present is not None and job_id in present.jobs:
                await self._remove_old(owner, dataset_name, present.number)
                return present
            changed = _with(present, owner, dataset_name, job_id, measurements)
            key = keys.baseline(owner, dataset_name, changed.number)
            if not await self._store.put_new(key, changed.model_dump_json().encode(), "application/json"):
                await asyncio.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311  (spreads writers, guards nothing)
        raise DependencyUnavailable(f"The baseline of {dataset_name!r} changes faster than it can be added to.")

    async def _numbers(self, owner: str, dataset_name: str) -> list[int]:
        prefix = keys.baselines(owner, dataset_name)
        return sorted([keys.baseline_number(info.key) async for info in self._store.list(prefix)])

    async def _remove_old(self, owner: str, dataset_name: str, present: int) -> None:
        for number in await self._numbers(owner, dataset_name):
            if number <= present - VERSIONS_KEPT:
                await self._store.delete(keys.baseline(owner, dataset_name, number))


def _with(present: Baseline | None, owner: str, dataset_name: str, job_id: str, measurements: Measurements) -> Baseline:
    """The version after `present`."""
    return Baseline(
        owner=owner,
        dataset_name=dataset_name,
        number=1 if present is None else present.number + 1,
        measurements=measurements if present is None else merged(present.measurements, measurements),
        jobs=(*(() if present is None else present.jobs), job_id)[-JOBS_KEPT:],
        updated_at=now(),
    )
