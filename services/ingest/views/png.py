"""One PNG: what its header says, and whether all of it can be decoded.

Format: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", sections 5.2, 5.3 and 11.2.1.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.errors import ErrorCode, UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk, always the same. Pillow does not look at its checksum."""
_HEADER = struct.Struct(">8sI4sIIBB")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error)
"""What Pillow raises on files that end early, have a wrong checksum or break a rule of the format."""


class ColourType(IntEnum):
    """As in the header."""

    GREY = 0
    RGB = 2
    PALETTE = 3
    GREY_ALPHA = 4
    RGBA = 6


@dataclass(frozen=True)
class Header:
    """bits: of one channel; of the index where there is a palette."""

    width_px: int
    height_px: int
    bits: int
    colour: ColourType


def read_header(data: bytes, what: str) -> Header:
    """The header of a PNG; `what` names the file in sentences. Raises UserError (INVALID_IMAGE). Decodes nothing."""
    if not data:
        raise _bad(f"{what} is empty.")
    if not data.startswith(SIGNATURE):
        raise _bad(f"{what} is not a PNG image{_looks_like(data)}.")
    if len(data) < _HEADER.size:
        raise _bad(f"{what} is cut short: it ends within the header of a PNG.")
    _, length, kind, width_px, height_px, bits, colour = _HEADER.unpack_from(data)
    if kind != b"IHDR" or length != 13 or colour not in set(ColourType) or not (width_px and height_px):
        raise _bad(f"{what} is not a PNG image: its header is damaged.")
    return Header(width_px, height_px, bits, ColourType(colour))


def _looks_like(data: bytes) -> str:
    known = ((b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"))
    names = [name for start, name in known if data.startswith(start)]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        names.append("WebP")
    return f" but a {names[0]} by another name" if names else ""


def decode(data: bytes, what: str) -> NDArray[np.uint8 | np.uint16]:
    """The pixels (h, w) or (h, w, channels), with every checksum checked. 16-bit grey comes as uint16, everything else as uint8.

    Look at the header's size first: this takes memory for every pixel. Raises UserError (INVALID_IMAGE) for a file that is cut
    short or damaged.
    """
    if _END not in data:
        raise _damaged(what)
    try:
        # Twice, for the first checks every chunk and keeps no pixel, and the second keeps pixels and skips checksums.
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            return np.asarray(image)
    except _BROKEN as error:
        raise _damaged(what) from error


def _damaged(what: str) -> UserError:
    return _bad(f"{what} is cut short or damaged: not all of it can be decoded. Send the file again.")


def _bad(message: str) -> UserError:
    return UserError(ErrorCode.INVALID_IMAGE, message)
