import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.xyz import Columns, find_form, read_xyz
from tests.services.ingest.clouds.cloud_files import Heard, collect, notes, text_of

RNG = np.random.default_rng(3)
N = 40
POINTS = RNG.uniform(0, 30, (N, 3)).round(3) + np.array([742_310.0, 1_043_225.0, 212.0])
RGB = RNG.integers(0, 256, (N, 3))
RGB[0] = 0, 255, 7
SHARES = RNG.uniform(0, 1, N).round(4)
CODES = RNG.integers(-2048, 2048, N)
CODES[0] = -1500
NORMALS = RNG.normal(0, 1, (N, 3))
NORMALS = (NORMALS / np.linalg.norm(NORMALS, axis=1, keepdims=True)).round(5)


def read(data: bytes, file_name: str = "cloud.xyz") -> Heard:
    said, warnings = notes()
    return collect(read_xyz(io.BytesIO(data), file_name, said), warnings)


def columns_of(*columns: np.ndarray, file_name: str = "cloud.xyz", header: bytes = b"") -> Columns:
    return find_form(io.BytesIO(header + text_of(*columns)), file_name).columns


@given(
    header=st.sampled_from([
        ("xyz rgb i", ""), ("xyz rgb i", "X Y Z R G B Intensity"), ("xyz rgb", "//X Y Z R G B"), ("xyz", "# x y z"),
        ("xyz i", '"x","y","z","intensity"'), ("i xyz rgb", "Intensity;Easting;Northing;Elevation;Red;Green;Blue"),
        ("zyx", "Z[m]\tY[m]\tX[m]"), ("xyz rgb", "Points:0,Points:1,Points:2,RGB:0,RGB:1,RGB:2"), ("xyz i", ""),
        ("xyz i", "//X Y Z Scalar_field"), ("rgb xyz", "red green blue x y z"), ("xyz i rgb", "// X Y Z Intensity R G B"),
    ]),
    count=st.booleans(),
    separator=st.sampled_from([" ", "\t", ",", ";", " ;\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    seed=st.integers(0, 1000),
    size=st.integers(1, 30),
)  # fmt: skip
@settings(max_examples=150)
def test_every_form_of_the_file_gives_the_same_points(  # noqa: PLR0917
    header: tuple[str, str], count: bool, separator: str, line_end: str, seed: int, size: int
) -> None:
    order, names = header
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-1e7, 1e7, (size, 3))
    rgb = rng.integers(0, 256, (size, 3))
    intensity = rng.integers(256, 4096, size)
    parts: dict[str, np.ndarray] = {"xyz": xyz, "zyx": xyz[:, ::-1], "rgb": rgb, "i": intensity}
    body = text_of(*(parts[part] for part in order.split()), separator=separator, line_end=line_end)
    head = (names + line_end if names else "") + (f"{size}{line_end}" if count else "")
    heard = read(head.encode() + body)
    np.testing.assert_array_equal(heard.xyz, xyz)
    if "rgb" in order:
        np.testing.assert_array_equal(heard.colours, rgb)
    else:
        assert heard.colours is None
    if "i" in order.split():
        np.testing.assert_array_equal(heard.intensity, intensity.astype(np.float32))
    else:
        assert heard.intensity is None
    assert heard.warnings == []


@pytest.mark.parametrize(
    ("parts", "file_name", "expected"),
    [
        ([POINTS], "a.xyz", Columns()),
        ([POINTS, SHARES], "a.xyz", Columns(intensity=3)),
        ([POINTS, RGB], "a.txt", Columns(rgb=(3, 4, 5))),
        ([POINTS, (RGB / 255).round(6)], "a.txt", Columns(rgb=(3, 4, 5), rgb_is_whole=False)),
        ([POINTS, RGB * 257], "a.txt", Columns(rgb=(3, 4, 5))),
        ([POINTS, NORMALS], "a.xyz", Columns()),
        ([POINTS, RGB, SHARES], "a.xyz", Columns(rgb=(3, 4, 5), intensity=6)),
        ([POINTS, SHARES, RGB], "a.xyz", Columns(rgb=(4, 5, 6), intensity=3)),
        ([POINTS, CODES, RGB], "a.pts", Columns(rgb=(4, 5, 6), intensity=3)),
        ([POINTS, CODES, RGB], "a.xyz", Columns(rgb=(4, 5, 6), intensity=3)),
        ([POINTS, np.abs(CODES) % 256, RGB], "a.pts", Columns(rgb=(4, 5, 6), intensity=3)),
        ([POINTS, RGB, np.abs(CODES) % 256], "a.xyz", Columns(rgb=(3, 4, 5), intensity=6)),
        ([POINTS, np.abs(CODES) + 256, RGB], "a.xyz", Columns(rgb=(4, 5, 6), intensity=3)),
        ([POINTS, RGB, NORMALS], "a.xyz", Columns(rgb=(3, 4, 5))),
        ([POINTS, NORMALS, RGB], "a.xyz", Columns(rgb=(6, 7, 8))),
        ([POINTS, SHARES, RGB, NORMALS], "a.xyz", Columns(rgb=(4, 5, 6), intensity=3)),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value),
)
def test_columns_without_names_are_told_by_their_values(
    parts: list[np.ndarray], file_name: str, expected: Columns
) -> None:
    assert columns_of(*parts, file_name=file_name) == expected


def test_names_of_coordinates_only_leave_the_rest_to_the_values() -> None:
    assert columns_of(POINTS, RGB, header=b"//X Y Z\n") == Columns(rgb=(3, 4, 5))


def test_names_that_mean_nothing_are_said_to_be_ignored() -> None:
    heard = read(b"eins zwei drei\n" + text_of(POINTS))
    np.testing.assert_array_equal(heard.xyz, POINTS)
    assert "'eins zwei drei'" in heard.warnings[0]


def test_columns_that_cannot_be_told_are_said_to_be_left_out() -> None:
    heard = read(text_of(POINTS, CODES, SHARES))
    np.testing.assert_array_equal(heard.xyz, POINTS)
    assert "5 columns without names" in heard.warnings[0]


def test_colours_that_begin_black_are_found_further_on() -> None:
    rgb = np.zeros((20_000, 3), dtype=int)
    rgb[-1] = 30_000, 60_000, 10
    points = np.tile(POINTS, (500, 1))
    heard = read(text_of(points, rgb))
    np.testing.assert_array_equal(heard.colours, rgb)


def test_fractions_of_colours_stay_fractions() -> None:
    heard = read(text_of(POINTS, (RGB / 255).round(6)))
    assert heard.colours is not None
    np.testing.assert_allclose(heard.colours, RGB / 255, atol=1e-6)


def test_a_national_grid_keeps_its_millimetres() -> None:
    heard = read(text_of(POINTS, separator=";").replace(b".", b","))
    np.testing.assert_array_equal(heard.xyz, POINTS)


def test_a_declared_count_that_is_not_reached_is_a_warning() -> None:
    heard = read(b"1000\n" + text_of(POINTS))
    assert "1,000 points, but only 40 are in it" in heard.warnings[0]
    assert read(b"20\n" + text_of(POINTS[:20]) + b"20\n" + text_of(POINTS[20:])).warnings == []


def test_files_put_one_after_the_other_are_read_through() -> None:
    body = text_of(POINTS)
    heard = read(b"// X Y Z\n" + body + b"// X Y Z\n" + body)
    np.testing.assert_array_equal(heard.xyz, np.concatenate([POINTS, POINTS]))


def test_bad_lines_are_warned_of() -> None:
    lines = text_of(np.tile(POINTS, (5, 1))).split(b"\n")
    lines[20] = b"a torn line"
    assert "1 of 200 lines" in read(b"\n".join(lines)).warnings[0]
    assert "line 21: 'a torn line'" in read(b"\n".join(lines)).warnings[0]


@pytest.mark.parametrize("data", [b"hello\nworld\n", b"1 2\n3 4\n", b"\n\n\n", b"a,b,c\n1,2\n"])
def test_text_without_rows_is_refused_with_what_was_found(data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        read(data)
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    assert "no rows of three numbers" in caught.value.message
    assert data.strip().split(b"\n")[0].decode() in caught.value.message


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        heard = read(data)
    except UserError:
        return
    assert heard.xyz.shape[1] == 3


@given(st.lists(st.text("0123456789.,;- \texX#", max_size=40), max_size=12))
def test_arbitrary_rows_are_read_or_refused(lines: list[str]) -> None:
    try:
        heard = read("\n".join(lines).encode())
    except UserError:
        return
    assert len(heard.xyz) <= len(lines)
