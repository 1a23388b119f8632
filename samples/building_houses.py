"""Drawings of houses. A function for each: the random numbers of a seed give a plan."""

import math

import numpy as np
import shapely

from samples.building_drawing import (
    BEARING_M,
    EXTERIOR_M,
    INTERIOR_M,
    SLABS_M,
    Chance,
    inner_door,
    shell,
    stack,
    windows,
)
from samples.building_plan import BuildingPlan, PlanSlab, PlanStair, RoomUse, Spot, StoreyPlan, only_polygon


def simple_house(rng: np.random.Generator) -> BuildingPlan:
    """One storey: five rooms around a hall."""
    chance = Chance(rng)
    length, width = chance.near(10.5, 1.0), chance.near(8.5, 0.6)
    spine, south = chance.near(4.6, 0.3), chance.near(5.6, 0.3)
    west, east = south - chance.near(1.6, 0.2), south + chance.near(1.6, 0.2)
    thick, bearing, thin = chance.of(EXTERIOR_M), chance.of(BEARING_M), chance.of(INTERIOR_M)
    storey = StoreyPlan(0, 0.0, chance.of((2.45, 2.5, 2.6, 2.75)))
    shell(storey, ((0, 0), (length, 0), (length, width), (0, width)), thick)
    storey.wall("spine", (0, spine), (length, spine), bearing)
    storey.wall("south", (south, 0), (south, spine), thin)
    storey.wall("west", (west, spine), (west, width), thin)
    storey.wall("east", (east, spine), (east, width), chance.of(INTERIOR_M))
    storey.opening("spine", "passage", west / 2, (chance.near(1.4, 0.2), chance.near(2.2, 0.08)))
    inner_door(storey, "spine", (west + south) / 2, chance)
    inner_door(storey, "spine", (south + east) / 2, chance)
    inner_door(storey, "west", (width - spine) * 0.5, chance)
    inner_door(storey, "east", (width - spine) * 0.55, chance)
    storey.opening("e2", "door", length - south, (1.0, 2.1), leaf_angles_deg=(0.0,))
    storey.opening("e0", "window", 2.4, (2.4, storey.ceiling_m - 0.2), sill_m=0.02)
    windows(storey, "e0", [(south + length) / 2], chance)
    windows(storey, "e1", [spine * 0.5], chance)
    windows(storey, "e1", [(spine + width) / 2], chance, 1.0)
    windows(storey, "e2", [length - west / 2], chance)
    windows(storey, "e3", [width - spine * 0.5, (width - spine) / 2], chance, 1.6)
    storey.room("living", "living", (south / 2, spine / 2))
    storey.room("bedroom", "bedroom", ((south + length) / 2, spine / 2))
    storey.room("kitchen", "kitchen", (west / 2, (spine + width) / 2))
    storey.room("hall", "hall", (south, (spine + width) / 2))
    storey.room("bath", "bath", ((east + length) / 2, (spine + width) / 2))
    slabs = stack([storey], (0.3, chance.of(SLABS_M)), {})
    return BuildingPlan("simple_house", (storey,), slabs)


def two_storey_house(rng: np.random.Generator) -> BuildingPlan:
    """Two storeys of about 100 m2; a stair in the hall between two rows of rooms."""
    chance = Chance(rng)
    length, width = chance.near(11.4, 0.6), chance.near(9.2, 0.4)
    left = chance.near(4.2, 0.2)
    right = left + 2.7
    thick, bearing, thin = chance.of(EXTERIOR_M), chance.of(BEARING_M), chance.of(INTERIOR_M)
    slab_m = chance.of(SLABS_M)
    low = StoreyPlan(0, 0.0, chance.of((2.5, 2.6, 2.7)))
    high_floor = low.ceiling_m + slab_m
    high = StoreyPlan(1, high_floor, high_floor + chance.of((2.4, 2.5, 2.6)))
    for storey in (low, high):
        shell(storey, ((0, 0), (length, 0), (length, width), (0, width)), thick)
        storey.wall("left", (left, 0), (left, width), bearing)
        storey.wall("right", (right, 0), (right, width), thin)
        across = chance.near(4.4, 0.4), chance.near(4.8, 0.4)
        storey.wall("west", (0, across[0]), (left, across[0]), chance.of(INTERIOR_M))
        storey.wall("east", (right, across[1]), (length, across[1]), chance.of(INTERIOR_M))
        inner_door(storey, "right", 1.6, chance)
        inner_door(storey, "right", width - 1.5, chance)
        inner_door(storey, "left", width - 2.2, chance)
        if storey is low:
            storey.opening("left", "passage", 2.0, (1.8, 2.3))
            storey.opening("west", "door", 2.2, (1.4, 2.1), leaf_angles_deg=(80.0, 65.0))
            storey.opening("e0", "door", (left + right) / 2, (1.1, 2.1), leaf_angles_deg=(0.0,))
        else:
            inner_door(storey, "left", 1.8, chance)
            windows(storey, "e0", [(left + right) / 2], chance, 1.3)
        windows(storey, "e0", [left / 2, (right + length) / 2], chance)
        windows(storey, "e1", [across[1] / 2, (across[1] + width) / 2], chance)
        windows(storey, "e2", [(length - right) / 2, length - (left + right) / 2, length - left / 2], chance, 1.6)
        windows(storey, "e3", [(width - across[0]) / 2, width - across[0] / 2], chance)
        names = ("living", "kitchen", "office", "bath") if storey is low else ("bedroom", "child", "guest", "bath")
        uses: tuple[RoomUse, ...] = ("living", "kitchen", "office", "bath")
        if storey is high:
            uses = ("bedroom", "bedroom", "living", "bath")
        spots = ((left / 2, 2.0), (left / 2, width - 2), ((right + length) / 2, 2.0), ((right + length) / 2, width - 2))
        for name, use, spot in zip(names, uses, spots, strict=True):
            storey.room(name, use, spot)
        storey.room("hall", "hall", ((left + right) / 2, width / 2))
    face = right - thin / 2
    run = 3.4
    stair = PlanStair(0, (face - 0.5, 3.0), (0.0, 1.0), 0.95, 0.0, high_floor, run)
    void = shapely.box(face - 1.05, 3.6, face, 3.0 + run)
    slabs = stack([low, high], (0.3, chance.of(SLABS_M)), {1: void})
    return BuildingPlan("two_storey_house", (low, high), slabs, (stair,))


def skewed_house(rng: np.random.Generator) -> BuildingPlan:
    """One storey; its north wall and one wall within stand at odd angles."""
    chance = Chance(rng)
    length, east, west = chance.near(11.5, 0.5), chance.near(6.6, 0.3), chance.near(9.2, 0.3)
    middle = chance.near(5.2, 0.2)
    thick = chance.of(EXTERIOR_M)
    storey = StoreyPlan(0, 0.0, chance.of((2.5, 2.65, 2.8)))
    shell(storey, ((0, 0), (length, 0), (length, east), (0, west)), thick)
    storey.wall("middle", (middle, 0), (middle, west + (east - west) * middle / length), chance.of(BEARING_M))
    storey.wall("slanted", (middle, 2.9), (length, chance.near(3.9, 0.3)), chance.of(INTERIOR_M))
    storey.wall("cross", (0, 4.7), (middle, 4.7), chance.of(INTERIOR_M))
    storey.opening("middle", "passage", 1.5, (1.6, 2.25))
    inner_door(storey, "middle", 6.0, chance)
    inner_door(storey, "slanted", 1.5, chance)
    inner_door(storey, "cross", middle - 1.4, chance)
    storey.opening("e0", "door", middle + 1.6, (1.0, 2.1), leaf_angles_deg=(0.0,))
    windows(storey, "e0", [middle / 2, (middle + length) / 2 + 1.2], chance)
    windows(storey, "e1", [1.8, east - 1.4], chance, 1.3)
    windows(storey, "e2", [2.5, 8.6], chance, 2.0)
    windows(storey, "e3", [2.0, west - 2.2], chance)
    storey.room("living", "living", (middle / 2, 2.0))
    storey.room("bedroom", "bedroom", (middle / 2, 6.5))
    storey.room("entrance", "hall", (middle + 1.5, 1.5))
    storey.room("study", "office", (middle + 2, 5.5))
    return BuildingPlan("skewed_house", (storey,), stack([storey], (0.3, chance.of(SLABS_M)), {}))


def curved_house(rng: np.random.Generator) -> BuildingPlan:
    """One storey; the south façade is an arc of straight pieces, each with a window."""
    chance = Chance(rng)
    width, pieces = chance.near(8.0, 0.4), 5
    half_rad, radius = math.radians(chance.near(25, 3)), chance.near(14.2, 0.5)
    angles = np.linspace(-half_rad, half_rad, pieces + 1)
    reach = radius * math.sin(half_rad)
    arc: list[Spot] = [(reach + radius * math.sin(a), radius * (math.cos(half_rad) - math.cos(a))) for a in angles]
    length = 2 * reach
    thick = chance.of((0.24, 0.30, 0.365))
    storey = StoreyPlan(0, 0.0, chance.of((2.6, 2.8, 3.0)))
    shell(storey, (*arc, (length, width), (0.0, width)), thick)
    spine = chance.near(3.9, 0.2)
    first = ((arc[1][0] + arc[2][0]) / 2, (arc[1][1] + arc[2][1]) / 2)
    storey.wall("spine", (0, spine), (length, spine), chance.of(BEARING_M))
    storey.wall("south", first, (first[0], spine), chance.of(INTERIOR_M))
    storey.wall("north0", (length * 0.4, spine), (length * 0.4, width), chance.of(INTERIOR_M))
    storey.wall("north1", (length * 0.7, spine), (length * 0.7, width), chance.of(INTERIOR_M))
    inner_door(storey, "spine", length * 0.15, chance)
    inner_door(storey, "spine", length * 0.55, chance)
    inner_door(storey, "south", (spine - first[1]) * 0.6, chance)
    inner_door(storey, "north1", 1.2, chance)
    storey.opening("north0", "passage", 1.6, (1.2, 2.1))
    for k in range(pieces):
        # A wall within meets the second piece in its middle.
        share, broad = (0.24, 0.6) if k == 1 else (0.5, chance.near(1.4, 0.2))
        storey.opening(f"e{k}", "window", share * storey.walls[f"w0.e{k}"].length_m, (broad, 1.5), sill_m=0.8)
    storey.opening(f"e{pieces}", "door", width - 2.0, (1.0, 2.1), leaf_angles_deg=(0.0,))
    windows(storey, f"e{pieces + 1}", [length * 0.15, length * 0.45, length * 0.8], chance, 1.6)
    windows(storey, f"e{pieces + 2}", [width - spine - 2.0, width - spine / 2], chance, 1.3)
    storey.room("west", "bedroom", (first[0] / 2, 2.4))
    storey.room("east", "living", (length * 0.7, 1.5))
    storey.room("kitchen", "kitchen", (length * 0.2, spine + 1.5))
    storey.room("bath", "bath", (length * 0.55, spine + 1.5))
    storey.room("lobby", "hall", (length * 0.85, spine + 1.5))
    return BuildingPlan("curved_house", (storey,), stack([storey], (0.3, chance.of(SLABS_M)), {}))


def attached_house(rng: np.random.Generator) -> BuildingPlan:
    """An L-shaped house of two storeys, and a lower garage against its east wall, its floor a step lower."""
    chance = Chance(rng)
    length, short, depth, arm = (
        chance.near(11.0, 0.4),
        chance.near(5.4, 0.2),
        chance.near(9.6, 0.3),
        chance.near(5.8, 0.2),
    )
    thick, bearing = chance.of((0.365, 0.40, 0.44)), chance.of(BEARING_M)
    low = StoreyPlan(0, 0.0, chance.of((2.6, 2.7)))
    floor = low.ceiling_m + chance.of(SLABS_M)
    high = StoreyPlan(1, floor, floor + chance.of((2.45, 2.55)))
    corners = ((0, 0), (length, 0), (length, short), (arm, short), (arm, depth), (0, depth))
    void = shapely.box(arm - 3.7, short - 1.1, arm - 0.4, short - bearing / 2)
    for storey in (low, high):
        shell(storey, corners, thick, inner=(1,) if storey is low else ())
        storey.wall("across", (0, short), (arm, short), bearing)
        storey.wall("along", (arm, 0), (arm, short), chance.of(INTERIOR_M))
        inner_door(storey, "across", 1.2, chance)
        if storey is low:
            storey.opening("along", "passage", 1.4, (1.5, 2.2))
            storey.opening("e0", "door", 1.6, (1.0, 2.1), leaf_angles_deg=(0.0,))
        else:
            inner_door(storey, "along", 1.4, chance)
            windows(storey, "e1", [short / 2], chance)
            windows(storey, "e0", [1.6], chance, 1.3)
        windows(storey, "e0", [arm + 2.4], chance)
        windows(storey, "e2", [2.2], chance)
        windows(storey, "e3", [(depth - short) / 2], chance, 1.6)
        windows(storey, "e4", [arm / 2], chance)
        windows(storey, "e5", [(depth - short) / 2, depth - 2.2], chance, 1.6)
        storey.room("hall", "hall", (1.0, short / 2))
        storey.room("south", "living" if storey is low else "bedroom", (arm + 2, short / 2))
        storey.room("north", "kitchen" if storey is low else "bedroom", (arm / 2, short + 2))
    stair = PlanStair(0, (arm - 4.2, short - bearing / 2 - 0.5), (1.0, 0.0), 0.9, 0.0, floor, 3.4)
    slabs = stack([low, high], (0.3, chance.of(SLABS_M)), {1: void}, ["e0", "e1", "e2", "e3", "e4", "e5"])
    annex = _annex(low, (length, short), chance)
    return BuildingPlan("attached_house", (low, high), (*slabs, *annex), (stair,))


def _annex(storey: StoreyPlan, corner: Spot, chance: Chance) -> tuple[PlanSlab, ...]:
    """A garage to the east of wall e1, as deep as that wall; its slabs."""
    length, short = corner
    end, base, top, thin = length + chance.near(5.4, 0.3), -0.15, chance.of((2.25, 2.35)), 0.20
    storey.wall("g0", (length, 0), (end, 0), thin, external=True, base_m=base, top_m=top)
    storey.wall("g1", (end, 0), (end, short), thin, external=True, base_m=base, top_m=top)
    storey.wall("g2", (end, short), (length, short), thin, external=True, base_m=base, top_m=top)
    storey.opening("g1", "door", short / 2, (2.5, 2.0), leaf_angles_deg=(0.0,))
    storey.opening("g0", "window", 2.6, (0.9, 0.6), sill_m=1.3)
    storey.opening("e1", "door", short - 1.2, (0.8, 2.0), leaf_angles_deg=(0.0,))
    storey.tall_room("garage", "garage", ((length + end) / 2, short / 2), top, base)
    outline = storey.outline(["g0", "g1", "g2", "e1"])
    return (
        PlanSlab("annex_floor", "floor", 0, outline, base - 0.25, base),
        PlanSlab("annex_roof", "roof", 0, outline, top, top + 0.2),
    )


def split_level_house(rng: np.random.Generator) -> BuildingPlan:
    """One floor level with two structural ceilings: low rooms, one with a false ceiling, beside a tall hall."""
    chance = Chance(rng)
    low_end, end, width = chance.near(8.4, 0.3), chance.near(14.4, 0.3), chance.near(8.2, 0.3)
    tall, out = chance.of((3.5, 3.8, 4.1)), 0.7
    thick, thin = chance.of((0.30, 0.365)), chance.of(INTERIOR_M)
    storey = StoreyPlan(0, 0.0, chance.of((2.5, 2.6, 2.75)))
    storey.wall("l0", (0, 0), (low_end, 0), thick, external=True)
    storey.wall("l1", (low_end, width), (0, width), thick, external=True)
    storey.wall("l2", (0, width), (0, 0), thick, external=True)
    storey.wall("h0", (low_end, -out), (end, -out), thick, external=True, top_m=tall)
    storey.wall("h1", (end, -out), (end, width + out), thick, external=True, top_m=tall)
    storey.wall("h2", (end, width + out), (low_end, width + out), thick, external=True, top_m=tall)
    storey.wall("h3", (low_end, width + out), (low_end, -out), chance.of(BEARING_M), top_m=tall)
    storey.wall("spine", (0, 4.4), (low_end, 4.4), chance.of(BEARING_M))
    storey.wall("cross", (4.3, 4.4), (4.3, width), thin)
    storey.opening("h3", "passage", out + width - 2.0, (2.0, 2.3))
    inner_door(storey, "h3", out + 2.0, chance)
    inner_door(storey, "spine", 2.0, chance)
    inner_door(storey, "cross", 1.6, chance)
    storey.opening("h0", "door", 2.0, (1.6, 2.1), leaf_angles_deg=(0.0, 0.0))
    storey.opening("h1", "window", (width + 2 * out) / 2, (2.8, tall - 0.4), sill_m=0.05)
    windows(storey, "h2", [1.5, 4.2], chance, 1.6)
    windows(storey, "l0", [2.0, 5.6], chance)
    windows(storey, "l1", [2.0, low_end - 2.1], chance, 1.6)
    windows(storey, "l2", [width - 2.2], chance)
    storey.room("living", "living", (4.0, 2.0))
    storey.room("bedroom", "bedroom", (2.0, 6.2))
    storey.room("bath", "bath", (6.3, 6.2), ceiling_m=storey.ceiling_m - chance.of((0.2, 0.25, 0.3)))
    storey.tall_room("hall", "office", ((low_end + end) / 2, width / 2), tall)
    low_outline = only_polygon(
        storey.outline(["l0", "l1", "l2", "h3"]).difference(storey.outline(["h0", "h1", "h2", "h3"]))
    )
    tall_outline = storey.outline(["h0", "h1", "h2", "h3"])
    thickness = chance.of(SLABS_M)
    slabs = (
        PlanSlab("slab0", "floor", 0, storey.outline(), -0.3, 0.0),
        PlanSlab("low_roof", "roof", 0, low_outline, storey.ceiling_m, storey.ceiling_m + thickness),
        PlanSlab("tall_roof", "roof", 0, tall_outline, tall, tall + thickness),
    )
    return BuildingPlan("split_level_house", (storey,), slabs)


def garage(rng: np.random.Generator) -> BuildingPlan:
    """A free-standing garage with a store; thin walls, a closed gate, low ceiling."""
    chance = Chance(rng)
    length, width = chance.near(8.4, 0.4), chance.near(6.0, 0.3)
    storey = StoreyPlan(0, 0.0, chance.of((2.4, 2.45, 2.5)))
    shell(storey, ((0, 0), (length, 0), (length, width), (0, width)), chance.of((0.175, 0.20, 0.24)))
    split = length - 2.6
    storey.wall("store", (split, 0), (split, width), chance.of(INTERIOR_M))
    storey.opening("store", "passage", 1.2, (0.9, storey.ceiling_m - 0.002))
    storey.opening("e0", "door", split / 2, (2.5, 2.1), leaf_angles_deg=(0.0,))
    storey.opening("e1", "door", 1.5, chance.door(), leaf_angles_deg=(0.0,))
    windows(storey, "e3", [width / 2], chance, 1.3)
    windows(storey, "e2", [1.3], chance, 1.0)
    storey.room("garage", "garage", (split / 2, width / 2))
    storey.room("store", "store", (split + 1.2, width / 2))
    return BuildingPlan("garage", (storey,), stack([storey], (0.2, 0.2), {}))
