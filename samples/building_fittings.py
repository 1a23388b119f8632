"""What is built into a building: frames, panes and leaves of openings, sills, stairs, railings, false ceilings."""

import itertools
import math

import numpy as np
import shapely
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from samples.building_plan import (
    BuildingPlan,
    Floats,
    PlanOpening,
    PlanStair,
    PlanWall,
    StoreyPlan,
    polygons_of,
    room_areas,
    wall_solids,
)
from samples.building_surfaces import Cut, Finish, MeshBuilder, Placement, Solid, add_solids, box, prism

PLASTER = Finish((232, 230, 222), 0.72)
FACADE = Finish((214, 196, 160), 0.62)
CONCRETE = Finish((172, 172, 170), 0.5)
REVEAL = Finish((236, 236, 234), 0.75)
FRAME = Finish((245, 245, 245), 0.8)
PANE = Finish((120, 140, 150), 0.15)
WOOD = Finish((168, 122, 78), 0.45)
METAL = Finish((130, 134, 140), 0.35)
_FRAME_M = 0.07
_DOOR_FRAME_M = 0.035
_LEAF_M = 0.04


def add_structure(mesh: MeshBuilder, plan: BuildingPlan) -> None:
    """Walls with their holes, slabs and columns, as one solid."""
    solids: list[Solid] = []
    cuts: list[Cut] = []
    for slab in plan.slabs:
        mesh.element(slab.name, "slab")
        solids.append(Solid(slab.name, slab.outline, slab.bottom_m, slab.top_m, CONCRETE, 3))
    for storey in plan.storeys:
        areas = wall_solids(storey.walls)
        for wall in storey.walls.values():
            mesh.element(wall.name, "wall")
            finish = FACADE if wall.external else PLASTER
            rank = 2 if wall.external else 1
            solids.append(Solid(wall.name, areas[wall.name], wall.base_m, wall.top_m, finish, rank))
        for opening in storey.openings:
            mesh.element(opening.name, "opening")
            wall = storey.walls[opening.wall]
            reach = wall.thickness_m / 2 + 0.01
            hole = wall.strip(opening.from_m, opening.to_m, reach, -reach)
            cuts.append(Cut(opening.name, wall.name, hole, opening.sill_m, opening.head_m, REVEAL))
        for column in storey.columns:
            mesh.element(column.name, "column")
            solids.append(Solid(column.name, column.outline(), column.base_m, column.top_m, CONCRETE, 0))
    add_solids(mesh, solids, cuts)


def add_fittings(mesh: MeshBuilder, plan: BuildingPlan, rng: np.random.Generator) -> None:
    """Frames, panes, leaves, false ceilings and stairs."""
    trimmed = bool(rng.random() < 0.6)
    for storey in plan.storeys:
        solid = shapely.union_all(list(wall_solids(storey.walls).values()))
        outline = storey.outline()
        for opening in storey.openings:
            wall = storey.walls[opening.wall]
            if opening.opening_class == "window":
                _window(mesh, wall, opening, outside=_outside(wall, opening, outline))
            elif opening.opening_class == "door":
                _door(mesh, wall, opening, solid=solid, trimmed=trimmed and not wall.external)
        _false_ceilings(mesh, storey)
    for number, stair in enumerate(plan.stairs):
        _stair(mesh, stair, f"stair{number}")


def _outside(wall: PlanWall, opening: PlanOpening, outline: Polygon) -> int:
    """+1 if the wall's left is outside, -1 if its right is; +1 within a building."""
    right = Point(*wall.at((opening.from_m + opening.to_m) / 2, -wall.thickness_m / 2 - 0.05))
    return 1 if outline.contains(right) else -1


def _along(wall: PlanWall, opening: PlanOpening) -> Placement:
    """Local x along the wall from the opening's beginning, y to the wall's left from its centre, z from the sill."""
    x, y = wall.at(opening.from_m)
    dx, dy = wall.direction
    return Placement(float(x), float(y), opening.sill_m, math.atan2(dy, dx))


def _window(mesh: MeshBuilder, wall: PlanWall, opening: PlanOpening, outside: int) -> None:
    at = _along(wall, opening)
    width, height = opening.width_m, opening.head_m - opening.sill_m
    half = wall.thickness_m / 2
    deep = min(0.07, wall.thickness_m * 0.6)
    outer = outside * (half - min(0.12, (wall.thickness_m - deep) / 2))
    near, far = sorted((outer, outer - outside * deep))
    panes = max(1, math.ceil(width / 1.4))
    pitch = (width - _FRAME_M) / panes
    for k in range(panes + 1):
        x = k * pitch
        mesh.add(box((x, near, 0), (x + _FRAME_M, far, height), at), opening.name, FRAME)
    for z in (0.0, height - _FRAME_M):
        mesh.add(box((0, near, z), (width, far, z + _FRAME_M), at), opening.name, FRAME)
    middle = (near + far) / 2
    corners = np.array([(0, middle, 0), (width, middle, 0), (width, middle, height), (0, middle, height)], np.float64)
    mesh.add(at.points(corners)[[[0, 1, 2], [0, 2, 3]]], opening.name, PANE, glass=True)
    if not wall.external or height > wall.top_m - wall.base_m - 0.4:
        return
    inner = sorted((-outside * (half + 0.03), outer - outside * deep))
    mesh.add(box((0.002, inner[0], 0.0), (width - 0.002, inner[1], 0.025), at), opening.name, REVEAL)
    sheet = sorted((outside * (half + 0.04), outer))
    mesh.add(box((0.002, sheet[0], 0.0), (width - 0.002, sheet[1], 0.015), at), opening.name, METAL)


def _door(mesh: MeshBuilder, wall: PlanWall, opening: PlanOpening, *, solid: BaseGeometry, trimmed: bool) -> None:
    at = _along(wall, opening)
    width, height = opening.width_m, opening.head_m - opening.sill_m
    side = 1 if opening.swing == "left" else -1
    half = wall.thickness_m / 2
    # Leaves sit a little behind the face that they open to; those of thick walls deeper.
    recess = 0.015 if wall.thickness_m < 0.2 else min(0.12, wall.thickness_m / 3)
    face = side * (half - recess)
    back = face - side * _LEAF_M
    near, far = sorted((face - side * 0.005, back - side * 0.03))
    for x in (0.0, width - _DOOR_FRAME_M):
        mesh.add(box((x, near, 0), (x + _DOOR_FRAME_M, far, height), at), opening.name, FRAME)
    mesh.add(box((0, near, height - _DOOR_FRAME_M), (width, far, height), at), opening.name, FRAME)
    if trimmed:
        for y in (half, -half - 0.012):
            for x in (-0.06, width):
                mesh.add(box((x, y, 0), (x + 0.06, y + 0.012, height + 0.06), at), opening.name, FRAME)
            mesh.add(box((0, y, height), (width, y + 0.012, height + 0.06), at), opening.name, FRAME)
    clear = width - 2 * _DOOR_FRAME_M - 0.006
    leaf = clear / max(1, len(opening.leaf_angles_deg))
    for k, angle in enumerate(opening.leaf_angles_deg):
        first = k == 0
        hinge = at.moved(_DOOR_FRAME_M + 0.003 if first else width - _DOOR_FRAME_M - 0.003, face)
        swing = side * (1 if first else -1)
        wanted = float(angle)
        hole = wall.strip(opening.from_m, opening.to_m, half + 0.05, -half - 0.05)
        free = solid.difference(hole)
        while wanted > 0 and Polygon(_leaf_area(hinge, swing, wanted, leaf, first)).intersection(free).area > 1e-4:
            wanted = max(0.0, wanted - 10)
        name = opening.name
        if wanted > 0:
            name = mesh.element(f"{opening.name}.leaf{k}", "leaf")
        area = Polygon(_leaf_area(hinge, swing, wanted, leaf, first))
        low, high = opening.sill_m + 0.008, opening.head_m - _DOOR_FRAME_M - 0.003
        mesh.add(prism(area, low, high), name, WOOD if not wall.external else METAL)


def _leaf_area(hinge: Placement, swing: int, angle_deg: float, width_m: float, first: bool) -> Floats:
    """Corners (4, 2) of a leaf that hangs at `hinge` and was opened by an angle."""
    way = 1 if first else -1
    # A closed leaf lies behind the face it opens to.
    depth = -_LEAF_M * swing * way
    turned = hinge.moved(0, 0, 0, turned_rad=swing * math.radians(angle_deg))
    local = np.array([(0, 0, 0), (way * width_m, 0, 0), (way * width_m, depth, 0), (0, depth, 0)], np.float64)
    return turned.points(local)[:, :2]


def _false_ceilings(mesh: MeshBuilder, storey: StoreyPlan) -> None:
    areas = room_areas(storey)
    for room in storey.rooms:
        if room.ceiling_m < room.structural_ceiling_m - 1e-6:
            name = mesh.element(f"ceiling.{storey.index}.{room.name}", "ceiling")
            for part in polygons_of(areas[room.name]):
                mesh.add(prism(part, room.ceiling_m, room.ceiling_m + 0.02), name, PLASTER)


def _stair(mesh: MeshBuilder, stair: PlanStair, name: str) -> None:
    """Closed steps, and a handrail on posts on both sides of the flight."""
    mesh.element(name, "stair")
    steps = max(2, round(stair.rise_m / 0.18))
    rise, run = stair.rise_m / steps, stair.run_m / (steps - 1)
    at = Placement(*stair.foot, stair.floor_m, math.atan2(stair.direction[1], stair.direction[0]))
    half = stair.width_m / 2
    for k in range(steps - 1):
        mesh.add(
            box((k * run, -half, max(0.0, (k - 2) * rise)), ((k + 1) * run + 0.02, half, (k + 1) * rise), at),
            name,
            WOOD,
        )
    for y in (-half + 0.03, half - 0.07):
        for k in range(0, steps - 1, 2):
            x, z = (k + 0.5) * run, (k + 1) * rise
            mesh.add(box((x, y, z), (x + 0.03, y + 0.03, z + 0.9), at), name, METAL)
        mesh.add(_sloped_rail(at, stair, y), name, WOOD)


def _sloped_rail(at: Placement, stair: PlanStair, y: float) -> Floats:
    rail = box((0, y - 0.01, 0.9), (stair.run_m, y + 0.05, 0.95), Placement())
    rail[..., 2] += rail[..., 0] / stair.run_m * (stair.rise_m - 0.2) + 0.2
    return at.points(rail)


def add_void_railings(mesh: MeshBuilder, plan: BuildingPlan) -> None:
    """Posts and rails around the holes of slabs, but for the side where a stair arrives."""
    for slab in plan.slabs:
        for number, ring in enumerate(slab.outline.interiors):
            name = mesh.element(f"railing.{slab.name}.{number}", "stair")
            storey = next(s for s in plan.storeys if s.index == slab.storey)
            solid = shapely.union_all(list(wall_solids(storey.walls).values()))
            tops = [
                Point(np.add(s.foot, np.multiply(s.direction, s.run_m)))
                for s in plan.stairs
                if s.storey == slab.storey - 1
            ]
            corners = np.array(ring.coords)
            for a, b in itertools.pairwise(corners):
                edge = shapely.LineString([a, b])
                middle = edge.interpolate(0.5, normalized=True)
                if solid.distance(middle) < 0.2 or any(edge.distance(top) < 0.5 for top in tops):
                    continue
                _railing(mesh, name, a, b, slab.top_m)


def _railing(mesh: MeshBuilder, name: str, a: Floats, b: Floats, z_m: float) -> None:
    length = float(np.linalg.norm(b - a))
    at = Placement(float(a[0]), float(a[1]), z_m, math.atan2(b[1] - a[1], b[0] - a[0]))
    for x in np.arange(0.05, length, 0.12):
        mesh.add(box((x, -0.01, 0), (x + 0.015, 0.01, 0.9), at), name, METAL)
    mesh.add(box((0, -0.025, 0.9), (length, 0.025, 0.94), at), name, WOOD)
