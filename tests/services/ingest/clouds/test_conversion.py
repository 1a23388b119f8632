"""Whole files, from upload to canonical form."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from laspy.vlrs.known import WktCoordinateSystemVlr

from contracts.building_settings import BuildingSettings
from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.source import MAX_WARNINGS, Notes
from tests.services.ingest.clouds.cloud_files import (
    Floats,
    Listener,
    compressed_body,
    convert,
    pcd_header,
    ply_of,
    ptx_of,
    room,
    some_colours,
    text_of,
    write_e57,
    write_las,
)

COUNT = 3000
GRID = np.array([742_310.0, 5_643_225.0, 212.0])
ROOM = np.round(room(COUNT), 4)
FAR_ROOM = np.round(ROOM + GRID, 4)
COLOURS = some_colours(COUNT)
GREY = np.linspace(0, 1, COUNT).round(5)


def write(name: str, folder: Path) -> tuple[Path, Floats]:
    """A file of one of the formats, and the points it has."""
    path = folder / name
    points = FAR_ROOM
    match name:
        case "scan.ptx":
            matrix = np.eye(4)
            matrix[3, :3] = GRID
            path.write_bytes(ptx_of(ROOM, 60, 50, matrix, [GREY, COLOURS]))
        case "scan.xyz":
            path.write_bytes(text_of(points, COLOURS, GREY))
        case "scan.csv":
            header = b"X;Y;Z;R;G;B;Intensity\r\n"
            path.write_bytes(
                header + text_of(points, COLOURS, GREY, separator=";", line_end="\r\n").replace(b".", b",")
            )
        case "scan.ply":
            path.write_bytes(ply_of(points, COLOURS))
        case "big.ply":
            path.write_bytes(ply_of(points, COLOURS, order=">"))
        case "scan.las" | "scan.laz":
            write_las(
                path,
                points,
                colours=COLOURS.astype(np.uint16) * 257,
                intensity=(GREY * 65_535).astype(np.uint16),
                scale=1e-4,
            )
        case "scan.e57":
            columns: dict[str, npt.NDArray[np.generic]] = {
                f"cartesian{axis}": ROOM[:, place].copy() for place, axis in enumerate("XYZ")
            }
            columns |= {f"color{name}": COLOURS[:, place].copy() for place, name in enumerate(("Red", "Green", "Blue"))}
            columns["intensity"] = GREY.astype(np.float32)
            points = ROOM.astype(np.float32).astype(np.float64) + GRID
            write_e57(path, [(columns, np.array([1.0, 0, 0, 0]), GRID)])
        case "scan.pcd" | "packed.pcd":
            points = ROOM.astype(np.float32).astype(np.float64)
            packed = (COLOURS.astype("<u4") << np.array([16, 8, 0], "<u4")).sum(axis=1, dtype="<u4")
            columns_of = [*ROOM.T.astype("<f4"), packed, GREY.astype("<f4")]
            if name == "scan.pcd":
                header = pcd_header("x y z rgb intensity", "4 4 4 4 4", "F F F U F", COUNT, 1, "binary")
                table = np.rec.fromarrays(columns_of)
                path.write_bytes(header + table.tobytes())
            else:
                header = pcd_header("x y z rgb intensity", "4 4 4 4 4", "F F F U F", COUNT, 1, "binary_compressed")
                path.write_bytes(header + compressed_body(b"".join(column.tobytes() for column in columns_of)))
    return path, points


@pytest.mark.parametrize(
    "name",
    [
        "scan.ptx",
        "scan.xyz",
        "scan.csv",
        "scan.ply",
        "big.ply",
        "scan.las",
        "scan.laz",
        "scan.e57",
        "scan.pcd",
        "packed.pcd",
    ],
)
def test_every_format_gives_the_points_that_were_written(name: str, tmp_path: Path) -> None:
    path, points = write(name, tmp_path)
    cloud = convert(path, tmp_path / "cloud")
    manifest = cloud.manifest
    np.testing.assert_allclose(cloud.file_points, points, atol=1e-6)
    assert np.abs(cloud.points).max() < 100
    np.testing.assert_array_equal(cloud.colours, COLOURS)
    if "ply" not in name:
        assert cloud.intensity is not None
        np.testing.assert_allclose(cloud.intensity, GREY, atol=2e-5)
    assert (manifest.points, manifest.points_in_file, manifest.points_invalid, manifest.points_diluted) == (
        COUNT,
        COUNT,
        0,
        0,
    )
    assert (manifest.file_name, manifest.up_axis, manifest.unit_m, manifest.warnings) == (name, "z", 1.0, ())
    assert cloud.source_index is None
    assert (cloud.scan is not None) == bool(manifest.scanners_m) == (name in ("scan.ptx", "scan.e57"))
    if manifest.scanners_m:
        np.testing.assert_allclose(np.array(manifest.scanners_m) + np.array(manifest.file_from_cloud)[:3, 3], [GRID])
    steps = cloud.listener.steps
    assert steps[-1] == (COUNT, steps[-1][1], "Reading points")
    assert steps[-1][1] >= COUNT
    # 3000 random points on a box of 100 square metres.
    assert 0.06 < manifest.spacing_m < 0.12


@pytest.mark.parametrize("name", ["scan.ptx", "scan.xyz", "scan.ply", "scan.laz", "scan.e57", "packed.pcd"])
@pytest.mark.parametrize("factor", [2, 3])
def test_dilution_keeps_every_nth_point(name: str, factor: int, tmp_path: Path) -> None:
    path, points = write(name, tmp_path)
    cloud = convert(path, tmp_path / "cloud", BuildingSettings(dilute=True, dilution_factor=factor))
    np.testing.assert_array_equal(cloud.source_index, np.arange(0, COUNT, factor))
    np.testing.assert_allclose(cloud.file_points, points[::factor], atol=1e-6)
    np.testing.assert_array_equal(cloud.colours, COLOURS[::factor])
    assert cloud.manifest.points_diluted == COUNT - len(cloud.points)


def test_a_factor_without_dilute_means_nothing(tmp_path: Path) -> None:
    path, _ = write("scan.ply", tmp_path)
    assert convert(path, tmp_path / "cloud", BuildingSettings(dilution_factor=7)).manifest.points == COUNT


def test_scans_of_a_ptx_file_keep_their_places_and_lose_what_did_not_return(tmp_path: Path) -> None:
    matrices, scans = [], []
    for place in ((1.0, 2.0, 1.5), (4.0, 2.0, 1.6)):
        matrix = np.eye(4)
        matrix[3, :3] = place
        local = ROOM - np.array(place)
        local[::7] = 0
        matrices.append(matrix)
        scans.append(local)
    path = tmp_path / "two.ptx"
    path.write_bytes(
        b"".join(ptx_of(scan, 60, 50, matrix, [GREY]) for scan, matrix in zip(scans, matrices, strict=True))
    )
    cloud = convert(path, tmp_path / "cloud")
    kept = np.arange(COUNT) % 7 != 0
    np.testing.assert_allclose(cloud.file_points, np.tile(ROOM[kept], (2, 1)), atol=1e-6)
    np.testing.assert_array_equal(cloud.source_index, np.flatnonzero(np.tile(kept, 2)))
    np.testing.assert_array_equal(cloud.scan, np.repeat([0, 1], kept.sum()))
    np.testing.assert_allclose(cloud.manifest.scanners_m, [(1, 2, 1.5), (4, 2, 1.6)])
    assert cloud.manifest.points_invalid == 2 * (COUNT - kept.sum())
    assert cloud.manifest.warnings == ()


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (5_000.0, 2_000.0, 0.0)])
def test_millimetres_become_metres(place: tuple[float, float, float], tmp_path: Path) -> None:
    path = tmp_path / "mm.xyz"
    millimetres = (ROOM * 1000).round() + np.array(place)
    path.write_bytes(text_of(millimetres.astype(int), COLOURS))
    cloud = convert(path, tmp_path / "cloud")
    assert cloud.manifest.unit_m == 0.001
    np.testing.assert_allclose(cloud.file_points, millimetres / 1000, atol=1e-6)
    assert 2.5 < cloud.points[:, 2].max() - cloud.points[:, 2].min() < 2.7
    assert 0.06 < cloud.manifest.spacing_m < 0.12
    assert "taken for millimetres" in cloud.manifest.warnings[0]
    assert cloud.listener.warnings == list(cloud.manifest.warnings)


def y_up(points: Floats) -> Floats:
    return np.asarray(points[:, [0, 2, 1]] * np.array([1.0, 1.0, -1.0]))


def test_a_phones_cloud_is_turned_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "phone.ply"
    points = room(40_000, (6.0, 4.0, 2.6), 0.6)
    path.write_bytes(ply_of(y_up(points).astype(np.float32), some_colours(40_000)))
    cloud = convert(path, tmp_path / "cloud")
    assert cloud.manifest.up_axis == "y"
    np.testing.assert_allclose(cloud.points, points, atol=1e-5)
    np.testing.assert_allclose(cloud.file_points, y_up(points), atol=1e-5)
    assert np.linalg.det(np.array(cloud.manifest.file_from_cloud)) == pytest.approx(1)
    assert "turned so that +z does" in cloud.manifest.warnings[0]


@pytest.mark.parametrize("up", ["z", "y"])
def test_the_axis_that_is_set_is_followed(up: str, tmp_path: Path) -> None:
    path = tmp_path / "phone.ply"
    points = room(5000, heading_rad=0.6)
    path.write_bytes(ply_of(points.astype(np.float32)))
    cloud = convert(path, tmp_path / "cloud", BuildingSettings.model_validate({"up_axis": up}))
    assert cloud.manifest.up_axis == up
    expected = points if up == "z" else points[:, [0, 2, 1]] * np.array([1, -1, 1])
    np.testing.assert_allclose(cloud.points, expected, atol=1e-5)
    np.testing.assert_allclose(cloud.file_points, points, atol=1e-5)


def test_clouds_in_survey_coordinates_are_not_turned(tmp_path: Path) -> None:
    path = tmp_path / "survey.ply"
    path.write_bytes(ply_of(y_up(room(40_000, heading_rad=0.6)) + GRID))
    assert convert(path, tmp_path / "cloud").manifest.up_axis == "z"


def test_the_reference_system_and_feet_are_taken_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "feet.las"
    wkt = 'PROJCS["NY",GEOGCS["NAD83",UNIT["degree",0.0174]],UNIT["US survey foot",0.3048006],AUTHORITY["EPSG","2263"]]'
    feet = ROOM / 0.3048006 + GRID
    write_las(path, feet, vlrs=[WktCoordinateSystemVlr(wkt)], scale=1e-4)
    cloud = convert(path, tmp_path / "cloud")
    assert cloud.manifest.crs == "EPSG:2263"
    assert cloud.manifest.unit_m == 0.3048006
    np.testing.assert_allclose(cloud.file_points, feet * 0.3048006, atol=3e-5)
    assert 2.5 < np.ptp(cloud.points[:, 2]) < 2.7


def error_of(data: bytes, name: str, folder: Path, settings: BuildingSettings | None = None) -> UserError:
    path = folder / name
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        convert(path, folder / "cloud", settings)
    assert not (folder / "cloud" / "cloud.json").exists()
    assert caught.value.field == "point_cloud_file"
    return caught.value


BAD_HALF = np.where(np.arange(COUNT)[:, None] % 5 < 3, np.nan, ROOM)
PLANE = np.column_stack([ROOM[:, :2], np.random.default_rng(0).normal(0, 0.004, COUNT)])
FAILURES = {
    "too few": (ply_of(ROOM[:999]), "a.ply", "The file has 999 points: 999 are left, and a building needs 1,000"),
    "mostly invalid": (ply_of(BAD_HALF), "a.ply", "1,800 of 3,000 points have coordinates that are no numbers"),
    "all absurd": (ply_of(ROOM + 1e12), "a.ply", "3,000 of 3,000 points"),
    "far away": (ply_of(ROOM + 1e9), "a.ply", "1,000,000 km from the origin"),
    "no returns": (ptx_of(np.zeros((2000, 3)), 50, 40), "a.ptx", "2,000 points, of which 2,000 directions without a return"),
    "a plane": (ply_of(PLANE), "a.ply", "all points lie on one plane"),
    "a line": (ply_of(PLANE * (1, 0, 0)), "a.ply", "all points lie on one line"),
    "one point": (ply_of(np.ones((5000, 3))), "a.ply", "all points lie within 0 mm of one place"),
    "no points": (ply_of(ROOM[:0]), "a.ply", "The file has 0 points"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a.ply", "a.ply is a PNG picture"),
    "huge claim": (ply_of(ROOM, declared=2**60), "a.ply", "hold 1,152,921,504,606,846,976 points, which cannot be"),
    "torn text": (text_of(ROOM[:500]) + b"not a row\n" * 30 + text_of(ROOM[500:1500]), "a.xyz", "30 of 1,530 lines are not rows of numbers; the first is line 501: 'not a row'"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_clouds_that_are_no_buildings_are_refused_with_what_was_found(case: str, tmp_path: Path) -> None:
    data, name, found = FAILURES[case]
    error = error_of(data, name, tmp_path)
    assert error.code is ErrorCode.INVALID_CLOUD
    assert found in error.message


def test_too_much_dilution_is_named_as_the_cause(tmp_path: Path) -> None:
    settings = BuildingSettings(dilute=True, dilution_factor=10)
    message = error_of(ply_of(ROOM), "a.ply", tmp_path, settings).message
    assert "2,700 left out by dilution_factor 10" in message
    assert "dilute less" in message


def test_a_cloud_that_was_cut_off_is_used_and_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(ply_of(ROOM, COLOURS)[:-20_000])
    cloud = convert(path, tmp_path / "cloud")
    assert 1000 < cloud.manifest.points < COUNT
    assert cloud.manifest.points_in_file == cloud.manifest.points
    np.testing.assert_allclose(cloud.file_points, ROOM[: cloud.manifest.points], atol=1e-6)
    assert "cut off" in cloud.manifest.warnings[0]


def test_some_invalid_points_are_left_out_and_warned_of(tmp_path: Path) -> None:
    points = ROOM.copy()
    points[5, 0], points[77, 2], points[100, 1] = np.nan, np.inf, -1e30
    path = tmp_path / "a.ply"
    path.write_bytes(ply_of(points, COLOURS))
    cloud = convert(path, tmp_path / "cloud")
    kept = np.setdiff1d(np.arange(COUNT), [5, 77, 100])
    np.testing.assert_array_equal(cloud.source_index, kept)
    np.testing.assert_array_equal(cloud.colours, COLOURS[kept])
    assert cloud.manifest.points_invalid == 3
    assert "3 of 3,000 points have no valid coordinates" in cloud.manifest.warnings[0]


def test_strays_are_warned_of(tmp_path: Path) -> None:
    points = ROOM.copy()
    points[9] = 40_000
    path = tmp_path / "a.ply"
    path.write_bytes(ply_of(points))
    assert any("stray points" in warning for warning in convert(path, tmp_path / "cloud").manifest.warnings)


def test_thousands_of_warnings_are_cut_short() -> None:
    listener = Listener()
    said = Notes(listener)
    for scan in range(5000):
        said.warn(f"Scan {scan} is short.")
    assert len(said.kept) == MAX_WARNINGS + 1
    assert listener.warnings == said.kept
    assert "more warnings" in said.kept[-1]


def test_what_an_earlier_attempt_left_behind_is_gone(tmp_path: Path) -> None:
    path, _ = write("scan.ptx", tmp_path)
    convert(path, tmp_path / "cloud", BuildingSettings(dilute=True, dilution_factor=2))
    plain = tmp_path / "plain.ply"
    plain.write_bytes(ply_of(ROOM))
    cloud = convert(plain, tmp_path / "cloud")
    assert (cloud.colours, cloud.scan, cloud.source_index) == (None, None, None)


def test_the_same_file_gives_the_same_cloud(tmp_path: Path) -> None:
    path, _ = write("scan.laz", tmp_path)
    first, second = convert(path, tmp_path / "first"), convert(path, tmp_path / "second")
    assert first.manifest == second.manifest
    np.testing.assert_array_equal(first.points, second.points)


_MEASURE = """
import sys
from pathlib import Path
from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.ingest.clouds import conversion

def peak_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024

before = peak_mb()
source = Path(sys.argv[1])
conversion.main(BuildingSettings(), source, source.name, Path(sys.argv[2]), Silence())
print(peak_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["ply", "xyz"])
def test_memory_does_not_grow_with_the_file(suffix: str, tmp_path: Path) -> None:
    grown = []
    for count in (2_000_000, 12_000_000):
        path = tmp_path / f"{count}.{suffix}"
        with path.open("wb") as file:
            piece = room(1_000_000)
            if suffix == "ply":
                header = ply_of(piece[:1].astype(np.float32), declared=count)
                file.write(header[: header.find(b"end_header\n") + len(b"end_header\n")])
            body = piece.astype("<f4").tobytes() if suffix == "ply" else text_of(piece.round(3))
            for _ in range(count // 1_000_000):
                file.write(body)
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / f"{count}-{suffix}")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        grown.append(int(done.stdout))
    # Megabytes over what the libraries take; ten million more points would take over 120.
    assert grown[1] < grown[0] + 60
    assert grown[1] < 400
