"""A house of two storeys, drawn by hand: every number about it is known, none comes from the code under test.

Before it is turned and moved it measures 10 x 8 m outside, with its north-east corner cut off. Ground floor: exterior walls of
0.30 m, two partitions of 0.115 m that cross (X) and end at exterior walls (T). First floor: partitions of 0.24 m and 0.10 m that
meet in a star (Y), one of which ends free. The slab between has a stairwell.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry

from services.bim.model import Building, Column, Opening, OpeningKind, Slab, SlabKind, Space, Storey, Wall
from services.bim.model import Polygon as PlanArea

Floats = NDArray[np.float64]

OUTSIDE = Polygon([(0, 0), (10, 0), (10, 5.5), (7, 8), (0, 8)])
EXTERIOR_M = 0.30
PARTITION_M = 0.115


def one(area: BaseGeometry) -> Polygon:
    """An area that is in one piece."""
    assert isinstance(area, Polygon)
    return area


INSIDE = one(OUTSIDE.buffer(-EXTERIOR_M, join_style="mitre"))
STAIRWELL = box(1.0, 5.0, 2.2, 7.4)
GROUND_M, CEILING_M, UPPER_M, TOP_M = 1.25, 3.85, 4.10, 6.60
ROOF_M = TOP_M + 0.40
BASE_M = GROUND_M - 0.30


@dataclass(frozen=True)
class Pose:
    """Where the drawing lies in the cloud: turned about the origin, then moved in plan."""

    turn_deg: float = 17.0
    shift: tuple[float, float] = (12.3, -4.5)

    def points(self, drawn: Floats) -> Floats:
        turn = np.radians(self.turn_deg)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.asarray(np.asarray(drawn, np.float64) @ matrix.T + self.shift)

    def area(self, drawn: Polygon) -> PlanArea:
        outer = np.asarray(drawn.exterior.coords)[:-1]
        if not drawn.exterior.is_ccw:
            outer = outer[::-1]
        holes = [np.asarray(hole.coords)[:-1] for hole in drawn.interiors]
        clockwise = [hole[::-1] if inner.is_ccw else hole for hole, inner in zip(holes, drawn.interiors, strict=True)]
        return PlanArea(self.points(outer), tuple(self.points(hole) for hole in clockwise))


def exterior_walls(pose: Pose, storey: int, base_m: float, top_m: float) -> list[Wall]:
    """Five walls around, counter-clockwise, centre lines meeting at their crossings. South first."""
    ring = np.asarray(one(OUTSIDE.buffer(-EXTERIOR_M / 2, join_style="mitre")).exterior.coords)[:-1]
    ring = ring if Polygon(ring).exterior.is_ccw else ring[::-1]
    ring = np.roll(ring, -int(np.argmin(ring.sum(axis=1))), axis=0)
    return [
        wall(
            pose,
            f"{storey}e{i}",
            storey,
            (ring[i], ring[(i + 1) % len(ring)]),
            EXTERIOR_M,
            heights_m=(base_m, top_m),
            external=True,
        )
        for i in range(len(ring))
    ]


def wall(
    pose: Pose,
    wall_id: str,
    storey: int,
    line: tuple[Floats | tuple[float, float], Floats | tuple[float, float]],
    thickness_m: float,
    *,
    heights_m: tuple[float, float],
    external: bool = False,
) -> Wall:
    start, end = pose.points(np.asarray(line, np.float64))
    return Wall(
        wall_id=wall_id,
        storey=storey,
        start=start,
        end=end,
        thickness_m=thickness_m,
        base_m=heights_m[0],
        top_m=heights_m[1],
        is_external=external,
        measured_faces=1 if external else 2,
        residual_m=0.0021,
        confidence=0.93,
    )


def opening(
    opening_id: str, wall_id: str, kind: OpeningKind, along: tuple[float, float], heights_m: tuple[float, float]
) -> Opening:
    return Opening(opening_id, wall_id, int(wall_id[0]), kind, along[0], along[1], heights_m[0], heights_m[1], 0.9)


def rooms(
    pose: Pose, storey: int, floor_m: float, ceiling_m: float, outlines: list[tuple[Polygon, tuple[str, ...]]]
) -> list[Space]:
    return [
        Space(
            space_id=f"{storey}r{i}",
            storey=storey,
            outline=pose.area(outline),
            floor_m=floor_m,
            ceiling_m=ceiling_m,
            area_m2=outline.area,
            volume_m3=outline.area * (ceiling_m - floor_m),
            bounding_walls=walls,
            confidence=0.97,
        )
        for i, (outline, walls) in enumerate(outlines)
    ]


def ground_floor(pose: Pose) -> tuple[list[Wall], list[Opening], list[Space]]:
    heights = (GROUND_M, CEILING_M)
    walls = [
        *exterior_walls(pose, 0, *heights),
        wall(pose, "0p0", 0, ((5, 0.15), (5, 7.85)), PARTITION_M, heights_m=heights),
        wall(pose, "0p1", 0, ((0.15, 4), (9.85, 4)), PARTITION_M, heights_m=heights),
    ]
    floor = GROUND_M
    openings = [
        opening("0d0", "0e0", OpeningKind.DOOR, (2.0, 3.01), (floor, floor + 2.13)),
        # Its jamb is 5 cm from the corner of the room.
        opening("0d1", "0p0", OpeningKind.DOOR, (0.20, 1.085), (floor, floor + 2.01)),
        opening("0d2", "0p1", OpeningKind.DOOR, (1.5, 3.1), (floor, floor + 2.01)),
        opening("0p2", "0p1", OpeningKind.PASSAGE, (6.0, 7.4), (floor, floor + 2.30)),
        opening("0w0", "0e0", OpeningKind.WINDOW, (5.6, 8.9), (floor + 0.9, floor + 2.2)),
        opening("0w1", "0e2", OpeningKind.WINDOW, (0.4, 2.2), (floor + 0.9, floor + 2.2)),
        opening("0w2", "0e3", OpeningKind.WINDOW, (2.4, 3.6), (floor + 0.9, floor + 2.2)),
        opening("0w3", "0e4", OpeningKind.WINDOW, (5.0, 6.0), (floor + 1.7, floor + 2.3)),
    ]
    half = PARTITION_M / 2
    outlines = [
        (one(INSIDE & box(0, 0, 5 - half, 4 - half)), ("0e0", "0p0", "0p1", "0e4")),
        (one(INSIDE & box(5 + half, 0, 10, 4 - half)), ("0e0", "0e1", "0p1", "0p0")),
        (one(INSIDE & box(5 + half, 4 + half, 10, 8)), ("0p1", "0e1", "0e2", "0e3", "0p0")),
        (one(INSIDE & box(0, 4 + half, 5 - half, 8)), ("0p1", "0p0", "0e3", "0e4")),
    ]
    return walls, openings, rooms(pose, 0, *heights, outlines)


def first_floor(pose: Pose) -> tuple[list[Wall], list[Opening], list[Space]]:
    heights = (UPPER_M, TOP_M)
    hub = (4.0, 4.0)
    walls = [
        *exterior_walls(pose, 1, *heights),
        wall(pose, "1p0", 1, ((4.0, 0.30), hub), 0.24, heights_m=heights),
        wall(pose, "1p1", 1, (hub, (1.5, 6.5)), 0.10, heights_m=heights),
        wall(pose, "1p2", 1, (hub, (6.8, 5.6)), 0.10, heights_m=heights),
    ]
    floor = UPPER_M
    openings = [
        opening("1d0", "1p0", OpeningKind.DOOR, (1.2, 2.0), (floor, floor + 2.01)),
        opening("1w0", "1e1", OpeningKind.WINDOW, (1.0, 3.0), (floor + 0.8, floor + 2.1)),
        opening("1w1", "1e3", OpeningKind.WINDOW, (1.0, 2.1), (floor + 0.8, floor + 2.1)),
    ]
    return (
        walls,
        openings,
        rooms(pose, 1, *heights, [(one(INSIDE & box(4.12, 0, 10, 3.4)), ("1e0", "1e1", "1p0"))]),
    )


def house(pose: Pose = Pose()) -> Building:
    """The whole of it."""
    ground_walls, ground_openings, ground_rooms = ground_floor(pose)
    upper_walls, upper_openings, upper_rooms = first_floor(pose)
    outline = pose.area(OUTSIDE)
    centres = pose.points(np.array([[7.5, 2.0], [2.5, 6.0]]))
    return Building(
        storeys=(
            Storey(0, "Ground floor", GROUND_M, CEILING_M, outline),
            Storey(1, "Floor 1", UPPER_M, TOP_M, outline),
        ),
        slabs=(
            Slab("s0", SlabKind.FLOOR, 0, outline, BASE_M, GROUND_M, True, False, 0.99),
            Slab(
                "s1",
                SlabKind.INTERMEDIATE,
                1,
                pose.area(one(OUTSIDE - STAIRWELL)),
                CEILING_M,
                UPPER_M,
                True,
                True,
                0.98,
            ),
            Slab("s2", SlabKind.ROOF, 1, outline, TOP_M, ROOF_M, False, True, 0.9),
        ),
        walls=(*ground_walls, *upper_walls),
        openings=(*ground_openings, *upper_openings),
        columns=(
            Column("0c0", 0, centres[0], (0.30, 0.40), np.radians(pose.turn_deg), GROUND_M, CEILING_M, False, 0.95),
            Column("0c1", 0, centres[1], (0.35, 0.35), 0.0, GROUND_M, CEILING_M, True, 0.95),
        ),
        spaces=(*ground_rooms, *upper_rooms),
    )
