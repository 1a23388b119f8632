"""How a scan in a PTX file begins. Imports nothing heavy."""

from collections.abc import Sequence

from services.ingest.clouds.dialects import Dialect, to_float

HEADER_LINES = 10
NUMBERS_PER_LINE = (1, 1, 3, 3, 3, 3, 4, 4, 4, 4)
_SPACES = Dialect(" ")


def begins_as_ptx(lines: Sequence[bytes]) -> bool:
    """Whether a text's first ten lines have the numbers of a PTX header."""
    fields = [_SPACES.split(line) for line in lines[:HEADER_LINES]]
    return len(fields) == HEADER_LINES and all(
        len(row) == count and all(to_float(field) is not None for field in row)
        for row, count in zip(fields, NUMBERS_PER_LINE, strict=True)
    )
