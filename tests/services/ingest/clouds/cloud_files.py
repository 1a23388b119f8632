"""Tiny writers of point cloud files, a room to fill them with, and a reader of what became of them."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import pye57

from contracts.building_settings import BuildingSettings
from contracts.clouds import (
    CLOUD_MANIFEST_NAME,
    COLOURS_NAME,
    INTENSITY_NAME,
    POINTS_NAME,
    SCAN_NAME,
    SOURCE_INDEX_NAME,
    CloudManifest,
)
from contracts.progress import Silence
from services.ingest.clouds import conversion
from services.ingest.clouds.source import Notes, Piece, Reading

Floats = npt.NDArray[np.float64]
Bytes8 = npt.NDArray[np.uint8]


class Listener(Silence):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.steps: list[tuple[int, int, str | None]] = []

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.steps.append((done, total, operation))

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class Heard:
    """All pieces of a reading, one after the other."""

    xyz: Floats
    """(n, 3)"""
    colours: np.ndarray | None
    intensity: npt.NDArray[np.float32] | None
    no_return: npt.NDArray[np.bool_]
    scan: npt.NDArray[np.int64]
    warnings: list[str] = field(default_factory=list)


def notes() -> tuple[Notes, list[str]]:
    listener = Listener()
    return Notes(listener), listener.warnings


def collect(reading: Reading, warnings: list[str]) -> Heard:
    """Read everything. `warnings` is what the reading's notes are heard by."""
    with np.errstate(invalid="ignore", over="ignore"):
        pieces: list[Piece] = list(reading.pieces)
    colours = [piece.colours for piece in pieces if piece.colours is not None]
    intensity = [piece.intensity for piece in pieces if piece.intensity is not None]
    return Heard(
        np.concatenate([piece.xyz for piece in pieces] or [np.empty((3, 0))], axis=1).T,
        np.concatenate(colours, axis=1).T if colours else None,
        np.concatenate(intensity) if intensity else None,
        np.concatenate(
            [np.zeros(len(piece), np.bool_) if piece.no_return is None else piece.no_return for piece in pieces]
            or [np.zeros(0, np.bool_)]
        ),
        np.concatenate([np.full(len(piece), piece.scan) for piece in pieces] or [np.zeros(0, np.int64)]),
        warnings,
    )


@dataclass(frozen=True)
class Canonical:
    """A canonical cloud in memory, and what was said while it was written."""

    manifest: CloudManifest
    points: npt.NDArray[np.float32]
    colours: Bytes8 | None
    intensity: npt.NDArray[np.float32] | None
    scan: npt.NDArray[np.uint16] | None
    source_index: npt.NDArray[np.uint32] | None
    listener: Listener

    @property
    def file_points(self) -> Floats:
        """(n, 3) back in the file's frame, in metres."""
        matrix = np.array(self.manifest.file_from_cloud)
        return np.asarray(self.points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def convert(path: Path, out_dir: Path, settings: BuildingSettings | None = None) -> Canonical:
    listener = Listener()
    manifest = conversion.main(settings or BuildingSettings(), path, path.name, out_dir, listener)
    stored = CloudManifest.model_validate_json((out_dir / CLOUD_MANIFEST_NAME).read_bytes())
    assert stored == manifest

    def load(name: str) -> npt.NDArray[np.generic] | None:
        return np.load(out_dir / name) if (out_dir / name).exists() else None

    names = (POINTS_NAME, COLOURS_NAME, INTENSITY_NAME, SCAN_NAME, SOURCE_INDEX_NAME)
    arrays = [load(name) for name in names]
    present = {name for name, array in zip(names, arrays, strict=True) if array is not None}
    assert {path.name for path in out_dir.iterdir()} == present | {CLOUD_MANIFEST_NAME}
    assert all(array is None or len(array) == manifest.points for array in arrays)
    points, colours, intensity, scan, index = arrays
    assert points is not None and points.dtype == np.float32
    assert colours is None or colours.dtype == np.uint8
    assert (colours is None, intensity is None) == (not manifest.has_colours, not manifest.has_intensity)
    np.testing.assert_array_equal(np.array(manifest.bounds_m), [points.min(axis=0), points.max(axis=0)])
    return Canonical(
        manifest,
        points.astype(np.float32),
        None if colours is None else colours.astype(np.uint8),
        None if intensity is None else intensity.astype(np.float32),
        None if scan is None else scan.astype(np.uint16),
        None if index is None else index.astype(np.uint32),
        listener,
    )


def room(
    count: int = 3000,
    size_m: Sequence[float] = (6.0, 4.0, 2.6),
    heading_rad: float = 0.4,
    noise_m: float = 0.002,
    seed: int = 0,
) -> Floats:
    """(count, 3) on the inner faces of a box, evenly by area; its corner at the origin, turned about z."""
    rng = np.random.default_rng(seed)
    size = np.array(size_m, dtype=np.float64)
    areas = np.repeat([size[1] * size[2], size[0] * size[2], size[0] * size[1]], 2)
    face = rng.choice(6, count, p=areas / areas.sum())
    points = rng.uniform(0, 1, (count, 3)) * size
    points[np.arange(count), face // 2] = (face % 2) * size[face // 2]
    points += rng.normal(0, noise_m, points.shape)
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    return np.asarray(points @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]))


def some_colours(count: int, seed: int = 1) -> Bytes8:
    return np.random.default_rng(seed).integers(0, 256, (count, 3)).astype(np.uint8)


def text_of(*columns: npt.NDArray[np.generic], separator: str = " ", line_end: str = "\n") -> bytes:
    """Columns (n,) or (n, k) as rows of text, exactly."""
    table = np.column_stack([np.asarray(column, dtype=object) for column in columns])
    return "".join(separator.join(str(value) for value in row) + line_end for row in table.tolist()).encode()


def ptx_of(
    points: Floats,
    columns: int,
    rows: int,
    matrix: Floats | None = None,
    extras: Sequence[npt.NDArray[np.generic]] = (),
    *,
    position: Sequence[float] = (0.0, 0.0, 0.0),
) -> bytes:
    """One scan; `matrix` (4, 4) for row vectors, as the file has it."""
    matrix = np.eye(4) if matrix is None else matrix
    header = f"{columns}\n{rows}\n{' '.join(map(str, position))}\n1 0 0\n0 1 0\n0 0 1\n"
    header += "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in matrix)
    return header.encode() + text_of(points, *extras)


def ply_of(
    points: npt.NDArray[np.generic], colours: Bytes8 | None = None, order: str = "<", declared: int | None = None
) -> bytes:
    """Binary vertices with x, y, z in the dtype of `points`."""
    kind = {"f4": "float", "f8": "double"}[points.dtype.str[1:]]
    names = {"<": "binary_little_endian", ">": "binary_big_endian"}
    header = f"ply\nformat {names[order]} 1.0\nelement vertex {len(points) if declared is None else declared}\n"
    header += "".join(f"property {kind} {name}\n" for name in "xyz")
    fields: list[tuple[str, str, int]] = [("p", order + points.dtype.str[1:], 3)]
    if colours is not None:
        header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        fields.append(("c", "u1", 3))
    table = np.zeros(len(points), dtype=fields)
    table["p"] = points
    if colours is not None:
        table["c"] = colours
    return (header + "end_header\n").encode() + table.tobytes()


def pcd_header(  # noqa: PLR0917
    fields: str, sizes: str, types: str, width: int, height: int, data: str, viewpoint: str = ""
) -> bytes:
    count = " ".join("1" for _ in fields.split())
    return (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {types}\nCOUNT {count}\n"
        f"WIDTH {width}\nHEIGHT {height}\nVIEWPOINT {viewpoint or '0 0 0 1 0 0 0'}\nPOINTS {width * height}\nDATA {data}\n"
    ).encode()


def pack_lzf(data: bytes) -> bytes:
    """LZF with literal runs and copies, as simple as can be: the last place of each three bytes is remembered."""
    out, literal, at = bytearray(), bytearray(), 0
    seen: dict[bytes, int] = {}

    def flush() -> None:
        for begin in range(0, len(literal), 32):
            run = literal[begin : begin + 32]
            out.append(len(run) - 1)
            out.extend(run)
        literal.clear()

    while at < len(data):
        key = data[at : at + 3]
        before = seen.get(key)
        seen[key] = at
        if before is None or len(key) < 3 or at - before > 8192:
            literal.append(data[at])
            at += 1
            continue
        length = 3
        while length < 264 and at + length < len(data) and data[before + length] == data[at + length]:
            length += 1
        flush()
        back, coded = at - before - 1, length - 2
        out.append(min(coded, 7) << 5 | back >> 8)
        if coded >= 7:
            out.append(coded - 7)
        out.append(back & 255)
        at += length
    flush()
    return bytes(out)


def compressed_body(plain: bytes) -> bytes:
    """The body of a binary_compressed PCD file."""
    packed = pack_lzf(plain)
    return struct.pack("<II", len(packed), len(plain)) + packed


def write_las(
    path: Path,
    points: Floats,
    *,
    colours: npt.NDArray[np.uint16] | None = None,
    intensity: npt.NDArray[np.uint16] | None = None,
    scale: float = 0.001,
    point_format: int = 7,
    vlrs: Sequence[laspy.VLR] = (),
) -> None:
    header = laspy.LasHeader(point_format=point_format, version="1.4" if point_format > 5 else "1.2")
    header.scales, header.offsets = np.full(3, scale), np.floor(points.min(axis=0))
    header.vlrs.extend(vlrs)
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    if colours is not None:
        las.red, las.green, las.blue = colours.T
    if intensity is not None:
        las.intensity = intensity
    las.write(path)


def write_e57(
    path: Path, scans: Sequence[tuple[Mapping[str, npt.NDArray[np.generic]], Floats | None, Floats | None]]
) -> None:
    """Scans as columns by field name, rotation quaternion (w, x, y, z) and translation."""
    with pye57.E57(str(path), "w") as file:
        for columns, rotation, translation in scans:
            file.write_scan_raw(dict(columns), rotation=rotation, translation=translation)
