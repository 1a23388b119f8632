"""How a point cloud is refused, and what no file may claim. Imports nothing heavy: the first look at an upload uses it."""

from pathlib import PurePath

from contracts.errors import ErrorCode, UserError

FIELD = "point_cloud_file"
MAX_POINTS = 2_000_000_000
"""Places in the file are kept in 32 bits, and disks are finite."""
MAX_POINTS_PER_BYTE = 256
"""LAZ packs a grid without noise to 90 points a byte; what claims more than this is made to fill the disk."""
MAX_SCANS = 65_535


def bad_cloud(message: str) -> UserError:
    return UserError(ErrorCode.INVALID_CLOUD, message, field=FIELD)


def unsupported(message: str) -> UserError:
    return UserError(ErrorCode.UNSUPPORTED_FORMAT, message, field=FIELD)


def check_claim(file_name: str, points: int, size_bytes: int) -> None:
    """Refuse counts that no file of this size can hold, and those beyond what is accepted."""
    if points < 0:
        raise bad_cloud(f"{file_name}'s header says that it has {points} points; export the cloud again.")
    if points > size_bytes * MAX_POINTS_PER_BYTE:
        raise bad_cloud(
            f"{file_name}'s header says that {size_bytes:,} bytes hold {points:,} points, which cannot be; "
            "export the cloud again."
        )
    if points > MAX_POINTS:
        raise bad_cloud(
            f"{file_name} has {points:,} points; at most {MAX_POINTS:,} are accepted. "
            "Thin the cloud, or send the building in parts."
        )


def shown(text: bytes, limit: int = 80) -> str:
    """Bytes of a file as a quote within a message: printable ASCII, cut."""
    plain = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in text[: limit + 1])
    return f"'{plain[:limit]}…'" if len(text) > limit else f"'{plain}'"


def shown_name(file_name: str) -> str:
    """A file's name within a message: without folders, printable, cut."""
    plain = "".join(each if each.isprintable() else "·" for each in PurePath(file_name).name)
    return plain[:100] or "The file"
