"""Customary sizes, and the strokes that drawings of buildings are made of."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from shapely.geometry import Polygon

from samples.building_plan import (
    GRID_M,
    BuildingPlan,
    PlanSlab,
    Side,
    SlabClass,
    Spot,
    StoreyPlan,
    only_polygon,
    wall_solids,
)

_DOOR_WIDTHS_M = (0.7, 0.8, 0.9, 1.0)
_DOOR_HEIGHTS_M = (2.0, 2.05, 2.1)
_WINDOWS_M = ((0.6, 0.6, 1.5), (0.9, 1.2, 0.95), (1.2, 1.35, 0.85), (1.5, 1.4, 0.85), (1.8, 1.4, 0.8), (2.0, 1.5, 0.7))
"""Width, height, sill."""
EXTERIOR_M = (0.30, 0.365, 0.40, 0.44, 0.50)
INTERIOR_M = (0.07, 0.10, 0.115, 0.125, 0.15)
BEARING_M = (0.175, 0.20, 0.24)
SLABS_M = (0.20, 0.22, 0.25, 0.28, 0.30)


class Chance:
    """Picks of one seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def of(self, choices: Sequence[float]) -> float:
        return float(choices[int(self._rng.integers(len(choices)))])

    def near(self, value: float, spread: float) -> float:
        """Around a value, to the centimetre."""
        return round(value + float(self._rng.uniform(-spread, spread)), 2)

    def door(self) -> tuple[float, float]:
        return self.of(_DOOR_WIDTHS_M), self.of(_DOOR_HEIGHTS_M)

    def window(self, widest_m: float = 9.0) -> tuple[tuple[float, float], float]:
        """Size and sill."""
        fitting = [w for w in _WINDOWS_M if w[0] <= widest_m]
        width, height, sill = fitting[int(self._rng.integers(len(fitting)))]
        return (width, height), sill

    def leaf(self) -> tuple[float, ...]:
        """Mostly open, a third closed."""
        if self._rng.random() < 0.35:
            return (0.0,)
        return (float(self._rng.uniform(25, 110)),)


def shell(storey: StoreyPlan, corners: Sequence[Spot], thickness_m: float, *, inner: Sequence[int] = ()) -> None:
    """Exterior walls e0, e1 ... along a counter-clockwise ring of centre lines; their left is inside.

    Those of the numbers `inner` have another part of the building on their other side.
    """
    for k, start in enumerate(corners):
        storey.wall(f"e{k}", start, corners[(k + 1) % len(corners)], thickness_m, external=k not in inner)


def windows(storey: StoreyPlan, wall: str, middles_m: Sequence[float], chance: Chance, widest_m: float = 9.0) -> None:
    """Windows in a wall; of low storeys, lower ones."""
    owner = storey.walls[f"w{storey.index}.{wall}"]
    for middle in middles_m:
        size, sill = chance.window(widest_m)
        height = min(size[1], owner.top_m - owner.base_m - sill - 0.15)
        storey.opening(wall, "window", middle, (size[0], height), sill_m=sill)


def inner_door(storey: StoreyPlan, wall: str, middle_m: float, chance: Chance) -> None:
    swing: Side = "left" if chance.of((0, 1)) == 0 else "right"
    storey.opening(wall, "door", middle_m, chance.door(), leaf_angles_deg=chance.leaf(), swing=swing)


def stack(
    storeys: Sequence[StoreyPlan],
    slab_m: Sequence[float],
    voids: Mapping[int, Polygon],
    walls: Sequence[str] | None = None,
) -> tuple[PlanSlab, ...]:
    """The slabs of storeys of one outline: floor, between, roof.

    `slab_m`: thickness of the floor and of the roof. `voids`: holes of the slab below a storey, by its index. `walls`: those
    that bear the slabs, where not all do.
    """
    slabs = []
    for k, storey in enumerate(storeys):
        outline = storey.outline(walls)
        if storey.index in voids:
            outline = only_polygon(outline.difference(voids[storey.index]))
        below = storeys[k - 1].ceiling_m if k else storey.floor_m - slab_m[0]
        kind: SlabClass = "intermediate" if k else "floor"
        slabs.append(PlanSlab(f"slab{storey.index}", kind, storey.index, outline, below, storey.floor_m))
    top = storeys[-1]
    slabs.append(PlanSlab("roof", "roof", top.index, top.outline(walls), top.ceiling_m, top.ceiling_m + slab_m[-1]))
    return tuple(slabs)


def check_plan(plan: BuildingPlan) -> None:
    """Raises ValueError where openings overlap or meet another wall, or where a wall is not a maximal run."""
    for storey in plan.storeys:
        solids = wall_solids(storey.walls)
        holes = {o.name: storey.walls[o.wall].strip(o.from_m, o.to_m) for o in storey.openings}
        for opening in storey.openings:
            for name, solid in solids.items():
                if name != opening.wall and holes[opening.name].intersection(solid).area > GRID_M:
                    raise ValueError(f"{opening} meets wall {name}")
            for other in storey.openings:
                same_height = other.sill_m < opening.head_m and opening.sill_m < other.head_m
                if other is not opening and same_height and holes[opening.name].intersects(holes[other.name]):
                    raise ValueError(f"{opening} meets {other}")
        _check_runs(storey)


def _check_runs(storey: StoreyPlan) -> None:
    walls = list(storey.walls.values())
    for i, one in enumerate(walls):
        for other in walls[i + 1 :]:
            joined = min(math.dist(a, b) for a in (one.start, one.end) for b in (other.start, other.end)) < 1e-6
            straight = abs(float(one.direction @ other.normal)) < 1e-6
            alike = one.thickness_m == other.thickness_m and one.top_m == other.top_m and one.external == other.external
            if joined and straight and alike:
                raise ValueError(f"{one.name} and {other.name} are one wall")
