"""E57 (ASTM E2807): scans with poses, in cartesian or spherical coordinates, read in pieces through libE57Format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pye57 import libe57

from contracts.errors import UserError
from services.ingest.clouds.colours import fractional_colours, whole_colours
from services.ingest.clouds.e57_header import read_e57_header
from services.ingest.clouds.errors import MAX_SCANS, bad_cloud, check_claim
from services.ingest.clouds.las import epsg_of_wkt
from services.ingest.clouds.source import PIECE_POINTS, Bools, Colours, Floats, Notes, Piece, Reading

_FAILURES = (libe57.E57Exception, UnicodeDecodeError)
"""The library's messages quote the file, which need not be UTF-8."""
_CARTESIAN = ("cartesianX", "cartesianY", "cartesianZ")
_SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_COLOURS = ("colorRed", "colorGreen", "colorBlue")
_GRID = ("rowIndex", "columnIndex")
_MAX_CRS_CHARACTERS = 20_000


@dataclass(frozen=True)
class _Scan:
    points: libe57.CompressedVectorNode
    fields: frozenset[str]
    colours_are_whole: bool
    count: int
    world_from_scan: Floats
    """(3, 4)"""
    position: Floats | None


def read_e57(path: Path, file_name: str, notes: Notes) -> Reading:
    """Open an E57 file. Raises UserError if it is damaged, and so does `pieces`."""
    with path.open("rb") as file:
        read_e57_header(file, file_name)
        size_bytes = file.seek(0, 2)
    try:
        image = libe57.ImageFile(str(path), "r")
    except _FAILURES as error:
        raise _damaged(file_name, error) from error
    try:
        scans = _find_scans(image, file_name)
        crs = _read_crs(image)
    except _FAILURES as error:
        raise _damaged(file_name, error) from error
    points = sum(scan.count for scan in scans)
    check_claim(file_name, points, size_bytes)
    reading = Reading(iter(()), points, crs=crs, bytes_total=size_bytes)
    reading.scanners += [scan.position for scan in scans]
    reading.unit_m = 1.0  # The standard knows metres only.
    reading.pieces = _pieces(image, scans, file_name, notes)
    return reading


def _damaged(file_name: str, error: Exception) -> UserError:
    reason = str(error).split("\n", maxsplit=1)[0][:120]
    return bad_cloud(
        f"{file_name} cannot be read as E57 ({reason}): it is damaged or cut off. Export or send it again."
    )


def _find_scans(image: libe57.ImageFile, file_name: str) -> list[_Scan]:
    root = image.root()
    nodes = root["data3D"] if root.isDefined("data3D") else []
    if len(nodes) == 0:
        raise bad_cloud(f"{file_name} is an E57 file without scans.")
    if len(nodes) > MAX_SCANS:
        raise bad_cloud(f"{file_name} has {len(nodes):,} scans; at most {MAX_SCANS:,} are accepted. Send it in parts.")
    scans = [_find_scan(nodes[index], index, file_name) for index in range(len(nodes))]
    return [scan for scan in scans if scan is not None]


def _find_scan(node: libe57.StructureNode, index: int, file_name: str) -> _Scan | None:
    if not node.isDefined("points"):
        return None
    points = node["points"]
    prototype = libe57.StructureNode(points.prototype())
    fields = frozenset(str(prototype.get(place).elementName()) for place in range(prototype.childCount()))
    if not fields.issuperset(_CARTESIAN) and not fields.issuperset(_SPHERICAL):
        raise bad_cloud(
            f"{file_name}: scan {index + 1} has neither cartesian nor spherical coordinates. Export the scans again."
        )
    world_from_scan = _pose(node)
    is_scan = fields.issuperset(_GRID) or fields.issuperset(_SPHERICAL) or bool(world_from_scan[:, 3].any())
    # A list of points without pose and grid was merged from somewhere: nobody stood at its origin.
    position = world_from_scan[:, 3] if node.isDefined("pose") and is_scan else None
    whole = not any(isinstance(prototype[name], libe57.FloatNode) for name in _COLOURS if name in fields)
    return _Scan(points, fields, whole, int(points.childCount()), world_from_scan, position)


def _pose(node: libe57.StructureNode) -> Floats:
    pose = np.eye(3, 4)
    if node.isDefined("pose/rotation"):
        w, x, y, z = (float(node[f"pose/rotation/{name}"].value()) for name in "wxyz")
        pose[:, :3] = _rotation(w, x, y, z)
    if node.isDefined("pose/translation"):
        pose[:, 3] = [float(node[f"pose/translation/{name}"].value()) for name in "xyz"]
    return pose


def _rotation(w: float, x: float, y: float, z: float) -> Floats:
    """Of a quaternion, made a unit one."""
    norm = float(np.linalg.norm((w, x, y, z)))
    if not norm > 0.5:
        return np.eye(3)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _read_crs(image: libe57.ImageFile) -> str | None:
    root = image.root()
    if not root.isDefined("coordinateMetadata"):
        return None
    text = str(root["coordinateMetadata"].value()).strip()[:_MAX_CRS_CHARACTERS]
    return (epsg_of_wkt(text) or text) or None


def _pieces(image: libe57.ImageFile, scans: list[_Scan], file_name: str, notes: Notes) -> Iterator[Piece]:
    try:
        for index, scan in enumerate(scans):
            found = 0
            for piece in _scan_pieces(image, scan, index):
                found += len(piece)
                yield piece
            if found < scan.count:
                notes.warn(
                    f"The header says that scan {index + 1} has {scan.count:,} points, but only {found:,} are in the file. "
                    "What is there was used."
                )
    except _FAILURES as error:
        raise _damaged(file_name, error) from error
    finally:
        image.close()


def _scan_pieces(image: libe57.ImageFile, scan: _Scan, index: int) -> Iterator[Piece]:
    if not scan.count:
        return
    columns = _columns(scan.fields)
    buffers = libe57.VectorSourceDestBuffer()
    for name, column in columns.items():
        buffers.append(libe57.SourceDestBuffer(image, name, column, PIECE_POINTS, True, True))
    reader = scan.points.reader(buffers)
    left = scan.count
    while left > 0 and (count := min(int(reader.read()), left)):
        left -= count
        yield _to_piece({name: column[:count] for name, column in columns.items()}, scan, index)
    reader.close()


def _columns(fields: frozenset[str]) -> dict[str, npt.NDArray[np.generic]]:
    """A buffer for each field that is wanted and there."""
    wanted: dict[str, npt.DTypeLike] = {}
    if fields.issuperset(_CARTESIAN):
        wanted |= dict.fromkeys((*_CARTESIAN, "cartesianInvalidState"), np.float64)
    else:
        wanted |= dict.fromkeys((*_SPHERICAL, "sphericalInvalidState"), np.float64)
    wanted |= {"intensity": np.float32}
    if fields.issuperset(_COLOURS):
        wanted |= dict.fromkeys(_COLOURS, np.float32)
    return {name: np.empty(PIECE_POINTS, dtype) for name, dtype in wanted.items() if name in fields}


def _to_piece(columns: dict[str, npt.NDArray[np.generic]], scan: _Scan, index: int) -> Piece:
    names = _CARTESIAN if _CARTESIAN[0] in columns else _SPHERICAL
    local = np.stack([columns[name].astype(np.float64) for name in names])
    state = columns.get(names[0].replace("X", "").replace("Range", "") + "InvalidState")
    # 1: a direction without distance; 2: nothing at all. Without states some programs write zeros, where the scanner is.
    no_return: Bools | None = None if state is None else state != 0
    if state is None and scan.position is not None:
        no_return = np.logical_and.reduce(local == 0)
    if names is _SPHERICAL:
        distance_m, azimuth_rad, elevation_rad = local
        flat_m = distance_m * np.cos(elevation_rad)
        local = np.stack(
            [flat_m * np.cos(azimuth_rad), flat_m * np.sin(azimuth_rad), distance_m * np.sin(elevation_rad)]
        )
    colours: Colours | None = None
    if _COLOURS[0] in columns:
        stored = np.stack([columns[name].astype(np.float64) for name in _COLOURS])
        colours = whole_colours(stored) if scan.colours_are_whole else fractional_colours(stored)
    intensity = columns["intensity"].astype(np.float32) if "intensity" in columns else None
    pose = scan.world_from_scan
    return Piece(pose[:, :3] @ local + pose[:, 3:], no_return, colours, intensity, index)
