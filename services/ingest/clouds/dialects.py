"""Numbers in lines of text: how they are separated and written. Imports nothing heavy."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.ingest.clouds.errors import bad_cloud, shown

SAMPLE_BYTES = 64 << 10
SAMPLE_LINES = 2000
_MAX_HEADER_LINES = 200
BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d{1,4})?")
_WHOLE = re.compile(rb"\+?\d{1,18}")
_NO_VALUE = frozenset(
    b"nan|+nan|-nan|nan(ind)|-nan(ind)|nan(snan)|-nan(snan)|1.#qnan|-1.#qnan|1.#ind|-1.#ind|1.#inf|-1.#inf|inf|+inf|-inf|"
    b"infinity|+infinity|-infinity|null|none|n/a|na".split(b"|")
)
_COMMENTS = (b"#", b"//", b"%", b"!")


@dataclass(frozen=True)
class Dialect:
    """How numbers are told apart. A space stands for any run of spaces and tabs."""

    separator: Literal[" ", ",", ";"]
    decimal_comma: bool = False

    def split(self, line: bytes) -> list[bytes]:
        """Fields of a line without padding and quotes; empty ones at its end are dropped."""
        plain = line.strip().replace(b'"', b"")
        if self.decimal_comma:
            plain = plain.replace(b",", b".")
        fields = plain.split() if self.separator == " " else [f.strip() for f in plain.split(self.separator.encode())]
        while fields and not fields[-1]:
            fields.pop()
        return fields


def is_number(text: bytes) -> bool:
    return _NUMBER.fullmatch(text) is not None or text.lower() in _NO_VALUE


def is_whole_number(text: bytes) -> bool:
    return _WHOLE.fullmatch(text) is not None


def is_comment(line: bytes) -> bool:
    return line.startswith(_COMMENTS)


def find_dialect(lines: Sequence[bytes]) -> Dialect | None:
    """The dialect in which most of `lines` begin with three numbers; None if hardly any does."""
    candidates = (Dialect(";"), Dialect(";", True), Dialect(","), Dialect(" "), Dialect(" ", True))
    best, best_rows = None, 0
    for dialect in candidates:
        rows = sum(is_row(dialect.split(line)) for line in lines)
        if rows > best_rows:
            best, best_rows = dialect, rows
    return best if best_rows * 2 >= sum(not is_comment(line) and line.strip() != b"" for line in lines) else None


def is_row(fields: Sequence[bytes]) -> bool:
    """Three numbers at least to begin with."""
    return len(fields) >= 3 and all(is_number(field) for field in fields[:3])


def to_float(text: bytes) -> float | None:
    """A field's value; nan for words that stand for no value, None if it is no number."""
    if _NUMBER.fullmatch(text):
        return float(text.lower().replace(b"d", b"e"))
    return math.nan if text.lower() in _NO_VALUE else None


def find_first_row(lines: Sequence[bytes], dialect: Dialect) -> int | None:
    for index, line in enumerate(lines):
        if is_row(dialect.split(line)):
            return index
    return None


def find_declared_points(header_lines: Sequence[bytes]) -> int | None:
    """A line with nothing but the count of points, as in .pts files and from CloudCompare."""
    for line in header_lines:
        if is_whole_number(line.strip()):
            return int(line)
    return None


def split_lines(text: bytes, limit: int) -> list[bytes]:
    """The first lines of a text, whatever their ends."""
    text = text.removeprefix(BOM)
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    return text.split(b"\n", limit)[:limit]


@dataclass(frozen=True)
class TextBeginning:
    """What the beginning of a text cloud tells."""

    dialect: Dialect
    header: tuple[bytes, ...]
    """Lines before the first row."""
    points_declared: int | None


def read_beginning(sample: bytes, file_name: str) -> TextBeginning:
    """Raises UserError if the text does not begin with rows of three numbers, below a header at most."""
    lines = split_lines(sample, SAMPLE_LINES)
    dialect = find_dialect(lines) or find_dialect(lines[min(len(lines) // 2, _MAX_HEADER_LINES) :])
    rows_at = None if dialect is None else find_first_row(lines, dialect)
    if dialect is None or rows_at is None:
        line = next((line for line in lines if line.strip()), b"")
        raise bad_cloud(
            f"{file_name} has no rows of three numbers at its beginning; it starts with {shown(line.strip())}. "
            "Text clouds have one point a line: X Y Z, then intensity or colours."
        )
    header = tuple(lines[:rows_at])
    return TextBeginning(dialect, header, find_declared_points(header))
