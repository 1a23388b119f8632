"""A photo collection, step by step: what the child process of an sfm worker runs for a scene job.

    features → pairs → matching → mapping → clouds → packaging

Every step reads folders and writes one of its own below the work folder. A step that is already there is not computed again.
"""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from contracts.progress import Reporter, StageReporter
from services.sfm.photos import clouds, features, mapping, matching, packaging, pairs
from services.sfm.photos.plan import STEPS
from services.sfm.pipeline import Reused, say_again


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_name: str
    collection: Path
    work: Path
    done: dict[str, Reused]
    """Steps whose output is below `work` already."""


def _features(task: Arguments, out_dir: Path, report: Reporter) -> None:
    features.main(task.collection, out_dir, report)


def _pairs(task: Arguments, out_dir: Path, report: Reporter) -> None:
    pairs.main(task.collection, task.work / "features", out_dir, report)


def _matching(task: Arguments, out_dir: Path, report: Reporter) -> None:
    matching.main(task.collection, task.work / "features", task.work / "pairs", out_dir, report)


def _mapping(task: Arguments, out_dir: Path, report: Reporter) -> None:
    mapping.main(task.collection, task.work / "matching", out_dir, report)


def _clouds(task: Arguments, out_dir: Path, report: Reporter) -> None:
    clouds.main(task.collection, task.work / "mapping", out_dir, report)


COMPUTE: dict[str, Callable[[Arguments, Path, Reporter], None]] = {
    "features": _features,
    "pairs": _pairs,
    "matching": _matching,
    "mapping": _mapping,
    "clouds": _clouds,
}


def run(arguments: dict[str, object], report: StageReporter) -> dict[str, JsonValue]:
    """Compute every step that is not there yet, then what is delivered. Returns the seconds of each step.

    Raises UserError if the collection yields no model.
    """
    task = Arguments.model_validate(arguments)
    seconds: dict[str, JsonValue] = {step.name: _compute(step.name, task, report) for step in STEPS}
    report.step("packaging")
    packaging.main(task.dataset_name, task.collection, task.work, task.work / "packaging", report)
    return {"seconds": seconds}


def _compute(step: str, task: Arguments, report: StageReporter) -> float:
    """Compute a step, or repeat what it said where it is there already. Returns the seconds that it took, then or now."""
    report.step(step)
    reused = task.done.get(step)
    if reused is not None:
        say_again(reused, report)
        return reused.seconds
    began = time.monotonic()
    COMPUTE[step](task, task.work / step, report)
    seconds = round(time.monotonic() - began, 3)
    report.finished(step)
    return seconds
