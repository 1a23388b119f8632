"""Picture files: safe reading of PNG, JPEG and EXR from untrusted bytes, and fast writing of PNG."""

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from contracts.errors import ErrorCode, UserError

Bytes8 = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
"""(h, w, 3) RGB or (h, w) grey: uint8 or uint16 encoded over the full range, or float32 scene-linear."""

MAX_SIDE_PX = 16384
MAX_PIXELS = 64 << 20
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
# Run lengths of horizontal differences: half the time of cv2's own choice at about the same size.
_PNG_FAST = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_SUB,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)


@dataclass(frozen=True)
class Header:
    """What a picture file says about itself before anything is decoded."""

    codec: str
    width_px: int
    height_px: int
    bit_depth: int


def check_size(width_px: int, height_px: int, code: ErrorCode, name: str) -> None:
    """Raise UserError with `code` when a picture's declared size is absurd."""
    if not (0 < width_px <= MAX_SIDE_PX and 0 < height_px <= MAX_SIDE_PX and width_px * height_px <= MAX_PIXELS):
        raise UserError(
            code,
            f"{name} declares {width_px}x{height_px} pixels; at most {MAX_SIDE_PX} a side and {MAX_PIXELS} in all "
            "are accepted.",
            field=name,
        )


def read_header(data: bytes, name: str, code: ErrorCode = ErrorCode.INVALID_IMAGE) -> Header:
    """Format, size and depth from the first bytes. Raises UserError with `code` when it is no picture we read."""
    header = None
    if data[:8] == _PNG_MAGIC and len(data) >= 25 and data[12:16] == b"IHDR":
        width_px, height_px, bit_depth = struct.unpack(">IIB", data[16:25])
        header = Header("png", width_px, height_px, bit_depth)
    elif data[:3] == b"\xff\xd8\xff":
        header = _jpeg_header(data)
    elif data[:4] == _EXR_MAGIC:
        header = _exr_header(data, name)
    if header is None:
        raise UserError(code, f"{name} is not a PNG, JPEG or EXR picture, or its header is damaged.", field=name)
    check_size(header.width_px, header.height_px, code, name)
    return header


def read_picture(data: bytes, name: str) -> Picture:
    """Decode into (h, w, 3) RGB: uint8, uint16, or float32 for EXR. EXIF rotation is not applied.

    Raises UserError INVALID_IMAGE naming the file.
    """
    header = read_header(data, name)
    if header.codec == "exr":
        return _read_exr(data, name)
    whole = header.codec != "jpeg" or b"\xff\xd9" in data[-4096:]
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise _damaged(name)
    conversions = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    channels = 2 if decoded.ndim == 2 else decoded.shape[2]
    rgb = cv2.cvtColor(decoded, conversions[channels])
    return rgb.astype(np.uint16) if rgb.dtype == np.uint16 else rgb.astype(np.uint8, copy=False)


def write_png(path: Path, picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write (h, w) grey or (h, w, 3) RGB, 8 or 16 bit, fast rather than small."""
    rows = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    ok, encoded = cv2.imencode(".png", rows, _PNG_FAST)
    if not ok:
        raise RuntimeError(f"cannot encode {path.name}")
    path.write_bytes(encoded.tobytes())


def _damaged(name: str) -> UserError:
    return UserError(ErrorCode.INVALID_IMAGE, f"{name} is damaged and cannot be decoded.", field=name)


def _jpeg_header(data: bytes) -> Header | None:
    """Walk the marker segments up to the frame header (ITU-T T.81, annex B)."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            bit_depth, height_px, width_px = struct.unpack(">BHH", data[at + 4 : at + 9])
            return Header("jpeg", width_px, height_px, bit_depth)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _exr_header(data: bytes, name: str) -> Header:
    # Imported here: only captures with EXR pictures need it.
    import OpenEXR  # noqa: PLC0415

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        try:
            window = OpenEXR.File(file.name, header_only=True).header()["dataWindow"]
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise _damaged(name) from error
    (left, top), (right, bottom) = window
    return Header("exr", int(right) - int(left) + 1, int(bottom) - int(top) + 1, 16)


def _read_exr(data: bytes, name: str) -> npt.NDArray[np.float32]:
    import OpenEXR  # noqa: PLC0415

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        try:
            channels = OpenEXR.File(file.name, separate_channels=True).channels()
            planes = [np.asarray(channels[key].pixels, dtype=np.float32) for key in "RGB"]
        except (RuntimeError, ValueError, TypeError) as error:
            raise _damaged(name) from error
        except KeyError as error:
            found = ", ".join(sorted(channels))
            raise UserError(
                ErrorCode.INVALID_IMAGE, f"{name} has the channels {found}; R, G and B are needed.", field=name
            ) from error
    if len({plane.shape for plane in planes}) != 1 or planes[0].ndim != 2:
        raise _damaged(name)
    return np.nan_to_num(np.stack(planes, axis=-1), nan=0.0, posinf=65504.0, neginf=0.0)


def grey_8bit(picture: Picture, longest_side_px: int) -> Bytes8:
    """A small grey copy, (h', w') uint8; scene-linear pictures get a plain gamma first."""
    small = shrink(picture, longest_side_px)
    if small.dtype == np.float32:
        display = np.clip(small.astype(np.float32, copy=False), 0, 1) ** np.float32(1 / 2.2) * np.float32(255)
    else:
        display = small.astype(np.float32) / np.float32(255 if small.dtype == np.uint8 else 65535) * np.float32(255)
    grey = cv2.cvtColor(display.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.asarray(np.rint(grey), dtype=np.uint8)


def to_8bit(picture: Picture) -> Bytes8:
    """Full-range 16-bit values rounded to 8 bits; 8-bit pictures as they are."""
    if picture.dtype == np.uint8:
        return picture.astype(np.uint8, copy=False)
    return np.asarray(cv2.convertScaleAbs(picture, alpha=255 / 65535), dtype=np.uint8)


def shrink(picture: Picture, longest_side_px: int) -> Picture:
    """Area-averaged copy, (h', w') or (h', w', 3), whose longer side is at most `longest_side_px`."""
    height_px, width_px = picture.shape[:2]
    factor = longest_side_px / max(height_px, width_px)
    if factor >= 1:
        return picture
    size = (max(1, round(width_px * factor)), max(1, round(height_px * factor)))
    return _as_picture(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def turn(picture: Picture, clockwise_deg: Literal[0, 90, 180, 270]) -> Picture:
    """Rotate a picture by quarter turns."""
    return picture if clockwise_deg == 0 else _as_picture(cv2.rotate(picture, _TURNS[clockwise_deg]))


def _as_picture(array: object) -> Picture:
    """cv2 keeps the element type; this says so to the type checker."""
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16, np.float32):
        raise TypeError(f"not a picture: {type(array).__name__}")
    return array
