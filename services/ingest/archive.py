"""What a capture's ZIP holds, and whether it is safe to unpack.

`inspect_archive` reads the ZIP's directory only (a few ranged reads when the file lies in an object store); `extract`
unpacks what the inspection listed and nothing else. `checked_entries` and `read_checked` are the same for ZIPs of any
content. Source of the format: PKWARE APPNOTE.TXT 6.3.
"""

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from contracts.errors import ErrorCode, UserError

VIDEO_NAMES = ("rgb.mp4", "rgb.mov")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".exr")
ODOMETRY_NAME = "odometry.csv"
CAMERA_NAME = "camera_matrix.csv"

_END_RECORD = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER_BYTES = 30
_COMMENT_MAX_BYTES = 65535
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class ArchiveLimits:
    """What an upload may unpack to. The defaults hold half an hour of capture at 60 frames a second."""

    max_entries: int = 400_000
    max_directory_bytes: int = 128 << 20
    max_total_bytes: int = 64 << 30
    max_entry_bytes: int = 32 << 30
    max_ratio: float = 200.0
    """Unpacked over packed size of one entry; text reaches 20, deflate's own limit is 1032."""
    ratio_free_bytes: int = 1 << 20
    """Entries no larger than this may have any ratio."""


@dataclass(frozen=True)
class Inspection:
    """A capture found in a ZIP. Names are relative to the capture's root."""

    root: str
    """Prefix of the capture's entries inside the archive: "" or "folder/"."""
    video: str | None
    images: tuple[str, ...]
    """Pictures under rgb/, sorted; empty when there is a video."""
    depth: tuple[str, ...]
    confidence: tuple[str, ...]
    sizes_bytes: dict[str, int]
    """Declared unpacked size of every wanted entry."""
    notes: tuple[str, ...] = ()
    """What the owner should know: entries that are ignored."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every wanted file: pictures, odometry.csv, camera_matrix.csv, depth, confidence."""
        pictures = (self.video,) if self.video is not None else self.images
        return (*pictures, ODOMETRY_NAME, CAMERA_NAME, *self.depth, *self.confidence)


def inspect_archive(file: BinaryIO, limits: ArchiveLimits | None = None) -> Inspection:
    """Check a ZIP and list the capture in it, from its directory alone.

    Raises UserError: INVALID_ARCHIVE (no ZIP, truncated, unsupported compression), UNSAFE_ARCHIVE (names that leave
    the folder, links, encryption, duplicates, bombs, overlaps), MISSING_FILE, INVALID_CAPTURE (several captures).
    """
    return _find_capture(checked_entries(file, limits or ArchiveLimits()))


def checked_entries(file: BinaryIO, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """The entries of a ZIP that are safe to unpack, without folders and what systems leave in ZIPs.

    Raises UserError INVALID_ARCHIVE or UNSAFE_ARCHIVE, as `inspect_archive` does.
    """
    directory_start = _check_directory_size(file, limits)
    entries = _read_directory(file)
    for entry in entries:
        _check_name(entry)
        _check_kind(entry)
        _check_size(entry, limits)
    _check_together(entries, directory_start, limits)
    return [entry for entry in entries if not _is_junk(entry)]


def extract(file: BinaryIO, inspection: Inspection, out_dir: Path, names: Iterable[str] | None = None) -> None:
    """Unpack wanted entries (`names`, or all of them) into `out_dir`, each bounded by its declared size.

    Raises UserError INVALID_ARCHIVE naming the entry that is damaged, or UNSAFE_ARCHIVE if it unpacks to more than
    the directory declared.
    """
    with zipfile.ZipFile(file) as archive:
        for name in inspection.files if names is None else names:
            target = out_dir / PurePosixPath(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                _copy_entry(archive, inspection, name, out)


def read_entry(archive: zipfile.ZipFile, inspection: Inspection, name: str) -> bytes:
    """One wanted entry in memory; raises as `extract` does."""
    return read_checked(archive, inspection.root + name, inspection.sizes_bytes[name], name)


def read_checked(archive: zipfile.ZipFile, entry_name: str, declared_bytes: int, name: str) -> bytes:
    """An entry in memory, which `name` stands for in what is said of it; raises as `extract` does."""
    try:
        with archive.open(entry_name) as entry:
            data = entry.read(declared_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(name, error) from error
    if len(data) != declared_bytes:
        raise _wrong_size(name, declared_bytes)
    return data


def _copy_entry(archive: zipfile.ZipFile, inspection: Inspection, name: str, out: BinaryIO) -> None:
    declared_bytes = inspection.sizes_bytes[name]
    written_bytes = 0
    try:
        with archive.open(inspection.root + name) as entry:
            while chunk := entry.read(_COPY_BYTES):
                written_bytes += len(chunk)
                if written_bytes > declared_bytes:
                    break
                out.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(name, error) from error
    if written_bytes != declared_bytes:
        raise _wrong_size(name, declared_bytes)


def _damaged(name: str, error: Exception) -> UserError:
    return UserError(
        ErrorCode.INVALID_ARCHIVE, f"{name} in the ZIP is damaged ({error}); export the capture again.", field=name
    )


def _wrong_size(name: str, declared_bytes: int) -> UserError:
    return UserError(
        ErrorCode.UNSAFE_ARCHIVE,
        f"{name} does not unpack to the {declared_bytes} bytes its ZIP declares; make the ZIP again.",
        field=name,
    )


def _check_directory_size(file: BinaryIO, limits: ArchiveLimits) -> int:
    """Look at the end record before the directory is loaded, so that a huge directory costs no memory.

    Returns where the directory starts, as an offset into the file.
    """
    size_bytes = file.seek(0, 2)
    tail_start = max(0, size_bytes - _END_RECORD.size - _COMMENT_MAX_BYTES - _END64_LOCATOR.size)
    file.seek(tail_start)
    tail = file.read(size_bytes - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END_RECORD.size > len(tail):
        head = b"" if size_bytes < 4 else _first_bytes(file)
        found = (
            "it starts like a ZIP but its end is missing: the upload was cut short"
            if head == b"PK\x03\x04"
            else ("it does not start like one either" if head else "it is empty")
        )
        raise UserError(ErrorCode.INVALID_ARCHIVE, f"The file is not a complete ZIP archive ({found}); send it again.")
    record = _END_RECORD.unpack_from(tail, at)
    count, directory_bytes, directory_end = record[4], record[5], tail_start + at
    locator_at = at - _END64_LOCATOR.size
    if locator_at >= 0 and tail[locator_at : locator_at + 4] == b"PK\x06\x07":
        count, directory_bytes, directory_end = _read_end64(file, _END64_LOCATOR.unpack_from(tail, locator_at)[2])
    if count > limits.max_entries or directory_bytes > limits.max_directory_bytes:
        raise UserError(
            ErrorCode.UNSAFE_ARCHIVE,
            f"The ZIP has {count} entries and a directory of {directory_bytes} bytes; at most {limits.max_entries} "
            f"entries and {limits.max_directory_bytes} bytes are accepted.",
        )
    return int(directory_end - directory_bytes)


def _first_bytes(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(4)


def _read_end64(file: BinaryIO, offset: int) -> tuple[int, int, int]:
    """Entries, directory size and directory end of a ZIP64 archive."""
    file.seek(offset)
    data = file.read(_END64_RECORD.size)
    if len(data) < _END64_RECORD.size or data[:4] != b"PK\x06\x06":
        raise UserError(ErrorCode.INVALID_ARCHIVE, "The ZIP's 64-bit end record is damaged; make the ZIP again.")
    record = _END64_RECORD.unpack(data)
    return record[7], record[8], offset


def _read_directory(file: BinaryIO) -> list[zipfile.ZipInfo]:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except UnicodeDecodeError as error:
        raise UserError(
            ErrorCode.UNSAFE_ARCHIVE, "An entry's name in the ZIP is marked as UTF-8 and is not valid UTF-8."
        ) from error
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError) as error:
        raise UserError(
            ErrorCode.INVALID_ARCHIVE, f"The ZIP's directory is damaged ({error}); make the ZIP again."
        ) from error


def _unsafe(entry: zipfile.ZipInfo, why: str) -> UserError:
    name = ascii(entry.orig_filename)[1:-1]
    return UserError(ErrorCode.UNSAFE_ARCHIVE, f"The ZIP's entry '{name}' {why}.", field=name)


def _check_name(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    if not name or any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise _unsafe(entry, "has an empty name or control characters in it")
    if "\\" in name:
        raise _unsafe(entry, "has a backslash in its name")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise _unsafe(entry, "has an absolute name")
    if any(part in ("..", ".") for part in name.split("/")) or "//" in name:
        raise _unsafe(entry, "has a name that leaves its folder")
    if len(name.encode("utf-8", "replace")) > 1024 or any(len(part.encode()) > 255 for part in name.split("/")):
        raise _unsafe(entry, "has a name that is too long for a file")


def _check_kind(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & 0x1:
        raise _unsafe(entry, "is encrypted; send the ZIP without a password")
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(entry, "is a link or a device, not a file")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            ErrorCode.INVALID_ARCHIVE,
            f"{entry.filename} is compressed with method {entry.compress_type}; use stored or deflate.",
            field=entry.filename,
        )


def _check_size(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    if entry.file_size > limits.max_entry_bytes:
        raise _unsafe(entry, f"unpacks to {entry.file_size} bytes, over the limit of {limits.max_entry_bytes}")
    packed_bytes = max(entry.compress_size, 1)
    if entry.file_size > limits.ratio_free_bytes and entry.file_size / packed_bytes > limits.max_ratio:
        raise _unsafe(entry, f"unpacks to {entry.file_size // packed_bytes} times its packed size")
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        raise _unsafe(entry, "is stored and declares two different sizes")


def _check_together(entries: list[zipfile.ZipInfo], directory_start: int, limits: ArchiveLimits) -> None:
    """Total size, duplicate names, and entries that share bytes (the bomb of D. Fifield, WOOT 2019)."""
    total_bytes = sum(entry.file_size for entry in entries)
    if total_bytes > limits.max_total_bytes:
        raise UserError(
            ErrorCode.UNSAFE_ARCHIVE,
            f"The ZIP unpacks to {total_bytes} bytes; at most {limits.max_total_bytes} are accepted.",
        )
    seen: dict[str, str] = {}
    for entry in entries:
        key = unicodedata.normalize("NFC", entry.orig_filename.rstrip("/")).casefold()
        if key in seen:
            raise _unsafe(entry, f"has the same name as '{ascii(seen[key])[1:-1]}'")
        seen[key] = entry.orig_filename
    end = 0
    for entry in sorted(entries, key=lambda each: each.header_offset):
        if entry.header_offset < end:
            raise _unsafe(entry, "shares bytes with another entry")
        end = entry.header_offset + _LOCAL_HEADER_BYTES + len(entry.orig_filename) + entry.compress_size
        if end > directory_start:
            raise _unsafe(entry, "reaches past the end of the ZIP's data")


def _is_junk(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.split("/")
    return (
        entry.is_dir() or "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db") or parts[-1].startswith("._")
    )


def _find_capture(entries: list[zipfile.ZipInfo]) -> Inspection:
    root = _find_root([entry.filename for entry in entries])
    sizes = {entry.filename[len(root) :]: entry.file_size for entry in entries if entry.filename.startswith(root)}
    notes: list[str] = []
    videos = [name for name in VIDEO_NAMES if sizes.get(name)]
    images = _files_in(sizes, "rgb/", IMAGE_SUFFIXES)
    missing = [name for name in (ODOMETRY_NAME, CAMERA_NAME) if not sizes.get(name)]
    if not videos and not images:
        missing.insert(0, "rgb.mp4 or rgb.mov (or a folder rgb/ of PNG, JPEG or EXR pictures)")
    if missing:
        raise _missing(missing, sizes)
    if len(videos) > 1 or (videos and images):
        notes.append(f"The capture has several sets of pictures; {videos[0]} is used.")
    inspection = Inspection(
        root=root,
        video=videos[0] if videos else None,
        images=() if videos else images,
        depth=_files_in(sizes, "depth/", (".png",)),
        confidence=_files_in(sizes, "confidence/", (".png",)),
        sizes_bytes={},
    )
    wanted = {name: sizes[name] for name in inspection.files}
    return Inspection(
        root, inspection.video, inspection.images, inspection.depth, inspection.confidence, wanted, tuple(notes)
    )


def _find_root(names: list[str]) -> str:
    """ "" or "folder/": where the capture's files are, at most one folder down."""
    roots: dict[str, None] = {}
    for name in names:
        parts = name.split("/")
        for depth in (0, 1):
            rest = parts[depth:]
            is_picture = len(rest) == 2 and rest[0] == "rgb" and rest[1].lower().endswith(IMAGE_SUFFIXES)
            if "/".join(rest) in (*VIDEO_NAMES, ODOMETRY_NAME, CAMERA_NAME) or is_picture:
                roots.setdefault("/".join(parts[:depth]) + "/" if depth else "")
    if "" in roots:
        return ""
    if len(roots) > 1:
        raise UserError(
            ErrorCode.INVALID_CAPTURE,
            f"The ZIP holds several captures ({', '.join(sorted(roots)[:5])}); send one capture in one ZIP.",
        )
    return next(iter(roots), "")


def _files_in(sizes: dict[str, int], folder: str, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        sorted(
            name
            for name in sizes
            if name.startswith(folder) and name.count("/") == 1 and name.lower().endswith(suffixes)
        )
    )


def _missing(missing: list[str], sizes: dict[str, int]) -> UserError:
    found = [f"{ascii(name)[1:-1]} (empty)" if not sizes[name] else ascii(name)[1:-1] for name in sorted(sizes)]
    listed = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    return UserError(
        ErrorCode.MISSING_FILE,
        f"The ZIP lacks {' and '.join(missing)}, at its root or in one top folder. "
        f"Found: {listed or 'no files'}. Send the ZIP as the phone's app exports it.",
        field=missing[0].split(" ")[0],
    )
