"""The canonical form of a capture: what `ingest` writes and `sfm` reads, whatever app recorded it.

A folder (or a prefix in the object store) with:

    capture.json                `CaptureManifest`, written last
    trajectory.npz              every odometry row: `timestamps_s` (n,) float64; `world_from_camera` (n, 4, 4) float64
    matching/000001.png …       8-bit RGB, display-referred: what features are computed on
    images/000001.png …         8- or 16-bit RGB in the output colour space; absent if it would equal `matching/`
    depth/000001.png …          16-bit grey, millimetres, 0 = no measurement; for frames that have depth
    confidence/000001.png …     8-bit grey, 0 (low) to 2 (high), whatever scale the phone wrote

Frames are numbered from 1 in time order. Metres, seconds; the world is the phone's own: right-handed, +y up
(gravity along -y). Camera axes as in OpenCV and COLMAP: x right, y down, z forward. Pixel centres at +0.5.
"""

from typing import Annotated, Literal

from pydantic import Field

from contracts.capture_settings import Colorspace
from contracts.model import Message

MANIFEST_NAME = "capture.json"
TRAJECTORY_NAME = "trajectory.npz"


class Pose(Message):
    """A rigid transform `world_from_camera`: unit quaternion (x, y, z, w) and the camera's centre in metres."""

    quaternion_xyzw: tuple[float, float, float, float]
    position_m: tuple[float, float, float]


class Intrinsics(Message):
    """Pinhole intrinsics in pixels of the full image; pixel centres at +0.5 (the COLMAP convention)."""

    fx_px: Annotated[float, Field(gt=0)]
    fy_px: Annotated[float, Field(gt=0)]
    cx_px: float
    cy_px: float


class CapturedFrame(Message):
    """One chosen picture."""

    name: str
    """File name in `matching/`, `images/`, `depth/` and `confidence/`: `000001.png` and so on."""
    source_index: Annotated[int, Field(ge=0)]
    """Row of odometry.csv, which is also the video's frame index, from 0."""
    timestamp_s: float
    pose: Pose
    """As the phone reported it: drifts by centimetres, and may be early or late against the picture."""
    intrinsics: Intrinsics
    has_depth: bool
    sharpness: Annotated[float, Field(ge=0)]
    """Variance of the Laplacian of the grey 8-bit picture; comparable within one capture only."""


class ConventionEvidence(Message):
    """Which camera axes the odometry uses, and why we think so."""

    axes: Literal["opencv", "arkit"]
    """`opencv`: Stray Scanner (y down, z forward); `arkit`: ReScan (y up, -z forward)."""
    decided_by: Literal["depth", "motion", "gravity", "default"]
    """What decided: depth reprojected between frames; else motion or gravity; else the commoner convention."""
    residual_m: float | None = None
    """Median depth disagreement under the chosen convention."""
    rejected_residual_m: float | None = None
    """The same under the other one."""


class CaptureSource(Message):
    """What the pictures came from."""

    kind: Literal["video", "images"]
    codec: str
    width_px: int
    height_px: int
    """As delivered: after the rotation tag was applied."""
    bit_depth: int
    native_fps: float
    frames_found: int
    """Pictures that could be decoded."""
    frames_expected: int
    """Rows of odometry.csv."""
    rotation_deg: Literal[0, 90, 180, 270] = 0


class CaptureManifest(Message):
    """`capture.json`."""

    version: Literal[1] = 1
    source: CaptureSource
    frames: tuple[CapturedFrame, ...]
    delivered_folder: Literal["matching", "images"]
    """Where the pictures to deliver are."""
    delivered_bit_depth: Literal[8, 16]
    input_colorspace: Colorspace | None
    output_colorspace: Colorspace | None
    convention: ConventionEvidence
    confidence_scale: Literal["0-2", "0-255", "none"]
    depth_width_px: int | None = None
    depth_height_px: int | None = None
    warnings: tuple[str, ...] = ()
