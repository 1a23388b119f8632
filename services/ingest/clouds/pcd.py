"""PCD, the point cloud file of the Point Cloud Library, version 0.7: ascii, binary and binary_compressed."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from services.ingest.clouds.colours import colours_as_declared, unpack_colours
from services.ingest.clouds.dialects import Dialect
from services.ingest.clouds.errors import bad_cloud, check_claim
from services.ingest.clouds.lzf import LzfError, decompress
from services.ingest.clouds.pcd_header import PcdField, PcdHeader, read_pcd_header
from services.ingest.clouds.source import PIECE_POINTS, Bools, Colours, Floats, Notes, Piece, Reading
from services.ingest.clouds.text import Layout, TextReader

_PIECE_BYTES = 32 << 20
_PACKED = ("rgb", "rgba")
_TRIPLES = (("r", "g", "b"), ("red", "green", "blue"))
_INTENSITIES = ("intensity", "i", "reflectivity", "reflectance", "remission")
_SPACES = Dialect(" ")


def read_pcd(file: BinaryIO, file_name: str, scratch: Path, notes: Notes) -> Reading:
    """Open a PCD file. Compressed points are unpacked into a file in `scratch`. Raises UserError."""
    header = read_pcd_header(file, file_name)
    size_bytes = file.seek(0, 2)
    check_claim(file_name, header.points, size_bytes)
    file.seek(header.body_at)
    reading = Reading(iter(()), header.points, bytes_total=size_bytes)
    if header.viewpoint is not None:
        reading.scanners.append(np.array(header.viewpoint))
    if header.encoding == "ascii":
        reading.pieces = _text_pieces(file, file_name, header, notes)
    elif header.encoding == "binary":
        reading.pieces = _binary_pieces(file, header, notes)
    else:
        reading.pieces = _compressed_pieces(file, file_name, header, scratch)
    return reading


def _row_type(header: PcdHeader) -> np.dtype[np.void]:
    return np.dtype([(f"p{place}", field.type, (field.count,)) for place, field in enumerate(header.fields)])


def _binary_pieces(file: BinaryIO, header: PcdHeader, notes: Notes) -> Iterator[Piece]:
    row_type = _row_type(header)
    per_piece = min(PIECE_POINTS, _PIECE_BYTES // row_type.itemsize)
    found = 0
    while found < header.points:
        block = file.read(min(per_piece, header.points - found) * row_type.itemsize)
        rows = np.frombuffer(block, dtype=row_type, count=len(block) // row_type.itemsize)
        if not len(rows):
            break
        found += len(rows)
        by_name = {field.name: rows[f"p{place}"][:, 0] for place, field in enumerate(header.fields)}
        yield _to_piece(by_name)
    _warn_if_short(notes, header.points, found)


def _compressed_pieces(file: BinaryIO, file_name: str, header: PcdHeader, scratch: Path) -> Iterator[Piece]:
    """Unpacked, the body is field after field: each a whole column."""
    sizes = file.read(8)
    packed_bytes, plain_bytes = (int(each) for each in np.frombuffer(sizes.ljust(8, b"\0"), dtype="<u4"))
    expected = header.points * header.point_bytes
    if plain_bytes != expected:
        raise bad_cloud(
            f"{file_name}: the compressed points unpack to {plain_bytes:,} bytes, but {header.points:,} points take "
            f"{expected:,}. Export the cloud again."
        )
    with tempfile.TemporaryFile(dir=scratch) as plain:
        try:
            decompress(file, packed_bytes, plain, plain_bytes)
        except LzfError as error:
            raise bad_cloud(
                f"{file_name}: the compressed points are damaged: {error}. Send the file again, or save it as binary PCD."
            ) from error
        begins = np.cumsum([0, *(field.size_bytes * header.points for field in header.fields)]).tolist()
        for first in range(0, header.points, PIECE_POINTS):
            count = min(PIECE_POINTS, header.points - first)
            by_name: dict[str, npt.NDArray[np.generic]] = {}
            for field, begin in zip(header.fields, begins, strict=False):
                if field.name in _WANTED:
                    plain.seek(begin + first * field.size_bytes)
                    column = np.frombuffer(plain.read(count * field.size_bytes), dtype=field.type)
                    by_name[field.name] = column.reshape(count, field.count)[:, 0]
            yield _to_piece(by_name)


_WANTED = frozenset({"x", "y", "z", *_PACKED, *_INTENSITIES, *(name for triple in _TRIPLES for name in triple)})


def _to_piece(by_name: dict[str, npt.NDArray[np.generic]]) -> Piece:
    xyz = np.stack([by_name[name].astype(np.float64) for name in ("x", "y", "z")])
    intensity = next((by_name[name].astype(np.float32) for name in _INTENSITIES if name in by_name), None)
    # Organised clouds say so where nothing came back.
    no_return: Bools = np.logical_or.reduce(np.isnan(xyz))
    return Piece(xyz, no_return, _colours(by_name), intensity)


def _colours(by_name: dict[str, npt.NDArray[np.generic]]) -> Colours | None:
    for name in _PACKED:
        if name in by_name and by_name[name].dtype.itemsize == 4:
            return unpack_colours(np.ascontiguousarray(by_name[name]).view("<u4"))
    for triple in _TRIPLES:
        if all(name in by_name for name in triple):
            columns = [by_name[name] for name in triple]
            types = {column.dtype.str[1:] for column in columns}
            return colours_as_declared(np.stack(columns), types.pop() if len(types) == 1 else "f8")
    return None


def _text_pieces(file: BinaryIO, file_name: str, header: PcdHeader, notes: Notes) -> Iterator[Piece]:
    reader = TextReader(file, file_name, header.lines + 1)
    fields = [field for field in header.fields if field.name in _WANTED and field.name not in ("x", "y", "z")]
    axes = [header.find(name) for name in ("x", "y", "z")]
    wanted = [field for field in axes if field is not None] + fields
    layout = Layout(_SPACES, tuple(field.first_column for field in wanted))
    whole = _written_whole(reader, wanted)
    left = header.points
    while left:
        rows = reader.read_rows(min(left, PIECE_POINTS), layout)
        if rows.ended and not rows.values.shape[1]:
            break
        if rows.values.shape[1]:
            yield _to_piece(
                {
                    field.name: _as_stored(column, field, column_is_whole)
                    for field, column, column_is_whole in zip(wanted, rows.values, whole, strict=True)
                }
            )
        left -= rows.values.shape[1]
    bad = reader.finish()
    if bad:
        notes.warn(f"{bad:,} points are not rows of numbers and were left out; the first is {reader.first_bad}.")
    _warn_if_short(notes, header.points, header.points - left)


def _written_whole(reader: TextReader, wanted: Sequence[PcdField]) -> list[bool]:
    """Which values of the first line have neither point nor exponent."""
    line = reader.line()
    if line is None:
        return [False] * len(wanted)
    reader.unread()
    values = _SPACES.split(line)
    return [field.first_column < len(values) and values[field.first_column].isdigit() for field in wanted]


def _as_stored(column: Floats, field: PcdField, is_whole: bool) -> npt.NDArray[np.generic]:
    """Text to what a binary file would hold. Packed colours are written as the number whose float they fill, or as it is."""
    if field.name not in _PACKED:
        return column
    if field.type == "<f4" and not is_whole:
        return np.clip(column, -3.4e38, 3.4e38).astype(np.float32)
    return np.clip(np.nan_to_num(column, nan=0.0), 0, 2**32 - 1).astype(np.uint32)


def _warn_if_short(notes: Notes, declared: int, found: int) -> None:
    if found < declared:
        notes.warn(
            f"The header says that there are {declared:,} points, but only {found:,} are in the file: it was probably cut "
            "off while it was copied. What is there was used."
        )
