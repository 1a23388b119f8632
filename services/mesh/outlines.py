"""Which arrangements of the six views, and which field of view, the outlines alone allow.

A plane through two cameras that touches the object touches both its outlines: what one view's outline says of the two outermost such
planes, the other's must say too (Wong and Cipolla, "Structure and motion from silhouettes", ICCV 2001). Depth is not needed for
it, and outlines are exact to a fraction of a pixel.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.mesh.rig import DIRECTIONS, UPS, looking_at_origin
from services.mesh.turns import Turn, Turns

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_FOCALS = np.exp(np.linspace(np.log(0.7), np.log(3.0), 80))
"""In picture widths: fields of view from 19 to 71 degrees."""
_ROTATIONS = tuple(looking_at_origin(d, up, 1.0)[:3, :3] for d, up in zip(DIRECTIONS, UPS, strict=True))
_FOCAL_SLACK = 0.001
"""By how much more outlines may differ at a focal length that is possible: half a pixel, in picture widths."""
_AT_ORIGIN = float(np.sqrt(0.5))
"""Distance of the origin from the line through two neighbouring cameras, in distances of the cameras."""


@dataclass(frozen=True)
class Fit:
    """An arrangement with the focal length, in picture widths, at which the outlines fit best; misfit: root mean square of what the
    outermost planes differ by, in picture widths at the object; possible: lowest and highest focal length that fits hardly worse."""

    turns: Turns
    focal: float
    misfit: float
    possible: tuple[float, float]


def fits(masks: tuple[Mask, ...]) -> list[Fit]:
    """Every arrangement that people upload, best first. masks (h, w): what the uploads cover."""
    outermost = _Outermost(masks)
    found = []
    for turns in arrangements():
        squared = outermost.mean_squared(turns)
        focal, least = _lowest(squared)
        misfit = float(np.sqrt(max(least, 0.0)))
        found.append(Fit(turns, focal, misfit, _possible(squared, focal, hardly_worse(misfit, _FOCAL_SLACK) ** 2)))
    return sorted(found, key=lambda fit: fit.misfit)


def hardly_worse(misfit: float, slack: float) -> float:
    """The misfit that still counts as equal: outlines of a rig that is not quite the assumed kind never fit to a fraction of a pixel."""
    return 1.5 * misfit + slack


def arrangements() -> Iterator[Turns]:
    """Sides swapped, both of them mirrored; top and bottom swapped, each turned by quarters and mirrored: 512 in all."""
    quarters = [(k, mirrored) for k in range(4) for mirrored in (False, True)]
    for (left, right), side_mirrored in itertools.product(((2, 3), (3, 2)), (False, True)):
        sides = (Turn(0), Turn(1), Turn(left, 0, side_mirrored), Turn(right, 0, side_mirrored))
        for (top, bottom), a, b in itertools.product(((4, 5), (5, 4)), quarters, quarters):
            yield (*sides, Turn(top, *a), Turn(bottom, *b))


def _lowest(squared: Floats) -> tuple[float, float]:
    """Focal length and value where a function of `_FOCALS` is least, by the parabola through the three lowest samples."""
    k = int(np.argmin(squared))
    if k in (0, len(squared) - 1):
        return float(_FOCALS[k]), float(squared[k])
    before, here, after = squared[k - 1 : k + 2]
    bend = before - 2 * here + after
    off = 0.5 * (before - after) / bend if bend > 0 else 0.0
    step = np.log(_FOCALS[1] / _FOCALS[0])
    return float(_FOCALS[k] * np.exp(off * step)), float(here - 0.25 * (before - after) * off)


def _possible(squared: Floats, focal: float, most: float) -> tuple[float, float]:
    """Where a function of `_FOCALS` stays below `most` on either side of `focal`, to a sample beyond."""
    high = np.log(_FOCALS) > np.log(focal)
    below, above = np.flatnonzero(~high & (squared > most)), np.flatnonzero(high & (squared > most))
    lowest = _FOCALS[below[-1]] if len(below) else _FOCALS[0]
    highest = _FOCALS[above[0]] if len(above) else _FOCALS[-1]
    return float(lowest), float(highest)


class _Outermost:
    """The outermost planes of each view in each turn, through its camera and a neighbour's; each is worked out once."""

    def __init__(self, masks: tuple[Mask, ...]) -> None:
        self._hulls = [_hull(mask) for mask in masks]
        self._sizes = [(mask.shape[1], mask.shape[0]) for mask in masks]
        self._planes: dict[tuple[int, Turn, int], Floats] = {}
        self._pairs: dict[tuple[int, Turn, int, Turn], Floats] = {}

    def mean_squared(self, turns: Turns) -> Floats:
        """Mean squared difference at each of `_FOCALS`, over all pairs of neighbours."""
        neighbours = [
            (i, j)
            for i, j in itertools.combinations(range(len(turns)), 2)
            if DIRECTIONS[turns[i].pose] @ DIRECTIONS[turns[j].pose] == 0
        ]
        total = sum((self._pair(i, turns[i], j, turns[j]) for i, j in neighbours), np.zeros(len(_FOCALS)))
        return np.asarray(total / len(neighbours), np.float64)

    def _pair(self, i: int, turn_i: Turn, j: int, turn_j: Turn) -> Floats:
        key = (i, turn_i, j, turn_j)
        if key not in self._pairs:
            difference = self._of(i, turn_i, turn_j.pose) - self._of(j, turn_j, turn_i.pose)
            self._pairs[key] = np.asarray((difference**2).mean(axis=0), np.float64)
        return self._pairs[key]

    def _of(self, upload: int, turn: Turn, other: int) -> Floats:
        """Angles (2, focals) of the planes about the line through both cameras, as lengths at the object in picture widths."""
        key = (upload, turn, other)
        if key not in self._planes:
            width, height = self._sizes[upload]
            places = turn.restored_places(self._hulls[upload]) / (height if turn.quarter_turns % 2 else width)
            across = places[:, :, None] / _FOCALS
            first, second = sorted((turn.pose, other))
            line = DIRECTIONS[second] - DIRECTIONS[first]
            inwards = -(DIRECTIONS[first] + DIRECTIONS[second])
            rotation = _ROTATIONS[turn.pose]
            aside, ahead = rotation @ np.cross(line, inwards) / 2, rotation @ inwards / np.sqrt(2)
            angle = np.arctan2(
                across[:, 0] * aside[0] + across[:, 1] * aside[1] + aside[2],
                across[:, 0] * ahead[0] + across[:, 1] * ahead[1] + ahead[2],
            )
            self._planes[key] = np.stack([angle.min(axis=0), angle.max(axis=0)]) * _AT_ORIGIN * _FOCALS
        return self._planes[key]


def _hull(mask: Mask) -> Floats:
    """Corners (n, 2) of the covered pixels' convex hull, in pixels from the picture's middle."""
    rows, columns = np.nonzero(mask)
    corners = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0]
    return np.asarray(corners + 0.5 - np.array([mask.shape[1] / 2, mask.shape[0] / 2]), np.float64)
