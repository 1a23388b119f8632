"""Rows of numbers in text files of any size: separators, decimal commas, ragged rows, missing values.

Blocks of whole lines go through polars; rows that it cannot take are looked at one by one. A row is a line with
numbers: blank lines and comments are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import UserError
from services.ingest.clouds.dialects import BOM, Dialect, is_comment, is_whole_number, to_float
from services.ingest.clouds.errors import bad_cloud, shown
from services.ingest.clouds.source import Floats

BLOCK_BYTES = 8 << 20
MAX_LINE_BYTES = 1_000_000
BAD_LINES_SHARE = 0.01
"""Exports that were cut or written over lose a few lines; a file with more bad lines is of another kind."""
_HOPELESS_LINES = 10_000
_HEAD_BYTES = 100_000
_ROW_BYTES = 128
"""A generous length of a row, to take no more text than is asked for."""


@dataclass(frozen=True)
class Layout:
    """What is wanted from each row."""

    dialect: Dialect
    columns: tuple[int, ...]
    """Places in a row, from 0: x, y, z, and then whatever else; a row lacks nothing if it has the first three."""
    single_number: Literal["count", "header", "bad"] = "bad"
    """What a line with a single whole number is: a count of points to skip, the begin of another scan, or a bad line."""


@dataclass(frozen=True)
class Rows:
    values: Floats
    """(columns, n); nan where a row lacks a column, or is no row of numbers at all."""
    ended: bool
    """The text goes on with something that is not a row: a new header, or nothing."""


class TextReader:
    """Lines and rows of a text file, in order. Memory is bounded whatever the file holds."""

    def __init__(self, file: BinaryIO, file_name: str, first_line: int = 1) -> None:
        """Reads on from where `file` is, which is line `first_line`."""
        self._file = file
        self._file_name = file_name
        self._data = b""
        self._at = 0
        self._at_end = False
        self._old_line_ends = False
        self.bytes_read = 0
        self.next_line = first_line
        """Number of the next line, from 1, as editors count."""
        self.rows = 0
        self.bad_lines = 0
        self.counts: list[int] = []
        """Counts of points found in lines of their own."""
        self._first_bad: tuple[int, bytes] | None = None
        self._ends_abruptly = False
        self._cut_line: int | None = None
        self._line_began = 0
        self._fill()
        if self._data.startswith(BOM):
            self._at = len(BOM)

    def line(self) -> bytes | None:
        """The next line without its end, or None at the end of the file."""
        end = self._find_line_end()
        if end < 0:
            return None
        line = self._data[self._at : end]
        self._line_began, self._at = self._at, end + 1
        self.next_line += 1
        return line.rstrip(b"\r")

    def unread(self) -> None:
        """Take back the last call of `line`."""
        self._at = self._line_began
        self.next_line -= 1

    def read_rows(self, limit: int, layout: Layout) -> Rows:
        """At most `limit` rows, and often fewer. Raises UserError once bad lines are too many."""
        begin, end = self._find_block(limit)
        block = self._data[begin:end]
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
        if len(ends) > limit:
            ends = ends[:limit]
            block = block[: int(ends[-1]) + 1]
        if not block:
            return Rows(np.empty((len(layout.columns), 0)), ended=True)
        normal = normalise(block, layout.dialect)
        values, lacking = _parse(normal, len(ends), layout)
        doubtful = np.flatnonzero(lacking).tolist()
        keep = np.ones(len(ends), dtype=np.bool_)
        lines = self._look_closer(normal, doubtful, values, keep, layout) if doubtful else len(ends)
        self._at = begin + int(ends[lines - 1]) + 1 if lines else begin
        self.next_line += lines
        if self._ends_abruptly and self._at_end and self._at >= len(self._data) and lacking[-1]:
            self._cut_line = self.next_line - 1
        ended = lines < len(ends)
        keep[lines:] = False
        values = values if keep.all() else values[:, keep]
        self.rows += values.shape[1]
        self._check_hopeless()
        return Rows(values, ended)

    def _look_closer(
        self, block: bytes, doubtful: Sequence[int], values: Floats, keep: npt.NDArray[np.bool_], layout: Layout
    ) -> int:
        """Read doubtful lines again, one by one, into `values`, and clear `keep` for those that are no rows.

        Returns how many lines belong to the rows: all, or those before another scan's header.
        """
        lines = block.split(b"\n")
        for row in doubtful:
            fields = layout.dialect.split(lines[row])
            if layout.single_number != "bad" and len(fields) == 1 and is_whole_number(fields[0]):
                if layout.single_number == "header":
                    return row
                self.counts.append(int(fields[0]))
                keep[row] = False
            elif not fields or is_comment(lines[row]):
                keep[row] = False
            else:
                values[:, row] = self._read_one(self.next_line + row, lines[row], fields, layout)
        return len(lines) - 1

    def finish(self) -> int:
        """How many bad lines there were. Raises UserError if that is more than exports lose.

        A last line that was cut off in the middle is no sign of another kind of file.
        """
        if self.bad_lines - (self._cut_line is not None) > BAD_LINES_SHARE * self.rows:
            raise self._too_many()
        return self.bad_lines

    @property
    def bytes_done(self) -> int:
        """Bytes of the file whose lines were given out."""
        return self.bytes_read - (len(self._data) - self._at)

    @property
    def first_bad(self) -> str:
        """The first bad line, for a message; only if there is one."""
        number, text = self._first_bad or (0, b"")
        return f"line {number:,}: {shown(text)}"

    def _read_one(self, number: int, line: bytes, fields: Sequence[bytes], layout: Layout) -> list[float]:
        values = [to_float(fields[column]) if column < len(fields) else None for column in layout.columns]
        if any(value is None for value in values[:3]):
            self.bad_lines += 1
            if self._first_bad is None:
                self._first_bad = number, line
            return [np.nan] * len(values)
        return [np.nan if value is None else value for value in values]

    def _check_hopeless(self) -> None:
        if self.bad_lines > _HOPELESS_LINES and self.bad_lines * 10 > self.rows:
            raise self._too_many()

    def _too_many(self) -> UserError:
        return bad_cloud(
            f"{self._file_name}: {self.bad_lines:,} of {self.rows:,} lines are not rows of numbers; the first is "
            f"{self.first_bad}. Export the cloud again with one point a line, as X Y Z and what belongs to it."
        )

    def _find_line_end(self) -> int:
        """Where the next line ends, -1 at the end of the file."""
        end = self._data.find(b"\n", self._at)
        while end < 0 and not self._at_end:
            self._fill()
            end = self._data.find(b"\n", self._at)
        return end

    def _find_block(self, limit: int) -> tuple[int, int]:
        """Begin and end of whole lines in the buffer, no more than are needed for `limit` rows or so."""
        if self._find_line_end() < 0:
            return self._at, self._at
        wanted = min(BLOCK_BYTES, limit * _ROW_BYTES)
        if len(self._data) - self._at < wanted and not self._at_end:
            self._fill()
        last_end = self._data.rfind(b"\n", self._at, self._at + wanted)
        # A single line may be longer than what is wanted.
        return self._at, max(self._find_line_end(), last_end) + 1

    def _fill(self) -> None:
        rest = self._data[self._at :]
        read = self._file.read(BLOCK_BYTES)
        if not self.bytes_read:
            # Line ends of the first Macs: still written by a few exporters.
            self._old_line_ends = b"\r" in read[:_HEAD_BYTES] and b"\n" not in read[:_HEAD_BYTES]
        self.bytes_read += len(read)
        if self._old_line_ends:
            read = read.replace(b"\r", b"\n")
        self._at_end = len(read) < BLOCK_BYTES
        self._data, self._at = rest + read, 0
        if self._at_end and self._data and not self._data.endswith(b"\n"):
            self._data += b"\n"
            self._ends_abruptly = True
        first_end = self._data.find(b"\n")
        if (len(self._data) if first_end < 0 else first_end) > MAX_LINE_BYTES:
            raise bad_cloud(
                f"{self._file_name}: line {self.next_line:,} is longer than {MAX_LINE_BYTES:,} characters; "
                "this is not a text file with one point a line."
            )


def _parse(block: bytes, count: int, layout: Layout) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Values (columns, count), and which rows lack one of the first three."""
    width = max(layout.columns) + 1
    separator = layout.dialect.separator
    names = [f"c{index}" for index in range(width)]
    # The first line decides how many columns polars sees, so it is ours.
    first = separator.join("0" * width).encode() + b"\n"
    try:
        table = pl.read_csv(
            first + block,
            has_header=False,
            separator=separator,
            schema=dict.fromkeys(names, pl.Float64),
            columns=sorted(set(layout.columns)),
            quote_char=None,
            ignore_errors=True,
            truncate_ragged_lines=True,
        )
    except pl.exceptions.PolarsError:
        table = None
    if table is None or table.height != count + 1:
        return np.full((len(layout.columns), count), np.nan), np.ones(count, dtype=np.bool_)
    values = np.empty((len(layout.columns), count))
    lacking = np.zeros(count, dtype=np.bool_)
    for place, column in enumerate(layout.columns):
        series = table[names[column]]
        values[place] = series.to_numpy()[1:]
        if place < 3 and series.null_count():
            lacking |= series.is_null().to_numpy()[1:]
    return values, lacking


def normalise(block: bytes, dialect: Dialect) -> bytes:
    """The same lines with single separators, decimal points, and nothing around fields. Idempotent."""
    before, after = (b"\t,", b" .") if dialect.decimal_comma else (b"\t", b" ")
    plain = block.translate(bytes.maketrans(before, after), b'\r"')
    separator = dialect.separator.encode()
    if separator != b" ":
        return _without_padding(plain, separator) if b" " in plain else plain
    if plain[:1] == b" " or any(each in plain for each in (b"  ", b"\n ", b" \n")):
        return _without_padding(plain, b"\n")
    return plain


def _without_padding(block: bytes, separator: bytes) -> bytes:
    """Single spaces instead of runs, and none beside `separator` or a line's end."""
    data = np.frombuffer(block, dtype=np.uint8)
    space = data == ord(" ")
    repeated = space.copy()
    repeated[1:] &= space[:-1]
    repeated[:1] = False
    data = data[~repeated]
    space = data == ord(" ")
    border = (data == ord("\n")) | (data == ord(separator))
    needless = np.zeros_like(space)
    needless[1:] = space[1:] & border[:-1]
    needless[:-1] |= space[:-1] & border[1:]
    needless[:1] |= space[:1]
    needless[-1:] |= space[-1:]
    return bytes(data[~needless])
