"""bim on the bus: brings a canonical cloud to the child, and stores the building it makes."""

from pydantic import JsonValue

from contracts.building_settings import BuildingRequest
from contracts.errors import ErrorCode, UserError
from contracts.jobs import Job, ResultFile
from contracts.manifests import StepManifest
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.results import deliver, withdraw
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepOutputs, StepRecord, read_stage_manifest

ENTRY = "services.bim.pipeline:run"
_CONTENT_TYPES = {
    ".ifc": "application/x-step",
    ".json": "application/json",
    ".glb": "model/gltf-binary",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


class BuildingStep:
    """The second and last stage of a building job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Recognise the building and store what is delivered.

        Raises UserError if the cloud holds no building.
        """
        request = work.job.request
        if not isinstance(request, BuildingRequest):
            raise TypeError(f"bim cannot do a {request.kind} job")
        ingested = await read_stage_manifest(self._store, work.job.job_id, "ingest")
        await self._restore_cloud(work, request.dataset_id, ingested.steps["loading_point_cloud"])
        out = work.scratch / "out"
        arguments: dict[str, JsonValue] = {
            "job_id": work.job.job_id,
            "created_at": work.job.created_at.isoformat(),
            "request": request.model_dump(mode="json"),
            "cloud": str(work.scratch / "cloud"),
            "out": str(out),
        }
        await self._children.run(work, ENTRY, arguments, _nothing_to_keep)
        return tuple(
            [
                await deliver(self._store, work, path, path.name, _CONTENT_TYPES[path.suffix])
                for path in sorted(out.iterdir())
            ]
        )

    async def clean_up(self, job: Job) -> None:
        """Only what is the attempt's own goes: the cloud is shared by every job on the data set."""
        await withdraw(self._store, job)

    async def _restore_cloud(self, work: StageWork, dataset_id: str, key: str) -> StepManifest:
        outputs = StepOutputs(self._store, "bim", dataset_id)
        try:
            manifest = await outputs.load(key)
            await outputs.restore(manifest, work.scratch / "cloud")
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The point cloud has expired. Upload it again.", field="point_cloud_file"
            ) from None
        return manifest


async def _nothing_to_keep(_step: str, _record: StepRecord) -> None:
    """A building is computed in seconds: a second attempt starts from the stored cloud."""
