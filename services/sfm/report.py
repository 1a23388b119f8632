"""`report.json`: what came out, how far it can be trusted, and what was decided on the way."""

from collections.abc import Mapping
from typing import Literal

from contracts.capture_settings import CaptureSettings, Colorspace, FeatureType, MatcherType
from contracts.captures import CaptureManifest, CaptureSource, ConventionEvidence
from contracts.model import Frozen
from services.sfm.cloud import CloudSummary
from services.sfm.models import MappingSummary, ScaleSource, TrackResidual
from services.sfm.resolution import Resolution


class World(Frozen):
    """The frame in which everything in the result is."""

    units: Literal["metres"] = "metres"
    handedness: Literal["right-handed"] = "right-handed"
    up: Literal["+y"] = "+y"
    gravity: Literal["-y"] = "-y"
    camera_axes: Literal["x right, y down, z forward (OpenCV, COLMAP)"] = "x right, y down, z forward (OpenCV, COLMAP)"
    pixel_centres: Literal["+0.5 in sparse/, whole numbers in hloc_outputs/features.h5"] = (
        "+0.5 in sparse/, whole numbers in hloc_outputs/features.h5"
    )
    origin: Literal["as the phone reported it, best fit of all cameras"] = (
        "as the phone reported it, best fit of all cameras"
    )


class Frames(Frozen):
    total: int
    registered: int
    unregistered: tuple[str, ...]
    """File names of the pictures without a pose."""


class Model(Frozen):
    """`sparse/0`. Points, tracks and errors are those of triangulation: LiDAR points in it do not count here."""

    points: int
    observations: int
    mean_track_length: float
    reprojection_error_px: float
    models: int
    lidar_points: int
    """LiDAR points that were added to points3D.bin (known_poses only)."""


class Metric(Frozen):
    """How the model became metric and level."""

    scale_factor: float
    """What the model was multiplied by."""
    scale_sigma: float | None
    """One standard deviation of the scale, relative; None where nothing told the scale."""
    scale_sources: tuple[ScaleSource, ...]
    """Its witnesses; a factor of 1 agrees with what was delivered."""
    track_residual: TrackResidual | None
    """Distance of the delivered poses from the phone's own."""
    picture_delay_s: float
    gravity_correction_deg: float


class Matching(Frozen):
    """Asked for, and used in its place where this installation does not have it."""

    feature_type_asked: FeatureType
    feature_type_used: FeatureType
    matcher_type_asked: MatcherType
    matcher_type_used: MatcherType
    how_to_mend: tuple[str, ...]
    """One sentence for each difference: why, and what to do. Empty where everything asked for was used."""
    mean_keypoints: float
    """Per picture."""
    pairs: int
    """Pairs of pictures that were matched."""


class Conventions(Frozen):
    """What the capture turned out to be."""

    source: CaptureSource
    odometry: ConventionEvidence
    confidence_scale: Literal["0-2", "0-255", "none"]
    depth_width_px: int | None
    depth_height_px: int | None
    input_colorspace: Colorspace | None
    output_colorspace: Colorspace | None
    delivered_bit_depth: Literal[8, 16]


class CaptureReport(Frozen):
    """`report.json` of a capture's result."""

    version: Literal[1] = 1
    world: World = World()
    frames: Frames
    model: Model
    metric: Metric
    matching: Matching
    lidar_cloud: CloudSummary | None
    """None where none was asked for, or there is no depth."""
    conventions: Conventions
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    """Wall time of each step; a reused step counts with what it took when it was computed."""
    settings: CaptureSettings


def build(
    *,
    settings: CaptureSettings,
    manifest: CaptureManifest,
    mapping: MappingSummary,
    cloud: CloudSummary | None,
    matching: Matching,
    seconds: Mapping[str, float],
    lidar_points: int,
) -> CaptureReport:
    """Put the report together from what the steps wrote."""
    warnings = dict.fromkeys([*manifest.warnings, *matching.how_to_mend, *mapping.warnings])
    return CaptureReport(
        frames=Frames(total=mapping.total, registered=mapping.registered, unregistered=mapping.unregistered),
        model=Model(
            points=mapping.points,
            observations=mapping.observations,
            mean_track_length=mapping.mean_track_length,
            reprojection_error_px=mapping.reprojection_error_px,
            models=mapping.models,
            lidar_points=lidar_points,
        ),
        metric=Metric(
            scale_factor=mapping.scale_factor,
            scale_sigma=mapping.scale_sigma,
            scale_sources=mapping.scale_sources,
            track_residual=mapping.track_residual,
            picture_delay_s=mapping.picture_delay_s,
            gravity_correction_deg=mapping.gravity_correction_deg,
        ),
        matching=matching,
        lidar_cloud=cloud,
        conventions=Conventions(
            source=manifest.source,
            odometry=manifest.convention,
            confidence_scale=manifest.confidence_scale,
            depth_width_px=manifest.depth_width_px,
            depth_height_px=manifest.depth_height_px,
            input_colorspace=manifest.input_colorspace,
            output_colorspace=manifest.output_colorspace,
            delivered_bit_depth=manifest.delivered_bit_depth,
        ),
        warnings=tuple(warnings),
        seconds=dict(seconds),
        settings=settings,
    )


def matching_facts(resolution: Resolution, mean_keypoints: float, pairs: int) -> Matching:
    """The report's part on features and matches."""
    return Matching(
        feature_type_asked=resolution.asked_features,
        feature_type_used=resolution.used_features,
        matcher_type_asked=resolution.asked_matcher,
        matcher_type_used=resolution.used_matcher,
        how_to_mend=resolution.warnings,
        mean_keypoints=mean_keypoints,
        pairs=pairs,
    )
