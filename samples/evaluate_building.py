"""How well a building was recognised, against its exact truth.

Both are plain data and are read by their attributes only (`BuildingLike`), so that anything of that shape can be judged.
Pairs are one-to-one, nearest first, within storeys that belong together:

- storeys by their floors, at most 0.5 m apart;
- walls whose directions differ by less than 5 degrees, whose centre lines lie less than 10 cm apart, and which overlap along at
  least half of the longer one;
- openings whose centres lie within 20 cm, with an IoU of at least 0.5 in the plane of the true wall;
- spaces with a plan IoU of at least 0.8 (with or without the holes in the floor or ceiling).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

Floats = NDArray[np.float64]
STOREY_M = 0.5
WALL_ANGLE_RAD = math.radians(5)
WALL_ACROSS_M = 0.10
WALL_OVERLAP = 0.5
OPENING_M = 0.20
OPENING_IOU = 0.5
SPACE_IOU = 0.8
COLUMN_M = 0.15


class AreaLike(Protocol):
    @property
    def outer(self) -> ArrayLike: ...
    @property
    def holes(self) -> Sequence[ArrayLike]: ...


class StoreyLike(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def floor_m(self) -> float: ...
    @property
    def ceiling_m(self) -> float: ...


class WallLike(Protocol):
    @property
    def wall_id(self) -> str: ...
    @property
    def storey(self) -> int: ...
    @property
    def start(self) -> ArrayLike: ...
    @property
    def end(self) -> ArrayLike: ...
    @property
    def thickness_m(self) -> float: ...
    @property
    def base_m(self) -> float: ...
    @property
    def top_m(self) -> float: ...
    @property
    def is_external(self) -> bool: ...


class OpeningLike(Protocol):
    @property
    def opening_id(self) -> str: ...
    @property
    def wall_id(self) -> str: ...
    @property
    def storey(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def from_m(self) -> float: ...
    @property
    def to_m(self) -> float: ...
    @property
    def sill_m(self) -> float: ...
    @property
    def head_m(self) -> float: ...


class SpaceLike(Protocol):
    @property
    def space_id(self) -> str: ...
    @property
    def storey(self) -> int: ...
    @property
    def outline(self) -> AreaLike: ...
    @property
    def floor_m(self) -> float: ...
    @property
    def ceiling_m(self) -> float: ...


class ColumnLike(Protocol):
    @property
    def column_id(self) -> str: ...
    @property
    def storey(self) -> int: ...
    @property
    def centre(self) -> ArrayLike: ...
    @property
    def size_m(self) -> tuple[float, float]: ...


class BuildingLike(Protocol):
    @property
    def storeys(self) -> Sequence[StoreyLike]: ...
    @property
    def walls(self) -> Sequence[WallLike]: ...
    @property
    def openings(self) -> Sequence[OpeningLike]: ...
    @property
    def columns(self) -> Sequence[ColumnLike]: ...
    @property
    def spaces(self) -> Sequence[SpaceLike]: ...


class TrueStoreyLike(StoreyLike, Protocol):
    @property
    def other_ceilings_m(self) -> Sequence[float]: ...


class TrueSpaceLike(SpaceLike, Protocol):
    @property
    def void(self) -> Sequence[AreaLike]: ...


class TrueBuildingLike(BuildingLike, Protocol):
    @property
    def storeys(self) -> Sequence[TrueStoreyLike]: ...
    @property
    def spaces(self) -> Sequence[TrueSpaceLike]: ...


@dataclass(frozen=True)
class Matches:
    """What was found of one sort: pairs of (recognised, true) positions in their lists, and what is left over.

    `missed` and `false` say in words what it was, for whoever looks for the cause.
    """

    pairs: tuple[tuple[int, int], ...]
    found: int
    true: int
    missed: tuple[str, ...]
    false: tuple[str, ...]

    @property
    def precision(self) -> float:
        return len(self.pairs) / self.found if self.found else float(self.true == 0)

    @property
    def recall(self) -> float:
        return len(self.pairs) / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        return 2 * len(self.pairs) / (self.found + self.true) if self.found + self.true else 1.0


@dataclass(frozen=True)
class BuildingScore:
    """Errors are absolute, one for each pair, in metres."""

    name: str
    storeys: Matches
    floor_error_m: Floats
    ceiling_error_m: Floats
    walls: Matches
    thickness_error_m: Floats
    axis_error_m: Floats
    """Largest distance of the recognised centre line from the true one's line, within the overlap."""
    end_error_m: Floats
    """Along the wall, both ends of every pair."""
    wall_height_error_m: Floats
    external_accuracy: float
    openings: Matches
    class_accuracy: float
    class_mistakes: tuple[str, ...]
    opening_width_error_m: Floats
    opening_height_error_m: Floats
    opening_sill_error_m: Floats
    spaces: Matches
    space_iou: Floats
    space_height_error_m: Floats
    columns: Matches

    @property
    def false_storeys(self) -> int:
        return len(self.storeys.false)

    def table(self) -> str:
        """Lines for people."""
        rows = [
            f"{self.name}",
            f"  storeys   {_counts(self.storeys)}  floor {_cm(self.floor_error_m)}  ceiling {_cm(self.ceiling_error_m)}",
            f"  walls     {_counts(self.walls)}  thickness {_cm(self.thickness_error_m)}  axis {_cm(self.axis_error_m)}"
            f"  ends {_cm(self.end_error_m)}  external {self.external_accuracy:.3f}",
            f"  openings  {_counts(self.openings)}  class {self.class_accuracy:.3f}"
            f"  width {_cm(self.opening_width_error_m)}  height {_cm(self.opening_height_error_m)}"
            f"  sill {_cm(self.opening_sill_error_m)}",
            f"  spaces    {_counts(self.spaces)}  IoU {_median(self.space_iou):.3f}"
            f"  height {_cm(self.space_height_error_m)}",
            f"  columns   {_counts(self.columns)}",
        ]
        return "\n".join(rows)

    def details(self) -> str:
        """What was missed, what is false, and which classes were mistaken, a line each."""
        lines = []
        for label, matches in (
            ("storey", self.storeys),
            ("wall", self.walls),
            ("opening", self.openings),
            ("space", self.spaces),
            ("column", self.columns),
        ):
            lines += [f"  missed {label}: {text}" for text in matches.missed]
            lines += [f"  false {label}: {text}" for text in matches.false]
        return "\n".join(lines + [f"  class: {text}" for text in self.class_mistakes])


def _counts(m: Matches) -> str:
    return f"P {m.precision:.3f} R {m.recall:.3f} F1 {m.f1:.3f} ({len(m.pairs)} of {m.true}, {len(m.false)} false)"


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _cm(values: Floats) -> str:
    if len(values) == 0:
        return "-"
    return f"{100 * float(np.median(values)):.1f}/{100 * float(np.max(values)):.1f} cm"


def evaluate(recognised: BuildingLike, truth: TrueBuildingLike, name: str = "building") -> BuildingScore:
    """Compares two buildings in one frame. In the table errors read median/maximum."""
    storeys = _storeys(recognised, truth)
    same = {recognised.storeys[i].index: truth.storeys[k].index for i, k in storeys.pairs}
    walls = _walls(recognised, truth, same)
    openings = _openings(recognised, truth, same)
    spaces, iou = _spaces(recognised, truth, same)
    wall_pairs = [(recognised.walls[i], truth.walls[k]) for i, k in walls.pairs]
    opening_pairs = [(recognised.openings[i], truth.openings[k]) for i, k in openings.pairs]
    space_pairs = [(recognised.spaces[i], truth.spaces[k]) for i, k in spaces.pairs]
    mistakes = tuple(f"{_opening_text(b)} seen as {a.kind}" for a, b in opening_pairs if str(a.kind) != str(b.kind))
    return BuildingScore(
        name=name,
        storeys=storeys,
        floor_error_m=_array(abs(recognised.storeys[i].floor_m - truth.storeys[k].floor_m) for i, k in storeys.pairs),
        ceiling_error_m=_array(_ceiling_error(recognised.storeys[i], truth.storeys[k]) for i, k in storeys.pairs),
        walls=walls,
        thickness_error_m=_array(abs(a.thickness_m - b.thickness_m) for a, b in wall_pairs),
        axis_error_m=_array(_across(a, b) for a, b in wall_pairs),
        end_error_m=_array(error for a, b in wall_pairs for error in _end_errors(a, b)),
        wall_height_error_m=_array(max(abs(a.base_m - b.base_m), abs(a.top_m - b.top_m)) for a, b in wall_pairs),
        external_accuracy=_share(a.is_external == b.is_external for a, b in wall_pairs),
        openings=openings,
        class_accuracy=1 - len(mistakes) / max(1, len(opening_pairs)),
        class_mistakes=mistakes,
        opening_width_error_m=_array(abs((a.to_m - a.from_m) - (b.to_m - b.from_m)) for a, b in opening_pairs),
        opening_height_error_m=_array(abs((a.head_m - a.sill_m) - (b.head_m - b.sill_m)) for a, b in opening_pairs),
        opening_sill_error_m=_array(abs(a.sill_m - b.sill_m) for a, b in opening_pairs),
        spaces=spaces,
        space_iou=iou,
        space_height_error_m=_array(abs((a.ceiling_m - a.floor_m) - (b.ceiling_m - b.floor_m)) for a, b in space_pairs),
        columns=_columns(recognised, truth, same),
    )


def _array(values: Iterable[float]) -> Floats:
    return np.fromiter(values, np.float64)


def _share(values: Iterable[bool]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 1.0


def _paired(candidates: Iterable[tuple[float, int, int]], found: Sequence[str], true: Sequence[str]) -> Matches:
    """One-to-one pairs from (distance, recognised, true), nearest first; `found` and `true` describe all there are."""
    used_found: set[int] = set()
    used_true: set[int] = set()
    pairs = []
    for _, i, k in sorted(candidates):
        if i not in used_found and k not in used_true:
            used_found.add(i)
            used_true.add(k)
            pairs.append((i, k))
    missed = tuple(text for k, text in enumerate(true) if k not in used_true)
    false = tuple(text for i, text in enumerate(found) if i not in used_found)
    return Matches(tuple(pairs), len(found), len(true), missed, false)


def _storeys(recognised: BuildingLike, truth: BuildingLike) -> Matches:
    candidates = [
        (gap, i, k)
        for i, a in enumerate(recognised.storeys)
        for k, b in enumerate(truth.storeys)
        if (gap := abs(a.floor_m - b.floor_m)) < STOREY_M
    ]
    return _paired(
        candidates,
        [f"{s.index} from {s.floor_m:.2f} to {s.ceiling_m:.2f}" for s in recognised.storeys],
        [f"{s.index} from {s.floor_m:.2f} to {s.ceiling_m:.2f}" for s in truth.storeys],
    )


def _ceiling_error(recognised: StoreyLike, true: TrueStoreyLike) -> float:
    """To the nearest structural ceiling of a large part of the storey."""
    return min(abs(recognised.ceiling_m - z) for z in (true.ceiling_m, *true.other_ceilings_m))


# --- walls -----------------------------------------------------------------------------------------------------------------


def _ends(wall: WallLike) -> tuple[Floats, Floats]:
    return np.asarray(wall.start, np.float64), np.asarray(wall.end, np.float64)


def _spans(a: WallLike, b: WallLike) -> tuple[Floats, Floats, float, float]:
    """Both ends of `a` along and across `b` (2,), the length of `b`, and the sine of the angle between them."""
    start, end = _ends(b)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / max(length, 1e-9)
    left = np.array([-along[1], along[0]])
    a_start, a_end = _ends(a)
    relative = np.stack([a_start, a_end]) - start
    span = a_end - a_start
    sine = abs(float(span @ left)) / max(float(np.linalg.norm(span)), 1e-9)
    return np.asarray(relative @ along, np.float64), np.asarray(relative @ left, np.float64), length, sine


def _overlap(a: WallLike, b: WallLike) -> float:
    """Length of the overlap as a share of the longer wall."""
    along, _, length, _ = _spans(a, b)
    common = min(float(along.max()), length) - max(float(along.min()), 0.0)
    own = float(np.linalg.norm(np.subtract(*_ends(a))))
    return max(0.0, common) / max(own, length, 1e-9)


def _across(a: WallLike, b: WallLike) -> float:
    """Largest distance between the centre lines where they overlap."""
    along, across, length, _ = _spans(a, b)
    order = np.argsort(along)
    stops = np.clip(along, 0.0, length)
    return float(np.abs(np.interp(stops, along[order], across[order])).max())


def _end_errors(a: WallLike, b: WallLike) -> tuple[float, float]:
    along, _, length, _ = _spans(a, b)
    return abs(float(along.min())), abs(float(along.max()) - length)


def _walls(recognised: BuildingLike, truth: BuildingLike, same: Mapping[int, int]) -> Matches:
    candidates = []
    for i, a in enumerate(recognised.walls):
        for k, b in enumerate(truth.walls):
            if same.get(a.storey) != b.storey or _spans(a, b)[3] >= math.sin(WALL_ANGLE_RAD):
                continue
            across, overlap = _across(a, b), _overlap(a, b)
            if across < WALL_ACROSS_M and overlap >= WALL_OVERLAP:
                # Among pieces of one wall the longest is the match.
                candidates.append((across + 0.1 * (1 - overlap), i, k))
    return _paired(candidates, [_wall_text(w) for w in recognised.walls], [_wall_text(w) for w in truth.walls])


def _wall_text(wall: WallLike) -> str:
    (x0, y0), (x1, y1) = (tuple(float(v) for v in end) for end in _ends(wall))
    side = "external" if wall.is_external else "internal"
    return (
        f"{wall.wall_id} storey {wall.storey} ({x0:.2f}, {y0:.2f}) to ({x1:.2f}, {y1:.2f})"
        f" {100 * wall.thickness_m:.1f} cm {side} z {wall.base_m:.2f} to {wall.top_m:.2f}"
    )


# --- openings --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Hole:
    """An opening in space: plan centre, plan direction, half width, sill and head."""

    centre: Floats
    along: Floats
    half_m: float
    sill_m: float
    head_m: float


def _hole(opening: OpeningLike, building: BuildingLike) -> _Hole | None:
    """None for an opening of a wall that is not there."""
    wall = next((w for w in building.walls if w.wall_id == opening.wall_id), None)
    if wall is None:
        return None
    start, end = _ends(wall)
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    centre = start + along * (opening.from_m + opening.to_m) / 2
    return _Hole(centre, along, (opening.to_m - opening.from_m) / 2, opening.sill_m, opening.head_m)


def _hole_match(a: _Hole, b: _Hole) -> tuple[float, float]:
    """Distance of the centres, and the IoU of the rectangles in the plane of `b`."""
    shift = a.centre - b.centre
    rise = (a.sill_m + a.head_m - b.sill_m - b.head_m) / 2
    middle = float(shift @ b.along)
    wide = min(middle + a.half_m, b.half_m) - max(middle - a.half_m, -b.half_m)
    high = min(a.head_m, b.head_m) - max(a.sill_m, b.sill_m)
    both = max(0.0, wide) * max(0.0, high)
    areas = 2 * a.half_m * (a.head_m - a.sill_m) + 2 * b.half_m * (b.head_m - b.sill_m)
    return math.hypot(*shift, rise), both / max(areas - both, 1e-9)


def _openings(recognised: BuildingLike, truth: BuildingLike, same: Mapping[int, int]) -> Matches:
    found = [_hole(opening, recognised) for opening in recognised.openings]
    true = [_hole(opening, truth) for opening in truth.openings]
    candidates = []
    for i, a in enumerate(found):
        for k, b in enumerate(true):
            if a is None or b is None or same.get(recognised.openings[i].storey) != truth.openings[k].storey:
                continue
            parallel = abs(float(a.along @ b.along)) > math.cos(2 * WALL_ANGLE_RAD)
            distance, iou = _hole_match(a, b)
            if parallel and distance < OPENING_M and iou >= OPENING_IOU:
                candidates.append((distance, i, k))
    return _paired(
        candidates, [_opening_text(o) for o in recognised.openings], [_opening_text(o) for o in truth.openings]
    )


def _opening_text(opening: OpeningLike) -> str:
    return (
        f"{opening.opening_id} {opening.kind} storey {opening.storey} in {opening.wall_id}"
        f" from {opening.from_m:.2f} to {opening.to_m:.2f} z {opening.sill_m:.2f} to {opening.head_m:.2f}"
    )


# --- spaces and columns ----------------------------------------------------------------------------------------------------


def _polygon(area: AreaLike) -> Polygon:
    rings = [[(float(x), float(y)) for x, y in np.asarray(ring, np.float64)] for ring in (area.outer, *area.holes)]
    made = Polygon(rings[0], rings[1:])
    return made if made.is_valid else made.buffer(0)


def _iou(a: BaseGeometry, b: BaseGeometry) -> float:
    both = a.intersection(b).area
    return float(both / max(a.area + b.area - both, 1e-9))


def _spaces(recognised: BuildingLike, truth: TrueBuildingLike, same: Mapping[int, int]) -> tuple[Matches, Floats]:
    found = [_polygon(space.outline) for space in recognised.spaces]
    values: dict[tuple[int, int], float] = {}
    for k, space in enumerate(truth.spaces):
        whole = _polygon(space.outline)
        # A room with a stair's hole may rightly be drawn with and without it.
        variants = [whole, whole.difference(unary_union([_polygon(hole) for hole in space.void]))]
        for i, area in enumerate(found):
            if same.get(recognised.spaces[i].storey) == space.storey and area.intersects(whole):
                values[i, k] = max(_iou(area, variant) for variant in variants)
    matches = _paired(
        [(1 - iou, i, k) for (i, k), iou in values.items() if iou >= SPACE_IOU],
        [_space_text(s, a) for s, a in zip(recognised.spaces, found, strict=True)],
        [_space_text(s, _polygon(s.outline)) for s in truth.spaces],
    )
    return matches, _array(values[pair] for pair in matches.pairs)


def _space_text(space: SpaceLike, area: BaseGeometry) -> str:
    spot = area.representative_point()
    return (
        f"{space.space_id} storey {space.storey} around ({spot.x:.2f}, {spot.y:.2f}) {area.area:.1f} m2"
        f" z {space.floor_m:.2f} to {space.ceiling_m:.2f}"
    )


def _columns(recognised: BuildingLike, truth: BuildingLike, same: Mapping[int, int]) -> Matches:
    candidates = []
    for i, a in enumerate(recognised.columns):
        for k, b in enumerate(truth.columns):
            gap = float(np.linalg.norm(np.subtract(np.asarray(a.centre), np.asarray(b.centre))))
            if same.get(a.storey) == b.storey and gap < COLUMN_M:
                candidates.append((gap, i, k))
    return _paired(candidates, [_column_text(c) for c in recognised.columns], [_column_text(c) for c in truth.columns])


def _column_text(column: ColumnLike) -> str:
    x, y = (float(v) for v in np.asarray(column.centre))
    return f"{column.column_id} storey {column.storey} at ({x:.2f}, {y:.2f}) {column.size_m[0]:.2f} x {column.size_m[1]:.2f} m"


# --- points ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PointLabels:
    """Which element every point belongs to: element (n,), index into `names`, negative = none."""

    element: NDArray[np.int32]
    names: Sequence[str]


@dataclass(frozen=True)
class PointScore:
    """Of points on elements of one sort that were recognised.

    `recall`: share of the points on the true ones that were given to the right element; `precision`: share of the points given to
    recognised ones that truly lie on the matching element.
    """

    recall: float
    precision: float
    points: int


def evaluate_points(pairs: Sequence[tuple[str, str]], found: PointLabels, true: PointLabels) -> PointScore:
    """How well points were given to elements. `pairs`: names of (recognised, true) elements that are the same."""
    found_place = {name: k for k, name in enumerate(found.names)}
    true_place = {name: k for k, name in enumerate(true.names)}
    wanted = np.full(len(true.names) + 1, -2, np.int32)
    answer = np.full(len(found.names) + 1, -2, np.int32)
    for recognised, known in pairs:
        wanted[true_place[known]] = found_place[recognised]
        answer[found_place[recognised]] = true_place[known]
    on_true = wanted[np.where(true.element < 0, len(true.names), true.element)]
    on_found = answer[np.where(found.element < 0, len(found.names), found.element)]
    asked, given = on_true >= 0, on_found >= 0
    return PointScore(
        recall=float(np.mean(found.element[asked] == on_true[asked])) if asked.any() else math.nan,
        precision=float(np.mean(true.element[given] == on_found[given])) if given.any() else math.nan,
        points=int(asked.sum()),
    )


def wall_names(score: BuildingScore, recognised: BuildingLike, truth: BuildingLike) -> list[tuple[str, str]]:
    """Names of the walls that belong together."""
    return [(recognised.walls[i].wall_id, truth.walls[k].wall_id) for i, k in score.walls.pairs]


def opening_names(score: BuildingScore, recognised: BuildingLike, truth: BuildingLike) -> list[tuple[str, str]]:
    """Names of the openings that belong together."""
    return [(recognised.openings[i].opening_id, truth.openings[k].opening_id) for i, k in score.openings.pairs]
