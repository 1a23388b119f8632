"""Structure from motion, step by step: what the child process of an sfm worker runs.

    features → pairs → matching → mapping → cloud → packaging
                            └──── hloc_matches ────┘

Every step reads folders and writes one of its own below the work folder. A step that is already there, because an
earlier attempt or another job on the same data set computed it, is not computed again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from contracts.capture_settings import Approach, CaptureSettings
from contracts.progress import Reporter, StageReporter
from services.sfm import cloud, features, hloc_matches, mapping, matching, packaging, pairs
from services.sfm.learned.equipment import BUILT_IN, Equipment
from services.sfm.plan import STEPS
from services.sfm.resolution import resolve

RESULT_NAME = "result.zip"

_NAMES = [step.name for step in STEPS]
_MATCHED = _NAMES.index("matching") + 1


class Reused(BaseModel):
    """What an earlier computation of a step said, and how long it took."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


class Arguments(BaseModel):
    """The task, as the worker hands it over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: CaptureSettings
    capture: Path
    work: Path
    done: dict[str, Reused]
    """Steps whose output is below `work` already."""
    equipment: Equipment = BUILT_IN


@dataclass(frozen=True)
class Folders:
    """The capture, where each step writes, and what this worker can do."""

    capture: Path
    work: Path
    equipment: Equipment = BUILT_IN

    def of(self, step: str) -> Path:
        return self.work / step


Compute = Callable[[CaptureSettings, Folders, Reporter], None]


def _features(conf: CaptureSettings, folders: Folders, report: Reporter) -> None:
    resolution = resolve(conf, folders.equipment)
    report.log(f"Step 2/5 — Feature extraction ({resolution.used_features})")
    features.main(conf, folders.capture, folders.of("features"), report, folders.equipment)


def _pairs(conf: CaptureSettings, folders: Folders, report: Reporter) -> None:
    report.log("Step 3/5 — Pair generation")
    pairs.main(conf, folders.capture, folders.of("features"), folders.of("pairs"), report)


def _matching(conf: CaptureSettings, folders: Folders, report: Reporter) -> None:
    report.log(f"Step 4/5 — Matching ({resolve(conf, folders.equipment).used_matcher})")
    matching.main(
        conf,
        folders.capture,
        folders.of("features"),
        folders.of("pairs") / "pairs.txt",
        folders.of("matching"),
        report,
        folders.equipment,
    )


def _mapping(conf: CaptureSettings, folders: Folders, report: Reporter) -> None:
    if conf.stray_approach is Approach.KNOWN_POSES:
        report.log("Step 5/5 — Triangulation (ARKit known poses)")
    else:
        report.log(f"Step 5/5 — SfM reconstruction ({conf.mapper_type})")
    database = folders.of("matching") / "database.db"
    mapping.main(conf, folders.capture, database, folders.of("mapping"), report)


def _cloud(conf: CaptureSettings, folders: Folders, report: Reporter) -> None:
    cloud.main(conf, folders.capture, folders.of("mapping") / "sparse" / "0", folders.of("cloud"), report)


COMPUTE: dict[str, Compute] = {
    "features": _features,
    "pairs": _pairs,
    "matching": _matching,
    "mapping": _mapping,
    "cloud": _cloud,
}


def run(arguments: dict[str, object], report: StageReporter) -> dict[str, JsonValue]:
    """Compute every step that is not there yet, then the result. Returns where the result is.

    Raises UserError if the capture yields no model.
    """
    task = Arguments.model_validate(arguments)
    folders = Folders(task.capture, task.work, task.equipment)
    seconds = {step: _compute(step, task, folders, report) for step in _NAMES[:_MATCHED]}
    with hloc_matches.written_beside(
        folders.of("features"), folders.of("pairs"), folders.of("matching"), folders.of("hloc_matches")
    ):
        seconds |= {step: _compute(step, task, folders, report) for step in _NAMES[_MATCHED:]}
    report.step("packaging")
    result = folders.work / RESULT_NAME
    packaging.main(
        task.settings,
        packaging.Inputs(
            capture=folders.capture,
            features=folders.of("features"),
            pairs=folders.of("pairs"),
            matches=folders.of("hloc_matches"),
            mapping=folders.of("mapping"),
            cloud=folders.of("cloud"),
            equipment=task.equipment,
        ),
        seconds,
        result,
        report,
    )
    return {"result": str(result)}


def _compute(step: str, task: Arguments, folders: Folders, report: StageReporter) -> float:
    """Compute a step, or repeat what it said where it is there already. Returns the seconds that it took, then or now."""
    report.step(step)
    reused = task.done.get(step)
    if reused is not None:
        say_again(reused, report)
        return reused.seconds
    folders.of(step).mkdir(parents=True)
    began = time.monotonic()
    COMPUTE[step](task.settings, folders, report)
    seconds = round(time.monotonic() - began, 3)
    report.finished(step)
    return seconds


def say_again(reused: Reused, report: Reporter) -> None:
    """What a step said when it was computed, where its output is used again."""
    for warning in reused.warnings:
        report.warn(warning)
    for line in reused.lines:
        report.log(line)
    report.log(f"  (reused; it took {reused.seconds:.1f} s when it was computed)")
    report.progress(1, 1)
