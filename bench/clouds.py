"""How fast point clouds become canonical, and in what memory, against the reader that everybody uses for the format.

    python bench/clouds.py [--points 4000000]

Makes a room's cloud in each format, then converts it in fresh processes: once by `services.ingest.clouds.conversion.main`, once by what
one would write with the format's common reader: read all, shift, save points and colours as arrays. That leaves out our checks,
our search for unit, up axis and spacing, and it needs the whole cloud in memory. Ends with one figure: the geometric mean
of our speed over theirs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import plyfile
import polars as pl
import pye57

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.ingest.clouds import conversion

Floats = npt.NDArray[np.float64]
Bytes8 = npt.NDArray[np.uint8]
_PIECE = 1_000_000
_COLUMNS_PER_PTX = 1000


def room(count: int, seed: int) -> tuple[Floats, Bytes8]:
    """Points (n, 3) on the faces of a box that stands askew, with 3 mm of noise, and colours (n, 3)."""
    rng = np.random.default_rng(seed)
    size = np.array([12.0, 8.0, 2.7])
    face = rng.integers(0, 6, count)
    points = rng.uniform(0, 1, (count, 3)) * size
    points[np.arange(count), face // 2] = (face % 2) * size[face // 2]
    points += rng.normal(0, 0.003, points.shape)
    cos, sin = np.cos(0.3), np.sin(0.3)
    points[:, :2] @= np.array([[cos, sin], [-sin, cos]])
    return points, rng.integers(0, 256, (count, 3)).astype(np.uint8)


def write_ply(path: Path, points: Floats, colours: Bytes8) -> None:
    table = np.empty(
        len(points), dtype=[*((name, "<f4") for name in "xyz"), *((name, "u1") for name in ("red", "green", "blue"))]
    )
    for place, name in enumerate("xyz"):
        table[name] = points[:, place]
    for place, name in enumerate(("red", "green", "blue")):
        table[name] = colours[:, place]
    with path.open("wb") as file:
        plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")], byte_order="<").write(file)


def _table(points: Floats, colours: Bytes8, *, with_intensity: bool) -> pl.DataFrame:
    columns: dict[str, npt.NDArray[np.generic]] = {name: points[:, place] for place, name in enumerate("xyz")}
    if with_intensity:
        columns["i"] = np.linspace(0, 1, len(points))
    for place, name in enumerate("rgb"):
        columns[name] = colours[:, place]
    return pl.DataFrame(columns)


def write_xyz(path: Path, points: Floats, colours: Bytes8) -> None:
    _table(points, colours, with_intensity=False).write_csv(
        path, separator=" ", include_header=False, float_precision=4
    )


def write_ptx(path: Path, points: Floats, colours: Bytes8) -> None:
    rows = len(points) // _COLUMNS_PER_PTX
    kept = rows * _COLUMNS_PER_PTX
    with path.open("wb") as file:
        file.write(f"{_COLUMNS_PER_PTX}\n{rows}\n".encode())
        file.write(b"0 0 0\n1 0 0\n0 1 0\n0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1 0\n1 2 1.5 1\n")
        table = _table(points[:kept], colours[:kept], with_intensity=True)
        table.write_csv(file, separator=" ", include_header=False, float_precision=4)


def write_las(path: Path, points: Floats, colours: Bytes8) -> None:
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = np.full(3, 1e-4), np.zeros(3)
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    las.red, las.green, las.blue = colours.T.astype(np.uint16) * 257
    las.write(path)


def write_e57(path: Path, points: Floats, colours: Bytes8) -> None:
    columns = {f"cartesian{axis}": points[:, place].copy() for place, axis in enumerate("XYZ")}
    bytes_of = {f"color{name}": colours[:, place].copy() for place, name in enumerate(("Red", "Green", "Blue"))}
    with pye57.E57(str(path), "w") as file:
        file.write_scan_raw(
            columns | bytes_of, rotation=np.array([1.0, 0, 0, 0]), translation=np.array([1.0, 2.0, 1.5])
        )


def _pcd_header(count: int, data: str) -> bytes:
    return (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {data}\n"
    ).encode()


def _packed(colours: Bytes8) -> npt.NDArray[np.uint32]:
    return np.asarray((colours.astype("<u4") << np.array([16, 8, 0], "<u4")).sum(axis=1, dtype="<u4"))


def write_pcd(path: Path, points: Floats, colours: Bytes8) -> None:
    table = np.rec.fromarrays([*points.T.astype("<f4"), _packed(colours)])
    path.write_bytes(_pcd_header(len(points), "binary") + table.tobytes())


def write_packed_pcd(path: Path, points: Floats, colours: Bytes8) -> None:
    """Literal runs only: noise does not pack."""
    plain = points.T.astype("<f4").tobytes() + _packed(colours).tobytes()
    runs = np.frombuffer(plain, np.uint8).reshape(-1, 32)
    packed = np.column_stack([np.full(len(runs), 31, np.uint8), runs]).tobytes()
    sizes = np.array([len(packed), len(plain)], "<u4").tobytes()
    path.write_bytes(_pcd_header(len(points), "binary_compressed") + sizes + packed)


def loadtxt(path: Path) -> tuple[Floats, Bytes8]:
    table = np.loadtxt(path)
    return table[:, :3], table[:, 3:].astype(np.uint8)


def loadtxt_ptx(path: Path) -> tuple[Floats, Bytes8]:
    table = np.loadtxt(path, skiprows=10)
    return table[:, :3] + np.array([1, 2, 1.5]), table[:, 4:].astype(np.uint8)


def read_plyfile(path: Path) -> tuple[Floats, Bytes8]:
    table = plyfile.PlyData.read(path)["vertex"].data
    points = np.column_stack([table[name].astype(np.float64) for name in "xyz"])
    return points, np.column_stack([table[name] for name in ("red", "green", "blue")])


def read_laspy(path: Path) -> tuple[Floats, Bytes8]:
    las = laspy.read(path)
    return np.asarray(las.xyz), (np.column_stack([las.red, las.green, las.blue]) >> 8).astype(np.uint8)


def read_pye57(path: Path) -> tuple[Floats, Bytes8]:
    with pye57.E57(str(path)) as file:
        scan = file.read_scan(0, colors=True, ignore_missing_fields=True)
    points = np.column_stack([scan[f"cartesian{axis}"] for axis in "XYZ"])
    return points, np.column_stack([scan[f"color{name}"] for name in ("Red", "Green", "Blue")])


def read_fromfile(path: Path) -> tuple[Floats, Bytes8]:
    with path.open("rb") as file:
        while not file.readline().startswith(b"DATA"):
            pass
        table = np.fromfile(file, dtype="<f4").reshape(-1, 4)
    packed = np.ascontiguousarray(table[:, 3]).view(np.uint32)
    return table[:, :3].astype(np.float64), np.column_stack([packed >> shift & 255 for shift in (16, 8, 0)]).astype(
        np.uint8
    )


def convert_simply(read: Callable[[Path], tuple[Floats, Bytes8]], path: Path, folder: Path) -> None:
    points, colours = read(path)
    folder.mkdir()
    np.save(folder / "points.npy", (points - np.round(points[0])).astype(np.float32))
    np.save(folder / "colours.npy", colours)


@dataclass(frozen=True)
class Format:
    name: str
    file_name: str
    write: Callable[[Path, Floats, Bytes8], None]
    reader: str
    read: Callable[[Path], tuple[Floats, Bytes8]] | None


FORMATS = (
    Format("XYZ text", "room.xyz", write_xyz, "numpy.loadtxt", loadtxt),
    Format("PTX", "room.ptx", write_ptx, "numpy.loadtxt", loadtxt_ptx),
    Format("PLY binary", "room.ply", write_ply, "plyfile", read_plyfile),
    Format("LAS", "room.las", write_las, "laspy", read_laspy),
    Format("LAZ", "room.laz", write_las, "laspy", read_laspy),
    Format("E57", "room.e57", write_e57, "pye57", read_pye57),
    Format("PCD binary", "room.pcd", write_pcd, "numpy.fromfile", read_fromfile),
    Format("PCD compressed", "packed.pcd", write_packed_pcd, "", None),
)


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_mb: float


def read_here(path: Path, reader: str) -> None:
    """Runs in a process of its own, and prints what a `Run` has."""
    began = time.perf_counter()
    if reader == "ours":
        conversion.main(BuildingSettings(), path, path.name, path.with_suffix(".canonical"), Silence())
    else:
        found = next(each for each in FORMATS if each.file_name == path.name)
        assert found.read is not None
        convert_simply(found.read, path, path.with_suffix(".simple"))
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, peak_memory_mb()]))


def peak_memory_mb() -> float:
    """Of this process. The kernel's ru_maxrss would do, if it did not begin at the peak of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e6


def read_apart(path: Path, reader: str) -> Run:
    command = [sys.executable, __file__, "--read", str(path), "--reader", reader]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak_mb = json.loads(done.stdout)
    return Run(seconds, peak_mb)


def best(path: Path, reader: str, times: int) -> Run:
    """The fastest of a few: whatever else the machine does only slows."""
    runs = []
    for _ in range(times):
        runs.append(read_apart(path, reader))
        for folder in path.parent.glob(f"{path.stem}.*/"):
            shutil.rmtree(folder)
    return min(runs, key=lambda run: run.seconds)


def measure(folder: Path, count: int, times: int) -> float:
    """Print a line for each format. Returns the geometric mean of the ratios of speed."""
    points, colours = room(count, 7)
    print(
        f"{'':<16}{'M points/s':>11}{'peak MB':>9}   {'common reader':<15}{'M points/s':>11}{'peak MB':>9}{'ratio':>8}"
    )
    ratios = []
    for each in FORMATS:
        path = folder / each.file_name
        each.write(path, points, colours)
        ours = best(path, "ours", times)
        line = f"{each.name:<16}{count / ours.seconds / 1e6:>11.2f}{ours.peak_mb:>9.0f}"
        if each.read is not None:
            theirs = best(path, "common", times)
            ratios.append(theirs.seconds / ours.seconds)
            line += f"   {each.reader:<15}{count / theirs.seconds / 1e6:>11.2f}{theirs.peak_mb:>9.0f}{ratios[-1]:>8.2f}"
        print(line, flush=True)
        path.unlink()
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of reading point clouds.")
    parser.add_argument("--points", type=int, default=4_000_000, help="points in each file (default 4,000,000)")
    parser.add_argument("--times", type=int, default=2, help="runs of which the fastest counts (default 2)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reader", choices=("ours", "common"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        read_here(arguments.read, arguments.reader)
        return
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as name:
        ratio = measure(Path(name), arguments.points // _COLUMNS_PER_PTX * _COLUMNS_PER_PTX, arguments.times)
    print(f"ours / common reader, geometric mean of speeds: {ratio:.2f}")


if __name__ == "__main__":
    main()
