"""Floor plans: one sheet of paper for each storey, as PNG and SVG.

A3 landscape at a usual scale. Cut walls are filled; doors show how they would open (an assumption, as `services.bim.swings`
says), windows their frame; rooms their name, area and size. Dimensions in metres. All storeys lie at the same place of the paper.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, box

from contracts.building_settings import BuildingSettings
from contracts.clouds import CloudManifest
from contracts.progress import Silence
from services.bim import fitting, numbering, swings
from services.bim.ifc import georeference
from services.bim.ifc.file import text
from services.bim.model import Building
from services.bim.plans import dimensions, symbols
from services.bim.plans.pen import GREY, INK, PAPER, Pen, text_width_mm
from services.bim.plans.sheet import BORDER_MM, HEIGHT_MM, TITLE_MM, WIDTH_MM, Sheet
from services.bim.plans.sheet import choose as choose_sheet
from services.bim.plans.storey import StoreyPlan
from services.bim.plans.storey import main as plan_of_storey
from services.bim.quantities import area_of

Floats = NDArray[np.float64]

_BAR_STEPS_M = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
_BAR_MM = 50.0
_BAR_PARTS = 4
_ARROW_MM = 6.5
_COLUMNS_MM = (0.0, 96.0, 176.0, 256.0, 318.0)
"""Left edges of the title's fields, from the border."""


@dataclass(frozen=True)
class Title:
    """What the title block says. north (2,): grid north in plan; None where no map is known."""

    project: str
    building: str
    author: str
    source: str
    date: str
    north: tuple[float, float] | None


def title_of(manifest: CloudManifest, settings: BuildingSettings, created: datetime) -> Title:
    """From the job's settings and the uploaded file."""
    frame = georeference.map_frame(manifest, settings)
    names = (settings.ifc.author_name, settings.ifc.author_surname)
    return Title(
        project=text(settings.ifc.project_name),
        building=text(settings.ifc.building_name),
        author=text(" ".join(name for name in names if name) or settings.ifc.author_organization or ""),
        source=text(manifest.file_name),
        date=created.date().isoformat(),
        # The map's north in the plan: turned back by the angle of the plan's x axis on the map.
        north=(frame.x_axis[1], frame.x_axis[0]) if frame is not None and frame.named else None,
    )


def main(building: Building, storey_index: int, png: Path, svg: Path, title: Title) -> None:
    """Draw one storey.

    Raises ValueError if the building has no such storey.
    """
    whole = fitting.main(building, Silence())
    plan = plan_of_storey(whole, storey_index)
    north = None if title.north is None else np.array(title.north)
    sheet = choose_sheet(whole, north)
    pen = Pen(WIDTH_MM, HEIGHT_MM)
    if not plan.walls and len(plan.storey.footprint.outer):
        pen.area(sheet.place_area(area_of(plan.storey.footprint)), fill=None, edge_mm=0.18, edge=GREY)
    symbols.draw_rooms(pen, sheet, plan)
    symbols.draw_gaps(pen, sheet, plan)
    symbols.draw_walls(pen, sheet, plan)
    symbols.draw_openings(pen, sheet, plan, swings.main(whole))
    symbols.draw_labels(pen, sheet, plan, numbering.main(whole))
    dimensions.draw(pen, sheet, plan)
    _draw_title(pen, sheet, plan, title, _elevation_m(whole, plan))
    if north is not None:
        _draw_north(pen, sheet.direction(north))
    pen.save(png, svg)


def _elevation_m(building: Building, plan: StoreyPlan) -> float:
    return plan.storey.floor_m - min(storey.floor_m for storey in building.storeys)


def _draw_title(pen: Pen, sheet: Sheet, plan: StoreyPlan, title: Title, elevation_m: float) -> None:
    right, top = WIDTH_MM - BORDER_MM, BORDER_MM + TITLE_MM
    pen.area(box(BORDER_MM, BORDER_MM, right, HEIGHT_MM - BORDER_MM), fill=None, edge_mm=0.5)
    pen.line(np.array([[BORDER_MM, top], [right, top]]), 0.35)
    for column in _COLUMNS_MM[1:]:
        pen.line(np.array([[BORDER_MM + column, BORDER_MM], [BORDER_MM + column, top]]), 0.18)
    area = sum(area_of(space.outline).area for space in plan.spaces)
    sign = "±" if abs(elevation_m) < 0.005 else f"{elevation_m:+.2f}"[0]
    fields = (
        (("Project", title.project), ("Building", title.building)),
        (("Drawing", f"Floor plan: {text(plan.storey.name)}"), ("Floor level", f"{sign}{abs(elevation_m):.2f} m")),
        (("Source", title.source), ("Drawn by", title.author or "Alidade")),
        (("Date", title.date), ("Rooms", f"{len(plan.spaces)}, {area:.1f} m²")),
        (("Scale", f"1:{sheet.scale} (A3)"),),
    )
    edges = [*_COLUMNS_MM, right - BORDER_MM]
    for entries, left, end in zip(fields, edges, edges[1:], strict=False):
        for row, (caption, words) in enumerate(entries):
            y = top - 3.6 - row * TITLE_MM / 2
            _write_field(pen, (BORDER_MM + left + 2, y), end - left - 4, caption, words)
    _draw_bar(pen, sheet, (BORDER_MM + _COLUMNS_MM[4] + 6, BORDER_MM + 4.0))


def _write_field(pen: Pen, at: tuple[float, float], width_mm: float, caption: str, words: str) -> None:
    pen.text(at, caption, 1.4, colour=GREY, align="left")
    height = 2.4
    most = int(width_mm / text_width_mm("0", height))
    shown = words if len(words) <= most else words[: most - 1] + "…"
    pen.text((at[0], at[1] - 4.4), shown, height, bold=caption == "Drawing", align="left")


def _draw_bar(pen: Pen, sheet: Sheet, at: tuple[float, float]) -> None:
    """A scale bar whose parts are a round number of metres."""
    step_m = max((s for s in _BAR_STEPS_M if sheet.mm(s) * _BAR_PARTS <= _BAR_MM), default=_BAR_STEPS_M[0])
    step_mm = sheet.mm(step_m)
    for part in range(_BAR_PARTS):
        left = at[0] + part * step_mm
        block = box(left, at[1], left + step_mm, at[1] + 1.6)
        pen.area(block, fill=PAPER if part % 2 else INK, edge_mm=0.18)
    for part in range(_BAR_PARTS + 1):
        unit = " m" if part == _BAR_PARTS else ""
        pen.text((at[0] + part * step_mm, at[1] + 3.6), f"{part * step_m:g}{unit}", 1.5)


def _draw_north(pen: Pen, up: Floats) -> None:
    """An arrow at the right end of the title block; `up` (2,) is north on the paper."""
    centre = np.array([WIDTH_MM - BORDER_MM - TITLE_MM / 2 + 1, BORDER_MM + TITLE_MM / 2]) - up
    side = np.array([up[1], -up[0]])
    tip, tail = centre + up * _ARROW_MM, centre - up * _ARROW_MM * 0.7
    waist = centre - up * _ARROW_MM * 0.35
    for sign, fill in ((1, INK), (-1, PAPER)):
        pen.area(Polygon([tip, tail + sign * side * _ARROW_MM * 0.5, waist]), fill=fill, edge_mm=0.18)
    pen.text(tip + up * 2.2, "N", 2.0, bold=True)
