"""Leica's PTX: scans as text, each with its grid's size, the scanner's place and a transform into the world.

A scan is ten lines and then a line for each cell of its grid: columns, rows, the scanner's position, its three axes, four rows of
a 4x4 matrix for row vectors, p_world = [p 1] M; then x y z intensity [r g b], `0 0 0` where nothing came back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from services.ingest.clouds.dialects import Dialect, is_whole_number, to_float
from services.ingest.clouds.errors import MAX_SCANS, bad_cloud, check_claim, shown
from services.ingest.clouds.ptx_header import HEADER_LINES, NUMBERS_PER_LINE
from services.ingest.clouds.source import PIECE_POINTS, Floats, Notes, Piece, Reading
from services.ingest.clouds.text import Layout, TextReader
from services.ingest.clouds.xyz import Columns, to_piece

_SPACES = Dialect(" ")
_COLUMNS = {
    3: Columns(),
    4: Columns(intensity=3),
    5: Columns(intensity=3),
    6: Columns(rgb=(3, 4, 5)),
    7: Columns(rgb=(4, 5, 6), intensity=3),
}
"""By the numbers in a line."""


@dataclass(frozen=True)
class ScanHeader:
    columns: int
    rows: int
    world_from_scan: Floats
    """(4, 4), for column vectors."""
    position: Floats | None
    """(3,) of the scanner in the world; None for a list of points that is no scan's grid."""

    @property
    def points(self) -> int:
        return self.columns * self.rows


def read_ptx(file: BinaryIO, file_name: str, notes: Notes) -> Reading:
    """Open a PTX file. Raises UserError, and so does `pieces`, where a header cannot be read."""
    size_bytes = file.seek(0, 2)
    file.seek(0)
    reader = TextReader(file, file_name)
    header = _read_header(reader, file_name, notes)
    if header is None:
        raise bad_cloud(f"{file_name} is empty.")
    check_claim(file_name, header.points, size_bytes)
    reading = Reading(iter(()), bytes_total=size_bytes)
    reading.pieces = _Scans(reader, file_name, size_bytes, notes, reading).pieces(header)
    return reading


def _width(reader: TextReader) -> int:
    line = reader.line()
    if line is None:
        return 0
    reader.unread()
    return len(_SPACES.split(line))


class _Scans:
    def __init__(self, reader: TextReader, file_name: str, size_bytes: int, notes: Notes, reading: Reading) -> None:
        self._reader = reader
        self._file_name = file_name
        self._size_bytes = size_bytes
        self._notes = notes
        self._reading = reading
        self._short: list[str] = []

    def pieces(self, header: ScanHeader | None) -> Iterator[Piece]:
        scan = 0
        while header is not None:
            if scan == MAX_SCANS:
                raise bad_cloud(f"{self._file_name} has more than {MAX_SCANS:,} scans; send it in parts.")
            check_claim(self._file_name, header.points, self._size_bytes)
            self._reading.scanners.append(header.position)
            yield from self._scan(header, scan)
            header = _read_header(self._reader, self._file_name, self._notes)
            scan += 1
        bad = self._reader.finish()
        if bad:
            self._notes.warn(
                f"{bad:,} of {self._reader.rows:,} lines are not rows of numbers and were left out; the first is "
                f"{self._reader.first_bad}."
            )
        if self._short:
            self._notes.warn(
                f"Points are missing: {'; '.join(self._short[:3])}{' and so on' if len(self._short) > 3 else ''}. The file "
                "was probably cut off while it was copied. What is there was used."
            )

    def _scan(self, header: ScanHeader, scan: int) -> Iterator[Piece]:
        columns = _COLUMNS.get(_width(self._reader), _COLUMNS[7])
        layout = Layout(_SPACES, columns.all, "header")
        left = header.points
        while left:
            rows = self._reader.read_rows(min(left, PIECE_POINTS), layout)
            self._reading.bytes_done = self._reader.bytes_done
            if rows.values.shape[1]:
                yield _to_world(to_piece(rows.values, columns, scan), header)
            left -= rows.values.shape[1]
            if rows.ended:
                break
        if left:
            self._short.append(
                f"scan {scan + 1} should have {header.columns:,} x {header.rows:,} = {header.points:,} lines and has "
                f"{header.points - left:,}"
            )


def _to_world(piece: Piece, header: ScanHeader) -> Piece:
    no_return = (piece.xyz == 0).all(axis=0)
    world = header.world_from_scan
    return replace(piece, xyz=world[:3, :3] @ piece.xyz + world[:3, 3:], no_return=no_return)


def _read_header(reader: TextReader, file_name: str, notes: Notes) -> ScanHeader | None:
    """The next scan's header; None at the end of the file."""
    begin = reader.next_line
    lines: list[bytes] = []
    while len(lines) < HEADER_LINES:
        line = reader.line()
        if line is None:
            break
        if lines or line.strip():
            lines.append(line)
    if not lines:
        return None
    if begin == 1 or len(lines) == HEADER_LINES:
        return _parse_header(lines, reader.next_line - len(lines), file_name, notes)
    notes.warn(f"The file ends inside the header of a scan, line {begin:,}; that scan is missing.")
    return None


def _parse_header(lines: list[bytes], begin: int, file_name: str, notes: Notes) -> ScanHeader:
    numbers = [_numbers(line) for line in lines]
    for index, expected in enumerate(NUMBERS_PER_LINE):
        if index >= len(numbers) or len(numbers[index]) != expected:
            found = shown(lines[index].strip()) if index < len(lines) else "the end of the file"
            raise bad_cloud(
                f"{file_name}, line {begin + index:,}: a PTX scan's header has {expected} "
                f"number{'s' if expected > 1 else ''} here, found {found}. Export the scans again as PTX."
            )
    if not all(is_whole_number(line.strip()) for line in lines[:2]):
        raise bad_cloud(
            f"{file_name}, line {begin:,}: columns and rows must be whole numbers, found {shown(lines[0])}."
        )
    transform = np.array(numbers[6:]).T
    if np.allclose(transform[:3, 3], 0) and not np.allclose(transform[3, :3], 0):
        # The matrix as column vectors need it, which is not what the format says.
        notes.warn(f"The matrix at line {begin + 6:,} is transposed; it was read as column vectors.")
        transform = transform.T
    # nan fails the comparison too.
    if not (np.abs(transform) < 1e12).all() or abs(np.linalg.det(transform[:3, :3])) < 1e-9:
        raise bad_cloud(
            f"{file_name}, line {begin + 6:,}: the scan's matrix is not a rotation and a shift. Export the scans again."
        )
    columns, rows = int(lines[0]), int(lines[1])
    return ScanHeader(columns, rows, transform, _position(columns, rows, transform, np.array(numbers[2])))


def _position(columns: int, rows: int, world_from_scan: Floats, stated: Floats) -> Floats | None:
    """Where the scanner stood. Points come from the origin of its own frame; where scans were exported in world coordinates
    the matrix is the identity, and the position is stated beside it."""
    if min(columns, rows) <= 1:
        return None
    origin = world_from_scan[:3, 3]
    return origin if origin.any() else stated


def _numbers(line: bytes) -> list[float]:
    values = [to_float(field) for field in _SPACES.split(line)]
    return [value for value in values if value is not None] if None not in values else []
