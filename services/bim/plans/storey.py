"""What a floor plan of one storey shows, in plan coordinates: cut walls, envelope, outer faces.

The plan is cut 1.2 m above the floor, as is usual: windows with a higher sill lie above the cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from services.bim import footprints
from services.bim.footprints import Footprints
from services.bim.model import Building, Column, Opening, Slab, SlabKind, Space, Storey, Wall
from services.bim.quantities import area_of, opening_plan

Floats = NDArray[np.float64]

CUT_M = 1.2
_SKIN_M = 0.001
_GAP_M = 0.02
_PROBE_M = 0.15
_ON_FACE_M = 0.01


@dataclass(frozen=True)
class OuterFace:
    """An exterior wall's outer side. start, end (2,): its corners; outward (2,) unit; openings: distances from start."""

    wall: Wall
    start: Floats
    end: Floats
    outward: Floats
    openings_m: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class StoreyPlan:
    """One storey, with everything on it."""

    storey: Storey
    walls: dict[str, Wall]
    openings: tuple[Opening, ...]
    columns: tuple[Column, ...]
    spaces: tuple[Space, ...]
    cut_walls: BaseGeometry
    """Walls that reach the cut, without the openings in it."""
    low_walls: BaseGeometry
    """Walls below the cut: parapets, half-height walls."""
    solid_walls: BaseGeometry
    """All walls, as if there were no openings."""
    voids: tuple[Polygon, ...]
    """Holes in the slab one stands on: stairwells, shafts."""
    envelope: BaseGeometry
    """All that the storey covers, without its courtyards."""


def main(building: Building, index: int) -> StoreyPlan:
    """Raises ValueError if there is no such storey, or nothing on it. Openings must fit their walls."""
    storey = next((storey for storey in building.storeys if storey.index == index), None)
    if storey is None:
        raise ValueError(f"the building has no storey {index}")
    walls = {wall.wall_id: wall for wall in building.walls if wall.storey == index}
    openings = tuple(opening for opening in building.openings if opening.storey == index)
    spaces = tuple(space for space in building.spaces if space.storey == index)
    shapes = footprints.main(list(walls.values()))
    cut_m = storey.floor_m + CUT_M
    high = [wall for wall in walls.values() if wall.top_m > cut_m]
    low = [wall for wall in walls.values() if wall.top_m <= cut_m]
    gaps = [_gap(opening, walls[opening.wall_id]) for opening in openings if is_cut(opening, storey)]
    standing = _union(shapes, high)
    below = _union(shapes, low)
    everything = shapely.union_all([standing, below, *(area_of(space.outline) for space in spaces)])
    return StoreyPlan(
        storey=storey,
        walls=walls,
        openings=openings,
        columns=tuple(column for column in building.columns if column.storey == index),
        spaces=spaces,
        # On a grid of 10 micrometres no skin of a wall is left at the openings' sides.
        cut_walls=shapely.difference(standing, shapely.union_all(gaps), grid_size=1e-5),
        low_walls=below,
        solid_walls=shapely.union_all([standing, below]),
        voids=tuple(_voids(building.slabs, index)),
        envelope=_filled(everything) if not everything.is_empty else area_of(storey.footprint),
    )


def is_cut(opening: Opening, storey: Storey) -> bool:
    """The opening is seen as a gap: its sill is below the cut."""
    return opening.sill_m < storey.floor_m + CUT_M


def outer_faces(plan: StoreyPlan) -> Iterator[OuterFace]:
    """Of every exterior wall of which one side, and one only, looks out."""
    for wall in plan.walls.values():
        if not wall.is_external:
            continue
        middle = (wall.start + wall.end) / 2
        reach = wall.thickness_m / 2 + _PROBE_M
        looks_out = [
            side for side in (1.0, -1.0) if not plan.envelope.contains(Point(middle + side * reach * wall.normal))
        ]
        if len(looks_out) != 1:
            continue
        outward = looks_out[0] * wall.normal
        face = wall.start + outward * wall.thickness_m / 2
        first_m, last_m = _face_extent(plan, wall, face)
        gaps = [(o.from_m - first_m, o.to_m - first_m) for o in plan.openings if o.wall_id == wall.wall_id]
        yield OuterFace(
            wall, face + wall.direction * first_m, face + wall.direction * last_m, outward, tuple(sorted(gaps))
        )


def _gap(opening: Opening, wall: Wall) -> Polygon:
    """A little more than the wall's thickness, so that no skin of it is left at its faces."""
    return opening_plan(opening, replace(wall, thickness_m=wall.thickness_m + 2 * _SKIN_M))


def _face_extent(plan: StoreyPlan, wall: Wall, face: Floats) -> tuple[float, float]:
    """From which to which corner of the envelope this face reaches; at corners it is longer than the centre line."""
    corners = shapely.get_coordinates(plan.envelope) - face
    along = corners @ wall.direction
    reach = 2 * wall.thickness_m
    on_face = (np.abs(corners @ wall.normal) < _ON_FACE_M) & (along > -reach) & (along < wall.length_m + reach)
    return (float(along[on_face].min()), float(along[on_face].max())) if on_face.any() else (0.0, wall.length_m)


def _union(shapes: Footprints, walls: list[Wall]) -> BaseGeometry:
    """As one area: joins leave no line."""
    pieces = [piece for wall in walls for piece in shapes.pieces[wall.wall_id]]
    return shapely.union_all(pieces, grid_size=1e-5) if pieces else MultiPolygon()


def _voids(slabs: tuple[Slab, ...], index: int) -> Iterator[Polygon]:
    for slab in slabs:
        if slab.storey == index and slab.kind is not SlabKind.ROOF:
            for hole in slab.outline.holes:
                yield Polygon(hole)


def _filled(area: BaseGeometry) -> BaseGeometry:
    """Without holes, and without the hair cracks between rooms and walls."""
    closed = area.buffer(_GAP_M, join_style="mitre").buffer(-_GAP_M, join_style="mitre")
    parts = closed.geoms if isinstance(closed, MultiPolygon) else [closed]
    return shapely.union_all([Polygon(part.exterior) for part in parts if isinstance(part, Polygon)])
