"""How a collection of photographs differs from those that came before under the same name."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from contracts.model import Message


class Statistic(Message):
    """Of one feature over pictures."""

    mean: float
    std: Annotated[float, Field(ge=0)]
    count: Annotated[int, Field(ge=1)]


class Measurements(Message):
    """What was measured of one collection, or of all accepted ones together (a baseline)."""

    version: Literal[1] = 1
    scenes: Annotated[int, Field(ge=1)] = 1
    """How many collections went in."""
    features: dict[str, Statistic]
    """`sharpness`, `brightness`, `contrast`, `height`, `width` (pixels), `descriptor_norm`."""
    registration_rate: Annotated[float, Field(ge=0, le=1)] | None = None


class DriftAlert(Message):
    """One feature that is not as it was."""

    feature: str
    stat_name: str
    baseline_val: float
    live_val: float
    severity: Literal["warning", "critical"]
    message: str


class DriftReport(Message):
    """All that was compared."""

    timestamp: AwareDatetime
    n_scenes_checked: int
    n_features_checked: int
    alerts: tuple[DriftAlert, ...] = ()
    status: Literal["ok", "warning", "critical"] = "ok"
