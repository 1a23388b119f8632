"""Pipelines are data: the stages of each kind of job, their shares of overall progress, their names in each API."""

from typing import Annotated

from pydantic import Field

from contracts.jobs import JobKind
from contracts.model import Frozen

Percent = Annotated[float, Field(ge=0, le=100)]


class Step(Frozen):
    """A step within a stage. `label` is its name in the kind's API document."""

    name: str
    label: str
    from_percent: Percent
    to_percent: Percent


class Stage(Frozen):
    """The part of a pipeline that one service does."""

    service: str
    steps: tuple[Step, ...]


class Pipeline(Frozen):
    """All stages of one kind of job, in order."""

    kind: JobKind
    stages: tuple[Stage, ...]
    done_label: str
    failed_label: str
    cancelled_label: str

    def step(self, name: str) -> Step:
        """The step called `name`. Raises KeyError for a name that is not in the pipeline."""
        for stage in self.stages:
            for step in stage.steps:
                if step.name == name:
                    return step
        raise KeyError(name)

    def stage(self, service: str) -> Stage:
        """The stage that `service` does. Raises KeyError if it has none."""
        for stage in self.stages:
            if stage.service == service:
                return stage
        raise KeyError(service)

    def stage_after(self, service: str) -> Stage | None:
        """The stage that follows, or None after the last."""
        position = self.stages.index(self.stage(service))
        return self.stages[position + 1] if position + 1 < len(self.stages) else None

    def percent(self, step_name: str, fraction: float) -> float:
        """Overall progress when `fraction` (0 to 1) of a step is done."""
        step = self.step(step_name)
        return step.from_percent + min(max(fraction, 0.0), 1.0) * (step.to_percent - step.from_percent)


CAPTURE = Pipeline(
    kind=JobKind.CAPTURE,
    stages=(
        Stage(
            service="ingest",
            steps=(
                Step(name="initializing", label="Initializing", from_percent=0, to_percent=10),
                Step(name="conversion", label="ReScan → COLMAP", from_percent=10, to_percent=30),
            ),
        ),
        Stage(
            service="sfm",
            steps=(
                Step(name="features", label="Features", from_percent=30, to_percent=50),
                Step(name="pairs", label="Pairs", from_percent=50, to_percent=65),
                Step(name="matching", label="Matching", from_percent=65, to_percent=80),
                Step(name="mapping", label="SfM", from_percent=80, to_percent=96),
                Step(name="cloud", label="SfM", from_percent=96, to_percent=98),
                Step(name="packaging", label="SfM", from_percent=98, to_percent=100),
            ),
        ),
    ),
    done_label="Done",
    failed_label="Error",
    cancelled_label="Cancelled",
)

BUILDING = Pipeline(
    kind=JobKind.BUILDING,
    stages=(
        Stage(
            service="ingest",
            steps=(
                Step(name="initializing", label="Initializing job...", from_percent=0, to_percent=2),
                Step(name="loading_point_cloud", label="Loading point cloud", from_percent=2, to_percent=25),
            ),
        ),
        Stage(
            service="bim",
            steps=(
                Step(name="preprocessing", label="Preprocessing point cloud", from_percent=25, to_percent=40),
                Step(name="slab_detection", label="Detecting slabs and storeys", from_percent=40, to_percent=45),
                Step(name="wall_detection", label="Detecting walls and openings", from_percent=45, to_percent=65),
                Step(name="opening_detection", label="Detecting doors and windows", from_percent=65, to_percent=75),
                Step(name="zone_detection", label="Detecting spaces", from_percent=75, to_percent=80),
                Step(name="generating_ifc", label="Generating IFC model", from_percent=80, to_percent=90),
                Step(name="finalizing", label="Mapping points and writing results", from_percent=90, to_percent=100),
            ),
        ),
    ),
    done_label="Job completed",
    failed_label="Job failed",
    cancelled_label="Job cancelled",
)

PIPELINES: dict[JobKind, Pipeline] = {JobKind.CAPTURE: CAPTURE, JobKind.BUILDING: BUILDING}
