"""Which surfaces bound a space, where that is certain (first level space boundaries).

A wall bounds a space where the space's outline runs along the wall's face; a door or window where it lies in such a stretch.
A passage is a virtual boundary: one walks through it. A slab bounds a space where it covers all of it, at its floor or ceiling.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray

from services.bim.model import Building, Opening, OpeningKind, Slab, SlabKind, Space, Wall
from services.bim.quantities import area_of

Floats = NDArray[np.float64]

_PARALLEL_SIN = np.sin(np.radians(3.0))
_BESIDE_M = 0.05
_SHORTEST_M = 0.05
_COVERED = 0.98


class Outside(StrEnum):
    """What is behind a boundary; named as in IfcInternalOrExternalEnum."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"
    EARTH = "EXTERNAL_EARTH"


@dataclass(frozen=True)
class Boundary:
    """A flat part of a space's surface. corners (n, 2), in a plane: origin + u * x_axis + v * y_axis.

    origin, x_axis, y_axis (3,) in the model's frame; x_axis × y_axis points out of the space.
    """

    key: str
    space_id: str
    element_id: str
    origin: Floats
    x_axis: Floats
    y_axis: Floats
    corners: Floats
    outside: Outside
    virtual: bool = False
    parent: str | None = None
    """Key of the wall's boundary that a door or window lies in."""


@dataclass(frozen=True)
class _Extent:
    """A rectangle on a wall's face: along its centre line, and in height."""

    from_m: float
    to_m: float
    low_m: float
    high_m: float


@dataclass(frozen=True)
class _Stretch:
    """Part of a wall's face along a space's edge: from `low_m` to `high_m` on the wall's centre line."""

    wall: Wall
    left: bool
    low_m: float
    high_m: float


def main(building: Building) -> list[Boundary]:
    """All certain boundaries; those of walls come before those of what is in them."""
    walls = {wall.wall_id: wall for wall in building.walls}
    openings: dict[str, list[Opening]] = defaultdict(list)
    for opening in building.openings:
        openings[opening.wall_id].append(opening)
    found: list[Boundary] = []
    for space in building.spaces:
        found.extend(_of_walls(space, walls, openings))
        found.extend(_of_slabs(space, building.slabs))
    return found


def _of_walls(space: Space, walls: Mapping[str, Wall], openings: Mapping[str, list[Opening]]) -> Iterator[Boundary]:
    for wall_id in dict.fromkeys(space.bounding_walls):
        if wall_id not in walls:
            continue
        for number, stretch in enumerate(_stretches(space, walls[wall_id])):
            low, high = max(space.floor_m, stretch.wall.base_m), min(space.ceiling_m, stretch.wall.top_m)
            if high - low < _SHORTEST_M:
                continue
            whole = _Extent(stretch.low_m, stretch.high_m, low, high)
            of_wall = _upright(space, wall_id, number, stretch, whole)
            yield of_wall
            for opening in openings.get(wall_id, []):
                part = _Extent(
                    max(opening.from_m, whole.from_m),
                    min(opening.to_m, whole.to_m),
                    max(opening.sill_m, low),
                    min(opening.head_m, high),
                )
                if part.to_m - part.from_m > opening.width_m / 2 and part.high_m - part.low_m > opening.height_m / 2:
                    passage = opening.kind is OpeningKind.PASSAGE
                    in_wall = _upright(space, opening.opening_id, number, stretch, part)
                    yield replace(in_wall, parent=of_wall.key, virtual=passage)


def _stretches(space: Space, wall: Wall) -> Iterator[_Stretch]:
    for corners in (space.outline.outer, *space.outline.holes):
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            stretch = _stretch(a, b, wall)
            if stretch is not None:
                yield stretch


def _stretch(a: Floats, b: Floats, wall: Wall) -> _Stretch | None:
    """Rings have the space on their left, so the wall is on the right of a → b."""
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    if abs(along @ wall.normal) > _PARALLEL_SIN:
        return None
    offset = float((a + b) @ wall.normal / 2 - wall.start @ wall.normal)
    left = bool(along @ wall.direction > 0)
    if abs(offset - (wall.thickness_m / 2 if left else -wall.thickness_m / 2)) > _BESIDE_M:
        return None
    ends = sorted((float((a - wall.start) @ wall.direction), float((b - wall.start) @ wall.direction)))
    reach = wall.thickness_m / 2
    low, high = max(ends[0], -reach), min(ends[1], wall.length_m + reach)
    return _Stretch(wall, left, low, high) if high - low >= _SHORTEST_M else None


def _upright(space: Space, element_id: str, number: int, stretch: _Stretch, extent: _Extent) -> Boundary:
    wall = stretch.wall
    side = 1.0 if stretch.left else -1.0
    # Seen from the space, x runs so that x × up points into the wall.
    begin = extent.from_m if stretch.left else extent.to_m
    plan = wall.start + wall.direction * begin + side * wall.normal * wall.thickness_m / 2
    x_axis = side * wall.direction
    width, height = extent.to_m - extent.from_m, extent.high_m - extent.low_m
    return Boundary(
        key=f"{space.space_id}/{element_id}/{number}",
        space_id=space.space_id,
        element_id=element_id,
        origin=np.array([plan[0], plan[1], extent.low_m]),
        x_axis=np.array([x_axis[0], x_axis[1], 0.0]),
        y_axis=np.array([0.0, 0.0, 1.0]),
        corners=np.array([[0, 0], [width, 0], [width, height], [0, height]]),
        outside=Outside.EXTERNAL if wall.is_external else Outside.INTERNAL,
    )


def _of_slabs(space: Space, slabs: Sequence[Slab]) -> Iterator[Boundary]:
    outline = area_of(space.outline)
    ring = np.asarray(outline.exterior.coords)[:-1]
    for slab in slabs:
        below = abs(slab.top_m - space.floor_m) <= _BESIDE_M
        above = abs(slab.bottom_m - space.ceiling_m) <= _BESIDE_M
        if not (below or above):
            continue
        if shapely.intersection(area_of(slab.outline), outline).area < _COVERED * outline.area:
            continue
        height = slab.top_m if below else slab.bottom_m
        # The floor's plane looks down: its y axis is turned over.
        turn = -1.0 if below else 1.0
        yield Boundary(
            key=f"{space.space_id}/{slab.slab_id}",
            space_id=space.space_id,
            element_id=slab.slab_id,
            origin=np.array([0.0, 0.0, height]),
            x_axis=np.array([1.0, 0.0, 0.0]),
            y_axis=np.array([0.0, turn, 0.0]),
            corners=ring * (1.0, turn),
            outside=_behind(slab),
        )


def _behind(slab: Slab) -> Outside:
    if slab.kind is SlabKind.FLOOR:
        return Outside.EARTH
    return Outside.EXTERNAL if slab.kind is SlabKind.ROOF else Outside.INTERNAL
