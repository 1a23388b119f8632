"""Plan shapes of walls: mitred at corners, butted at tees, cut at crossings, so that no two walls share volume.

In: walls as centre lines with thickness. Out: for every wall the polygons it stands on, and how walls are joined.

An end that meets one other end gets a mitre through the crossings of the two walls' faces; where three and more ends meet,
the straightest pair runs through and the others stop at its face. An end that meets a wall's side stops at its near face.
What still overlaps afterwards is taken from the wall that gives way: the lower one, then the thinner, then the shorter.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon, STRtree
from shapely.geometry.base import BaseGeometry

from services.bim.model import Wall

Floats = NDArray[np.float64]

_TOUCH_M = 0.03
"""Ends so near to the wall they should meet do meet it."""
_PARALLEL_SIN = np.sin(np.radians(8.0))
_STRAIGHT_COS = np.cos(np.radians(10.0))
_LONGEST_CUT = 3.0
"""An end is moved by so many wall thicknesses at most: about a mitre of 20 degrees."""
_COMMON_HEIGHT_M = 0.01
_SHARED_M2 = 1e-7
_SLIVER_M = 0.001
_GRID_M = 1e-6
"""Differences are computed on this grid: in plain floating point those of nearly coinciding edges can come out wrong."""


class Place(StrEnum):
    """Where on a wall's path a join is; named as in IfcConnectionTypeEnum."""

    START = "ATSTART"
    END = "ATEND"
    PATH = "ATPATH"


@dataclass(frozen=True)
class Join:
    """Two walls that touch; at a tee `related` is the one that runs through."""

    relating: str
    relating_at: Place
    related: str
    related_at: Place


@dataclass(frozen=True)
class Footprints:
    """`pieces`: by wall id, polygons in plan that share no area with those of other walls of the same height.

    A wall is in one piece unless another one runs through it.
    """

    pieces: dict[str, tuple[Polygon, ...]]
    joins: tuple[Join, ...]
    swallowed: tuple[str, ...] = ()
    """Walls that lie inside others; they keep the rectangle they came with."""


@dataclass(frozen=True)
class _Contact:
    """Walls `a` and `b` (indices) touch at `point` (2,)."""

    a: int
    at_a: Place
    b: int
    at_b: Place
    point: Floats


@dataclass(frozen=True)
class _Ray:
    """A wall seen from one of its ends. origin (2,) on the centre line; along, left (2,) unit, `along` into the wall."""

    wall: int
    end: Place
    origin: Floats
    along: Floats
    left: Floats
    half_m: float

    def face(self, side: int) -> tuple[Floats, Floats]:
        """A point on the left (1) or right (-1) face, and the face's direction."""
        return self.origin + side * self.half_m * self.left, self.along


@dataclass
class _Cuts:
    """Corners of ends that were cut: by (wall, end), from the wall's right face to its left one, as seen along the wall."""

    corners: dict[tuple[int, Place], list[Floats]] = field(default_factory=dict)

    def put(self, ray: _Ray, left: Floats, middle: list[Floats], right: Floats) -> None:
        """`left`, `right` as seen along the ray; `middle` are corners between the two."""
        across = [right, *middle, left]
        self.corners[ray.wall, ray.end] = across if ray.end is Place.START else across[::-1]


def main(walls: Sequence[Wall]) -> Footprints:
    """Shape all walls of a building; those of different storeys do not see each other."""
    storeys: dict[int, list[Wall]] = defaultdict(list)
    for wall in walls:
        storeys[wall.storey].append(wall)
    pieces: dict[str, tuple[Polygon, ...]] = {}
    joins: list[Join] = []
    swallowed: list[str] = []
    for _, group in sorted(storeys.items()):
        shaped = _shape_storey(group)
        pieces.update(shaped.pieces)
        joins.extend(shaped.joins)
        swallowed.extend(shaped.swallowed)
    return Footprints(pieces, tuple(joins), tuple(swallowed))


def rectangle(wall: Wall) -> Polygon:
    """The wall's plan before it was joined with others."""
    across = wall.normal * wall.thickness_m / 2
    return Polygon([wall.start - across, wall.end - across, wall.end + across, wall.start + across])


def _shape_storey(walls: list[Wall]) -> Footprints:
    contacts = list(_contacts(walls))
    nodes = _nodes(contacts)
    cuts = _Cuts()
    joins: list[Join] = []
    for node in nodes:
        joins.extend(_join_ends(walls, node, cuts))
    on_paths = [contact for contact in contacts if Place.PATH in (contact.at_a, contact.at_b)]
    joins.extend(_join_path(walls, contact, cuts) for contact in on_paths)
    shapes = [
        _shape(wall, cuts.corners.get((i, Place.START)), cuts.corners.get((i, Place.END)))
        for i, wall in enumerate(walls)
    ]
    through = {
        (join.relating, join.related)
        for join in joins
        if join.relating_at is not Place.PATH and join.related_at is Place.PATH
    }
    pieces, swallowed = _without_overlaps(walls, shapes, through)
    return Footprints(pieces, tuple(joins), swallowed)


def _contacts(walls: list[Wall]) -> Iterator[_Contact]:
    """Every pair of walls that touch, in a fixed order."""
    outlines = np.array([rectangle(wall) for wall in walls], dtype=object)
    tree = STRtree(outlines)
    found = tree.query(outlines, predicate="dwithin", distance=2 * _TOUCH_M)
    pairs = found.T[found[0] < found[1]]
    for a, b in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if _common_height(walls[a], walls[b]) < _COMMON_HEIGHT_M:
            continue
        contact = _contact(walls, a, b)
        if contact is not None:
            yield contact


def _common_height(a: Wall, b: Wall) -> float:
    return min(a.top_m, b.top_m) - max(a.base_m, b.base_m)


def _cross(a: Floats, b: Floats) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


def _contact(walls: list[Wall], a: int, b: int) -> _Contact | None:
    sine = _cross(walls[a].direction, walls[b].direction)
    if abs(sine) < _PARALLEL_SIN:
        return _straight_contact(walls, a, b)
    gap = walls[b].start - walls[a].start
    along_a = _cross(gap, walls[b].direction) / sine
    along_b = _cross(gap, walls[a].direction) / sine
    at_a = _place(walls[a], walls[b], along_a, abs(sine))
    at_b = _place(walls[b], walls[a], along_b, abs(sine))
    if at_a is None or at_b is None:
        return None
    return _Contact(a, at_a, b, at_b, walls[a].start + along_a * walls[a].direction)


def _place(wall: Wall, other: Wall, along_m: float, sine: float) -> Place | None:
    """Where on the wall the other one's centre line crosses; an end counts while it is within or beside the other's body."""
    reach_m = other.thickness_m / 2 / sine + _TOUCH_M
    from_start, from_end = abs(along_m), abs(along_m - wall.length_m)
    place, point = (Place.START, wall.start) if from_start <= from_end else (Place.END, wall.end)
    if min(from_start, from_end) <= reach_m and _distance_m(other, point) <= wall.thickness_m / 2 + _TOUCH_M:
        return place
    return Place.PATH if 0 < along_m < wall.length_m else None


def _distance_m(wall: Wall, point: Floats) -> float:
    """From a point (2,) to the wall's rectangle; 0 inside."""
    along = float((point - wall.start) @ wall.direction)
    beside = abs(float((point - wall.start) @ wall.normal)) - wall.thickness_m / 2
    return float(np.hypot(max(-along, along - wall.length_m, 0.0), max(beside, 0.0)))


def _straight_contact(walls: list[Wall], a: int, b: int) -> _Contact | None:
    """Parallel walls that follow each other; parallel walls side by side do not touch in this sense."""
    beside = (walls[a].thickness_m + walls[b].thickness_m) / 2
    best: tuple[float, _Contact] | None = None
    for end_a in (Place.START, Place.END):
        for end_b in (Place.START, Place.END):
            ray_a, ray_b = _ray(walls, a, end_a), _ray(walls, b, end_b)
            if ray_a.along @ ray_b.along > 0:
                continue
            gap = ray_b.origin - ray_a.origin
            if abs(gap @ ray_a.along) <= 2 * _TOUCH_M and abs(gap @ ray_a.left) < beside - _TOUCH_M / 3:
                far = float(np.linalg.norm(gap))
                if best is None or far < best[0]:
                    best = far, _Contact(a, end_a, b, end_b, (ray_a.origin + ray_b.origin) / 2)
    return None if best is None else best[1]


def _ray(walls: list[Wall], index: int, end: Place) -> _Ray:
    wall = walls[index]
    sign = 1.0 if end is Place.START else -1.0
    origin = wall.start if end is Place.START else wall.end
    return _Ray(index, end, origin, sign * wall.direction, sign * wall.normal, wall.thickness_m / 2)


@dataclass(frozen=True)
class _Node:
    """Ends of walls that meet. `point` (2,): where their centre lines cross, on average."""

    ends: tuple[tuple[int, Place], ...]
    point: Floats


def _nodes(contacts: list[_Contact]) -> list[_Node]:
    """Ends that touch each other, directly or through others."""
    parent: dict[tuple[int, Place], tuple[int, Place]] = {}

    def root(end: tuple[int, Place]) -> tuple[int, Place]:
        while parent.setdefault(end, end) != end:
            parent[end] = parent[parent[end]]
            end = parent[end]
        return end

    between_ends = [c for c in contacts if Place.PATH not in (c.at_a, c.at_b)]
    for contact in between_ends:
        first, second = sorted((root((contact.a, contact.at_a)), root((contact.b, contact.at_b))))
        parent[second] = first
    points: dict[tuple[int, Place], list[Floats]] = defaultdict(list)
    for contact in between_ends:
        points[root((contact.a, contact.at_a))].append(contact.point)
    members: dict[tuple[int, Place], list[tuple[int, Place]]] = defaultdict(list)
    for end in sorted(parent):
        members[root(end)].append(end)
    return [_Node(tuple(members[key]), np.mean(points[key], axis=0)) for key in sorted(members)]


def _join_ends(walls: list[Wall], node: _Node, cuts: _Cuts) -> Iterator[Join]:
    rays = [_ray(walls, index, end) for index, end in node.ends]
    if len(rays) == 2:
        _join_pair(rays[0], rays[1], node.point, cuts)
        yield _join(walls, rays[0], rays[1])
        return
    pair = _straightest(rays)
    if pair is None:
        _join_star(rays, node.point, cuts)
        for first, second in combinations(rays, 2):
            if first.wall != second.wall:
                yield _join(walls, first, second)
        return
    _join_pair(pair[0], pair[1], node.point, cuts)
    yield _join(walls, pair[0], pair[1])
    thinner = min(pair, key=lambda ray: ray.half_m)
    for ray in rays:
        if ray.wall not in (pair[0].wall, pair[1].wall):
            # The thinner wall's face leaves no gap; what the thicker one takes as well is settled among overlaps.
            _butt(walls, ray, thinner, cuts)
            yield _join(walls, ray, pair[0])


def _join(walls: list[Wall], a: _Ray, b: _Ray) -> Join:
    return Join(walls[a.wall].wall_id, a.end, walls[b.wall].wall_id, b.end)


def _straightest(rays: list[_Ray]) -> tuple[_Ray, _Ray] | None:
    """The thickest pair of rays that continue each other."""
    pairs = [
        (a, b)
        for a, b in combinations(rays, 2)
        if a.wall != b.wall
        and a.along @ b.along < -_STRAIGHT_COS
        and abs((b.origin - a.origin) @ a.left) < a.half_m + b.half_m - _TOUCH_M / 3
    ]
    return max(pairs, key=lambda pair: round(pair[0].half_m + pair[1].half_m, 4), default=None)


def _join_pair(a: _Ray, b: _Ray, point: Floats, cuts: _Cuts) -> None:
    if a.along @ b.along < -_STRAIGHT_COS:
        across = a.along - b.along
        plane = (point, np.array([-across[1], across[0]]))
        for ray in (a, b):
            cuts.put(ray, _meet(ray.face(1), plane), [], _meet(ray.face(-1), plane))
        return
    if _parallel(a, b):
        return
    one, other = _meet(a.face(1), b.face(-1)), _meet(a.face(-1), b.face(1))
    if _near(point, [one, other], a, b):
        cuts.put(a, one, [], other)
        cuts.put(b, other, [], one)


def _join_star(rays: list[_Ray], point: Floats, cuts: _Cuts) -> None:
    """Three and more walls of which none runs through: each ends in a wedge between its neighbours."""
    if any(abs((point - ray.origin) @ ray.left) > _TOUCH_M for ray in rays):
        return
    ordered = sorted(rays, key=lambda ray: float(np.arctan2(ray.along[1], ray.along[0])))
    following = ordered[1:] + ordered[:1]
    if any(_parallel(a, b) for a, b in zip(ordered, following, strict=True)):
        return
    corners = [_meet(a.face(1), b.face(-1)) for a, b in zip(ordered, following, strict=True)]
    if all(_near(point, [corner], a, b) for corner, a, b in zip(corners, ordered, following, strict=True)):
        for i, ray in enumerate(ordered):
            cuts.put(ray, corners[i], [point], corners[i - 1])


def _join_path(walls: list[Wall], contact: _Contact, cuts: _Cuts) -> Join:
    a, b = (contact.a, contact.at_a), (contact.b, contact.at_b)
    if contact.at_a is Place.PATH and contact.at_b is Place.PATH:
        return Join(walls[a[0]].wall_id, a[1], walls[b[0]].wall_id, b[1])
    branch, through = (b, a) if contact.at_a is Place.PATH else (a, b)
    if branch not in cuts.corners:
        _butt(walls, _ray(walls, *branch), _ray(walls, through[0], Place.START), cuts)
    return Join(walls[branch[0]].wall_id, branch[1], walls[through[0]].wall_id, through[1])


def _butt(walls: list[Wall], branch: _Ray, through: _Ray, cuts: _Cuts) -> None:
    """End `branch` at the face of `through` that looks at it.

    Where it enters past the end of that face there is no cut; what the two then share is settled among overlaps.
    """
    if _parallel(branch, through):
        return
    face = through.face(1 if branch.along @ through.left > 0 else -1)
    left, right = _meet(branch.face(1), face), _meet(branch.face(-1), face)
    reach_m = walls[through.wall].length_m + _TOUCH_M
    on_face = all(-_TOUCH_M <= (corner - through.origin) @ through.along <= reach_m for corner in (left, right))
    if on_face and _near(branch.origin, [left, right], branch, through):
        cuts.put(branch, left, [], right)


def _parallel(a: _Ray, b: _Ray) -> bool:
    return bool(abs(_cross(a.along, b.along)) < _PARALLEL_SIN)


def _meet(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> Floats:
    """Where two lines, given by point and direction, cross."""
    return np.asarray(a[0] + a[1] * (_cross(b[0] - a[0], b[1]) / _cross(a[1], b[1])))


def _near(point: Floats, corners: list[Floats], a: _Ray, b: _Ray) -> bool:
    limit = _LONGEST_CUT * 2 * max(a.half_m, b.half_m) + _TOUCH_M
    return all(bool(np.linalg.norm(corner - point) <= limit) for corner in corners)


def _shape(wall: Wall, start: list[Floats] | None, end: list[Floats] | None) -> Polygon:
    """The wall with its ends cut; as it came where the cuts of a short wall cross each other."""
    across = wall.normal * wall.thickness_m / 2
    first = start if start is not None else [wall.start - across, wall.start + across]
    last = end if end is not None else [wall.end - across, wall.end + across]
    sides_run_on = all(float((last[side] - first[side]) @ wall.direction) > _SLIVER_M for side in (0, -1))
    cut = Polygon([first[0], *last, *first[:0:-1]])
    return cut if sides_run_on and cut.is_valid else rectangle(wall)


def _without_overlaps(
    walls: list[Wall], shapes: list[Polygon], through: set[tuple[str, str]]
) -> tuple[dict[str, tuple[Polygon, ...]], tuple[str, ...]]:
    """Take what two walls share from the one that gives way. `through`: pairs of ids, the first gives way to the second."""
    current: list[BaseGeometry] = list(shapes)
    tree = STRtree(shapes)
    found = tree.query(np.array(shapes, dtype=object), predicate="intersects")
    pairs = found.T[found[0] < found[1]]
    for a, b in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if _common_height(walls[a], walls[b]) < _COMMON_HEIGHT_M:
            continue
        if shapely.intersection(current[a], current[b], grid_size=_GRID_M).area > _SHARED_M2:
            loser, winner = (a, b) if _gives_way(walls[a], walls[b], through) else (b, a)
            left = shapely.difference(current[loser], current[winner], grid_size=_GRID_M)
            current[loser] = MultiPolygon(_polygons(left))
    pieces: dict[str, tuple[Polygon, ...]] = {}
    swallowed = []
    for wall, shape, rest in zip(walls, shapes, current, strict=True):
        pieces[wall.wall_id] = tuple(_solid_parts(rest)) if rest is not shape else (shapely.normalize(shape),)
        if not pieces[wall.wall_id]:
            pieces[wall.wall_id] = (rectangle(wall),)
            swallowed.append(wall.wall_id)
    return pieces, tuple(swallowed)


def _gives_way(a: Wall, b: Wall, through: set[tuple[str, str]]) -> bool:
    if (a.wall_id, b.wall_id) in through:
        return True
    if (b.wall_id, a.wall_id) in through:
        return False
    return _rank(a) < _rank(b)


def _rank(wall: Wall) -> tuple[float, float, float, str]:
    return round(wall.top_m - wall.base_m, 2), round(wall.thickness_m, 3), round(wall.length_m, 3), wall.wall_id


def _solid_parts(shape: BaseGeometry) -> Iterator[Polygon]:
    """Polygons without the slivers that differences leave, in a fixed order."""
    for part in sorted(_polygons(shape), key=lambda part: part.bounds):
        if not part.buffer(-_SLIVER_M).is_empty:
            yield shapely.normalize(part)


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    """Without the stray lines that a difference may leave beside them."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]
