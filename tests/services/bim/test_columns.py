"""Columns and what might be taken for one, drawn to the millimetre."""

import numpy as np
import pytest

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.bim import columns
from services.bim.model import Column, Wall
from tests.services.bim.drawn_cloud import Drawing
from tests.services.bim.drawn_rooms import CEILING_M, FLOOR_M, LARGE, room, storey, wall, walls

MIDDLE = (2.0, 1.6)


def found(drawing: Drawing, around: tuple[Wall, ...] | None = None) -> tuple[Column, ...]:
    room(drawing, LARGE)
    return columns.main(storey(), walls() if around is None else around, drawing.cloud(), BuildingSettings(), Silence())


def box_at(
    drawing: Drawing, centre: tuple[float, float], size: tuple[float, float], top_m: float, turn_deg: float = 0.0
) -> None:
    """Four upright sides from the floor up."""
    angle = np.radians(turn_deg)
    first, second = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    middle = np.array([*centre, FLOOR_M])
    for out, along, half, length in (
        (first, second, size[0] / 2, size[1]),
        (-first, second, size[0] / 2, size[1]),
        (second, first, size[1] / 2, size[0]),
        (-second, first, size[1] / 2, size[0]),
    ):
        corner = middle + out * half - along * length / 2
        drawing.sheet(corner, along * length, np.array([0, 0, top_m - FLOOR_M]), out)


def round_at(drawing: Drawing, centre: tuple[float, float], radius: float, top_m: float) -> None:
    pieces = 36
    for k in range(pieces):
        a, b = 2 * np.pi * k / pieces, 2 * np.pi * (k + 1) / pieces
        start = np.array([centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a), FLOOR_M])
        end = np.array([centre[0] + radius * np.cos(b), centre[1] + radius * np.sin(b), FLOOR_M])
        out = np.array([np.cos((a + b) / 2), np.sin((a + b) / 2), 0])
        drawing.sheet(start, end - start, np.array([0, 0, top_m - FLOOR_M]), out)


@pytest.mark.parametrize("turn_deg", [0.0, 31.0, 45.0])
def test_a_rectangular_column_has_its_place_size_and_angle(turn_deg: float) -> None:
    drawing = Drawing()
    box_at(drawing, MIDDLE, (0.3, 0.45), CEILING_M, turn_deg)
    (column,) = found(drawing)
    assert not column.is_round
    assert tuple(column.centre) == pytest.approx(MIDDLE, abs=0.005)
    assert sorted(column.size_m) == pytest.approx([0.3, 0.45], abs=0.01)
    long_side = column.angle_rad + (0 if column.size_m[0] > column.size_m[1] else np.pi / 2)
    assert np.sin(long_side - np.radians(turn_deg + 90)) == pytest.approx(0, abs=0.02)


def test_a_round_column_has_its_place_and_diameter() -> None:
    drawing = Drawing()
    round_at(drawing, MIDDLE, 0.2, CEILING_M)
    (column,) = found(drawing)
    assert column.is_round
    assert tuple(column.centre) == pytest.approx(MIDDLE, abs=0.005)
    assert column.size_m == pytest.approx((0.4, 0.4), abs=0.01)
    assert (column.base_m, column.top_m) == (FLOOR_M, CEILING_M)


def test_a_person_does_not_reach_the_ceiling() -> None:
    drawing = Drawing()
    round_at(drawing, MIDDLE, 0.2, FLOOR_M + 1.85)
    assert found(drawing) == ()


def test_a_high_wardrobe_at_a_wall_is_no_column() -> None:
    drawing = Drawing()
    box_at(drawing, (0.35, 1.5), (0.6, 0.9), CEILING_M - 0.03)
    assert found(drawing) == ()


def test_a_trunk_of_a_tree_stands_outside() -> None:
    drawing = Drawing()
    round_at(drawing, (9.0, 1.0), 0.12, CEILING_M + 1)
    assert found(drawing) == ()


def test_a_leaf_that_stands_open_is_too_thin() -> None:
    drawing = Drawing()
    box_at(drawing, MIDDLE, (0.04, 0.9), CEILING_M)
    assert found(drawing) == ()


def test_faces_of_a_column_that_were_taken_for_a_wall_do_not_hide_it() -> None:
    drawing = Drawing()
    box_at(drawing, MIDDLE, (0.4, 0.4), CEILING_M)
    false_wall = wall("false", (1.8, 1.6), (2.2, 1.6), 0.4)
    assert len(found(drawing, (*walls(), false_wall))) == 1


def test_a_column_goes_on_above_a_false_ceiling() -> None:
    drawing = Drawing()
    box_at(drawing, MIDDLE, (0.3, 0.3), CEILING_M - 0.3)
    room(drawing, LARGE, FLOOR_M, CEILING_M - 0.3)
    cloud = drawing.cloud()
    (column,) = columns.main(storey(), walls(), cloud, BuildingSettings(), Silence())
    assert column.top_m == CEILING_M


def test_an_empty_storey_has_no_columns() -> None:
    assert found(Drawing()) == ()
