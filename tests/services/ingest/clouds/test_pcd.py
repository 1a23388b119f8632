import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds import lzf
from services.ingest.clouds.lzf import LzfError, decompress
from services.ingest.clouds.pcd import read_pcd
from tests.services.ingest.clouds.cloud_files import Heard, collect, compressed_body, notes, pack_lzf, pcd_header

FIELDS = {"F4": "f4", "F8": "f8", "U1": "u1", "U2": "u2", "U4": "u4", "I4": "i4", "U8": "u8"}


def read(data: bytes, scratch: Path) -> tuple[Heard, list[np.ndarray | None]]:
    said, warnings = notes()
    reading = read_pcd(io.BytesIO(data), "cloud.pcd", scratch, said)
    heard = collect(reading, warnings)
    assert list(scratch.iterdir()) == []
    return heard, reading.scanners


def body_of(columns: dict[str, np.ndarray], names: list[str], data: str) -> bytes:
    if data == "binary":
        table = np.zeros(len(columns["x"]), dtype=[(name, columns[name].dtype.str) for name in names])
        for name in names:
            table[name] = columns[name]
        return table.tobytes()
    if data == "binary_compressed":
        return compressed_body(b"".join(columns[name].tobytes() for name in names))
    rows = zip(*(columns[name].tolist() for name in names), strict=True)
    return "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode()


@given(
    data=st.sampled_from(["ascii", "binary", "binary_compressed"]),
    kind=st.sampled_from(["F4", "F8"]),
    colour=st.sampled_from(["", "rgb U4", "rgba U4", "rgb F4", "r g b U1"]),
    intensity=st.sampled_from(["", "F4", "U2"]),
    others=st.lists(st.sampled_from(sorted(FIELDS)), max_size=3),
    order=st.randoms(use_true_random=False),
    height=st.integers(1, 3),
    width=st.integers(1, 12),
    hole=st.booleans(),
)
@settings(
    max_examples=200,
    deadline=None,
)
def test_all_encodings_and_fields_give_the_same_points(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    data: str,
    kind: str,
    colour: str,
    intensity: str,
    others: list[str],
    order: random.Random,
    height: int,
    width: int,
    hole: bool,
) -> None:
    count = height * width
    rng = np.random.default_rng(order.randrange(10**6))
    kinds: dict[str, str] = dict.fromkeys("xyz", kind)
    columns = {name: rng.uniform(-1e5, 1e5, count).astype(FIELDS[kind]) for name in "xyz"}
    rgb = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    packed = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=1, dtype=np.uint32)
    if colour == "r g b U1":
        for place, name in enumerate("rgb"):
            kinds[name], columns[name] = "U1", rgb[:, place]
    elif colour:
        name, colour_kind = colour.split()
        kinds[name], columns[name] = colour_kind, packed.view("f4") if colour_kind == "F4" else packed
    if intensity:
        kinds["intensity"] = intensity
        columns["intensity"] = rng.integers(0, 4096, count).astype(FIELDS[intensity])
    for place, other in enumerate(others):
        kinds[f"other{place}"], columns[f"other{place}"] = other, rng.integers(0, 100, count).astype(FIELDS[other])
    if hole:
        columns["y"][0] = np.nan
    names = list(columns)
    order.shuffle(names)
    head = pcd_header(
        " ".join(names),
        " ".join(kinds[name][1] for name in names),
        " ".join(kinds[name][0] for name in names),
        width,
        height,
        data,
        "1.5 2.5 0.5 1 0 0 0",
    )
    heard, scanners = read(head + body_of(columns, names, data), tmp_path_factory.mktemp("pcd"))
    expected = np.column_stack([columns[name] for name in "xyz"]).astype(np.float64)
    np.testing.assert_array_equal(heard.xyz, expected)
    np.testing.assert_array_equal(heard.no_return, np.isnan(expected).any(axis=1))
    if colour:
        np.testing.assert_array_equal(heard.colours, rgb)
    else:
        assert heard.colours is None
    if intensity:
        np.testing.assert_array_equal(heard.intensity, columns["intensity"])
    np.testing.assert_array_equal(scanners, [(1.5, 2.5, 0.5)])
    assert heard.warnings == []


def test_packed_colours_in_text_are_whole_numbers_or_the_float_they_fill(tmp_path: Path) -> None:
    packed = np.array([0x4A808060], np.uint32)
    head = pcd_header("x y z rgb", "4 4 4 4", "F F F F", 1, 1, "ascii")
    for text in (str(packed[0]), repr(float(packed.view(np.float32)[0]))):
        heard, scanners = read(head + f"1 2 3 {text}\n".encode(), tmp_path)
        np.testing.assert_array_equal(heard.colours, [[0x80, 0x80, 0x60]])
        assert scanners == []


XYZ = ("x y z", "4 4 4", "F F F")


@pytest.mark.parametrize("data", ["ascii", "binary"])
def test_a_file_that_was_cut_off_gives_what_is_there(data: str, tmp_path: Path) -> None:
    body = b"1 2 3\n4 5 6\n" if data == "ascii" else np.arange(1, 7, dtype="<f4").tobytes() + b"ha"
    heard, _ = read(pcd_header(*XYZ, 5, 1, data) + body, tmp_path)
    np.testing.assert_array_equal(heard.xyz, [[1, 2, 3], [4, 5, 6]])
    assert "5 points, but only 2 are in the file" in heard.warnings[0]


def replaced(old: str, new: str, data: str = "binary") -> bytes:
    head = pcd_header(*XYZ, 4, 5, data).decode()
    assert old in head
    return head.replace(old, new).encode() + bytes(240)


@pytest.mark.parametrize(
    ("data", "code", "found"),
    [
        (replaced("WIDTH 4", "WIDTH 4294967296"), "INVALID_CLOUD", "WIDTH times HEIGHT"),
        (
            replaced("WIDTH 4", "WIDTH 4294967296").replace(b"POINTS 20", b"POINTS 21474836480"),
            "INVALID_CLOUD",
            "cannot be",
        ),
        (replaced("WIDTH 4", "WIDTH -4"), "INVALID_CLOUD", "WIDTH -4"),
        (replaced("POINTS 20", "POINTS 99999999999999999999999"), "INVALID_CLOUD", "no count"),
        (replaced("SIZE 4 4 4", "SIZE 4 4 3"), "INVALID_CLOUD", "size '3'"),
        (replaced("TYPE F F F", "TYPE F F X"), "INVALID_CLOUD", "type 'X'"),
        (replaced("TYPE F F F", "TYPE F F"), "INVALID_CLOUD", "3, 3, 2 and 3 entries"),
        (replaced("COUNT 1 1 1", "COUNT 1 1 0"), "INVALID_CLOUD", "count '0'"),
        (replaced("COUNT 1 1 1", "COUNT 1 1 99999"), "INVALID_CLOUD", "over 65,536 bytes"),
        (replaced("FIELDS x y z", "FIELDS x y w"), "INVALID_CLOUD", "no field z"),
        (replaced("DATA binary", "DATA morse"), "UNSUPPORTED_FORMAT", "'morse'"),
        (replaced("DATA binary", ""), "INVALID_CLOUD", "no line DATA"),
    ],
)
def test_headers_that_cannot_be_are_refused(data: bytes, code: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(data, tmp_path)
    assert caught.value.code is ErrorCode(code)
    assert found in caught.value.message


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (struct.pack("<II", 10, 2**32 - 1), "unpack to 4,294,967,295 bytes, but 20 points take 240"),
        (b"", "unpack to 0 bytes"),
        (struct.pack("<II", 1, 240), "cannot unpack"),
        (struct.pack("<II", 100, 240) + pack_lzf(bytes(240)), "ends too early"),
        (struct.pack("<II", 5, 240) + b"\xff\xff\xff\xff\xff", "before the beginning"),
        (
            compressed_body(bytes(240))[:4] + struct.pack("<I", 240) + pack_lzf(bytes(230)).ljust(12, b"\0"),
            "instead of",
        ),
    ],
)
def test_compressed_points_that_are_damaged_are_refused(body: bytes, found: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(pcd_header(*XYZ, 4, 5, "binary_compressed") + body, tmp_path)
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    assert found in caught.value.message
    assert list(tmp_path.iterdir()) == []


@given(
    data=st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 40))).map(
        lambda parts: b"".join(part * times for part, times in parts)
    ),
    read_bytes=st.integers(40, 200),
)
def test_lzf_unpacks_what_was_packed(data: bytes, read_bytes: int) -> None:
    packed = pack_lzf(data)
    target = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lzf, "READ_BYTES", read_bytes)
        decompress(io.BytesIO(packed + b"more"), len(packed), target, len(data))
    assert target.getvalue() == data


@given(st.binary(max_size=200), st.integers(0, 20_000))
def test_lzf_of_arbitrary_bytes_is_exact_or_refused(packed: bytes, plain_bytes: int) -> None:
    target = io.BytesIO()
    try:
        decompress(io.BytesIO(packed), len(packed), target, plain_bytes)
    except LzfError:
        return
    assert len(target.getvalue()) == plain_bytes


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from(["ascii", "binary", "binary_compressed"]))
def test_arbitrary_damage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int, data: str
) -> None:
    columns = dict.fromkeys("xyz", np.arange(20, dtype="<f4"))
    whole = pcd_header(*XYZ, 4, 5, data) + body_of(columns, list("xyz"), data)
    try:
        heard, _ = read(whole[:place] + damage + whole[place + len(damage) :], tmp_path_factory.mktemp("pcd"))
    except UserError:
        return
    assert heard.xyz.shape[1] == 3
