import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pye57 import libe57
from scipy.spatial.transform import Rotation

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.e57 import read_e57
from services.ingest.clouds.e57_header import read_e57_header
from services.ingest.clouds.source import Reading
from tests.services.ingest.clouds.cloud_files import Heard, collect, notes, write_e57

RNG = np.random.default_rng(6)
N = 2000
POINTS = RNG.uniform(-20, 20, (N, 3)).astype(np.float32)
COLOURS = RNG.integers(0, 256, (N, 3)).astype(np.uint8)
GREY = RNG.uniform(0, 1, N).astype(np.float32)
NO_TURN = np.array([1.0, 0, 0, 0])


def columns(points: np.ndarray = POINTS, **others: np.ndarray) -> dict[str, np.ndarray]:
    return {f"cartesian{axis}": points[:, place].astype(np.float64) for place, axis in enumerate("XYZ")} | others


def read(path: Path) -> tuple[Heard, Reading]:
    said, warnings = notes()
    reading = read_e57(path, path.name, said)
    return collect(reading, warnings), reading


def error_of(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path)
    assert caught.value.code is ErrorCode.INVALID_CLOUD
    return caught.value


def test_scans_are_in_the_world_with_colours_and_intensity(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    poses = [
        (Rotation.from_euler("xyz", (0.1, 0.2, 0.3)), (10.0, 20.0, 1.5)),
        (Rotation.from_euler("z", -2.0), (4.0, 5.0, 1.6)),
    ]
    colours = {f"color{name}": COLOURS[:, place] for place, name in enumerate(("Red", "Green", "Blue"))}
    write_e57(
        path,
        [
            (columns(intensity=GREY, **colours), turn.as_quat(scalar_first=True), np.array(shift))
            for turn, shift in poses
        ],
    )
    heard, reading = read(path)
    world = [turn.apply(POINTS.astype(np.float64)) + shift for turn, shift in poses]
    np.testing.assert_allclose(heard.xyz, np.concatenate(world), atol=1e-12)
    np.testing.assert_array_equal(heard.colours, np.concatenate([COLOURS, COLOURS]))
    np.testing.assert_array_equal(heard.intensity, np.concatenate([GREY, GREY]))
    np.testing.assert_array_equal(heard.scan, np.repeat([0, 1], N))
    np.testing.assert_array_equal(reading.scanners, [shift for _, shift in poses])
    assert (reading.points_declared, reading.unit_m) == (2 * N, 1.0)
    assert heard.warnings == []


def test_points_marked_invalid_are_no_returns(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    state = (np.arange(N) % 5 == 0).astype(np.int8)
    write_e57(path, [(columns(cartesianInvalidState=state), NO_TURN, np.zeros(3))])
    np.testing.assert_array_equal(read(path)[0].no_return, state != 0)


def test_points_where_the_scanner_is_are_no_returns(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    points = POINTS.copy()
    points[::9] = 0
    write_e57(path, [(columns(points), NO_TURN, np.ones(3))])
    np.testing.assert_array_equal(read(path)[0].no_return, np.arange(N) % 9 == 0)


def test_a_merged_list_of_points_was_seen_from_nowhere(tmp_path: Path) -> None:
    write_e57(tmp_path / "cloud.e57", [(columns(), NO_TURN, np.zeros(3))])
    assert read(tmp_path / "cloud.e57")[1].scanners == [None]
    grid = {name: (np.arange(N) % 50).astype(np.uint16) for name in ("rowIndex", "columnIndex")}
    write_e57(tmp_path / "grid.e57", [(columns(**grid), NO_TURN, np.zeros(3))])
    np.testing.assert_array_equal(read(tmp_path / "grid.e57")[1].scanners, [(0, 0, 0)])


def write_scan(path: Path, fields: dict[str, tuple[libe57.Node, np.ndarray]], crs: str = "") -> None:
    """One scan without pose, with nodes of one's own."""
    image = libe57.ImageFile(str(path), "w")
    image.extensionsAdd("", libe57.E57_V1_0_URI)
    root = image.root()
    for name, text in (("formatName", "ASTM E57 3D Imaging Data File"), ("guid", "{0}"), ("coordinateMetadata", crs)):
        root.set(name, libe57.StringNode(image, text))
    root.set("versionMajor", libe57.IntegerNode(image, 1))
    root.set("versionMinor", libe57.IntegerNode(image, 0))
    scans = libe57.VectorNode(image, True)
    root.set("data3D", scans)
    node = libe57.StructureNode(image)
    node.set("guid", libe57.StringNode(image, "{1}"))
    prototype = libe57.StructureNode(image)
    buffers = libe57.VectorSourceDestBuffer()
    kept = []
    for name, (make, values) in fields.items():
        prototype.set(name, make(image))
        kept.append(np.ascontiguousarray(values, np.float64))
        buffers.append(libe57.SourceDestBuffer(image, name, kept[-1], len(values), True, True))
    points = libe57.CompressedVectorNode(image, prototype, libe57.VectorNode(image, True))
    node.set("points", points)
    scans.append(node)
    writer = points.writer(buffers)
    writer.write(len(kept[0]))
    writer.close()
    image.close()


def double(image: libe57.ImageFile) -> libe57.FloatNode:
    return libe57.FloatNode(image, 0.0, libe57.E57_DOUBLE, -1e9, 1e9)


def test_spherical_coordinates_become_cartesian_ones(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    distance, azimuth, elevation = RNG.uniform(1, 50, N), RNG.uniform(-np.pi, np.pi, N), RNG.uniform(-1.5, 1.5, N)
    write_scan(
        path,
        {
            "sphericalRange": (double, distance),
            "sphericalAzimuth": (double, azimuth),
            "sphericalElevation": (double, elevation),
        },
        crs='PROJCS["here",UNIT["metre",1],AUTHORITY["EPSG","32633"]]',
    )
    heard, reading = read(path)
    np.testing.assert_allclose(np.linalg.norm(heard.xyz, axis=1), distance, rtol=1e-12)
    np.testing.assert_allclose(np.arctan2(heard.xyz[:, 1], heard.xyz[:, 0]), azimuth, atol=1e-12)
    np.testing.assert_allclose(heard.xyz[:, 2], distance * np.sin(elevation), atol=1e-12)
    assert reading.scanners == [None]
    assert reading.crs == "EPSG:32633"


def test_scaled_whole_numbers_and_wide_colours(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    points = np.round(RNG.uniform(-20, 20, (N, 3)), 3)
    wide = RNG.integers(0, 65_536, (3, N))

    def scaled(image: libe57.ImageFile) -> libe57.ScaledIntegerNode:
        return libe57.ScaledIntegerNode(image, 0, -30_000, 30_000, 0.001, 0.0)

    def whole(image: libe57.ImageFile) -> libe57.IntegerNode:
        return libe57.IntegerNode(image, 0, 0, 65_535)

    fields = {f"cartesian{axis}": (scaled, points[:, place]) for place, axis in enumerate("XYZ")}
    fields |= {f"color{name}": (whole, wide[place]) for place, name in enumerate(("Red", "Green", "Blue"))}
    write_scan(path, fields)
    heard, _ = read(path)
    np.testing.assert_allclose(heard.xyz, points, atol=1e-12)
    np.testing.assert_array_equal(heard.colours, wide.T)


def test_fractional_colours_stay_fractions(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    shares = RNG.uniform(0, 1, (3, N))
    fields = {f"cartesian{axis}": (double, POINTS[:, place]) for place, axis in enumerate("XYZ")}
    fields |= {f"color{name}": (double, shares[place]) for place, name in enumerate(("Red", "Green", "Blue"))}
    write_scan(path, fields)
    colours = read(path)[0].colours
    assert colours is not None
    np.testing.assert_allclose(colours, shares.T, atol=1e-7)


def test_a_scan_without_coordinates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    write_scan(path, {"cartesianX": (double, POINTS[:, 0]), "intensity": (double, GREY)})
    assert "neither cartesian nor spherical" in error_of(path).message


def test_a_file_without_scans_is_refused(tmp_path: Path) -> None:
    write_e57(tmp_path / "cloud.e57", [])
    assert "without scans" in error_of(tmp_path / "cloud.e57").message


def test_points_that_take_no_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"

    def constant(image: libe57.ImageFile) -> libe57.IntegerNode:
        return libe57.IntegerNode(image, 5, 5, 5)

    write_scan(path, {f"cartesian{axis}": (constant, np.full(3_000_000, 5.0)) for axis in "XYZ"})
    assert path.stat().st_size < 10_000
    assert "hold 3,000,000 points, which cannot be" in error_of(path).message


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.e57"
    write_e57(path, [(columns(POINTS[:200]), NO_TURN, np.ones(3))])
    return path


@pytest.mark.parametrize("size_bytes", [20, 48, 1000, 5000])
def test_a_file_that_was_cut_off_is_refused(cloud: Path, size_bytes: int) -> None:
    data = cloud.read_bytes()
    cloud.write_bytes(data[:size_bytes])
    message = error_of(cloud).message
    assert "cut off" in message or "ends inside its header" in message


@pytest.mark.parametrize(("offset", "value"), [(24, 2**40), (32, 2**60), (40, 0), (40, 2**60)])
def test_headers_that_cannot_be_are_refused(cloud: Path, offset: int, value: int) -> None:
    data = bytearray(cloud.read_bytes())
    struct.pack_into("<Q", data, offset, value)
    cloud.write_bytes(data)
    assert "header is damaged" in error_of(cloud).message


def test_the_header_counts_the_points_of_all_scans(tmp_path: Path) -> None:
    path = tmp_path / "cloud.e57"
    write_e57(path, [(columns(POINTS[:count]), NO_TURN, np.ones(3)) for count in (100, 250, 999)])
    with path.open("rb") as file:
        assert read_e57_header(file, path.name).points == 1349


def crc32c(data: bytes) -> int:
    """Castagnoli's, as in each page of an E57 file."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sealed(data: bytearray, place: int) -> bytes:
    """With the checksum of the page around `place` made anew."""
    page = place // 1024 * 1024
    struct.pack_into(">I", data, page + 1020, crc32c(bytes(data[page : page + 1020])))
    return bytes(data)


def test_counts_that_no_file_can_hold_are_refused(cloud: Path) -> None:
    data = bytearray(cloud.read_bytes())
    place = data.find(b'recordCount="200"')
    assert place // 1024 == (place + 20) // 1024
    # Longer by as much as the attribute's name gives: the number grows into the closing of the tag.
    tag = data[place : data.find(b">", place) + 1]
    data[place : place + len(tag)] = b'recordCount="999999999999999999"'.ljust(len(tag) - 1)[: len(tag) - 1] + b">"
    cloud.write_bytes(sealed(data, place))
    assert error_of(cloud)


@given(place=st.floats(0, 1), value=st.integers(0, 255), seals=st.booleans())
@settings(max_examples=60, deadline=None)
def test_arbitrary_damage_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: float, value: int, seals: bool
) -> None:
    path = tmp_path_factory.mktemp("e57") / "cloud.e57"
    write_e57(path, [(columns(POINTS[:100]), NO_TURN, np.ones(3))])
    data = bytearray(path.read_bytes())
    at = min(int(place * len(data)), len(data) - 1)
    data[at] = value
    path.write_bytes(sealed(data, at) if seals else data)
    try:
        heard, _ = read(path)
    except UserError:
        return
    assert heard.xyz.shape[1] == 3
