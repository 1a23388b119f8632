"""Photographs on the bus: what a ZIP holds, its canonical form, and its statistics."""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic import JsonValue

from contracts.drift import MEASURING_LIMIT_S, Measured
from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.jobs import Failure, Job, ResultFile
from contracts.outcomes import SceneOutcome
from contracts.photos import MANIFEST_NAME, PhotoManifest
from contracts.scene_settings import SceneRequest
from contracts.uploads import Dataset, InspectRequest
from runtime.child import ChildLimits, ChildMessage, ChildTask, run_child
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, recipe_of, write_stage_manifest
from services.ingest.photos.archive import check_enough, find_pictures
from services.ingest.step import Conversion, convert_once, read_dataset

log = get_logger(__name__)

ENTRY = "services.ingest.photos.entry:run"
MEASURE_ENTRY = "services.ingest.photos.entry:measure"
STEP = "extracting"
REVISION = 1
"""Raised when the conversion makes something else of the same upload."""
_MANIFEST_LIMIT_BYTES = 64 << 20
_MEASURED_AT_ONCE = 1
_TOO_LONG = f"The pictures could not be measured within {MEASURING_LIMIT_S:.0f} s; send fewer of them."


def photos_recipe(dataset: Dataset) -> str:
    """What the canonical pictures depend on: the upload."""
    return recipe_of(STEP, REVISION, {}, {"upload": f"{dataset.key}@{dataset.etag}"})


def look_into_photos(file: BinaryIO, _: InspectRequest) -> tuple[str, ...]:
    """The names of the pictures in a ZIP. Reads its directory by ranges, never the whole of it."""
    pictures = find_pictures(file)
    check_enough(pictures)
    return tuple(picture.name for picture in pictures)


class PhotosStep:
    """The first stage of a scene job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Store the canonical form of the job's photographs, or find it stored already.

        Raises UserError if they cannot be used or their upload has expired.
        """
        request = work.job.request
        if not isinstance(request, SceneRequest):
            raise TypeError(f"a {request.kind} job is not a scene")
        work.step("initializing")
        dataset = await self._dataset(request.dataset_id)
        recipe = photos_recipe(dataset)
        key = await convert_once(self._store, self._children, work, dataset, Conversion(STEP, recipe, ENTRY, {}))
        work.outcome(SceneOutcome(images=len((await self._manifest(dataset, key)).photos)))
        await write_stage_manifest(self._store, work.job.job_id, "ingest", {STEP: key}, {STEP: recipe})
        return ()

    async def clean_up(self, job: Job) -> None:
        """Nothing goes: step outputs are shared, and the stage's manifest may be that of the attempt that took over."""

    async def _dataset(self, dataset_id: str) -> Dataset:
        try:
            return await read_dataset(self._store, dataset_id)
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The pictures have expired. Upload them again.", field="file"
            ) from None

    async def _manifest(self, dataset: Dataset, key: str) -> PhotoManifest:
        step = await StepOutputs(self._store, "ingest", dataset.dataset_id).load(key)
        return PhotoManifest.model_validate_json(
            await self._store.get_bytes(step.prefix + MANIFEST_NAME, _MANIFEST_LIMIT_BYTES)
        )


class Measurer:
    """Answers what an upload's statistics are, within the request that asks.

    The pictures are decoded in a child process, one upload at a time. `scratch` is a folder of the caller's that
    uploads lie in meanwhile; `memory_bytes` is the child's limit.
    """

    def __init__(self, store: ObjectStore, scratch: Path, memory_bytes: int) -> None:
        self._store = store
        self._scratch = scratch
        self._limits = ChildLimits(memory_bytes=memory_bytes, deadline_s=MEASURING_LIMIT_S)
        self._room = asyncio.Semaphore(_MEASURED_AT_ONCE)

    async def answer(self, question: bytes) -> bytes:
        """`InspectRequest` in, `Measured` out."""
        request = InspectRequest.model_validate_json(question)
        try:
            # One limit over waiting, fetching and measuring: whoever asked has gone by then.
            async with asyncio.timeout(MEASURING_LIMIT_S), self._room:
                answer = Measured.model_validate(await self._measure(request))
        except TimeoutError:
            answer = Measured(error=Failure(code=ErrorCode.JOB_TIMEOUT, message=_TOO_LONG, field="file"))
        except UserError as error:
            answer = Measured(error=Failure(code=error.code, message=error.message, field=error.field))
        except AlidadeError as error:
            log.warning("measuring_failed", key=request.key, reason=error.message)
            answer = Measured(error=Failure(code=error.code, message=error.message))
        return answer.model_dump_json().encode()

    async def _measure(self, request: InspectRequest) -> Mapping[str, JsonValue]:
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            await self._store.get_file(request.key, folder / "upload")
            task = ChildTask(MEASURE_ENTRY, {"upload": str(folder / "upload")})
            result = await run_child(task, on_message=_ignore, limits=self._limits, cancel=asyncio.Event())
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return result.value


async def _ignore(_: ChildMessage) -> None:
    """Nobody follows a measurement."""
