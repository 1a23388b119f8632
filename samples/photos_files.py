"""From light on a sensor to a JPEG in an archive: exposure, noise, orientation, EXIF."""

import io
import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL.ExifTags import IFD, Base

from samples.photos_render import PhotoCamera
from samples.render import Floats32

Exif = Literal["full", "camera", "none"]
"""What files tell: everything, the camera but not its focal length, or nothing."""
QUARTER_TURNS = {1: 0, 6: 3, 3: 2, 8: 1}
"""Anticlockwise quarter turns, by EXIF orientation, that show a stored picture upright."""
_ZIP_TIME = (2026, 1, 1, 12, 0, 0)
_FILM_DIAGONAL_MM = math.hypot(36, 24)
_PIXEL_MM = 0.0042


@dataclass(frozen=True)
class Body:
    """A camera as its files name it, and its geometry in shares of the longest side of its pictures."""

    make: str
    model: str
    aspect: float
    """Height over width of the sensor."""
    focal: float
    k1: float
    principal_point: tuple[float, float]
    """Off the middle, right and downwards."""

    def camera(self, width_px: int) -> PhotoCamera:
        """Its sensor with `width_px` columns."""
        height_px = 2 * round(width_px * self.aspect / 2)
        right, down = self.principal_point
        cx_px, cy_px = (0.5 + right) * width_px, 0.5 * height_px + down * width_px
        return PhotoCamera(width_px, height_px, self.focal * width_px, cx_px, cy_px, self.k1)


BODIES = (
    Body("Norden", "N-10", 3 / 4, 0.86, 0.03, (0.002, -0.001)),
    Body("Halma", "Reiseblick 2", 2 / 3, 1.04, -0.04, (-0.001, 0.0015)),
    Body("Norden", "Taschenformat", 3 / 4, 0.95, 0.015, (-0.002, 0.001)),
    Body("Ostrava", "OS 500", 9 / 16, 0.78, -0.02, (0.001, 0.002)),
)


def developed(radiance: Floats32, *, exposure: float, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """8-bit RGB of linear radiance (h, w, 3): a little vignetting and blur, a white balance, a film's curve, noise."""
    height, width = radiance.shape[:2]
    y, x = np.ogrid[:height, :width]
    squared = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width / 2) ** 2
    balance = np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
    light = radiance * (np.float32(exposure) * balance) * (1 - 0.12 * squared)[..., None].astype(np.float32)
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), 0.5), np.float32)
    shown = np.sqrt(1 - np.exp(-1.2 * np.maximum(light, 0)))
    shown = np.asarray(shown + 0.35 * shown * (1 - shown) * (2 * shown - 1), np.float32)
    grain = rng.standard_normal(shown.shape, np.float32) * np.float32(noise)
    return np.asarray(np.clip(np.rint((shown + grain) * 255), 0, 255), np.uint8)


def jpeg(upright: NDArray[np.uint8], orientation: int, quality: int, tags: Pictures.Exif) -> bytes:
    """A JPEG whose pixels are stored turned, and whose tag says how to turn them back."""
    stored = Pictures.fromarray(np.ascontiguousarray(np.rot90(upright, -QUARTER_TURNS[orientation])))
    file = io.BytesIO()
    if orientation != 1:
        tags[Base.Orientation] = orientation
    stored.save(file, "JPEG", quality=quality, exif=tags)
    return file.getvalue()


def exif_tags(body: Body, camera: PhotoCamera, exif: Exif) -> Pictures.Exif:
    """What the file tells of its camera. The focal length is given as on 35 mm film too, in whole millimetres as is the custom."""
    tags = Pictures.Exif()
    if exif == "none":
        return tags
    tags[Base.Make], tags[Base.Model] = body.make, body.model
    if exif == "camera":
        return tags
    details = tags.get_ifd(IFD.Exif)
    details[Base.FocalLength] = round(camera.focal_px * _PIXEL_MM, 2)
    diagonal_px = math.hypot(camera.width_px, camera.height_px)
    details[Base.FocalLengthIn35mmFilm] = round(camera.focal_px / diagonal_px * _FILM_DIAGONAL_MM)
    details[Base.FocalPlaneXResolution] = details[Base.FocalPlaneYResolution] = 10 / _PIXEL_MM
    details[Base.FocalPlaneResolutionUnit] = 3  # centimetres
    return tags


def write_archive(files: Iterable[tuple[str, bytes]], path: Path) -> None:
    """A ZIP that depends on its content only; it appears when it is complete."""
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content)
    part.replace(path)
