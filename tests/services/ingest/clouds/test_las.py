import io
import struct
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laspy.vlrs.known import GeoKeyDirectoryVlr, WktCoordinateSystemVlr

from contracts.errors import ErrorCode, UserError
from services.ingest.clouds.las import epsg_of_wkt, read_las, unit_of_wkt
from services.ingest.clouds.source import Reading
from tests.services.ingest.clouds.cloud_files import Heard, collect, notes, write_las

RNG = np.random.default_rng(5)
POINTS = np.round(RNG.uniform(0, 30, (3000, 3)) + np.array([742_310, 1_043_225, 212]), 3)
COLOURS = RNG.integers(0, 65_536, (3000, 3)).astype(np.uint16)
INTENSITY = RNG.integers(0, 65_536, 3000).astype(np.uint16)
PROJECTED = (
    'PROJCS["S-JTSK / Krovak East North",GEOGCS["S-JTSK",DATUM["S-JTSK",SPHEROID["Bessel 1841",6377397.155,299.1528128]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4156"]],'
    'PROJECTION["Krovak"],UNIT["metre",1,AUTHORITY["EPSG","9001"]],AUTHORITY["EPSG","5514"]]'
)
IN_FEET = PROJECTED.replace('UNIT["metre",1,AUTHORITY["EPSG","9001"]]', 'UNIT["US survey foot",0.304800609601219]')


def read(path: Path) -> tuple[Heard, Reading]:
    said, warnings = notes()
    reading = read_las(path, path.name, said)
    return collect(reading, warnings), reading


def error_of(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read(path)
    return caught.value


def damaged(path: Path, offset: int, form: str, *values: int) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.fixture(params=["las", "laz"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"cloud.{request.param}"
    write_las(path, POINTS, colours=COLOURS, intensity=INTENSITY)
    return path


@given(
    count=st.integers(1, 200),
    scale=st.sampled_from([0.001, 0.01, 0.00025]),
    place=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    point_format=st.sampled_from([0, 1, 2, 3, 6, 7, 8]),
    suffix=st.sampled_from(["las", "laz"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_points_are_exact_to_the_files_scale(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    scale: float,
    place: tuple[float, float, float],
    point_format: int,
    suffix: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 100, (count, 3)) + place
    colours = rng.integers(0, 65_536, (count, 3)).astype(np.uint16) if point_format in (2, 3, 7, 8) else None
    path = tmp_path_factory.mktemp("las") / f"cloud.{suffix}"
    write_las(path, points, colours=colours, intensity=INTENSITY[:count], scale=scale, point_format=point_format)
    heard, reading = read(path)
    np.testing.assert_array_equal(heard.xyz, laspy.read(path).xyz)
    np.testing.assert_allclose(heard.xyz, points, atol=scale / 2 + 1e-9)
    np.testing.assert_array_equal(heard.intensity, INTENSITY[:count])
    if colours is None:
        assert heard.colours is None
    else:
        np.testing.assert_array_equal(heard.colours, colours)
    assert reading.points_declared == count
    assert heard.warnings == []


def test_withheld_points_are_no_returns(tmp_path: Path) -> None:
    header = laspy.LasHeader(point_format=6, version="1.4")
    las = laspy.LasData(header)
    las.x, las.y, las.z = POINTS[:4].T
    las.withheld = [0, 1, 0, 1]
    las.write(tmp_path / "cloud.las")
    assert read(tmp_path / "cloud.las")[0].no_return.tolist() == [False, True, False, True]


def test_las_that_was_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cloud.las"
    write_las(path, POINTS, colours=COLOURS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    heard, _ = read(path)
    kept = len(heard.xyz)
    assert 1400 < kept < 1500
    np.testing.assert_allclose(heard.xyz, POINTS[:kept], atol=1e-9)
    assert f"3,000 points, but only {kept:,} are in the file" in heard.warnings[0]


def test_laz_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.laz"
    write_las(path, POINTS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    error = error_of(path)
    assert error.code is ErrorCode.INVALID_CLOUD
    assert "damaged or cut off" in error.message


@pytest.mark.parametrize(
    ("offset", "form", "value", "found"),
    [
        (105, "<H", 3, "gives 3 bytes for a point of format"),
        (105, "<H", 0, "gives 0 bytes"),
        (96, "<L", 2**32 - 1, "lie before the points"),
        (96, "<L", 10, "lie before the points"),
        (100, "<L", 2**32 - 1, "4,294,967,295 records"),
        (247, "<Q", 2**60, "which cannot be"),
        (104, "<B", 45, "format 45"),
        (25, "<B", 9, "LAS 1.9"),
    ],
)
def test_headers_that_cannot_be_are_refused(cloud: Path, offset: int, form: str, value: int, found: str) -> None:
    assert found in error_of(damaged(cloud, offset, form, value)).message


def packed_places(path: Path) -> tuple[int, int]:
    """Where the packed points begin, and the table of their chunks."""
    data = path.read_bytes()
    (points_at,) = struct.unpack_from("<L", data, 96)
    return points_at, struct.unpack_from("<q", data, points_at)[0]


@pytest.mark.parametrize(
    ("place", "form", "value", "found"),
    [
        # The count of chunks, for each of which the decoder would take memory.
        (lambda points_at, table_at: table_at + 4, "<L", 2**32 - 1, "table of its packed points"),
        (lambda points_at, table_at: points_at, "<q", 2**62, "table of its packed points"),
        (lambda points_at, table_at: points_at, "<q", -1, "table of its packed points"),
        (lambda points_at, table_at: points_at, "<q", 3, "table of its packed points"),
        # Layers of the first chunk, after its first point and count: the decoder would take memory for each.
        (lambda points_at, table_at: points_at + 8 + 36 + 4, "<L", 2**32 - 1, "layers of a chunk"),
        # The LASzip record begins its data 54 bytes after its own begin, two bytes before its user's name.
        (lambda points_at, table_at: 375 + 54 + 12, "<L", 80, "chunks hold fewer points"),
        (lambda points_at, table_at: 375 + 54 + 32, "<H", 9, "does not fit its points"),
    ],
)
def test_packed_points_that_would_take_all_memory_are_refused(
    place: Callable[[int, int], int], form: str, value: int, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "cloud.laz"
    write_las(path, POINTS, colours=COLOURS)
    error = error_of(damaged(path, place(*packed_places(path)), form, value))
    assert error.code is ErrorCode.INVALID_CLOUD
    assert found in error.message


def test_a_cloud_that_packs_very_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cloud.laz"
    x, y = np.meshgrid(np.arange(500) * 0.01, np.arange(400) * 0.01)
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    write_las(path, points, point_format=6)
    assert path.stat().st_size < x.size
    np.testing.assert_allclose(read(path)[0].xyz, points, atol=1e-9)


def test_a_header_that_is_cut_off_is_refused(cloud: Path) -> None:
    cloud.write_bytes(cloud.read_bytes()[:200])
    assert "inside its header" in error_of(cloud).message


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_arbitrary_damage_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("las")
    path = folder / data.draw(st.sampled_from(["cloud.las", "cloud.laz"]))
    write_las(path, POINTS[:50], colours=COLOURS[:50])
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(len(whole) // 2, len(whole)))])
    try:
        heard, _ = read(path)
    except UserError:
        return
    assert heard.xyz.shape[1] == 3


def test_a_wkt_record_names_the_reference_system(tmp_path: Path) -> None:
    path = tmp_path / "cloud.las"
    write_las(path, POINTS, vlrs=[WktCoordinateSystemVlr(PROJECTED)])
    _, reading = read(path)
    assert (reading.crs, reading.unit_m) == ("EPSG:5514", 1.0)


def test_feet_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cloud.las"
    write_las(path, POINTS, vlrs=[WktCoordinateSystemVlr(IN_FEET)])
    _, reading = read(path)
    assert reading.unit_m == pytest.approx(1200 / 3937, rel=1e-9)


def geo_keys(**keys: int) -> GeoKeyDirectoryVlr:
    entries = [(int(name[1:]), 0, 1, value) for name, value in keys.items()]
    record = GeoKeyDirectoryVlr()
    record.parse_record_data(
        struct.pack("<4H", 1, 1, 0, len(entries)) + b"".join(struct.pack("<4H", *each) for each in entries)
    )
    return record


def test_geotiff_keys_name_the_reference_system(tmp_path: Path) -> None:
    path = tmp_path / "cloud.las"
    write_las(path, POINTS, point_format=3, vlrs=[geo_keys(k1024=1, k3072=2263, k3076=9003)])
    _, reading = read(path)
    assert reading.crs == "EPSG:2263"
    assert reading.unit_m == pytest.approx(0.30480061)


@pytest.mark.parametrize(
    "record", [geo_keys(k1024=2, k2048=4326), WktCoordinateSystemVlr('GEOGCS["WGS 84",UNIT["degree",0.01]]')]
)
def test_degrees_are_refused(record: laspy.VLR, tmp_path: Path) -> None:
    path = tmp_path / "cloud.las"
    write_las(path, POINTS, vlrs=[record])
    assert "degrees" in error_of(path).message


@pytest.mark.parametrize(
    ("wkt", "epsg", "unit_m"),
    [
        (PROJECTED, "EPSG:5514", 1.0),
        (
            f'COMPD_CS["with heights",{PROJECTED},VERT_CS["Baltic",UNIT["metre",1],AUTHORITY["EPSG","8357"]]]',
            "EPSG:5514",
            1.0,
        ),
        (
            'PROJCRS["UTM 33N",BASEGEOGCRS["WGS 84"],CONVERSION["UTM"],CS[Cartesian,2],LENGTHUNIT["metre",1],ID["EPSG",32633]]',
            "EPSG:32633",
            1.0,
        ),
        ('PROJCS["my own",GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]],UNIT["foot",0.3048]]', None, 0.3048),
        ("", None, None),
        ('LOCAL_CS["site"]', None, None),
    ],
)
def test_wkt(wkt: str, epsg: str | None, unit_m: float | None) -> None:
    assert epsg_of_wkt(wkt) == epsg
    assert unit_of_wkt(wkt) == unit_m


def test_las_of_another_software_begins_the_same(cloud: Path) -> None:
    # The header is read twice, by us and by laspy: both agree.
    with laspy.open(io.BytesIO(cloud.read_bytes())) as reader:
        assert reader.header.point_count == len(read(cloud)[0].xyz)
