"""Plans that nobody drew: a rectangle is halved again and again into rooms, and doors make a tree of them."""

import math
from dataclasses import dataclass

import numpy as np

from samples.building_drawing import (
    BEARING_M,
    EXTERIOR_M,
    INTERIOR_M,
    SLABS_M,
    Chance,
    check_plan,
    inner_door,
    shell,
    stack,
)
from samples.building_plan import BuildingPlan, PlanWall, RoomUse, StoreyPlan, room_areas

_NARROWEST_M = 1.9
_DOOR_SPACE_M = 1.3
_ATTEMPTS = 200


@dataclass(frozen=True)
class _Cell:
    """A rectangle between centre lines."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


def random_house(rng: np.random.Generator) -> BuildingPlan:
    """One storey."""
    return _drawn(rng, 1)


def random_two_storeys(rng: np.random.Generator) -> BuildingPlan:
    """Two storeys with plans of their own, and no stair: its hole is elsewhere (a lift that was not scanned)."""
    return _drawn(rng, 2)


def _drawn(rng: np.random.Generator, count: int) -> BuildingPlan:
    """Draws until a plan is sound: walls that would be one, or doors too near to corners, are drawn again."""
    trouble = ValueError("nothing was drawn")
    for _ in range(_ATTEMPTS):
        try:
            plan = _attempt(rng, count)
            check_plan(plan)
            _check_offsets(plan)
        except ValueError as found:
            trouble = found
        else:
            return plan
    raise trouble


def _check_offsets(plan: BuildingPlan) -> None:
    """Raises ValueError where two walls nearly run on in each other: nobody builds that, and no plan tells it from one wall."""
    for storey in plan.storeys:
        walls = list(storey.walls.values())
        for i, one in enumerate(walls):
            for other in walls[:i]:
                if abs(float(one.direction @ other.normal)) > 0.1:
                    continue
                relative = np.array([other.start, other.end]) - np.array(one.start)
                across = float(np.abs(relative @ one.normal).min())
                along = relative @ one.direction
                gap = max(float(along.min()) - one.length_m, -float(along.max()))
                if across < 0.35 and gap < 0.35:
                    raise ValueError(f"{one.name} and {other.name} are nearly one wall")


def _attempt(rng: np.random.Generator, count: int) -> BuildingPlan:
    chance = Chance(rng)
    outer = _Cell(0.0, 0.0, chance.near(11.5, 3.0), chance.near(9.0, 1.8))
    thick = chance.of(EXTERIOR_M)
    storeys: list[StoreyPlan] = []
    floor = 0.0
    for index in range(count):
        storey = StoreyPlan(index, floor, round(floor + chance.of((2.4, 2.5, 2.6, 2.75, 3.0, 3.3)), 3))
        floor = storey.ceiling_m + chance.of(SLABS_M)
        corners = ((0.0, 0.0), (outer.x1, 0.0), (outer.x1, outer.y1), (0.0, outer.y1))
        shell(storey, corners, thick)
        cells: list[_Cell] = []
        _halve(storey, outer, cells, rng, chance)
        _name_rooms(storey, cells, rng)
        _join_rooms(storey, cells, rng, chance)
        _light_rooms(storey, cells, rng, chance, with_entrance=index == 0)
        room_areas(storey)
        storeys.append(storey)
    return BuildingPlan("random", tuple(storeys), stack(storeys, (0.3, chance.of(SLABS_M)), {}))


def _halve(storey: StoreyPlan, cell: _Cell, cells: list[_Cell], rng: np.random.Generator, chance: Chance) -> None:
    """Sets a wall across the longer side, and goes on with both parts until they are rooms."""
    w, h = cell.x1 - cell.x0, cell.y1 - cell.y0
    wanted = float(rng.uniform(9.0, 26.0))
    if cell.area < wanted or max(w, h) < 2 * _NARROWEST_M:
        cells.append(cell)
        return
    inner = sum(1 for wall in storey.walls.values() if not wall.external)
    thickness = chance.of(BEARING_M) if inner == 0 else chance.of(INTERIOR_M)
    share = float(rng.uniform(0.33, 0.67))
    if w > h:
        x = round(float(np.clip(cell.x0 + share * w, cell.x0 + _NARROWEST_M, cell.x1 - _NARROWEST_M)), 2)
        storey.wall(f"i{inner}", (x, cell.y0), (x, cell.y1), thickness)
        parts = (_Cell(cell.x0, cell.y0, x, cell.y1), _Cell(x, cell.y0, cell.x1, cell.y1))
    else:
        y = round(float(np.clip(cell.y0 + share * h, cell.y0 + _NARROWEST_M, cell.y1 - _NARROWEST_M)), 2)
        storey.wall(f"i{inner}", (cell.x0, y), (cell.x1, y), thickness)
        parts = (_Cell(cell.x0, cell.y0, cell.x1, y), _Cell(cell.x0, y, cell.x1, cell.y1))
    for part in parts:
        _halve(storey, part, cells, rng, chance)


def _name_rooms(storey: StoreyPlan, cells: list[_Cell], rng: np.random.Generator) -> None:
    small: tuple[RoomUse, ...] = ("bath", "hall", "store", "office")
    large: tuple[RoomUse, ...] = ("living", "kitchen", "bedroom", "office")
    for k, cell in enumerate(cells):
        uses = small if cell.area < 11 else large
        lowered = storey.ceiling_m - 0.25 if rng.random() < 0.12 and storey.ceiling_m - storey.floor_m > 2.55 else None
        storey.room(f"room{k}", uses[int(rng.integers(4))], cell.middle, ceiling_m=lowered)


def _join_rooms(storey: StoreyPlan, cells: list[_Cell], rng: np.random.Generator, chance: Chance) -> None:
    """A door or a passage in just so many walls that one can walk from every room to every other."""
    group = list(range(len(cells)))
    pairs = [(i, k) for i in range(len(cells)) for k in range(i)]
    for n in rng.permutation(len(pairs)):
        i, k = pairs[int(n)]
        border = _border(storey, cells[i], cells[k])
        if group[i] == group[k] or border is None:
            continue
        wall, low, high = border
        # Only as much of the door's side as no other wall joins.
        middle = round(float(rng.uniform(low, high)), 2)
        if rng.random() < 0.2:
            top = storey.ceiling_m - storey.floor_m
            height = chance.of((2.1, 2.2, min(2.35, top - 0.1)))
            storey.opening(wall, "passage", middle, (chance.of((0.9, 1.0, 1.1)), min(height, top - 0.05)))
        else:
            inner_door(storey, wall, middle, chance)
        group = [group[i] if g == group[k] else g for g in group]
    if len(set(group)) > 1:
        raise ValueError("some rooms cannot be reached")


def _border(storey: StoreyPlan, a: _Cell, b: _Cell) -> tuple[str, float, float] | None:
    """The inner wall between two cells, and from where to where along it the middle of a door may be."""
    for wall in storey.walls.values():
        if wall.external:
            continue
        upright = wall.start[0] == wall.end[0]
        at = wall.start[0] if upright else wall.start[1]
        sides = ((a.x0, a.x1, b.x0, b.x1), (a.y0, a.y1, b.y0, b.y1))[0 if upright else 1]
        if at not in (sides[0], sides[1]) or at not in (sides[2], sides[3]):
            continue
        spans = ((a.y0, a.y1, b.y0, b.y1), (a.x0, a.x1, b.x0, b.x1))[0 if upright else 1]
        first = wall.start[1] if upright else wall.start[0]
        low, high = max(spans[0], spans[2]) - first, min(spans[1], spans[3]) - first
        within = low > -1e-9 and high < wall.length_m + 1e-9
        if within and high - low > _DOOR_SPACE_M + 0.4:
            return wall.name.split(".", 1)[1], low + _DOOR_SPACE_M / 2 + 0.15, high - _DOOR_SPACE_M / 2 - 0.15
    return None


def _light_rooms(
    storey: StoreyPlan, cells: list[_Cell], rng: np.random.Generator, chance: Chance, *, with_entrance: bool
) -> None:
    """A window in most stretches of façade, and one entrance."""
    entrance = with_entrance
    for cell in cells:
        for k in range(4):
            wall = storey.walls[f"w{storey.index}.e{k}"]
            span = _facade(wall, cell, k)
            if span is None or span[1] - span[0] < 1.7:
                continue
            middle = round((span[0] + span[1]) / 2 + float(rng.uniform(-0.15, 0.15)), 2)
            if entrance:
                storey.opening(f"e{k}", "door", middle, (1.0, 2.1), leaf_angles_deg=(0.0,))
                entrance = False
            elif rng.random() < 0.8:
                _window(storey, f"e{k}", (middle, span[1] - span[0] - 0.9), rng, chance)


def _window(
    storey: StoreyPlan, wall: str, place: tuple[float, float], rng: np.random.Generator, chance: Chance
) -> None:
    middle, widest = place
    high = storey.ceiling_m - storey.floor_m
    if rng.random() < 0.15:
        storey.opening(wall, "window", middle, (min(widest, 1.8), high - 0.25), sill_m=0.03)
        return
    (width, height), sill = chance.window(widest)
    storey.opening(wall, "window", middle, (width, min(height, high - sill - 0.15)), sill_m=sill)


def _facade(wall: PlanWall, cell: _Cell, side: int) -> tuple[float, float] | None:
    """From where to where along exterior wall e0 (south), e1, e2 or e3 a cell touches it."""
    (ax, ay), (bx, by) = wall.start, wall.end
    flush = (cell.y0 == ay, cell.x1 == ax, cell.y1 == ay, cell.x0 == ax)[side]
    if not flush:
        return None
    if side in (0, 2):
        ends = sorted((abs(cell.x0 - ax), abs(cell.x1 - ax)))
    else:
        ends = sorted((abs(cell.y0 - ay), abs(cell.y1 - ay)))
    if not math.isclose(math.dist((ax, ay), (bx, by)), wall.length_m):
        raise AssertionError("the façade is straight")
    return ends[0], ends[1]
