import os
import stat
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from contracts.errors import ErrorCode, UserError
from services.ingest.archive import ArchiveLimits, extract, inspect_archive, read_entry
from tests.services.ingest.box_room import zip_bytes

GOOD = {
    "odometry.csv": b"timestamp",
    "depth/000002.png": b"b",
    "depth/000001.png": b"a",
    "confidence/000001.png": b"c",
    "rgb.mp4": b"video",
    "camera_matrix.csv": b"1,2,3",
}


class CountingFile(BytesIO):
    """Counts the bytes read, as a ranged reader pays for them."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def code_of(file: BytesIO, limits: ArchiveLimits | None = None) -> ErrorCode:
    with pytest.raises(UserError) as caught:
        inspect_archive(file, limits)
    return caught.value.code


def with_entry(info: zipfile.ZipInfo, data: bytes = b"x") -> BytesIO:
    buffer = zip_bytes(GOOD)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(info, data)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("root", ["", "remap_zip_1234/"])
def test_files_are_listed_in_the_documented_order_relative_to_the_captures_root(root: str) -> None:
    inspection = inspect_archive(zip_bytes({root + name: data for name, data in GOOD.items()}))
    assert inspection.root == root
    assert inspection.files == (
        "rgb.mp4",
        "odometry.csv",
        "camera_matrix.csv",
        "depth/000001.png",
        "depth/000002.png",
        "confidence/000001.png",
    )


def test_junk_beside_the_capture_is_ignored() -> None:
    junk = {"__MACOSX/cap/._rgb.mp4": b"x", "cap/.DS_Store": b"x", "cap/depth/": b"", "cap/depth/._000001.png": b"x"}
    inspection = inspect_archive(zip_bytes({**junk, **{"cap/" + name: data for name, data in GOOD.items()}}))
    assert inspection.root == "cap/"
    assert len(inspection.files) == len(GOOD)


def test_a_folder_of_pictures_stands_in_for_the_video() -> None:
    files = {name: data for name, data in GOOD.items() if name != "rgb.mp4"}
    inspection = inspect_archive(zip_bytes({**files, "rgb/000001.exr": b"x", "rgb/000000.exr": b"x"}))
    assert inspection.video is None
    assert inspection.files[:2] == ("rgb/000000.exr", "rgb/000001.exr")


@pytest.mark.parametrize("name", ["rgb.mp4", "odometry.csv", "camera_matrix.csv"])
@pytest.mark.parametrize("present", ["absent", "empty"])
def test_a_missing_or_empty_file_is_named_with_what_was_found(name: str, present: str) -> None:
    files = {key: data for key, data in GOOD.items() if key != name}
    if present == "empty":
        files[name] = b""
    with pytest.raises(UserError) as caught:
        inspect_archive(zip_bytes(files))
    assert caught.value.code is ErrorCode.MISSING_FILE
    assert caught.value.field == name
    assert "depth/000001.png" in caught.value.message


def test_two_captures_in_one_zip_are_refused() -> None:
    files = {f"{root}/{name}": data for root in ("a", "b") for name, data in GOOD.items()}
    assert code_of(zip_bytes(files)) is ErrorCode.INVALID_CAPTURE


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + bytes(100), bytes(70_000)])
def test_what_is_no_zip_is_said_to_be_none(data: bytes) -> None:
    assert code_of(BytesIO(data)) is ErrorCode.INVALID_ARCHIVE


def test_a_truncated_zip_is_refused_wherever_it_is_cut() -> None:
    whole = zip_bytes(GOOD).getvalue()
    for length in range(0, len(whole) - 1, 7):
        assert code_of(BytesIO(whole[:length])) is ErrorCode.INVALID_ARCHIVE


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "a/../../evil", "/etc/passwd", "C:/evil", "a\\b", "..\\evil", "./x", "a//b", "bad\nname", "bad\x7f",
        "x" * 300,
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_or_hide_are_refused(name: str) -> None:
    assert code_of(with_entry(zipfile.ZipInfo(name))) is ErrorCode.UNSAFE_ARCHIVE


def test_links_are_refused() -> None:
    link = zipfile.ZipInfo("depth/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert code_of(with_entry(link, b"/etc/passwd")) is ErrorCode.UNSAFE_ARCHIVE


@pytest.mark.parametrize(
    ("first", "second"),
    [("note.txt", "note.txt"), ("note.txt", "NOTE.txt"), ("caf\u00e9.txt", "cafe\u0301.txt"), ("a", "a/")],
)
def test_names_that_are_the_same_on_some_file_system_are_refused(first: str, second: str) -> None:
    buffer = with_entry(zipfile.ZipInfo(first))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        archive.writestr(zipfile.ZipInfo(second), b"" if second.endswith("/") else b"x")
    assert code_of(buffer) is ErrorCode.UNSAFE_ARCHIVE


def patched_directory(name: bytes, offset: int, layout: str, value: int) -> BytesIO:
    """The good ZIP with one field of an entry's directory record changed."""
    data = bytearray(zip_bytes(GOOD).getvalue())
    at = data.rfind(name) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    struct.pack_into(layout, data, at + offset, value)
    return BytesIO(bytes(data))


def test_encryption_is_refused() -> None:
    assert code_of(patched_directory(b"rgb.mp4", 8, "<H", 1)) is ErrorCode.UNSAFE_ARCHIVE


def test_unknown_compression_is_refused() -> None:
    assert code_of(patched_directory(b"rgb.mp4", 10, "<H", 14)) is ErrorCode.INVALID_ARCHIVE


def test_a_name_that_is_not_the_utf8_it_claims_is_refused() -> None:
    data = bytearray(zip_bytes(GOOD).getvalue())
    at = data.rfind(b"rgb.mp4")
    struct.pack_into("<H", data, at - 46 + 8, 0x800)
    data[at] = 0xFF
    assert code_of(BytesIO(bytes(data))) is ErrorCode.UNSAFE_ARCHIVE


def test_entries_that_share_bytes_are_refused() -> None:
    assert code_of(patched_directory(b"rgb.mp4", 42, "<L", 0)) is ErrorCode.UNSAFE_ARCHIVE


def test_an_entry_that_reaches_past_the_data_is_refused() -> None:
    buffer = patched_directory(b"rgb.mp4", 20, "<L", 5000)
    data = bytearray(buffer.getvalue())
    struct.pack_into("<L", data, data.rfind(b"rgb.mp4") - 46 + 24, 5000)
    assert code_of(BytesIO(bytes(data))) is ErrorCode.UNSAFE_ARCHIVE


def test_a_bomb_is_refused_by_its_ratio_from_the_directory_alone() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in GOOD.items():
            archive.writestr(name, data)
        archive.writestr("depth/000003.png", bytes(5_000_000))
    assert code_of(buffer) is ErrorCode.UNSAFE_ARCHIVE


@pytest.mark.parametrize(
    "limits", [ArchiveLimits(max_entries=5), ArchiveLimits(max_total_bytes=10), ArchiveLimits(max_entry_bytes=4)]
)
def test_limits_on_count_and_sizes_hold(limits: ArchiveLimits) -> None:
    assert code_of(zip_bytes(GOOD), limits) is ErrorCode.UNSAFE_ARCHIVE


def test_the_count_is_checked_before_the_directory_is_loaded() -> None:
    data = bytearray(zip_bytes(GOOD).getvalue())
    struct.pack_into("<HH", data, len(data) - 22 + 8, 65000, 65000)
    with pytest.raises(UserError, match="65000 entries"):
        inspect_archive(BytesIO(bytes(data)), ArchiveLimits(max_entries=1000))


def test_only_the_directory_is_read() -> None:
    video = os.urandom(20_000_000)
    file = CountingFile(zip_bytes({**GOOD, "rgb.mp4": video}).getvalue())
    inspect_archive(file)
    assert file.bytes_read < 300_000


def test_extraction_gives_the_wanted_files_and_nothing_else(tmp_path: Path) -> None:
    buffer = zip_bytes({"cap/" + name: data for name, data in {**GOOD, "secret.txt": b"s"}.items()})
    extract(buffer, inspect_archive(buffer), tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == GOOD


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    data = bytearray(zip_bytes(GOOD).getvalue())
    data[data.find(b"video")] ^= 1
    file = BytesIO(bytes(data))
    inspection = inspect_archive(file)
    with pytest.raises(UserError, match=r"rgb\.mp4") as caught:
        extract(file, inspection, tmp_path)
    assert caught.value.code is ErrorCode.INVALID_ARCHIVE
    with zipfile.ZipFile(file) as archive, pytest.raises(UserError, match=r"rgb\.mp4"):
        read_entry(archive, inspection, "rgb.mp4")


def test_an_entry_that_unpacks_to_more_than_declared_is_stopped(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in GOOD.items():
            archive.writestr(name, os.urandom(3_000_000) if name == "rgb.mp4" else data)
    inspection = inspect_archive(buffer)
    inspection.sizes_bytes["rgb.mp4"] = 1000
    with pytest.raises(UserError, match="does not unpack to the 1000 bytes"):
        extract(buffer, inspection, tmp_path)
    assert (tmp_path / "rgb.mp4").stat().st_size <= 1000
