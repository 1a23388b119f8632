"""Plans of synthetic buildings: what is drawn must be sound, and corners exact."""

import itertools
import math

import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, Point, Polygon

from samples.building_catalogue import CATALOGUE, draw_plan
from samples.building_drawing import check_plan, stack
from samples.building_plan import BuildingPlan, PlanWall, Spot, StoreyPlan, joined_areas, room_areas, wall_solids
from samples.building_truth import truth_of

EVERY_PLAN = [(name, seed) for name in sorted(CATALOGUE) for seed in (1, 2)]


def storey_of(*walls: tuple[str, Spot, Spot, float]) -> StoreyPlan:
    storey = StoreyPlan(0, 0.0, 2.5)
    for name, start, end, thickness in walls:
        storey.wall(name, start, end, thickness, external=True)
    return storey


def test_a_right_corner_is_closed() -> None:
    storey = storey_of(("a", (0, 0), (4, 0), 0.3), ("b", (4, 0), (4, 3), 0.2))
    solid = joined_areas(wall_solids(storey.walls).values())
    assert solid.area == pytest.approx(4.1 * 0.3 + (3 - 0.15) * 0.2, abs=1e-6)
    assert solid.covers(Point(4.1, -0.15))


@pytest.mark.parametrize("angle_deg", [25.0, 60.0, 115.0, 170.0, -50.0])
def test_a_skewed_corner_is_mitred(angle_deg: float) -> None:
    turn = math.radians(angle_deg)
    far = (5 + 3 * math.cos(turn), 3 * math.sin(turn))
    if abs(angle_deg) > 150:
        far = (5 + 3 * math.cos(math.pi - turn), 3 * math.sin(math.pi - turn))
    storey = storey_of(("a", (0, 0), (5, 0), 0.24), ("b", (5, 0), far, 0.24))
    solid = joined_areas(wall_solids(storey.walls).values())
    outline = LineString([(0, 0), (5, 0), far]).buffer(0.12, cap_style="flat", join_style="mitre", mitre_limit=30)
    assert solid.symmetric_difference(outline).area < 1e-5


def test_a_room_has_its_clear_area_and_the_walls_outer_faces_its_outline() -> None:
    storey = storey_of(
        ("s", (0, 0), (6, 0), 0.3), ("e", (6, 0), (6, 4), 0.5), ("n", (6, 4), (0, 4), 0.3), ("w", (0, 4), (0, 0), 0.4)
    )
    storey.wall("t", (2, 0), (2, 4), 0.1)
    storey.room("left", "empty", (1, 2))
    storey.room("right", "empty", (4, 2))
    areas = room_areas(storey)
    assert areas["left"].area == pytest.approx((2 - 0.2 - 0.05) * 3.7, abs=1e-6)
    assert areas["right"].area == pytest.approx((4 - 0.25 - 0.05) * 3.7, abs=1e-6)
    assert storey.outline().area == pytest.approx(6.45 * 4.3, abs=1e-6)
    storey.room("nowhere", "empty", (20, 2))
    with pytest.raises(ValueError, match="enclose nowhere"):
        room_areas(storey)


def test_what_cannot_be_built_is_refused() -> None:
    storey = storey_of(("a", (0, 0), (4, 0), 0.3), ("b", (4, 0), (4, 3), 0.3), ("c", (4, 3), (0, 0), 0.3))
    with pytest.raises(ValueError, match="does not fit"):
        storey.opening("a", "window", 3.9, (0.8, 1.0), sill_m=0.9)
    with pytest.raises(ValueError, match="two walls"):
        storey.wall("a", (0, 0), (1, 1), 0.1)
    storey.opening("a", "window", 3.7, (0.4, 1.0), sill_m=0.9)
    with pytest.raises(ValueError, match=r"meets wall w0\.b"):
        check_plan(BuildingPlan("x", (storey,), ()))
    runs = storey_of(("a", (0, 0), (4, 0), 0.3), ("b", (4, 0), (7, 0), 0.3))
    with pytest.raises(ValueError, match="are one wall"):
        check_plan(BuildingPlan("x", (runs,), ()))


@pytest.mark.parametrize(("name", "seed"), EVERY_PLAN)
def test_every_plan_is_sound(name: str, seed: int) -> None:
    plan = draw_plan(name, seed)
    check_plan(plan)
    for storey in plan.storeys:
        areas = room_areas(storey)
        solid = joined_areas(wall_solids(storey.walls).values())
        # Rooms and walls fill the whole storey, and do not overlap.
        assert sum(a.area for a in areas.values()) + solid.area == pytest.approx(storey.outline().area, abs=0.01)
        outline = storey.outline()
        assert 2.2 <= storey.ceiling_m - storey.floor_m <= 3.6
        for wall in storey.walls.values():
            assert 0.07 <= wall.thickness_m <= 0.5
            assert all(_is_joined(end, wall, storey) for end in (wall.start, wall.end))
            assert (_outside_share(wall, outline) > 0.5) == wall.external
    for low, high in itertools.pairwise(plan.storeys):
        assert 0.2 <= high.floor_m - low.ceiling_m <= 0.3


def _is_joined(end: Spot, wall: PlanWall, storey: StoreyPlan) -> bool:
    others = [LineString([o.start, o.end]) for o in storey.walls.values() if o is not wall]
    return any(line.distance(Point(end)) < 1e-6 for line in others)


def _outside_share(wall: PlanWall, outline: Polygon) -> float:
    """Share of a wall's length that has open air on one side."""
    reach = wall.thickness_m / 2 + 0.05
    along = np.linspace(0.03, 0.97, 40) * wall.length_m
    return float(
        np.mean([any(not outline.contains(Point(*wall.at(a, side))) for side in (reach, -reach)) for a in along])
    )


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    assert truth_of(draw_plan("random_house", 5), 5) == truth_of(draw_plan("random_house", 5), 5)
    assert truth_of(draw_plan("random_house", 5), 5).walls != truth_of(draw_plan("random_house", 6), 5).walls
    with pytest.raises(KeyError):
        draw_plan("castle", 1)


def test_the_catalogue_has_what_it_promises() -> None:
    truths = {name: truth_of(draw_plan(name, 1), 1) for name in CATALOGUE}
    assert len(truths) >= 12
    assert [len(truths[n].storeys) for n in ("simple_house", "two_storey_house", "office")] == [1, 2, 3]
    assert len(truths["column_hall"].columns) == 6
    assert {c.is_round for c in truths["column_hall"].columns} == {True, False}
    assert sum(len(slab.outline.holes) for slab in truths["office"].slabs) == 2
    split = truths["split_level_house"].storeys[0]
    assert len(split.other_ceilings_m) == 1
    assert any(s.ceiling_m < split.ceiling_m - 0.15 for s in truths["split_level_house"].spaces)
    kinds = {o.kind for t in truths.values() for o in t.openings}
    assert kinds == {"door", "window", "passage"}
    assert {o.leaf for o in truths["office"].openings if o.kind == "door"} == {"open", "closed"}
    garage = next(s for s in truths["attached_house"].spaces if s.name == "garage")
    assert garage.floor_m == pytest.approx(-0.15)
    party = truths["attached_house"].wall("w0.e1"), truths["attached_house"].wall("w1.e1")
    assert [w.is_external for w in party] == [False, True]


def test_slabs_are_stacked_and_holed() -> None:
    walls = (
        ("s", (0, 0), (6, 0), 0.3),
        ("e", (6, 0), (6, 4), 0.3),
        ("n", (6, 4), (0, 4), 0.3),
        ("w", (0, 4), (0, 0), 0.3),
    )
    storeys = [StoreyPlan(0, 0.0, 2.5), StoreyPlan(1, 2.75, 5.25)]
    for storey in storeys:
        for name, start, end, thickness in walls:
            storey.wall(name, start, end, thickness, external=True)
    slabs = stack(storeys, (0.3, 0.2), {1: shapely.box(1, 1, 2, 3)})
    assert [(s.slab_class, s.bottom_m, s.top_m) for s in slabs] == [
        ("floor", -0.3, 0.0),
        ("intermediate", 2.5, 2.75),
        ("roof", 5.25, 5.45),
    ]
    assert slabs[1].outline.area == pytest.approx(6.3 * 4.3 - 2.0)


def test_a_moved_truth_keeps_its_sizes() -> None:
    truth = truth_of(draw_plan("attached_house", 2), 2)
    turn = np.eye(4)
    turn[:2, :2] = [[0.0, -1.0], [1.0, 0.0]]
    turn[:3, 3] = [100.0, 200.0, 50.0]
    moved = truth.moved(turn)
    wall, same = truth.walls[3], moved.walls[3]
    assert same.start == pytest.approx((100 - wall.start[1], 200 + wall.start[0]))
    assert same.length_m == pytest.approx(wall.length_m)
    assert same.base_m == pytest.approx(wall.base_m + 50)
    assert moved.slabs[1].outline.polygon().area == pytest.approx(truth.slabs[1].outline.polygon().area)
    assert moved.openings[0].from_m == truth.openings[0].from_m
    assert moved.openings[0].sill_m == pytest.approx(truth.openings[0].sill_m + 50)
    back = moved.moved(np.asarray(np.linalg.inv(turn), np.float64))
    assert np.allclose([w.start for w in back.walls], [w.start for w in truth.walls], atol=1e-9)
    assert np.allclose(back.frame_from_building, np.eye(4), atol=1e-12)
    outer = Polygon(moved.spaces[0].outline.outer)
    assert outer.exterior.is_ccw
    assert outer.area == pytest.approx(moved.spaces[0].area_m2)
