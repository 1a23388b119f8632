"""Clouds that cannot be used, in every format: refused with a documented code, the field, and what was found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from contracts.errors import ErrorCode, UserError
from tests.services.ingest.clouds.cloud_files import (
    Floats,
    compressed_body,
    convert,
    pcd_header,
    ply_of,
    ptx_of,
    room,
    text_of,
    write_e57,
    write_las,
)

COUNT = 3000
ROOM = np.round(room(COUNT), 4)
PLANE = np.column_stack([ROOM[:, :2], np.random.default_rng(0).normal(0, 0.004, COUNT)]).round(4)
NAN_RIDDEN = np.where(np.arange(COUNT)[:, None] % 5 < 3, np.nan, ROOM)


def write_ptx(path: Path, points: Floats) -> None:
    path.write_bytes(ptx_of(points, 60, 50, None, [np.full(len(points), 0.5)]))


def write_xyz(path: Path, points: Floats) -> None:
    path.write_bytes(text_of(points))


def write_ply(path: Path, points: Floats) -> None:
    path.write_bytes(ply_of(points))


def write_ascii_ply(path: Path, points: Floats) -> None:
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + text_of(points))


def write_pcd(path: Path, points: Floats) -> None:
    path.write_bytes(pcd_header("x y z", "4 4 4", "F F F", len(points), 1, "binary") + points.astype("<f4").tobytes())


def write_packed_pcd(path: Path, points: Floats) -> None:
    header = pcd_header("x y z", "4 4 4", "F F F", len(points), 1, "binary_compressed")
    path.write_bytes(header + compressed_body(points.T.astype("<f4").tobytes()))


def write_scan(path: Path, points: Floats) -> None:
    columns: dict[str, npt.NDArray[np.generic]] = {
        f"cartesian{axis}": points[:, place].copy() for place, axis in enumerate("XYZ")
    }
    write_e57(path, [(columns, np.array([1.0, 0, 0, 0]), np.zeros(3))])


WRITERS: dict[str, Callable[[Path, Floats], None]] = {
    "a.ptx": write_ptx,
    "a.xyz": write_xyz,
    "a.ply": write_ply,
    "ascii.ply": write_ascii_ply,
    "a.las": write_las,
    "a.laz": write_las,
    "a.e57": write_scan,
    "a.pcd": write_pcd,
    "packed.pcd": write_packed_pcd,
}
WITHOUT_NAN = ("a.las", "a.laz", "a.e57")
"""Coordinates are integers, or the writer refuses what is no number."""
NAN_IS_NO_RETURN = ("a.pcd", "packed.pcd")


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        convert(path, path.parent / "cloud")
    assert not (path.parent / "cloud" / "cloud.json").exists()
    assert caught.value.field == "point_cloud_file"
    assert caught.value.code in (ErrorCode.INVALID_CLOUD, ErrorCode.UNSUPPORTED_FORMAT)
    return caught.value


@pytest.mark.parametrize("name", WRITERS)
def test_a_plane(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, PLANE)
    assert "all points lie on one plane, 6.1" in refusal(tmp_path / name).message


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in (*WITHOUT_NAN, *NAN_IS_NO_RETURN)])
def test_more_invalid_points_than_valid_ones(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, NAN_RIDDEN)
    assert "1,800 of 3,000 points have coordinates that are no numbers" in refusal(tmp_path / name).message


@pytest.mark.parametrize("name", NAN_IS_NO_RETURN)
def test_directions_without_a_return_are_no_fault(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, NAN_RIDDEN)
    assert convert(tmp_path / name, tmp_path / "cloud").manifest.points_invalid == 1800
    WRITERS[name](tmp_path / name, np.where(np.arange(COUNT)[:, None] < 2500, np.nan, ROOM))
    (tmp_path / "cloud" / "cloud.json").unlink()
    assert "of which 2,500 directions without a return" in refusal(tmp_path / name).message


@pytest.mark.parametrize("name", WRITERS)
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert f"{name} is empty" in refusal(tmp_path / name).message


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_which_a_few_points_arrived(name: str, tmp_path: Path) -> None:
    """Text and plain binaries give the points that are there, which are too few; others cannot be unpacked."""
    WRITERS[name](tmp_path / name, ROOM)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 5])
    message = refusal(tmp_path / name).message
    assert "are left, and a building needs 1,000" in message or "cut off" in message or "damaged" in message


@pytest.mark.parametrize("name", WRITERS)
def test_a_header_that_breaks_off(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, ROOM)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:30])
    assert len(refusal(tmp_path / name).message) > 40


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_with_the_name_of_a_cloud(name: str, seed: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(np.random.default_rng(seed).bytes(50_000))
    assert name in refusal(tmp_path / name).message


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_true_header_before_random_bytes(name: str, seed: int, tmp_path: Path) -> None:
    """Integers are always coordinates: of noise that fills a cube one can only say later that it is no building."""
    WRITERS[name](tmp_path / name, ROOM)
    data = (tmp_path / name).read_bytes()
    kept = {"a.e57": 1024, "a.las": 375, "a.laz": 480, "a.xyz": 24}.get(name, 260)
    noise = np.random.default_rng(seed).bytes(len(data) - kept)
    (tmp_path / name).write_bytes(data[:kept] + noise)
    if name == "a.las":
        assert convert(tmp_path / name, tmp_path / "cloud").manifest.points > 1000
    else:
        assert len(refusal(tmp_path / name).message) > 40
