"""A building as it was recognised: plain geometry, before it becomes IFC.

Everything is in the cloud's frame (`contracts.clouds`): metres, right-handed, +z up. Plan geometry is (x, y). Polygons are
rings (n, 2) float64 that do not repeat their first corner, outer rings counter-clockwise, holes clockwise.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Polygon:
    """A plan area: outer ring (n, 2) and holes."""

    outer: Floats
    holes: tuple[Floats, ...] = ()


class SlabKind(StrEnum):
    FLOOR = "floor"
    """The lowest slab of a building, on the ground."""
    INTERMEDIATE = "intermediate"
    """Between two storeys: the lower one's ceiling and the upper one's floor."""
    ROOF = "roof"


@dataclass(frozen=True)
class Slab:
    """A horizontal slab. `measured` says which of its sides were seen: an unseen one is by a thickness of the settings."""

    slab_id: str
    kind: SlabKind
    storey: int
    """The storey that stands on it; for a roof the one below."""
    outline: Polygon
    bottom_m: float
    top_m: float
    measured_top: bool
    measured_bottom: bool
    confidence: float


@dataclass(frozen=True)
class Storey:
    """`floor_m` is the upper side of the slab one walks on, `ceiling_m` the lower side of the slab above.

    Where a storey has ceilings of several heights, `ceiling_m` is the structural (highest common) one.
    """

    index: int
    """From 0, upwards by elevation."""
    name: str
    floor_m: float
    ceiling_m: float
    footprint: Polygon


@dataclass(frozen=True)
class Wall:
    """A straight wall: the prism over a rectangle around its centre line.

    `start`, `end` (2,): ends of the centre line, after junctions were closed. Left of start → end is the wall's left side.
    """

    wall_id: str
    storey: int
    start: Floats
    end: Floats
    thickness_m: float
    base_m: float
    top_m: float
    is_external: bool
    measured_faces: int
    """1 or 2: with one, the thickness is by the settings."""
    residual_m: float
    """Median distance of its points to the faces."""
    confidence: float

    @property
    def length_m(self) -> float:
        return float(np.linalg.norm(self.end - self.start))

    @property
    def direction(self) -> Floats:
        """Unit vector (2,) from start to end."""
        return np.asarray((self.end - self.start) / max(self.length_m, 1e-9), np.float64)

    @property
    def normal(self) -> Floats:
        """Unit vector (2,) to the wall's left."""
        along = self.direction
        return np.array([-along[1], along[0]])


class OpeningKind(StrEnum):
    DOOR = "door"
    WINDOW = "window"
    PASSAGE = "passage"


@dataclass(frozen=True)
class Opening:
    """A hole in a wall: a rectangle in the wall's plane."""

    opening_id: str
    wall_id: str
    storey: int
    kind: OpeningKind
    from_m: float
    to_m: float
    """Along the centre line, from the wall's start."""
    sill_m: float
    head_m: float
    """Heights in the cloud's frame, as all z."""
    confidence: float

    @property
    def width_m(self) -> float:
        return self.to_m - self.from_m

    @property
    def height_m(self) -> float:
        return self.head_m - self.sill_m


@dataclass(frozen=True)
class Column:
    """A plain column; round if `is_round`, else a rectangle turned by `angle_rad` (x axis to its first side)."""

    column_id: str
    storey: int
    centre: Floats
    size_m: tuple[float, float]
    angle_rad: float
    base_m: float
    top_m: float
    is_round: bool
    confidence: float


@dataclass(frozen=True)
class Space:
    """A room: its inner outline, from its own floor to its own (lowest large) ceiling."""

    space_id: str
    storey: int
    outline: Polygon
    floor_m: float
    ceiling_m: float
    area_m2: float
    volume_m3: float
    bounding_walls: tuple[str, ...]
    confidence: float


@dataclass(frozen=True)
class Building:
    """All that was recognised, with what went wrong where (a storey's failure leaves the others)."""

    storeys: tuple[Storey, ...]
    slabs: tuple[Slab, ...]
    walls: tuple[Wall, ...] = ()
    openings: tuple[Opening, ...] = ()
    columns: tuple[Column, ...] = ()
    spaces: tuple[Space, ...] = ()
    warnings: tuple[str, ...] = ()
    failed_storeys: tuple[str, ...] = field(default=())
