"""ZIP archives: the upload unpacked, the results packed."""

import zipfile
from pathlib import Path

from contracts.object_files import STORED_NAMES

_LEVEL = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)


def unpack(upload: Path, folder: Path) -> None:
    """Brings the twelve pictures of a stored upload into `folder`, and nothing else of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(upload) as archive:
        for name in STORED_NAMES:
            (folder / name).write_bytes(archive.read(name))


def pack(folder: Path, archive: Path) -> None:
    """Everything below `folder`, with names relative to it. The same files make the same archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            packed.writestr(info, path.read_bytes(), compresslevel=_LEVEL)
