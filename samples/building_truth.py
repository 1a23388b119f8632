"""The exact truth of a synthetic building, and how it is stored.

A wall is a maximal straight run of one thickness and height between two junctions; it goes on through the T-junctions on its
way. The ends of its centre line lie on the centre lines of the walls that it meets. Openings are the holes in the wall itself,
whatever frames stand in them. A room's outline runs along the faces of the walls around it; openings count as closed.
"""

import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.polygon import orient

from contracts.model import Frozen
from samples.building_plan import BuildingPlan, OpeningClass, SlabClass, StoreyPlan, polygons_of, room_areas

Floats = NDArray[np.float64]
Row4 = tuple[float, float, float, float]
Matrix4 = tuple[Row4, Row4, Row4, Row4]
Spot = tuple[float, float]
Ring = tuple[Spot, ...]


class TrueArea(Frozen):
    """A plan area; rings do not repeat their first corner. The outer one runs counter-clockwise, holes clockwise."""

    outer: Ring
    holes: tuple[Ring, ...] = ()

    def polygon(self) -> Polygon:
        return Polygon(self.outer, self.holes)


class TrueStorey(Frozen):
    """`ceiling_m` is the structural one over most of the storey; `other_ceilings_m` cover a quarter of it or more."""

    index: int
    name: str
    floor_m: float
    ceiling_m: float
    footprint: TrueArea
    other_ceilings_m: tuple[float, ...] = ()


class TrueWall(Frozen):
    """The prism around a centre line. Left of start → end is its left side."""

    wall_id: str
    storey: int
    start: Spot
    end: Spot
    thickness_m: float
    base_m: float
    top_m: float
    is_external: bool

    @property
    def length_m(self) -> float:
        return math.dist(self.start, self.end)


class TrueOpening(Frozen):
    """A hole in a wall. `from_m`, `to_m` run along its centre line from the start; sill and head are heights z."""

    opening_id: str
    wall_id: str
    storey: int
    kind: OpeningClass
    from_m: float
    to_m: float
    sill_m: float
    head_m: float
    leaf: Literal["none", "open", "closed"]


class TrueSlab(Frozen):
    """`storey` is the one that stands on it; for a roof the one below."""

    slab_id: str
    kind: SlabClass
    storey: int
    outline: TrueArea
    bottom_m: float
    top_m: float


class TrueColumn(Frozen):
    """Round, or a rectangle whose first side is turned by `angle_rad` from x."""

    column_id: str
    storey: int
    centre: Spot
    size_m: tuple[float, float]
    angle_rad: float
    base_m: float
    top_m: float
    is_round: bool


class TrueSpace(Frozen):
    """A room between the wall faces. `ceiling_m` is the ceiling one sees; `void` is where its floor or ceiling is open."""

    space_id: str
    storey: int
    name: str
    outline: TrueArea
    floor_m: float
    ceiling_m: float
    area_m2: float
    void: tuple[TrueArea, ...] = ()


class BuildingTruth(Frozen):
    """All that is known. Everything is in the frame of the cloud that it comes with.

    `frame_from_building` moves points from the building's own frame to that one: a turn about z and a shift.
    """

    name: str
    seed: int
    frame_from_building: Matrix4
    storeys: tuple[TrueStorey, ...]
    slabs: tuple[TrueSlab, ...]
    walls: tuple[TrueWall, ...]
    openings: tuple[TrueOpening, ...]
    columns: tuple[TrueColumn, ...]
    spaces: tuple[TrueSpace, ...]

    def wall(self, wall_id: str) -> TrueWall:
        return next(wall for wall in self.walls if wall.wall_id == wall_id)

    def moved(self, new_from_old: Floats) -> "BuildingTruth":
        """The same in another frame. `new_from_old`: (4, 4) float64, a turn about z and a shift."""
        move = _Move(new_from_old)
        return self.model_copy(
            update={
                "frame_from_building": as_rows(new_from_old @ np.array(self.frame_from_building)),
                "storeys": tuple(move.storey(s) for s in self.storeys),
                "slabs": tuple(move.slab(s) for s in self.slabs),
                "walls": tuple(move.wall(w) for w in self.walls),
                "openings": tuple(
                    o.model_copy(update={"sill_m": move.z(o.sill_m), "head_m": move.z(o.head_m)}) for o in self.openings
                ),
                "columns": tuple(move.column(c) for c in self.columns),
                "spaces": tuple(move.space(s) for s in self.spaces),
            }
        )


class _Move:
    def __init__(self, matrix: Floats) -> None:
        self._turn, self._shift = matrix[:2, :2], matrix[:3, 3]
        self.yaw_rad = math.atan2(matrix[1, 0], matrix[0, 0])

    def z(self, height_m: float) -> float:
        return float(height_m + self._shift[2])

    def spot(self, spot: Spot) -> Spot:
        x, y = self._turn @ np.array(spot) + self._shift[:2]
        return float(x), float(y)

    def area(self, area: TrueArea) -> TrueArea:
        return TrueArea(
            outer=tuple(self.spot(s) for s in area.outer),
            holes=tuple(tuple(self.spot(s) for s in hole) for hole in area.holes),
        )

    def storey(self, s: TrueStorey) -> TrueStorey:
        return s.model_copy(
            update={
                "floor_m": self.z(s.floor_m),
                "ceiling_m": self.z(s.ceiling_m),
                "footprint": self.area(s.footprint),
                "other_ceilings_m": tuple(self.z(z) for z in s.other_ceilings_m),
            }
        )

    def slab(self, s: TrueSlab) -> TrueSlab:
        return s.model_copy(
            update={
                "bottom_m": self.z(s.bottom_m),
                "top_m": self.z(s.top_m),
                "outline": self.area(s.outline),
            }
        )

    def wall(self, w: TrueWall) -> TrueWall:
        return w.model_copy(
            update={
                "start": self.spot(w.start),
                "end": self.spot(w.end),
                "base_m": self.z(w.base_m),
                "top_m": self.z(w.top_m),
            }
        )

    def column(self, c: TrueColumn) -> TrueColumn:
        return c.model_copy(
            update={
                "centre": self.spot(c.centre),
                "angle_rad": c.angle_rad + self.yaw_rad,
                "base_m": self.z(c.base_m),
                "top_m": self.z(c.top_m),
            }
        )

    def space(self, s: TrueSpace) -> TrueSpace:
        return s.model_copy(
            update={
                "outline": self.area(s.outline),
                "floor_m": self.z(s.floor_m),
                "ceiling_m": self.z(s.ceiling_m),
                "void": tuple(self.area(hole) for hole in s.void),
            }
        )


def as_rows(matrix: Floats) -> Matrix4:
    a, b, c, d = ((float(w), float(x), float(y), float(z)) for w, x, y, z in matrix)
    return a, b, c, d


def area_of(polygon: Polygon) -> TrueArea:
    """A shapely polygon as plain rings."""
    turned = orient(polygon)
    rings = [tuple((float(x), float(y)) for x, y in ring.coords[:-1]) for ring in (turned.exterior, *turned.interiors)]
    return TrueArea(outer=rings[0], holes=tuple(rings[1:]))


def truth_of(plan: BuildingPlan, seed: int) -> BuildingTruth:
    """What is known about a plan, in the building's own frame."""
    return BuildingTruth(
        name=plan.name,
        seed=seed,
        frame_from_building=as_rows(np.eye(4)),
        storeys=_storeys(plan),
        slabs=_slabs(plan),
        walls=_walls(plan),
        openings=_openings(plan),
        columns=_columns(plan),
        spaces=_spaces(plan),
    )


def _storeys(plan: BuildingPlan) -> tuple[TrueStorey, ...]:
    return tuple(
        TrueStorey(
            index=s.index,
            name=f"Storey {s.index}",
            floor_m=s.floor_m,
            ceiling_m=s.ceiling_m,
            footprint=area_of(s.outline()),
            other_ceilings_m=_other_ceilings(s),
        )
        for s in plan.storeys
    )


def _slabs(plan: BuildingPlan) -> tuple[TrueSlab, ...]:
    return tuple(
        TrueSlab(
            slab_id=s.name,
            kind=s.slab_class,
            storey=s.storey,
            outline=area_of(s.outline),
            bottom_m=s.bottom_m,
            top_m=s.top_m,
        )
        for s in plan.slabs
    )


def _walls(plan: BuildingPlan) -> tuple[TrueWall, ...]:
    return tuple(
        TrueWall(
            wall_id=w.name,
            storey=s.index,
            start=w.start,
            end=w.end,
            thickness_m=w.thickness_m,
            base_m=w.base_m,
            top_m=w.top_m,
            is_external=w.external,
        )
        for s in plan.storeys
        for w in s.walls.values()
    )


def _openings(plan: BuildingPlan) -> tuple[TrueOpening, ...]:
    return tuple(
        TrueOpening(
            opening_id=o.name,
            wall_id=o.wall,
            storey=s.index,
            kind=o.opening_class,
            from_m=o.from_m,
            to_m=o.to_m,
            sill_m=o.sill_m,
            head_m=o.head_m,
            leaf=_leaf(o.leaf_angles_deg),
        )
        for s in plan.storeys
        for o in s.openings
    )


def _columns(plan: BuildingPlan) -> tuple[TrueColumn, ...]:
    return tuple(
        TrueColumn(
            column_id=c.name,
            storey=c.storey,
            centre=c.centre,
            size_m=c.size_m,
            angle_rad=c.angle_rad,
            base_m=c.base_m,
            top_m=c.top_m,
            is_round=c.is_round,
        )
        for s in plan.storeys
        for c in s.columns
    )


def _other_ceilings(storey: StoreyPlan) -> tuple[float, ...]:
    areas = room_areas(storey)
    whole = sum(area.area for area in areas.values())
    heights = sorted({r.structural_ceiling_m for r in storey.rooms} - {storey.ceiling_m})
    return tuple(
        z for z in heights if sum(areas[r.name].area for r in storey.rooms if r.structural_ceiling_m == z) >= whole / 4
    )


def _leaf(angles_deg: tuple[float, ...]) -> Literal["none", "open", "closed"]:
    if not angles_deg:
        return "none"
    return "open" if max(angles_deg) > 0 else "closed"


def _spaces(plan: BuildingPlan) -> tuple[TrueSpace, ...]:
    holes = [(slab.top_m, slab.bottom_m, Polygon(ring)) for slab in plan.slabs for ring in slab.outline.interiors]
    found = []
    for storey in plan.storeys:
        areas = room_areas(storey)
        for room in storey.rooms:
            area = areas[room.name]
            void = tuple(
                area_of(part)
                for top, bottom, hole in holes
                if abs(top - room.floor_m) < 1e-6 or abs(bottom - room.structural_ceiling_m) < 1e-6
                for part in polygons_of(hole.intersection(area))
            )
            found.append(
                TrueSpace(
                    space_id=f"s{storey.index}.{room.name}",
                    storey=storey.index,
                    name=room.name,
                    outline=area_of(area),
                    floor_m=room.floor_m,
                    ceiling_m=room.ceiling_m,
                    area_m2=area.area,
                    void=void,
                )
            )
    return tuple(found)


def save_building_truth(truth: BuildingTruth, path: Path) -> None:
    path.write_text(truth.model_dump_json(indent=1), encoding="utf-8")


def load_building_truth(path: Path) -> BuildingTruth:
    """Reads truth.json."""
    return BuildingTruth.model_validate_json(path.read_bytes())
