"""Drawings of larger buildings: offices and a hall on columns."""

import math

import numpy as np
import shapely

from samples.building_drawing import BEARING_M, INTERIOR_M, SLABS_M, Chance, inner_door, shell, stack, windows
from samples.building_plan import BuildingPlan, PlanStair, StoreyPlan


def office(rng: np.random.Generator) -> BuildingPlan:
    """Three storeys: a corridor with a false ceiling, a glazed façade and a glazed meeting room, a stair core."""
    chance = Chance(rng)
    length, width = chance.near(20.0, 0.5), chance.near(12.2, 0.2)
    south, north = 5.2, 7.1
    core = length - 3.1
    thick, bearing = chance.of((0.30, 0.365)), chance.of(BEARING_M)
    slab_m = chance.of(SLABS_M)
    storeys: list[StoreyPlan] = []
    floor = 0.0
    for index in range(3):
        storey = StoreyPlan(index, floor, floor + (3.2 if index == 0 else 2.9))
        floor = storey.ceiling_m + slab_m
        storeys.append(storey)
        shell(storey, ((0, 0), (length, 0), (length, width), (0, width)), thick)
        storey.wall("cs", (0, south), (length, south), bearing)
        storey.wall("cn", (0, north), (length, north), bearing)
        storey.wall("core", (core, north), (core, width), 0.24)
        _south_rooms(storey, length, south, chance)
        _north_rooms(storey, core, (north, width), chance)
        inner_door(storey, "cn", core + 2.1, chance)
        if index == 0:
            storey.opening("e3", "door", width - (south + north) / 2, (1.2, 2.2), leaf_angles_deg=(0.0,))
        else:
            storey.opening("e3", "window", width - (south + north) / 2, (1.0, 1.5), sill_m=0.8)
        windows(storey, "e2", [1.5], chance, 1.0)
        storey.room("corridor", "empty", (3.0, (south + north) / 2), ceiling_m=storey.ceiling_m - 0.35)
        storey.room("core", "empty", (core + 2.6, north + 0.4))
    run = width - north - thick / 2 - bearing / 2 - 1.3
    stairs, voids = [], {}
    for k, left in ((0, core + 0.17), (1, core + 1.35)):
        foot = (left + 0.5, north + bearing / 2 + 0.25)
        rise = storeys[k + 1].floor_m - storeys[k].floor_m
        stairs.append(PlanStair(k, foot, (0.0, 1.0), 1.0, storeys[k].floor_m, rise, run))
        voids[k + 1] = shapely.box(left - 0.03, foot[1] + 0.5, left + 1.03, foot[1] + run)
    slabs = stack(storeys, (0.35, chance.of(SLABS_M)), voids)
    return BuildingPlan("office", tuple(storeys), slabs, tuple(stairs))


def _south_rooms(storey: StoreyPlan, length: float, south: float, chance: Chance) -> None:
    """Four rooms behind floor-to-ceiling windows; the first one is glazed to the corridor as well."""
    stops = [0.0, chance.near(6.0, 0.3), chance.near(10.4, 0.3), chance.near(15.0, 0.3), length]
    high = storey.ceiling_m - storey.floor_m
    for k, x in enumerate(stops[1:-1]):
        storey.wall(f"s{k}", (x, 0), (x, south), chance.of((0.10, 0.125, 0.15)))
    for k in range(4):
        a, b = stops[k], stops[k + 1]
        for share in (0.28, 0.72):
            storey.opening("e0", "window", a + (b - a) * share, (min(1.6, (b - a) * 0.32), high - 0.3), sill_m=0.05)
        if k == 0:
            for middle in (1.2, 2.9):
                storey.opening("cs", "window", middle, (1.4, 2.3), sill_m=0.02)
        inner_door(storey, "cs", b - 1.1, chance)
        # Grid ceilings hang in half of the rooms.
        lowered = storey.ceiling_m - chance.of((0.2, 0.3)) if chance.of((0, 1)) else None
        storey.room(f"south{k}", "office", ((a + b) / 2, south / 2), ceiling_m=lowered)


def _north_rooms(storey: StoreyPlan, core: float, span: tuple[float, float], chance: Chance) -> None:
    stops = [0.0, chance.near(4.6, 0.3), chance.near(7.4, 0.2), chance.near(12.4, 0.3), core]
    north, width = span
    length = storey.walls[f"w{storey.index}.e2"].length_m
    for k, x in enumerate(stops[1:-1]):
        storey.wall(f"n{k}", (x, north), (x, width), chance.of(INTERIOR_M))
    for k in range(4):
        a, b = stops[k], stops[k + 1]
        if k == 2:
            storey.opening("cn", "passage", (a + b) / 2, (2.2, 2.3))
        else:
            inner_door(storey, "cn", (a + b) / 2, chance)
        windows(storey, "e2", [length - (a + b) / 2], chance, 1.6)
        storey.room(f"north{k}", ("office", "bath", "kitchen", "office")[k], ((a + b) / 2, (north + width) / 2))


def column_hall(rng: np.random.Generator) -> BuildingPlan:
    """A hall on square, round and turned columns, and a row of rooms beside it."""
    chance = Chance(rng)
    length, width, side = chance.near(16.0, 0.5), chance.near(12.0, 0.4), chance.near(3.6, 0.2)
    storey = StoreyPlan(0, 0.0, chance.of((3.0, 3.25, 3.5)))
    shell(storey, ((0, 0), (length, 0), (length, width), (0, width)), chance.of((0.30, 0.365, 0.40)))
    storey.wall("side", (0, side), (length, side), chance.of(BEARING_M))
    for k, share in enumerate((0.32, 0.64)):
        storey.wall(f"s{k}", (length * share, 0), (length * share, side), chance.of(INTERIOR_M))
    for share in (0.2, 0.5):
        inner_door(storey, "side", length * share, chance)
    storey.opening("side", "passage", length * 0.82, (2.4, 2.4))
    for i in range(3):
        for j in range(2):
            centre = (length * (i + 1) / 4, side + (width - side) * (j + 1) / 3)
            if (i + j) % 3 == 0:
                storey.column(centre, (0.4, 0.4), is_round=True)
            else:
                angle = math.radians(45) if (i + j) % 3 == 1 and i == 1 else 0.0
                storey.column(centre, (chance.of((0.3, 0.35, 0.4)), 0.4), angle_rad=angle)
    storey.opening("e2", "door", length / 2, (1.8, 2.2), leaf_angles_deg=(0.0, 0.0))
    windows(storey, "e2", [2.0, 4.6, length - 4.6, length - 2.0], chance)
    windows(storey, "e3", [(width - side) / 2], chance)
    windows(storey, "e1", [side + 2.5, width - 2.0], chance)
    windows(storey, "e0", [length * 0.16, length * 0.48, length * 0.82], chance)
    storey.room("hall", "office", (length / 2, side + 1.0))
    for k, share in enumerate((0.16, 0.48, 0.82)):
        storey.room(f"side{k}", ("office", "bath", "hall")[k], (length * share, side / 2))
    return BuildingPlan("column_hall", (storey,), stack([storey], (0.35, chance.of(SLABS_M)), {}))
