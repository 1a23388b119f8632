"""Lengths, areas and volumes of elements, computed from the geometry that goes into the model.

Gross and net as in the base quantities of IFC4: net is without what openings, voids and columns take away.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from shapely import Polygon

from services.bim.footprints import Footprints
from services.bim.model import Building, Column, Opening, Slab, Space, Storey, Wall
from services.bim.model import Polygon as PlanArea


@dataclass(frozen=True)
class WallQuantities:
    """`length_m` is that of the centre line between its joins; side areas are those of the middle plane."""

    length_m: float
    width_m: float
    height_m: float
    gross_footprint_m2: float
    net_footprint_m2: float
    """Without what doors and passages take at the base."""
    gross_side_m2: float
    net_side_m2: float
    gross_volume_m3: float
    net_volume_m3: float


@dataclass(frozen=True)
class SlabQuantities:
    width_m: float
    """The slab's thickness, as IFC names it."""
    perimeter_m: float
    gross_area_m2: float
    net_area_m2: float
    gross_volume_m3: float
    net_volume_m3: float


@dataclass(frozen=True)
class ColumnQuantities:
    length_m: float
    section_m2: float
    outer_surface_m2: float
    gross_surface_m2: float
    volume_m3: float


@dataclass(frozen=True)
class SpaceQuantities:
    """`gross_wall_m2` is the outline times the height, openings included. Net is without the columns in the room."""

    height_m: float
    perimeter_m: float
    gross_floor_m2: float
    net_floor_m2: float
    gross_wall_m2: float
    gross_volume_m3: float
    net_volume_m3: float


@dataclass(frozen=True)
class StoreyQuantities:
    """Gross: the footprint, with its walls. Net: the rooms."""

    net_height_m: float
    gross_perimeter_m: float
    gross_floor_m2: float
    net_floor_m2: float
    gross_volume_m3: float
    net_volume_m3: float


@dataclass(frozen=True)
class BuildingQuantities:
    """Sums over storeys; `height_m` from the lowest floor to the top of the highest slab."""

    height_m: float
    footprint_m2: float
    gross_floor_m2: float
    net_floor_m2: float
    gross_volume_m3: float
    net_volume_m3: float


@dataclass(frozen=True)
class Quantities:
    """By ids of the model; of storeys by index."""

    walls: dict[str, WallQuantities]
    slabs: dict[str, SlabQuantities]
    columns: dict[str, ColumnQuantities]
    spaces: dict[str, SpaceQuantities]
    storeys: dict[int, StoreyQuantities]
    building: BuildingQuantities


def main(building: Building, footprints: Footprints) -> Quantities:
    """Measure every element. Openings must fit their walls (`services.bim.fitting`)."""
    openings: dict[str, list[Opening]] = defaultdict(list)
    for opening in building.openings:
        openings[opening.wall_id].append(opening)
    columns: dict[int, list[Column]] = defaultdict(list)
    for column in building.columns:
        columns[column.storey].append(column)
    spaces = {space.space_id: _space(space, columns[space.storey]) for space in building.spaces}
    rooms: dict[int, list[SpaceQuantities]] = defaultdict(list)
    for space in building.spaces:
        rooms[space.storey].append(spaces[space.space_id])
    storeys = {storey.index: _storey(storey, rooms[storey.index]) for storey in building.storeys}
    return Quantities(
        walls={
            wall.wall_id: _wall(wall, footprints.pieces[wall.wall_id], openings[wall.wall_id])
            for wall in building.walls
        },
        slabs={slab.slab_id: _slab(slab) for slab in building.slabs},
        columns={column.column_id: _column(column) for column in building.columns},
        spaces=spaces,
        storeys=storeys,
        building=_building(building, storeys),
    )


def area_of(area: PlanArea) -> Polygon:
    """As a shapely polygon, its outer ring counter-clockwise, holes clockwise."""
    return shapely.geometry.polygon.orient(Polygon(area.outer, area.holes))


def opening_plan(opening: Opening, wall: Wall) -> Polygon:
    """The rectangle in plan that an opening takes from its wall, through the whole thickness."""
    across = wall.normal * wall.thickness_m / 2
    first = wall.start + wall.direction * opening.from_m
    last = wall.start + wall.direction * opening.to_m
    return Polygon([first - across, last - across, last + across, first + across])


def column_section(column: Column) -> Polygon:
    """A column's section in plan; a round one as 64 corners on its circle."""
    if column.is_round:
        turn = np.arange(64) * (2 * np.pi / 64)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1) * column.size_m[0] / 2
        return Polygon(column.centre + ring)
    half = np.array(column.size_m) / 2
    cosine, sine = np.cos(column.angle_rad), np.sin(column.angle_rad)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return Polygon(column.centre + corners @ np.array([[cosine, sine], [-sine, cosine]]))


def _wall(wall: Wall, pieces: Sequence[Polygon], openings: Sequence[Opening]) -> WallQuantities:
    height = wall.top_m - wall.base_m
    footprint = sum(piece.area for piece in pieces)
    taken = _taken_m3(wall, pieces, openings)
    at_base = [opening_plan(o, wall) for o in openings if o.sill_m <= wall.base_m + 0.001]
    taken_at_base = _shared(pieces, at_base)
    return WallQuantities(
        length_m=footprint / wall.thickness_m,
        width_m=wall.thickness_m,
        height_m=height,
        gross_footprint_m2=footprint,
        net_footprint_m2=footprint - taken_at_base,
        gross_side_m2=footprint * height / wall.thickness_m,
        net_side_m2=(footprint * height - taken) / wall.thickness_m,
        gross_volume_m3=footprint * height,
        net_volume_m3=footprint * height - taken,
    )


def _taken_m3(wall: Wall, pieces: Sequence[Polygon], openings: Sequence[Opening]) -> float:
    """Volume that openings take, counted once where they overlap: plan areas between successive sills and heads."""
    levels = sorted({o.sill_m for o in openings} | {o.head_m for o in openings})
    taken = 0.0
    for low, high in pairwise(levels):
        open_here = [opening_plan(o, wall) for o in openings if o.sill_m <= low and o.head_m >= high]
        taken += _shared(pieces, open_here) * (high - low)
    return taken


def _shared(pieces: Sequence[Polygon], plans: Sequence[Polygon]) -> float:
    if not plans:
        return 0.0
    return float(shapely.union_all(plans).intersection(shapely.union_all(pieces)).area)


def _slab(slab: Slab) -> SlabQuantities:
    outline = area_of(slab.outline)
    whole = Polygon(outline.exterior)
    thickness = slab.top_m - slab.bottom_m
    return SlabQuantities(
        width_m=thickness,
        perimeter_m=whole.length,
        gross_area_m2=whole.area,
        net_area_m2=outline.area,
        gross_volume_m3=whole.area * thickness,
        net_volume_m3=outline.area * thickness,
    )


def _column(column: Column) -> ColumnQuantities:
    length = column.top_m - column.base_m
    if column.is_round:
        diameter = column.size_m[0]
        section, around = np.pi * diameter**2 / 4, np.pi * diameter
    else:
        section, around = column.size_m[0] * column.size_m[1], 2 * sum(column.size_m)
    return ColumnQuantities(
        length_m=length,
        section_m2=section,
        outer_surface_m2=around * length,
        gross_surface_m2=around * length + 2 * section,
        volume_m3=section * length,
    )


def _space(space: Space, columns: Sequence[Column]) -> SpaceQuantities:
    outline = area_of(space.outline)
    height = space.ceiling_m - space.floor_m
    standing = float(outline.intersection(shapely.union_all([column_section(c) for c in columns])).area)
    return SpaceQuantities(
        height_m=height,
        perimeter_m=outline.length,
        gross_floor_m2=outline.area,
        net_floor_m2=outline.area - standing,
        gross_wall_m2=outline.length * height,
        gross_volume_m3=outline.area * height,
        net_volume_m3=(outline.area - standing) * height,
    )


def _storey(storey: Storey, rooms: Sequence[SpaceQuantities]) -> StoreyQuantities:
    footprint, height = area_of(storey.footprint), storey.ceiling_m - storey.floor_m
    return StoreyQuantities(
        net_height_m=height,
        gross_perimeter_m=footprint.exterior.length,
        gross_floor_m2=footprint.area,
        net_floor_m2=sum(room.net_floor_m2 for room in rooms),
        gross_volume_m3=footprint.area * height,
        net_volume_m3=sum(room.net_volume_m3 for room in rooms),
    )


def _building(building: Building, storeys: dict[int, StoreyQuantities]) -> BuildingQuantities:
    ground_m = min((storey.floor_m for storey in building.storeys), default=0.0)
    tops = [slab.top_m for slab in building.slabs] + [storey.ceiling_m for storey in building.storeys]
    lowest = min(building.storeys, key=lambda storey: storey.floor_m, default=None)
    return BuildingQuantities(
        height_m=max(tops, default=ground_m) - ground_m,
        footprint_m2=storeys[lowest.index].gross_floor_m2 if lowest is not None else 0.0,
        gross_floor_m2=sum(storey.gross_floor_m2 for storey in storeys.values()),
        net_floor_m2=sum(storey.net_floor_m2 for storey in storeys.values()),
        gross_volume_m3=sum(storey.gross_volume_m3 for storey in storeys.values()),
        net_volume_m3=sum(storey.net_volume_m3 for storey in storeys.values()),
    )
