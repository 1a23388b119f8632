"""What pictures a ZIP of photographs holds, and their bytes."""

import unicodedata
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from contracts.errors import ErrorCode, UserError
from services.ingest.archive import ArchiveLimits, checked_entries, read_checked

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
FEWEST_PICTURES = 3
"""Fewer cannot make a model."""
LIMITS = ArchiveLimits(
    max_entries=50_000,
    max_directory_bytes=32 << 20,
    max_total_bytes=32 << 30,
    # 200 megapixels of 16 bits, the largest picture that is read.
    max_entry_bytes=1300 << 20,
    # Bitmaps of rendered scenes pack far better than what phones capture.
    ratio_free_bytes=32 << 20,
)
_UTF8_NAME = 0x800


@dataclass(frozen=True)
class PictureEntry:
    """A picture in a ZIP. `name` is what results call it; `entry_name` is what `zipfile` calls it."""

    name: str
    entry_name: str
    size_bytes: int


def find_pictures(file: BinaryIO, limits: ArchiveLimits = LIMITS) -> tuple[PictureEntry, ...]:
    """The pictures of a ZIP by their file names, in the order of these; from its directory alone.

    Folders are kept, but for a top one that all pictures share. What is hidden, or no picture by its suffix, is left
    alone. Raises UserError INVALID_ARCHIVE or UNSAFE_ARCHIVE (see `services.ingest.archive`), MISSING_FILE if there is
    no picture.
    """
    entries = checked_entries(file, limits)
    wanted = [entry for entry in entries if _is_picture(entry.filename)]
    if not wanted:
        raise _no_pictures(entries)
    names = _names(wanted)
    top = _shared_top(names)
    found = [
        PictureEntry(name[len(top) :], entry.filename, entry.file_size)
        for name, entry in zip(names, wanted, strict=True)
    ]
    return tuple(sorted(found, key=lambda picture: picture.name))


def check_enough(pictures: tuple[PictureEntry, ...]) -> None:
    """Raise UserError INVALID_FILE_COUNT if the pictures are too few for a model."""
    if len(pictures) < FEWEST_PICTURES:
        listed = " and ".join(picture.name for picture in pictures)
        raise UserError(
            ErrorCode.INVALID_FILE_COUNT,
            f"The ZIP holds only {listed}; send at least {FEWEST_PICTURES} pictures that overlap.",
            field="file",
        )


def read_picture_bytes(archive: zipfile.ZipFile, picture: PictureEntry) -> bytes:
    """The picture's file. Raises UserError INVALID_ARCHIVE if it is damaged within the ZIP, or UNSAFE_ARCHIVE."""
    return read_checked(archive, picture.entry_name, picture.size_bytes, picture.name)


def _is_picture(entry_name: str) -> bool:
    parts = entry_name.split("/")
    return parts[-1].lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in parts)


def _names(entries: list[zipfile.ZipInfo]) -> list[str]:
    """What people call the entries: many tools write UTF-8 without saying so, which `zipfile` takes for code page 437."""
    names = [_as_utf8(entry) for entry in entries]
    return names if len(set(names)) == len(names) else [entry.filename for entry in entries]


def _as_utf8(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & _UTF8_NAME:
        return entry.filename
    try:
        name = entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename
    return entry.filename if any(unicodedata.category(char) == "Cc" for char in name) else name


def _shared_top(names: list[str]) -> str:
    """ "" or "folder/": the top folder, if all lie in one."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top else ""


def _no_pictures(entries: list[zipfile.ZipInfo]) -> UserError:
    names = sorted(ascii(entry.filename)[1:-1] for entry in entries)
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return UserError(
        ErrorCode.MISSING_FILE,
        f"The ZIP holds no picture. Found: {listed or 'no files'}. Send photographs as {', '.join(SUFFIXES)}.",
        field="file",
    )
