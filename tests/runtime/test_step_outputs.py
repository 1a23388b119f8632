"""Step outputs: what is stored is one complete computation, and what is brought back is all of it or nothing."""

import asyncio
from pathlib import Path

import pytest

from contracts.identifiers import new_dataset_id
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.step_outputs import StepOutputs, StepRecord, recipe_of

RECIPE = recipe_of("matching", 1, {}, {"features": "f"})


@pytest.fixture
def outputs(store: ObjectStore) -> StepOutputs:
    return StepOutputs(store, "test", new_dataset_id())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished step of many small files."""
    made = tmp_path / "matching"
    made.mkdir()
    for number in range(200):
        (made / f"{number:03}.bin").write_bytes(b"x" * number)
    return made


async def test_what_a_later_step_leaves_in_the_folder_is_not_part_of_the_output(
    outputs: StepOutputs, store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    """SQLite puts files beside a database for as long as somebody reads it, and mapping reads while matches are stored."""
    passing = folder / "database.db-shm"
    keeping = asyncio.create_task(outputs.keep("matching", RECIPE, folder, StepRecord()))
    while not [info async for info in store.list("steps/")]:
        await asyncio.sleep(0)
    assert not keeping.done()
    passing.write_bytes(b"shared memory")
    manifest = await keeping
    await outputs.restore(manifest, tmp_path / "restored")
    assert {path.name for path in (tmp_path / "restored").iterdir()} == {f"{n:03}.bin" for n in range(200)}
    assert [file.size_bytes for file in manifest.files] == list(range(200))


async def test_a_file_that_was_only_passing_through_ends_nothing(
    outputs: StepOutputs, store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    passing = folder / "999.bin-wal"
    passing.write_bytes(b"")
    keeping = asyncio.create_task(outputs.keep("matching", RECIPE, folder, StepRecord()))
    while not [info async for info in store.list("steps/")]:
        await asyncio.sleep(0)
    passing.unlink()
    manifest = await keeping
    assert len(manifest.files) == 200
    await outputs.restore(manifest, tmp_path / "restored")


async def test_an_output_that_is_not_all_there_leaves_nothing_behind(
    outputs: StepOutputs, store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    """Half a folder would be in the way of whoever computes the step again."""
    manifest = await outputs.keep("matching", RECIPE, folder, StepRecord())
    await store.delete(manifest.prefix + "100.bin")
    with pytest.raises(ObjectNotFound, match=r"100\.bin"):
        await outputs.restore(manifest, tmp_path / "work" / "matching")
    assert not (tmp_path / "work" / "matching").exists()


async def test_of_two_that_compute_the_same_each_reader_gets_one(outputs: StepOutputs, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for made in folders:
        made.mkdir()
        for number in range(20):
            (made / f"{number}.txt").write_text(made.name)
    await asyncio.gather(*(outputs.keep("matching", RECIPE, made, StepRecord()) for made in folders))
    manifest = await outputs.find("matching", RECIPE)
    assert manifest is not None
    await outputs.restore(manifest, tmp_path / "restored")
    assert len({path.read_text() for path in (tmp_path / "restored").iterdir()}) == 1


async def test_a_store_that_breaks_half_way_leaves_no_manifest(
    outputs: StepOutputs, store: ObjectStore, folder: Path
) -> None:
    keeping = asyncio.create_task(outputs.keep("matching", RECIPE, folder, StepRecord()))
    while not [info async for info in store.list("steps/")]:
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert keeping.cancelled()
    assert await outputs.find("matching", RECIPE) is None


async def test_a_step_that_talked_without_end_can_be_used_again(outputs: StepOutputs, folder: Path) -> None:
    record = StepRecord()
    for number in range(20_000):
        record.log(f"{number} " + "x" * 1000)
        record.warn(f"{number} " + "y" * 1000)
    await outputs.keep("matching", RECIPE, folder, record)
    manifest = await outputs.find("matching", RECIPE)
    assert manifest is not None
    assert (len(manifest.lines), len(manifest.warnings)) == (1000, 50)
