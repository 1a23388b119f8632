"""The judge of recognised buildings: what was broken must show, and only there."""

import dataclasses

import numpy as np
import pytest

from samples.building_catalogue import draw_plan
from samples.building_plan import only_polygon
from samples.building_truth import BuildingTruth, TrueOpening, TrueStorey, TrueWall, truth_of
from samples.evaluate_building import PointLabels, evaluate, evaluate_points, opening_names, wall_names
from services.bim import model


@pytest.fixture(scope="module")
def truth() -> BuildingTruth:
    return truth_of(draw_plan("two_storey_house", 1), 1)


def changed_wall(truth: BuildingTruth, number: int, **update: object) -> BuildingTruth:
    walls = list(truth.walls)
    walls[number] = TrueWall.model_validate({**walls[number].model_dump(), **update})
    return truth.model_copy(update={"walls": tuple(walls)})


def changed_opening(truth: BuildingTruth, number: int, **update: object) -> BuildingTruth:
    openings = list(truth.openings)
    openings[number] = TrueOpening.model_validate({**openings[number].model_dump(), **update})
    return truth.model_copy(update={"openings": tuple(openings)})


def shifted(wall: TrueWall, across_m: float) -> dict[str, tuple[float, float]]:
    along = np.subtract(wall.end, wall.start) / wall.length_m
    step = np.array([-along[1], along[0]]) * across_m
    start, end = np.add(wall.start, step), np.add(wall.end, step)
    return {"start": (float(start[0]), float(start[1])), "end": (float(end[0]), float(end[1]))}


@pytest.mark.parametrize("name", ["office", "attached_house", "column_hall", "split_level_house", "random_two_storeys"])
def test_the_truth_is_perfect(name: str) -> None:
    truth = truth_of(draw_plan(name, 2), 2)
    score = evaluate(truth, truth, name)
    for matches in (score.storeys, score.walls, score.openings, score.spaces, score.columns):
        assert (matches.precision, matches.recall, matches.f1) == (1, 1, 1)
        assert all(i == k for i, k in matches.pairs)
    assert score.thickness_error_m.max() == 0
    assert score.axis_error_m.max() < 1e-9
    assert score.end_error_m.max() < 1e-9
    assert score.external_accuracy == score.class_accuracy == 1
    assert score.space_iou.min() == pytest.approx(1)
    assert score.details() == ""


def test_a_wall_that_is_missing_costs_recall(truth: BuildingTruth) -> None:
    gone = truth.walls[5]
    less = truth.model_copy(update={"walls": tuple(w for w in truth.walls if w is not gone)})
    score = evaluate(less, truth)
    assert score.walls.recall == pytest.approx(15 / 16)
    assert score.walls.precision == 1
    assert gone.wall_id in score.walls.missed[0]
    # Its openings hang in the air.
    assert len(score.openings.missed) == sum(o.wall_id == gone.wall_id for o in truth.openings)
    assert "missed wall" in score.details()


def test_a_wall_too_many_costs_precision(truth: BuildingTruth) -> None:
    ghost = truth.walls[4].model_copy(update={"wall_id": "ghost", **shifted(truth.walls[4], 0.4)})
    score = evaluate(truth.model_copy(update={"walls": (*truth.walls, ghost)}), truth)
    assert score.walls.precision == pytest.approx(16 / 17)
    assert score.walls.recall == 1
    assert "ghost" in score.walls.false[0]


@pytest.mark.parametrize(("across_m", "found"), [(0.02, True), (-0.09, True), (0.11, False)])
def test_a_moved_wall_is_found_within_ten_centimetres(truth: BuildingTruth, across_m: float, found: bool) -> None:
    score = evaluate(changed_wall(truth, 4, **shifted(truth.walls[4], across_m)), truth)
    assert score.walls.f1 == pytest.approx(1.0 if found else 30 / 32)
    if found:
        assert score.axis_error_m.max() == pytest.approx(abs(across_m))


def test_a_wall_in_two_pieces_is_found_by_the_longer_one(truth: BuildingTruth) -> None:
    wall = truth.walls[4]
    cut = np.add(wall.start, 0.7 * np.subtract(wall.end, wall.start))
    spot = (float(cut[0]), float(cut[1]))
    first = wall.model_copy(update={"end": spot})
    second = wall.model_copy(update={"wall_id": "rest", "start": spot})
    walls = tuple(first if w is wall else w for w in truth.walls)
    score = evaluate(truth.model_copy(update={"walls": (*walls, second)}), truth)
    assert score.walls.recall == 1
    assert score.walls.precision == pytest.approx(16 / 17)
    assert "rest" in score.walls.false[0]
    assert score.end_error_m.max() == pytest.approx(0.3 * wall.length_m)


def test_a_wall_counts_only_in_its_own_storey_and_direction(truth: BuildingTruth) -> None:
    assert evaluate(changed_wall(truth, 4, storey=1), truth).walls.recall == pytest.approx(15 / 16)
    wall = truth.walls[4]
    turned = np.add(wall.start, np.array([0.12, 1.0]) * wall.length_m)
    askew = evaluate(changed_wall(truth, 4, end=(float(turned[0]), float(turned[1]))), truth)
    assert askew.walls.recall == pytest.approx(15 / 16)
    backwards = evaluate(changed_wall(truth, 8, start=truth.walls[8].end, end=truth.walls[8].start), truth)
    assert backwards.walls.f1 == 1


def test_thickness_and_external_errors_are_seen(truth: BuildingTruth) -> None:
    thicker = changed_wall(truth, 2, thickness_m=truth.walls[2].thickness_m + 0.03, is_external=False)
    score = evaluate(thicker, truth)
    assert score.thickness_error_m.max() == pytest.approx(0.03)
    assert np.median(score.thickness_error_m) == 0
    assert score.external_accuracy == pytest.approx(15 / 16)


def test_openings_are_matched_by_place_and_size_and_judged_by_class(truth: BuildingTruth) -> None:
    opening = truth.openings[0]
    count = len(truth.openings)
    other = "window" if opening.kind != "window" else "door"
    score = evaluate(changed_opening(truth, 0, kind=other), truth)
    assert score.openings.f1 == 1
    assert score.class_accuracy == pytest.approx(1 - 1 / count)
    assert f"seen as {other}" in score.class_mistakes[0]
    near = evaluate(changed_opening(truth, 0, from_m=opening.from_m + 0.1, to_m=opening.to_m + 0.16), truth)
    assert near.openings.f1 == 1
    assert near.opening_width_error_m.max() == pytest.approx(0.06)
    far = evaluate(changed_opening(truth, 0, from_m=opening.from_m + 0.25, to_m=opening.to_m + 0.25), truth)
    assert far.openings.recall == pytest.approx(1 - 1 / count)
    higher = evaluate(changed_opening(truth, 0, head_m=opening.head_m + 0.84), truth)
    assert higher.openings.recall == pytest.approx(1 - 1 / count)


def test_false_and_shifted_storeys_show(truth: BuildingTruth) -> None:
    storeys = list(truth.storeys)
    ghost = TrueStorey.model_validate({**storeys[1].model_dump(), "index": 2, "floor_m": 6.5, "ceiling_m": 8.0})
    moved = storeys[0].model_copy(update={"floor_m": 0.02, "ceiling_m": storeys[0].ceiling_m - 0.01})
    score = evaluate(truth.model_copy(update={"storeys": (moved, storeys[1], ghost)}), truth)
    assert score.false_storeys == 1
    assert score.storeys.recall == 1
    assert score.floor_error_m.max() == pytest.approx(0.02)
    assert score.ceiling_error_m.max() == pytest.approx(0.01)


def test_storeys_may_be_numbered_otherwise(truth: BuildingTruth) -> None:
    """Whoever counts from 1 is not wrong about the walls."""
    renumbered = truth.model_copy(
        update={
            "storeys": tuple(s.model_copy(update={"index": s.index + 1}) for s in truth.storeys),
            "walls": tuple(w.model_copy(update={"storey": w.storey + 1}) for w in truth.walls),
            "openings": tuple(o.model_copy(update={"storey": o.storey + 1}) for o in truth.openings),
            "spaces": tuple(s.model_copy(update={"storey": s.storey + 1}) for s in truth.spaces),
        }
    )
    score = evaluate(renumbered, truth)
    assert score.walls.f1 == score.openings.f1 == score.spaces.f1 == 1


def test_a_large_second_ceiling_counts_too() -> None:
    truth = truth_of(draw_plan("split_level_house", 1), 1)
    storey = truth.storeys[0]
    other = storey.model_copy(update={"ceiling_m": storey.other_ceilings_m[0] + 0.004})
    score = evaluate(truth.model_copy(update={"storeys": (other,)}), truth)
    assert score.ceiling_error_m.max() == pytest.approx(0.004)


def test_spaces_are_matched_by_area_with_or_without_the_stairs_hole(truth: BuildingTruth) -> None:
    upper = next(s for s in truth.spaces if s.storey == 1 and s.void)
    without = only_polygon(upper.outline.polygon().difference(upper.void[0].polygon()))
    ring = tuple((float(x), float(y)) for x, y in without.exterior.coords[:-1])
    drawn = upper.model_copy(update={"outline": upper.outline.model_copy(update={"outer": ring})})
    spaces = tuple(drawn if s is upper else s for s in truth.spaces)
    assert evaluate(truth.model_copy(update={"spaces": spaces}), truth).space_iou.min() == pytest.approx(1)
    merged = tuple(s for s in truth.spaces if s is not upper)
    score = evaluate(truth.model_copy(update={"spaces": merged}), truth)
    assert score.spaces.recall == pytest.approx(1 - 1 / len(truth.spaces))


def test_the_model_of_the_service_can_be_judged(truth: BuildingTruth) -> None:
    walls = tuple(
        model.Wall(
            w.wall_id,
            w.storey,
            np.array(w.start),
            np.array(w.end),
            w.thickness_m,
            w.base_m,
            w.top_m,
            w.is_external,
            2,
            0,
            1,
        )
        for w in truth.walls
    )
    outline = model.Polygon(np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]))
    storeys = tuple(model.Storey(s.index, s.name, s.floor_m, s.ceiling_m, outline) for s in truth.storeys)
    openings = tuple(
        model.Opening(
            o.opening_id, o.wall_id, o.storey, model.OpeningKind(o.kind), o.from_m, o.to_m, o.sill_m, o.head_m, 1.0
        )
        for o in truth.openings
    )
    spaces = tuple(
        model.Space(
            s.space_id,
            s.storey,
            model.Polygon(np.array(s.outline.outer)),
            s.floor_m,
            s.ceiling_m,
            s.area_m2,
            1.0,
            (),
            1.0,
        )
        for s in truth.spaces
    )
    recognised = model.Building(storeys, (), walls, openings, (), spaces)
    score = evaluate(recognised, truth)
    assert score.walls.f1 == score.openings.f1 == score.spaces.f1 == score.class_accuracy == 1
    empty = evaluate(dataclasses.replace(recognised, walls=(), openings=(), spaces=()), truth)
    assert empty.walls.f1 == empty.openings.f1 == empty.spaces.f1 == 0
    assert "walls" in empty.table()


def test_points_are_judged_by_the_elements_they_were_given_to(truth: BuildingTruth) -> None:
    score = evaluate(truth, truth)
    pairs = wall_names(score, truth, truth)
    names = [w.wall_id for w in truth.walls]
    # Four points on wall 0, two on wall 1, one on none; of the first, one was given to wall 1 and one to none.
    true = PointLabels(np.array([0, 0, 0, 0, 1, 1, -1], np.int32), names)
    found = PointLabels(np.array([0, 0, 1, -1, 1, 1, 1], np.int32), names)
    judged = evaluate_points(pairs, found, true)
    assert judged.points == 6
    assert judged.recall == pytest.approx(4 / 6)
    assert judged.precision == pytest.approx(4 / 6)
    perfect = evaluate_points(opening_names(score, truth, truth), true_openings(truth), true_openings(truth))
    assert (perfect.recall, perfect.precision) == (1, 1)


def true_openings(truth: BuildingTruth) -> PointLabels:
    return PointLabels(np.arange(len(truth.openings), dtype=np.int32), [o.opening_id for o in truth.openings])
