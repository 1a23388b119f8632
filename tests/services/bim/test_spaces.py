"""Rooms between walls that are drawn to the millimetre."""

from dataclasses import replace

import numpy as np
import pytest
import shapely

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.bim import spaces
from services.bim.model import Column, Opening, OpeningKind, Space, Wall
from tests.services.bim.drawn_cloud import Drawing
from tests.services.bim.drawn_rooms import CEILING_M, FLOOR_M, LARGE, SMALL, flat, room, storey, wall, walls


def found(
    drawing: Drawing, around: tuple[Wall, ...], columns: tuple[Column, ...] = (), openings: tuple[Opening, ...] = ()
) -> tuple[Space, ...]:
    return spaces.main(storey(), around, openings, columns, drawing.cloud(), BuildingSettings(), Silence())


def both_rooms() -> Drawing:
    drawing = Drawing()
    room(drawing, LARGE)
    room(drawing, SMALL)
    return drawing


def iou(space: Space, area: tuple[float, float, float, float]) -> float:
    mine, true = shapely.Polygon(space.outline.outer), shapely.box(area[0], area[2], area[1], area[3])
    return float(mine.intersection(true).area / mine.union(true).area)


def test_rooms_run_along_the_faces_of_their_walls() -> None:
    large, small = found(both_rooms(), walls())
    assert iou(large, LARGE) > 0.999
    assert iou(small, SMALL) > 0.999
    assert (large.area_m2, small.area_m2) == pytest.approx((12.0, 7.5), abs=0.01)
    assert (large.floor_m, large.ceiling_m) == pytest.approx((FLOOR_M, CEILING_M), abs=0.003)
    assert large.volume_m3 == pytest.approx(12.0 * 2.6, abs=0.1)
    assert (large.space_id, small.space_id) == ("s0.0", "s0.1")


def test_bounding_walls_are_those_along_the_outline() -> None:
    large, small = found(both_rooms(), walls())
    assert set(large.bounding_walls) == {"south", "west", "north", "between"}
    assert set(small.bounding_walls) == {"south", "east", "north", "between"}


def test_walls_that_end_short_of_each_other_still_close_their_rooms() -> None:
    large, small = found(both_rooms(), walls(short_m=0.35))
    assert iou(large, LARGE) > 0.99
    assert iou(small, SMALL) > 0.99


def test_a_wall_in_two_pieces_beside_a_passage_up_to_the_ceiling_parts_two_rooms() -> None:
    pieces = (wall("between0", (4.1, -0.1), (4.1, 1.0)), wall("between1", (4.1, 2.0), (4.1, 3.1)))
    large, small = found(both_rooms(), (*walls()[:4], *pieces))
    assert iou(large, LARGE) > 0.99
    assert iou(small, SMALL) > 0.99


def test_a_courtyard_is_no_room() -> None:
    drawing = Drawing()
    room(drawing, LARGE)
    flat(drawing, SMALL, FLOOR_M, 1)
    (only,) = found(drawing, walls())
    assert iou(only, LARGE) > 0.99


def test_a_shaft_that_nobody_looked_into_is_no_room() -> None:
    drawing = Drawing()
    room(drawing, LARGE)
    (only,) = found(drawing, walls())
    assert iou(only, LARGE) > 0.99


def test_a_false_ceiling_and_a_lower_floor_are_the_rooms_own() -> None:
    drawing = Drawing()
    room(drawing, LARGE)
    room(drawing, SMALL, FLOOR_M - 0.15, CEILING_M - 0.3)
    _, small = found(drawing, walls())
    assert (small.floor_m, small.ceiling_m) == pytest.approx((FLOOR_M - 0.15, CEILING_M - 0.3), abs=0.003)


def test_the_ceiling_of_the_storey_below_is_not_the_floor() -> None:
    drawing = Drawing()
    room(drawing, LARGE)
    # Furniture leaves little of the floor, while all of the ceiling below was seen.
    room(drawing, (4.2, 5.4, 0.0, 3.0))
    flat(drawing, (5.4, 6.7, 0.0, 3.0), CEILING_M, -1)
    flat(drawing, SMALL, FLOOR_M - 0.28, -1)
    _, small = found(drawing, walls())
    assert small.floor_m == pytest.approx(FLOOR_M, abs=0.003)


def test_columns_take_their_volume() -> None:
    column = Column("c", 0, np.array([2.0, 1.5]), (0.4, 0.4), 0.0, FLOOR_M, CEILING_M, True, 1.0)
    large, _ = found(both_rooms(), walls(), (column,))
    assert large.volume_m3 == pytest.approx((12.0 - np.pi * 0.04) * 2.6, abs=0.1)


def test_rooms_do_not_depend_on_the_direction_of_walls() -> None:
    turned = tuple(replace(w, start=w.end, end=w.start) for w in walls())
    large, small = found(both_rooms(), turned)
    assert iou(large, LARGE) > 0.999
    assert iou(small, SMALL) > 0.999


def test_a_room_with_a_door_is_more_certain_than_one_that_nobody_can_enter() -> None:
    door = Opening("door", "east", 0, OpeningKind.DOOR, 1.0, 2.0, FLOOR_M, FLOOR_M + 2.0, 1.0)
    large, small = found(both_rooms(), walls(), openings=(door,))
    assert small.confidence > large.confidence
