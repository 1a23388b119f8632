"""What the child process of an ingest worker runs for a point cloud."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from contracts.building_settings import BuildingSettings
from contracts.progress import StageReporter
from services.ingest.clouds import conversion


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload: Path
    file_name: str
    settings: BuildingSettings
    out: Path


def run(arguments: dict[str, object], report: StageReporter) -> None:
    """Turn an uploaded cloud into its canonical form. Raises UserError if it cannot be used."""
    task = Arguments.model_validate(arguments)
    report.step("loading_point_cloud")
    conversion.main(task.settings, task.upload, task.file_name, task.out, report)
    report.finished("loading_point_cloud")
