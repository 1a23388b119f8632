"""Surfaces of a building: triangles that know to which element they belong, and solids cut into such triangles."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from samples.building_plan import (
    GRID_M,
    Floats,
    area_without,
    edges_of,
    joined_areas,
    polygons_of,
    without_straight_corners,
)

ElementClass = Literal[
    "wall", "opening", "leaf", "slab", "column", "stair", "ceiling", "furniture", "ground", "outdoors"
]
Rgb = tuple[int, int, int]
_INSIDE_M = 1e-3


@dataclass(frozen=True)
class Element:
    """Something that a point may lie on: a wall, what fills an opening, a piece of furniture."""

    name: str
    element_class: ElementClass


@dataclass(frozen=True)
class Finish:
    """How a surface looks to a scanner: colour, share of light that comes back (0 to 1)."""

    rgb: Rgb
    reflectance: float


@dataclass(frozen=True)
class BuildingMesh:
    """Every surface. triangles (m, 3, 3) float64, metres in the building frame.

    element (m,) int32, index into `elements`; rgb (m, 3) float32, 0 to 255; reflectance (m,) float32; glass (m,) bool.
    """

    triangles: Floats
    element: NDArray[np.int32]
    rgb: NDArray[np.float32]
    reflectance: NDArray[np.float32]
    glass: NDArray[np.bool_]
    elements: tuple[Element, ...]

    def normals(self) -> Floats:
        """Unit normals (m, 3); outward for solids."""
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        normal = np.cross(b - a, c - a)
        return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True), np.float64)

    def areas(self) -> Floats:
        """Square metres of every triangle (m,)."""
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2, np.float64)


@dataclass
class MeshBuilder:
    """Collects triangles."""

    elements: dict[str, int] = field(default_factory=dict)
    classes: list[Element] = field(default_factory=list)
    triangles: list[Floats] = field(default_factory=list)
    owner: list[NDArray[np.int32]] = field(default_factory=list)
    rgb: list[NDArray[np.float32]] = field(default_factory=list)
    reflectance: list[NDArray[np.float32]] = field(default_factory=list)
    glass: list[NDArray[np.bool_]] = field(default_factory=list)

    def element(self, name: str, element_class: ElementClass) -> str:
        """Makes an element known; again and again is fine."""
        if name not in self.elements:
            self.elements[name] = len(self.classes)
            self.classes.append(Element(name, element_class))
        return name

    def add(self, triangles: Floats, element: str, finish: Finish, *, glass: bool = False) -> None:
        """Adds triangles (k, 3, 3) to an element that is known."""
        count = len(triangles)
        if count == 0:
            return
        self.triangles.append(np.asarray(triangles, np.float64))
        self.owner.append(np.full(count, self.elements[element], np.int32))
        self.rgb.append(np.tile(np.array(finish.rgb, np.float32), (count, 1)))
        self.reflectance.append(np.full(count, finish.reflectance, np.float32))
        self.glass.append(np.full(count, glass, np.bool_))

    def done(self) -> BuildingMesh:
        return BuildingMesh(
            np.concatenate(self.triangles),
            np.concatenate(self.owner),
            np.concatenate(self.rgb),
            np.concatenate(self.reflectance),
            np.concatenate(self.glass),
            tuple(self.classes),
        )


# --- shapes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """Where a thing stands: its local origin in the building, turned about z."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    yaw_rad: float = 0.0

    def points(self, local: Floats) -> Floats:
        """Local points (..., 3) in the building."""
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turned = local @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(turned + np.array([self.x_m, self.y_m, self.z_m]), np.float64)

    def moved(self, x_m: float, y_m: float, z_m: float = 0.0, turned_rad: float = 0.0) -> "Placement":
        """A place given in this one's coordinates."""
        x, y, z = (float(v) for v in self.points(np.array([x_m, y_m, z_m])))
        return Placement(x, y, z, self.yaw_rad + turned_rad)


_CORNERS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
_BOX = np.array(
    [
        *((0, 1, 3), (0, 3, 2)),
        *((4, 6, 7), (4, 7, 5)),
        *((0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6)),
        *((0, 2, 6), (0, 6, 4)),
        *((1, 5, 7), (1, 7, 3)),
    ]
)


def box(low: Sequence[float], high: Sequence[float], at: Placement) -> Floats:
    """A box between two local corners: (12, 3, 3), normals outward."""
    corners = np.array(low) + _CORNERS * (np.array(high) - np.array(low))
    return np.asarray(at.points(corners)[_BOX], np.float64)


def prism(outline: Polygon, bottom_m: float, top_m: float) -> Floats:
    """An upright prism over a plan area, closed: (k, 3, 3), normals outward."""
    sides = [upright(edge, bottom_m, top_m) for edge in edges_of(outline)]
    return np.concatenate([*sides, flat(outline, top_m, up=True), flat(outline, bottom_m, up=False)])


def cylinder(radius_m: float, bottom_m: float, top_m: float, at: Placement, sides: int = 12) -> Floats:
    """An upright cylinder on the local origin as a prism of some sides."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([radius_m * np.cos(angle), radius_m * np.sin(angle), np.zeros(sides)], axis=1)
    ring = at.points(ring)
    return prism(Polygon(ring[:, :2]), at.z_m + bottom_m, at.z_m + top_m)


def ball(radius_m: float, at: Placement, rows: int = 6, columns: int = 10) -> Floats:
    """A sphere around the local origin."""
    polar = np.linspace(0, np.pi, rows + 1)
    angle = np.linspace(0, 2 * np.pi, columns + 1)
    grid = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(angle),
            np.sin(polar)[:, None] * np.sin(angle),
            np.broadcast_to(np.cos(polar)[:, None], (rows + 1, columns + 1)),
        ],
        axis=-1,
    )
    return at.points(sheet_triangles(grid * radius_m))


def sheet_triangles(grid: Floats) -> Floats:
    """Two triangles for every cell of a grid of points (rows, columns, 3), without those of no area."""
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    found = np.concatenate([np.stack([a, b, c], -2).reshape(-1, 3, 3), np.stack([a, c, d], -2).reshape(-1, 3, 3)])
    area = np.linalg.norm(np.cross(found[:, 1] - found[:, 0], found[:, 2] - found[:, 0]), axis=1)
    return np.asarray(found[area > 1e-9], np.float64)


def upright(edge: LineString, bottom_m: float, top_m: float) -> Floats:
    """The rectangle over a plan segment whose solid lies to the left: (2, 3, 3), normal to the right."""
    (x0, y0), (x1, y1) = edge.coords
    a, b = (x0, y0, bottom_m), (x1, y1, bottom_m)
    c, d = (x1, y1, top_m), (x0, y0, top_m)
    return np.array([[a, b, c], [a, c, d]])


def flat(area: Polygon, z_m: float, *, up: bool) -> Floats:
    """A horizontal plan area as triangles (k, 3, 3)."""
    pieces = shapely.constrained_delaunay_triangles(area)
    rings = [np.array(piece.exterior.coords)[:3] for piece in polygons_of(pieces)]
    if not rings:
        return np.zeros((0, 3, 3))
    plan = np.array(rings)
    first, second = plan[:, 1] - plan[:, 0], plan[:, 2] - plan[:, 0]
    clockwise = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    turn = clockwise if up else ~clockwise
    plan[turn] = plan[turn][:, ::-1]
    return np.concatenate([plan, np.full((*plan.shape[:2], 1), z_m)], axis=2)


# --- solids ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solid:
    """A prism over a plan area; among solids that overlap, those of higher `rank` own the surface."""

    element: str
    area: BaseGeometry
    bottom_m: float
    top_m: float
    finish: Finish
    rank: int


@dataclass(frozen=True)
class Cut:
    """A prism that is taken out of solids; `element` owns the faces that it leaves."""

    element: str
    wall: str
    area: Polygon
    bottom_m: float
    top_m: float
    finish: Finish


@dataclass(frozen=True)
class _Layer:
    """All solid matter between two heights."""

    bottom_m: float
    top_m: float
    solids: tuple[Solid, ...]
    cuts: tuple[Cut, ...]
    region: shapely.MultiPolygon


def add_solids(mesh: MeshBuilder, solids: Sequence[Solid], cuts: Sequence[Cut]) -> None:
    """Adds the surface of the union of all solids without the cuts: what one could touch, and nothing inside.

    The union of upright prisms is found layer by layer: between two neighbouring heights at which any prism begins or
    ends, the solid matter has one plan area.
    """
    heights = sorted(
        {round(z, 9) for s in solids for z in (s.bottom_m, s.top_m)}
        | {round(z, 9) for c in cuts for z in (c.bottom_m, c.top_m)}
    )
    layers = [_layer(low, high, solids, cuts) for low, high in itertools.pairwise(heights)]
    empty = shapely.MultiPolygon()
    for layer in layers:
        _add_sides(mesh, layer)
    for below, above in itertools.pairwise([None, *layers, None]):
        low = empty if below is None else below.region
        high = empty if above is None else above.region
        if below is not None:
            _add_flats(mesh, below, area_without(low, high), below.top_m, above)
        if above is not None:
            _add_flats(mesh, above, area_without(high, low), above.bottom_m, below)


def _layer(low: float, high: float, solids: Sequence[Solid], cuts: Sequence[Cut]) -> _Layer:
    middle = (low + high) / 2
    here = tuple(s for s in sorted(solids, key=lambda s: -s.rank) if s.bottom_m < middle < s.top_m)
    gone = tuple(c for c in cuts if c.bottom_m < middle < c.top_m)
    region = joined_areas(s.area for s in here)
    if gone:
        region = area_without(region, joined_areas(c.area for c in gone))
    clean = shapely.MultiPolygon([without_straight_corners(part) for part in region.geoms])
    return _Layer(low, high, here, gone, clean)


def _add_sides(mesh: MeshBuilder, layer: _Layer) -> None:
    if not layer.solids:
        return
    tree = STRtree([s.area for s in layer.solids])
    for part in layer.region.geoms:
        for edge in edges_of(part):
            for piece, element, finish in _owners_of_edge(edge, layer, tree):
                mesh.add(upright(piece, layer.bottom_m, layer.top_m), element, finish)


def _owners_of_edge(edge: LineString, layer: _Layer, tree: STRtree) -> list[tuple[LineString, str, Finish]]:
    """Cuts an edge of the solid matter into pieces that belong to one element each."""
    start, end = np.array(edge.coords)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    left = np.array([-along[1], along[0]]) * _INSIDE_M
    inside = LineString([start + left, end + left])
    marks = {0.0, length}
    candidates = sorted(int(i) for i in tree.query(inside))
    for i in candidates:
        for part in shapely.get_parts(inside.intersection(layer.solids[i].area)):
            marks.update(float((np.array(corner) - start) @ along) for corner in part.coords)
    stops = _thinned(sorted(marks), length)
    found = []
    for a, b in itertools.pairwise(stops):
        middle = start + along * (a + b) / 2
        element, finish = _owner(layer, [layer.solids[i] for i in candidates], middle + left, middle - left)
        found.append((LineString([start + along * a, start + along * b]), element, finish))
    return found


def _thinned(marks: list[float], length: float) -> list[float]:
    """Marks along an edge without those that lie within the tolerance of another; both ends stay."""
    kept = [0.0]
    kept.extend(mark for mark in marks if kept[-1] + 3 * _INSIDE_M < mark < length - 3 * _INSIDE_M)
    return [*kept, length]


def _owner(layer: _Layer, candidates: Sequence[Solid], inside: Floats, outside: Floats) -> tuple[str, Finish]:
    free = Point(*outside)
    for cut in layer.cuts:
        if cut.area.covers(free):
            return cut.element, cut.finish
    spot = Point(*inside)
    for solid in candidates:
        if solid.area.distance(spot) < _INSIDE_M:
            return solid.element, solid.finish
    raise AssertionError(f"no solid at {inside}")


def _add_flats(mesh: MeshBuilder, layer: _Layer, area: shapely.MultiPolygon, z_m: float, beyond: _Layer | None) -> None:
    """Faces of a layer's solids at one of its ends, where `beyond` is open."""
    up = z_m == layer.top_m
    left = area
    for cut in () if beyond is None else beyond.cuts:
        for piece in polygons_of(shapely.intersection(left, cut.area, grid_size=GRID_M)):
            mesh.add(flat(piece, z_m, up=up), cut.element, cut.finish)
        left = area_without(left, cut.area)
    for solid in layer.solids:
        for piece in polygons_of(shapely.intersection(left, solid.area, grid_size=GRID_M)):
            mesh.add(flat(piece, z_m, up=up), solid.element, solid.finish)
        left = area_without(left, solid.area)
