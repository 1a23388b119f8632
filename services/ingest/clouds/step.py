"""Point clouds on the bus: turns an uploaded cloud into its canonical form."""

from typing import BinaryIO

from pydantic import JsonValue

from contracts.building_settings import BuildingRequest, BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.jobs import Job, ResultFile
from contracts.uploads import Dataset, InspectRequest
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import recipe_of, write_stage_manifest
from services.ingest.clouds.formats import inspect_cloud
from services.ingest.step import Conversion, convert_once, read_dataset

ENTRY = "services.ingest.clouds.entry:run"
STEP = "loading_point_cloud"
REVISION = 1
"""Raised when the reading makes something else of the same file."""


def cloud_recipe(dataset: Dataset, settings: BuildingSettings) -> str:
    """What the canonical cloud depends on: the upload, and how much of it is to be read."""
    included = {"dilute", "dilution_factor", "up_axis"}
    inputs = {"upload": f"{dataset.key}@{dataset.etag}"}
    return recipe_of(STEP, REVISION, settings.model_dump(mode="json", include=included), inputs)


def look_into_cloud(file: BinaryIO, request: InspectRequest) -> tuple[str, ...]:
    """The cloud's name, if it is a cloud of a known kind. Reads its beginning only."""
    name = request.file_name or "upload"
    inspect_cloud(file, name)
    return (name,)


class CloudStep:
    """The first stage of a building job."""

    def __init__(self, store: ObjectStore, children: StageChildren) -> None:
        self._store = store
        self._children = children

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Store the canonical form of the job's cloud, or find it stored already.

        Raises UserError if the cloud cannot be used or its upload has expired.
        """
        request = work.job.request
        if not isinstance(request, BuildingRequest):
            raise TypeError(f"a {request.kind} job is not a building")
        work.step("initializing")
        for name in request.unknown_settings:
            work.warn(f"The configuration's {name} means nothing here and was ignored.")
        dataset = await self._dataset(request.dataset_id)
        recipe = cloud_recipe(dataset, request.settings)
        arguments: dict[str, JsonValue] = {
            "file_name": request.file_name,
            "settings": request.settings.model_dump(mode="json"),
        }
        conversion = Conversion(STEP, recipe, ENTRY, arguments)
        key = await convert_once(self._store, self._children, work, dataset, conversion)
        await write_stage_manifest(self._store, work.job.job_id, "ingest", {STEP: key}, {STEP: recipe})
        return ()

    async def clean_up(self, job: Job) -> None:
        """Nothing goes: step outputs are shared, and the stage's manifest may be that of the attempt that took over."""

    async def _dataset(self, dataset_id: str) -> Dataset:
        try:
            return await read_dataset(self._store, dataset_id)
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The point cloud has expired. Upload it again.", field="point_cloud_file"
            ) from None
