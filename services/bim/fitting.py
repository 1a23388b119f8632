"""What must hold before a building can be drawn: openings fit their walls, and outlines do not cross themselves.

In: a building as recognised. Out: the same building, of which every opening lies within its wall's rectangle and height: what
sticks out at an end, below the base or above the top is cut off. An outline that crosses itself is replaced by its largest part.
A storey in which nothing was found has an empty footprint, and keeps it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import shapely
from shapely import LinearRing, Polygon
from shapely.geometry.polygon import orient

from contracts.progress import Reporter
from services.bim.model import Building, Floats, Opening, Wall
from services.bim.model import Polygon as PlanArea

SMALLEST_M = 0.05
"""What is left of an opening must be as wide and as high as this."""
_WORTH_A_WARNING_M = 0.05


def main(building: Building, report: Reporter) -> Building:
    """Raises ValueError if an opening names a wall that is not there, or the outline of a slab or space encloses nothing."""
    walls = {wall.wall_id: wall for wall in building.walls}
    fitted = []
    for opening in building.openings:
        inside = _inside(opening, walls)
        if inside is None:
            report.warn(f"Opening {opening.opening_id} does not lie in its wall {opening.wall_id}: it is left out.")
            continue
        if _change_m(opening, inside) > _WORTH_A_WARNING_M:
            report.warn(f"Opening {opening.opening_id} sticks out of its wall {opening.wall_id}: it is cut to fit.")
        fitted.append(inside)
    return replace(
        building,
        openings=tuple(fitted),
        storeys=tuple(
            replace(storey, footprint=_sound(storey.footprint, f"The footprint of {storey.name}", report))
            if len(storey.footprint.outer)
            else storey
            for storey in building.storeys
        ),
        slabs=tuple(
            replace(slab, outline=_sound(slab.outline, f"The outline of slab {slab.slab_id}", report))
            for slab in building.slabs
        ),
        spaces=tuple(
            replace(space, outline=_sound(space.outline, f"The outline of space {space.space_id}", report))
            for space in building.spaces
        ),
    )


def _sound(area: PlanArea, what: str, report: Reporter) -> PlanArea:
    """Raises ValueError if the outline encloses nothing."""
    drawn = Polygon(area.outer, area.holes)
    if drawn.is_valid and drawn.area > 0:
        return area
    parts = [part for part in shapely.get_parts(shapely.make_valid(drawn)) if isinstance(part, Polygon)]
    largest = max(parts, key=lambda part: part.area, default=None)
    if largest is None or largest.area == 0:
        raise ValueError(f"{what} encloses nothing")
    report.warn(f"{what} crosses itself: its largest part is kept, {largest.area:.2f} of {drawn.area:.2f} m².")
    turned = orient(largest)
    return PlanArea(_corners(turned.exterior), tuple(_corners(hole) for hole in turned.interiors))


def _corners(ring: LinearRing) -> Floats:
    return np.asarray(ring.coords, np.float64)[:-1]


def _inside(opening: Opening, walls: Mapping[str, Wall]) -> Opening | None:
    wall = walls.get(opening.wall_id)
    if wall is None:
        raise ValueError(f"opening {opening.opening_id} is in wall {opening.wall_id}, which is not in the building")
    inside = replace(
        opening,
        from_m=max(opening.from_m, 0.0),
        to_m=min(opening.to_m, wall.length_m),
        sill_m=max(opening.sill_m, wall.base_m),
        head_m=min(opening.head_m, wall.top_m),
    )
    return inside if min(inside.width_m, inside.height_m) >= SMALLEST_M else None


def _change_m(a: Opening, b: Opening) -> float:
    return max(abs(a.from_m - b.from_m), abs(a.to_m - b.to_m), abs(a.sill_m - b.sill_m), abs(a.head_m - b.head_m))
