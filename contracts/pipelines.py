"""Pipelines are data: the stages of each kind of job, their shares of overall progress, their names in each API."""

from typing import Annotated

from pydantic import Field

from contracts.jobs import JobKind, Request
from contracts.model import Frozen
from contracts.object_settings import ModelType, ObjectRequest

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

    def label(self, name: str) -> str:
        """What people call a step; its own name if it is of a version that knows more steps than this one."""
        try:
            return self.step(name).label
        except KeyError:
            return name

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

SCENE = Pipeline(
    kind=JobKind.SCENE,
    stages=(
        Stage(
            service="ingest",
            steps=(
                Step(name="initializing", label="queued", from_percent=0, to_percent=10),
                Step(name="extracting", label="extracting", from_percent=10, to_percent=30),
            ),
        ),
        Stage(
            service="sfm",
            steps=(
                Step(name="features", label="matching", from_percent=30, to_percent=42),
                Step(name="pairs", label="matching", from_percent=42, to_percent=45),
                Step(name="matching", label="matching", from_percent=45, to_percent=70),
                Step(name="mapping", label="triangulating", from_percent=70, to_percent=85),
                Step(name="clouds", label="decimating", from_percent=85, to_percent=98),
                Step(name="packaging", label="decimating", from_percent=98, to_percent=100),
            ),
        ),
    ),
    done_label="success",
    failed_label="failed",
    cancelled_label="cancelled",
)

_RECONSTRUCTION = (
    ("fusing_depth", "Fusing depth maps", 3.0),
    ("cleaning_mesh", "Cleaning the mesh", 1.0),
    ("unwrapping_mesh", "Unfolding the mesh", 1.0),
    ("texturing_mesh", "Texturing the mesh", 3.0),
)
_REFINEMENT = (("refining", "Refining shape, material and light", 12.0),)
_DELIVERY = (
    ("measuring_quality", "Measuring quality", 1.0),
    ("exporting", "Writing results", 1.0),
)
"""Steps of one model of an object: name, label, share of the time."""

_OBJECT_STEPS = {
    ModelType.RECONVIAGEN: _RECONSTRUCTION + _DELIVERY,
    ModelType.NVDIFFREC: _RECONSTRUCTION + _REFINEMENT + _DELIVERY,
}


def models_of(model_type: ModelType) -> tuple[ModelType, ...]:
    """The models that a job of this type runs, in order."""
    if model_type is ModelType.BOTH:
        return (ModelType.RECONVIAGEN, ModelType.NVDIFFREC)
    return (model_type,)


def model_step(model: ModelType, step: str) -> str:
    """The name of a model's step in the pipeline of an object job."""
    return f"{model}.{step}"


def model_of_step(name: str) -> ModelType | None:
    """The model that a step of an object job belongs to; None for what is done once for all models."""
    model, separator, _ = name.partition(".")
    return ModelType(model) if separator else None


def _object_pipeline(model_type: ModelType) -> Pipeline:
    steps = [
        Step(name="initializing", label="Checking the views", from_percent=0, to_percent=2),
        Step(name="recovering_cameras", label="Recovering cameras", from_percent=2, to_percent=20),
    ]
    planned = [(model, *step) for model in models_of(model_type) for step in _OBJECT_STEPS[model]]
    percent, per_share = 20.0, 80.0 / sum(share for *_, share in planned)
    for model, name, label, share in planned:
        end = min(percent + share * per_share, 100.0)
        steps.append(Step(name=model_step(model, name), label=label, from_percent=percent, to_percent=end))
        percent = end
    return Pipeline(
        kind=JobKind.OBJECT,
        stages=(Stage(service="mesh", steps=tuple(steps)),),
        done_label="Job completed",
        failed_label="Job failed",
        cancelled_label="Job cancelled",
    )


OBJECT = {model_type: _object_pipeline(model_type) for model_type in ModelType}

_OF_KIND = {JobKind.CAPTURE: CAPTURE, JobKind.BUILDING: BUILDING, JobKind.SCENE: SCENE}

PIPELINES: tuple[Pipeline, ...] = (*_OF_KIND.values(), *OBJECT.values())


def pipeline_of(request: Request) -> Pipeline:
    """The pipeline of a job, by what it was asked to do."""
    if isinstance(request, ObjectRequest):
        return OBJECT[request.settings.model_type]
    return _OF_KIND[JobKind(request.kind)]
