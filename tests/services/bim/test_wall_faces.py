"""Straight faces from columns of points: exact lines, whatever way they run."""

import numpy as np
import pytest

from services.bim.plan_columns import BODY_STEPS, CROWN_STEPS, PlanColumns, Stacks
from services.bim.wall_faces import Face, find_faces

FULL_CROWN = np.uint64((1 << CROWN_STEPS) - 1)
FULL_BODY = np.uint64((1 << BODY_STEPS) - 1)


def stacks(xy: np.ndarray[tuple[int, int], np.dtype[np.float64]], angle_rad: float, crown: bool) -> Stacks:
    facing = np.tile([-np.sin(angle_rad), np.cos(angle_rad)], (len(xy), 1))
    heights = np.full(len(xy), FULL_CROWN if crown else FULL_BODY, np.uint64)
    return Stacks(xy, facing, np.full(len(xy), 12.0), heights, CROWN_STEPS if crown else BODY_STEPS)


def faces_along(places: np.ndarray[tuple[int], np.dtype[np.float64]], angle_rad: float, noise_m: float) -> list[Face]:
    """Faces of columns at `places` along a line through (2, 1)."""
    along = np.array([np.cos(angle_rad), np.sin(angle_rad)])
    across = np.array([-along[1], along[0]])
    noise = np.random.default_rng(3).normal(0, noise_m, len(places))
    xy = np.array([2.0, 1.0]) + places[:, None] * along + noise[:, None] * across
    return find_faces(PlanColumns(stacks(xy, angle_rad, True), stacks(xy, angle_rad, False)), 0.015)


@pytest.mark.parametrize("degrees", [0.0, 12.3, 90.0, 151.0])
def test_a_line_is_found_to_a_fraction_of_its_noise(degrees: float) -> None:
    angle = np.deg2rad(degrees)
    (face,) = faces_along(np.arange(0.0, 4.0, 0.02), angle, 0.004)
    turn = abs(float(np.cross(np.append(face.line.along, 0), [np.cos(angle), np.sin(angle), 0])[2]))
    assert np.rad2deg(np.arcsin(turn)) < 0.05
    assert abs(float(face.line.offsets(np.array([[2.0, 1.0]]))[0])) < 0.002
    assert face.length_m == pytest.approx(4.0, abs=0.1)
    assert face.tall.all()


def test_pieces_of_one_line_are_one_face_with_a_gap() -> None:
    places = np.concatenate([np.arange(0.0, 2.0, 0.02), np.arange(3.2, 6.0, 0.02)])
    (face,) = faces_along(places, 0.3, 0.002)
    assert face.length_m == pytest.approx(4.8, abs=0.15)
    assert (~face.seen).sum() == pytest.approx(24, abs=2)


def test_a_bend_of_a_few_degrees_makes_two_faces() -> None:
    first, second = np.arange(0.0, 2.0, 0.02), np.arange(0.0, 2.0, 0.02)
    angles = (0.0, np.deg2rad(6.0))
    one = np.stack([first, np.zeros(len(first))], axis=1)
    other = np.array([2.0, 0.0]) + second[:, None] * [np.cos(angles[1]), np.sin(angles[1])]
    xy = np.concatenate([one, other])
    crown, body = (
        Stacks(
            xy,
            np.concatenate(
                [stacks(part, angle, is_crown).facing for part, angle in zip((one, other), angles, strict=True)]
            ),
            np.full(len(xy), 12.0),
            np.full(len(xy), FULL_CROWN if is_crown else FULL_BODY, np.uint64),
            CROWN_STEPS if is_crown else BODY_STEPS,
        )
        for is_crown in (True, False)
    )
    faces = find_faces(PlanColumns(crown, body), 0.015)
    directions = sorted(abs(np.rad2deg(np.arctan2(face.line.along[1], face.line.along[0]))) for face in faces)
    assert directions == pytest.approx([0.0, 6.0], abs=0.3)


def test_what_ends_below_the_ceiling_is_not_seen_as_a_wall() -> None:
    xy = np.stack([np.arange(0.0, 2.0, 0.02), np.zeros(100)], axis=1)
    crown = stacks(xy, 0.0, True)
    wardrobe = Stacks(crown.xy, crown.facing, crown.weight, np.full(100, 0b00111111, np.uint64), CROWN_STEPS)
    assert find_faces(PlanColumns(wardrobe, stacks(xy, 0.0, False)), 0.015) == []


def test_no_points_no_faces() -> None:
    nothing = np.zeros((0, 2))
    assert find_faces(PlanColumns(stacks(nothing, 0.0, True), stacks(nothing, 0.0, False)), 0.015) == []
