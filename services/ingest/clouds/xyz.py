"""Plain text clouds (.xyz, .txt, .asc, .csv, .pts): which column is what, and their points.

No standard describes these files. What is accepted: names in a header line where there is one, else the order that
scanners' programs write: x y z, then intensity and colours in either order, normals anywhere.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

import numpy as np

from services.ingest.clouds.colours import fractional_colours, whole_colours
from services.ingest.clouds.dialects import (
    SAMPLE_BYTES,
    SAMPLE_LINES,
    Dialect,
    TextBeginning,
    is_comment,
    is_row,
    is_whole_number,
    read_beginning,
    split_lines,
    to_float,
)
from services.ingest.clouds.errors import shown
from services.ingest.clouds.source import PIECE_POINTS, Colours, Floats, Notes, Piece, Reading
from services.ingest.clouds.text import Layout, TextReader

_MAX_COLUMNS = 64
"""Further ones are not looked at."""
_KINDS = ("x", "y", "z", "r", "g", "b", "intensity")
_NAMES = {
    **dict.fromkeys(("x", "east", "easting", "e", "points0", "coordx", "xcoord", "xcoordinate", "posx"), "x"),
    **dict.fromkeys(("y", "north", "northing", "n", "points1", "coordy", "ycoord", "ycoordinate", "posy"), "y"),
    **dict.fromkeys(
        ("z", "elevation", "elev", "height", "h", "alt", "altitude", "points2", "coordz", "zcoord", "zcoordinate", "posz"), "z"
    ),
    **dict.fromkeys(("r", "red", "rgb0", "colorr", "colorred", "diffusered"), "r"),
    **dict.fromkeys(("g", "green", "rgb1", "colorg", "colorgreen", "diffusegreen"), "g"),
    **dict.fromkeys(("b", "blue", "rgb2", "colorb", "colorblue", "diffuseblue"), "b"),
    **dict.fromkeys(
        ("intensity", "i", "int", "reflectance", "reflectivity", "remission", "amplitude", "scalarintensity",
         "scalarfield", "scalarscalarfield", "scalarreflectance"),
        "intensity",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Places in a row, from 0."""

    xyz: tuple[int, int, int] = (0, 1, 2)
    rgb: tuple[int, int, int] | None = None
    rgb_is_whole: bool = True
    """Whole numbers, as from 8 or 16 bits; else from 0 to 1."""
    intensity: int | None = None

    @property
    def all(self) -> tuple[int, ...]:
        return (*self.xyz, *(self.rgb or ()), *(() if self.intensity is None else (self.intensity,)))


@dataclass(frozen=True)
class TextForm:
    """How a text cloud is to be read."""

    beginning: TextBeginning
    columns: Columns
    notes: tuple[str, ...] = ()


def read_xyz(file: BinaryIO, file_name: str, notes: Notes) -> Reading:
    """Open a text cloud. Raises UserError where it is none; `pieces` raises it where too many lines are bad."""
    form = find_form(file, file_name)
    for note in form.notes:
        notes.warn(note)
    size_bytes = file.seek(0, 2)
    file.seek(0)
    reading = Reading(iter(()), bytes_total=size_bytes)
    reader = TextReader(file, file_name)
    reading.pieces = _pieces(reader, form, reading, notes)
    return reading


def find_form(file: BinaryIO, file_name: str) -> TextForm:
    """Look at the beginning, middle and end of a text cloud. Raises UserError if it has no rows of three numbers."""
    samples = _sample(file)
    beginning = read_beginning(samples[0], file_name)
    split = beginning.dialect.split
    rows = [row for sample in samples for line in split_lines(sample, SAMPLE_LINES) if is_row(row := split(line))]
    width = _usual_width(rows)
    values = _values([row for row in rows if len(row) >= width], width)
    columns, notes = _find_columns(beginning.header, beginning.dialect, values, file_name)
    return TextForm(beginning, columns, notes)


def _sample(file: BinaryIO) -> list[bytes]:
    """Whole lines from the beginning, the middle and the end of the file."""
    size_bytes = file.seek(0, 2)
    file.seek(0)
    samples = [file.read(SAMPLE_BYTES)]
    if len(samples[0]) == SAMPLE_BYTES:
        cut = max(samples[0].rfind(b"\n"), samples[0].rfind(b"\r"))
        samples[0] = samples[0][: cut + 1] or samples[0]
    for begin in (size_bytes // 2, size_bytes - SAMPLE_BYTES):
        if begin > SAMPLE_BYTES:
            file.seek(begin)
            sample = file.read(SAMPLE_BYTES)
            samples.append(sample[sample.find(b"\n") + 1 : sample.rfind(b"\n") + 1])
    return samples


def _usual_width(rows: Sequence[Sequence[bytes]]) -> int:
    widths = np.array([len(row) for row in rows])
    return min(int(np.bincount(widths).argmax()), _MAX_COLUMNS)


def _values(rows: Sequence[Sequence[bytes]], width: int) -> Floats:
    """(rows, width); nan for what is no number."""
    values = [[np.nan if (value := to_float(field)) is None else value for field in row[:width]] for row in rows]
    return np.array(values).reshape(-1, width)


def _find_columns(
    header_lines: Sequence[bytes], dialect: Dialect, values: Floats, file_name: str
) -> tuple[Columns, tuple[str, ...]]:
    columns = _by_values(values, file_name)
    for line in reversed(header_lines):
        names = _names(line, dialect)
        if names is None:
            continue
        found = {name: names.index(name) for name in _KINDS if name in names}
        if not {"x", "y", "z"} <= found.keys():
            return columns, (
                f"{file_name} begins with {shown(line.strip())}, in which no columns X, Y and Z are named: "
                "its first three columns were taken as such.",
            )
        # Some programs name the coordinates only.
        if len(found) == 3 and len(names) < values.shape[1] and tuple(found.values()) == (0, 1, 2):
            return columns, ()
        return _by_names(found, values), ()
    if values.shape[1] > 3 and columns.rgb is None and columns.intensity is None:
        return columns, (
            f"{file_name} has {values.shape[1]} columns without names; the first three were taken as X, Y and Z and "
            "the others left out. Name them in a first line, for instance: X Y Z R G B Intensity.",
        )
    return columns, ()


def _names(line: bytes, dialect: Dialect) -> list[str] | None:
    """Column names that we know ("" for others), or None if the line names none."""
    text = line.strip().lstrip(b"#/%!").strip()
    if not text or is_whole_number(text):
        return None
    candidates = [dialect.split(text)]
    candidates += [re.split(pattern, text.replace(b'"', b"")) for pattern in (rb"[,;\t]\s*", rb"[\s,;]+")]
    best: list[str] = []
    for fields in candidates:
        plain = [re.sub(r"[\[(].*?[\])]|[^a-z0-9]", "", field.decode("ascii", "replace").lower()) for field in fields]
        names = [_NAMES.get(name, "") for name in plain]
        if sum(map(bool, names)) > sum(map(bool, best)):
            best = names
    if best:
        return best
    return None if is_comment(line.strip()) else []


def _by_names(found: dict[str, int], values: Floats) -> Columns:
    width = values.shape[1]
    xyz = found["x"], found["y"], found["z"]
    rgb = (found["r"], found["g"], found["b"]) if {"r", "g", "b"} <= found.keys() else None
    if rgb is not None and max(rgb) >= width:
        rgb = None
    intensity = found.get("intensity")
    if intensity is not None and intensity >= width:
        intensity = None
    return Columns(xyz, rgb, rgb is None or _is_whole(values[:, rgb]), intensity)


def _by_values(values: Floats, file_name: str) -> Columns:
    """Columns after x y z by what they hold. Normals have length one, colours are whole numbers or lie within 0 and 1."""
    width = values.shape[1]
    free = set(range(3, width))
    triples = [(first, first + 1, first + 2) for first in range(3, width - 2)]
    for triple in triples:
        lengths = np.linalg.norm(values[:, triple], axis=1)
        if (
            free.issuperset(triple)
            and np.nanmean(np.abs(lengths - 1) < 0.02) > 0.9
            and not _is_whole(values[:, triple])
        ):
            free -= set(triple)
    rgb = None
    if len(triples) == 2 and PurePath(file_name).suffix.lower() == ".pts":
        # Leica's order: x y z intensity red green blue.
        triples.reverse()
    triples = [triple for triple in triples if free.issuperset(triple) and _are_colours(values[:, triple])]
    if triples:
        # A 16-bit intensity beside 8-bit colours must not be taken for one of them.
        rgb = min(triples, key=lambda triple: bool(np.nanmax(values[:, triple]) > 255))
        free -= set(rgb)
    intensity = min(free) if len(free) == 1 else None
    return Columns((0, 1, 2), rgb, rgb is None or _is_whole(values[:, rgb]), intensity)


def _is_whole(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    return bool((known == np.round(known)).all())


def _are_colours(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    if not len(known) or known.min() < 0:
        return False
    return bool(known.max() <= 1 or (_is_whole(values) and known.max() <= 65_535))


def _pieces(reader: TextReader, form: TextForm, reading: Reading, notes: Notes) -> Iterator[Piece]:
    for _ in form.beginning.header:
        reader.line()
    layout = Layout(form.beginning.dialect, form.columns.all, "count")
    while True:
        rows = reader.read_rows(PIECE_POINTS, layout)
        reading.bytes_done = reader.bytes_done
        if rows.ended and not rows.values.shape[1]:
            break
        yield to_piece(rows.values, form.columns)
    bad = reader.finish()
    if bad:
        notes.warn(
            f"{bad:,} of {reader.rows:,} lines are not rows of numbers and were left out; the first is {reader.first_bad}."
        )
    declared = sum(reader.counts) + (form.beginning.points_declared or 0)
    if declared > reader.rows:
        notes.warn(
            f"The file says that it has {declared:,} points, but only {reader.rows:,} are in it: it was probably cut off "
            "while it was copied. What is there was used."
        )


def to_piece(values: Floats, columns: Columns, scan: int = 0) -> Piece:
    """Rows (columns.all, n) as a piece."""
    colours: Colours | None = None
    if columns.rgb is not None:
        colours = whole_colours(values[3:6]) if columns.rgb_is_whole else fractional_colours(values[3:6])
    intensity = None if columns.intensity is None else values[-1].astype(np.float32)
    return Piece(values[:3], None, colours, intensity, scan)
