"""Openings in walls that are drawn to the millimetre."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.progress import Silence
from services.bim import openings
from services.bim.model import Opening, OpeningKind, Polygon, Storey, Wall
from services.bim.preprocessing import WorkingCloud
from tests.services.bim.drawn_cloud import Box, Drawing, DrawnWall, drawn_wall

BASE_M = 1.2
DOOR: Box = (2.1, 3.0, BASE_M, BASE_M + 2.05)
WINDOW: Box = (2.3, 3.8, BASE_M + 0.9, BASE_M + 2.2)
GLAZING: Box = (1.5, 3.5, BASE_M + 0.03, BASE_M + 2.3)


def storey() -> Storey:
    square = np.array([[-20.0, -20], [20, -20], [20, 20], [-20, 20]])
    return Storey(0, "Storey 0", BASE_M, BASE_M + 2.6, Polygon(square))


def found(cloud: WorkingCloud, *walls: Wall) -> tuple[Opening, ...]:
    return openings.main(storey(), walls, cloud, BuildingSettings(), Silence())


def the_one(cloud: WorkingCloud, *walls: Wall) -> Opening:
    (opening,) = found(cloud, *walls)
    return opening


def assert_is(opening: Opening, kind: OpeningKind, hole: Box, within_m: float = 0.012) -> None:
    assert opening.kind is kind
    edges = (opening.from_m, opening.to_m, opening.sill_m, opening.head_m)
    assert edges == pytest.approx(hole, abs=within_m)


def passage(thickness_m: float = 0.24) -> DrawnWall:
    drawn = drawn_wall(Drawing(), thickness_m)
    drawn.faces(DOOR)
    drawn.reveal(DOOR, floor=True)
    return drawn


def window() -> DrawnWall:
    drawn = drawn_wall(Drawing(), 0.36)
    drawn.faces(WINDOW)
    drawn.reveal(WINDOW, floor=False)
    drawn.frame(WINDOW, 0.07, (0.0, 0.07), rail=True)
    return drawn


def test_bare_jambs_are_a_passage() -> None:
    drawn = passage()
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.PASSAGE, DOOR)


def test_a_frame_on_jambs_and_head_is_a_door_whose_leaf_is_elsewhere() -> None:
    drawn = passage(0.115)
    drawn.frame(DOOR, 0.035, (-0.03, 0.035), rail=False)
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.DOOR, DOOR)


@pytest.mark.parametrize("thickness_m", [0.08, 0.10, 0.24])
def test_a_closed_leaf_just_behind_the_face_is_a_door(thickness_m: float) -> None:
    drawn = drawn_wall(Drawing(), thickness_m)
    drawn.faces(DOOR)
    leaf = thickness_m / 2 - 0.015
    drawn.facing(1, DOOR, leaf)
    drawn.facing(-1, DOOR, max(leaf - 0.04, -thickness_m / 2 + 0.016))
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.DOOR, DOOR, 0.02)


def test_a_window_is_found_with_sill_and_head() -> None:
    drawn = window()
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.WINDOW, WINDOW)


def test_a_board_on_the_sill_does_not_raise_it() -> None:
    drawn = window()
    u0, u1, z0, _ = WINDOW
    drawn.level(z0 + 0.025, 1, (u0, u1), (-0.21, 0.0))
    drawn.facing(-1, (u0, u1, z0, z0 + 0.025), -0.21)
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.WINDOW, WINDOW)


def test_points_without_a_known_scanner_do_as_well() -> None:
    drawn = window()
    assert_is(the_one(drawn.drawing.cloud(oriented=False), drawn.wall), OpeningKind.WINDOW, WINDOW)


def test_glazing_down_to_the_floor_is_a_window_for_its_bottom_rail() -> None:
    drawn = drawn_wall(Drawing(), 0.36)
    drawn.faces(GLAZING)
    drawn.reveal(GLAZING, floor=True)
    drawn.frame(GLAZING, 0.07, (0.0, 0.07), rail=True)
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.WINDOW, GLAZING, 0.035)


def test_a_pane_that_gave_many_returns_is_no_leaf() -> None:
    drawn = drawn_wall(Drawing(), 0.36)
    drawn.faces(GLAZING)
    drawn.reveal(GLAZING, floor=True)
    drawn.frame(GLAZING, 0.07, (0.0, 0.07), rail=True)
    drawn.facing(1, GLAZING, 0.035)
    assert the_one(drawn.drawing.cloud(), drawn.wall).kind is OpeningKind.WINDOW


def test_what_a_wardrobe_hides_is_no_opening() -> None:
    drawn = drawn_wall(Drawing(), 0.3)
    drawn.face(1, (1.0, 2.6, BASE_M, BASE_M + 2.1))
    drawn.facing(1, (1.0, 2.6, BASE_M, BASE_M + 2.1), 0.15 + 0.6)
    assert found(drawn.drawing.cloud(), drawn.wall) == ()


def test_a_niche_is_no_opening_where_the_other_face_goes_on() -> None:
    drawn = drawn_wall(Drawing(), 0.3)
    drawn.face(1, WINDOW)
    drawn.face(-1)
    drawn.facing(1, WINDOW, 0.05)
    assert found(drawn.drawing.cloud(), drawn.wall) == ()


def test_a_picture_on_the_wall_is_no_opening() -> None:
    drawn = drawn_wall(Drawing(), 0.12)
    drawn.face(1, (2.0, 2.9, BASE_M + 1.3, BASE_M + 1.9))
    drawn.facing(1, (2.0, 2.9, BASE_M + 1.3, BASE_M + 1.9), 0.06 + 0.03)
    drawn.face(-1)
    assert found(drawn.drawing.cloud(), drawn.wall) == ()


def test_a_crossing_wall_is_no_opening() -> None:
    drawn = drawn_wall(Drawing(), 0.2)
    body: Box = (2.7, 3.2, BASE_M, BASE_M + 2.6)
    drawn.faces(body)
    drawn.reveal(body, floor=True)
    middle, across = drawn.wall.start + 2.95 * drawn.wall.direction, 2 * drawn.wall.normal
    crossing = replace(drawn.wall, wall_id="x", start=middle - across, end=middle + across, thickness_m=0.5)
    mine = [o for o in found(drawn.drawing.cloud(), drawn.wall, crossing) if o.wall_id == "w"]
    assert mine == []


def test_an_opening_up_to_the_ceiling_is_a_passage_as_high_as_its_wall() -> None:
    drawn = drawn_wall(Drawing(), 0.2)
    hole: Box = (2.0, 3.1, BASE_M, BASE_M + 2.6)
    drawn.faces(hole)
    drawn.reveal(hole, floor=True)
    assert_is(the_one(drawn.drawing.cloud(), drawn.wall), OpeningKind.PASSAGE, hole, 0.02)


def _moved(wall: Wall, aside_m: float, turn_deg: float, longer_m: float) -> Wall:
    middle, along = (wall.start + wall.end) / 2, wall.direction
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turned: NDArray[np.float64] = np.array([c * along[0] - s * along[1], s * along[0] + c * along[1]])
    half = wall.length_m / 2
    aside = aside_m * wall.normal
    return replace(
        wall,
        start=middle + aside - turned * (half + longer_m),
        end=middle + aside + turned * half,
        thickness_m=wall.thickness_m + aside_m,
    )


@pytest.mark.parametrize(("aside_m", "turn_deg"), [(0.02, 0.3), (-0.02, -0.3), (0.015, 0.0)])
def test_a_wall_that_is_some_centimetres_off_shows_the_same_opening(aside_m: float, turn_deg: float) -> None:
    drawn = window()
    wall = _moved(drawn.wall, aside_m, turn_deg, 0.1)
    opening = the_one(drawn.drawing.cloud(), wall)
    assert_is(opening, OpeningKind.WINDOW, (WINDOW[0] + 0.1, WINDOW[1] + 0.1, *WINDOW[2:]), 0.02)


def test_several_openings_keep_apart_and_are_counted_from_the_start() -> None:
    drawn = drawn_wall(Drawing(), 0.24, length_m=8.0)
    holes: tuple[Box, ...] = (
        (0.8, 1.6, BASE_M, BASE_M + 2.0),
        (2.5, 3.4, BASE_M + 0.9, BASE_M + 2.1),
        (3.8, 4.7, BASE_M + 0.9, BASE_M + 2.1),
        (5.8, 7.2, BASE_M, BASE_M + 2.3),
    )
    drawn.faces(*holes)
    for hole in holes:
        drawn.reveal(hole, floor=hole[2] == BASE_M)
    opened = found(drawn.drawing.cloud(), drawn.wall)
    assert [o.opening_id for o in opened] == ["o0.0", "o0.1", "o0.2", "o0.3"]
    for opening, hole in zip(opened, holes, strict=True):
        assert (opening.from_m, opening.to_m) == pytest.approx(hole[:2], abs=0.012)


def test_a_storey_without_walls_has_no_openings() -> None:
    drawn = passage()
    assert found(drawn.drawing.cloud()) == ()
