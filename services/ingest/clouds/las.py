"""LAS and LAZ (ASPRS LAS 1.0 to 1.4), in pieces, with the coordinate reference system that the file names."""

import contextlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import laspy
import numpy as np
from laspy.vlrs.known import GeoKeyDirectoryVlr, WktCoordinateSystemVlr

from contracts.errors import UserError
from services.ingest.clouds.errors import bad_cloud, unsupported
from services.ingest.clouds.las_header import LasHeader, read_las_header
from services.ingest.clouds.laz import check_packing, chunk_points
from services.ingest.clouds.source import Notes, Piece, Reading

_PIECE_POINTS = 1 << 19
"""Packed points come in chunks of 50,000, which two and more threads unpack side by side."""
_MAX_PARALLEL_CHUNK = 1 << 20
_FAILURES = (laspy.LaspyException, RuntimeError, ValueError, TypeError, IndexError, struct.error, OSError)
_WAVE_FORMATS = (4, 5, 9, 10)
# GeoTIFF 1.1 (OGC 19-008r4), annex B.
_GEOGRAPHIC_KEY, _PROJECTED_KEY, _LINEAR_UNIT_KEY = 2048, 3072, 3076
_USER_DEFINED = 32_767
_FOOT_M, _SURVEY_FOOT_M = 0.3048, 1200 / 3937
_UNITS_M = {9001: 1.0, 9002: _FOOT_M, 9003: _SURVEY_FOOT_M}


def read_las(path: Path, file_name: str, notes: Notes) -> Reading:
    """Open a LAS or LAZ file. Raises UserError, and so does `pieces` where packed points are damaged."""
    with path.open("rb") as file:
        header = read_las_header(file, file_name)
        size_bytes = file.seek(0, 2)
    if header.is_packed and header.point_format in _WAVE_FORMATS:
        raise unsupported(f"{file_name} is LAZ with wave packets; save it without them, or as LAS.")
    with _open(path, file_name, laspy.LazBackend.LazrsParallel) as reader:
        crs, unit_m = _find_crs(reader, file_name)
        backend = _choose_backend(path, file_name, header, reader)
    present = header.points
    if not header.is_packed:
        present = min(present, (size_bytes - header.points_at) // header.point_bytes)
    if present < header.points:
        notes.warn(
            f"The header says that there are {header.points:,} points, but only {present:,} are in the file: it was probably "
            "cut off while it was copied. What is there was used."
        )
    reading = Reading(iter(()), present, crs=crs, unit_m=unit_m, bytes_total=size_bytes)
    reading.pieces = _pieces(path, file_name, backend, present)
    return reading


def _open(path: Path, file_name: str, backend: laspy.LazBackend) -> laspy.LasReader:
    """laspy reads all records before the points; `read_las_header` has bounded them."""
    with _decoding(file_name):
        return laspy.open(path, read_evlrs=False, laz_backend=backend)


def _choose_backend(path: Path, file_name: str, header: LasHeader, reader: laspy.LasReader) -> laspy.LazBackend:
    """Side by side, unless a chunk, which is then unpacked as a whole, was made to hold everything."""
    if not header.is_packed:
        return laspy.LazBackend.Lazrs
    record = next((bytes(each.record_data) for each in reader.header.vlrs.get("LasZipVlr")), b"")
    with _decoding(file_name):
        check_packing(path, file_name, header, record)
    return laspy.LazBackend.LazrsParallel if chunk_points(record) <= _MAX_PARALLEL_CHUNK else laspy.LazBackend.Lazrs


@contextlib.contextmanager
def _decoding(file_name: str) -> Iterator[None]:
    """Whatever the decoders raise becomes a UserError."""
    try:
        yield
    except _FAILURES as error:
        raise _damaged(file_name, error) from error
    except BaseException as error:
        # A panic in the decoder, which is written in Rust, is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise _damaged(file_name, error) from error


def _damaged(file_name: str, error: BaseException) -> UserError:
    return bad_cloud(
        f"{file_name}'s points cannot be unpacked ({str(error)[:120]}): the file is damaged or cut off. Send it again."
    )


def _pieces(path: Path, file_name: str, backend: laspy.LazBackend, count: int) -> Iterator[Piece]:
    with _open(path, file_name, backend) as reader:
        left = count
        while left:
            with _decoding(file_name):
                points = reader.read_points(min(left, _PIECE_POINTS))
            if not len(points):
                return
            left -= len(points)
            yield _to_piece(points, reader.header)


def _to_piece(points: laspy.ScaleAwarePointRecord, header: laspy.LasHeader) -> Piece:
    array = points.array
    xyz = np.empty((3, len(array)))
    for axis, name in enumerate("XYZ"):
        np.multiply(array[name], header.scales[axis], out=xyz[axis])
        xyz[axis] += header.offsets[axis]
    names = array.dtype.names
    colours = np.stack([array[name] for name in ("red", "green", "blue")]) if "red" in names else None
    withheld = np.asarray(points["withheld"], dtype=np.bool_)
    return Piece(xyz, withheld if withheld.any() else None, colours, array["intensity"].astype(np.float32))


def _find_crs(reader: laspy.LasReader, file_name: str) -> tuple[str | None, float | None]:
    """The file's reference system, as EPSG:n or WKT, and metres in its unit."""
    for record in reader.header.vlrs:
        if isinstance(record, WktCoordinateSystemVlr) and (wkt := str(record.string).strip("\0 \n")):
            _refuse_degrees(wkt.upper().startswith(("GEOGCS", "GEOGCRS", "GEODCRS")), file_name)
            return epsg_of_wkt(wkt) or wkt, unit_of_wkt(wkt)
    for record in reader.header.vlrs:
        if isinstance(record, GeoKeyDirectoryVlr):
            keys = {key.id: int(key.value_offset) for key in record.geo_keys if key.tiff_tag_location == 0}
            _refuse_degrees(_GEOGRAPHIC_KEY in keys and _PROJECTED_KEY not in keys, file_name)
            code = keys.get(_PROJECTED_KEY, _USER_DEFINED)
            return (f"EPSG:{code}" if 0 < code < _USER_DEFINED else None), _UNITS_M.get(keys.get(_LINEAR_UNIT_KEY, 0))
    return None, None


def _refuse_degrees(are_degrees: bool, file_name: str) -> None:
    if are_degrees:
        raise bad_cloud(
            f"{file_name} has coordinates in degrees of longitude and latitude; save it in a projected system in metres."
        )


def epsg_of_wkt(wkt: str) -> str | None:
    """EPSG:n, if the WKT as a whole has such a code: it is the last of its first (horizontal) system."""
    horizontal = re.split(r",\s*VERT(?:_CS|CRS)\[", wkt, maxsplit=1)[0]
    match = re.search(r'(?:AUTHORITY\["EPSG",\s*"?(\d+)"?\]|ID\["EPSG",\s*(\d+)\])\s*\]*\s*$', horizontal)
    return f"EPSG:{match[1] or match[2]}" if match else None


def unit_of_wkt(wkt: str) -> float | None:
    """Metres in the unit of length that the WKT names first."""
    for name, value in re.findall(r'UNIT\["([^"]{1,60})",\s*([0-9.eE+-]{1,30})', wkt):
        if re.search(r"met(re|er)|f(oo|ee)t", name, re.IGNORECASE):
            try:
                factor = float(value)
            except ValueError:
                return None
            return factor if 1e-4 < factor < 1e4 else None
    return None
