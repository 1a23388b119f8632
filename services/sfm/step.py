"""sfm on the bus: brings a canonical capture and what is known about it to the child, and stores what it makes."""

from pydantic import JsonValue

from contracts.capture_settings import CaptureRequest, CaptureSettings
from contracts.errors import ErrorCode, UserError
from contracts.jobs import Job, ResultFile
from contracts.manifests import StepManifest
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.results import deliver, withdraw
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, StepRecord, read_stage_manifest, recipe_of
from services.sfm.plan import STEPS
from services.sfm.resolution import resolve

ENTRY = "services.sfm.pipeline:run"


def recipes_of(settings: CaptureSettings, frames: str, conversion: str) -> dict[str, str]:
    """The recipe of every step, from those of the ingested capture.

    What is used counts, and what was asked for: a worker that has a model must not take over what one without it made.
    """
    resolution = resolve(settings)
    used: dict[str, JsonValue] = {"features": resolution.used_features, "matcher": resolution.used_matcher}
    recipes = {"frames": frames, "conversion": conversion}
    for step in STEPS:
        asked = settings.model_dump(mode="json", include=set(step.settings))
        parameters: dict[str, JsonValue] = {**asked, "used": used} if "feature_type" in step.settings else asked
        recipes[step.name] = recipe_of(
            step.name, step.revision, parameters, {name: recipes[name] for name in step.inputs}
        )
    return recipes


class SfmStep:
    """The second and last stage of a capture job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children

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
        recipes = recipes_of(request.settings, ingested.recipes["frames"], conversion.recipe)
        done = await self._restore_steps(work, outputs, recipes)

        async def keep(step: str, record: StepRecord) -> None:
            await outputs.keep(step, recipes[step], work.scratch / "work" / step, record)

        arguments: dict[str, JsonValue] = {
            "settings": request.settings.model_dump(mode="json"),
            "capture": str(work.scratch / "capture"),
            "work": str(work.scratch / "work"),
            "done": {
                manifest.step: manifest.model_dump(mode="json", include={"seconds", "lines", "warnings"})
                for manifest in done
            },
        }
        await self._children.run(work, ENTRY, arguments, keep)
        result = work.scratch / "work" / "result.zip"
        name = f"remap_result_{work.job.job_id}.zip"
        return (await deliver(self._store, work, result, name, "application/zip"),)

    async def clean_up(self, job: Job) -> None:
        """Only what is the attempt's own goes: step outputs are shared, and another attempt may be at work."""
        await withdraw(self._store, job)

    async def _restore_capture(self, work: StageWork, outputs: StepOutputs, key: str) -> StepManifest:
        try:
            manifest = await outputs.load(key)
            await outputs.restore(manifest, work.scratch / "capture")
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The data set has expired. Upload the capture again.", field="dataset_id"
            ) from None
        return manifest

    async def _restore_steps(
        self, work: StageWork, outputs: StepOutputs, recipes: dict[str, str]
    ) -> list[StepManifest]:
        """Bring every step that is stored already."""
        done = []
        for step in STEPS:
            manifest = await outputs.find(step.name, recipes[step.name])
            if manifest is None:
                continue
            try:
                await outputs.restore(manifest, work.scratch / "work" / step.name)
            except ObjectNotFound:
                continue
            done.append(manifest)
        return done
