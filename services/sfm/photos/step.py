"""Scene jobs on the bus: brings a canonical collection to the child, stores clouds and poses, and judges drift."""

from pathlib import Path

from pydantic import JsonValue

from contracts.drift import Measurements, compare, drift_severity, has_drift
from contracts.errors import ErrorCode, UserError
from contracts.jobs import Job, ResultFile
from contracts.manifests import StepManifest
from contracts.outcomes import SceneOutcome
from contracts.scene_settings import SceneRequest
from runtime.baselines import Baselines
from runtime.clock import now
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.results import deliver, withdraw
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, StepRecord, read_stage_manifest, recipe_of
from services.sfm.photos.packaging import MEASUREMENTS_NAME, SUBMISSION_NAME, outcome_of, read_mapping
from services.sfm.photos.plan import STEPS
from services.sfm.step import as_done, restore_steps

ENTRY = "services.sfm.photos.pipeline:run"
EXTRACTED = "extracting"
"""The step of ingest that made the collection."""
DRIFT_NAME = "drift_report.json"
PLY_TYPE = "application/octet-stream"


def recipes_of(extracting: str) -> dict[str, str]:
    """The recipe of every step, from that of the canonical collection: a scene job has no settings."""
    recipes = {EXTRACTED: extracting}
    for step in STEPS:
        recipes[step.name] = recipe_of(
            f"scene.{step.name}", step.revision, {}, {name: recipes[name] for name in step.inputs}
        )
    return recipes


class SceneStep:
    """The second and last stage of a scene job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children
        self._baselines = Baselines(store)

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Compute models and clouds and store the results. Goes on from the last finished step of whoever was here before.

        Raises UserError if the collection yields no model.
        """
        request = work.job.request
        if not isinstance(request, SceneRequest):
            raise TypeError(f"a {request.kind} job is not a scene")
        ingested = await read_stage_manifest(self._store, work.job.job_id, "ingest")
        outputs = StepOutputs(self._store, "sfm", request.dataset_id)
        await self._restore_collection(work, outputs, ingested.steps[EXTRACTED])
        recipes = recipes_of(ingested.recipes[EXTRACTED])
        folder = work.scratch / "work"
        done = await restore_steps(outputs, STEPS, recipes, folder)

        async def keep(step: str, record: StepRecord) -> None:
            if step == "mapping":
                work.outcome(outcome_of(read_mapping(folder / step), work.job.job_id))
            await outputs.keep(step, recipes[step], folder / step, record)

        arguments: dict[str, JsonValue] = {
            "dataset_name": request.dataset_name,
            "collection": str(work.scratch / "collection"),
            "work": str(folder),
            "done": as_done(done),
        }
        await self._children.run(work, ENTRY, arguments, keep)
        outcome = outcome_of(read_mapping(folder / "mapping"), work.job.job_id)
        return await self._finish(work, request, folder, outcome)

    async def clean_up(self, job: Job) -> None:
        """Only what is the attempt's own goes: step outputs are shared, and another attempt may be at work."""
        await withdraw(self._store, job)

    async def _finish(
        self, work: StageWork, request: SceneRequest, folder: Path, outcome: SceneOutcome
    ) -> tuple[ResultFile, ...]:
        """Deliver everything, and let the collection count towards the baseline of its name."""
        measurements = Measurements.model_validate_json((folder / "packaging" / MEASUREMENTS_NAME).read_bytes())
        baseline = await self._baselines.load(work.job.owner, request.dataset_name)
        drift = compare(baseline.measurements if baseline is not None else None, measurements, now())
        (folder / DRIFT_NAME).write_text(drift.model_dump_json(indent=2), encoding="utf-8")
        files = [
            (folder / "clouds" / f"cluster{cluster.cluster_id}.ply", cluster.file_name, PLY_TYPE)
            for cluster in outcome.clusters
        ]
        files.append((folder / "packaging" / SUBMISSION_NAME, SUBMISSION_NAME, "text/csv"))
        files.append((folder / DRIFT_NAME, DRIFT_NAME, "application/json"))
        delivered = [await deliver(self._store, work, path, name, kind) for path, name, kind in files]
        work.outcome(
            outcome.model_copy(update={"has_drift": has_drift(drift), "drift_severity": drift_severity(drift)})
        )
        await self._baselines.accept(work.job.owner, request.dataset_name, work.job.job_id, measurements)
        return tuple(delivered)

    async def _restore_collection(self, work: StageWork, outputs: StepOutputs, key: str) -> StepManifest:
        try:
            manifest = await outputs.load(key)
            await outputs.restore(manifest, work.scratch / "collection")
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The pictures have expired. Upload them again.", field="file"
            ) from None
        return manifest
