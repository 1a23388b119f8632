"""Slabs between, under and over storeys: the faces that bound them are the storeys' floors and ceilings.

A slab whose other side nobody saw gets its thickness from the settings: the lowest floor, and a roof without its upper side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from contracts.building_settings import BuildingSettings
from services.bim.levels import Layering, StoreyLayers
from services.bim.model import Slab, SlabKind
from services.bim.preprocessing import WorkingCloud
from services.bim.slab_voids import find_voids
from services.bim.storey_outlines import Outline, layer_of, polygon_of, polygons_in

MAX_SLAB_M = 1.5
_MIN_SLAB_M = 0.08
_MIN_PART_M2 = 1.5
_OTHER_LEVEL_M = 0.1
_WALL_REACH_M = 0.8
_ROOF_SHARE = 0.3


@dataclass(frozen=True)
class _Plate:
    """A plan area with one height: a floor, or a ceiling."""

    area: BaseGeometry
    height_m: float


@dataclass(frozen=True)
class _Scene:
    layering: Layering
    outlines: Sequence[Outline]
    """As the storeys of the layering."""
    cloud: WorkingCloud
    settings: BuildingSettings


def find_slabs(
    layering: Layering, outlines: Sequence[Outline], cloud: WorkingCloud, settings: BuildingSettings
) -> tuple[Slab, ...]:
    """All slabs from the lowest to the highest; `outlines` as the storeys of `layering`."""
    scene = _Scene(layering, outlines, cloud, settings)
    found: list[Slab] = []
    for index in range(len(layering.storeys)):
        between, rest = _over_storeys(index, scene)
        found += [*between, *_over_ground(index, rest, scene), *_roofs(index, scene)]
    found.sort(key=lambda slab: (slab.top_m, slab.storey))
    return tuple(replace(slab, slab_id=f"slab_{number:03d}") for number, slab in enumerate(found, 1))


def _over_storeys(index: int, scene: _Scene) -> tuple[list[Slab], BaseGeometry]:
    """The slabs between a storey and those below it, and what is left of its outline."""
    storey, outline = scene.layering.storeys[index], scene.outlines[index]
    ground: BaseGeometry = outline.whole
    found: list[Slab] = []
    for below, lower in enumerate(scene.layering.storeys):
        if below == index or not _MIN_SLAB_M < storey.floor_m - lower.ceiling_m < MAX_SLAB_M:
            continue
        common = outline.whole.intersection(scene.outlines[below].whole)
        if common.area < _MIN_PART_M2:
            continue
        # One slab goes out to the upper storey's edge; what overhangs by less than a wall is part of it.
        area = outline.whole.intersection(common.buffer(_WALL_REACH_M, join_style="mitre"))
        ground = ground.difference(area)
        rooms = unary_union(outline.rooms).intersection(unary_union(scene.outlines[below].rooms))
        voids = find_voids(scene.cloud, rooms, lower.ceiling_m, storey.floor_m)
        heights = (lower.ceiling_m, storey.floor_m)
        found += [
            _slab(SlabKind.INTERMEDIATE, index, part, heights, (True, True))
            for part in _parts(area.difference(unary_union(voids)))
        ]
    return found, ground


def _over_ground(index: int, ground: BaseGeometry, scene: _Scene) -> list[Slab]:
    """The slabs under a storey where no other one is below."""
    thickness = float(scene.settings.bfs_thickness)
    return [
        _slab(SlabKind.FLOOR, index, part, (plate.height_m - thickness, plate.height_m), (False, True))
        for plate in _plates(index, scene, "floor")
        for part in _parts(plate.area.intersection(ground))
    ]


def _roofs(index: int, scene: _Scene) -> list[Slab]:
    """What lies over a storey where no other one stands on it."""
    storey, outline = scene.layering.storeys[index], scene.outlines[index]
    area: BaseGeometry = outline.whole
    for above, upper in enumerate(scene.layering.storeys):
        if above != index and _MIN_SLAB_M < upper.floor_m - storey.ceiling_m < MAX_SLAB_M:
            common = outline.whole.intersection(scene.outlines[above].whole)
            area = area.difference(common.buffer(_WALL_REACH_M, join_style="mitre"))
    found: list[Slab] = []
    for plate in _plates(index, scene, "ceiling"):
        top = _roof_top(plate.height_m, storey, scene.layering)
        high = plate.height_m + float(scene.settings.tfs_thickness) if top is None else top
        found += [
            _slab(SlabKind.ROOF, index, part, (plate.height_m, high), (True, top is not None))
            for part in _parts(plate.area.intersection(area))
        ]
    return found


def _roof_top(ceiling_m: float, storey: StoreyLayers, layering: Layering) -> float | None:
    """The lowest face that was seen from above over much of a storey, not far over its ceiling."""
    for level in layering.levels:
        thickness = level.height_m - ceiling_m
        if (
            _MIN_SLAB_M < thickness < MAX_SLAB_M
            and (level.up & storey.region).sum() > _ROOF_SHARE * storey.region.sum()
        ):
            return level.height_m
    return None


def _plates(index: int, scene: _Scene, side: Literal["floor", "ceiling"]) -> list[_Plate]:
    """The storey's outline cut by the heights of its rooms' floors or structural ceilings."""
    storey, outline = scene.layering.storeys[index], scene.outlines[index]
    usual = storey.floor_m if side == "floor" else storey.ceiling_m
    others: dict[float, list[shapely.Polygon]] = {}
    main = []
    for room in outline.rooms:
        layer = layer_of(room, storey, scene.layering.grid)
        height = layer.floor_m if side == "floor" else layer.ceiling_m
        # A lower ceiling is a false one: the slab above it goes on.
        if abs(height - usual) > _OTHER_LEVEL_M and (side == "floor" or height > usual):
            others.setdefault(height, []).append(room)
        else:
            main.append(room)
    rest: BaseGeometry = outline.whole
    plates = []
    for height, rooms in sorted(others.items()):
        own: BaseGeometry = unary_union(rooms).buffer(_WALL_REACH_M, join_style="mitre")
        own = own.intersection(rest).difference(unary_union(main).buffer(0.02, join_style="mitre"))
        plates.append(_Plate(own, height))
        rest = rest.difference(own)
    return [_Plate(rest, usual), *plates]


def _parts(area: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons of an area that are more than slivers."""
    opened = area.buffer(-0.02, join_style="mitre").buffer(0.02, join_style="mitre").simplify(0.01)
    return [part for part in polygons_in(opened) if part.area > _MIN_PART_M2]


def _slab(
    kind: SlabKind, storey: int, area: shapely.Polygon, heights: tuple[float, float], measured: tuple[bool, bool]
) -> Slab:
    """`heights`, `measured`: of bottom and top."""
    return Slab(
        slab_id="",
        kind=kind,
        storey=storey,
        outline=polygon_of(area),
        bottom_m=heights[0],
        top_m=heights[1],
        measured_top=measured[1],
        measured_bottom=measured[0],
        confidence=round(float(np.mean([0.95 if known else 0.6 for known in measured])), 3),
    )
