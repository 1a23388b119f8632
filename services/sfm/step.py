"""sfm on the bus: brings a canonical capture and what is known about it to the child, and stores what it makes."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.errors import ErrorCode, UserError
from contracts.jobs import Job, JobKind, ResultFile
from contracts.manifests import StepManifest
from contracts.weights import WEIGHTS, file_key
from runtime.logs import get_logger
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.results import deliver, withdraw
from runtime.settings import WeightsSettings
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, StepRecord, read_stage_manifest, recipe_of
from runtime.worker import Step
from services.sfm.learned.equipment import BUILT_IN, Equipment, equipment_with, spoilt
from services.sfm.plan import STEPS, PlannedStep
from services.sfm.resolution import resolve
from services.sfm.weights.places import Places, find

log = get_logger(__name__)

ENTRY = "services.sfm.pipeline:run"


def recipes_of(
    settings: CaptureSettings, frames: str, conversion: str, equipment: Equipment = BUILT_IN
) -> dict[str, str]:
    """The recipe of every step, from those of the ingested capture.

    What is used counts, and what was asked for: a worker that has a model must not take over what one without it made.
    """
    resolution = resolve(settings, equipment)
    used: dict[str, JsonValue] = {"features": resolution.used_features, "matcher": resolution.used_matcher}
    recipes = {"frames": frames, "conversion": conversion}
    for step in STEPS:
        asked = settings.model_dump(mode="json", include=set(step.settings))
        parameters: dict[str, JsonValue] = {**asked, "used": used} if "feature_type" in step.settings else asked
        recipes[step.name] = recipe_of(
            step.name, step.revision, parameters, {name: recipes[name] for name in step.inputs}
        )
    return recipes


async def bring_weights(store: ObjectStore, prefix: str, folder: Path, names: Sequence[str]) -> None:
    """Copy the weights that features or matchers of these names need from `prefix` of the store, where `folder` lacks them.

    What the store lacks too stays missing: the worker then falls back as if there were no store.
    """
    for weights in WEIGHTS:
        for file in weights.files:
            path = folder / file_key(weights, file)
            key = prefix.rstrip("/") + "/" + file_key(weights, file)
            if set(weights.serves).isdisjoint(names) or path.exists():
                continue
            with suppress(ObjectNotFound):
                await store.get_file(key, path)


async def restore_steps(
    outputs: StepOutputs, steps: Sequence[PlannedStep], recipes: Mapping[str, str], work: Path
) -> list[StepManifest]:
    """Bring every step that is stored already below the folder `work`."""
    done = []
    for step in steps:
        manifest = await outputs.find(step.name, recipes[step.name])
        if manifest is None:
            continue
        try:
            await outputs.restore(manifest, work / step.name)
        except ObjectNotFound:
            continue
        done.append(manifest)
    return done


def as_done(steps: Sequence[StepManifest]) -> dict[str, JsonValue]:
    """What the child is told of steps that are there already."""
    included = {"seconds", "lines", "warnings"}
    return {manifest.step: manifest.model_dump(mode="json", include=included) for manifest in steps}


class StepByKind:
    """The stage of every kind of job: hands on to what knows the kind."""

    def __init__(self, steps: Mapping[JobKind, Step]) -> None:
        self._steps = steps

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        return await self._steps[work.job.kind].run(work)

    async def clean_up(self, job: Job) -> None:
        await self._steps[job.kind].clean_up(job)


class SfmStep:
    """The second and last stage of a capture job."""

    def __init__(self, store: ObjectStore, children: StageChildren, weights: WeightsSettings) -> None:
        self._store = store
        self._children = children
        self._weights = weights

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Compute the model and store the result. Goes on from the last finished step of whoever was here before.

        Raises UserError if the capture yields no model.
        """
        request = work.job.request
        if not isinstance(request, CaptureRequest):
            raise TypeError(f"sfm cannot do a {request.kind} job")
        ingested = await read_stage_manifest(self._store, work.job.job_id, "ingest")
        outputs = StepOutputs(self._store, "sfm", request.dataset_id)
        conversion = await self._restore_capture(work, outputs, ingested.steps["conversion"])
        models = await self._equipment(request.settings)
        recipes = recipes_of(request.settings, ingested.recipes["frames"], conversion.recipe, models)
        done = await restore_steps(outputs, STEPS, recipes, work.scratch / "work")

        async def keep(step: str, record: StepRecord) -> None:
            await outputs.keep(step, recipes[step], work.scratch / "work" / step, record)

        arguments: dict[str, JsonValue] = {
            "settings": request.settings.model_dump(mode="json"),
            "capture": str(work.scratch / "capture"),
            "work": str(work.scratch / "work"),
            "done": as_done(done),
            "equipment": models.model_dump(mode="json"),
        }
        await self._children.run(work, ENTRY, arguments, keep)
        result = work.scratch / "work" / "result.zip"
        name = f"remap_result_{work.job.job_id}.zip"
        return (await deliver(self._store, work, result, name, "application/zip"),)

    async def clean_up(self, job: Job) -> None:
        """Only what is the attempt's own goes: step outputs are shared, and another attempt may be at work."""
        await withdraw(self._store, job)

    async def _equipment(self, settings: CaptureSettings) -> Equipment:
        """What this worker has for the job, with weights from the object store where the folder lacks them."""
        if self._weights.store_prefix is not None:
            wanted = (settings.feature_type, settings.matcher_type)
            await bring_weights(self._store, self._weights.store_prefix, self._weights.folder, wanted)
        places = Places(folder=self._weights.folder, hub_cache=self._weights.hub_cache)
        # Files are hashed, hundreds of megabytes at worst.
        found = await asyncio.to_thread(find, places)
        if (reason := spoilt(found)) is not None:
            log.warning("weights_spoilt", reason=reason)
        return equipment_with(found)

    async def _restore_capture(self, work: StageWork, outputs: StepOutputs, key: str) -> StepManifest:
        try:
            manifest = await outputs.load(key)
            await outputs.restore(manifest, work.scratch / "capture")
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The data set has expired. Upload the capture again.", field="dataset_id"
            ) from None
        return manifest
