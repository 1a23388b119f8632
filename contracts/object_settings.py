"""Everything a person may set on an object job (the six-view API), and what may be told of its cameras.

The form field `cameras` is optional JSON in the shape of `GivenCameras`. Without it the assumed rig of the API is where the
search for the cameras starts.
"""

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.model import Frozen, Message

VIEWS = 6
"""Views of an object, in upload order: front, back, left, right, top, bottom."""

Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]
Matrix = tuple[Row4, Row4, Row4, Row4]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelType(StrEnum):
    """Which reconstruction runs; `both` is one after the other, each in its own folder of the result."""

    RECONVIAGEN = "reconviagen"
    NVDIFFREC = "nvdiffrec"
    BOTH = "both"


class Intrinsics(Frozen):
    """A pinhole, in pixels of a picture of `width` x `height`. Pixel centres are at +0.5.

    A view or depth render of another size is taken to show the same field of view.
    """

    width: Annotated[int, Field(ge=1, le=65536)]
    height: Annotated[int, Field(ge=1, le=65536)]
    fx: Positive
    fy: Positive
    cx: Annotated[float, Field(allow_inf_nan=False)]
    cy: Annotated[float, Field(allow_inf_nan=False)]


class GivenView(Frozen):
    """Where one view was taken from: exactly one of the two matrices, which are inverse to each other.

    Row-major 4x4, rigid. Camera axes by `axes` of `GivenCameras`. World units are the user's own.
    """

    camera_from_world: Matrix | None = None
    world_from_camera: Matrix | None = None
    intrinsics: Intrinsics | None = None
    """Of this view, where views differ; otherwise `intrinsics` of `GivenCameras` holds."""

    @model_validator(mode="after")
    def _one_rigid_matrix(self) -> "GivenView":
        given = [matrix for matrix in (self.camera_from_world, self.world_from_camera) if matrix is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of camera_from_world and world_from_camera")
        if not _is_rigid(given[0]):
            raise ValueError("the matrix must be a rotation and a translation, with 0 0 0 1 as its last row")
        return self

    @property
    def pose(self) -> Matrix:
        """The matrix that was given."""
        matrix = self.camera_from_world or self.world_from_camera
        assert matrix is not None
        return matrix


class MetricDepth(Frozen):
    """Distance along the optical axis = value * scale, in world units."""

    encoding: Literal["metric"]
    scale: Positive
    background: Literal["zero", "maximum"] = "zero"


class NearFarDepth(Frozen):
    """The same linear scale between two known distances in all views: from 0 to the largest value of the PNG's type."""

    encoding: Literal["near_far"]
    near: Positive
    far: Positive
    nearer_is: Literal["darker", "brighter"] = "darker"
    background: Literal["zero", "maximum"] = "zero"

    @model_validator(mode="after")
    def _in_order(self) -> "NearFarDepth":
        if self.near >= self.far:
            raise ValueError("near must be less than far")
        return self


class NormalisedDepth(Frozen):
    """Linear, but every view on an unknown scale of its own, which is recovered from what the views say of each other."""

    encoding: Literal["normalised"] = "normalised"
    nearer_is: Literal["darker", "brighter", "unknown"] = "unknown"
    background: Literal["zero", "maximum", "unknown"] = "unknown"


DepthEncoding = Annotated[MetricDepth | NearFarDepth | NormalisedDepth, Field(discriminator="encoding")]


class GivenCameras(Frozen):
    """The form field `cameras`."""

    views: Annotated[tuple[GivenView, ...], Field(min_length=VIEWS, max_length=VIEWS)]
    """In upload order."""
    intrinsics: Intrinsics | None = None
    """Of all views that have none of their own."""
    axes: Literal["opencv", "opengl"] = "opencv"
    """Camera axes of the matrices: x right, y down, z forward; or x right, y up, z backward."""
    depth: DepthEncoding = NormalisedDepth()

    @model_validator(mode="after")
    def _every_view_has_intrinsics(self) -> "GivenCameras":
        missing = [i for i, view in enumerate(self.views) if view.intrinsics is None and self.intrinsics is None]
        if missing:
            raise ValueError(f"no intrinsics for view {missing[0]}: give them there or once for all views")
        return self

    def intrinsics_of(self, view: int) -> Intrinsics:
        """What holds for view 0 to 5."""
        own = self.views[view].intrinsics or self.intrinsics
        assert own is not None
        return own


class ObjectSettings(Message):
    """Settings of an object job, with the documented defaults."""

    model_type: ModelType = ModelType.RECONVIAGEN
    cameras: GivenCameras | None = None


class ObjectRequest(Message):
    """What an object job was asked to do."""

    kind: Literal["object"] = "object"
    dataset_id: str
    settings: ObjectSettings = ObjectSettings()


def _is_rigid(matrix: Matrix) -> bool:
    rows = [row[:3] for row in matrix[:3]]
    if not all(math.isfinite(value) for row in matrix for value in row):
        return False
    gram = [[sum(a * b for a, b in zip(r, s, strict=True)) for s in rows] for r in rows]
    orthonormal = all(abs(gram[i][j] - (i == j)) < 1e-3 for i in range(3) for j in range(3))
    (a, b, c), (d, e, f), (g, h, i) = rows
    right_handed = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0
    return orthonormal and right_handed and matrix[3] == (0.0, 0.0, 0.0, 1.0)
