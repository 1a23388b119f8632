"""What runs where: the entry of the child process, and the folders and files that it and the worker share."""

from pathlib import Path

ENTRY = "services.mesh.entry:run"


def upload_in(scratch: Path) -> Path:
    """The upload as it was stored."""
    return scratch / "upload.zip"


def views_in(scratch: Path) -> Path:
    """The pictures, unpacked."""
    return scratch / "views"


def out_in(scratch: Path) -> Path:
    """A folder for each model, and the README."""
    return scratch / "out"


def archive_in(scratch: Path) -> Path:
    """All of `out` as it is delivered."""
    return scratch / "result.zip"
