"""Files of scanned buildings: what is written can be read by others' readers, and is the same cloud."""

from pathlib import Path

import laspy
import numpy as np
import pye57
import pytest
import yaml
from plyfile import PlyData

from contracts.building_settings import BuildingSettings
from contracts.clouds import CloudManifest
from samples import building as command
from samples.building import BuildingSpec, ScannedCloud, ScanSpec, make_building, scan
from samples.building_files import (
    FORMATS,
    XyzStyle,
    scanner_pose,
    write_building,
    write_canonical,
    write_pcd,
    write_xyz,
    y_up,
)
from samples.building_truth import load_building_truth

OFFSET_M = (-743210.25, -1043517.5, 251.3)


@pytest.fixture(scope="module")
def cloud() -> ScannedCloud:
    building = make_building(BuildingSpec("garage", 1, yaw_deg=25.0, offset_m=OFFSET_M))
    return scan(building, ScanSpec(spacing_m=0.0, angular_step_rad=0.05))


def test_the_canonical_form(cloud: ScannedCloud, tmp_path: Path) -> None:
    write_canonical(cloud, tmp_path)
    manifest = CloudManifest.model_validate_json((tmp_path / "cloud.json").read_bytes())
    points = np.load(tmp_path / "points.npy")
    assert points.dtype == np.float32
    assert np.abs(points).max() < 60
    assert manifest.points == len(points) == len(cloud.points)
    move = np.array(manifest.file_from_cloud)
    back = points.astype(np.float64) @ move[:3, :3].T + move[:3, 3]
    assert np.abs(back - cloud.points).max() < 1e-5
    assert np.allclose(points.min(axis=0), manifest.bounds_m[0])
    assert len(manifest.scanners_m) == np.load(tmp_path / "scan.npy").max() + 1
    truth = load_building_truth(tmp_path / "truth.json")
    assert truth.walls[0].start == pytest.approx(np.subtract(cloud.truth.walls[0].start, move[:2, 3]))
    elements = (tmp_path / "elements.txt").read_text().splitlines()
    labels = np.load(tmp_path / "elements.npy")
    floor = labels == elements.index("slab slab0")
    top = truth.slabs[0].top_m
    assert np.abs(np.median(points[floor & (np.abs(points[:, 2] - top) < 0.03), 2]) - top) < 0.002


@pytest.mark.parametrize("file_format", ["ply", "ply_double", "ply_ascii"])
def test_ply(cloud: ScannedCloud, tmp_path: Path, file_format: str) -> None:
    path = write_building(cloud, tmp_path, file_format)
    vertex = PlyData.read(str(path))["vertex"]
    read = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    # Single precision cannot hold a survey grid: that is how such files are broken in the wild.
    tolerance = 0.07 if file_format == "ply" else 1e-4
    assert np.abs(read - cloud.points).max() < tolerance
    assert (np.stack([vertex[c] for c in ("red", "green", "blue")], axis=1) == cloud.rgb).all()


@pytest.mark.parametrize(
    ("style", "delimiter", "skipped"),
    [
        (XyzStyle(), " ", 0),
        (XyzStyle(",", ("x", "y", "z"), "X,Y,Z"), ",", 1),
        (XyzStyle(";", ("x", "y", "z", "intensity")), ";", 0),
        (XyzStyle("\t", ("x", "y", "z", "r", "g", "b", "intensity"), "//X Y Z R G B Intensity"), "\t", 1),
    ],
)
def test_xyz(cloud: ScannedCloud, tmp_path: Path, style: XyzStyle, delimiter: str, skipped: int) -> None:
    write_xyz(cloud, tmp_path / "a.xyz", style)
    read = np.loadtxt(tmp_path / "a.xyz", delimiter=delimiter, skiprows=skipped, comments=None)
    assert read.shape == (len(cloud.points), len(style.columns))
    assert np.abs(read[:, :3] - cloud.points).max() < 1e-4


def test_ptx_has_full_grids_in_the_scanners_axes(cloud: ScannedCloud, tmp_path: Path) -> None:
    lines = write_building(cloud, tmp_path, "ptx").read_text().splitlines()
    position, found = 0, []
    for number, station in enumerate(cloud.stations):
        columns, rows = int(lines[position]), int(lines[position + 1])
        assert (columns, rows) == (station.columns, station.rows)
        header = [np.array(line.split(), np.float64) for line in lines[position + 2 : position + 10]]
        assert np.allclose(header[0], cloud.scanners_m[number], atol=1e-5)
        matrix = np.array(header[4:])
        grid = np.array([line.split() for line in lines[position + 10 : position + 10 + columns * rows]], np.float64)
        valid = (grid[:, :3] != 0).any(axis=1)
        assert valid.sum() == (cloud.scan == number).sum()
        world = np.column_stack([grid[valid, :3], np.ones(valid.sum())]) @ matrix
        found.append(world[:, :3])
        position += 10 + columns * rows
    assert position == len(lines)
    # Valid rows come in the order of the cloud, so that elements.npy belongs to them.
    assert np.abs(np.concatenate(found) - cloud.points).max() < 1e-4


def test_e57_keeps_scans_and_poses(cloud: ScannedCloud, tmp_path: Path) -> None:
    path = write_building(cloud, tmp_path, "e57")
    file = pye57.E57(str(path))
    assert file.scan_count == len(cloud.stations)
    for number in range(file.scan_count):
        header = file.get_header(number)
        assert np.allclose(header.translation, scanner_pose(cloud, number)[:3, 3])
        data = file.read_scan(number, intensity=True, colors=True, transform=True, ignore_missing_fields=True)
        read = np.stack([data[f"cartesian{axis}"] for axis in "XYZ"], axis=1)
        own = cloud.scan == number
        assert np.abs(read - cloud.points[own]).max() < 1e-6
        assert (data["colorGreen"] == cloud.rgb[own, 1]).all()
    file.close()


@pytest.mark.parametrize("file_format", ["las", "laz"])
def test_las(cloud: ScannedCloud, tmp_path: Path, file_format: str) -> None:
    las = laspy.read(str(write_building(cloud, tmp_path, file_format)))
    assert np.abs(np.asarray(las.xyz) - cloud.points).max() < 1e-4
    assert (np.asarray(las.red) // 257 == cloud.rgb[:, 0]).all()
    assert (np.asarray(las.point_source_id) == cloud.scan + 1).all()


def test_pcd(cloud: ScannedCloud, tmp_path: Path) -> None:
    write_pcd(cloud, tmp_path / "a.pcd", "ascii")
    lines = (tmp_path / "a.pcd").read_text().splitlines()
    start = lines.index("DATA ascii") + 1
    read = np.array([line.split() for line in lines[start:]], np.float64)
    assert np.abs(read[:, :3] - cloud.points).max() < 1e-4
    assert ((read[:, 3].astype(np.int64) >> 16) == cloud.rgb[:, 0]).all()
    write_pcd(cloud, tmp_path / "b.pcd", "binary")
    raw = (tmp_path / "b.pcd").read_bytes()
    body = raw[raw.index(b"DATA binary\n") + 12 :]
    rows = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "<u4"), ("intensity", "<f4")])
    assert np.array_equal(rows["xyz"], cloud.points.astype(np.float32))


def test_y_up_turns_the_cloud_and_its_poses(cloud: ScannedCloud) -> None:
    turned = y_up(cloud)
    assert np.allclose(turned.points[:, 1], cloud.points[:, 2])
    assert np.allclose(turned.points[:, 2], -cloud.points[:, 1])
    assert np.linalg.det(turned.file_from_building[:3, :3]) == pytest.approx(1)
    pose = scanner_pose(turned, 0)
    assert np.allclose(pose[:3, 3], turned.scanners_m[0])


def test_the_configuration_is_one_that_the_service_accepts(cloud: ScannedCloud, tmp_path: Path) -> None:
    write_building(cloud, tmp_path, "laz")
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    settings = BuildingSettings.model_validate(written)
    assert settings.exterior_scan is True
    assert settings.exterior_walls_thickness == pytest.approx(cloud.truth.walls[0].thickness_m)
    assert set(written) <= set(BuildingSettings.model_fields)
    with pytest.raises(KeyError):
        write_building(cloud, tmp_path, "dwg")


def test_the_command_writes_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    arguments = ["building", str(out), "--name", "garage", "--spacing", "0.1", "--step", "0.05", "--empty"]
    monkeypatch.setattr("sys.argv", [*arguments, "--coverage", "indoors", "--format", "laz"])
    command.main()
    assert {path.name for path in out.iterdir()} == {
        "garage.laz",
        "config.yaml",
        "truth.json",
        "elements.npy",
        "elements.txt",
    }
    assert "points from" in capsys.readouterr().out
    assert yaml.safe_load((out / "config.yaml").read_text())["exterior_scan"] is False
    assert set(FORMATS) >= {"ply", "xyz", "ptx", "e57", "las", "laz", "pcd", "canonical"}
