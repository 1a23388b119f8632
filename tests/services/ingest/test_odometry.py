import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.odometry import (
    calibrate,
    files_of_rows,
    native_fps,
    parse_camera_matrix,
    parse_odometry,
)

HEADER = "timestamp, frame, x, y, z, qx, qy, qz, qw"
ROW = "1.0, 000000, 0.1, 0.2, 0.3, 0, 0, 0, 1"
K = np.array([[1440.0, 0, 957.3], [0, 1441.0, 716.9], [0, 0, 1]])


def error_of(text: str | bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        parse_odometry(text.encode() if isinstance(text, str) else text)
    assert caught.value.code is ErrorCode.INVALID_ODOMETRY
    return caught.value


@st.composite
def tracks(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    """Rows of time, position and unit quaternion, and frame ids with gaps and repeats."""
    count = draw(st.integers(1, 12))
    number = st.floats(-1000, 1000, allow_nan=False).map(lambda value: round(value, 6))
    rows, ids, time_s, frame = [], [], draw(st.integers(0, 10**6)) / 7, 0
    for _ in range(count):
        time_s += draw(st.sampled_from([1 / 60, 2 / 60, 0.5]))
        frame += draw(st.integers(0, 3))
        quaternion = np.array([draw(number), draw(number), draw(number), 2000 + draw(number)])
        rows.append([time_s, *(draw(number) for _ in range(3)), *(quaternion / np.linalg.norm(quaternion)).tolist()])
        ids.append(frame)
    return rows, ids


@given(
    track=tracks(),
    padded=st.booleans(),
    separator=st.sampled_from([",", ", ", " ,"]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    last_newline=st.booleans(),
    extra=st.sampled_from(["none", "filled", "empty"]),
    blank_line=st.booleans(),
)
def test_every_form_of_the_file_gives_the_same_track(  # noqa: PLR0917
    track: tuple[list[list[float]], list[int]],
    padded: bool,
    separator: str,
    line_end: str,
    bom: bool,
    last_newline: bool,
    extra: str,
    blank_line: bool,
) -> None:
    rows, ids = track
    header = HEADER + ("" if extra == "none" else ", fx, fy, cx, cy, , ")
    tail = {"none": [], "filled": ["1440.5", "1441.5", "960.1", "720.2", "", ""], "empty": [""] * 6}[extra]
    lines = [header.replace(", ", separator)]
    for row, frame in zip(rows, ids, strict=True):
        fields = [repr(row[0]), f"{frame:06d}" if padded else str(frame), *(repr(value) for value in row[1:]), *tail]
        lines.append(separator.join(fields))
    if blank_line:
        lines.insert(1, "")
    text = line_end.join(lines) + (line_end if last_newline else "")
    odometry = parse_odometry((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    expected = np.array(rows)
    np.testing.assert_array_equal(odometry.timestamps_s, expected[:, 0])
    np.testing.assert_array_equal(odometry.frame_ids, ids)
    np.testing.assert_array_equal(odometry.positions_m, expected[:, 1:4])
    np.testing.assert_allclose(odometry.quaternions_xyzw, expected[:, 4:], atol=1e-15)
    assert odometry.usable.all()
    assert odometry.notes == ()
    if extra == "filled":
        assert odometry.intrinsics_px is not None
        np.testing.assert_array_equal(odometry.intrinsics_px, [[1440.5, 1441.5, 960.1, 720.2]] * len(rows))
    else:
        assert odometry.intrinsics_px is None


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_parsed_or_refused_as_user_error(data: bytes) -> None:
    for parse in (parse_odometry, parse_camera_matrix):
        try:
            parse(data)
        except UserError:
            continue


@given(st.lists(st.text("0123456789.-+,einfa \n", max_size=60), max_size=5))
def test_arbitrary_rows_are_parsed_or_refused_as_user_error(rows: list[str]) -> None:
    try:
        odometry = parse_odometry("\n".join([HEADER, *rows]).encode())
    except UserError:
        return
    assert np.isfinite(odometry.positions_m).all()
    np.testing.assert_allclose(np.linalg.norm(odometry.quaternions_xyzw, axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "abc", ""])
@pytest.mark.parametrize("column", range(9))
def test_a_bad_number_names_its_line(bad: str, column: int) -> None:
    fields = ROW.split(", ")
    fields[column] = bad
    assert "Line 3 " in error_of("\n".join([HEADER, ROW, ", ".join(fields), ROW, ""])).message


def test_quaternions_are_normalised_within_tolerance_and_refused_beyond() -> None:
    close = parse_odometry(f"{HEADER}\n1, 0, 0, 0, 0, 0, 0.6, 0, 0.81\n".encode())
    assert math.isclose(float(np.linalg.norm(close.quaternions_xyzw[0])), 1, abs_tol=1e-15)
    assert "Line 2 " in error_of(f"{HEADER}\n1, 0, 0, 0, 0, 0, 0.6, 0, 0.9\n").message
    assert "Line 2 " in error_of(f"{HEADER}\n1, 0, 0, 0, 0, 0, 0, 0, 0\n").message


def test_a_file_cut_off_inside_its_last_line_loses_that_row_only_and_says_so() -> None:
    odometry = parse_odometry(f"{HEADER}\n{ROW}\n{ROW}\n1.1, 2, 0.1, 0.2".encode())
    assert len(odometry) == 2
    assert "line 4" in odometry.notes[0]


def test_rows_out_of_time_order_are_marked_without_moving_the_others() -> None:
    times_s = [1.0, 1.1, 99.0, 1.2, 1.15, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
    lines = [ROW.replace("1.0,", f"{time_s},", 1) for time_s in times_s]
    odometry = parse_odometry("\n".join([HEADER, *lines]).encode())
    assert len(odometry) == len(times_s)
    assert not odometry.usable[2]
    assert odometry.usable.sum() == len(times_s) - 2
    assert (np.diff(odometry.timestamps_s[odometry.usable]) > 0).all()
    assert "2 rows" in odometry.notes[0]


def test_a_shuffled_file_is_refused() -> None:
    lines = [ROW.replace("1.0,", f"{time_s},", 1) for time_s in range(10, 0, -1)]
    assert "out of time order" in error_of("\n".join([HEADER, *lines])).message


def test_rows_without_intrinsics_among_rows_with_them_are_counted() -> None:
    text = f"{HEADER}, fx, fy, cx, cy\n{ROW}, 1, 2, 3, 4\n{ROW}, , , , \n{ROW}\n"
    odometry = parse_odometry(text.encode())
    assert odometry.intrinsics_px is not None
    assert np.isnan(odometry.intrinsics_px[1:]).all()
    assert "2 rows" in odometry.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        HEADER,
        "a,b,c\n1,2,3",
        ROW,
        f"{HEADER}, x\n{ROW}",
        f"{HEADER}\n{ROW}, 5\n",
        "\0" * 50,
        b"\xff\xfe\x00",
    ],
)
def test_files_that_are_no_odometry_are_refused(text: str | bytes) -> None:
    error_of(text)


def test_the_native_rate_is_the_median_step_whatever_the_gaps() -> None:
    times_s = np.delete(np.arange(100) / 60, [10, 11, 12, 40, 77])
    fps = native_fps(times_s)
    assert fps is not None
    assert abs(fps - 60) < 1e-6
    assert native_fps(np.zeros(5)) is None


@pytest.mark.parametrize(
    "text", ["1440, 0, 957.3\n0, 1441, 716.9\n0, 0, 1", "\ufeff1440,0,957.3\r\n0,1441,716.9\r\n0,0,1\r\n"]
)
def test_camera_matrix_in_its_forms(text: str) -> None:
    np.testing.assert_array_equal(parse_camera_matrix(text.encode()), K)


def test_a_camera_matrix_written_by_columns_is_understood() -> None:
    text = "\n".join(",".join(str(value) for value in row) for row in K.T)
    np.testing.assert_array_equal(parse_camera_matrix(text.encode()), K)


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,0,2\n0,1,2\n0,0,x", "0,0,2\n0,0,2\n0,0,1", "nan,0,2\n0,1,2\n0,0,1", "9,0,2\n0,9,2\n0,3,1"]
)
def test_what_is_no_camera_matrix_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_camera_matrix(text.encode())
    assert caught.value.code is ErrorCode.INVALID_INTRINSICS


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((1920, 1440), Fraction(1)),
        ((960, 720), Fraction(1, 2)),
        ((1280, 960), Fraction(2, 3)),
        ((1440, 1080), Fraction(3, 4)),
        ((3840, 2880), Fraction(2)),
        ((640, 480), Fraction(1, 3)),
    ],
)
def test_a_camera_matrix_for_another_resolution_is_scaled_and_said(size: tuple[int, int], scale: Fraction) -> None:
    calibration = calibrate(K, *size)
    assert calibration.scale == scale
    assert calibration.intrinsics.fx_px == pytest.approx(1440 * float(scale), rel=1e-12)
    assert calibration.intrinsics.cy_px == pytest.approx(716.9 * float(scale), rel=1e-12)
    assert bool(calibration.notes) == (scale != 1)


@pytest.mark.parametrize("size", [(1440, 1920), (1920, 1080), (1100, 825), (320, 200)])
def test_a_camera_matrix_of_another_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UserError) as caught:
        calibrate(K, *size)
    assert caught.value.code is ErrorCode.INVALID_INTRINSICS


def names(numbers: list[int]) -> list[str]:
    return [f"depth/{number:06d}.png" for number in numbers]


def test_files_go_to_rows_by_frame_id_with_gaps_and_repeats() -> None:
    ids = np.array([0, 1, 1, 2, 5, 1])
    found = files_of_rows(names([0, 1, 2, 4]), ids)
    # Row 5 wrote the file of id 1 last; rows 1 and 2 had it before and lost it.
    assert found == {0: "depth/000000.png", 3: "depth/000002.png", 5: "depth/000001.png"}


def test_rows_that_repeat_an_id_at_once_share_its_file() -> None:
    assert files_of_rows(names([7, 8]), np.array([7, 7, 8])) == {
        0: "depth/000007.png",
        1: "depth/000007.png",
        2: "depth/000008.png",
    }


def test_files_counted_from_one_belong_to_ids_counted_from_zero() -> None:
    assert files_of_rows(names([1, 2, 3]), np.array([0, 1, 2]))[0] == "depth/000001.png"
    assert files_of_rows(names([1, 2]), np.array([0, 1, 2])) == {1: "depth/000001.png", 2: "depth/000002.png"}
