"""What lies at a path, and so which of the four APIs it goes to."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from client.errors import FileUnusable
from contracts.jobs import JobKind
from contracts.object_settings import VIEWS

CLOUD_SUFFIXES = frozenset({".ptx", ".xyz", ".pts", ".txt", ".asc", ".csv", ".ply", ".e57", ".las", ".laz", ".pcd"})
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
_CAPTURE_FILE = "odometry.csv"
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class SixViews:
    """The files of an object, in upload order."""

    views: tuple[Path, ...]
    depths: tuple[Path, ...]


def recognise(path: Path) -> JobKind:
    """What can be made of the file or folder. Raises FileUnusable with what is expected."""
    if path.is_dir():
        find_views(path)
        return JobKind.OBJECT
    if not path.is_file():
        raise FileUnusable(f"{path} is not there.")
    if path.suffix.lower() in CLOUD_SUFFIXES:
        return JobKind.BUILDING
    if not zipfile.is_zipfile(path):
        raise FileUnusable(
            f"{path} is no ZIP archive and has no suffix of a point cloud ({', '.join(sorted(CLOUD_SUFFIXES))}). "
            "Say what it is with --kind."
        )
    with zipfile.ZipFile(path) as archive:
        names = [Path(name) for name in archive.namelist()]
    if any(name.name == _CAPTURE_FILE for name in names):
        return JobKind.CAPTURE
    if any(name.suffix.lower() in PICTURE_SUFFIXES for name in names):
        return JobKind.SCENE
    raise FileUnusable(f"{path} holds neither a capture ({_CAPTURE_FILE}) nor pictures.")


def find_views(folder: Path) -> SixViews:
    """The six views and six depth renders below a folder: PNG files called view… and depth…, by their numbers.

    Raises FileUnusable if there are not six of each.
    """
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png" and path.is_file())
    found = {
        word: tuple(sorted((p for p in pictures if p.stem.lower().startswith(word)), key=_by_number))
        for word in ("view", "depth")
    }
    if any(len(files) != VIEWS for files in found.values()):
        raise FileUnusable(
            f"{folder} holds {len(found['view'])} files view….png and {len(found['depth'])} files depth….png: {VIEWS} of each make "
            "an object (front, back, left, right, top, bottom). Of anything else make a ZIP."
        )
    return SixViews(found["view"], found["depth"])


def _by_number(path: Path) -> tuple[int, str]:
    numbers = _NUMBER.findall(path.stem)
    return (int(numbers[-1]) if numbers else 0, path.name)
