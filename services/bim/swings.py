"""How doors open. A scan does not show it: this is what a drawing would assume, and it is marked as assumed.

A door opens into the smaller of the rooms beside it, from outside inwards, and its hinge is at the jamb nearer to a corner of
that room, so that the leaf comes to rest against a wall. Wide doors have two leaves.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import LineString, Point, Polygon

from services.bim.model import Building, Opening, OpeningKind, Wall
from services.bim.quantities import area_of

Floats = NDArray[np.float64]

WIDEST_LEAF_M = 1.25
_STEP_INTO_ROOM_M = 0.25
_SEEN_M = 20.0


@dataclass(frozen=True)
class Swing:
    """`left`: into the space on the wall's left. `hinge_at_start`: at the jamb nearer to the wall's start (one leaf only)."""

    left: bool
    hinge_at_start: bool
    leaves: int

    @property
    def operation(self) -> str:
        """As IfcDoorTypeOperationEnum: the hand as seen along the door's y axis, which points the way it opens."""
        if self.leaves == 2:
            return "DOUBLE_DOOR_SINGLE_SWING"
        return "SINGLE_SWING_LEFT" if self.hinge_at_start == self.left else "SINGLE_SWING_RIGHT"


@dataclass(frozen=True)
class _Side:
    """The room on one side of a door, and a point in it in front of the door."""

    room: Polygon
    before: Floats


def main(building: Building) -> dict[str, Swing]:
    """The swing of every door, by opening id."""
    rooms: dict[int, list[Polygon]] = defaultdict(list)
    for space in building.spaces:
        rooms[space.storey].append(area_of(space.outline))
    walls = {wall.wall_id: wall for wall in building.walls}
    return {
        door.opening_id: _swing(door, walls[door.wall_id], rooms[door.storey])
        for door in building.openings
        if door.kind is OpeningKind.DOOR
    }


def _swing(door: Opening, wall: Wall, rooms: Sequence[Polygon]) -> Swing:
    sides = {side.left: side.found for side in _sides(door, wall, rooms)}
    found = {left: side for left, side in sides.items() if side is not None}
    left = min(found, key=lambda left: (round(found[left].room.area, 2), not left), default=True)
    hinge_at_start = True
    if left in found:
        before_start = _clear_m(found[left], -wall.direction)
        before_end = _clear_m(found[left], wall.direction)
        hinge_at_start = before_start <= before_end
    return Swing(left=left, hinge_at_start=hinge_at_start, leaves=2 if door.width_m > WIDEST_LEAF_M else 1)


@dataclass(frozen=True)
class _Looked:
    left: bool
    found: _Side | None


def _sides(door: Opening, wall: Wall, rooms: Sequence[Polygon]) -> Iterator[_Looked]:
    middle = wall.start + wall.direction * (door.from_m + door.to_m) / 2
    for left in (True, False):
        sign = 1 if left else -1
        before = middle + sign * wall.normal * (wall.thickness_m / 2 + _STEP_INTO_ROOM_M)
        room = next((room for room in rooms if room.contains(Point(before))), None)
        yield _Looked(left, None if room is None else _Side(room, before))


def _clear_m(side: _Side, along: Floats) -> float:
    """How far one sees from before the door along the wall."""
    sight = LineString([side.before, side.before + along * _SEEN_M])
    return float(Point(side.before).distance(sight.intersection(side.room.boundary)))
