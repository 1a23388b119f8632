"""What kind of file a point cloud is, from its first bytes and its name, by a few ranged reads. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Literal

from services.ingest.clouds.dialects import SAMPLE_BYTES, read_beginning
from services.ingest.clouds.e57_header import read_e57_header
from services.ingest.clouds.errors import bad_cloud, shown, shown_name, unsupported
from services.ingest.clouds.las_header import read_las_header
from services.ingest.clouds.pcd_header import read_pcd_header
from services.ingest.clouds.ply_header import read_ply_header
from services.ingest.clouds.ptx_header import HEADER_LINES, begins_as_ptx

CloudFormat = Literal["ptx", "xyz", "ply", "e57", "las", "laz", "pcd"]
ACCEPTED = "PTX, XYZ (also TXT, ASC, CSV, PTS), PLY, E57, LAS, LAZ and PCD"
_HEAD_BYTES = 4096
_TEXT_SUFFIXES = (".ptx", ".xyz", ".txt", ".asc", ".csv", ".pts", ".xyzrgb", ".xyzi")
_LEAST_TEXT_SHARE = 0.99
_TEXT_BYTES = frozenset(range(32, 127)) | frozenset(b"\t\r\n\f") | frozenset(range(128, 256))

_OTHER_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"BM", "a BMP picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"PK\x03\x04", "a ZIP archive; unpack it and send the cloud itself"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it and send the cloud itself"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and send the cloud itself"),
    (0, b"Rar!", "a RAR archive; unpack it and send the cloud itself"),
    (0, b"BZh", "a bzip2 archive; unpack it and send the cloud itself"),
    (0, b"\xfd7zXZ", "an xz archive; unpack it and send the cloud itself"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it and send the cloud itself"),
    (257, b"ustar", "a tar archive; unpack it and send the cloud itself"),
    (0, b"%PDF", "a PDF document"),
    (0, b"ISO-10303-21", "an IFC or STEP model, which has no points of a scan"),
    (0, b"glTF", "a glTF model"),
    (0, b"AC10", "an AutoCAD drawing (DWG)"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"solid ", "an STL model"),
    (0, b"OFF\n", "an OFF model"),
    (0, b"<?xml", "an XML document"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"{", "a JSON document"),
    (0, b"# vtk", "a VTK file"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
_OTHER_SUFFIXES = {
    ".rcp": "an Autodesk ReCap project",
    ".rcs": "an Autodesk ReCap scan",
    ".fls": "a FARO scan",
    ".lsproj": "a FARO project",
    ".zfs": "a Zoller+Fröhlich scan",
    ".lgs": "a Leica LGS file",
    ".rdbx": "a RIEGL database",
    ".potree": "a Potree cloud",
    ".bin": "a CloudCompare file",
}
"""Point clouds of makers' own kinds."""


@dataclass(frozen=True)
class CloudInspection:
    """What a first look at a point cloud found."""

    format: CloudFormat
    points: int | None
    """As the file's header says; None where it does not."""


def inspect_cloud(file: BinaryIO, file_name: str) -> CloudInspection:
    """Tell a point cloud's format by its content, with at most about a megabyte of ranged reads.

    Raises UserError, field `point_cloud_file`: INVALID_CLOUD for an empty file, a damaged header, or a file that is no point
    cloud; UNSUPPORTED_FORMAT for clouds of a kind or variant that is not read.
    """
    name = shown_name(file_name)
    size_bytes = file.seek(0, 2)
    if not size_bytes:
        raise bad_cloud(f"{name} is empty. Accepted are {ACCEPTED}.")
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:4] == b"LASF":
        las = read_las_header(file, name)
        return CloudInspection("laz" if las.is_packed else "las", las.points)
    if head[:8] == b"ASTM-E57":
        return CloudInspection("e57", read_e57_header(file, name).points)
    if head[:3] == b"ply" and head[3:4] in (b"\n", b"\r"):
        return CloudInspection("ply", read_ply_header(file, name).vertices.count)
    if _begins_as_pcd(head):
        return CloudInspection("pcd", read_pcd_header(file, name).points)
    _refuse_others(head, name)
    if begins_as_ptx(_first_lines(head)):
        return CloudInspection("ptx", None)
    if PurePath(name).suffix.lower() == ".ptx":
        raise bad_cloud(
            f"{name} does not begin with the {HEADER_LINES} header lines of a PTX scan; it starts with "
            f"{shown(_first_lines(head)[0])}. Export the scans again as PTX, or rename a plain list of points to .xyz."
        )
    file.seek(0)
    return CloudInspection("xyz", read_beginning(file.read(SAMPLE_BYTES), name).points_declared)


def _begins_as_pcd(head: bytes) -> bool:
    lines = [line.strip() for line in head.split(b"\n", 40)[:40]]
    return lines[0].startswith(b"# .PCD") or any(
        line.startswith(b"VERSION") and any(each.startswith((b"FIELDS ", b"COLUMNS ")) for each in lines)
        for line in lines[:10]
    )


def _first_lines(head: bytes) -> list[bytes]:
    text = head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [line for line in text.split(b"\n") if line.strip()] or [b""]


def _refuse_others(head: bytes, name: str) -> None:
    """Files of a known other kind, and bytes that are no text."""
    for offset, magic, kind in _OTHER_KINDS:
        if head[offset : offset + len(magic)] == magic:
            raise bad_cloud(f"{name} is {kind}. Accepted are {ACCEPTED}.")
    suffix = PurePath(name).suffix.lower()
    if suffix in _OTHER_SUFFIXES and not _is_text(head):
        raise unsupported(f"{name} is {_OTHER_SUFFIXES[suffix]}, which is not read. Export it as one of {ACCEPTED}.")
    lines = _first_lines(head)
    if sum(line.startswith((b"v ", b"vn ", b"vt ", b"f ")) for line in lines[:50]) * 2 > len(lines[:50]):
        raise bad_cloud(f"{name} is a Wavefront OBJ model. Accepted are {ACCEPTED}; export its vertices as PLY.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise bad_cloud(f"{name} is text in UTF-16; save it as ASCII or UTF-8.")
    if not _is_text(head):
        claimed = f"a {suffix[1:].upper()} file" if suffix in (".ply", ".las", ".laz", ".e57", ".pcd") else "a text"
        begin = head[:8].hex(" ")
        raise bad_cloud(
            f"{name} is no point cloud that is known: its first bytes are {begin}, and it is not {claimed}. "
            f"Accepted are {ACCEPTED}."
        )


def _is_text(head: bytes) -> bool:
    return sum(byte in _TEXT_BYTES for byte in head) >= _LEAST_TEXT_SHARE * len(head) and b"\0" not in head
