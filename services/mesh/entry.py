"""What the child process of a mesh worker runs."""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from contracts.devices import Gpu
from contracts.object_settings import ObjectSettings
from contracts.progress import StageReporter
from services.mesh import pipeline
from services.mesh.engines import Otherwise
from services.mesh.packing import pack, unpack
from services.mesh.plan import archive_in, out_in, upload_in, views_in


class Arguments(BaseModel):
    """The task, as the worker hands it over. `scratch` is laid out as `services.mesh.plan` has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    created_at: AwareDatetime
    settings: ObjectSettings
    scratch: Path
    gpu: Gpu | None
    otherwise: Otherwise


def run(arguments: dict[str, object], report: StageReporter) -> dict[str, JsonValue]:
    """Make an object of a stored upload and pack what is delivered. Returns each model's status of quality.

    Raises UserError if the views give no object, GpuUnavailable.
    """
    task = Arguments.model_validate(arguments)
    report.step("initializing")
    unpack(upload_in(task.scratch), views_in(task.scratch))
    said = pipeline.run(
        {
            **task.model_dump(include={"job_id", "created_at", "settings", "gpu", "otherwise"}),
            "views": views_in(task.scratch),
            "out": out_in(task.scratch),
        },
        report,
    )
    pack(out_in(task.scratch), archive_in(task.scratch))
    return said
