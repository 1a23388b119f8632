"""A furnished flat of six rooms with exact geometry.

All truth is exact: the surfaces are planar and their corners float64, in the building frame of `samples.plan`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samples import furniture, plan, textures
from samples.plan import Lamp, Opening, Room, Slab, Wall, opening_box, openings_of_side, wall_named
from samples.surfaces import Face, Patches, Surfaces, box_face
from samples.textures import TextureAtlas


@dataclass(frozen=True)
class Flat:
    """The building and everything in it."""

    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    openings: tuple[Opening, ...]
    slabs: tuple[Slab, ...]
    lamps: tuple[Lamp, ...]
    patches: Patches
    atlas: TextureAtlas

    def room(self, name: str) -> Room:
        return next(room for room in self.rooms if room.name == name)


def make_flat(seed: int, texture_scale: float) -> Flat:
    """The flat of a seed: the plan is always the same, decoration and textures follow the seed."""
    atlas = textures.paint_atlas(textures.flat_recipes(), seed, texture_scale)
    surfaces = Surfaces(atlas, np.random.default_rng([seed, 2]))
    for room in plan.ROOMS:
        _room_faces(surfaces, room)
    for opening in plan.OPENINGS:
        _reveals(surfaces, opening)
    _outside(surfaces)
    furniture.furnish(surfaces)
    return Flat(plan.ROOMS, plan.WALLS, plan.OPENINGS, plan.SLABS, plan.LAMPS, surfaces.done(), atlas)


def _room_faces(surfaces: Surfaces, room: Room) -> None:
    (x0, y0), (x1, y1) = room.low_m, room.high_m
    top = room.height_m
    # The faces look inwards: they are faces of boxes that lie behind them.
    _holed(surfaces, (x0, y0, 0), (x0, y1, top), "east", texture=room.wall_finish, holes=openings_of_side(room, "east"))
    _holed(surfaces, (x1, y0, 0), (x1, y1, top), "west", texture=room.wall_finish, holes=openings_of_side(room, "west"))
    _holed(
        surfaces, (x0, y0, 0), (x1, y0, top), "north", texture=room.wall_finish, holes=openings_of_side(room, "north")
    )
    _holed(
        surfaces, (x0, y1, 0), (x1, y1, top), "south", texture=room.wall_finish, holes=openings_of_side(room, "south")
    )
    _holed(surfaces, (x0, y0, 0), (x1, y1, 0), "top", texture=room.floor_finish, holes=[])
    _holed(surfaces, (x0, y0, top), (x1, y1, top), "bottom", texture="ceiling", holes=[])


def _holed(
    surfaces: Surfaces, low: Sequence[float], high: Sequence[float], face: Face, *, texture: str, holes: list[Opening]
) -> None:
    """A flat side cut into the rectangles that its openings leave."""
    along = 1 if face in ("east", "west") else 0
    cuts = sorted({low[along], high[along], *(o.from_m for o in holes), *(o.to_m for o in holes)})
    levels = sorted({low[2], high[2], *(o.sill_m for o in holes), *(o.head_m for o in holes)})
    if face in ("top", "bottom"):
        levels = [low[2], high[2]]
    for a, b in itertools.pairwise(cuts):
        for z0, z1 in itertools.pairwise(levels):
            if any(o.from_m <= a and b <= o.to_m and o.sill_m <= z0 and z1 <= o.head_m for o in holes):
                continue
            piece_low, piece_high = list(low), list(high)
            piece_low[along], piece_high[along] = a, b
            piece_low[2], piece_high[2] = z0, z1
            origin, edge_u, edge_v = box_face(piece_low, piece_high, face)
            # Anchored in the building, so that the pieces of one side join without a seam.
            right, down = edge_u / np.linalg.norm(edge_u), edge_v / np.linalg.norm(edge_v)
            anchor = (float(origin @ right), float(origin @ down))
            surfaces.patch(origin, edge_u, edge_v, texture, anchor=anchor, structure=True)


def _reveals(surfaces: Surfaces, opening: Opening) -> None:
    """The inner sides of an opening: jambs, head and sill."""
    low, high = opening_box(opening)
    sides: tuple[Face, Face] = ("north", "south") if wall_named(opening.wall).direction == "y" else ("east", "west")
    (x0, y0, z0), (x1, y1, z1) = low, high
    if sides == ("north", "south"):
        jambs = (((x0, y0, z0), (x1, y0, z1), sides[0]), ((x0, y1, z0), (x1, y1, z1), sides[1]))
    else:
        jambs = (((x0, y0, z0), (x0, y1, z1), sides[0]), ((x1, y0, z0), (x1, y1, z1), sides[1]))
    lintel: tuple[tuple[float, ...], tuple[float, ...], Face] = ((x0, y0, z1), (x1, y1, z1), "bottom")
    sill: tuple[tuple[float, ...], tuple[float, ...], Face] = ((x0, y0, z0), (x1, y1, z0), "top")
    finish = "wood_light" if opening.opening_class != "window" else "white_paint"
    for piece_low, piece_high, face in (*jambs, lintel, sill):
        origin, edge_u, edge_v = box_face(piece_low, piece_high, face)
        surfaces.patch(origin, edge_u, edge_v, finish, structure=True)


def _outside(surfaces: Surfaces) -> None:
    """The hull, and a bright street on four screens some metres away."""
    low = (*plan.FOOTPRINT_M[0], -plan.SLAB_M)
    high = (*plan.FOOTPRINT_M[1], plan.CEILING_M + plan.SLAB_M)
    sides: tuple[tuple[Face, str], ...] = (("east", "east"), ("west", "west"), ("north", "north"), ("south", "south"))
    for face, wall in sides:
        piece_low, piece_high = list(low), list(high)
        axis = 0 if face in ("east", "west") else 1
        piece_low[axis] = piece_high[axis] = high[axis] if face in ("east", "north") else low[axis]
        _holed(
            surfaces, piece_low, piece_high, face, texture="facade", holes=[o for o in plan.OPENINGS if o.wall == wall]
        )
    caps: tuple[Face, ...] = ("top", "bottom")
    for face in caps:
        origin, edge_u, edge_v = box_face(low, high, face)
        surfaces.patch(origin, edge_u, edge_v, "facade", structure=True)
    away = 9.0
    far_low, far_high = (low[0] - away, low[1] - away, -6.0), (high[0] + away, high[1] + away, 9.0)
    for face, texture in (("east", "street_0"), ("west", "street_1"), ("north", "street_2"), ("south", "street_3")):
        # Turned inside out: the screens face the house.
        origin, edge_u, edge_v = box_face(far_low, far_high, face)
        surfaces.patch(origin + edge_u, -edge_u, edge_v, texture, emission=6.0)
    origin, edge_u, edge_v = box_face(far_low, far_high, "top")
    surfaces.patch(origin + edge_u, -edge_u, edge_v, "ceiling", emission=6.0)
