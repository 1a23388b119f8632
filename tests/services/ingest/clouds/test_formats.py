import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.conversion import inspect_cloud
from tests.services.ingest.clouds.cloud_files import (
    pcd_header,
    ply_of,
    ptx_of,
    room,
    some_colours,
    text_of,
    write_e57,
    write_las,
)

POINTS = room(1200)
ROWS = text_of(POINTS)


class Counting(io.BytesIO):
    """A file far away: counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def written(name: str, folder: Path) -> bytes:
    path = folder / name
    if name.endswith("e57"):
        write_e57(
            path,
            [
                (
                    {f"cartesian{a}": POINTS[:, i].copy() for i, a in enumerate("XYZ")},
                    np.array([1.0, 0, 0, 0]),
                    np.ones(3),
                )
            ],
        )
    else:
        write_las(path, POINTS)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "expected", "points"),
    [
        ("a.las", "las", 1200), ("a.laz", "laz", 1200), ("a.e57", "e57", 1200), ("a.ply", "ply", 1200),
        ("big.ply", "ply", 1200), ("a.pcd", "pcd", 1200), ("plain.pcd", "pcd", 1200), ("a.ptx", "ptx", None), ("a.xyz", "xyz", None),
        ("a.txt", "xyz", None), ("a.csv", "xyz", None), ("a.pts", "xyz", 1200), ("a.asc", "xyz", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rename", [False, True])
def test_formats_are_told_by_content_whatever_the_name(
    name: str, expected: str, points: int | None, rename: bool, tmp_path: Path
) -> None:
    pcd = pcd_header("x y z", "4 4 4", "F F F", 1200, 1, "binary") + POINTS.astype("<f4").tobytes()
    made = {
        "a.ply": ply_of(POINTS, some_colours(1200)),
        "big.ply": ply_of(POINTS, order=">").replace(b"\nformat", b"\r\nformat", 1),
        "a.pcd": pcd,
        "plain.pcd": pcd[pcd.find(b"VERSION") :],
        "a.ptx": ptx_of(POINTS, 40, 30),
        "a.pts": b"1200\n" + ROWS,
        "a.csv": b"X;Y;Z\r\n" + ROWS.replace(b" ", b";"),
    }
    data = made[name] if name in made else ROWS if expected == "xyz" else written(name, tmp_path)
    file = Counting(data)
    found = inspect_cloud(file, "upload.dat" if rename else name)
    assert (found.format, found.points) == (expected, points)


def test_a_look_at_a_large_file_reads_a_little_of_it() -> None:
    for data in (b"1 2 3\n" * 5_000_000, ply_of(np.zeros((2_000_000, 3), np.float32))):
        file = Counting(data)
        inspect_cloud(file, "a.xyz")
        assert file.bytes_read < 200_000


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("scan.xyz", ROWS)
    return file.getvalue()


def picture(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, np.zeros((9, 9, 3), np.uint8))[1])


OTHERS: dict[str, tuple[bytes, str]] = {
    "a.png": (picture(".png"), "PNG picture"),
    "a.jpg": (picture(".jpg"), "JPEG picture"),
    "a.tiff": (picture(".tiff"), "TIFF picture"),
    "a.webp": (picture(".webp"), "WebP picture"),
    "a.xyz": (picture(".png"), "PNG picture"),
    "a.zip": (archive(), "ZIP archive; unpack it"),
    "a.ply": (archive(), "ZIP archive; unpack it"),
    "a.gz": (b"\x1f\x8b\x08\x00" + bytes(50), "gzip archive; unpack it"),
    "a.ifc": (b"ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\n", "IFC or STEP model"),
    "a.obj": (b"# made by hand\nmtllib a.mtl\n" + b"v 1 2 3\n" * 40, "Wavefront OBJ"),
    "a.stl": (b"solid cube\n facet normal 0 0 1\n", "STL model"),
    "a.json": (b'{"points": []}', "JSON document"),
    "a.html": (b"<!DOCTYPE html><html></html>", "web page"),
    "a.pdf": (b"%PDF-1.7\n", "PDF document"),
    "a.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0", "video"),
    "a.dwg": (b"AC1032\0\0\0", "DWG"),
    "lfs.las": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
    "rubbish.ply": (bytes(range(256)) * 4, "00 01 02 03 04 05 06 07, and it is not a PLY file"),
    "rubbish.xyz": (bytes(range(256)) * 4, "and it is not a text"),
    "words.txt": (b"Dear Sir,\nplease find enclosed\n", "starts with 'Dear Sir,'"),
    "two.xyz": (b"1 2\n3 4\n", "starts with '1 2'"),
    "list.ptx": (ROWS, "10 header lines of a PTX scan"),
    "wide.txt": (ROWS.decode().encode("utf-16"), "UTF-16"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_refused_with_what_they_are(name: str) -> None:
    data, found = OTHERS[name]
    with pytest.raises(UserError) as caught:
        inspect_cloud(io.BytesIO(data), f"C:/my scans/{name}")
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    assert caught.value.field == "point_cloud_file"
    assert found in caught.value.message
    assert caught.value.message.startswith(name)


def test_an_empty_file_is_said_to_be_empty() -> None:
    with pytest.raises(UserError, match=r"^a\.xyz is empty\. Accepted are PTX, XYZ"):
        inspect_cloud(io.BytesIO(), "a.xyz")


def test_makers_own_formats_are_named() -> None:
    with pytest.raises(UserError, match="Autodesk ReCap scan") as caught:
        inspect_cloud(io.BytesIO(bytes(300)), "house.rcs")
    assert caught.value.code is ErrorCode.UNSUPPORTED_FORMAT


def test_names_of_files_cannot_break_the_message() -> None:
    with pytest.raises(UserError) as caught:
        inspect_cloud(io.BytesIO(), "a\n\x1b[31m\u202e" + "b" * 500 + ".ply")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(
    st.binary(max_size=600),
    st.sampled_from([b"", b"LASF", b"ASTM-E57", b"ply\n", b"# .PCD v0.7\n", b"3\n4\n0 0 0\n"]),
    st.sampled_from(["a.xyz", "a.ptx", "a.ply", "", "x"]),
)
def test_arbitrary_bytes_are_told_or_refused(data: bytes, begin: bytes, name: str) -> None:
    file: BinaryIO = io.BytesIO(begin + data)
    try:
        inspect_cloud(file, name)
    except UserError as error:
        assert error.field == "point_cloud_file"


def test_the_first_look_imports_nothing_heavy() -> None:
    code = (
        "import sys, services.ingest.clouds.formats;"
        "print([name for name in ('numpy', 'polars', 'laspy', 'pye57', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
