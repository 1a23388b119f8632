"""Whether an upload holds six views and six depth renders that an object can be made of.

One picture is in memory at a time, and only after its header has told that it fits.
"""

import zipfile
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from contracts.errors import AlidadeError, ErrorCode, UserError
from contracts.object_files import DEPTHS_FIELD, VIEWS_FIELD, stored_name
from contracts.object_settings import VIEWS
from services.ingest.views.png import ColourType, Header, decode, read_header

MIN_SIDE_PX = 16
MAX_SIDE_PX = 4096
MAX_FILE_BYTES = 64 << 20
"""More than the gateway takes by default; no more than this is ever read of one file."""
_NAMES = {VIEWS_FIELD: "View", DEPTHS_FIELD: "Depth render"}


@dataclass(frozen=True)
class _Place:
    """A file of the upload: its field, its place in it from 0, and its name as it was sent."""

    field: str
    index: int
    sent_as: str

    @property
    def what(self) -> str:
        """For sentences."""
        name = f" ({self.sent_as})" if self.sent_as else ""
        return f"{_NAMES[self.field]} {self.index + 1}{name}"


def inspect_views(file: BinaryIO) -> tuple[str, ...]:
    """The names under which the pictures are stored, in upload order.

    Raises UserError: INVALID_IMAGE for what is no PNG or no whole one, TOO_LARGE for too many pixels, UNSUPPORTED_FORMAT and
    INVALID_DEPTH for pictures that cannot be used; its `field` is the form's. AlidadeError if the upload itself is not as the
    gateway writes it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for field in (VIEWS_FIELD, DEPTHS_FIELD):
                _inspect_field(archive, field)
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, KeyError) as error:
        raise AlidadeError(f"The stored upload is no archive of views: {error}.") from error


def _inspect_field(archive: zipfile.ZipFile, field: str) -> None:
    first: Header | None = None
    for index in range(VIEWS):
        info = archive.getinfo(stored_name(field, index))
        place = _Place(field, index, info.comment.decode(errors="replace"))
        try:
            header = _inspect_picture(archive, info, place)
        except UserError as error:
            raise UserError(error.code, error.message, field=field) from error
        if first is not None and (header.width_px, header.height_px) != (first.width_px, first.height_px):
            raise UserError(
                _unusable(field),
                f"{place.what} is {header.width_px} x {header.height_px} and {_NAMES[field].lower()} 1 is "
                f"{first.width_px} x {first.height_px}: all six must have one size.",
                field=field,
            )
        first = first or header


def _inspect_picture(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: _Place) -> Header:
    if not place.sent_as.lower().endswith(".png"):
        raise UserError(ErrorCode.INVALID_IMAGE, f"{place.what} has a name that does not end in .png.")
    if info.file_size > MAX_FILE_BYTES:
        raise UserError(ErrorCode.TOO_LARGE, f"{place.what} has {info.file_size >> 20} MB, too many to be looked into.")
    data = archive.read(info)
    header = read_header(data, place.what)
    _refuse_size(header, place)
    if place.field == VIEWS_FIELD:
        _refuse_bits(header, place)
        decode(data, place.what)
    else:
        _inspect_depth(data, header, place)
    return header


def _refuse_size(header: Header, place: _Place) -> None:
    size = f"{place.what} is {header.width_px} x {header.height_px} pixels"
    if min(header.width_px, header.height_px) < MIN_SIDE_PX:
        raise UserError(
            _unusable(place.field), f"{size}, too small to show an object: each side needs {MIN_SIDE_PX} or more."
        )
    if max(header.width_px, header.height_px) > MAX_SIDE_PX:
        raise UserError(ErrorCode.TOO_LARGE, f"{size}: at most {MAX_SIDE_PX} on each side are taken.")


def _refuse_bits(header: Header, place: _Place) -> None:
    if header.bits not in {8, 16} and header.colour is not ColourType.PALETTE:
        raise UserError(
            _unusable(place.field), f"{place.what} has {header.bits} bits a channel: save it with 8 or 16 bits."
        )


def _inspect_depth(data: bytes, header: Header, place: _Place) -> None:
    _refuse_bits(header, place)
    if header.colour is ColourType.PALETTE or (header.bits == 16 and header.colour is not ColourType.GREY):
        kind = "palette image" if header.colour is ColourType.PALETTE else "16-bit image of several channels"
        raise _bad_depth(f"{place.what} is a {kind}: save depth as a grey PNG of 8 or 16 bits.")
    pixels = decode(data, place.what)
    # Many renderers store grey three times over.
    if header.colour in {ColourType.RGB, ColourType.RGBA} and not (pixels[..., :1] == pixels[..., :3]).all():
        raise _bad_depth(f"{place.what} is in colour: save depth as a grey PNG of 8 or 16 bits.")
    values = pixels if pixels.ndim == 2 else pixels[..., 0]
    low, high = int(values.min()), int(values.max())
    if low == high and high in {0, int(np.iinfo(values.dtype).max)}:
        raise _bad_depth(f"{place.what} shows no object: all of it is background ({low}).")


def _unusable(field: str) -> ErrorCode:
    return ErrorCode.INVALID_DEPTH if field == DEPTHS_FIELD else ErrorCode.UNSUPPORTED_FORMAT


def _bad_depth(message: str) -> UserError:
    return UserError(ErrorCode.INVALID_DEPTH, message)
