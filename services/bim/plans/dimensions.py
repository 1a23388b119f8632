"""Dimensions of a floor plan: chains along each side of the building, and its overall size.

Next to the building runs the chain of openings, then (below and on the left) the chain of walls as cut by a line through
the first rooms, and outermost the overall dimension. A slanting outer wall has a chain of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from services.bim.plans.pen import GREY, INK, Pen, text_width_mm
from services.bim.plans.sheet import Sheet
from services.bim.plans.storey import OuterFace, StoreyPlan, outer_faces

Floats = NDArray[np.float64]

_ALIGNED_COS = np.cos(np.radians(2.0))
_FIRST_MM, _STEP_MM = 9.0, 7.5
_TEXT_MM = 1.8
_LINE_MM = 0.13
_TICK_MM = 1.1
_CLOSEST_M = 0.03
_INTO_ROOM_M = 0.6
_SHORT_SIDE_M = 0.5
_GAP_TO_WALL_MM = 2.0


@dataclass(frozen=True)
class _Side:
    """A side of the paper. outward, along (2,) unit on paper; `along` runs to the right or upwards."""

    outward: Floats
    along: Floats
    has_overall: bool


_SIDES = (
    _Side(np.array([0.0, -1.0]), np.array([1.0, 0.0]), True),
    _Side(np.array([-1.0, 0.0]), np.array([0.0, 1.0]), True),
    _Side(np.array([0.0, 1.0]), np.array([1.0, 0.0]), False),
    _Side(np.array([1.0, 0.0]), np.array([0.0, 1.0]), False),
)


def draw(pen: Pen, sheet: Sheet, plan: StoreyPlan) -> None:
    """All dimensions of the storey; none where nothing was found."""
    if plan.envelope.is_empty:
        return
    faces = list(outer_faces(plan))
    corners = sheet.place(shapely.get_coordinates(plan.envelope))
    taken: set[str] = set()
    for side in _SIDES:
        facing = [face for face in faces if sheet.direction(face.outward) @ side.outward > _ALIGNED_COS]
        taken |= {face.wall.wall_id for face in facing}
        _draw_side(pen, sheet, plan, side, _Facing(facing, corners))
    for face in faces:
        if face.wall.wall_id not in taken and np.linalg.norm(face.end - face.start) > _SHORT_SIDE_M:
            _draw_slanting(pen, sheet, face)


@dataclass(frozen=True)
class _Facing:
    """Outer faces that look to one side, and the envelope's corners (n, 2) on paper."""

    faces: list[OuterFace]
    corners: Floats


def _draw_side(pen: Pen, sheet: Sheet, plan: StoreyPlan, side: _Side, facing: _Facing) -> None:
    out = float((facing.corners @ side.outward).max())
    extent = facing.corners @ side.along
    ends = [float(extent.min()), float(extent.max())]
    chains = [_opening_stops(sheet, side, facing.faces, ends)]
    if side.has_overall:
        chains += [_wall_stops(sheet, plan, side, facing, ends), ends]
    offset = _FIRST_MM
    drawn: list[list[float]] = []
    for stops in chains:
        tidy = _tidy(stops, sheet.mm(_CLOSEST_M))
        if len(tidy) < (2 if stops is ends else 3) or tidy in drawn:
            continue
        origin = side.outward * (out + offset)
        starts = side.outward * (out + _GAP_TO_WALL_MM if not drawn else out + offset - _STEP_MM + _TICK_MM)
        _draw_chain(pen, sheet, _Chain(origin, side.along, starts - origin, tidy))
        drawn.append(tidy)
        offset += _STEP_MM


def _opening_stops(sheet: Sheet, side: _Side, faces: Sequence[OuterFace], ends: list[float]) -> list[float]:
    stops = list(ends)
    for face in faces:
        along = face.wall.direction
        for gap in face.openings_m:
            stops += [float(sheet.place((face.start + along * at)[None])[0] @ side.along) for at in gap]
        if face.openings_m:
            stops += (sheet.place(np.array([face.start, face.end])) @ side.along).tolist()
    return stops


def _wall_stops(sheet: Sheet, plan: StoreyPlan, side: _Side, facing: _Facing, ends: list[float]) -> list[float]:
    """Where a line through the rooms behind the side's longest wall crosses walls that run away from it."""
    if not facing.faces:
        return list(ends)
    longest = max(facing.faces, key=lambda face: round(float(np.linalg.norm(face.end - face.start)), 3))
    depth = sheet.mm(longest.wall.thickness_m + _INTO_ROOM_M)
    start = sheet.place(longest.start[None])[0]
    level = start - side.outward * depth
    across = side.along * 2 * (ends[1] - ends[0] + 1)
    line = shapely.LineString([level - across, level + across])
    crossing = [sheet.place_area(piece) for piece in _walls_along(sheet, plan, side.outward)]
    cut = line.intersection(shapely.union_all(crossing))
    return [*ends, *(shapely.get_coordinates(cut) @ side.along).tolist()]


def _walls_along(sheet: Sheet, plan: StoreyPlan, direction: Floats) -> Iterable[shapely.Polygon]:
    for wall in plan.walls.values():
        if abs(sheet.direction(wall.direction) @ direction) > _ALIGNED_COS:
            across = wall.normal * wall.thickness_m / 2
            yield shapely.Polygon([wall.start - across, wall.end - across, wall.end + across, wall.start + across])


def _draw_slanting(pen: Pen, sheet: Sheet, face: OuterFace) -> None:
    along = sheet.direction(face.wall.direction)
    outward = sheet.direction(face.outward)
    start = sheet.place(face.start[None])[0]
    if along[0] < 0:
        along = -along
        start = sheet.place(face.end[None])[0]
    length = float(np.linalg.norm(face.end - face.start))
    stops_m = {0.0, length, *(at for gap in face.openings_m for at in gap)}
    stops = [at if along @ sheet.direction(face.wall.direction) > 0 else length - at for at in stops_m]
    origin = start + outward * _FIRST_MM
    tidy = _tidy([sheet.mm(at) for at in stops], sheet.mm(_CLOSEST_M))
    _draw_chain(pen, sheet, _Chain(origin, along, -outward * (_FIRST_MM - _GAP_TO_WALL_MM), tidy))


def _tidy(stops: list[float], closest: float) -> list[float]:
    """Ascending, without those nearer to another than `closest`; the outermost stay."""
    ordered = sorted(stops)
    kept = [ordered[0]]
    for stop in ordered[1:]:
        if stop - kept[-1] > closest:
            kept.append(stop)
    kept[-1] = ordered[-1] if len(kept) > 1 else kept[-1]
    return [round(stop, 3) for stop in kept]


@dataclass(frozen=True)
class _Chain:
    """Stops along a line: origin + stop * along. `back` (2,): from the line to where extension lines begin."""

    origin: Floats
    along: Floats
    back: Floats
    stops: list[float]


def _draw_chain(pen: Pen, sheet: Sheet, chain: _Chain) -> None:
    places = [chain.origin + stop * chain.along for stop in chain.stops]
    beyond = chain.along * _TICK_MM
    pen.line(np.array([places[0] - beyond, places[-1] + beyond]), _LINE_MM, colour=GREY)
    outward = -chain.back / np.linalg.norm(chain.back)
    slash = (chain.along + np.array([-chain.along[1], chain.along[0]])) * _TICK_MM * 0.6
    for place in places:
        pen.line(np.array([place + chain.back, place + outward * _TICK_MM]), _LINE_MM, colour=GREY)
        pen.line(np.array([place - slash, place + slash]), 0.3, colour=INK)
    above = np.array([-chain.along[1], chain.along[0]])
    turn_deg = float(np.degrees(np.arctan2(chain.along[1], chain.along[0])))
    raised = True
    for first, last in zip(chain.stops, chain.stops[1:], strict=False):
        words = f"{(last - first) * sheet.scale / 1000:.2f}"
        fits = text_width_mm(words, _TEXT_MM) < last - first - 0.4
        # Narrow parts share the space: their numbers go above and below the line in turns.
        raised = True if fits else not raised
        middle = chain.origin + chain.along * (first + last) / 2
        pen.text(middle + above * (_TEXT_MM * 0.95 if raised else -_TEXT_MM * 0.95), words, _TEXT_MM, turn_deg=turn_deg)
