import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds import text
from services.ingest.clouds.dialects import Dialect, find_dialect, is_row, to_float
from services.ingest.clouds.text import Layout, TextReader, normalise

SPACES = Dialect(" ")
XYZ = Layout(SPACES, (0, 1, 2))
DIALECTS = [Dialect(" "), Dialect(" ", True), Dialect(","), Dialect(";"), Dialect(";", True)]


def read_all(data: bytes, layout: Layout = XYZ, limit: int = 1000) -> tuple[np.ndarray, TextReader]:
    reader = TextReader(io.BytesIO(data), "cloud.txt")
    blocks = []
    while True:
        rows = reader.read_rows(limit, layout)
        blocks.append(rows.values)
        if rows.ended:
            return np.concatenate(blocks, axis=1).T, reader


def error_of(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read_all(data)[1].finish()
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    assert caught.value.field == "point_cloud_file"
    return caught.value


numbers = st.floats(-1e9, 1e9, allow_nan=False)
rows_of_numbers = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=30)


@given(
    rows=rows_of_numbers,
    dialect=st.sampled_from(DIALECTS),
    padding=st.sampled_from(["", " ", "  ", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    trailing=st.booleans(),
    bom=st.booleans(),
    last_end=st.booleans(),
    between=st.sampled_from(["", "\n", "# a comment\n", "// and another\n"]),
    style=st.sampled_from(["r", ".17e", ".17E", "+.17e"]),
    limit=st.integers(1, 40),
)
@settings(max_examples=200)
def test_every_way_to_write_rows_gives_the_same_numbers(  # noqa: PLR0917
    rows: list[tuple[float, float, float]],
    dialect: Dialect,
    padding: str,
    line_end: str,
    trailing: bool,
    bom: bool,
    last_end: bool,
    between: str,
    style: str,
    limit: int,
) -> None:
    separator = padding + dialect.separator + padding
    texts = [[repr(value) if style == "r" else format(value, style) for value in row] for row in rows]
    lines = [padding + separator.join(row) + (separator if trailing else "") for row in texts]
    text = ("\n" + between).join(lines) + ("\n" if last_end else "")
    if dialect.decimal_comma:
        text = text.replace(".", ",")
    data = (b"\xef\xbb\xbf" if bom else b"") + text.replace("\n", line_end).encode()
    values, reader = read_all(data, Layout(dialect, (0, 1, 2)), limit)
    np.testing.assert_array_equal(values, rows)
    assert reader.finish() == 0
    # A single line without an end could be anything.
    assert find_dialect(text.encode().split(b"\n")) == dialect


@given(rows=rows_of_numbers, block_bytes=st.integers(100, 400))
def test_blocks_may_end_anywhere(rows: list[tuple[float, float, float]], block_bytes: int) -> None:
    data = "".join(f"{x!r} {y!r} {z!r}\n" for x, y, z in rows).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK_BYTES", block_bytes)
        values, _ = read_all(data)
    np.testing.assert_array_equal(values, rows)


@given(text=st.text(' \t,;.0123456789e-+\r\n"#x', max_size=80), dialect=st.sampled_from(DIALECTS))
def test_normal_lines_have_the_same_fields_and_stay_as_they_are(text: str, dialect: Dialect) -> None:
    block = text.encode()
    normal = normalise(block, dialect)
    assert normalise(normal, dialect) == normal
    lines, normal_lines = block.split(b"\n"), normal.split(b"\n")
    assert len(lines) == len(normal_lines)
    assert [dialect.split(line) for line in normal_lines] == [
        dialect.split(re.sub(rb"[ \t]+", b" ", line.replace(b"\r", b""))) for line in lines
    ]


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        values, reader = read_all(data)
        reader.finish()
    except UserError:
        return
    assert values.shape[1] == 3


@given(st.binary(max_size=12))
def test_arbitrary_fields_are_numbers_or_not(field: bytes) -> None:
    value = to_float(field)
    if value is not None and np.isfinite(value):
        assert value == float(field.lower().replace(b"d", b"e"))


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan", "inf", "-Inf", "1.#QNAN", "-nan(ind)", "NULL", "null", "n/a"])
def test_words_for_no_value_make_points_without_place_and_no_bad_lines(word: str) -> None:
    values, reader = read_all(f"1 2 3\n4 {word} 6\n7 8 9\n".encode())
    np.testing.assert_array_equal(np.isfinite(values), [[True] * 3, [True, False, True], [True] * 3])
    assert reader.finish() == 0


def test_fortran_exponents_and_signs_are_numbers() -> None:
    values, _ = read_all(b"1.5D+02 -2.d0 +.5\n")
    np.testing.assert_array_equal(values, [[150, -2, 0.5]])


def test_bad_lines_up_to_one_in_a_hundred_are_counted_and_their_place_is_kept() -> None:
    lines = [f"{row} 0 0" for row in range(300)]
    lines[7] = "7 zero 0"
    lines[250] = "250 0"
    values, reader = read_all("\n".join(lines).encode())
    assert reader.finish() == 2
    assert "line 8: '7 zero 0'" in reader.first_bad
    assert len(values) == 300
    assert np.flatnonzero(np.isnan(values[:, 0])).tolist() == [7, 250]
    assert values[251, 0] == 251


def test_more_bad_lines_are_an_error_that_names_the_first() -> None:
    lines = [f"{row} 0 0" for row in range(300)]
    for row in (20, 21, 22, 23):
        lines[row] = "x" * 200
    message = error_of(("\n\n" + "\n".join(lines)).encode()).message
    assert "4 of 300 lines" in message
    assert "line 23: '" + "x" * 80 + "…'" in message


def test_a_last_line_that_was_cut_off_is_no_sign_of_another_file() -> None:
    values, reader = read_all(b"1 2 3\n4 5 6\n7 8")
    assert reader.finish() == 1
    assert np.isnan(values[2, 0])
    assert "1 of 3 lines" in error_of(b"1 2 3\n4 5 6\n7 8\n").message


def test_hopeless_files_are_given_up_before_their_end() -> None:
    with pytest.raises(UserError, match="lines are not rows"):
        TextReader(io.BytesIO(b"word\n" * 200_000), "cloud.txt").read_rows(200_000, XYZ)


@pytest.mark.parametrize("before", [b"", b"1 2 3\n" * 10])
def test_endless_lines_are_refused(before: bytes) -> None:
    message = error_of(before + b"1 " * 5_000_000).message
    assert "longer than 1,000,000 characters" in message


def test_counts_within_the_points_are_no_points() -> None:
    layout = Layout(SPACES, (0, 1, 2), "count")
    values, reader = read_all(b"1 2 3\n2\n4 5 6\n7 8 9\n", layout)
    assert len(values) == 3
    assert reader.counts == [2]


def test_rows_end_before_the_header_of_another_scan() -> None:
    reader = TextReader(io.BytesIO(b"1 2 3\n4 5 6\n17\n18\n"), "cloud.ptx")
    rows = reader.read_rows(100, Layout(SPACES, (0, 1, 2), "header"))
    assert rows.ended
    assert rows.values.shape == (3, 2)
    assert reader.next_line == 3
    assert reader.line() == b"17"
    reader.unread()
    assert [reader.line(), reader.line(), reader.line()] == [b"17", b"18", None]


def test_rows_that_lack_a_later_column_are_kept() -> None:
    values, reader = read_all(b"1 2 3 4\n1 2 3\n", Layout(SPACES, (0, 1, 2, 3)))
    np.testing.assert_array_equal(values, [[1, 2, 3, 4], [1, 2, 3, np.nan]])
    assert reader.finish() == 0


def test_columns_come_in_the_order_that_was_asked_for() -> None:
    values, _ = read_all(b"0;1;2;3;4;5\n", Layout(Dialect(";"), (4, 0, 3, 1)))
    np.testing.assert_array_equal(values, [[4, 0, 3, 1]])


@pytest.mark.parametrize(
    ("line", "dialect"),
    [
        ("1.5 2.5 3.5", Dialect(" ")),
        ("1\t2\t3", Dialect(" ")),
        ("1,5 2,5 3,5", Dialect(" ", True)),
        ("1,5\t2,5\t3,5", Dialect(" ", True)),
        ("1.5,2.5,3.5", Dialect(",")),
        ("1, 2, 3", Dialect(",")),
        ("1.5;2.5;3.5", Dialect(";")),
        ("1,5;2,5;3,5", Dialect(";", True)),
        ("1,5 ; 2 ; 3,5 ;", Dialect(";", True)),
        ('"1.5","2.5","3.5"', Dialect(",")),
    ],
)
def test_dialects_are_told_apart(line: str, dialect: Dialect) -> None:
    assert find_dialect([line.encode()]) == dialect


@pytest.mark.parametrize("line", ["1 2", "a b c", "1,234.5 6", "v 1 2 3", "12:30 1 2", "1_0 2 3", ""])
def test_lines_that_are_no_rows(line: str) -> None:
    assert not any(is_row(dialect.split(line.encode())) for dialect in DIALECTS)
