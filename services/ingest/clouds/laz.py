"""Whether the packed points of a LAZ file can be what they claim.

The decoder takes sizes in the file at their word and memory for all of them at once; what asks for more than the file holds
is refused here. Source: LASzip specification (rapidlasso, 2.0): the LASzip record, the chunk table, layered chunks.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import lazrs  # type: ignore[import-untyped]

from contracts.errors import UserError
from services.ingest.clouds.errors import bad_cloud
from services.ingest.clouds.las_header import LasHeader

_PLACE, _TABLE, _ITEM = struct.Struct("<q"), struct.Struct("<2L"), struct.Struct("<3H")
_ITEMS_AT = 34
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}
"""Layers of an item in layered chunks, by its type: POINT14, RGB14, RGBNIR14, WAVEPACKET14."""
_BYTE14 = 14
_LAYERED = 3
"""Compressor number of layered chunks."""


def chunk_points(record: bytes) -> int:
    """Points in each chunk, as the LASzip record says."""
    return int(struct.unpack_from("<L", record, 12)[0]) if len(record) >= _ITEMS_AT else 0


def check_packing(path: Path, file_name: str, header: LasHeader, record: bytes) -> None:
    """Compare chunks and their layers with the file's length. Raises UserError; RuntimeError from the table's decoder."""
    items = _items(record)
    if sum(size for _, size in items) != header.point_bytes:
        raise _damaged(file_name, "the record that describes the packing does not fit its points")
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        table_at = _find_table(file, header, size_bytes)
        if table_at is None:
            raise _damaged(file_name, "the table of its packed points is missing or damaged")
        file.seek(header.points_at)
        table = lazrs.read_chunk_table(file, lazrs.LazVlr(record))
        at = header.points_at + _PLACE.size
        layers = _count_layers(record, items)
        if sum(points for points, _ in table) < header.points:
            raise _damaged(file_name, "its chunks hold fewer points than it has")
        for _, packed_bytes in table:
            if packed_bytes > table_at - at:
                raise _damaged(file_name, f"a chunk of its packed points would take {packed_bytes:,} bytes")
            if layers:
                file.seek(at + header.point_bytes + 4)
                sizes = file.read(4 * layers).ljust(4 * layers, b"\0")
                if sum(struct.unpack(f"<{layers}L", sizes)) > packed_bytes:
                    raise _damaged(file_name, f"the layers of a chunk do not fit into its {packed_bytes:,} bytes")
            at += packed_bytes


def _items(record: bytes) -> list[tuple[int, int]]:
    """Type and size of each part of a point."""
    count = struct.unpack_from("<H", record, 32)[0] if len(record) >= _ITEMS_AT else 0
    if len(record) < _ITEMS_AT + count * _ITEM.size:
        return []
    found = [_ITEM.unpack_from(record, _ITEMS_AT + place * _ITEM.size) for place in range(count)]
    return [(kind, size) for kind, size, _ in found]


def _count_layers(record: bytes, items: list[tuple[int, int]]) -> int:
    if struct.unpack_from("<H", record)[0] != _LAYERED:
        return 0
    return sum(size if kind == _BYTE14 else _LAYERS.get(kind, 0) for kind, size in items)


def _find_table(file: BinaryIO, header: LasHeader, size_bytes: int) -> int | None:
    """Where the chunk table begins, if it is within the file and not longer than its chunks can be.

    Its place stands before the points; -1 if the writer could not go back: then at the end of the file.
    """
    file.seek(header.points_at)
    (table_at,) = _PLACE.unpack(file.read(_PLACE.size).ljust(_PLACE.size, b"\0"))
    if table_at == -1 and size_bytes >= _PLACE.size:
        file.seek(size_bytes - _PLACE.size)
        (table_at,) = _PLACE.unpack(file.read(_PLACE.size))
    if not header.points_at + _PLACE.size <= table_at <= size_bytes - _TABLE.size:
        return None
    file.seek(table_at)
    _, chunks = _TABLE.unpack(file.read(_TABLE.size))
    # Each chunk begins with a point that is not packed.
    most = min(header.points, (table_at - header.points_at) // header.point_bytes)
    return int(table_at) if chunks <= most else None


def _damaged(file_name: str, what: str) -> UserError:
    return bad_cloud(f"{file_name}: {what}; the file is damaged or cut off. Send it again.")
