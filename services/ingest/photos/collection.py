"""The canonical form of a collection of photographs, and its statistics alone."""

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contracts.drift import Measured, measurements_of
from contracts.errors import ErrorCode, UserError
from contracts.photos import MANIFEST_NAME, PICTURES_FOLDER, LeftOut, Photo, PhotoManifest
from contracts.progress import Reporter, Silence
from services.ingest.photos.archive import FEWEST_PICTURES, PictureEntry, find_pictures, read_picture_bytes
from services.ingest.photos.exif import CameraTags, camera_name, crop_factors, focal_length_px
from services.ingest.photos.pictures import UnreadablePicture, UprightPicture, read_upright
from services.ingest.photos.statistics import PictureStatistics, measure_picture

SMALLEST_SIDE_PX = 64
MAX_TOTAL_PIXELS = 50_000_000_000
"""Of all pictures of one ZIP: thousands at the largest size that cameras have."""
_NAMES_SHOWN = 5
_LEFT_OUT_BECAUSE = {
    "corrupt": "could not be read and were left out",
    "too_small": f"are smaller than {SMALLEST_SIDE_PX} pixels and were left out",
}


@dataclass(frozen=True)
class _Read:
    """What is kept of a picture once its pixels are gone. `file` is relative to the canonical folder."""

    name: str
    file: str
    width_px: int
    height_px: int
    tags: CameraTags
    statistics: PictureStatistics


def build_collection(upload: Path, out_dir: Path, report: Reporter) -> PhotoManifest:
    """Write the pictures of a ZIP in their canonical form, and `photos.json` last.

    One picture is in memory at a time. Raises UserError: what `find_pictures` raises; UNSAFE_ARCHIVE if a picture is
    hostile; INVALID_IMAGE if no picture can be read; TOO_FEW_FRAMES if those that can be are too few for a model.
    """
    (out_dir / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    with upload.open("rb") as file:
        reading = _Reading(find_pictures(file), report)
        kept: list[_Read] = []
        with zipfile.ZipFile(file) as archive:
            for number, entry, picture in reading.pictures(archive):
                kept.append(_describe(entry, number, picture))
                (out_dir / kept[-1].file).write_bytes(picture.encoded)
    _check_enough(kept, reading)
    manifest = PhotoManifest(photos=_photos(kept), left_out=tuple(reading.left_out))
    (out_dir / MANIFEST_NAME).write_text(manifest.model_dump_json(), encoding="utf-8")
    _tell(manifest, report)
    return manifest


def measure_collection(upload: Path) -> Measured:
    """The statistics of the pictures of a ZIP. Raises what `build_collection` does, TOO_FEW_FRAMES excepted."""
    with upload.open("rb") as file:
        reading = _Reading(find_pictures(file), Silence())
        with zipfile.ZipFile(file) as archive:
            kept = [_describe(entry, number, picture) for number, entry, picture in reading.pictures(archive)]
    if not kept:
        raise _nothing_readable(reading)
    return Measured(measurements=measurements_of(_photos(kept)), images=len(kept))


class _Reading:
    """One pass over the pictures of a ZIP. Those that are not used are noted in `left_out`."""

    def __init__(self, entries: Sequence[PictureEntry], report: Reporter) -> None:
        self.entries = entries
        self.left_out: list[LeftOut] = []
        self._report = report
        self._names_by_pixels: dict[bytes, str] = {}
        self._total_pixels = 0

    def pictures(self, archive: zipfile.ZipFile) -> Iterator[tuple[int, PictureEntry, UprightPicture]]:
        """Number (its place in the order of names), entry and content of every picture that is used."""
        for number, entry in enumerate(self.entries):
            try:
                picture = read_upright(_bytes_of(archive, entry), entry.name)
            except UnreadablePicture:
                self._leave_out(entry, "corrupt")
            else:
                if self._is_wanted(entry, picture):
                    yield number, entry, picture
            self._report.progress(number + 1, len(self.entries), entry.name)

    def _is_wanted(self, entry: PictureEntry, picture: UprightPicture) -> bool:
        height_px, width_px, _ = picture.rgb.shape
        self._total_pixels += height_px * width_px
        if self._total_pixels > MAX_TOTAL_PIXELS:
            raise UserError(
                ErrorCode.UNSAFE_ARCHIVE,
                f"The pictures of the ZIP have more than {MAX_TOTAL_PIXELS:,} pixels together; send fewer of them.",
                field="file",
            )
        if min(height_px, width_px) < SMALLEST_SIDE_PX:
            self._leave_out(entry, "too_small")
            return False
        # Equal files have equal pixels, and so has a picture that was merely saved anew without loss.
        pixels = hashlib.sha256(f"{width_px}x{height_px}".encode())
        pixels.update(picture.rgb.data)
        first = self._names_by_pixels.setdefault(pixels.digest(), entry.name)
        if first != entry.name:
            self._leave_out(entry, "duplicate", same_as=first)
        return first == entry.name

    def _leave_out(
        self, entry: PictureEntry, reason: Literal["corrupt", "duplicate", "too_small"], same_as: str | None = None
    ) -> None:
        self.left_out.append(LeftOut(name=entry.name, reason=reason, same_as=same_as))


def _bytes_of(archive: zipfile.ZipFile, entry: PictureEntry) -> bytes:
    """Raises UnreadablePicture if the entry is damaged within the ZIP; UserError UNSAFE_ARCHIVE if the ZIP lies."""
    try:
        return read_picture_bytes(archive, entry)
    except UserError as error:
        if error.code is ErrorCode.UNSAFE_ARCHIVE:
            raise
        raise UnreadablePicture(error.message) from error


def _describe(entry: PictureEntry, number: int, picture: UprightPicture) -> _Read:
    height_px, width_px, _ = picture.rgb.shape
    file = f"{PICTURES_FOLDER}/{number:06d}{picture.suffix}"
    return _Read(entry.name, file, width_px, height_px, picture.tags, measure_picture(picture.rgb))


def _photos(kept: Sequence[_Read]) -> tuple[Photo, ...]:
    crop_by_camera = crop_factors(read.tags for read in kept)
    photos = []
    for read in kept:
        size_px = (read.width_px, read.height_px)
        focal_px = focal_length_px(read.tags, *size_px, crop_by_camera)
        photos.append(
            Photo(
                name=read.name,
                file=read.file,
                width_px=read.width_px,
                height_px=read.height_px,
                camera=camera_name(read.tags, focal_px, *size_px),
                focal_px=focal_px,
                sharpness=read.statistics.sharpness,
                brightness=read.statistics.brightness,
                contrast=read.statistics.contrast,
            )
        )
    return tuple(photos)


def _check_enough(kept: Sequence[_Read], reading: _Reading) -> None:
    if not kept:
        raise _nothing_readable(reading)
    if len(kept) < FEWEST_PICTURES:
        reasons = ", ".join(
            f"{left.name} ({left.reason.replace('_', ' ')})" for left in reading.left_out[:_NAMES_SHOWN]
        )
        raise UserError(
            ErrorCode.TOO_FEW_FRAMES,
            f"Only {len(kept)} of {len(reading.entries)} pictures can be used; at least {FEWEST_PICTURES} are needed. "
            f"Left out: {reasons}.",
            field="file",
        )


def _nothing_readable(reading: _Reading) -> UserError:
    return UserError(
        ErrorCode.INVALID_IMAGE,
        f"None of the {len(reading.entries)} pictures can be used: {_listed(reading.left_out)} cannot be decoded or are "
        f"smaller than {SMALLEST_SIDE_PX} pixels. Send JPEG, PNG, TIFF, BMP or WebP files.",
        field="file",
    )


def _tell(manifest: PhotoManifest, report: Reporter) -> None:
    for reason, text in _LEFT_OUT_BECAUSE.items():
        if left := [each for each in manifest.left_out if each.reason == reason]:
            report.warn(f"{len(left)} pictures {text}: {_listed(left)}.")
    duplicates = sum(each.reason == "duplicate" for each in manifest.left_out)
    if duplicates:
        report.log(f"  {duplicates} pictures are in the ZIP more than once; each counts once.")
    cameras = len({photo.camera for photo in manifest.photos})
    focal = sum(photo.focal_px is not None for photo in manifest.photos)
    report.log(f"  ✓ {len(manifest.photos)} pictures, {cameras} cameras, {focal} pictures with a focal length")


def _listed(left_out: Sequence[LeftOut]) -> str:
    more = len(left_out) - _NAMES_SHOWN
    return ", ".join(each.name for each in left_out[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
