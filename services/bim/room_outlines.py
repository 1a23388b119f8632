"""The plan areas that walls enclose.

Walls are rectangles around their centre lines. Ends that stop short of another wall are prolonged to its centre line, gaps
between pieces of one line are closed, and openings are part of their walls anyway; what is left within the storey's outline
falls into areas between wall faces (a planar arrangement, as in Mura et al. 2014, without their optimisation: walls are already known).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from services.bim import model
from services.bim.model import Storey, Wall

LONGEST_GAP_M = 0.6
"""An end that is nearer to another wall than this was meant to meet it."""
_LONGEST_GAP_IN_LINE_M = 1.5
_IN_LINE_M = 0.06
_PARALLEL_SIN = np.sin(np.radians(8.0))
_MIN_WIDTH_M = 0.5
_STRAIGHT_M = 0.01
_SLIVER_M = 0.002

Floats = NDArray[np.float64]


def enclosed_areas(storey: Storey, walls: Sequence[Wall]) -> tuple[Polygon, ...]:
    """Areas between the walls of a storey, also those that are no rooms; the largest first."""
    solid = wall_bodies(walls)
    whole = shapely.union_all([area_of(storey.footprint), *(_filled(part) for part in shapely.get_parts(solid))])
    found = []
    for part in shapely.get_parts(whole.difference(solid)):
        for room in shapely.get_parts(_without_strips(part)):
            if isinstance(room, Polygon) and not room.is_empty:
                clean = room.simplify(_STRAIGHT_M)
                found.append(orient(clean if isinstance(clean, Polygon) and clean.is_valid else room))
    return tuple(sorted(found, key=lambda room: (-round(room.area, 3), room.bounds)))


def wall_bodies(walls: Sequence[Wall]) -> BaseGeometry:
    """What walls stand on, with their ends prolonged to where they should meet."""
    parts = [_strip(wall, *_reaches(wall, walls)) for wall in walls]
    # A buffer of a hair closes the slits that rounding leaves between walls that touch.
    return shapely.union_all(parts).buffer(_SLIVER_M, join_style="mitre").buffer(-_SLIVER_M, join_style="mitre")


def area_of(polygon: model.Polygon) -> BaseGeometry:
    """A polygon of the model as valid geometry."""
    area = Polygon(polygon.outer, polygon.holes) if len(polygon.outer) >= 3 else Polygon()
    return area if area.is_valid else area.buffer(0)


def rings_of(area: Polygon) -> model.Polygon:
    """Geometry as a polygon of the model."""
    turned = orient(area)
    return model.Polygon(
        np.asarray(turned.exterior.coords, np.float64)[:-1],
        tuple(np.asarray(hole.coords, np.float64)[:-1] for hole in turned.interiors),
    )


def _filled(part: BaseGeometry) -> BaseGeometry:
    return Polygon(part.exterior) if isinstance(part, Polygon) else part


def _without_strips(area: BaseGeometry) -> BaseGeometry:
    """Only what is as wide as a shaft: not the slits between walls and the outline of the storey."""
    half = _MIN_WIDTH_M / 2
    core = area.buffer(-half, join_style="mitre")
    return core.buffer(half + 0.001, join_style="mitre").intersection(area)


def _strip(wall: Wall, before_m: float, after_m: float) -> Polygon:
    across = wall.normal * wall.thickness_m / 2
    start, end = wall.start - wall.direction * before_m, wall.end + wall.direction * after_m
    return Polygon([start - across, end - across, end + across, start + across])


def _reaches(wall: Wall, walls: Sequence[Wall]) -> tuple[float, float]:
    """How far a wall has to be prolonged at its start and its end to meet others."""
    found = []
    for origin, outward in ((wall.start, -wall.direction), (wall.end, wall.direction)):
        gaps = sorted(_gaps(wall, origin, outward, walls))
        found.append(gaps[0] if gaps else 0.0)
    return found[0], found[1]


def _gaps(wall: Wall, origin: Floats, outward: Floats, walls: Sequence[Wall]) -> Iterator[float]:
    """Distances from a wall's end to where it would meet other walls; 0 where it does already."""
    for other in walls:
        if other.wall_id == wall.wall_id:
            continue
        gap = other.start - origin
        sine = float(outward[0] * other.direction[1] - outward[1] * other.direction[0])
        if abs(sine) < _PARALLEL_SIN:
            yield from _gap_in_line(wall, origin, outward, other)
            continue
        ahead = float(gap[0] * other.direction[1] - gap[1] * other.direction[0]) / sine
        along = float(gap[0] * outward[1] - gap[1] * outward[0]) / sine
        body = other.thickness_m / 2 / abs(sine)
        reach = LONGEST_GAP_M + body
        beyond = max(-along, along - other.length_m, 0.0)
        if -max(body, 0.2) <= ahead <= reach and beyond <= LONGEST_GAP_M + wall.thickness_m / 2:
            yield max(ahead, 0.0)


def _gap_in_line(wall: Wall, origin: Floats, outward: Floats, other: Wall) -> Iterator[float]:
    """Walls that go on in one line: the rest of a wall behind a passage up to the ceiling."""
    aside = max(abs(float((end - origin) @ wall.normal)) for end in (other.start, other.end))
    ahead = min(float((end - origin) @ outward) for end in (other.start, other.end))
    if aside < _IN_LINE_M and -0.05 <= ahead <= _LONGEST_GAP_IN_LINE_M:
        yield max(ahead + 0.01, 0.0)
