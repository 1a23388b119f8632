"""From six checked views to everything an object job delivers: what the child process of a mesh worker runs.

recovering_cameras → for each model: fusing_depth → cleaning_mesh → unwrapping_mesh → texturing_mesh (→ refining)
→ measuring_quality → exporting
"""

import gc
import sys
import time
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from contracts.devices import Gpu
from contracts.object_settings import ModelType, ObjectSettings
from contracts.pipelines import model_step, models_of
from contracts.progress import StageReporter
from services.mesh import engines, export, previews, quality, sighting
from services.mesh.engine import Reconstruction
from services.mesh.engines import Chosen, Otherwise
from services.mesh.sighting import Sighting
from services.mesh.texture import ColourView
from services.mesh.views import read_views

QUALITY_NAME, README_NAME = "quality.json", "README.txt"
_README = """Six views to a textured mesh

Every folder holds one model's result:

mesh.glb                 the mesh with its texture inside (glTF 2.0, PBR material)
mesh.obj, mesh.mtl       the same as Wavefront OBJ; the texture is texture.png
mesh.ply                 the same with a colour for every vertex
texture.png              the texture
preview_textured_N.png   the mesh from camera N: 0 front, 1 back, 2 left, 3 right, 4 top, 5 bottom
preview_wireframe_N.png  its faces
quality.json             how like the views it is, and which cameras were used

Axes: +y up, the front camera at +z. Units: those of the cameras; without given cameras they are 2.5 units from the object.
"""


class Arguments(BaseModel):
    """The task, as the worker hands it over. `views` holds view_0.png … view_5.png and depth_0.png … depth_5.png."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    created_at: AwareDatetime
    settings: ObjectSettings
    views: Path
    out: Path
    gpu: Gpu | None = None
    otherwise: Otherwise = "builtin"


class ModelReporter:
    """Passes on what is said while one model is computed; its steps get the model's name before their own."""

    def __init__(self, report: StageReporter, model: ModelType) -> None:
        self._report = report
        self._model = model

    def step(self, name: str) -> None:
        self._report.step(model_step(self._model, name))

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self._report.progress(done, total, operation)

    def log(self, message: str) -> None:
        self._report.log(message)

    def warn(self, message: str) -> None:
        self._report.warn(message)

    def finished(self, step: str) -> None:
        self._report.finished(model_step(self._model, step))


def run(arguments: dict[str, object], report: StageReporter) -> dict[str, JsonValue]:
    """Reconstruct, and write a folder for each model below `out`. Returns each model's status of quality.

    A model's `exporting` is finished when its folder is complete. Raises UserError if the views give no object, GpuUnavailable
    if a model's own engine cannot run and has to.
    """
    task = Arguments.model_validate(arguments)
    models = models_of(task.settings.model_type)
    # Before anything is computed, for what cannot run shall not be found out after minutes.
    chosen = {model: engines.choose(model, task.gpu, task.otherwise) for model in models}
    report.step("recovering_cameras")
    views = read_views(task.views)
    seen = sighting.sight(views, task.settings.cameras, report)
    statuses: dict[str, JsonValue] = {}
    for model in models:
        statuses[model.value] = _run_model(task, model, chosen[model], seen, ModelReporter(report, model))
        _free_memory()
    (task.out / README_NAME).write_text(_README, encoding="utf-8")
    return {"statuses": statuses}


def _run_model(
    task: Arguments, model: ModelType, chosen: Chosen, seen: Sighting, report: StageReporter
) -> quality.Status:
    """One model's folder. Returns its status of quality."""
    began = time.monotonic()
    folder = task.out / model.value
    folder.mkdir(parents=True, exist_ok=True)
    report.step("fusing_depth")
    if chosen.note is not None:
        report.warn(chosen.note)
    report.log(f"Model {model}: computed by {chosen.engine.name}")
    made = chosen.engine.reconstruct(seen.views, report)
    shown = made.views or seen.views
    report.step("measuring_quality")
    figures = quality.measure(made.mesh, shown)
    report.step("exporting")
    export.write(made.mesh, folder)
    previews.write(made.mesh, tuple(view.camera for view in shown), folder, report)
    found = _quality(task, model, chosen, seen, shown, made, figures, time.monotonic() - began)
    (folder / QUALITY_NAME).write_text(found.model_dump_json(indent=2), encoding="utf-8")
    report.log(f"Model {model}: {found.summary}")
    report.finished("exporting")
    return found.status


def _free_memory() -> None:
    """What a model has used, before the next one begins."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _quality(  # noqa: PLR0917
    task: Arguments,
    model: ModelType,
    chosen: Chosen,
    seen: Sighting,
    shown: tuple[ColourView, ...],
    made: Reconstruction,
    figures: tuple[quality.Metrics, ...],
    seconds: float,
) -> quality.Quality:
    metrics = quality.mean(figures)
    height, width = shown[0].colour.shape[:2]
    return quality.Quality(
        job_id=task.job_id,
        model=model.value,
        engine=chosen.engine.name,
        status=quality.status_of(metrics.psnr, metrics.ssim),
        summary=quality.summary_of(metrics),
        metrics=metrics,
        views=figures,
        cameras=seen.rig,
        mesh=quality.MeshFacts(
            vertices=len(made.mesh.vertices),
            faces=len(made.mesh.faces),
            bodies=made.bodies,
            closed=made.closed,
            texture_px=made.mesh.texture.shape[0],
        ),
        metadata=quality.Metadata(
            timestamp=task.created_at,
            input_file=task.views.name,
            processing_duration_sec=round(seconds, 3),
            image_resolution=(width, height),
            num_views=len(figures),
        ),
        warnings=() if chosen.note is None else (chosen.note,),
    )
