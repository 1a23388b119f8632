"""The plan of a synthetic building: walls, openings, slabs, columns and rooms, exact to the millimetre.

Building frame: metres, right-handed, z up, z = 0 on the finished floor of the lowest storey. Plan geometry is (x, y).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

Floats = NDArray[np.float64]
Spot = tuple[float, float]
OpeningClass = Literal["door", "window", "passage"]
RoomUse = Literal["living", "kitchen", "bath", "bedroom", "hall", "office", "garage", "store", "empty"]
SlabClass = Literal["floor", "intermediate", "roof"]
Side = Literal["left", "right"]
GRID_M = 1e-6
"""Plan geometry is snapped to this, so that faces which should meet do meet."""


@dataclass(frozen=True)
class PlanWall:
    """A wall between two junctions: the ends of its centre line lie on the centre lines of the walls that it meets.

    One wall is a maximal straight run of one thickness and height: it goes on through the T-junctions on its way.
    Left of start → end is its left side.
    """

    name: str
    start: Spot
    end: Spot
    thickness_m: float
    external: bool
    base_m: float
    top_m: float

    @property
    def length_m(self) -> float:
        return math.dist(self.start, self.end)

    @property
    def direction(self) -> Floats:
        """Unit vector (2,) from start to end."""
        return np.subtract(self.end, self.start) / self.length_m

    @property
    def normal(self) -> Floats:
        """Unit vector (2,) to the left."""
        along = self.direction
        return np.array([-along[1], along[0]])

    def at(self, along_m: float, left_m: float = 0.0) -> Floats:
        """The plan point (2,) so far along the centre line and so far to its left."""
        return np.asarray(self.start + along_m * self.direction + left_m * self.normal, np.float64)

    def strip(self, from_m: float, to_m: float, left_m: float | None = None, right_m: float | None = None) -> Polygon:
        """The rectangle along the wall between two distances; as wide as the wall where nothing else is given."""
        left = self.thickness_m / 2 if left_m is None else left_m
        right = -self.thickness_m / 2 if right_m is None else right_m
        return Polygon([self.at(from_m, right), self.at(to_m, right), self.at(to_m, left), self.at(from_m, left)])


@dataclass(frozen=True)
class PlanOpening:
    """A rectangular hole through a wall. `from_m`, `to_m` run along its centre line; `sill_m`, `head_m` are heights z."""

    name: str
    wall: str
    opening_class: OpeningClass
    from_m: float
    to_m: float
    sill_m: float
    head_m: float
    leaf_angles_deg: tuple[float, ...] = ()
    """One angle for each leaf of a door, 0 = closed. The first hangs at `from_m`, a second one at `to_m`."""
    swing: Side = "left"
    """To which side of the wall a door's leaves open; they hang near that face."""

    @property
    def width_m(self) -> float:
        return self.to_m - self.from_m


@dataclass(frozen=True)
class PlanColumn:
    """A free-standing column: round, or a rectangle whose first side is turned by `angle_rad` from x."""

    name: str
    storey: int
    centre: Spot
    size_m: tuple[float, float]
    angle_rad: float
    is_round: bool
    base_m: float
    top_m: float

    def outline(self) -> Polygon:
        """Plan area (a round one as a regular polygon of 32 corners on the circle)."""
        if self.is_round:
            return Point(self.centre).buffer(self.size_m[0] / 2, quad_segs=8)
        w, d = self.size_m[0] / 2, self.size_m[1] / 2
        c, s = math.cos(self.angle_rad), math.sin(self.angle_rad)
        corners = ((-w, -d), (w, -d), (w, d), (-w, d))
        return Polygon([(self.centre[0] + c * x - s * y, self.centre[1] + s * x + c * y) for x, y in corners])


@dataclass(frozen=True)
class PlanRoom:
    """A room: all that is enclosed by walls around `inside`. A false ceiling hangs below the structural one."""

    name: str
    use: RoomUse
    inside: Spot
    ceiling_m: float
    """The ceiling that one sees."""
    structural_ceiling_m: float
    floor_m: float


@dataclass(frozen=True)
class PlanStair:
    """A straight flight that climbs from `foot` towards `direction`, through the hole of the slab above."""

    storey: int
    foot: Spot
    direction: Spot
    width_m: float
    floor_m: float
    rise_m: float
    run_m: float


@dataclass(frozen=True)
class PlanSlab:
    """A horizontal slab. `storey` is the one that stands on it; for a roof the one below."""

    name: str
    slab_class: SlabClass
    storey: int
    outline: Polygon
    bottom_m: float
    top_m: float


@dataclass
class StoreyPlan:
    """One storey while it is drawn. `ceiling_m` is the lower side of the slab over most of it."""

    index: int
    floor_m: float
    ceiling_m: float
    walls: dict[str, PlanWall] = field(default_factory=dict)
    openings: list[PlanOpening] = field(default_factory=list)
    rooms: list[PlanRoom] = field(default_factory=list)
    columns: list[PlanColumn] = field(default_factory=list)

    def wall(
        self,
        name: str,
        start: Spot,
        end: Spot,
        thickness_m: float,
        *,
        external: bool = False,
        base_m: float | None = None,
        top_m: float | None = None,
    ) -> PlanWall:
        """Adds a wall from the floor to the ceiling; its name within the storey."""
        wall = PlanWall(
            f"w{self.index}.{name}",
            start,
            end,
            thickness_m,
            external,
            self.floor_m if base_m is None else base_m,
            self.ceiling_m if top_m is None else top_m,
        )
        if wall.name in self.walls:
            raise ValueError(f"there are two walls {wall.name}")
        self.walls[wall.name] = wall
        return wall

    def opening(
        self,
        wall: str,
        opening_class: OpeningClass,
        middle_m: float,
        size_m: tuple[float, float],
        *,
        sill_m: float = 0.0,
        leaf_angles_deg: tuple[float, ...] = (),
        swing: Side = "left",
    ) -> PlanOpening:
        """Cuts a hole of width and height around `middle_m` along a wall; its sill is above the wall's base."""
        owner = self.walls[f"w{self.index}.{wall}"]
        low = owner.base_m + sill_m
        opening = PlanOpening(
            f"o{self.index}.{len(self.openings)}",
            owner.name,
            opening_class,
            middle_m - size_m[0] / 2,
            middle_m + size_m[0] / 2,
            low,
            low + size_m[1],
            leaf_angles_deg,
            swing,
        )
        inside = opening.from_m > 0 and opening.to_m < owner.length_m and opening.head_m <= owner.top_m + 1e-9
        if not inside:
            raise ValueError(f"{opening} does not fit into {owner}")
        self.openings.append(opening)
        return opening

    def room(self, name: str, use: RoomUse, inside: Spot, *, ceiling_m: float | None = None) -> None:
        """Names the room around a point; `ceiling_m` is a height z of a false ceiling."""
        seen = self.ceiling_m if ceiling_m is None else ceiling_m
        self.rooms.append(PlanRoom(name, use, inside, seen, self.ceiling_m, self.floor_m))

    def tall_room(self, name: str, use: RoomUse, inside: Spot, ceiling_m: float, floor_m: float | None = None) -> None:
        """Names a room whose structural ceiling (and floor) differ from the storey's."""
        low = self.floor_m if floor_m is None else floor_m
        self.rooms.append(PlanRoom(name, use, inside, ceiling_m, ceiling_m, low))

    def column(
        self, centre: Spot, size_m: tuple[float, float], *, angle_rad: float = 0.0, is_round: bool = False
    ) -> None:
        """Adds a column from floor to ceiling."""
        name = f"c{self.index}.{len(self.columns)}"
        self.columns.append(
            PlanColumn(name, self.index, centre, size_m, angle_rad, is_round, self.floor_m, self.ceiling_m)
        )

    def outline(self, walls: Iterable[str] | None = None) -> Polygon:
        """The plan area within the outer faces of some walls (of all, without names), holes filled."""
        chosen = None if walls is None else {f"w{self.index}.{name}" for name in walls}
        solids = wall_solids(self.walls)
        region = joined_areas(solid for name, solid in solids.items() if chosen is None or name in chosen)
        whole = only_polygon(joined_areas(Polygon(part.exterior) for part in region.geoms))
        return orient(without_straight_corners(whole))


@dataclass(frozen=True)
class BuildingPlan:
    """A whole building, as drawn."""

    name: str
    storeys: tuple[StoreyPlan, ...]
    slabs: tuple[PlanSlab, ...]
    stairs: tuple[PlanStair, ...] = ()


def only_polygon(area: BaseGeometry) -> Polygon:
    """The one polygon of a plan area. Raises ValueError where it has several parts or none."""
    parts = polygons_of(area)
    if len(parts) != 1:
        raise ValueError(f"the area has {len(parts)} parts")
    return parts[0]


def polygons_of(area: BaseGeometry) -> list[Polygon]:
    """The polygons of a plan area that are more than slivers."""
    parts = shapely.get_parts(area)
    return [part for part in parts if isinstance(part, Polygon) and part.area > 1e-6]


def without_straight_corners(polygon: Polygon) -> Polygon:
    """The same area without corners that lie on a straight line."""
    holes = [_simpler_ring(np.array(ring.coords)) for ring in polygon.interiors]
    return Polygon(_simpler_ring(np.array(polygon.exterior.coords)), holes)


def _simpler_ring(ring: Floats) -> Floats:
    corners = ring[:-1]
    keep = np.ones(len(corners), np.bool_)
    for i in range(len(corners)):
        before = corners[i] - corners[i - 1]
        after = corners[(i + 1) % len(corners)] - corners[i]
        turn = before[0] * after[1] - before[1] * after[0]
        keep[i] = abs(turn) > 1e-5 * math.hypot(*before) * math.hypot(*after) + 1e-9
    return corners[keep]


def joined_areas(areas: Iterable[BaseGeometry]) -> MultiPolygon:
    """The union of plan areas, without slivers, points and lines."""
    return MultiPolygon(polygons_of(shapely.union_all(list(areas), grid_size=GRID_M)))


def area_without(area: BaseGeometry, gone: BaseGeometry) -> MultiPolygon:
    """What is left of an area, without slivers, points and lines."""
    return MultiPolygon(polygons_of(shapely.difference(area, gone, grid_size=GRID_M)))


def wall_solids(walls: Mapping[str, PlanWall]) -> dict[str, MultiPolygon]:
    """Plan areas of walls, closed at the corners: where two walls end on each other, their faces are mitred.

    Two walls that end in one point share the area that both of their strips cover there. Ends that stop at the centre line
    of a wall that goes on lie within that wall already.
    """
    parts: dict[str, list[BaseGeometry]] = {name: [wall.strip(0.0, wall.length_m)] for name, wall in walls.items()}
    named = list(walls.values())
    for i, one in enumerate(named):
        for other in named[i + 1 :]:
            corner = _corner(one, other)
            if corner is None:
                continue
            # What lies in the other wall anyway stays its own.
            parts[one.name].append(corner.difference(other.strip(0.0, other.length_m)))
            parts[other.name].append(corner.difference(one.strip(0.0, one.length_m)))
    return {name: joined_areas(pieces) for name, pieces in parts.items()}


def _corner(one: PlanWall, other: PlanWall) -> BaseGeometry | None:
    """The area that two walls share around a common end; none where they do not meet there, or run on straight."""
    shared = [a for a in (one.start, one.end) for b in (other.start, other.end) if math.dist(a, b) < 1e-6]
    sine = abs(float(np.cross(np.append(one.direction, 0), np.append(other.direction, 0))[2]))
    if not shared or sine < math.sin(math.radians(4)):
        return None
    reach = (one.thickness_m + other.thickness_m) / sine
    long_one = one.strip(-reach, one.length_m + reach)
    long_other = other.strip(-reach, other.length_m + reach)
    near = Point(shared[0]).buffer(reach)
    return long_one.intersection(long_other).intersection(near)


def room_areas(storey: StoreyPlan) -> dict[str, Polygon]:
    """The clear plan area of every room between the faces of the walls around it; openings count as closed.

    Raises ValueError where a room's point lies in no closed area, or two rooms share one.
    """
    solid = joined_areas(wall_solids(storey.walls).values())
    gaps = [Polygon(ring) for part in solid.geoms for ring in part.interiors]
    areas: dict[str, Polygon] = {}
    for room in storey.rooms:
        around = [gap for gap in gaps if gap.contains(Point(room.inside))]
        if len(around) != 1:
            raise ValueError(f"the walls of storey {storey.index} do not enclose {room.name}")
        # Walls that stand within (a bathroom in the middle of an office) are left out of the area.
        clear = area_without(around[0], solid)
        part = next(piece for piece in clear.geoms if piece.contains(Point(room.inside)))
        areas[room.name] = orient(without_straight_corners(part))
    if len({area.wkb for area in areas.values()}) != len(areas):
        raise ValueError(f"two rooms of storey {storey.index} are the same")
    return areas


def edges_of(polygon: Polygon) -> list[LineString]:
    """The straight edges of all rings, the inside to their left."""
    turned = orient(polygon)
    rings = [turned.exterior, *turned.interiors]
    return [LineString(pair) for ring in rings for pair in zip(ring.coords[:-1], ring.coords[1:], strict=True)]
