"""The plan of the flat: rooms, walls, openings, slabs and lamps. Exact, and the same for every seed.

Building frame: metres, right-handed, z up, z = 0 on the finished floor, axes along the walls.
"""

from dataclasses import dataclass
from typing import Literal

OpeningClass = Literal["door", "window", "passage"]
Corner = tuple[float, float, float]

CEILING_M = 2.6
EXTERIOR_M = 0.30
INTERIOR_M = 0.12
SLAB_M = 0.22


@dataclass(frozen=True)
class Opening:
    """A hole in a wall. `from_m` and `to_m` run along the wall's axis (x or y of the building frame)."""

    name: str
    opening_class: OpeningClass
    wall: str
    from_m: float
    to_m: float
    sill_m: float
    head_m: float


@dataclass(frozen=True)
class Wall:
    """A straight wall: a box. The axis runs in its middle; `direction` tells along which building axis."""

    name: str
    direction: Literal["x", "y"]
    low_m: tuple[float, float]
    high_m: tuple[float, float]
    """Corners of the footprint (x, y), lowest and highest."""
    height_m: float
    external: bool

    @property
    def thickness_m(self) -> float:
        across = 1 if self.direction == "x" else 0
        return self.high_m[across] - self.low_m[across]

    @property
    def axis_m(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Start and end of the centre line (x, y)."""
        (x0, y0), (x1, y1) = self.low_m, self.high_m
        if self.direction == "x":
            return (x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2)
        return ((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1)


@dataclass(frozen=True)
class Room:
    """A room's clear rectangle between wall faces."""

    name: str
    low_m: tuple[float, float]
    high_m: tuple[float, float]
    height_m: float
    wall_finish: str
    floor_finish: str


@dataclass(frozen=True)
class Slab:
    """A horizontal slab over the whole footprint."""

    name: str
    low_m: tuple[float, float]
    high_m: tuple[float, float]
    bottom_m: float
    top_m: float


@dataclass(frozen=True)
class Lamp:
    """A ceiling lamp: where its light comes from, and its radiant intensity (r, g, b, arbitrary unit)."""

    position_m: tuple[float, float, float]
    intensity: tuple[float, float, float]


ROOMS = (
    Room("living", (0.0, 0.0), (5.2, 3.9), CEILING_M, "plaster_warm", "floor_oak"),
    Room("kitchen", (0.0, 4.02), (3.0, 7.0), CEILING_M, "plaster_white", "tiles_floor"),
    Room("bath", (3.12, 4.02), (5.2, 7.0), CEILING_M, "tiles_white", "tiles_floor"),
    Room("hall", (5.32, 0.0), (6.72, 7.0), CEILING_M, "plaster_white", "floor_oak"),
    Room("bedroom", (6.84, 0.0), (10.6, 3.9), CEILING_M, "wallpaper", "floor_dark"),
    Room("study", (6.84, 4.02), (10.6, 7.0), CEILING_M, "plaster_blue", "floor_oak"),
)

WALLS = (
    Wall("south", "x", (-EXTERIOR_M, -EXTERIOR_M), (10.6 + EXTERIOR_M, 0.0), CEILING_M, True),
    Wall("north", "x", (-EXTERIOR_M, 7.0), (10.6 + EXTERIOR_M, 7.0 + EXTERIOR_M), CEILING_M, True),
    Wall("west", "y", (-EXTERIOR_M, 0.0), (0.0, 7.0), CEILING_M, True),
    Wall("east", "y", (10.6, 0.0), (10.6 + EXTERIOR_M, 7.0), CEILING_M, True),
    Wall("living-kitchen", "x", (0.0, 3.9), (5.2, 3.9 + INTERIOR_M), CEILING_M, False),
    Wall("kitchen-bath", "y", (3.0, 4.02), (3.0 + INTERIOR_M, 7.0), CEILING_M, False),
    Wall("hall-west", "y", (5.2, 0.0), (5.2 + INTERIOR_M, 7.0), CEILING_M, False),
    Wall("hall-east", "y", (6.72, 0.0), (6.72 + INTERIOR_M, 7.0), CEILING_M, False),
    Wall("bedroom-study", "x", (6.84, 3.9), (10.6, 3.9 + INTERIOR_M), CEILING_M, False),
)

OPENINGS = (
    Opening("living-hall", "passage", "hall-west", 1.3, 2.5, 0.0, 2.2),
    Opening("living-kitchen", "door", "living-kitchen", 1.2, 2.1, 0.0, 2.1),
    Opening("bath-hall", "door", "hall-west", 5.2, 6.0, 0.0, 2.1),
    Opening("bedroom-hall", "door", "hall-east", 2.2, 3.1, 0.0, 2.1),
    Opening("study-hall", "door", "hall-east", 4.6, 5.5, 0.0, 2.1),
    Opening("entry", "door", "south", 5.55, 6.5, 0.0, 2.1),
    Opening("living-west", "window", "west", 1.0, 2.6, 0.85, 2.25),
    Opening("living-south", "window", "south", 1.5, 3.5, 0.85, 2.25),
    Opening("kitchen-west", "window", "west", 5.0, 6.2, 1.05, 2.15),
    Opening("bath-north", "window", "north", 3.8, 4.5, 1.5, 2.1),
    Opening("bedroom-east", "window", "east", 1.2, 2.8, 0.85, 2.25),
    Opening("study-north", "window", "north", 8.0, 9.4, 0.85, 2.25),
)

_LIGHTS = (
    ((2.5, 1.9, 2.48), 2.6),
    ((1.5, 5.5, 2.48), 2.2),
    ((4.2, 5.5, 2.48), 1.5),
    ((6.02, 1.6, 2.48), 1.1),
    ((6.02, 5.2, 2.48), 1.1),
    ((8.7, 1.9, 2.48), 1.7),
    ((8.7, 5.5, 2.48), 1.9),
)
LAMPS = tuple(Lamp(at, (power, power * 0.93, power * 0.8)) for at, power in _LIGHTS)

FOOTPRINT_M = ((-EXTERIOR_M, -EXTERIOR_M), (10.6 + EXTERIOR_M, 7.0 + EXTERIOR_M))
SLABS = (
    Slab("floor", *FOOTPRINT_M, -SLAB_M, 0.0),
    Slab("ceiling", *FOOTPRINT_M, CEILING_M, CEILING_M + SLAB_M),
)


def wall_named(name: str) -> Wall:
    return next(wall for wall in WALLS if wall.name == name)


def opening_box(opening: Opening) -> tuple[Corner, Corner]:
    """Lowest and highest corner of the hole that an opening cuts out of its wall."""
    wall = wall_named(opening.wall)
    if wall.direction == "x":
        return (opening.from_m, wall.low_m[1], opening.sill_m), (opening.to_m, wall.high_m[1], opening.head_m)
    return (wall.low_m[0], opening.from_m, opening.sill_m), (wall.high_m[0], opening.to_m, opening.head_m)


def openings_of_side(room: Room, face: Literal["east", "west", "north", "south"]) -> list[Opening]:
    """Openings in the side of a room whose normal points to `face` (into the room)."""
    across = 0 if face in ("east", "west") else 1
    plane = room.low_m[across] if face in ("east", "north") else room.high_m[across]
    found = []
    for opening in OPENINGS:
        low, high = opening_box(opening)
        along = 1 - across
        touches = min(abs(low[across] - plane), abs(high[across] - plane)) < 1e-9
        if touches and room.low_m[along] <= low[along] and high[along] <= room.high_m[along]:
            found.append(opening)
    return found
