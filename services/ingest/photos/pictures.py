"""One photograph: from the bytes of any of the seven types to an upright picture of 8-bit RGB."""

import contextlib
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from contracts.errors import AlidadeError, ErrorCode, UserError
from services.ingest.photos.exif import UPRIGHT, CameraTags, read_tags

MAX_SIDE_PX = 32_768
MAX_PIXELS = 200_000_000
"""As many as the largest sensors of phones have."""
MAX_SCANS = 200
"""Of a JPEG, which may ask for thousands of passes over all its pixels. Cameras write up to about 30."""
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of an EXIF orientation upright."""
_JPEGS = ("JPEG", "MPO")
"""Pillow's names. Phones write several JPEG pictures into one file (MPO); the first is the photograph."""
_JPEG_QUALITY = 98
_PNG_DEPTH_AT = 24
_JPEG_SCAN = b"\xff\xda"
_READING = threading.Lock()
"""Pillow's limit is one for the whole process."""


class UnreadablePicture(AlidadeError):
    """The file is no picture of a known type, or is damaged or cut short."""

    code = ErrorCode.INVALID_IMAGE


@dataclass(frozen=True)
class UprightPicture:
    """A decoded photograph."""

    rgb: npt.NDArray[np.uint8]
    """(h, w, 3), upright."""
    tags: CameraTags
    suffix: str
    """Of the file that `encoded` is."""
    encoded: bytes
    """Shows `rgb`: the file as it came where that does, else made anew. A JPEG stays one."""


def read_upright(data: bytes, name: str) -> UprightPicture:
    """Decode a photograph, turn it upright, and bring it to 8-bit RGB, transparent places on white.

    The first picture of a file that has several. Raises UnreadablePicture; UserError UNSAFE_ARCHIVE if the picture
    would take absurd memory or time, before that is spent.
    """
    try:
        with _without_pillows_guard():
            return _read(data, name)
    except (AlidadeError, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged files
        raise UnreadablePicture(f"{name} cannot be decoded: {error or type(error).__name__}.") from error


def _read(data: bytes, name: str) -> UprightPicture:
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        check_size(*image.size, name)
        _check_scans(image, data, name)
        image.load()
        # Of the decoded picture: PNG may keep its tags at the end, and Pillow turns TIFF upright by itself.
        tags = read_tags(image)
        rgb_image = _to_rgb(image)
        is_whole = tags.orientation == UPRIGHT and _is_plain(image, data)
        encode, suffix = (_jpeg, ".jpg") if image.format in _JPEGS else (_png, ".png")
    if tags.orientation != UPRIGHT:
        rgb_image = rgb_image.transpose(_TURNS[tags.orientation])
    return UprightPicture(np.asarray(rgb_image), tags, suffix, data if is_whole else encode(rgb_image))


def check_size(width_px: int, height_px: int, name: str) -> None:
    """Raise UserError UNSAFE_ARCHIVE when a picture's declared size is absurd."""
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_PIXELS:
        raise UserError(
            ErrorCode.UNSAFE_ARCHIVE,
            f"{name} declares {width_px:,} x {height_px:,} pixels; at most {MAX_SIDE_PX:,} a side and {MAX_PIXELS:,} "
            "in all are accepted. Leave it out, or make it smaller.",
            field=name,
        )


@contextlib.contextmanager
def _without_pillows_guard() -> Iterator[None]:
    """Pillow's own limit lies below what phones take, and is a warning at first: ours takes its place."""
    with _READING:
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = guard


def _check_scans(image: Image.Image, data: bytes, name: str) -> None:
    if image.format in _JPEGS and (scans := data.count(_JPEG_SCAN)) > MAX_SCANS:
        raise UserError(
            ErrorCode.UNSAFE_ARCHIVE,
            f"{name} is a JPEG of {scans} scans; at most {MAX_SCANS} are accepted. Leave it out, or save it anew.",
            field=name,
        )


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether every reader sees in the file what we do: 8-bit RGB, one picture or the first one, no transparency."""
    if image.mode != "RGB":
        return False
    if image.format in _JPEGS:
        return True
    is_animated: bool = getattr(image, "is_animated", False)
    return image.format == "PNG" and data[_PNG_DEPTH_AT] == 8 and "transparency" not in image.info and not is_animated


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if image.has_transparency_data:
        with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
        on_white = Image.new("RGB", image.size, "white")
        on_white.paste(with_alpha.convert("RGB"), mask=with_alpha.getchannel("A"))
        return on_white
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """From 16 bits over their full range; from floating point, or more bits, over the range that the picture uses."""
    values = np.asarray(image)
    white = 65535.0
    if image.mode == "F" or values.max() > white or values.min() < 0:
        if not np.isfinite(values).all():
            raise UnreadablePicture("The picture holds values that are no numbers.")
        values = values - values.min()
        white = max(float(values.max()), 1e-12)
    grey = np.rint(values.astype(np.float32) * np.float32(255.0 / white)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _jpeg(image: Image.Image) -> bytes:
    """With colours at full resolution: what was lossy once shall lose next to nothing more."""
    out = BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return out.getvalue()


def _png(image: Image.Image) -> bytes:
    """Fast rather than small: run lengths take half the time of deflate's own choice, at about the same size."""
    out = BytesIO()
    image.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()
