"""What stands, lies and hangs in a building and around it: all that a scanner sees and a plan does not show."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from samples.building_plan import (
    BuildingPlan,
    Floats,
    PlanRoom,
    RoomUse,
    StoreyPlan,
    edges_of,
    only_polygon,
    room_areas,
)
from samples.building_surfaces import (
    Finish,
    MeshBuilder,
    Placement,
    ball,
    box,
    cylinder,
    sheet_triangles,
)

Size = tuple[float, float, float]
Draw = Callable[[MeshBuilder, str, Placement, Size, np.random.Generator], None]

_WOODS = (Finish((176, 132, 88), 0.45), Finish((96, 66, 44), 0.3), Finish((225, 214, 190), 0.6))
_WHITE = Finish((240, 240, 238), 0.78)
_CLOTHS = (
    Finish((70, 84, 110), 0.25),
    Finish((150, 60, 52), 0.3),
    Finish((168, 160, 146), 0.4),
    Finish((44, 46, 50), 0.1),
)
_CERAMICS = (_WHITE, Finish((250, 250, 250), 0.82), Finish((232, 228, 214), 0.7))
_STEEL = Finish((176, 178, 182), 0.5)
_SKIN = Finish((205, 160, 130), 0.5)
_GREENS = (Finish((72, 110, 50), 0.4), Finish((52, 90, 44), 0.35), Finish((96, 128, 60), 0.45))
_BARK = Finish((92, 74, 58), 0.3)
_SOIL = Finish((112, 118, 82), 0.35)
_BLACK = Finish((24, 24, 26), 0.06)


def _any(finishes: tuple[Finish, ...], rng: np.random.Generator) -> Finish:
    return finishes[int(rng.integers(len(finishes)))]


# --- pieces: local x along the wall, y away from it into the room, z up; the size is width, depth, height -------------------


def _cabinet(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    """A closed body with doors that stand out a little."""
    w, d, h = size
    wood = _any((*_WOODS, _WHITE), rng)
    mesh.add(box((0, 0, 0.05), (w, d - 0.02, h), at), name, wood)
    doors = max(1, round(w / 0.5))
    for k in range(doors):
        mesh.add(
            box((k * w / doors + 0.002, d - 0.02, 0.06), ((k + 1) * w / doors - 0.002, d, h - 0.005), at), name, wood
        )


def _shelf(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    """An open shelf with books of many depths."""
    w, d, h = size
    wood = _any((*_WOODS, _WHITE), rng)
    for x in (0.0, w - 0.02):
        mesh.add(box((x, 0, 0), (x + 0.02, d, h), at), name, wood)
    mesh.add(box((0, 0, 0), (w, 0.01, h), at), name, wood)
    levels = max(2, round(h / 0.36))
    for k in range(levels + 1):
        z = k * (h - 0.02) / levels
        mesh.add(box((0.02, 0.01, z), (w - 0.02, d, z + 0.02), at), name, wood)
        x = 0.03
        while k < levels and x < w - 0.1:
            step = float(rng.uniform(0.03, 0.12))
            if rng.random() < 0.85:
                top = z + 0.02 + float(rng.uniform(0.5, 0.9)) * ((h - 0.02) / levels - 0.03)
                mesh.add(
                    box((x, 0.02, z + 0.02), (x + step, d * float(rng.uniform(0.6, 0.95)), top), at),
                    name,
                    _any(_CLOTHS, rng),
                )
            x += step + 0.002


def _table(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    wood = _any(_WOODS, rng)
    mesh.add(box((0, 0, h - 0.03), (w, d, h), at), name, wood)
    for x in (0.03, w - 0.08):
        for y in (0.03, d - 0.08):
            mesh.add(box((x, y, 0), (x + 0.05, y + 0.05, h - 0.03), at), name, wood)
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(0.05, 0.8) * w, rng.uniform(0.05, 0.7) * d
        mesh.add(box((x, y, h), (x + 0.15, y + 0.12, h + float(rng.uniform(0.02, 0.3))), at), name, _any(_CLOTHS, rng))


def _chair(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    """Its back is at y = 0."""
    w, d, h = size
    wood = _any(_WOODS, rng)
    mesh.add(box((0, 0, 0.43), (w, d, 0.47), at), name, wood)
    for x in (0.0, w - 0.035):
        mesh.add(box((x, 0, 0), (x + 0.035, 0.035, h), at), name, wood)
        mesh.add(box((x, d - 0.035, 0), (x + 0.035, d, 0.43), at), name, wood)
    mesh.add(box((0.03, 0, h - 0.3), (w - 0.03, 0.02, h), at), name, wood)


def _bed(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    cloth = _any(_CLOTHS, rng)
    mesh.add(box((0, 0, 0.0), (w, 0.05, h + 0.45), at), name, _any(_WOODS, rng))
    mesh.add(box((0, 0.05, 0.08), (w, d, h - 0.15), at), name, _any(_WOODS, rng))
    mesh.add(box((0.02, 0.06, h - 0.15), (w - 0.02, d - 0.02, h), at), name, cloth)
    for x in (0.1, w / 2 + 0.05):
        mesh.add(box((x, 0.1, h), (x + w / 2 - 0.2, 0.5, h + 0.12), at), name, _WHITE)


def _sofa(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    cloth = _any(_CLOTHS, rng)
    mesh.add(box((0, 0, 0.06), (w, d, 0.42), at), name, cloth)
    mesh.add(box((0, 0, 0.42), (w, 0.22, h), at), name, cloth)
    for x in (0.0, w - 0.18):
        mesh.add(box((x, 0.22, 0.42), (x + 0.18, d, 0.6), at), name, cloth)


def _kitchen_row(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    """Base cabinets under a worktop, wall cabinets above."""
    w, d, _ = size
    front = _any((*_WOODS, _WHITE), rng)
    mesh.add(box((0, 0, 0.1), (w, d - 0.03, 0.87), at), name, front)
    mesh.add(box((0, 0, 0.87), (w, d, 0.91), at), name, _any(_WOODS, rng))
    mesh.add(box((0.1, 0, 1.45), (w - 0.1, 0.35, 2.15), at), name, front)
    mesh.add(box((0.2, 0.1, 0.91), (0.45, 0.35, 1.2), at), name, _STEEL)


def _tub(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    white = _any(_CERAMICS, rng)
    for low, high in (((0, 0), (w, 0.07)), ((0, d - 0.07), (w, d)), ((0, 0), (0.07, d)), ((w - 0.07, 0), (w, d))):
        mesh.add(box((*low, 0.0), (*high, h), at), name, white)
    mesh.add(box((0.07, 0.07, 0.0), (w - 0.07, d - 0.07, 0.15), at), name, white)


def _washbasin(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    white = _any(_CERAMICS, rng)
    mesh.add(box((0, 0, h - 0.16), (w, d, h), at), name, white)
    mesh.add(box((w * 0.35, 0, 0.2), (w * 0.65, d * 0.5, h - 0.16), at), name, white)


def _toilet(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    white = _any(_CERAMICS, rng)
    mesh.add(box((0, 0, 0.0), (w, 0.18, h), at), name, white)
    mesh.add(box((0.03, 0.18, 0.0), (w - 0.03, d, 0.42), at), name, white)


def _person(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    height = size[2]
    body = at.moved(size[0] / 2, size[1] / 2)
    for y in (-0.09, 0.09):
        mesh.add(cylinder(0.08, 0.0, height * 0.48, body.moved(0, y), 8), name, _any(_CLOTHS, rng))
    mesh.add(cylinder(0.19, height * 0.48, height * 0.82, body, 10), name, _any(_CLOTHS, rng))
    mesh.add(ball(0.11, body.moved(0, 0, height * 0.91)), name, _SKIN)


def _plant(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, _, h = size
    middle = at.moved(w / 2, w / 2)
    mesh.add(cylinder(w * 0.3, 0.0, 0.3, middle), name, _BARK)
    mesh.add(
        _leaves(rng, np.array([middle.x_m, middle.y_m, middle.z_m + 0.3 + h * 0.35]), (w * 0.5, h * 0.35), 60),
        name,
        _any(_GREENS, rng),
    )


def _car(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    """Its length is along y."""
    w, d, h = size
    paint = _any(_CLOTHS, rng)
    mesh.add(box((0, 0, 0.3), (w, d, 0.85), at), name, paint)
    mesh.add(box((0.12, d * 0.25, 0.85), (w - 0.12, d * 0.8, h), at), name, paint)
    for y in (0.5, d - 1.1):
        for x in (-0.02, w - 0.2):
            mesh.add(box((x, y, 0.0), (x + 0.22, y + 0.6, 0.6), at), name, _BLACK)


def _boxes(mesh: MeshBuilder, name: str, at: Placement, size: Size, rng: np.random.Generator) -> None:
    w, d, h = size
    z = 0.0
    while z < h - 0.2:
        step = float(rng.uniform(0.2, 0.45))
        shrink = float(rng.uniform(0.0, 0.12))
        mesh.add(box((shrink, shrink / 2, z), (w - shrink, d - shrink, min(h, z + step)), at), name, _WOODS[0])
        z += step


def _leaves(rng: np.random.Generator, middle: Floats, half: tuple[float, float], count: int) -> Floats:
    """Triangles of hand's size at random within an ellipsoid of half axes (across, up): (count, 3, 3)."""
    way = rng.normal(size=(count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    spots = middle + way * rng.uniform(0.3, 1.0, (count, 1)) * np.array([half[0], half[0], half[1]])
    return np.asarray(spots[:, None] + rng.uniform(-0.1, 0.1, (count, 3, 3)), np.float64)


@dataclass(frozen=True)
class _Kind:
    """A thing to place against a wall: width, depth, height, each in a range; how many are tried."""

    label: str
    draw: Draw
    width_m: tuple[float, float]
    depth_m: tuple[float, float]
    height_m: tuple[float, float]
    times: int = 1


_WARDROBE = _Kind("wardrobe", _cabinet, (1.2, 2.4), (0.58, 0.65), (1.9, 2.3))
_LOWBOARD = _Kind("lowboard", _cabinet, (1.0, 2.0), (0.4, 0.5), (0.45, 0.95))
_BOOKS = _Kind("shelf", _shelf, (0.8, 1.6), (0.25, 0.38), (1.6, 2.1), 2)
_DESK = _Kind("desk", _table, (1.4, 1.8), (0.7, 0.8), (0.72, 0.75), 2)
_CHAIR = _Kind("chair", _chair, (0.42, 0.46), (0.42, 0.46), (0.82, 0.95), 2)
_PLANT = _Kind("plant", _plant, (0.5, 0.7), (0.5, 0.7), (0.8, 1.6))
_BOXES = _Kind("boxes", _boxes, (0.4, 0.8), (0.3, 0.6), (0.6, 1.6), 3)

_BY_USE: dict[RoomUse, tuple[_Kind, ...]] = {
    "living": (_Kind("sofa", _sofa, (1.8, 2.4), (0.85, 0.95), (0.75, 0.85)), _LOWBOARD, _BOOKS, _PLANT, _CHAIR),
    "kitchen": (
        _Kind("kitchen", _kitchen_row, (1.8, 3.0), (0.6, 0.62), (2.15, 2.15)),
        _Kind("fridge", _cabinet, (0.6, 0.6), (0.6, 0.65), (1.75, 2.0)),
        _CHAIR,
    ),
    "bath": (
        _Kind("tub", _tub, (1.6, 1.7), (0.7, 0.75), (0.55, 0.6)),
        _Kind("washbasin", _washbasin, (0.5, 0.8), (0.42, 0.5), (0.84, 0.88)),
        _Kind("toilet", _toilet, (0.38, 0.4), (0.65, 0.7), (0.8, 1.1)),
        _Kind("washing machine", _cabinet, (0.6, 0.6), (0.6, 0.6), (0.85, 0.85)),
    ),
    "bedroom": (_Kind("bed", _bed, (1.4, 1.8), (2.0, 2.1), (0.45, 0.55)), _WARDROBE, _LOWBOARD, _CHAIR),
    "hall": (_Kind("coats", _cabinet, (0.6, 1.2), (0.35, 0.4), (0.9, 2.0)), _PLANT),
    "office": (_DESK, _CHAIR, _WARDROBE, _BOOKS, _PLANT),
    "garage": (_BOOKS, _BOXES, _LOWBOARD),
    "store": (_BOXES, _BOOKS),
    "empty": (),
}
_IN_THE_MIDDLE: dict[RoomUse, tuple[_Kind, ...]] = {
    "living": (
        _Kind("table", _table, (1.0, 1.8), (0.6, 0.9), (0.45, 0.75)),
        _Kind("person", _person, (0.4, 0.5), (0.4, 0.5), (1.6, 1.85)),
    ),
    "kitchen": (_Kind("table", _table, (1.2, 1.6), (0.8, 0.9), (0.74, 0.76)),),
    "office": (_DESK, _Kind("person", _person, (0.4, 0.5), (0.4, 0.5), (1.6, 1.85))),
    "garage": (_Kind("car", _car, (1.7, 1.8), (4.0, 4.4), (1.4, 1.6)),),
}


@dataclass
class Floorspace:
    """What is taken of a storey's floor, and what has to stay free."""

    storey: int
    taken: list[Polygon]
    before_doors: BaseGeometry
    before_windows: list[tuple[Polygon, float]]
    """Plan areas before windows and the height z above which they have to stay free."""

    def is_free(self, area: Polygon, top_m: float) -> bool:
        if self.before_doors.intersects(area) or any(other.intersects(area) for other in self.taken):
            return False
        return not any(top_m > sill and zone.intersects(area) for zone, sill in self.before_windows)


def furnish(mesh: MeshBuilder, plan: BuildingPlan, rng: np.random.Generator) -> tuple[Floorspace, ...]:
    """Furnishes all rooms. What is taken of the floors tells where a scanner may stand."""
    spaces = []
    for storey in plan.storeys:
        space = _floorspace(plan, storey)
        spaces.append(space)
        areas = room_areas(storey)
        for room in storey.rooms:
            _furnish_room(mesh, space, room, areas[room.name], rng)
            _hang(mesh, storey, room, areas[room.name], rng)
            # No scanner stands below a lamp; tables do.
            space.taken.append(_below_lamp(areas[room.name]).buffer(0.3))
        _radiators(mesh, storey, rng)
        _curtains(mesh, storey, rng)
    return tuple(spaces)


def _floorspace(plan: BuildingPlan, storey: StoreyPlan) -> Floorspace:
    doors, windows = [], []
    for opening in storey.openings:
        wall = storey.walls[opening.wall]
        reach = wall.thickness_m / 2 + (0.45 if opening.opening_class == "window" else 0.95)
        zone = wall.strip(opening.from_m - 0.02, opening.to_m + 0.02, reach, -reach)
        if opening.opening_class == "window":
            windows.append((zone, opening.sill_m))
        else:
            doors.append(zone)
    taken = []
    for stair in plan.stairs:
        if stair.storey in (storey.index, storey.index - 1):
            along = np.array(stair.direction)
            start, end = stair.foot - 0.9 * along, stair.foot + (stair.run_m + 0.9) * along
            taken.append(LineString([start, end]).buffer(stair.width_m / 2 + 0.1, cap_style="flat"))
    taken.extend(Polygon(ring) for slab in plan.slabs if slab.storey == storey.index for ring in slab.outline.interiors)
    taken.extend(column.outline().buffer(0.05) for column in storey.columns)
    return Floorspace(storey.index, taken, shapely.union_all(doors), windows)


def _size(kind: _Kind, rng: np.random.Generator) -> Size:
    w, d, h = (float(rng.uniform(*span)) for span in (kind.width_m, kind.depth_m, kind.height_m))
    return w, d, h


def _furnish_room(
    mesh: MeshBuilder, space: Floorspace, room: PlanRoom, area: Polygon, rng: np.random.Generator
) -> None:
    edges = [edge for edge in edges_of(area) if edge.length > 0.5]
    number = 0
    for kind in _BY_USE[room.use]:
        for _ in range(kind.times):
            w, d, h = _size(kind, rng)
            h = min(h, room.ceiling_m - room.floor_m - 0.05)
            found = _spot_at_wall(space, area, edges, (w, d, room.floor_m + h), rng)
            if found is not None:
                name = mesh.element(f"{kind.label}.{space.storey}.{room.name}.{number}", "furniture")
                x, y, yaw = found
                kind.draw(mesh, name, Placement(x, y, room.floor_m, yaw), (w, d, h), rng)
                number += 1
    for kind in _IN_THE_MIDDLE.get(room.use, ()):
        w, d, h = _size(kind, rng)
        spot = _spot_inside(space, area, (w, d, room.floor_m + h), rng)
        if spot is not None:
            name = mesh.element(f"{kind.label}.{space.storey}.{room.name}.{number}", "furniture")
            kind.draw(mesh, name, Placement(spot[0], spot[1], room.floor_m, spot[2]), (w, d, h), rng)
            number += 1


def _footprint(at: Placement, w: float, d: float) -> Polygon:
    return Polygon(at.points(np.array([(0, 0, 0), (w, 0, 0), (w, d, 0), (0, d, 0)], np.float64))[:, :2])


def _spot_at_wall(
    space: Floorspace, area: Polygon, edges: list[LineString], size: Size, rng: np.random.Generator
) -> tuple[float, float, float] | None:
    """Where (x, y, yaw) a thing of width, depth and top z can stand with its back to a wall; takes that place."""
    w, d, top = size
    for _ in range(40):
        edge = edges[int(rng.integers(len(edges)))]
        if edge.length < w + 0.06:
            continue
        # Half of all things stand in a corner.
        along = float(rng.choice([0.03, edge.length - w - 0.03, rng.uniform(0.03, edge.length - w - 0.03)]))
        (x0, y0), (x1, y1) = edge.coords
        base = Placement(x0, y0, 0.0, math.atan2(y1 - y0, x1 - x0))
        at = base.moved(along, float(rng.uniform(0.005, 0.04)))
        found = _footprint(at, w, d)
        if area.contains(found) and space.is_free(found, top):
            space.taken.append(found)
            return at.x_m, at.y_m, at.yaw_rad
    return None


def _spot_inside(
    space: Floorspace, area: Polygon, size: Size, rng: np.random.Generator
) -> tuple[float, float, float] | None:
    """Where a thing can stand away from walls, with room to walk around; takes that place."""
    w, d, top = size
    x0, y0, x1, y1 = area.bounds
    clear = area.buffer(-0.5)
    for _ in range(40):
        yaw = float(rng.choice([0.0, math.pi / 2])) + float(rng.normal(0, 0.05))
        at = Placement(float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1)), 0.0, yaw)
        found = _footprint(at, w, d)
        if clear.contains(found) and space.is_free(found.buffer(0.4), top):
            space.taken.append(found)
            return at.x_m, at.y_m, at.yaw_rad
    return None


def _below_lamp(area: Polygon) -> Point:
    return Point(area.representative_point())


def _hang(mesh: MeshBuilder, storey: StoreyPlan, room: PlanRoom, area: Polygon, rng: np.random.Generator) -> None:
    """A lamp at the ceiling, pictures on the walls."""
    name = mesh.element(f"lamp.{storey.index}.{room.name}", "furniture")
    middle = _below_lamp(area)
    at = Placement(middle.x, middle.y, room.ceiling_m)
    if rng.random() < 0.5:
        mesh.add(box((-0.3, -0.06, -0.05), (0.3, 0.06, 0.0), at), name, _WHITE)
    else:
        mesh.add(cylinder(0.01, -0.5, 0.0, at, 5), name, _BLACK)
        mesh.add(ball(0.16, at.moved(0, 0, -0.6)), name, _WHITE)
    holes = shapely.union_all(
        [storey.walls[o.wall].strip(o.from_m - 0.1, o.to_m + 0.1, 0.6, -0.6) for o in storey.openings]
    )
    for k in range(int(rng.integers(0, 4))):
        edges = [edge for edge in edges_of(area) if edge.length > 1.5]
        edge = edges[int(rng.integers(len(edges)))]
        w, h = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.3, 0.8))
        along = float(rng.uniform(0.2, edge.length - w - 0.1))
        (x0, y0), (x1, y1) = edge.coords
        at = Placement(x0, y0, room.floor_m + 1.3, math.atan2(y1 - y0, x1 - x0)).moved(along, 0.0)
        if not holes.intersects(_footprint(at, w, 0.03)):
            picture = mesh.element(f"picture.{storey.index}.{room.name}.{k}", "furniture")
            mesh.add(box((0, 0.004, 0), (w, 0.03, h), at), picture, _any(_CLOTHS, rng))


def _inner_side(storey: StoreyPlan, wall_name: str, middle_m: float) -> int:
    wall = storey.walls[wall_name]
    left = Point(*wall.at(middle_m, wall.thickness_m / 2 + 0.1))
    return 1 if storey.outline().contains(left) else -1


def _radiators(mesh: MeshBuilder, storey: StoreyPlan, rng: np.random.Generator) -> None:
    """Below windows of exterior walls: a panel 4 cm off the wall."""
    for opening in storey.openings:
        wall = storey.walls[opening.wall]
        rise = opening.sill_m - wall.base_m
        if opening.opening_class != "window" or not wall.external or not 0.6 < rise < 1.2 or rng.random() < 0.3:
            continue
        side = _inner_side(storey, wall.name, (opening.from_m + opening.to_m) / 2)
        x, y = wall.at(opening.from_m + 0.1, side * (wall.thickness_m / 2 + 0.04))
        dx, dy = wall.direction
        at = Placement(float(x), float(y), wall.base_m, math.atan2(dy, dx))
        low, high = sorted((0.0, side * 0.1))
        name = mesh.element(f"radiator.{opening.name}", "furniture")
        mesh.add(box((0, low, 0.12), (opening.width_m - 0.2, high, rise - 0.1), at), name, _WHITE)


def _curtains(mesh: MeshBuilder, storey: StoreyPlan, rng: np.random.Generator) -> None:
    """At some windows: waves of cloth on one side or both, from below the ceiling to the floor."""
    for opening in storey.openings:
        wall = storey.walls[opening.wall]
        if opening.opening_class != "window" or not wall.external or rng.random() < 0.6:
            continue
        side = _inner_side(storey, wall.name, (opening.from_m + opening.to_m) / 2)
        name = mesh.element(f"curtain.{opening.name}", "furniture")
        cloth = _any(_CLOTHS, rng)
        top = min(opening.head_m + 0.25, wall.top_m - 0.03)
        width = min(0.5, opening.width_m * 0.35)
        for start in (opening.from_m - 0.15, opening.to_m + 0.15 - width)[: int(rng.integers(1, 3))]:
            along = np.linspace(0.0, width, 12)
            depth = wall.thickness_m / 2 + 0.16 + 0.03 * np.sin(along * 40)
            plan = np.array([wall.at(start + float(a), side * float(b)) for a, b in zip(along, depth, strict=True)])
            grid = np.stack([np.column_stack([plan, np.full(12, z)]) for z in (wall.base_m + 0.03, top)])
            mesh.add(sheet_triangles(grid), name, cloth)


# --- outdoors --------------------------------------------------------------------------------------------------------------


def add_surroundings(mesh: MeshBuilder, plan: BuildingPlan, rng: np.random.Generator) -> tuple[Polygon, ...]:
    """Ground, trees, a car and a fence around the building; what they take of the ground."""
    outline = only_polygon(shapely.union_all([s.outline for s in plan.slabs if s.slab_class == "floor"]).convex_hull)
    ground_m = min(slab.top_m for slab in plan.slabs) - 0.15
    _ground(mesh, outline, ground_m, rng)
    taken: list[Polygon] = []
    for number in range(4):
        spot = outline.buffer(float(rng.uniform(3.5, 8.0))).exterior.interpolate(float(rng.random()), normalized=True)
        at = Placement(float(spot.x), float(spot.y), ground_m)
        name = mesh.element(f"tree{number}", "outdoors")
        height = float(rng.uniform(3.0, 7.0))
        mesh.add(cylinder(0.12, -0.2, height * 0.6, at, 8), name, _BARK)
        crown = np.array([at.x_m, at.y_m, ground_m + height * 0.7])
        mesh.add(_leaves(rng, crown, (height * 0.28, height * 0.33), 900), name, _any(_GREENS, rng))
        taken.append(spot.buffer(0.5))
    spot = outline.buffer(4.0).exterior.interpolate(float(rng.random()), normalized=True)
    at = Placement(float(spot.x), float(spot.y), ground_m, float(rng.uniform(0, math.pi)))
    _car(mesh, mesh.element("car", "outdoors"), at, (1.8, 4.3, 1.5), rng)
    taken.append(_footprint(at, 1.8, 4.3).buffer(0.5))
    _fence(mesh, outline, ground_m)
    return tuple(taken)


def _ground(mesh: MeshBuilder, outline: Polygon, ground_m: float, rng: np.random.Generator) -> None:
    x0, y0, x1, y1 = outline.buffer(14.0).bounds
    xs, ys = np.arange(x0, x1, 0.6), np.arange(y0, y1, 0.6)
    rough = rng.normal(0, 0.012, (len(ys), len(xs)))
    waves = 0.03 * np.sin(xs / 3.1)[None] * np.cos(ys / 4.3)[:, None]
    plan = np.stack(np.meshgrid(xs, ys), axis=-1)
    grid = np.concatenate([plan, (ground_m + rough + waves)[..., None]], axis=-1)
    mesh.add(sheet_triangles(grid), mesh.element("ground", "ground"), _SOIL)


def _fence(mesh: MeshBuilder, outline: Polygon, ground_m: float) -> None:
    """Boards along one side, ten metres away."""
    x0, y0, x1, _ = outline.buffer(10.0).bounds
    name = mesh.element("fence", "outdoors")
    for x in np.arange(x0, x1, 0.25):
        mesh.add(box((x, y0, ground_m - 0.1), (x + 0.18, y0 + 0.025, ground_m + 1.3), Placement()), name, _WOODS[0])
