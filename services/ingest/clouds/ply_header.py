"""The header of PLY files (G. Turk, 1994). Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from services.ingest.clouds.errors import bad_cloud, shown, unsupported

MAX_HEADER_BYTES = 1 << 20
_MAX_PROPERTIES = 1000
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_ENCODINGS: dict[str, Literal["ascii", "<", ">"]] = {
    "ascii": "ascii",
    "binary_little_endian": "<",
    "binary_big_endian": ">",
}
_VERTICES = ("vertex", "vertices", "point", "points")


@dataclass(frozen=True)
class Property:
    name: str
    type: str
    """numpy's name without byte order: f4."""
    count_type: str | None = None
    """Of a list's length; None for a single value."""


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def has_lists(self) -> bool:
        return any(each.count_type is not None for each in self.properties)

    @property
    def scalars(self) -> tuple[Property, ...]:
        return tuple(each for each in self.properties if each.count_type is None)


@dataclass(frozen=True)
class PlyHeader:
    encoding: Literal["ascii", "<", ">"]
    elements: tuple[Element, ...]
    body_at: int
    """Bytes to the first element."""
    lines: int

    @property
    def vertices(self) -> Element:
        return next(each for each in self.elements if each.name in _VERTICES)


def read_ply_header(file: BinaryIO, file_name: str) -> PlyHeader:
    """Raises UserError if it is damaged, or names no vertices with x, y and z."""
    file.seek(0)
    head = file.read(64 << 10)
    if b"end_header" not in head:
        head += file.read(MAX_HEADER_BYTES - len(head))
    end = head.find(b"end_header")
    line_end = head.find(b"\n", end)
    if end < 0 or line_end < 0:
        raise bad_cloud(
            f"{file_name} begins as a PLY file, but its header does not end; it was probably cut off. Send it again."
        )
    lines = head[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    words = [line.decode("ascii", "replace").split() for line in lines]
    encoding = _encoding(words, file_name)
    elements = _elements(words, file_name)
    header = PlyHeader(encoding, elements, line_end + 1, head.count(b"\n", 0, line_end + 1))
    if not any(each.name in _VERTICES for each in elements):
        raise bad_cloud(f"{file_name} is a PLY file without vertices.")
    names = [each.name for each in header.vertices.scalars]
    if missing := [name for name in ("x", "y", "z") if name not in names]:
        raise bad_cloud(f"{file_name}: the PLY file's vertices have no {', '.join(missing)}. Export the cloud again.")
    return header


def _encoding(words: Sequence[Sequence[str]], file_name: str) -> Literal["ascii", "<", ">"]:
    for line in words:
        if line[:1] == ["format"] and len(line) >= 2:
            if line[1] in _ENCODINGS:
                return _ENCODINGS[line[1]]
            raise unsupported(
                f"{file_name}: the PLY format '{line[1][:40]}' is unknown; ascii, binary_little_endian and "
                "binary_big_endian are read."
            )
    raise bad_cloud(f"{file_name}: the PLY header has no line `format`. Export the cloud again.")


def _elements(words: Sequence[Sequence[str]], file_name: str) -> tuple[Element, ...]:
    elements: list[Element] = []
    for line in words:
        match line:
            case ["element", name, count]:
                elements.append(Element(name.lower(), _count(count, file_name), ()))
            case ["property", "list", count_type, item_type, name] if elements:
                elements[-1] = _with(
                    elements[-1], Property(name, _type(item_type, file_name), _type(count_type, file_name))
                )
            case ["property", value_type, name] if elements:
                elements[-1] = _with(elements[-1], Property(name.lower(), _type(value_type, file_name)))
            case ["property" | "element", *_]:
                raise bad_cloud(
                    f"{file_name}: the PLY header's line {shown(' '.join(line).encode())} is damaged. Export the cloud again."
                )
        if elements and len(elements[-1].properties) > _MAX_PROPERTIES:
            raise bad_cloud(
                f"{file_name}: the PLY element {elements[-1].name[:40]} has over {_MAX_PROPERTIES} properties."
            )
    return tuple(elements)


def _with(element: Element, added: Property) -> Element:
    return Element(element.name, element.count, (*element.properties, added))


def _count(text: str, file_name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_cloud(f"{file_name}: the PLY header counts {shown(text.encode())} elements. Export the cloud again.")
    return int(text)


def _type(name: str, file_name: str) -> str:
    if name not in _TYPES:
        raise bad_cloud(f"{file_name}: the PLY header names a type {shown(name.encode())} that does not exist.")
    return _TYPES[name]
