"""The public header block of LAS and LAZ files (ASPRS LAS 1.0 to 1.4). Imports nothing heavy."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from services.ingest.clouds.errors import bad_cloud, check_claim, unsupported

HEADER_BYTES = 375
_POINT_BYTES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)
"""Least size of a point by its format (LAS 1.4 R15, table 7 onwards)."""
_VLR_BYTES = 54
_LAZ_BIT = 0x80


@dataclass(frozen=True)
class LasHeader:
    """What a first look needs of the public header block."""

    version: tuple[int, int]
    point_format: int
    point_bytes: int
    points_at: int
    points: int
    is_packed: bool


def read_las_header(file: BinaryIO, file_name: str) -> LasHeader:
    """Raises UserError if sizes and counts contradict each other or the file's length."""
    size_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if len(head) < 227:
        raise bad_cloud(f"{file_name} begins as a LAS file, but ends inside its header. Send the whole file again.")
    version = head[24], head[25]
    header_bytes, points_at, records = struct.unpack_from("<HLL", head, 94)
    format_byte, point_bytes, points = struct.unpack_from("<BHL", head, 104)
    if version[0] != 1 or version[1] > 4:
        raise unsupported(f"{file_name} is LAS {version[0]}.{version[1]}; versions 1.0 to 1.4 are read.")
    if version[1] == 4 and len(head) >= 255:
        points = struct.unpack_from("<Q", head, 247)[0] or points
    point_format = format_byte & 0x3F
    if point_format >= len(_POINT_BYTES):
        raise unsupported(f"{file_name} has LAS points of format {point_format}; formats 0 to 10 are read.")
    if point_bytes < _POINT_BYTES[point_format]:
        raise bad_cloud(
            f"{file_name}: the LAS header gives {point_bytes} bytes for a point of format {point_format}, which takes "
            f"{_POINT_BYTES[point_format]}. Export the cloud again."
        )
    if not header_bytes + records * _VLR_BYTES <= points_at <= size_bytes:
        raise bad_cloud(
            f"{file_name}: the LAS header says that {records:,} records lie before the points at byte {points_at:,} of "
            f"{size_bytes:,}, which cannot be. Send the file again."
        )
    check_claim(file_name, points, size_bytes)
    return LasHeader(version, point_format, point_bytes, points_at, points, bool(format_byte & _LAZ_BIT))
