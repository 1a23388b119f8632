"""What the child process of an ingest worker runs for a collection of photographs."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from contracts.progress import StageReporter
from services.ingest.photos.collection import build_collection, measure_collection


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload: Path
    out: Path


class MeasureArguments(BaseModel):
    """The task without a result in files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload: Path


def run(arguments: dict[str, object], report: StageReporter) -> None:
    """Turn an uploaded ZIP of photographs into its canonical form. Raises UserError if it cannot be used."""
    task = Arguments.model_validate(arguments)
    report.step("extracting")
    build_collection(task.upload, task.out, report)
    report.finished("extracting")


def measure(arguments: dict[str, object], _: StageReporter) -> dict[str, object]:
    """`Measured` of an uploaded ZIP of photographs. Raises UserError if it cannot be used."""
    task = MeasureArguments.model_validate(arguments)
    return measure_collection(task.upload).model_dump(mode="json")
