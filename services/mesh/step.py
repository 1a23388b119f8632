"""mesh on the bus: brings six views to the child, and stores the object that it makes of them."""

import asyncio
import json
from pathlib import Path

from pydantic import BaseModel, JsonValue

from contracts import keys
from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.jobs import Job, ResultFile
from contracts.object_files import MODEL_FILES
from contracts.object_settings import ObjectRequest
from contracts.outcomes import ModelOutcome, ObjectOutcome
from contracts.pipelines import model_of_step, models_of
from runtime.devices import find_gpu
from runtime.object_store import ObjectNotFound, ObjectStore
from runtime.results import deliver, withdraw
from runtime.settings import GpuSettings
from runtime.stage_child import StageChildren
from runtime.stage_work import StageWork
from runtime.step_outputs import StepRecord
from services.mesh.plan import ENTRY, archive_in, out_in, upload_in

_QUALITY_NAME = "quality.json"


class _Metrics(BaseModel):
    psnr: float
    ssim: float


class _Quality(BaseModel):
    """What the job's outcome takes from quality.json."""

    engine: str
    status: str
    metrics: _Metrics


class ObjectStep:
    """The only stage of an object job."""

    def __init__(self, store: ObjectStore, children: StageChildren, gpu: GpuSettings) -> None:
        self._store = store
        self._children = children
        self._gpu = gpu

    async def run(self, work: StageWork) -> tuple[ResultFile, ...]:
        """Make the object and store the archive that is delivered.

        Raises UserError if the views give no object, none that looks like them, or are not stored any more; GpuUnavailable if a
        graphics card is required and the model cannot run on one.
        """
        request = work.job.request
        if not isinstance(request, ObjectRequest):
            raise TypeError(f"mesh cannot do a {request.kind} job")
        work.step("initializing")
        await self._restore_views(work, request.dataset_id)
        gpu = await asyncio.to_thread(find_gpu)
        arguments: dict[str, JsonValue] = {
            "job_id": work.job.job_id,
            "created_at": work.job.created_at.isoformat(),
            "settings": request.settings.model_dump(mode="json"),
            "scratch": str(work.scratch),
            "gpu": None if gpu is None else gpu.model_dump(mode="json"),
            "otherwise": "fail" if self._gpu.required else "builtin",
        }
        listener = _Listener(work)
        await self._children.run(work, ENTRY, arguments, listener.on_finished)
        refuse_unlike_its_views(work, listener.made)
        refuse_incomplete(out_in(work.scratch), request)
        archive = await deliver(
            self._store, work, archive_in(work.scratch), f"{work.job.job_id}.zip", "application/zip"
        )
        return (archive,)

    async def clean_up(self, job: Job) -> None:
        """Only what the attempt has delivered goes: another attempt may be at work on the views."""
        await withdraw(self._store, job)

    async def _restore_views(self, work: StageWork, dataset_id: str) -> None:
        try:
            await self._store.get_file(keys.upload(dataset_id), upload_in(work.scratch))
        except ObjectNotFound:
            raise UserError(
                ErrorCode.NOT_FOUND, "The views of this job are not stored any more. Send them again.", field="views"
            ) from None


class _Listener:
    """Tells what each model has come to, as soon as it is done."""

    def __init__(self, work: StageWork) -> None:
        self._work = work
        self.made: tuple[ModelOutcome, ...] = ()

    async def on_finished(self, step: str, _: StepRecord) -> None:
        model = model_of_step(step)
        if model is None:
            return
        text = (out_in(self._work.scratch) / model / _QUALITY_NAME).read_text(encoding="utf-8")
        found = _Quality.model_validate(json.loads(text))
        outcome = {"model": model, "engine": found.engine, "status": found.status, **found.metrics.model_dump()}
        self.made = (*self.made, ModelOutcome.model_validate(outcome))
        self._work.outcome(ObjectOutcome(models=self.made))


def refuse_unlike_its_views(work: StageWork, made: tuple[ModelOutcome, ...]) -> None:
    """Raises UserError if no model came to look like the views; warns if one of several did not."""
    failed = [model for model in made if model.status == "failure"]
    if made and len(failed) == len(made):
        best = max(made, key=lambda model: model.psnr)
        raise UserError(
            ErrorCode.QUALITY_THRESHOLD_FAILED,
            f"The mesh does not match the views well enough: PSNR {best.psnr:.1f} dB, SSIM {best.ssim:.3f}; at least 20 dB and "
            "0.75 are needed. Check that views and depth renders are in the order front, back, left, right, top, bottom.",
            details={"psnr": round(best.psnr, 2), "ssim": round(best.ssim, 4), "model": best.model},
        )
    for model in failed:
        work.warn(f"The mesh of {model.model} does not match the views well enough: PSNR {model.psnr:.1f} dB.")


def refuse_incomplete(out: Path, request: ObjectRequest) -> None:
    """Raises AlidadeError if a file that is promised was not written: such a job has not completed."""
    models = models_of(request.settings.model_type)
    missing = [f"{model}/{name}" for model in models for name in MODEL_FILES if not (out / model / name).is_file()]
    if missing:
        raise AlidadeError("The results are not complete.", detail=f"missing: {', '.join(missing)}")
