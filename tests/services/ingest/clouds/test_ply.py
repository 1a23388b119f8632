import io
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.ply import read_ply
from tests.services.ingest.clouds.cloud_files import Heard, collect, notes, ply_of

TYPES = {
    "char": "i1", "uint8": "u1", "short": "i2", "uint16": "u2", "int": "i4", "uint32": "u4", "float": "f4",
    "float64": "f8", "double": "f8",
}  # fmt: skip
ENCODINGS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
POINTS = np.arange(30, dtype=np.float64).reshape(10, 3) / 7


def read(data: bytes) -> Heard:
    said, warnings = notes()
    return collect(read_ply(io.BytesIO(data), "cloud.ply", said), warnings)


def error_of(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(data)
    return caught.value


def header(lines: list[str], encoding: str = "binary_little_endian") -> bytes:
    return "\n".join(["ply", f"format {encoding} 1.0", *lines, "end_header", ""]).encode()


def values_of(kind: str, rng: np.random.Generator, count: int) -> np.ndarray:
    dtype = np.dtype(TYPES[kind])
    if dtype.kind == "f":
        return rng.uniform(-1e6, 1e6, count).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, count, endpoint=True).astype(dtype)


@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    types=st.lists(st.sampled_from(["float", "double", "float64"]), min_size=3, max_size=3),
    colour=st.sampled_from(["", "red green blue", "r g b", "diffuse_red diffuse_green diffuse_blue"]),
    colour_type=st.sampled_from(["uint8", "uint16", "float"]),
    intensity=st.sampled_from(["", "intensity", "scalar_Intensity", "reflectance"]),
    others=st.lists(st.sampled_from(sorted(TYPES)), max_size=3),
    lists=st.booleans(),
    order=st.randoms(use_true_random=False),
    before=st.sampled_from(["", "camera", "face"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    count=st.integers(1, 12),
)
@settings(max_examples=150, deadline=None)
def test_any_properties_in_any_order_give_the_same_points(  # noqa: PLR0917, PLR0912
    encoding: str,
    types: list[str],
    colour: str,
    colour_type: str,
    intensity: str,
    others: list[str],
    lists: bool,
    order: random.Random,
    before: str,
    line_end: str,
    count: int,
) -> None:
    rng = np.random.default_rng(order.randrange(10**6))
    columns: dict[str, tuple[str, np.ndarray]] = {}
    for name, kind in zip("xyz", types, strict=True):
        columns[name] = kind, values_of(kind, rng, count)
    for name in colour.split():
        values = rng.uniform(0, 1, count).astype("f4") if colour_type == "float" else values_of(colour_type, rng, count)
        columns[name] = colour_type, values
    if intensity:
        columns[intensity] = "float", values_of("float", rng, count)
    for place, kind in enumerate(others):
        columns[f"other_{place}"] = kind, values_of(kind, rng, count)
    names = list(columns) + (["a_list"] if lists else [])
    order.shuffle(names)
    lengths = rng.integers(0, 4, count)

    lines = ["comment made by hand"]
    if before == "camera":
        lines += ["element camera 2", "property float focal"]
    elif before == "face":
        lines += ["element face 2", "property list uchar int vertex_indices"]
    lines.append(f"element vertex {count}")
    lines += [
        f"property list uchar short {name}" if name == "a_list" else f"property {columns[name][0]} {name}"
        for name in names
    ]
    lines += ["element face 1", "property list uchar int vertex_indices"]
    text = encoding == "ascii"
    sign = ENCODINGS[encoding]
    body = b""
    if before == "camera":
        body += b"50\n35.5\n" if text else struct.pack(sign + "ff", 50, 35.5)
    elif before == "face":
        body += b"3 0 1 2\n0\n" if text else struct.pack(sign + "BiiiB", 3, 0, 1, 2, 0)
    for row in range(count):
        fields = []
        for name in names:
            if name == "a_list":
                fields += [str(lengths[row])] + ["7"] * int(lengths[row])
                binary = struct.pack(f"{sign}B{lengths[row]}h", lengths[row], *[7] * int(lengths[row]))
            else:
                kind, values = columns[name]
                # Through its own precision, as a writer of text has to.
                fields.append(repr(float(values[row])) if values.dtype.kind == "f" else str(int(values[row])))
                binary = np.asarray(values[row]).astype(sign + TYPES[kind]).tobytes()
            body += b"" if text else binary
        body += (" ".join(fields) + "\n").encode() if text else b""
    body += b"3 0 1 2\n" if text else struct.pack(sign + "Biii", 3, 0, 1, 2)

    heard = read(header(lines, encoding).replace(b"\n", line_end.encode()) + body)
    np.testing.assert_array_equal(heard.xyz, np.column_stack([columns[name][1] for name in "xyz"]))
    if colour:
        assert heard.colours is not None
        np.testing.assert_array_equal(heard.colours, np.column_stack([columns[name][1] for name in colour.split()]))
        assert heard.colours.dtype == {"uint8": np.uint8, "uint16": np.uint16, "float": np.float32}[colour_type]
    else:
        assert heard.colours is None
    if intensity:
        np.testing.assert_array_equal(heard.intensity, columns[intensity][1])
    else:
        assert heard.intensity is None
    assert heard.warnings == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("declared", [11, 600])
def test_a_file_that_was_cut_off_gives_what_is_there(order: str, declared: int) -> None:
    data = ply_of(POINTS, order=order, declared=declared) + b"half"
    heard = read(data)
    np.testing.assert_array_equal(heard.xyz, POINTS)
    assert f"{declared:,} points, but only 10 are in the file" in heard.warnings[0]


def test_text_that_was_cut_off_gives_what_is_there() -> None:
    head = header(["element vertex 5", "property float x", "property float y", "property float z"], "ascii")
    heard = read(head + b"1 2 3\n4 5 6\n7 8")
    np.testing.assert_array_equal(heard.xyz[:2], [[1, 2, 3], [4, 5, 6]])
    assert np.isnan(heard.xyz[2:, 0]).all()
    assert any("only 3 are in the file" in warning for warning in heard.warnings)


XYZ_LINES = ["property float x", "property float y", "property float z"]


@pytest.mark.parametrize(
    ("lines", "encoding", "found"),
    [
        ([f"element vertex {2**60}", *XYZ_LINES], "binary_little_endian", "which cannot be"),
        ([f"element vertex {2**60}", *XYZ_LINES], "ascii", "which cannot be"),
        (["element vertex -5", *XYZ_LINES], "binary_little_endian", "counts '-5' elements"),
        (["element vertex many", *XYZ_LINES], "binary_little_endian", "counts 'many'"),
        (["element vertex " + "9" * 30, *XYZ_LINES], "ascii", "counts '999"),
        (["element vertex 5", *XYZ_LINES[:2]], "ascii", "no z"),
        (["element vertex 5", "property list uchar float x", *XYZ_LINES[1:]], "ascii", "no x"),
        (["element vertex 5", "property quad x", *XYZ_LINES[1:]], "ascii", "'quad'"),
        (["element vertex 5", "property float", *XYZ_LINES], "ascii", "'property float'"),
        (["element vertex", *XYZ_LINES], "ascii", "'element vertex'"),
        (["element face 5", *XYZ_LINES], "ascii", "without vertices"),
        ([], "ascii", "without vertices"),
        (
            ["element vertex 5", *XYZ_LINES, *[f"property float a{i}" for i in range(1001)]],
            "ascii",
            "over 1000 properties",
        ),
    ],
)
def test_headers_that_cannot_be_are_refused(lines: list[str], encoding: str, found: str) -> None:
    error = error_of(header(lines, encoding) + bytes(60))
    assert error.code is ErrorCode.INVALID_CLOUD
    assert found in error.message


def test_an_unknown_encoding_is_named() -> None:
    error = error_of(header(["element vertex 5", *XYZ_LINES], "binary_middle_endian"))
    assert error.code is ErrorCode.UNSUPPORTED_FORMAT
    assert "binary_middle_endian" in error.message


@pytest.mark.parametrize(
    "data", [b"ply\n", b"ply\nformat ascii 1.0\nelement vertex 3\n", b"ply\n" + b"comment x\n" * 200_000]
)
def test_headers_without_an_end_are_refused(data: bytes) -> None:
    assert "header does not end" in error_of(data).message


@pytest.mark.parametrize("count", [2**60, 5])
def test_elements_before_the_vertices_that_are_too_long_end_with_the_file(count: int) -> None:
    lines = [f"element face {count}", "property list uint int vertex_indices", "element vertex 5", *XYZ_LINES]
    heard = read(header(lines) + struct.pack("<I", 2**32 - 1) + bytes(100))
    assert len(heard.xyz) == 0
    assert "only 0 are in the file" in heard.warnings[0]
    empty = ["element nothing 1152921504606846976", "element vertex 5", *XYZ_LINES]
    assert len(read(header(empty) + bytes(60)).xyz) == 5


@given(st.binary(max_size=40), st.integers(0, 300), st.sampled_from(["<", ">"]))
def test_arbitrary_damage_is_read_or_refused(damage: bytes, place: int, order: str) -> None:
    data = ply_of(POINTS, np.zeros((10, 3), np.uint8), order)
    try:
        heard = read(data[:place] + damage + data[place + len(damage) :])
    except UserError:
        return
    assert heard.xyz.shape[1] == 3
