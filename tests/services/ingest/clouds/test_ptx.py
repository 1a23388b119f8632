import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.ptx import read_ptx
from tests.services.ingest.clouds.cloud_files import Heard, collect, notes, ptx_of, text_of

GRID = np.arange(36.0).reshape(12, 3) + 1
GREY = np.linspace(0, 1, 12)
RGB = np.arange(36).reshape(12, 3) * 7


def read(data: bytes) -> tuple[Heard, list[np.ndarray | None]]:
    said, warnings = notes()
    reading = read_ptx(io.BytesIO(data), "scan.ptx", said)
    heard = collect(reading, warnings)
    return heard, reading.scanners


def error_of(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(data)
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    return caught.value


def row_matrix(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix().T
    matrix[3, :3] = shift
    return matrix


@st.composite
def scans(draw: st.DrawFn) -> list[tuple[np.ndarray, int, int, np.ndarray]]:
    """Points, columns, rows and matrix of a few scans."""
    found = []
    angle, place = st.floats(-3, 3), st.floats(-1e6, 1e6)
    for _ in range(draw(st.integers(1, 4))):
        columns, rows = draw(st.integers(2, 5)), draw(st.integers(2, 5))
        points = np.random.default_rng(draw(st.integers(0, 999))).uniform(-50, 50, (columns * rows, 3))
        points[draw(st.integers(0, len(points) - 1))] = 0
        matrix = row_matrix((draw(angle), draw(angle), draw(angle)), (draw(place), draw(place), draw(place)))
        found.append((points, columns, rows, matrix))
    return found


@given(
    scans=scans(),
    extras=st.sampled_from(["", "i", "i rgb"]),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    blank=st.booleans(),
)
@settings(max_examples=80)
def test_points_of_all_scans_are_in_the_world(
    scans: list[tuple[np.ndarray, int, int, np.ndarray]], extras: str, line_end: bytes, blank: bool
) -> None:
    data, world, positions = b"", [], []
    rng = np.random.default_rng(0)
    for points, columns, rows, matrix in scans:
        intensity, rgb = rng.uniform(0, 1, len(points)), rng.integers(0, 256, (len(points), 3))
        columns_of_extras = [column for name, column in (("i", intensity), ("rgb", rgb)) if name in extras.split()]
        data += ptx_of(points, columns, rows, matrix, columns_of_extras) + (b"\n" if blank else b"")
        homogeneous = np.column_stack([points, np.ones(len(points))])
        world.append((homogeneous @ matrix)[:, :3])
        positions.append(matrix[3, :3])
    heard, scanners = read(data.replace(b"\n", line_end))
    np.testing.assert_allclose(heard.xyz, np.concatenate(world), rtol=1e-15, atol=1e-9)
    np.testing.assert_array_equal(heard.no_return, np.concatenate([(scan[0] == 0).all(axis=1) for scan in scans]))
    np.testing.assert_array_equal(heard.scan, np.repeat(np.arange(len(scans)), [len(scan[0]) for scan in scans]))
    assert len(scanners) == len(scans)
    for found, expected in zip(scanners, positions, strict=True):
        assert found is not None
        np.testing.assert_array_equal(found, expected)
    assert (heard.intensity is not None) == ("i" in extras)
    assert (heard.colours is not None) == ("rgb" in extras)
    assert heard.warnings == []


def test_intensity_and_colours_are_those_of_their_points() -> None:
    heard, _ = read(ptx_of(GRID, 3, 4, extras=[GREY, RGB]) + ptx_of(GRID[::-1], 4, 3, extras=[GREY[::-1], RGB[::-1]]))
    np.testing.assert_array_equal(heard.intensity, np.concatenate([GREY, GREY[::-1]]).astype(np.float32))
    np.testing.assert_array_equal(heard.colours, np.concatenate([RGB, RGB[::-1]]))


def test_the_stated_position_counts_where_points_are_in_the_world_already() -> None:
    _, scanners = read(ptx_of(GRID, 3, 4, position=(4.0, 5.0, 1.5)))
    np.testing.assert_array_equal(scanners[0], (4, 5, 1.5))


def test_a_list_of_points_was_seen_from_nowhere() -> None:
    assert read(ptx_of(GRID, 12, 1, position=(4.0, 5.0, 1.5)))[1] == [None]


def test_a_transposed_matrix_is_read_as_it_is_meant() -> None:
    matrix = row_matrix((0.1, 0.2, 0.3), (10.0, 20.0, 30.0))
    expected, _ = read(ptx_of(GRID, 3, 4, matrix))
    heard, _ = read(ptx_of(GRID, 3, 4, matrix.T))
    np.testing.assert_array_equal(heard.xyz, expected.xyz)
    assert "transposed" in heard.warnings[0]


def test_missing_points_at_the_end_are_warned_of() -> None:
    heard, _ = read(ptx_of(GRID, 3, 4) + ptx_of(GRID[:5], 3, 4))
    np.testing.assert_array_equal(heard.xyz, np.concatenate([GRID, GRID[:5]]))
    assert "scan 2 should have 3 x 4 = 12 lines and has 5" in heard.warnings[0]


def test_a_scan_that_is_too_short_does_not_take_the_next_one_with_it() -> None:
    heard, scanners = read(ptx_of(GRID[:7], 3, 4) + ptx_of(GRID, 3, 4, row_matrix((0, 0, 0), (100.0, 0.0, 0.0))))
    np.testing.assert_array_equal(heard.xyz, np.concatenate([GRID[:7], GRID + np.array([100, 0, 0])]))
    assert len(scanners) == 2
    assert "scan 1 should have" in heard.warnings[0]


def test_a_header_that_is_cut_off_at_the_end_loses_that_scan_only() -> None:
    heard, _ = read(ptx_of(GRID, 3, 4) + b"3\n4\n0 0 0\n")
    np.testing.assert_array_equal(heard.xyz, GRID)
    assert "line 23" in heard.warnings[0]


def test_too_many_points_are_an_error_that_names_the_line() -> None:
    message = error_of(ptx_of(GRID, 3, 3) + ptx_of(GRID, 3, 4)).message
    assert "line 20" in message
    assert "'28.0 29.0 30.0'" in message


@pytest.mark.parametrize(
    ("line", "text", "found"),
    [
        (0, "3.5", "whole numbers"),
        (1, "4 4", "1 number here"),
        (2, "0 0", "3 numbers here"),
        (4, "x y z", "3 numbers here"),
        (7, "0 0 0", "4 numbers here"),
        (6, "0 0 0 0", "not a rotation"),
        (9, "nan 0 0 1", "not a rotation"),
        (9, "1e300 0 0 1", "not a rotation"),
        (0, "-3", "whole numbers"),
    ],
)
def test_a_damaged_header_is_an_error_that_names_the_line(line: int, text: str, found: str) -> None:
    lines = ptx_of(GRID, 3, 4).split(b"\n")
    lines[line] = text.encode()
    assert found in error_of(b"\n".join(lines)).message


@pytest.mark.parametrize("size", ["9000000000", "999999999999999999"])
def test_grids_that_no_file_can_hold_are_refused(size: str) -> None:
    lines = ptx_of(GRID, 3, 4).split(b"\n")
    lines[0] = lines[1] = size.encode()
    assert "cannot be" in error_of(b"\n".join(lines)).message


def test_one_bad_line_of_many_is_left_out() -> None:
    points = np.tile(GRID, (50, 1))
    lines = ptx_of(points, 30, 20).split(b"\n")
    lines[110] = b"torn"
    heard, _ = read(b"\n".join(lines))
    assert len(heard.xyz) == 600
    assert np.flatnonzero(np.isnan(heard.xyz[:, 0])).tolist() == [100]
    assert "line 111: 'torn'" in heard.warnings[0]


@given(st.binary(max_size=200), st.integers(0, 400))
def test_arbitrary_damage_is_read_or_refused(damage: bytes, place: int) -> None:
    data = ptx_of(GRID, 3, 4, extras=[GREY]) * 2
    try:
        heard, _ = read(data[:place] + damage + data[place + len(damage) :])
    except UserError:
        return
    assert heard.xyz.shape[1] == 3


def test_text_after_the_points_is_an_error() -> None:
    assert "a PTX scan's header has 1 number here" in error_of(ptx_of(GRID, 3, 4) + text_of(GRID) * 2).message
