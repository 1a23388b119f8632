"""Faces that belong together: two that turn their backs on each other, with nothing but the wall in between.

Parallel faces at a wall's distance are paired (as in Ochmann et al. 2016); here the space between must be free of ceiling, and
what lies before each face says which way it looks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from services.bim.face_profiles import Profile, bins_on, strip_cover
from services.bim.room_cover import RoomCover
from services.bim.wall_faces import BIN_M, Line

MAX_PARALLEL_RAD = np.deg2rad(2.5)
MIN_CORE_M = 0.15
"""Two faces must be seen opposite each other over such a length to be a pair."""
_THICKNESS_SLACK_M = 0.012
_CLOSED_SHARE = 0.4
_KNOWN_SHARE = 0.3
_SHORT_M = 0.5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two faces, by number, and the bins of the first where both were seen."""

    first: int
    second: int
    thickness_m: float
    both: Bools


class Ledger:
    """Which partner each bin of each face has, -1 where none, and which bins a wall has used."""

    def __init__(self, profiles: list[Profile]) -> None:
        self.partner = [np.full(len(p.facing), -1, np.int64) for p in profiles]
        self.distance = [np.full(len(p.facing), np.inf) for p in profiles]
        self.used = [np.zeros(len(p.facing), np.bool_) for p in profiles]

    def offer(self, face: int, bins: Ints, partner: int, distance: float) -> None:
        """The nearest partner wins."""
        nearer = bins[distance < self.distance[face][bins]]
        self.partner[face][nearer] = partner
        self.distance[face][nearer] = distance


def find_pairs(profiles: list[Profile], cover: RoomCover, settings: BuildingSettings) -> list[Pair]:
    """All pairs of faces that may bound a wall, those that face each other longest first."""
    if not profiles:
        return []
    along = np.array([p.line.along for p in profiles])
    middle = np.array([p.line.at(p.face.centres.mean()) for p in profiles])
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    low = float(settings.min_wall_thickness) - _THICKNESS_SLACK_M
    high = float(settings.max_wall_thickness) + _THICKNESS_SLACK_M
    parallel = np.abs(along @ normal.T) < np.sin(MAX_PARALLEL_RAD)
    found = []
    for one in range(len(profiles)):
        # Rough: the exact distance is taken where both were seen.
        offset = (middle - middle[one]) @ normal[one]
        near = parallel[one] & (np.abs(offset) < high + 0.5)
        for other in np.flatnonzero(near[one + 1 :]) + one + 1:
            pair = _pair(one, int(other), profiles, cover, (low, high))
            if pair is not None:
                found.append(pair)
    return sorted(found, key=lambda pair: (-int(pair.both.sum()), pair.thickness_m))


def _pair(one: int, other: int, profiles: list[Profile], cover: RoomCover, limits: tuple[float, float]) -> Pair | None:
    first, second = profiles[one], profiles[other]
    places = first.face.centres
    bins, inside = bins_on(first.line, second, places)
    both = inside & first.face.seen & second.face.seen[bins]
    if both.sum() * BIN_M < MIN_CORE_M:
        return None
    offset = offset_between(first, second, places[both])
    if not limits[0] <= abs(offset) <= limits[1]:
        return None
    side = 1 if offset > 0 else -1
    turned = _same_way(first, second)
    facing, opposite = first.facing, second.facing[bins] * turned
    # The room of the first lies away from the second, and the other way round; unknown is no objection.
    both &= np.isin(facing, (0, -side)) & np.isin(opposite, (0, side))
    between = strip_cover(first.line, places, cover, min(0.0, offset), max(0.0, offset))
    both &= between < _CLOSED_SHARE
    known = both & ((facing == -side) | (opposite == side))
    certain = both & (facing == -side) & (opposite == side)
    # A short pair may be a curtain in front of a wall: there both must be seen to face away from each other.
    enough = certain if both.sum() * BIN_M < _SHORT_M else known
    if both.sum() * BIN_M < MIN_CORE_M or enough.sum() < _KNOWN_SHARE * both.sum():
        return None
    thickness = abs(offset_between(first, second, places[both]))
    return Pair(one, other, thickness, both)


def _same_way(first: Profile, second: Profile) -> int:
    return 1 if float(first.line.along @ second.line.along) > 0 else -1


def offset_between(first: Profile, second: Profile, places: Floats) -> float:
    """How far to the left of the first line the second runs, in the middle of `places`."""
    middle = first.line.at(float(places.mean()))
    on_second = second.line.at(float(second.line.places(middle[None])[0]))
    return float(first.line.offsets(on_second[None])[0])


def axis_between(first: Profile, second: Profile, pair: Pair) -> Line:
    """The centre line between two faces; the longer face knows the direction better."""
    places = first.face.centres[pair.both]
    offset = offset_between(first, second, places)
    turned = _same_way(first, second)
    weight = np.array([first.face.length_m, second.face.length_m]) ** 2
    along = weight[0] * first.line.along + weight[1] * turned * second.line.along
    middle = first.line.at(float(places.mean()), offset / 2)
    return Line(middle, along / np.linalg.norm(along))
