"""The paper of a floor plan: its scale, and where the building lies on it.

All storeys of a building share scale and position, so that their plans can be laid on top of each other. The longest walls run
parallel to the paper's edges; where north is known it points up rather than down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon
from shapely.affinity import affine_transform

from services.bim.model import Building

Floats = NDArray[np.float64]

WIDTH_MM, HEIGHT_MM = 420.0, 297.0
"""A3, landscape."""
BORDER_MM = 10.0
TITLE_MM = 24.0
"""Height of the strip with the title, inside the border."""
CHAINS_MM = 30.0
"""Kept free below and on the left of the building, where its overall dimensions are."""
CHAIN_MM = 16.0
"""Kept free above and on the right, where there is one chain of dimensions at most."""

_SCALES = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_QUARTER = np.pi / 2


@dataclass(frozen=True)
class Sheet:
    """Plan coordinates (x, y) in metres to the paper in millimetres: middle_mm + turn @ (p - middle_m) * 1000 / scale."""

    scale: int
    turn: Floats
    middle_m: Floats
    middle_mm: Floats

    def place(self, points_m: Floats) -> Floats:
        """(n, 2) to (n, 2)."""
        turned = (np.asarray(points_m, np.float64) - self.middle_m) @ self.turn.T
        return np.asarray(turned * (1000 / self.scale) + self.middle_mm)

    def place_area(self, area: Polygon) -> Polygon:
        factor = 1000 / self.scale
        (a, b), (c, d) = self.turn * factor
        shift = self.middle_mm - self.turn @ self.middle_m * factor
        return affine_transform(area, [a, b, c, d, shift[0], shift[1]])

    def direction(self, along: Floats) -> Floats:
        """A direction (2,) of the plan, on the paper."""
        return np.asarray(self.turn @ along)

    def mm(self, length_m: float) -> float:
        return length_m * 1000 / self.scale


def choose(building: Building, north: Floats | None) -> Sheet:
    """The largest usual scale at which the building and its dimensions fit. north (2,): a direction in plan, if known."""
    points = _outline(building)
    angle = _upright_angle(building)
    turn = _rotation(angle)
    extent = np.ptp(points @ turn.T, axis=0)
    if extent[1] > extent[0] * 1.05:
        turn = _rotation(angle + _QUARTER)
    up = np.array([0.0, 1.0]) if north is None else north
    if (turn @ up)[1] < 0:
        turn = -turn
    turned = points @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    free_low = np.array([BORDER_MM + CHAINS_MM, BORDER_MM + TITLE_MM + CHAINS_MM])
    free_high = np.array([WIDTH_MM, HEIGHT_MM]) - BORDER_MM - CHAIN_MM
    fits = (scale for scale in _SCALES if np.all((high - low) * 1000 / scale <= free_high - free_low))
    return Sheet(next(fits, _SCALES[-1]), turn, turn.T @ (low + high) / 2, (free_low + free_high) / 2)


def _outline(building: Building) -> Floats:
    """Corners of all that may be drawn, (n, 2)."""
    parts = [storey.footprint.outer for storey in building.storeys]
    for wall in building.walls:
        across = wall.normal * wall.thickness_m / 2
        parts.append(np.array([wall.start - across, wall.start + across, wall.end - across, wall.end + across]))
    parts.extend(space.outline.outer for space in building.spaces)
    parts.extend(slab.outline.outer for slab in building.slabs if not any(len(part) for part in parts))
    return np.concatenate(parts)


def _upright_angle(building: Building) -> float:
    """The turn, at most 45 degrees, that makes walls parallel to the axes: the mean of their angles, four times wrapped."""
    if not building.walls:
        return 0.0
    directions = np.array([wall.direction for wall in building.walls])
    lengths = np.array([wall.length_m for wall in building.walls])
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    # The longest group of parallel walls decides; slanting walls would pull a plain mean.
    spread = np.abs((angles[:, None] - angles[None, :] + _QUARTER / 2) % _QUARTER - _QUARTER / 2)
    support = (spread < np.radians(2.0)) @ lengths
    near = spread[int(np.argmax(support))] < np.radians(2.0)
    wrapped = np.sum(lengths[near] * np.exp(4j * angles[near]))
    return -float(np.angle(wrapped)) / 4


def _rotation(angle_rad: float) -> Floats:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, -sine], [sine, cosine]])
