"""Photographs in their canonical form: what ingest makes of a collection, and what sfm reads."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.model import Message

Pixels = Annotated[int, Field(ge=1)]

PICTURES_FOLDER = "pictures"
MANIFEST_NAME = "photos.json"


class Photo(Message):
    """One picture that could be read. Its file shows it upright, as 8-bit RGB."""

    name: str
    """As in the archive, with folders below the top one that all share; what results call it."""
    file: str
    """Relative to the canonical folder, for instance `pictures/000012.jpg`."""
    width_px: Pixels
    height_px: Pixels
    """Of the upright picture."""
    camera: str
    """Pictures of one value were taken with one camera at one zoom, as far as the file tells."""
    focal_px: Annotated[float, Field(gt=0)] | None = None
    """From EXIF, in pixels of the picture's file; None where the file does not tell."""
    sharpness: float
    """Variance of the Laplacian of the grey picture (0 to 255) at a longest side of at most 1024 pixels."""
    brightness: float
    """Mean of the grey picture, 0 to 255."""
    contrast: float
    """Standard deviation of the grey picture, 0 to 255."""


class LeftOut(Message):
    """A file that is not used, and why."""

    name: str
    reason: Literal["corrupt", "duplicate", "too_small"]
    same_as: str | None = None
    """Of a duplicate: the picture that is used in its place."""


class PhotoManifest(Message):
    """`photos.json`, beside the pictures."""

    version: Literal[1] = 1
    photos: tuple[Photo, ...]
    """In the order of their names."""
    left_out: tuple[LeftOut, ...] = ()
