"""Everything a person may set on a capture job (the ReMap API's `settings`, and what we add to them)."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator

from contracts.model import Message


class Colorspace(StrEnum):
    """Colour spaces of the ReMap API, and `apple_log`, which phones record."""

    LINEAR = "linear"
    SRGB = "srgb"
    ACESCG = "acescg"
    ACES2065_1 = "aces2065-1"
    REC709 = "rec709"
    LOG = "log"
    RAW = "raw"
    APPLE_LOG = "apple_log"


class FeatureType(StrEnum):
    SUPERPOINT_AACHEN = "superpoint_aachen"
    SUPERPOINT_MAX = "superpoint_max"
    DISK = "disk"
    ALIKED_N16 = "aliked-n16"
    SIFT = "sift"


class MatcherType(StrEnum):
    """`nearest` is ours: mutual nearest neighbours that pass Lowe's ratio test; it goes with every feature."""

    SUPERPOINT_LIGHTGLUE = "superpoint+lightglue"
    SUPERGLUE = "superglue"
    DISK_LIGHTGLUE = "disk+lightglue"
    ALIKED_LIGHTGLUE = "aliked+lightglue"
    ADALAM = "adalam"
    NEAREST = "nearest"


class CameraModel(StrEnum):
    PINHOLE = "PINHOLE"
    OPENCV = "OPENCV"
    SIMPLE_RADIAL = "SIMPLE_RADIAL"
    OPENCV_FISHEYE = "OPENCV_FISHEYE"


class MapperType(StrEnum):
    GLOMAP = "GLOMAP"
    COLMAP = "COLMAP"


class Approach(StrEnum):
    FULL_SFM = "full_sfm"
    KNOWN_POSES = "known_poses"


class PairingMode(StrEnum):
    """`poses` is ours: pairs whose view frusta overlap by the phone's poses and depth."""

    EXHAUSTIVE = "exhaustive"
    SEQUENTIAL = "sequential"
    POSES = "poses"


class CaptureSettings(Message):
    """Settings of a capture job, with the documented defaults."""

    fps: Annotated[float, Field(gt=0, le=240)] = 5.0
    feature_type: FeatureType = FeatureType.SUPERPOINT_AACHEN
    matcher_type: MatcherType = MatcherType.SUPERPOINT_LIGHTGLUE
    max_keypoints: Annotated[int, Field(ge=64, le=65536)] = 8192
    camera_model: CameraModel = CameraModel.PINHOLE
    mapper_type: MapperType = MapperType.GLOMAP
    stray_approach: Approach = Approach.FULL_SFM
    pairing_mode: PairingMode = PairingMode.EXHAUSTIVE
    num_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    color_pipeline: str | None = "None"
    input_colorspace: Colorspace | None = None
    output_colorspace: Colorspace | None = None
    stray_confidence: Annotated[int, Field(ge=0, le=2)] = 2
    stray_depth_subsample: Annotated[int, Field(ge=1, le=1000)] = 2
    stray_gen_pointcloud: bool = True
    strict_features: bool = False

    @field_validator("stray_approach", mode="before")
    @classmethod
    def _any_arkit_value_means_known_poses(cls, value: object) -> object:
        if isinstance(value, str) and any(word in value.lower() for word in ("known", "arkit")):
            return Approach.KNOWN_POSES
        return value

    @field_validator("mapper_type", "camera_model", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("input_colorspace", "output_colorspace", mode="before")
    @classmethod
    def _colour_space_in_any_case(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return None if value.lower() == "none" else value.lower()

    @field_validator("fps", "max_keypoints", "num_threads", "stray_confidence", "stray_depth_subsample", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: object) -> object:
        """JSON's true is not 1, and "5" is not 5."""
        if isinstance(value, bool | str):
            raise ValueError("must be a number")
        return value

    @field_validator("stray_gen_pointcloud", "strict_features", mode="before")
    @classmethod
    def _flags_are_flags(cls, value: object) -> object:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value


class CaptureRequest(Message):
    """What a capture job was asked to do."""

    kind: Literal["capture"] = "capture"
    dataset_id: str
    settings: CaptureSettings
