"""What a job has found, in figures that its API shows besides the files. Known bit by bit while the job runs."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.model import Message
from contracts.object_settings import ModelType

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class SceneCluster(Message):
    """One model: pictures that show the same place, and the points they gave."""

    cluster_id: Count
    name: str
    """For instance `cluster0_model0`; the largest comes first."""
    images: Count
    points: Count
    """Of the sparse model, before decimation."""
    file_name: str
    """Of its PLY among the job's results."""


class SceneOutcome(Message):
    """Figures of a scene job."""

    kind: Literal["scene"] = "scene"
    images: Count
    """Pictures that could be read, duplicates counted once."""
    points: Count = 0
    registration_rate: Share | None = None
    """Share of the pictures that are in a model. None until models are made."""
    has_drift: bool = False
    drift_severity: Literal["low", "moderate", "high"] = "low"
    clusters: tuple[SceneCluster, ...] = ()


class ModelOutcome(Message):
    """What one model made of an object."""

    model: ModelType
    engine: str
    """What did the work under the model's name."""
    status: Literal["normal", "warning", "failure"]
    psnr: float
    """Decibels, mean over the six views."""
    ssim: float


class ObjectOutcome(Message):
    """Figures of an object job."""

    kind: Literal["object"] = "object"
    models: tuple[ModelOutcome, ...] = ()


Outcome = Annotated[SceneOutcome | ObjectOutcome, Field(discriminator="kind")]
