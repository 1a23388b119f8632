"""Joins of walls: what each shape must be, and that no two walls ever share volume."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from services.bim import footprints
from services.bim.footprints import Footprints, Join, Place
from services.bim.model import Wall

T = 0.2


def wall(
    name: str, start: tuple[float, float], end: tuple[float, float], thickness_m: float = T, top_m: float = 2.5
) -> Wall:
    return Wall(name, 0, np.array(start, float), np.array(end, float), thickness_m, 0.0, top_m, False, 2, 0.0, 1.0)


def area(found: Footprints, name: str) -> shapely.geometry.base.BaseGeometry:
    return shapely.union_all(found.pieces[name])


def same(shape: shapely.geometry.base.BaseGeometry, expected: shapely.geometry.base.BaseGeometry) -> bool:
    return bool(shape.symmetric_difference(expected).area < 1e-9)


def test_a_wall_alone_is_its_rectangle() -> None:
    found = footprints.main([wall("a", (0, 0), (3, 0))])
    assert same(area(found, "a"), box(0, -0.1, 3, 0.1))
    assert found.joins == ()


def test_a_corner_is_mitred() -> None:
    found = footprints.main([wall("a", (0, 0), (3, 0)), wall("b", (3, 0), (3, 2))])
    assert same(area(found, "a"), Polygon([(0, -0.1), (3.1, -0.1), (2.9, 0.1), (0, 0.1)]))
    assert same(area(found, "b"), Polygon([(3.1, -0.1), (3.1, 2), (2.9, 2), (2.9, 0.1)]))
    assert found.joins == (Join("a", Place.END, "b", Place.START),)


def test_a_corner_of_unequal_walls_runs_from_corner_to_corner() -> None:
    found = footprints.main([wall("a", (0, 0), (3, 0), 0.4), wall("b", (3, 0), (3, 2), 0.2)])
    assert same(area(found, "a"), Polygon([(0, -0.2), (3.1, -0.2), (2.9, 0.2), (0, 0.2)]))
    assert same(area(found, "b"), Polygon([(3.1, -0.2), (3.1, 2), (2.9, 2), (2.9, 0.2)]))


@pytest.mark.parametrize("ends", [((3.1, 0), (3, -0.1)), ((2.9, 0), (3, 0.1)), ((3.02, 0), (3, 0.11))])
def test_a_corner_closes_wherever_its_ends_stop(ends: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """At the centre lines' crossing, at the near faces, at the far ones: the corner is the same."""
    found = footprints.main([wall("a", (0, 0), ends[0]), wall("b", ends[1], (3, 2))])
    assert same(area(found, "a"), Polygon([(0, -0.1), (3.1, -0.1), (2.9, 0.1), (0, 0.1)]))


@pytest.mark.parametrize("stops_at", [0.0, 0.1, 0.125, -0.05])
def test_a_tee_stops_at_the_face(stops_at: float) -> None:
    found = footprints.main([wall("through", (-2, 0), (2, 0)), wall("branch", (0, 2), (0, stops_at), 0.1)])
    assert same(area(found, "branch"), box(-0.05, 0.1, 0.05, 2))
    assert same(area(found, "through"), box(-2, -0.1, 2, 0.1))
    assert found.joins == (Join("branch", Place.END, "through", Place.PATH),)


def test_a_slanting_tee_stops_at_the_face() -> None:
    found = footprints.main([wall("through", (-3, 0), (3, 0)), wall("branch", (2, 2), (0, 0))])
    branch = area(found, "branch")
    assert branch.bounds[1] == pytest.approx(0.1)
    assert branch.intersection(box(-3, -1, 3, 0.1001)).length > 2 * T * np.sqrt(2)


def test_a_crossing_leaves_the_thicker_wall_whole() -> None:
    found = footprints.main([wall("thin", (-2, 0), (2, 0), 0.1), wall("thick", (0, -2), (0, 2), 0.3)])
    assert same(area(found, "thick"), box(-0.15, -2, 0.15, 2))
    assert len(found.pieces["thin"]) == 2
    assert same(area(found, "thin"), box(-2, -0.05, 2, 0.05) - box(-0.15, -1, 0.15, 1))
    assert found.joins == (Join("thin", Place.PATH, "thick", Place.PATH),)


def test_a_crossing_of_four_ends_lets_the_thicker_pair_through() -> None:
    found = footprints.main(
        [
            wall("w", (-2, 0), (0, 0), 0.1),
            wall("e", (0, 0), (2, 0), 0.1),
            wall("s", (0, -2), (0, 0), 0.3),
            wall("n", (0, 2), (0, 0), 0.3),
        ]
    )
    assert same(area(found, "s"), box(-0.15, -2, 0.15, 0))
    assert same(area(found, "n"), box(-0.15, 0, 0.15, 2))
    assert same(area(found, "w"), box(-2, -0.05, -0.15, 0.05))
    assert same(area(found, "e"), box(0.15, -0.05, 2, 0.05))


def test_three_walls_meet_in_wedges() -> None:
    turns = np.radians([90, 210, 330])
    walls = [wall(f"{i}", (0, 0), (2 * np.cos(t), 2 * np.sin(t))) for i, t in enumerate(turns)]
    found = footprints.main(walls)
    shapes = [area(found, name) for name in "012"]
    union = shapely.union_all(shapes)
    assert union.area == pytest.approx(sum(shape.area for shape in shapes), abs=1e-9)
    # Three rectangles overlap in three kites around an equilateral triangle of which none is left out.
    assert union.contains(
        Polygon(
            [(0.1 / np.sin(np.pi / 3) * np.cos(t), 0.1 / np.sin(np.pi / 3) * np.sin(t)) for t in turns + np.pi]
        ).buffer(-1e-6)
    )
    assert shapes[0].area == pytest.approx(shapes[1].area)


def test_walls_in_line_share_a_plane() -> None:
    found = footprints.main([wall("a", (0, 0), (2.01, 0), 0.3), wall("b", (1.99, 0.05), (5, 0.05), 0.2)])
    assert same(area(found, "a"), box(0, -0.15, 2, 0.15))
    assert same(area(found, "b"), box(2, -0.05, 5, 0.15))
    assert found.joins == (Join("a", Place.END, "b", Place.START),)


def test_walls_side_by_side_are_not_joined() -> None:
    found = footprints.main([wall("a", (0, 0), (3, 0)), wall("b", (0, 0.25), (3, 0.25))])
    assert found.joins == ()
    assert same(area(found, "b"), box(0, 0.15, 3, 0.35))


def test_a_sharp_corner_has_no_spike() -> None:
    turn = np.radians(12)
    found = footprints.main([wall("a", (0, 0), (4, 0)), wall("b", (0, 0), (4 * np.cos(turn), 4 * np.sin(turn)))])
    assert min(area(found, "a").bounds[0], area(found, "b").bounds[0]) > -0.2
    assert area(found, "a").intersection(area(found, "b")).area < 1e-7


def test_walls_of_other_heights_do_not_meet() -> None:
    high = Wall("high", 0, np.array([0.0, -1.0]), np.array([0.0, 1.0]), T, 2.5, 3.0, False, 2, 0.0, 1.0)
    found = footprints.main([wall("low", (-1, 0), (1, 0)), high])
    assert found.joins == ()
    assert same(area(found, "low"), box(-1, -0.1, 1, 0.1))


def test_the_lower_wall_gives_way() -> None:
    found = footprints.main([wall("low", (-1, 0), (1, 0), 0.3, 1.1), wall("high", (0, -1), (0, 1), 0.1)])
    assert same(area(found, "high"), box(-0.05, -1, 0.05, 1))
    assert len(found.pieces["low"]) == 2


def test_a_wall_inside_another_is_told() -> None:
    found = footprints.main([wall("outer", (0, 0), (3, 0), 0.3), wall("inner", (1, 0.02), (2, 0.02), 0.1)])
    assert found.swallowed == ("inner",)
    assert same(area(found, "inner"), box(1, -0.03, 2, 0.07))


walls_anywhere = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 12), st.integers(0, 12)),
        st.tuples(st.integers(0, 12), st.integers(0, 12)),
        st.sampled_from([0.08, 0.1, 0.24, 0.3]),
        st.sampled_from([1.0, 2.5]),
    ).filter(lambda drawn: drawn[0] != drawn[1]),
    min_size=2,
    max_size=9,
    unique_by=lambda drawn: frozenset(drawn[:2]),
)


@settings(max_examples=120, deadline=None)
@given(walls_anywhere, st.floats(0, np.pi))
def test_walls_never_share_volume(
    drawn: list[tuple[tuple[int, int], tuple[int, int], float, float]], turn: float
) -> None:
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / 3
    walls = []
    for i, (start, end, thickness, top) in enumerate(drawn):
        walls.append(wall(f"{i}", tuple(matrix @ start), tuple(matrix @ end), thickness, top))
    found = footprints.main(walls)
    shapes = {each.wall_id: area(found, each.wall_id) for each in walls if each.wall_id not in found.swallowed}
    assert all(shape.is_valid and shape.area > 0 for shape in shapes.values())
    names = sorted(shapes)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            # Corners are rounded to the micrometre, and walls are metres long.
            assert shapes[a].intersection(shapes[b]).area < 1e-5
    # Nothing is lost either but stubs of 3 cm behind a join: every centre line is still inside some wall.
    everything = shapely.union_all([*shapes.values(), *(area(found, name) for name in found.swallowed)]).buffer(0.035)
    for each in walls:
        assert everything.contains(shapely.LineString([each.start, each.end]))
