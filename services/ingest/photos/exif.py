"""What a picture's EXIF data tells about its camera.

Sources: CIPA DC-008 (Exif 3.0) for the tags, CIPA DCG-001 for the focal length "in 35 mm film", which compares
diagonals.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import ExifTags, Image

UPRIGHT = 1
_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""By FocalPlaneResolutionUnit."""
_SENSOR_WIDTHS_MM = (1.0, 100.0)
"""What is outside is a unit gone wrong. From endoscopes to large format."""
_FOCAL_PER_SIDE = (0.2, 60.0)
"""Focal length over the longer side of a picture: from a fish-eye to a telescope."""
_AGREEMENT = 1.2
"""Two ways to the focal length that are further apart than this contradict each other."""
_LONGEST_TEXT = 64


@dataclass(frozen=True)
class CameraTags:
    """Tags of one picture; None where one is missing or makes no sense."""

    orientation: int = UPRIGHT
    """1 to 8, as in the standard."""
    make: str = ""
    model: str = ""
    focal_mm: float | None = None
    film_focal_mm: float | None = None
    """As if the sensor had the diagonal of 35 mm film."""
    plane_px_per_mm: float | None = None
    """Of the sensor, along its longer side, at the picture's original size."""
    original_longer_px: int | None = None
    """Longer side of the picture as the camera made it."""


def read_tags(image: Image.Image) -> CameraTags:
    """The camera's tags of an opened picture, none where the EXIF data is damaged."""
    try:
        root = image.getexif()
        exif = root.get_ifd(ExifTags.IFD.Exif)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything on EXIF data that is damaged; the picture is none the worse
        return CameraTags()
    orientation = _whole(root.get(ExifTags.Base.Orientation)) or UPRIGHT
    sides = [_whole(exif.get(tag)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    known = [side for side in sides if side is not None]
    return CameraTags(
        orientation=orientation if 1 <= orientation <= 8 else UPRIGHT,
        make=_text(root.get(ExifTags.Base.Make)),
        model=_text(root.get(ExifTags.Base.Model)),
        focal_mm=_positive(exif.get(ExifTags.Base.FocalLength)),
        film_focal_mm=_positive(exif.get(ExifTags.Base.FocalLengthIn35mmFilm)),
        plane_px_per_mm=_plane_resolution(exif),
        original_longer_px=max(known) if len(known) == 2 else None,
    )


def crop_factors(pictures: Iterable[CameraTags]) -> dict[tuple[str, str], float]:
    """By make and model: the film's diagonal over the sensor's, where some picture of the camera tells it."""
    found: dict[tuple[str, str], list[float]] = {}
    for tags in pictures:
        if tags.model and tags.focal_mm and tags.film_focal_mm:
            found.setdefault((tags.make, tags.model), []).append(tags.film_focal_mm / tags.focal_mm)
    return {camera: statistics.median(factors) for camera, factors in found.items()}


def focal_length_px(
    tags: CameraTags, width_px: int, height_px: int, crop_by_camera: dict[tuple[str, str], float]
) -> float | None:
    """The focal length in pixels of a picture of this size, or None if the tags do not tell it.

    From the sensor's resolution, which is exact; from the focal length on 35 mm film, which is rounded to a
    millimetre; or from the crop factor that other pictures of the camera tell. Where the first two contradict each
    other the second counts: whoever makes a picture smaller often leaves the sensor's resolution as it was.
    """
    by_plane = _focal_by_plane(tags, max(width_px, height_px))
    film_mm = tags.film_focal_mm
    if film_mm is None and tags.focal_mm is not None:
        crop = crop_by_camera.get((tags.make, tags.model))
        film_mm = None if crop is None else tags.focal_mm * crop
    by_film = None if film_mm is None else film_mm * math.hypot(width_px, height_px) / _FILM_DIAGONAL_MM
    focal_px = by_film if by_plane is None or (by_film is not None and _contradict(by_plane, by_film)) else by_plane
    low, high = _FOCAL_PER_SIDE
    longer_px = max(width_px, height_px)
    return focal_px if focal_px is not None and low * longer_px <= focal_px <= high * longer_px else None


def camera_name(tags: CameraTags, focal_px: float | None, width_px: int, height_px: int) -> str:
    """The same for pictures of one make, model, focal length and upright size; of one size where tags are missing."""
    parts = [tags.make, tags.model.removeprefix(tags.make).strip()]
    if tags.focal_mm is not None:
        parts.append(f"{tags.focal_mm:.2f} mm")
    if focal_px is not None:
        parts.append(f"{focal_px:.1f} px")
    return " ".join([part for part in parts if part] + [f"{width_px}x{height_px}"])


def _focal_by_plane(tags: CameraTags, longer_px: int) -> float | None:
    if tags.focal_mm is None or tags.plane_px_per_mm is None:
        return None
    original_px = tags.original_longer_px or longer_px
    low, high = _SENSOR_WIDTHS_MM
    if not low <= original_px / tags.plane_px_per_mm <= high:
        return None
    return tags.focal_mm * tags.plane_px_per_mm * longer_px / original_px


def _contradict(first: float, second: float) -> bool:
    return max(first, second) > _AGREEMENT * min(first, second)


def _plane_resolution(exif: "dict[int, object]") -> float | None:
    unit = _whole(exif.get(ExifTags.Base.FocalPlaneResolutionUnit))
    per_unit = _positive(exif.get(ExifTags.Base.FocalPlaneXResolution))
    millimetres = _MILLIMETRES.get(2 if unit is None else unit)
    return None if per_unit is None or millimetres is None else per_unit / millimetres


def _positive(value: object) -> float | None:
    """A tag's number. Rationals may have a denominator of 0, and a tag of any number may hold text."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _whole(value: object) -> int | None:
    number = _positive(value)
    return None if number is None else int(number)


def _text(value: object) -> str:
    """Without the padding and the line ends that some cameras write."""
    return " ".join(value.replace("\0", " ").split())[:_LONGEST_TEXT] if isinstance(value, str) else ""
