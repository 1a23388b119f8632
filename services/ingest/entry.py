"""What the child process of an ingest worker runs."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from contracts.capture_settings import CaptureSettings
from contracts.progress import StageReporter
from services.ingest.capture import build_capture


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload: Path
    settings: CaptureSettings
    out: Path


def run(arguments: dict[str, object], report: StageReporter) -> None:
    """Turn an uploaded capture into its canonical form. Raises UserError if it cannot be used."""
    task = Arguments.model_validate(arguments)
    report.step("conversion")
    report.log("Step 1/5 — ReScan → COLMAP conversion")
    build_capture(task.upload, task.settings, task.out, report)
    report.finished("conversion")
