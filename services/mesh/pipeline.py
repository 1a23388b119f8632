"""From six checked views to everything an object job delivers: what the child process of a mesh worker runs.

recovering_cameras → for each model: fusing_depth → cleaning_mesh → unwrapping_mesh → texturing_mesh → measuring_quality → exporting
"""

import gc
import time
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from contracts.object_settings import ModelType, ObjectSettings
from contracts.progress import StageReporter
from services.mesh import export, previews, quality, sighting
from services.mesh.builtin import BuiltinEngine
from services.mesh.engine import Engine, Reconstruction
from services.mesh.sighting import Sighting
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


def models_of(settings: ObjectSettings) -> tuple[ModelType, ...]:
    """Which models run, in order; each has a folder of its name."""
    if settings.model_type is ModelType.BOTH:
        return (ModelType.RECONVIAGEN, ModelType.NVDIFFREC)
    return (settings.model_type,)


def engine_for(model: ModelType) -> Engine:
    """What computes a model here. The only one so far does the work under either name, and says so."""
    del model
    return BuiltinEngine()


def run(arguments: dict[str, object], report: StageReporter) -> dict[str, JsonValue]:
    """Reconstruct, and write a folder for each model below `out`. Returns each model's status of quality.

    Raises UserError if the views give no object.
    """
    task = Arguments.model_validate(arguments)
    began = time.monotonic()
    report.step("recovering_cameras")
    views = read_views(task.views)
    seen = sighting.sight(views, task.settings.cameras, report)
    statuses: dict[str, JsonValue] = {}
    for model in models_of(task.settings):
        folder = task.out / model.value
        folder.mkdir(parents=True, exist_ok=True)
        engine = engine_for(model)
        report.log(f"Model {model.value}: computed by {engine.name}")
        made = engine.reconstruct(seen.views, report)
        report.step("measuring_quality")
        figures = quality.measure(made.mesh, seen.views)
        report.step("exporting")
        export.write(made.mesh, folder)
        previews.write(made.mesh, tuple(view.camera for view in seen.views), folder, report)
        summary = _summary(task, model, engine, seen, made, figures, time.monotonic() - began)
        (folder / QUALITY_NAME).write_text(summary.model_dump_json(indent=2), encoding="utf-8")
        report.log(summary.summary)
        statuses[model.value] = summary.status
        del made
        gc.collect()
    (task.out / README_NAME).write_text(_README, encoding="utf-8")
    return {"statuses": statuses}


def _summary(  # noqa: PLR0917
    task: Arguments,
    model: ModelType,
    engine: Engine,
    seen: Sighting,
    made: Reconstruction,
    figures: tuple[quality.Metrics, ...],
    seconds: float,
) -> quality.Quality:
    metrics = quality.mean(figures)
    height, width = seen.views[0].colour.shape[:2]
    return quality.Quality(
        job_id=task.job_id,
        model=model.value,
        engine=engine.name,
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
    )
