"""Symbols of a floor plan: doors with their swing, windows, passages, columns, voids, rooms with their areas."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Point, Polygon, box
from shapely.ops import polylabel

from services.bim.model import Opening, OpeningKind, Space, Wall
from services.bim.plans.pen import GREY, INK, PAPER, Pen, text_width_mm
from services.bim.plans.sheet import Sheet
from services.bim.plans.storey import StoreyPlan, is_cut
from services.bim.quantities import area_of, column_section
from services.bim.swings import Swing

Floats = NDArray[np.float64]

ROOM_FILL = "#f6f4ef"
POCHE = "#3d3d3d"
_LOW_FILL = "#d8d8d8"
_WALL_EDGE_MM = 0.35
_THIN_MM = 0.13
_LEAF_M = 0.04
_FRAME_M = 0.06
_FRAME_DEPTH_M = 0.07
_DASHES_MM = (1.6, 1.0)
_ARC_STEPS = 24
_LABEL_MM = 2.3
_SMALL_MM = 1.7
_LEAST_MM = 1.2
_RECTANGULAR = 0.985
_LEADING = 1.75
_BOLD = 1.15
"""How much wider bold letters are."""
_CHORDS = 25
_FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def draw_rooms(pen: Pen, sheet: Sheet, plan: StoreyPlan) -> None:
    for space in plan.spaces:
        pen.area(sheet.place_area(area_of(space.outline)), fill=ROOM_FILL)
    for void in plan.voids:
        _draw_void(pen, sheet, void)


def draw_gaps(pen: Pen, sheet: Sheet, plan: StoreyPlan) -> None:
    """The floor in openings; drawn before the walls, whose outlines lie on top of it."""
    for opening in plan.openings:
        if is_cut(opening, plan.storey):
            at = _InWall(sheet, plan.walls[opening.wall_id], opening)
            passage = opening.kind is OpeningKind.PASSAGE
            pen.area(at.area((0.0, -at.half_m), (at.width_m, at.half_m)), fill=ROOM_FILL if passage else PAPER)


def draw_walls(pen: Pen, sheet: Sheet, plan: StoreyPlan) -> None:
    """Cut walls filled; what is below the cut in outline."""
    pen.area(_placed(sheet, plan.low_walls), fill=_LOW_FILL, edge_mm=_THIN_MM, edge=GREY)
    pen.area(_placed(sheet, plan.cut_walls), fill=POCHE, edge_mm=_WALL_EDGE_MM)
    for column in plan.columns:
        section = sheet.place_area(column_section(column))
        pen.area(section, fill=INK, edge_mm=_WALL_EDGE_MM)


def draw_openings(pen: Pen, sheet: Sheet, plan: StoreyPlan, swings: Mapping[str, Swing]) -> None:
    for opening in plan.openings:
        at = _InWall(sheet, plan.walls[opening.wall_id], opening)
        if opening.kind is OpeningKind.DOOR:
            _draw_door(pen, at, swings[opening.opening_id])
        elif opening.kind is OpeningKind.WINDOW and is_cut(opening, plan.storey):
            _draw_window(pen, at)
        elif opening.kind is OpeningKind.WINDOW:
            _draw_high_window(pen, at)
        else:
            _draw_passage(pen, at)


def draw_labels(pen: Pen, sheet: Sheet, plan: StoreyPlan, names: Mapping[str, str]) -> None:
    """Name, area, clear height and, of rectangular rooms, the clear size; as much of it as the room has place for."""
    keep_off = shapely.union_all([*(column_section(column) for column in plan.columns), *plan.voids])
    for space in plan.spaces:
        inside = sheet.place_area(area_of(space.outline)).difference(_placed(sheet, keep_off))
        largest = max(getattr(inside, "geoms", [inside]), key=lambda part: part.area)
        _write_lines(pen, largest, _lines(space, names[space.space_id]))


class _InWall:
    """Places on the paper in the frame of an opening: u along the wall from its first jamb, v to the wall's left, metres."""

    def __init__(self, sheet: Sheet, wall: Wall, opening: Opening) -> None:
        self._sheet = sheet
        self._origin = wall.start + wall.direction * opening.from_m
        self._axes = np.stack([wall.direction, wall.normal])
        self.width_m = opening.width_m
        self.half_m = wall.thickness_m / 2

    def points(self, *uv: tuple[float, float]) -> Floats:
        return self._sheet.place(self._origin + np.array(uv) @ self._axes)

    def area(self, low: tuple[float, float], high: tuple[float, float]) -> Polygon:
        return Polygon(self.points(low, (high[0], low[1]), high, (low[0], high[1])))


def _draw_door(pen: Pen, at: _InWall, swing: Swing) -> None:
    side = 1.0 if swing.left else -1.0
    for v in (-at.half_m, at.half_m):
        pen.line(at.points((0.0, v), (at.width_m, v)), _THIN_MM, colour=GREY)
    leaf_m = at.width_m / swing.leaves
    hinges = (True, False) if swing.leaves == 2 else (swing.hinge_at_start,)
    for at_start in hinges:
        hinge = 0.0 if at_start else at.width_m
        inwards = 1.0 if at_start else -1.0
        face = side * at.half_m
        turn = np.linspace(0, np.pi / 2, _ARC_STEPS)
        arc = [(hinge + inwards * leaf_m * np.cos(a), face + side * leaf_m * np.sin(a)) for a in turn]
        pen.line(at.points(*arc), _THIN_MM)
        pen.area(
            at.area((hinge, face), (hinge + inwards * _LEAF_M, face + side * leaf_m)),
            fill=PAPER,
            edge_mm=_THIN_MM * 1.6,
        )


def _draw_window(pen: Pen, at: _InWall) -> None:
    """Sill lines in both faces, and the frame with its pane as a double line in the middle."""
    for v in (-at.half_m, at.half_m):
        pen.line(at.points((0.0, v), (at.width_m, v)), _THIN_MM)
    depth = min(_FRAME_DEPTH_M, at.half_m) / 2
    pen.area(at.area((0.0, -depth), (at.width_m, depth)), fill=PAPER, edge_mm=_THIN_MM * 1.6)
    frame = min(_FRAME_M, at.width_m / 5)
    for u in (frame, at.width_m - frame):
        pen.line(at.points((u, -depth), (u, depth)), _THIN_MM)
    pen.line(at.points((frame, 0.0), (at.width_m - frame, 0.0)), _THIN_MM)


def _draw_high_window(pen: Pen, at: _InWall) -> None:
    """Above the cut: dashed, in the cut wall."""
    depth = min(_FRAME_DEPTH_M, at.half_m) / 2
    for v in (-depth, depth):
        pen.line(at.points((0.0, v), (at.width_m, v)), _THIN_MM * 1.6, colour=PAPER, dashes_mm=_DASHES_MM)
    for u in (0.0, at.width_m):
        pen.line(at.points((u, -depth), (u, depth)), _THIN_MM * 1.6, colour=PAPER)


def _draw_passage(pen: Pen, at: _InWall) -> None:
    """The lintel above is dashed."""
    for v in (-at.half_m, at.half_m):
        pen.line(at.points((0.0, v), (at.width_m, v)), _THIN_MM, colour=GREY, dashes_mm=_DASHES_MM)


def _draw_void(pen: Pen, sheet: Sheet, void: Polygon) -> None:
    """Outline and the diagonals of the smallest rectangle around it."""
    placed = sheet.place_area(void)
    pen.area(placed, fill=PAPER, edge_mm=_THIN_MM, edge=GREY)
    around = shapely.oriented_envelope(placed)
    if isinstance(around, Polygon):
        corners = np.asarray(around.exterior.coords)
        for first, last in ((0, 2), (1, 3)):
            cross = shapely.LineString([corners[first], corners[last]]).intersection(placed)
            for part in getattr(cross, "geoms", [cross]):
                pen.line(np.asarray(part.coords), _THIN_MM, colour=GREY)


def _placed(sheet: Sheet, area: shapely.geometry.base.BaseGeometry) -> shapely.geometry.base.BaseGeometry:
    parts = getattr(area, "geoms", [area])
    return shapely.union_all([sheet.place_area(part) for part in parts if isinstance(part, Polygon)])


@dataclass(frozen=True)
class _Line:
    words: str
    height_mm: float
    bold: bool = False


def _lines(space: Space, number: str) -> list[_Line]:
    """The most important first."""
    area = area_of(space.outline)
    lines = [
        _Line(f"Room {number}", _LABEL_MM, bold=True),
        _Line(f"{area.area:.2f} m²", _LABEL_MM * 0.9),
        _Line(f"h {space.ceiling_m - space.floor_m:.2f}", _SMALL_MM),
    ]
    around = shapely.oriented_envelope(area)
    if isinstance(around, Polygon) and area.area > _RECTANGULAR * around.area:
        corners = np.asarray(around.exterior.coords)
        sizes = sorted(np.linalg.norm(np.diff(corners[:3], axis=0), axis=1).tolist(), reverse=True)
        lines.insert(2, _Line(f"{sizes[0]:.2f} × {sizes[1]:.2f}", _SMALL_MM))
    return lines


def _write_lines(pen: Pen, inside: Polygon, lines: list[_Line]) -> None:
    """In the room's middle, shrunk until they fit, down to what is still legible; then fewer lines."""
    places = [place for place in _places(inside) if inside.contains(place)]
    while True:
        shrink, place = max(((_shrink(inside, each, lines), each) for each in places), key=lambda fit: fit[0])
        if shrink * min(line.height_mm for line in lines) >= _LEAST_MM or len(lines) == 1:
            break
        lines = lines[:-1]
    shrink = max(shrink, _LEAST_MM / lines[0].height_mm)
    y = place.y + shrink * _extent(lines)[1] / 2
    for line in lines:
        half = shrink * _LEADING * line.height_mm / 2
        pen.text((place.x, y - half), line.words, shrink * line.height_mm, bold=line.bold)
        y -= 2 * half


def _places(inside: Polygon) -> Iterator[Point]:
    """Where a label may stand, the best first: the middle, the centre of the largest circle, middles of long chords."""
    yield inside.centroid
    yield polylabel(inside, tolerance=0.5)
    low_x, low_y, high_x, high_y = inside.bounds
    for y in np.linspace(low_y, high_y, _CHORDS + 2)[1:-1]:
        chord = inside.intersection(LineString([(low_x, y), (high_x, y)]))
        yield max(getattr(chord, "geoms", [chord]), key=lambda part: part.length).centroid


def _shrink(inside: Polygon, place: Point, lines: list[_Line]) -> float:
    """The largest factor, at most 1, at which the lines around a place stay inside; 0 if none does."""
    wide, high = _extent(lines)
    for factor in _FACTORS:
        half_wide, half_high = factor * wide / 2, factor * high / 2
        if inside.contains(box(place.x - half_wide, place.y - half_high, place.x + half_wide, place.y + half_high)):
            return factor
    return 0.0


def _extent(lines: list[_Line]) -> tuple[float, float]:
    """Width and height on paper."""
    wide = max(text_width_mm(line.words, line.height_mm) * (_BOLD if line.bold else 1.0) for line in lines)
    return wide, sum(_LEADING * line.height_mm for line in lines)
