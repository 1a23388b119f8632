"""What the mapping step hands on: values of one run, and the summary that goes into the job's report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.capture_settings import Approach, MapperType
from contracts.model import Message

MAPPING_NAME = "mapping.json"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ScaleSource(Message):
    """One witness of the metric scale: `model × factor` is in metres."""

    name: str
    """`track` (the phone's odometry) or `depth` (LiDAR)."""
    factor: float
    """Relative to the delivered model: 1 means that this witness agrees with what was delivered."""
    sigma: float
    """One standard deviation of `factor`, what is systematic in the witness included."""
    samples: int
    """Relative motions, or depth readings, that were used."""


class TrackResidual(Message):
    """How far the delivered camera poses are from the phone's own track, after a rigid alignment."""

    median_m: float
    rms_m: float
    max_m: float
    median_deg: float
    rms_deg: float
    max_deg: float


class MappingSummary(Message):
    """`mapping.json`: what came out of mapping and how far it can be trusted."""

    approach: Approach
    mapper: MapperType | None
    """None for known poses, where no mapper runs."""
    registered: int
    total: int
    unregistered: tuple[str, ...]
    """File names of the frames without a pose in the largest model."""
    points: int
    observations: int
    mean_track_length: float
    reprojection_error_px: float
    """Mean over points of the mean error of their observations, as COLMAP prints it."""
    scale_factor: float
    """What the mapper's own model (full_sfm) or the phone's track (known_poses) was multiplied by."""
    scale_sigma: float | None
    """One standard deviation of the scale, relative; None where nothing told the scale."""
    scale_sources: tuple[ScaleSource, ...]
    track_residual: TrackResidual | None
    picture_delay_s: float
    """Pictures show the world this much earlier than the pose with the same time stamp (negative: later)."""
    gravity_correction_deg: float
    """Angle between the refined model's up and the phone's, by which the model was turned at the end."""
    models: int
    seconds: dict[str, float]
    """Wall time of each part."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """A scale estimate: metres per model unit, with one standard deviation and the number of samples behind it."""

    name: str
    factor: float
    sigma: float
    samples: int
