"""Two rooms side by side, drawn as walls and surfaces: 4 x 3 m and 2.5 x 3 m inside, walls of 0.2 m, 2.6 m high."""

import numpy as np
from numpy.typing import NDArray

from services.bim.model import Polygon, Storey, Wall
from tests.services.bim.drawn_cloud import Drawing

Floats = NDArray[np.float64]
FLOOR_M, CEILING_M = 0.5, 3.1
LARGE, SMALL = (0.0, 4.0, 0.0, 3.0), (4.2, 6.7, 0.0, 3.0)
"""Inner outlines: x from, x to, y from, y to."""
Area = tuple[float, float, float, float]


def wall(name: str, start: tuple[float, float], end: tuple[float, float], thickness_m: float = 0.2) -> Wall:
    return Wall(name, 0, np.array(start), np.array(end), thickness_m, FLOOR_M, CEILING_M, False, 2, 0.003, 1.0)


def walls(short_m: float = 0.0) -> tuple[Wall, ...]:
    """South, east, north, west and the wall between; each may end short of where it should meet others."""
    s = short_m
    return (
        wall("south", (-0.1 + s, -0.1), (6.8 - s, -0.1)),
        wall("east", (6.8, -0.1 + s), (6.8, 3.1 - s)),
        wall("north", (6.8 - s, 3.1), (-0.1 + s, 3.1)),
        wall("west", (-0.1, 3.1 - s), (-0.1, -0.1 + s)),
        wall("between", (4.1, -0.1 + s), (4.1, 3.1 - s)),
    )


def storey() -> Storey:
    outline = np.array([[-0.2, -0.2], [6.9, -0.2], [6.9, 3.2], [-0.2, 3.2]])
    return Storey(0, "Storey 0", FLOOR_M, CEILING_M, Polygon(outline))


def flat(drawing: Drawing, area: Area, z: float, looks: int) -> None:
    """A floor (1) or a ceiling (-1)."""
    x0, x1, y0, y1 = area
    edges = np.array([x1 - x0, 0, 0]), np.array([0, y1 - y0, 0])
    drawing.sheet(np.array([x0, y0, z]), edges[0], edges[1], np.array([0.0, 0, looks]))


def room(drawing: Drawing, area: Area, floor_m: float = FLOOR_M, ceiling_m: float = CEILING_M) -> None:
    flat(drawing, area, floor_m, 1)
    flat(drawing, area, ceiling_m, -1)
