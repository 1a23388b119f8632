"""From a canonical cloud to a building: the steps in their order, and what happens where one of them fails."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.bim import columns, openings, spaces
from services.bim.cloud import open_cloud
from services.bim.levels import Layering, find_storeys
from services.bim.model import Building, Column, Opening, Space, Storey, Wall
from services.bim.outside_only import storeys_from_outside
from services.bim.preprocessing import WorkingCloud, preprocess
from services.bim.reveals import usual_m
from services.bim.slabs import find_slabs
from services.bim.storey_outlines import Outline, marked_external, outline_of, polygon_of
from services.bim.walls import StoreyRuns, close_walls, find_storey_runs

_DOMAIN_FAILURES = (shapely.errors.ShapelyError, np.linalg.LinAlgError)
"""What geometry that nobody thought of ends in. Anything else is a defect, and ends the job."""

Floats = NDArray[np.float64]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Recognition:
    """The building, and the rotation (3, 3) that made the cloud level: its frame is level_from_cloud @ p_cloud."""

    building: Building
    level_from_cloud: Floats


class _Storeys:
    """Runs one storey after the other, so that what one of them fails at is not lost for the others."""

    def __init__(self, names: list[str], report: Reporter) -> None:
        self._names = names
        self._report = report
        self.failed: dict[str, None] = {}
        self.warnings: list[str] = []

    def attempt(self, index: int, what: str, work: Callable[[], Found], otherwise: Found) -> Found:
        try:
            return work()
        except _DOMAIN_FAILURES as failure:
            warning = f"{self._names[index]}: {what} failed ({failure}); the other storeys are complete"
            self.failed[self._names[index]] = None
            self.warn(warning)
            return otherwise

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)
        self._report.warn(warning)


def recognise(folder: Path, settings: BuildingSettings, report: Reporter) -> Recognition:
    """Recognise the building in a canonical cloud folder.

    Raises UserError if there are too few points, or no floor under a ceiling anywhere.
    """
    cloud = open_cloud(folder)
    report.step("preprocessing")
    working = preprocess(cloud, settings, report)
    report.step("slab_detection")
    layering = find_storeys(working)
    if not layering.storeys:
        layering = storeys_from_outside(working, layering, settings)
    if not layering.storeys:
        heights = ", ".join(f"{level.height_m:.2f}" for level in layering.levels) or "none"
        raise UserError(
            ErrorCode.INVALID_CLOUD,
            "No storey was found: nowhere does a ceiling lie over a floor, and no façades enclose a building. Heights with horizontal faces (m): "
            f"{heights}. Check that +z is up and the unit is right, or upload a scan that shows floors and ceilings.",
        )
    names = [f"Storey {index}" for index in range(len(layering.storeys))]
    storeys = _Storeys(names, report)
    if layering.seen_from_outside:
        storeys.warn(
            "The scan shows the building from outside only: floors and ceilings are assumed between the ground and the roof, "
            "and there are no inner walls."
        )
    for name, layers in zip(names, layering.storeys, strict=True):
        report.log(f"  {name}: floor {layers.floor_m:.3f} m, ceiling {layers.ceiling_m:.3f} m")
    report.step("wall_detection")
    walls, outlines = _walls(layering, working, settings, storeys, report)
    building = Building(
        storeys=tuple(
            Storey(index, names[index], layers.floor_m, layers.ceiling_m, polygon_of(outlines[index].whole))
            for index, layers in enumerate(layering.storeys)
        ),
        slabs=find_slabs(layering, outlines, working, settings),
        walls=walls,
    )
    building = _furnished(building, working, settings, storeys, report)
    return Recognition(
        replace(building, warnings=tuple(storeys.warnings), failed_storeys=tuple(storeys.failed)),
        working.level_from_cloud,
    )


def _walls(
    layering: Layering, cloud: WorkingCloud, settings: BuildingSettings, storeys: _Storeys, report: Reporter
) -> tuple[tuple[Wall, ...], list[Outline]]:
    drafts: list[StoreyRuns | None] = []
    for index in range(len(layering.storeys)):
        look = partial(find_storey_runs, cloud, layering, index, settings, report)
        drafts.append(storeys.attempt(index, "finding walls", look, None))
    # Storeys of one house have the same outer walls more often than not; one with few windows borrows from the others.
    shared = usual_m([depth for draft in drafts if draft is not None for depth in draft.own_depths_m])
    found: list[Wall] = []
    outlines: list[Outline] = []
    for index, (layers, draft) in enumerate(zip(layering.storeys, drafts, strict=True)):
        seen: tuple[Wall, ...] = ()
        if draft is not None:
            close = partial(close_walls, draft, shared, settings, report)
            seen = storeys.attempt(index, "joining walls", close, ())
        walls = [replace(wall, wall_id=f"w{index}.{number}") for number, wall in enumerate(seen)]
        outline = outline_of(layers, walls, layering.grid)
        outlines.append(outline)
        found += marked_external(walls, outline)
    return tuple(found), outlines


def _furnished(
    building: Building, cloud: WorkingCloud, settings: BuildingSettings, storeys: _Storeys, report: Reporter
) -> Building:
    """The same building with openings, columns and spaces."""
    walls = [tuple(wall for wall in building.walls if wall.storey == s.index) for s in building.storeys]
    holes: list[tuple[Opening, ...]] = []
    standing: list[tuple[Column, ...]] = []
    rooms: list[tuple[Space, ...]] = []
    report.step("opening_detection")
    for storey, own in zip(building.storeys, walls, strict=True):
        look = partial(openings.main, storey, own, cloud, settings, report)
        holes.append(storeys.attempt(storey.index, "finding openings", look, ()))
    report.step("zone_detection")
    for storey, own, open_ in zip(building.storeys, walls, holes, strict=True):
        stand = partial(columns.main, storey, own, cloud, settings, report)
        standing.append(storeys.attempt(storey.index, "finding columns", stand, ()))
        enclose = partial(spaces.main, storey, own, open_, standing[-1], cloud, settings, report)
        rooms.append(storeys.attempt(storey.index, "finding spaces", enclose, ()))
    return replace(
        building,
        openings=tuple(chain.from_iterable(holes)),
        columns=tuple(chain.from_iterable(standing)),
        spaces=tuple(chain.from_iterable(rooms)),
    )
