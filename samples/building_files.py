"""Writes scanned buildings: the canonical form, and the files that surveyors hand over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import laspy
import numpy as np
import polars
import pye57
import yaml
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from contracts.clouds import (
    CLOUD_MANIFEST_NAME,
    COLOURS_NAME,
    INTENSITY_NAME,
    POINTS_NAME,
    SCAN_NAME,
    CloudManifest,
    Point,
)
from samples.building_plan import Floats
from samples.building_scan import ScannedCloud
from samples.building_truth import as_rows, save_building_truth
from samples.scanner import Station

CONFIG_NAME = "config.yaml"
TRUTH_NAME = "truth.json"
LABELS_NAME = "elements.npy"
ELEMENTS_NAME = "elements.txt"


def write_canonical(cloud: ScannedCloud, folder: Path) -> None:
    """The canonical form of `contracts.clouds`, and the truth in the same frame.

    Beside it: truth.json; elements.npy (n,) int32, index into the lines of elements.txt (class, a blank, the name), -1 = none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shift = np.floor(cloud.points.mean(axis=0))
    points = (cloud.points - shift).astype(np.float32)
    file_from_cloud = np.eye(4)
    file_from_cloud[:3, 3] = shift
    np.save(folder / POINTS_NAME, points)
    np.save(folder / COLOURS_NAME, cloud.rgb)
    np.save(folder / INTENSITY_NAME, cloud.intensity)
    np.save(folder / SCAN_NAME, cloud.scan)
    save_labels(cloud, folder)
    save_building_truth(cloud.truth.moved(np.asarray(np.linalg.inv(file_from_cloud), np.float64)), folder / TRUTH_NAME)
    manifest = CloudManifest(
        file_name=f"{cloud.truth.name}.ply",
        format="ply",
        points=len(points),
        points_in_file=len(points),
        file_from_cloud=as_rows(file_from_cloud),
        up_axis="z",
        bounds_m=(_point(points.min(axis=0)), _point(points.max(axis=0))),
        spacing_m=cloud.spacing_m if cloud.spacing_m > 0 else 0.005,
        has_colours=True,
        has_intensity=True,
        scanners_m=tuple(_point(p) for p in cloud.scanners_m - shift),
    )
    (folder / CLOUD_MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def write_building(cloud: ScannedCloud, folder: Path, file_format: str) -> Path:
    """One file of a format of FORMATS, with config.yaml, truth.json (both in its frame), elements.npy and elements.txt.

    Returns where the cloud is. Raises KeyError for an unknown format.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if file_format == "canonical":
        write_canonical(cloud, folder)
        return folder
    suffix, write = FORMATS[file_format]
    path = folder / f"{cloud.truth.name}{suffix}"
    write(cloud, path)
    write_config(cloud, folder / CONFIG_NAME)
    save_building_truth(cloud.truth, folder / TRUTH_NAME)
    save_labels(cloud, folder)
    return path


def write_config(cloud: ScannedCloud, path: Path) -> None:
    """The configuration of a building job, as a user who knows the building would write it."""
    outside = any(station.storey < 0 for station in cloud.stations)
    floors = [slab.top_m - slab.bottom_m for slab in cloud.truth.slabs if slab.kind == "floor"]
    roofs = [slab.top_m - slab.bottom_m for slab in cloud.truth.slabs if slab.kind == "roof"]
    exterior = [wall.thickness_m for wall in cloud.truth.walls if wall.is_external]
    settings = {
        "dilute": False,
        "exterior_scan": outside,
        "pc_resolution": 0.002,
        "preprocessing": {"voxel_size": 0.002, "noise_threshold": 0.02},
        "detection": {"grid_coefficient": 5},
        "bfs_thickness": round(floors[0], 3),
        "tfs_thickness": round(roofs[0], 3),
        "min_wall_length": 0.10,
        "min_wall_thickness": 0.05,
        "max_wall_thickness": 0.75,
        "exterior_walls_thickness": round(float(np.median(exterior)), 3),
        "ifc": {"project_name": cloud.truth.name, "building_name": cloud.truth.name},
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def y_up(cloud: ScannedCloud) -> ScannedCloud:
    """The same with +y up, as exporters of games and films write: (x, y, z) becomes (x, z, -y). The truth stays as it is."""
    turn = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    return replace(
        cloud,
        points=cloud.points @ turn[:3, :3].T,
        scanners_m=cloud.scanners_m @ turn[:3, :3].T,
        file_from_building=turn @ cloud.file_from_building,
    )


def save_labels(cloud: ScannedCloud, folder: Path) -> None:
    """Which element every point lies on, in the order of the points."""
    np.save(folder / LABELS_NAME, cloud.element)
    lines = [f"{element.element_class} {element.name}" for element in cloud.elements]
    (folder / ELEMENTS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _point(xyz: Floats | np.ndarray[tuple[int], np.dtype[np.float32]]) -> Point:
    x, y, z = (float(v) for v in xyz)
    return x, y, z


# --- formats ---------------------------------------------------------------------------------------------------------------


def write_ply(cloud: ScannedCloud, path: Path, coordinate: Literal["f4", "f8"] = "f4") -> None:
    """Binary PLY with colours and intensity. Coordinates as they are: 4-byte floats lose what an offset takes."""
    PlyData([PlyElement.describe(_ply_rows(cloud, coordinate), "vertex")], text=False).write(str(path))


def write_ply_double(cloud: ScannedCloud, path: Path) -> None:
    """Binary PLY with 8-byte coordinates."""
    write_ply(cloud, path, "f8")


def write_ply_ascii(cloud: ScannedCloud, path: Path) -> None:
    """Text PLY, to a tenth of a millimetre."""
    header = [
        "ply",
        "format ascii 1.0",
        f"element vertex {len(cloud.points)}",
        *(f"property double {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        "end_header",
    ]
    rows = _table(cloud, ("x", "y", "z", "r", "g", "b"))
    with path.open("wb") as file:
        file.write(("\n".join(header) + "\n").encode())
        rows.write_csv(file, include_header=False, separator=" ", float_precision=4)


def _ply_rows(cloud: ScannedCloud, coordinate: Literal["f4", "f8"]) -> NDArray[np.void]:
    colours = [(name, "u1") for name in ("red", "green", "blue")]
    rows = np.empty(len(cloud.points), [*((axis, coordinate) for axis in "xyz"), *colours, ("intensity", "f4")])
    for k, axis in enumerate("xyz"):
        rows[axis] = cloud.points[:, k]
    for k, name in enumerate(("red", "green", "blue")):
        rows[name] = cloud.rgb[:, k]
    rows["intensity"] = cloud.intensity
    return rows


XyzColumn = Literal["x", "y", "z", "r", "g", "b", "intensity"]


@dataclass(frozen=True)
class XyzStyle:
    """How a text cloud is written: what separates its columns, which there are, and the line above them."""

    separator: str = " "
    columns: tuple[XyzColumn, ...] = ("x", "y", "z", "r", "g", "b")
    header: str | None = None


def write_xyz(cloud: ScannedCloud, path: Path, style: XyzStyle | None = None) -> None:
    """A text cloud, to a tenth of a millimetre."""
    chosen = XyzStyle() if style is None else style
    with path.open("wb") as file:
        if chosen.header is not None:
            file.write(f"{chosen.header}\n".encode())
        _table(cloud, chosen.columns).write_csv(
            file, include_header=False, separator=chosen.separator, float_precision=4
        )


def _table(cloud: ScannedCloud, columns: Sequence[XyzColumn]) -> polars.DataFrame:
    known: dict[XyzColumn, NDArray[np.generic]] = {
        "x": cloud.points[:, 0],
        "y": cloud.points[:, 1],
        "z": cloud.points[:, 2],
        "r": cloud.rgb[:, 0],
        "g": cloud.rgb[:, 1],
        "b": cloud.rgb[:, 2],
        "intensity": cloud.intensity,
    }
    return polars.DataFrame({name: known[name] for name in columns})


def write_ptx(cloud: ScannedCloud, path: Path) -> None:
    """All scans in one PTX: full grids in each scanner's own axes, `0 0 0` where nothing came back or was thinned out."""
    with path.open("wb") as file:
        for number, station in enumerate(cloud.stations):
            pose = scanner_pose(cloud, number)
            file.write(_ptx_header(station, pose).encode())
            cells = station.columns * station.rows
            own = np.flatnonzero(cloud.scan == number)
            rows = np.zeros((cells, 3))
            rows[cloud.cell[own]] = _local(pose, cloud.points[own])
            intensity = np.full(cells, 0.5)
            intensity[cloud.cell[own]] = cloud.intensity[own]
            rgb = np.zeros((cells, 3), np.uint8)
            rgb[cloud.cell[own]] = cloud.rgb[own]
            columns: list[NDArray[np.generic]] = [*rows.T, intensity, *rgb.T]
            polars.DataFrame({str(k): column for k, column in enumerate(columns)}).write_csv(
                file, include_header=False, separator=" ", float_precision=6
            )


def _ptx_header(station: Station, pose: Floats) -> str:
    lines = [str(station.columns), str(station.rows), _numbers(pose[:3, 3])]
    lines += [_numbers(pose[:3, k]) for k in range(3)]
    # Row vectors: p_world = [p 1] M.
    lines += [_numbers(row) for row in pose.T]
    return "\n".join(lines) + "\n"


def _numbers(values: Floats) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def scanner_pose(cloud: ScannedCloud, number: int) -> Floats:
    """file_from_scanner (4, 4) float64 of a station: its axes are those of the building."""
    pose = cloud.file_from_building.copy()
    pose[:3, 3] = cloud.scanners_m[number]
    return pose


def _local(pose: Floats, points: Floats) -> Floats:
    return np.asarray((points - pose[:3, 3]) @ pose[:3, :3], np.float64)


def write_e57(cloud: ScannedCloud, path: Path) -> None:
    """E57 with one scan for each station, in its own axes, with its pose."""
    path.unlink(missing_ok=True)
    file = pye57.E57(str(path), mode="w")
    for number in range(len(cloud.stations)):
        pose = scanner_pose(cloud, number)
        own = np.flatnonzero(cloud.scan == number)
        if len(own) == 0:
            continue
        local = _local(pose, cloud.points[own])
        data: dict[str, NDArray[np.generic]] = {f"cartesian{axis}": local[:, k].copy() for k, axis in enumerate("XYZ")}
        data |= {f"color{name}": cloud.rgb[own, k].copy() for k, name in enumerate(("Red", "Green", "Blue"))}
        data["intensity"] = cloud.intensity[own]
        turn = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
        file.write_scan_raw(data, name=f"station {number}", rotation=turn, translation=pose[:3, 3])
    file.close()


def write_las(cloud: ScannedCloud, path: Path) -> None:
    """LAS 1.4 with colours, or LAZ by the name's ending; to a tenth of a millimetre. The scan is the point source."""
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.offsets = np.floor(cloud.points.mean(axis=0))
    header.scales = np.full(3, 1e-4)
    las = laspy.LasData(header)
    las.x, las.y, las.z = cloud.points.T
    las.red, las.green, las.blue = cloud.rgb.T.astype(np.uint16) * 257
    las.intensity = (cloud.intensity * 65535).astype(np.uint16)
    las.point_source_id = cloud.scan + 1
    las.write(str(path))


def write_pcd(cloud: ScannedCloud, path: Path, encoding: Literal["ascii", "binary"] = "binary") -> None:
    """PCD 0.7 with packed colours, coordinates as 4-byte floats (8-byte ones in text)."""
    packed = (cloud.rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)).astype(np.uint32)
    count, wide = len(cloud.points), 8 if encoding == "ascii" else 4
    header = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z rgb intensity\n"
        f"SIZE {wide} {wide} {wide} 4 4\nTYPE F F F U F\nCOUNT 1 1 1 1 1\nWIDTH {count}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {encoding}\n"
    )
    with path.open("wb") as file:
        file.write(header.encode())
        if encoding == "ascii":
            rows = _table(cloud, ("x", "y", "z")).with_columns(rgb=packed, intensity=cloud.intensity)
            rows.write_csv(file, include_header=False, separator=" ", float_precision=4)
            return
        binary = np.empty(count, [("xyz", "<f4", 3), ("rgb", "<u4"), ("intensity", "<f4")])
        binary["xyz"], binary["rgb"], binary["intensity"] = cloud.points, packed, cloud.intensity
        file.write(binary.tobytes())


FORMATS: dict[str, tuple[str, Callable[[ScannedCloud, Path], None]]] = {
    "canonical": ("", write_canonical),
    "ply": (".ply", write_ply),
    "ply_double": (".ply", write_ply_double),
    "ply_ascii": (".ply", write_ply_ascii),
    "xyz": (".xyz", write_xyz),
    "ptx": (".ptx", write_ptx),
    "e57": (".e57", write_e57),
    "las": (".las", write_las),
    "laz": (".laz", write_las),
    "pcd": (".pcd", write_pcd),
}
"""Ending of the file, and its writer."""
