"""Doors, windows and passages of a storey's walls.

Wall by wall: both faces are fitted anew, what covers them and what lies between them is rasterised, and holes are rectangles of that
raster which the wall ends around and which show depth (`wall_planes`, `wall_rasters`, `hole_rectangles`). Where nobody could see the wall, behind
a wardrobe, nothing shows depth, and no hole is found. Edges then get sharper than cells (`opening_edges`), and what
stands in a hole tells its class (`opening_kinds`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from contracts.building_settings import BuildingSettings
from contracts.progress import Reporter
from services.bim.hole_rectangles import Hole, find_holes
from services.bim.model import Opening, OpeningKind, Storey, Wall
from services.bim.opening_edges import FLOOR_SILL_M, Rectangle, refine
from services.bim.opening_kinds import filling_of, kind_of
from services.bim.plan_index import PlanIndex
from services.bim.preprocessing import WorkingCloud
from services.bim.wall_planes import REACH_M, WallView, view_wall
from services.bim.wall_rasters import rasterise

_THREADS = 2
_NARROWEST_WAY_M = 0.5
"""Nobody walks through less."""


def main(
    storey: Storey, walls: tuple[Wall, ...], cloud: WorkingCloud, settings: BuildingSettings, report: Reporter
) -> tuple[Opening, ...]:
    """The openings in the walls of one storey, wall after wall, from start to end."""
    if not walls:
        return ()
    index = PlanIndex.around(cloud, walls, REACH_M)
    found: list[Opening] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        # In the order of the walls, whichever thread is faster.
        for number, openings in enumerate(pool.map(lambda wall: _openings_of(wall, walls, index, settings), walls), 1):
            report.progress(number, len(walls), f"Openings of {storey.name}")
            for opening in openings:
                found.append(replace(opening, opening_id=f"o{storey.index}.{len(found)}"))
    counts = {kind: sum(opening.kind is kind for opening in found) for kind in OpeningKind}
    report.log(f"  {storey.name}: " + ", ".join(f"{count} {kind.value}s" for kind, count in counts.items()))
    return tuple(found)


def _openings_of(wall: Wall, walls: tuple[Wall, ...], index: PlanIndex, settings: BuildingSettings) -> list[Opening]:
    view = view_wall(index, wall)
    if not (view.left.seen or view.right.seen):
        return []
    raster = rasterise(view, walls)
    found = []
    for hole in find_holes(raster):
        rectangle = refine(view, raster, hole)
        if rectangle.width_m < settings.min_wall_length or rectangle.height_m < settings.min_wall_length:
            continue
        kind = kind_of(rectangle, wall.base_m, filling_of(view, rectangle))
        if kind is not OpeningKind.WINDOW and rectangle.width_m < _NARROWEST_WAY_M:
            continue
        found.append(_opening(wall, kind, rectangle, _confidence(hole, view)))
    return found


def _opening(wall: Wall, kind: OpeningKind, rectangle: Rectangle, confidence: float) -> Opening:
    """`wall` with a hole in it. What one walks through begins at the floor, whatever threshold was seen."""
    on_foot = kind is not OpeningKind.WINDOW and rectangle.sill_m - wall.base_m < FLOOR_SILL_M
    return Opening(
        opening_id="",
        wall_id=wall.wall_id,
        storey=wall.storey,
        kind=kind,
        from_m=rectangle.from_m,
        to_m=rectangle.to_m,
        sill_m=wall.base_m if on_foot else rectangle.sill_m,
        head_m=rectangle.head_m,
        confidence=confidence,
    )


def _confidence(hole: Hole, view: WallView) -> float:
    """From the share of its sides at which wall ends or depth shows; less where one face of the wall only was seen."""
    sides = np.sort(np.maximum(hole.support.border, hole.support.depth))[1:]
    both = view.left.seen and view.right.seen
    return round(float(np.clip(sides.mean() * (1.0 if both else 0.9), 0.0, 1.0)), 3)
