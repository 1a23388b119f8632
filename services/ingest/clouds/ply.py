"""PLY, the Stanford polygon file format (G. Turk, 1994): text, little and big endian, with whatever properties.

Only vertices are read: faces and other elements are passed over, and so are lists.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from services.ingest.clouds.colours import colours_as_declared
from services.ingest.clouds.dialects import Dialect, to_float
from services.ingest.clouds.errors import check_claim
from services.ingest.clouds.ply_header import Element, PlyHeader, read_ply_header
from services.ingest.clouds.source import PIECE_POINTS, Floats, Notes, Piece, Reading
from services.ingest.clouds.text import Layout, Rows, TextReader

_PIECE_BYTES = 32 << 20
_COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_INTENSITIES = (
    "intensity", "scalar_intensity", "reflectance", "scalar_reflectance", "reflectivity", "remission", "i",
    "scalar_scalar_field", "scalar",
)  # fmt: skip
_SPACES = Dialect(" ")


@dataclass(frozen=True)
class _Wanted:
    """Places among the vertices' scalars."""

    xyz: tuple[int, int, int]
    rgb: tuple[int, int, int] | None
    intensity: int | None
    rgb_type: str
    """numpy's name of the least exact of the three."""


def read_ply(file: BinaryIO, file_name: str, notes: Notes) -> Reading:
    """Open a PLY file. Raises UserError if its header cannot be used."""
    header = read_ply_header(file, file_name)
    size_bytes = file.seek(0, 2)
    check_claim(file_name, header.vertices.count, size_bytes)
    file.seek(header.body_at)
    wanted = _find_wanted(header.vertices)
    reading = Reading(iter(()), header.vertices.count, bytes_total=size_bytes)
    if header.encoding == "ascii":
        reading.pieces = _text_pieces(file, file_name, header, wanted, notes)
    else:
        reading.pieces = _binary_pieces(file, size_bytes, header, wanted, notes)
    return reading


def _find_wanted(vertices: Element) -> _Wanted:
    names = [each.name for each in vertices.scalars]
    rgb = None
    rgb_type = ""
    for triple in _COLOURS:
        if all(name in names for name in triple):
            rgb = names.index(triple[0]), names.index(triple[1]), names.index(triple[2])
            types = {vertices.scalars[place].type for place in rgb}
            rgb_type = types.pop() if len(types) == 1 else "f8"
            break
    intensity = next((names.index(name) for name in _INTENSITIES if name in names), None)
    return _Wanted((names.index("x"), names.index("y"), names.index("z")), rgb, intensity, rgb_type)


def _to_piece(columns: Sequence[npt.NDArray[np.generic]], wanted: _Wanted) -> Piece:
    """Columns of all scalars of some vertices, (n,) each."""
    xyz = np.empty((3, len(columns[0])))
    for axis, place in enumerate(wanted.xyz):
        xyz[axis] = columns[place]
    colours = None
    if wanted.rgb is not None:
        colours = colours_as_declared(np.stack([columns[place] for place in wanted.rgb]), wanted.rgb_type)
    intensity = None if wanted.intensity is None else columns[wanted.intensity].astype(np.float32)
    return Piece(xyz, None, colours, intensity)


def _warn_if_short(notes: Notes, declared: int, found: int) -> None:
    if found < declared:
        notes.warn(
            f"The header says that there are {declared:,} points, but only {found:,} are in the file: it was probably cut "
            "off while it was copied. What is there was used."
        )


def _binary_pieces(
    file: BinaryIO, size_bytes: int, header: PlyHeader, wanted: _Wanted, notes: Notes
) -> Iterator[Piece]:
    order = header.encoding
    for element in itertools.takewhile(lambda each: each is not header.vertices, header.elements):
        if element.has_lists:
            for _ in _walk(file, element, order):
                pass
        else:
            file.seek(min(file.tell() + element.count * _row_type(element, order).itemsize, size_bytes))
    vertices = header.vertices
    row_type = _row_type(vertices, order)
    blocks = _walked_blocks(file, vertices, order) if vertices.has_lists else _blocks(file, vertices.count, row_type)
    found = 0
    for block in blocks:
        rows = np.frombuffer(block, dtype=row_type, count=len(block) // row_type.itemsize)
        if len(rows):
            found += len(rows)
            yield _to_piece([rows[name] for name in row_type.names or ()], wanted)
    _warn_if_short(notes, vertices.count, found)


def _row_type(element: Element, order: str) -> np.dtype[np.void]:
    """A row without its lists."""
    return np.dtype([(f"p{place}", order + each.type) for place, each in enumerate(element.scalars)])


def _blocks(file: BinaryIO, count: int, row_type: np.dtype[np.void]) -> Iterator[bytes]:
    rows = min(PIECE_POINTS, _PIECE_BYTES // row_type.itemsize)
    while count > 0:
        block = file.read(min(rows, count) * row_type.itemsize)
        if not block:
            return
        yield block
        count -= rows


def _walked_blocks(file: BinaryIO, element: Element, order: str) -> Iterator[bytes]:
    rows = _walk(file, element, order)
    while chunk := b"".join(itertools.islice(rows, PIECE_POINTS)):
        yield chunk


def _walk(file: BinaryIO, element: Element, order: str) -> Iterator[bytes]:
    """Each row's scalars, until the element or the file ends. Lists make rows of different lengths: no faster way."""
    steps: list[tuple[int, struct.Struct | None, int]] = []
    for is_list, group in itertools.groupby(element.properties, lambda each: each.count_type is not None):
        if is_list:
            steps += [(0, _struct(order, each.count_type or ""), int(each.type[1])) for each in group]
        else:
            steps.append((sum(int(each.type[1]) for each in group), None, 0))
    for _ in range(element.count):
        scalars = b""
        for size_bytes, count_struct, item_bytes in steps:
            if count_struct is None:
                values = file.read(size_bytes)
                if len(values) < size_bytes:
                    return
                scalars += values
                continue
            count = file.read(count_struct.size)
            if len(count) < count_struct.size:
                return
            (length,) = count_struct.unpack(count)
            if not 0 <= length <= 2**40:
                return
            file.seek(int(length) * item_bytes, 1)
        yield scalars


def _struct(order: str, value_type: str) -> struct.Struct:
    codes = {
        "i1": "b",
        "u1": "B",
        "i2": "h",
        "u2": "H",
        "i4": "i",
        "u4": "I",
        "i8": "q",
        "u8": "Q",
        "f4": "f",
        "f8": "d",
    }
    return struct.Struct(order + codes[value_type])


def _text_pieces(file: BinaryIO, file_name: str, header: PlyHeader, wanted: _Wanted, notes: Notes) -> Iterator[Piece]:
    reader = TextReader(file, file_name, header.lines + 1)
    for element in itertools.takewhile(lambda each: each is not header.vertices, header.elements):
        for _ in range(element.count):
            if reader.line() is None:
                break
    vertices = header.vertices
    places = (*wanted.xyz, *(wanted.rgb or ()), *(() if wanted.intensity is None else (wanted.intensity,)))
    layout = Layout(_SPACES, places)
    # The columns of a row that was read are the wanted ones, one after the other.
    read_as = _Wanted(
        (0, 1, 2),
        None if wanted.rgb is None else (3, 4, 5),
        None if wanted.intensity is None else len(places) - 1,
        wanted.rgb_type,
    )
    left = vertices.count
    while left:
        limit = min(left, PIECE_POINTS)
        rows = _listed_rows(reader, vertices, places, limit) if vertices.has_lists else reader.read_rows(limit, layout)
        if rows.ended and not rows.values.shape[1]:
            break
        if rows.values.shape[1]:
            yield _to_piece(list(rows.values), read_as)
        left -= rows.values.shape[1]
    bad = reader.finish()
    if bad:
        notes.warn(f"{bad:,} vertices are not rows of numbers and were left out; the first is {reader.first_bad}.")
    _warn_if_short(notes, vertices.count, vertices.count - left)


def _listed_rows(reader: TextReader, element: Element, places: Sequence[int], limit: int) -> Rows:
    """Rows of text in which lists stand between the values."""
    rows: list[list[float]] = []
    while len(rows) < limit and (line := reader.line()) is not None:
        if line.strip():
            scalars = _scalars(_SPACES.split(line), element)
            rows.append([scalars[place] if place < len(scalars) else np.nan for place in places])
    values: Floats = np.array(rows, dtype=np.float64).reshape(-1, len(places)).T
    return Rows(np.ascontiguousarray(values), ended=len(rows) < limit)


def _scalars(fields: Sequence[bytes], element: Element) -> list[float]:
    """Values of one row without its lists; nan where they are missing."""
    values: list[float] = []
    at = 0
    for each in element.properties:
        value = to_float(fields[at]) if at < len(fields) else None
        at += 1
        if each.count_type is None:
            values.append(np.nan if value is None else value)
        elif value is not None and 0 <= value < len(fields):
            at += int(value)
    return values
