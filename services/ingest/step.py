"""Ingest on the bus: answers what is in an upload, and turns an upload into its canonical form."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import JsonValue

from contracts import keys
from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.jobs import Failure, Job, JobKind, ResultFile
from contracts.manifests import StepManifest
from contracts.uploads import Dataset, Inspection, InspectRequest
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, StepRecord, recipe_of, write_stage_manifest
from runtime.worker import Step
from services.ingest.archive import inspect_archive

log = get_logger(__name__)

ENTRY = "services.ingest.entry:run"
STEP = "conversion"
REVISION = 1
"""Raised when the conversion makes something else of the same upload."""
_DATASET_LIMIT_BYTES = 256 << 20


def frames_recipe(dataset: Dataset, settings: CaptureSettings) -> str:
    """What pictures to match, poses and depth depend on: the upload, the frame choice, the input colour space."""
    return recipe_of(
        "frames",
        REVISION,
        settings.model_dump(mode="json", include={"fps", "input_colorspace"}),
        {"upload": f"{dataset.key}@{dataset.etag}"},
    )


def conversion_recipe(frames: str, settings: CaptureSettings) -> str:
    """The whole canonical form: the frames, the pictures to deliver, and what the log says about the depth."""
    included = {"output_colorspace", "stray_confidence", "stray_depth_subsample", "stray_gen_pointcloud"}
    return recipe_of(STEP, REVISION, settings.model_dump(mode="json", include=included), {"frames": frames})


class CaptureStep:
    """The first stage of a capture job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Store the canonical form of the job's data set, or find it stored already.

        Raises UserError if the capture cannot be used or its upload has expired.
        """
        request = work.job.request
        if not isinstance(request, CaptureRequest):
            raise TypeError(f"a {request.kind} job is not a capture")
        work.step("initializing")
        work.log("Pipeline started")
        dataset = await self._dataset(request.dataset_id)
        frames = frames_recipe(dataset, request.settings)
        recipe = conversion_recipe(frames, request.settings)
        settings: JsonValue = request.settings.model_dump(mode="json")
        conversion = Conversion(STEP, recipe, ENTRY, {"settings": settings})
        key = await convert_once(self._store, self._children, work, dataset, conversion)
        await write_stage_manifest(self._store, work.job.job_id, "ingest", {STEP: key}, {"frames": frames})
        return ()

    async def clean_up(self, job: Job) -> None:
        """Nothing goes: step outputs are shared, and the stage's manifest may be that of the attempt that took over."""

    async def _dataset(self, dataset_id: str) -> Dataset:
        try:
            return await read_dataset(self._store, dataset_id)
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND,
                f"The data set {dataset_id} has expired. Upload the capture again.",
                field="dataset_id",
            ) from None


class IngestStep:
    """The first stage of every kind of job: hands on to what knows the kind."""

    def __init__(self, steps: Mapping[JobKind, Step]) -> None:
        self._steps = steps

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        return await self._steps[work.job.kind].run(work)

    async def clean_up(self, job: Job) -> None:
        await self._steps[job.kind].clean_up(job)


Look = Callable[[BinaryIO, InspectRequest], tuple[str, ...]]
"""Looks into an upload and lists its files. Raises UserError if it cannot be used."""


def look_into_capture(file: BinaryIO, _: InspectRequest) -> tuple[str, ...]:
    """The files of a capture's archive. Reads its directory by ranges, never the whole of it."""
    return inspect_archive(file).files


class Inspector:
    """Answers the gateway's question about an upload within the upload's own request."""

    def __init__(self, store: ObjectStore, look: Look) -> None:
        self._store = store
        self._look = look

    async def answer(self, question: bytes) -> bytes:
        """`InspectRequest` in, `Inspection` out."""
        request = InspectRequest.model_validate_json(question)
        try:
            file = await self._store.ranged_file(request.key)
            answer = Inspection(files=await asyncio.to_thread(self._look, file, request))
        except UserError as error:
            answer = Inspection(error=Failure(code=error.code, message=error.message, field=error.field))
        except AlidadeError as error:
            log.warning("inspection_failed", key=request.key, reason=error.message)
            answer = Inspection(error=Failure(code=error.code, message=error.message))
        return answer.model_dump_json().encode()


async def read_dataset(store: ObjectStore, dataset_id: str) -> Dataset:
    """Raises ObjectNotFound."""
    return Dataset.model_validate_json(await store.get_bytes(keys.dataset(dataset_id), _DATASET_LIMIT_BYTES))


@dataclass(frozen=True)
class Conversion:
    """What makes the canonical form of an upload: `entry`, called with `arguments` and with `upload` and `out`, two paths."""

    step: str
    recipe: str
    entry: str
    arguments: Mapping[str, JsonValue]


async def convert_once(
    store: ObjectStore, children: StageChildren, work: StageWork, dataset: Dataset, conversion: Conversion
) -> str:
    """Store the canonical form of an upload, or find it stored already. Returns the key of its manifest."""
    outputs = StepOutputs(store, "ingest", dataset.dataset_id)
    manifest = await outputs.find(conversion.step, conversion.recipe)
    if manifest is None:
        upload, folder = work.scratch / "upload", work.scratch / conversion.step
        await store.get_file(dataset.key, upload)

        async def keep(step: str, record: StepRecord) -> None:
            await outputs.keep(step, conversion.recipe, folder, record)

        arguments = {**conversion.arguments, "upload": str(upload), "out": str(folder)}
        await children.run(work, conversion.entry, arguments, keep)
    else:
        _repeat(work, manifest)
    return keys.step_manifest(dataset.dataset_id, conversion.step, conversion.recipe)


def _repeat(work: StageWork, manifest: StepManifest) -> None:
    """Say again what the step said when it was computed."""
    work.step(manifest.step)
    for warning in manifest.warnings:
        work.warn(warning)
    for line in manifest.lines:
        work.log(line)
    work.log(f"  (reused from an earlier job on this data set; it took {manifest.seconds:.1f} s)")
    work.progress(1, 1)
