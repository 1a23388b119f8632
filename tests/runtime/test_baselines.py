"""Baselines in a real store: every collection counts once, whoever else writes at the same time."""

import asyncio
import re

import pytest

from contracts import keys
from contracts.drift import Measurements, Statistic
from runtime.baselines import VERSIONS_KEPT, Baselines
from runtime.object_store import ObjectNotFound, ObjectStore


def collection(value: float, rate: float | None = None) -> Measurements:
    """Two pictures, one below and one above a value."""
    return Measurements(
        features={"sharpness": Statistic(mean=value, std=1, count=2)},
        registration_rate=rate,
        registration_count=0 if rate is None else 2,
    )


async def test_a_name_without_collections_has_no_baseline(store: ObjectStore) -> None:
    assert await Baselines(store).load("ada", "heritage") is None


async def test_collections_are_pooled_by_owner_and_name(store: ObjectStore) -> None:
    baselines = Baselines(store)
    await baselines.accept("ada", "heritage", "job-1", collection(10, 1.0))
    await baselines.accept("ada", "heritage", "job-2", collection(20, 0.5))
    await baselines.accept("ada", "other", "job-3", collection(99))
    await baselines.accept("bob", "heritage", "job-4", collection(77))
    found = await baselines.load("ada", "heritage")
    assert found is not None
    assert (found.number, found.jobs, found.measurements.scenes) == (2, ("job-1", "job-2"), 2)
    assert found.measurements.features["sharpness"].mean == 15
    assert found.measurements.features["sharpness"].count == 4
    assert found.measurements.registration_rate == 0.75
    bobs = await baselines.load("bob", "heritage")
    assert bobs is not None
    assert bobs.measurements == collection(77)


async def test_a_job_that_is_accepted_again_counts_once(store: ObjectStore) -> None:
    baselines = Baselines(store)
    first = await baselines.accept("ada", "heritage", "job-1", collection(10))
    await baselines.accept("ada", "heritage", "job-2", collection(20))
    again = await baselines.accept("ada", "heritage", "job-1", collection(10))
    assert first.number == 1
    assert (again.number, again.measurements.scenes) == (2, 2)
    assert [info.key async for info in store.list(keys.BASELINES)] == [
        keys.baseline("ada", "heritage", number) for number in (1, 2)
    ]


async def test_jobs_that_end_at_once_all_count(store: ObjectStore) -> None:
    jobs = [f"job-{number}" for number in range(4)]
    # Each twice, as when work is delivered again to another worker.
    await asyncio.gather(
        *(
            Baselines(store).accept("ada", "heritage", job, collection(n))
            for n, job in enumerate(jobs)
            for _ in range(2)
        )
    )
    found = await Baselines(store).load("ada", "heritage")
    assert found is not None
    assert sorted(found.jobs) == jobs
    assert (found.number, found.measurements.scenes) == (4, 4)
    assert found.measurements.features["sharpness"].mean == pytest.approx(1.5)
    assert found.measurements.features["sharpness"].count == 8


async def test_old_versions_are_kept_up_to_a_number(store: ObjectStore) -> None:
    baselines = Baselines(store)
    for number in range(VERSIONS_KEPT + 3):
        await baselines.accept("ada", "heritage", f"job-{number}", collection(number))
    assert (await baselines.version("ada", "heritage", 4)).measurements.scenes == 4
    with pytest.raises(ObjectNotFound):
        await baselines.version("ada", "heritage", 3)
    assert len([info async for info in store.list(keys.BASELINES)]) == VERSIONS_KEPT


class Sleeper(Baselines):
    """A worker that was paused for long between reading the baseline and writing the next version."""

    def __init__(self, store: ObjectStore, meanwhile: Baselines) -> None:
        super().__init__(store)
        self._meanwhile = meanwhile
        self._slept = False

    async def load(self, owner: str, dataset_name: str):  # type: ignore[no-untyped-def]
        found = await super().load(owner, dataset_name)
        if not self._slept:
            self._slept = True
            for number in range(VERSIONS_KEPT + 2):
                await self._meanwhile.accept(owner, dataset_name, f"other-{number}", collection(5))
        return found


async def test_a_writer_that_slept_until_its_key_was_free_again_still_counts(store: ObjectStore) -> None:
    baselines = Baselines(store)
    await baselines.accept("ada", "heritage", "job-0", collection(5))
    await Sleeper(store, baselines).accept("ada", "heritage", "late", collection(5))
    found = await baselines.load("ada", "heritage")
    assert found is not None
    assert "late" in found.jobs
    assert found.measurements.scenes == VERSIONS_KEPT + 4
    assert found.number == VERSIONS_KEPT + 4


NAMES = ("a", "A", "a/b", "..", ".", "a b", "Größe", "写" * 128, "x" * 128, "a-b", "a_b", "%2e%2e", "\u0000", " ")


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_is_a_safe_key_of_its_own(store: ObjectStore, name: str) -> None:
    baselines = Baselines(store)
    await baselines.accept(name, name, "job", collection(1))
    found = await baselines.load(name, name)
    assert found is not None
    assert (found.owner, found.dataset_name) == (name, name)
    assert re.fullmatch(r"baselines/[0-9A-Za-z-]{1,80}/[0-9A-Za-z-]{1,80}/", keys.baselines(name, name))


def test_names_that_look_alike_are_told_apart() -> None:
    assert len({keys.baselines("ada", name) for name in NAMES}) == len(NAMES)
    assert keys.baselines("ada", "Gr\u00f6ße") == keys.baselines("ada", "Gro\u0308ße")


async def test_a_new_object_is_written_once(store: ObjectStore) -> None:
    assert await store.put_new("a", b"first")
    assert not await store.put_new("a", b"second")
    assert await store.get_bytes("a", 100) == b"first"


async def test_of_many_writers_of_one_new_object_one_succeeds(store: ObjectStore) -> None:
    written = await asyncio.gather(*(store.put_new("a", str(number).encode()) for number in range(6)))
    assert written.count(True) == 1
    assert await store.get_bytes("a", 100) == str(written.index(True)).encode()
