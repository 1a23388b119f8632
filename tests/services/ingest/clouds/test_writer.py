import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.clouds.arrays import GrowingArray, read_pieces, rewrite
from services.ingest.clouds.colours import colours_to_bytes, intensity_range
from services.ingest.clouds.source import Piece
from services.ingest.clouds.writer import CloudWriter, SpreadSample


def write(folder: Path, pieces: list[Piece], step: int = 1) -> CloudWriter:
    writer = CloudWriter(folder, step)
    for piece in pieces:
        writer.add(piece)
    writer.close()
    writer.finish_colours()
    return writer


def split(whole: Piece, cuts: list[int]) -> list[Piece]:
    """The same points in several pieces."""
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    return [
        Piece(
            whole.xyz[:, begin:end],
            None if whole.no_return is None else whole.no_return[begin:end],
            None if whole.colours is None else whole.colours[:, begin:end],
            None if whole.intensity is None else whole.intensity[begin:end],
            whole.scan,
        )
        for begin, end in itertools.pairwise(bounds)
    ]


@given(
    count=st.integers(1, 60),
    step=st.sampled_from([1, 1, 2, 3, 10]),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    marks=st.booleans(),
    place=st.sampled_from([0.0, 90.0, 742_310.25]),
    bad=st.lists(st.tuples(st.integers(0, 59), st.sampled_from([np.nan, np.inf, -np.inf, 2e8, -1e9])), max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_what_is_kept_is_every_valid_nth_point_however_it_comes(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    step: int,
    cuts: list[int],
    marks: bool,
    place: float,
    bad: list[tuple[int, float]],
) -> None:
    folder = tmp_path_factory.mktemp("cloud")
    rng = np.random.default_rng(count)
    xyz = rng.uniform(0, 20, (3, count)) + place
    for row, value in bad:
        xyz[row % 3, row % count] = value
    no_return = rng.random(count) < 0.2 if marks else None
    colours = rng.integers(0, 256, (3, count)).astype(np.uint8)
    intensity = rng.uniform(0, 1, count).astype(np.float32)
    writer = write(folder, split(Piece(xyz, no_return, colours, intensity), cuts), step)

    place_is_good = (np.abs(xyz) <= 1e8).all(axis=0)
    chosen = np.arange(count) % step == 0
    marked = np.zeros(count, np.bool_) if no_return is None else no_return
    kept = chosen & place_is_good & ~marked
    counts = writer.counts
    assert (counts.in_file, counts.kept) == (count, kept.sum())
    assert counts.diluted == (~chosen).sum()
    assert counts.no_return == (chosen & marked).sum()
    assert counts.bad == (chosen & ~marked & ~place_is_good).sum()
    if not kept.any():
        assert writer.origin is None
        return
    assert writer.origin is not None
    np.testing.assert_array_equal(writer.origin, np.round(writer.origin))
    expected = (xyz[:, kept].T - writer.origin).astype(np.float32)
    np.testing.assert_array_equal(np.load(folder / "points.npy"), expected)
    np.testing.assert_array_equal(np.load(folder / "colours.npy"), colours[:, kept].T)
    np.testing.assert_array_equal(np.load(folder / "intensity.npy"), intensity[kept])
    np.testing.assert_array_equal(writer.lowest.astype(np.float32), expected.min(axis=0))
    np.testing.assert_array_equal(writer.highest.astype(np.float32), expected.max(axis=0))
    places = np.flatnonzero(kept)
    if (folder / "source_index.npy").exists():
        np.testing.assert_array_equal(np.load(folder / "source_index.npy"), places)
    else:
        np.testing.assert_array_equal(places, np.arange(len(places)))
    np.testing.assert_array_equal(writer.sample.rows(), expected)


def test_a_national_grid_keeps_hundredths_of_a_millimetre(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(0, 100, (3, 2000)) + np.array([[742_310.0], [5_643_225.0], [212.0]])
    writer = write(tmp_path, [Piece(xyz)])
    assert writer.origin is not None
    back = np.load(tmp_path / "points.npy").astype(np.float64) + writer.origin
    assert np.abs(back - xyz.T).max() < 1e-5


def test_millimetres_in_a_national_grid_are_not_absurd(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).uniform(0, 5000, (3, 2000)).round() + np.array([[742e6], [5643e6], [212e3]])
    assert write(tmp_path, [Piece(xyz)]).counts.kept == 2000


def test_points_before_the_first_colour_are_black(tmp_path: Path) -> None:
    xyz = np.zeros((3, 4))
    write(
        tmp_path,
        [
            Piece(xyz),
            Piece(xyz, colours=np.full((3, 4), 7, np.uint8), intensity=np.full(4, 0.5, np.float32)),
            Piece(xyz),
        ],
    )
    assert np.load(tmp_path / "colours.npy")[:, 0].tolist() == [0] * 4 + [7] * 4 + [0] * 4
    assert np.load(tmp_path / "intensity.npy").tolist() == [0] * 4 + [0.5] * 4 + [0] * 4


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([0, 7, 255], np.uint16), [0, 7, 255]),
        (np.array([0, 7 * 256, 65_280], np.uint16), [0, 7, 255]),
        (np.array([0, 7 * 257, 65_535], np.uint16), [0, 7, 255]),
        (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        (np.array([0, 7, 255], np.float32), [0, 7, 255]),
        (np.array([0, 7 * 257, 65_535], np.float32), [0, 7, 255]),
    ],
)
def test_colours_of_any_range_become_bytes(stored: np.ndarray, expected: list[int], tmp_path: Path) -> None:
    xyz = np.zeros((3, 3))
    dark = np.zeros((3, 3), stored.dtype)
    write(tmp_path, [Piece(xyz, colours=dark), Piece(xyz, colours=np.tile(stored, (3, 1)))])
    colours = np.load(tmp_path / "colours.npy")
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours[3:], np.tile(expected, (3, 1)).T)


@given(st.integers(0, 255), st.sampled_from([256, 257]))
def test_sixteen_bit_colours_of_either_kind_give_the_byte_they_came_from(value: int, factor: int) -> None:
    to_bytes = colours_to_bytes(255.0 * factor, np.dtype(np.uint16))
    assert to_bytes(np.array([value * factor], np.uint16))[0] == value


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (0, 1, (0, 1)), (0.2, 0.7, (0, 1)), (0, 200, (0, 255)), (3, 4000, (0, 4095)), (0, 65_535, (0, 65_535)),
        (-2048, 2047, (-2048, 2047)), (-1200, 300, (-2048, 2047)), (-30, 10, (-2048, 2047)), (-5000, 10, (-5000, 10)),
        (0, 1e6, (0, 1e6)),
    ],
)  # fmt: skip
def test_intensity_has_the_usual_range_that_holds_it(
    lowest: float, highest: float, expected: tuple[float, float]
) -> None:
    found = intensity_range(lowest, highest)
    assert (found.lowest, found.highest) == expected


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_intensity_stays_in_order_within_zero_and_one(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("cloud")
    stored = np.array(values, np.float32)
    write(folder, [Piece(np.zeros((3, len(values))), intensity=stored)])
    found = np.load(folder / "intensity.npy")
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert (np.diff(found[np.argsort(stored, kind="stable")]) >= 0).all()


def test_missing_intensity_becomes_zero(tmp_path: Path) -> None:
    stored = np.array([np.nan, 255, np.inf, 51], np.float32)
    write(tmp_path, [Piece(np.zeros((3, 4)), intensity=stored)])
    np.testing.assert_allclose(np.load(tmp_path / "intensity.npy"), [0, 1, 0, 0.2])


@given(st.lists(st.integers(0, 300), max_size=8), st.sampled_from([None, 3]))
def test_arrays_grow_to_what_numpy_would_have_saved(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], columns: int | None
) -> None:
    path = tmp_path_factory.mktemp("array") / "a.npy"
    shape = () if columns is None else (columns,)
    parts = [np.random.default_rng(size).integers(0, 9, (size, *shape)).astype(np.uint16) for size in sizes]
    with GrowingArray(path, np.uint16, columns) as array:
        for part in parts:
            array.append(part)
    whole = np.concatenate([np.zeros((0, *shape), np.uint16), *parts])
    np.testing.assert_array_equal(np.load(path), whole)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), whole) if len(whole) else None
    assert sum(map(len, read_pieces(path))) == len(whole)
    if len(whole):
        rewrite(path, lambda rows: (rows * 2).astype(np.float32))
        np.testing.assert_array_equal(np.load(path), whole * 2.0)


@pytest.mark.parametrize("period", [2**10, 3**6, 1000, 1500])
def test_a_sample_meets_all_rows_of_a_scanners_grid(period: int) -> None:
    sample = SpreadSample(5000)
    rows = np.repeat((np.arange(300_000) % period).astype(np.float32)[:, None], 3, axis=1)
    for begin in range(0, len(rows), 7_001):
        sample.add(rows[begin : begin + 7_001], begin)
    found = sample.rows()[:, 0]
    assert 2500 <= len(found) <= 5000
    # Evenly: each tenth of the grid has a tenth of the sample.
    shares = np.histogram(found, bins=10, range=(0, period))[0] / len(found)
    np.testing.assert_allclose(shares, 0.1, atol=0.02)
