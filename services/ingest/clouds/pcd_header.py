"""The header of PCD files, version 0.7 of the Point Cloud Library. Imports nothing heavy."""

import math
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from services.ingest.clouds.errors import bad_cloud, shown, unsupported

MAX_HEADER_BYTES = 64 << 10
_MAX_FIELDS = 1000
_MAX_POINT_BYTES = 64 << 10
_NO_VIEWPOINT = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
_ENCODINGS: dict[bytes, Literal["ascii", "binary", "binary_compressed"]] = {
    b"ascii": "ascii",
    b"binary": "binary",
    b"binary_compressed": "binary_compressed",
}


@dataclass(frozen=True)
class PcdField:
    name: str
    type: str
    """numpy's name: <f4."""
    count: int
    """Values in each point."""
    first_column: int
    """Its place in a line of text."""

    @property
    def size_bytes(self) -> int:
        return int(self.type[2]) * self.count


@dataclass(frozen=True)
class PcdHeader:
    fields: tuple[PcdField, ...]
    points: int
    encoding: Literal["ascii", "binary", "binary_compressed"]
    viewpoint: tuple[float, float, float] | None
    """Where the sensor stood; None if the file does not say."""
    body_at: int
    lines: int

    @property
    def point_bytes(self) -> int:
        return sum(field.size_bytes for field in self.fields)

    def find(self, *names: str) -> PcdField | None:
        return next((field for name in names for field in self.fields if field.name == name), None)


def read_pcd_header(file: BinaryIO, file_name: str) -> PcdHeader:
    """Raises UserError if it is damaged or has no x, y and z."""
    file.seek(0)
    head = file.read(MAX_HEADER_BYTES)
    match = re.search(rb"(?:^|\n)[ \t]*DATA[ \t]+([^\s]+)[^\n]*\n", head)
    if match is None:
        raise bad_cloud(
            f"{file_name} begins as a PCD file, but its header has no line DATA. Send the whole file again."
        )
    words = {}
    for line in head[: match.end()].decode("ascii", "replace").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, *values = line.split()
            words[name.upper()] = values
    encoding = _ENCODINGS.get(match[1].lower())
    if encoding is None:
        raise unsupported(
            f"{file_name}: PCD data {shown(match[1], 40)} is unknown; ascii, binary and binary_compressed are read."
        )
    header = PcdHeader(
        _fields(words, file_name),
        _points(words, file_name),
        encoding,
        _viewpoint(words),
        match.end(),
        head.count(b"\n", 0, match.end()),
    )
    missing = [name for name in ("x", "y", "z") if header.find(name) is None]
    if missing:
        raise bad_cloud(f"{file_name}: the PCD file has no field {', '.join(missing)}. Export the cloud again.")
    return header


def _fields(words: dict[str, list[str]], file_name: str) -> tuple[PcdField, ...]:
    names = [name.lower() for name in words.get("FIELDS", words.get("COLUMNS", []))]
    sizes, types = words.get("SIZE", []), words.get("TYPE", [])
    counts = words.get("COUNT", ["1"] * len(names))
    if not names or not len(names) == len(sizes) == len(types) == len(counts) or len(names) > _MAX_FIELDS:
        raise bad_cloud(
            f"{file_name}: the PCD header's lines FIELDS, SIZE, TYPE and COUNT have {len(names)}, {len(sizes)}, "
            f"{len(types)} and {len(counts)} entries; they must have as many as each other. Export the cloud again."
        )
    fields: list[PcdField] = []
    column = 0
    for name, size, value_type, count in zip(names, sizes, types, counts, strict=True):
        known = (value_type.upper(), size) in {("F", "4"), ("F", "8")} | {(t, s) for t in "IU" for s in "1248"}
        if not known or not re.fullmatch(r"[1-9]\d{0,4}", count):
            raise bad_cloud(
                f"{file_name}: the PCD field {name[:40]} has type {shown(value_type.encode(), 10)}, size "
                f"{shown(size.encode(), 10)} and count {shown(count.encode(), 10)}, which do not exist."
            )
        fields.append(PcdField(name, f"<{value_type.lower()}{size}", int(count), column))
        column += int(count)
    if sum(field.size_bytes for field in fields) > _MAX_POINT_BYTES:
        raise bad_cloud(
            f"{file_name}: a point of the PCD file takes over {_MAX_POINT_BYTES:,} bytes. Export the cloud again."
        )
    return tuple(fields)


def _points(words: dict[str, list[str]], file_name: str) -> int:
    numbers = {name: words[name][0] for name in ("WIDTH", "HEIGHT", "POINTS") if words.get(name)}
    if bad := [f"{name} {text[:40]}" for name, text in numbers.items() if not re.fullmatch(r"\d{1,19}", text)]:
        raise bad_cloud(f"{file_name}: the PCD header says {bad[0]}, which is no count. Export the cloud again.")
    product = int(numbers.get("WIDTH", "0")) * int(numbers.get("HEIGHT", "1"))
    points = int(numbers.get("POINTS", product))
    if product and points != product:
        raise bad_cloud(
            f"{file_name}: the PCD header's WIDTH times HEIGHT is {product:,}, but its POINTS {points:,}. "
            "Export the cloud again."
        )
    return points


def _viewpoint(words: dict[str, list[str]]) -> tuple[float, float, float] | None:
    try:
        values = tuple(float(text) for text in words.get("VIEWPOINT", []))
    except ValueError:
        return None
    if len(values) != 7 or values == _NO_VIEWPOINT or not all(map(math.isfinite, values)):
        return None
    return values[0], values[1], values[2]
