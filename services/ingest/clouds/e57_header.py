"""The header and the XML part of E57 files (ASTM E2807), at a glance. Imports nothing heavy."""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from services.ingest.clouds.errors import bad_cloud, check_claim

HEADER_BYTES = 48
MAX_XML_BYTES = 64 << 20
_GLANCE_BYTES = 1 << 20
_PAGE_BYTES = 1024
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class E57Header:
    points: int | None
    """Of all scans; None if their list is too long for a glance."""


def read_e57_header(file: BinaryIO, file_name: str) -> E57Header:
    """The file header and, by a glance at the XML part, the count of points. Raises UserError."""
    size_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise bad_cloud(f"{file_name} begins as an E57 file, but ends inside its header. Send the whole file again.")
    length, xml_at, xml_bytes, page_bytes = struct.unpack_from("<4Q", head, 16)
    if length != size_bytes:
        raise bad_cloud(
            f"{file_name} should have {length:,} bytes by its header and has {size_bytes:,}: it was cut off or damaged "
            "while it was copied. Send it again."
        )
    if page_bytes != _PAGE_BYTES or xml_bytes > MAX_XML_BYTES or not HEADER_BYTES <= xml_at < size_bytes:
        raise bad_cloud(f"{file_name}: the E57 header is damaged. Export the cloud again.")
    if xml_bytes > _GLANCE_BYTES:
        return E57Header(None)
    counts = re.findall(rb"<points\b[^>]{0,400}\brecordCount=[\"'](\d{1,19})[\"']", _read_xml(file, xml_at, xml_bytes))
    points = sum(map(int, counts))
    check_claim(file_name, points, size_bytes)
    return E57Header(points)


def _read_xml(file: BinaryIO, xml_at: int, xml_bytes: int) -> bytes:
    """A part of the file without the checksums at each page's end."""
    first = xml_at // _PAGE_BYTES
    file.seek(first * _PAGE_BYTES)
    pages = file.read((xml_bytes // (_PAGE_BYTES - _CHECKSUM_BYTES) + 2) * _PAGE_BYTES)
    plain = b"".join(pages[at : at + _PAGE_BYTES - _CHECKSUM_BYTES] for at in range(0, len(pages), _PAGE_BYTES))
    begin = xml_at - first * _PAGE_BYTES
    return plain[begin : begin + xml_bytes]
