"""Pictures with known content and EXIF data, and ZIPs of them."""

import zipfile
from collections.abc import Mapping
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

Rgb = npt.NDArray[np.uint8]


def textured(seed: int, width_px: int = 96, height_px: int = 72) -> Rgb:
    """(h, w, 3) smooth colours with no symmetry, so that JPEG keeps them to a few levels."""
    small = np.random.default_rng(seed).integers(30, 225, (5, 6, 3), dtype=np.uint8)
    resized = cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def stored_as(upright: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """What a camera stores that gives `upright` by the standard's words for the orientation.

    They say on which side of the scene the file's first row and first column lie: 6, for instance, is "the 0th row is
    the visual right-hand side, the 0th column is the visual top".
    """
    turned = upright.swapaxes(0, 1)
    by_orientation = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }
    return np.ascontiguousarray(by_orientation[orientation])


def exif(
    *, orientation: int | None = None, make: str = "", model: str = "", tags: Mapping[int, object] | None = None
) -> Image.Exif:
    """`tags` go into the Exif IFD; floats become rationals."""
    made = Image.Exif()
    for tag, value in ((ExifTags.Base.Orientation, orientation), (ExifTags.Base.Make, make)):
        if value:
            made[tag] = value
    if model:
        made[ExifTags.Base.Model] = model
    if tags:
        made[ExifTags.IFD.Exif] = {
            tag: IFDRational(round(value * 1000), 1000) if isinstance(value, float) else value
            for tag, value in tags.items()
        }
    return made


def encoded(picture: Rgb | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """A picture file. JPEG and WebP at the best they can."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    best: dict[str, dict[str, object]] = {
        "JPEG": {"quality": 98, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
    }
    tags = options.get("exif")
    if kind == "TIFF" and isinstance(tags, Image.Exif):
        options = {"tiffinfo": _as_tiff_tags(tags)}
    out = BytesIO()
    image.save(out, kind, **{**best.get(kind, {}), **options})
    return out.getvalue()


def _as_tiff_tags(tags: Image.Exif) -> ImageFileDirectory_v2:
    """Pillow would leave the Exif IFD out."""
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    return directory


def zip_of(files: Mapping[str, bytes]) -> BytesIO:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    out.seek(0)
    return out
