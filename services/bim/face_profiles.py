"""What lies before and behind wall faces: on which side the room is, and how far behind the next one begins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from services.bim.room_cover import RoomCover
from services.bim.wall_faces import BIN_M, Face, Line

STEP_M = 0.02
OPEN_SHARE = 0.5
FRONT_M = 0.07
"""A room that begins within this distance of a face lies in front of it; nearer than that the ceiling's normals fail."""
_SMOOTH_BINS = 5
_PAST_WALL_M = 0.2
_CARRY_M = 3.0

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Profile:
    """A face with its surroundings, bin by bin.

    facing (m,) int8: 1 where the room lies to the left of the line, -1 to the right, 0 where neither is known, 2 where there
    is room on both sides, so nothing solid. behind_m (m,): distance to the room behind, inf where none is near.
    """

    face: Face
    facing: NDArray[np.int8]
    behind_m: Floats
    outdoors: Bools

    @property
    def line(self) -> Line:
        return self.face.line


def profile_of(face: Face, cover: RoomCover, reach_m: float) -> Profile:
    """Look up to `reach_m` to both sides of a face."""
    steps = np.asarray((np.arange(int(reach_m / STEP_M)) + 0.5) * STEP_M, np.float64)
    left = first_room_m(side_cover(face.line, face.centres, cover, steps), steps)
    right = first_room_m(side_cover(face.line, face.centres, cover, -steps), steps)
    facing = np.zeros(len(left), np.int8)
    facing[(left <= FRONT_M) & (right > FRONT_M)] = 1
    facing[(right <= FRONT_M) & (left > FRONT_M)] = -1
    facing[(right <= FRONT_M) & (left <= FRONT_M)] = 2
    facing = _carried_along(facing, face.seen)
    behind = np.where(facing == 1, right, np.where(facing == -1, left, np.inf))
    # Far enough behind to be past any wall.
    back = np.where(facing == 1, -1.0, 1.0) * (reach_m + _PAST_WALL_M)
    outdoors = ~cover.is_indoors(face.line.at(face.centres, back)) & (np.abs(facing) == 1)
    return Profile(face, facing, behind, outdoors)


def _carried_along(facing: NDArray[np.int8], seen: Bools) -> NDArray[np.int8]:
    """Where something hides the room before a face, a curtain or a long corridor's dark end, it looks the way it does nearby."""
    own = np.flatnonzero(seen & (np.abs(facing) == 1))
    lost = np.flatnonzero(seen & (facing == 0))
    if not len(own) or not len(lost):
        return facing
    after = np.searchsorted(own, lost)
    before, after = own[np.maximum(after - 1, 0)], own[np.minimum(after, len(own) - 1)]
    nearest = np.where(np.abs(lost - before) <= np.abs(after - lost), before, after)
    near = np.abs(lost - nearest) * BIN_M < _CARRY_M
    found = facing.copy()
    found[lost[near]] = facing[nearest[near]]
    return found


def side_cover(line: Line, places: Floats, cover: RoomCover, offsets: Floats) -> Floats32:
    """Cover (m, k) at `offsets` (k,) to the left of `places` (m,) along a line, smoothed along it."""
    sampled = cover.sampled(line.at(places[:, None], offsets[None, :]))
    return np.asarray(uniform_filter1d(sampled, _SMOOTH_BINS, axis=0, mode="nearest"), np.float32)


def first_room_m(cover: Floats32, steps: Floats) -> Floats:
    """The distance (m,) at which cover (m, k) becomes open, inf where it does not."""
    is_open = cover >= OPEN_SHARE
    first = is_open.argmax(1)
    return np.where(is_open.any(1), steps[first] - STEP_M / 2, np.inf)


def strip_cover(line: Line, places: Floats, cover: RoomCover, low_m: float, high_m: float) -> Floats:
    """The mean cover (m,) between two offsets, away from the faces that bound the strip."""
    inset = min(0.02, 0.3 * (high_m - low_m))
    offsets = np.linspace(low_m + inset, high_m - inset, max(3, round((high_m - low_m) / STEP_M)))
    return np.asarray(side_cover(line, places, cover, offsets).mean(1), np.float64)


def bins_on(line: Line, profile: Profile, places: Floats) -> tuple[NDArray[np.int64], Bools]:
    """The bins of `profile` that lie beside `places` (m,) of a nearly parallel line, and which of them exist."""
    index = np.floor(profile.line.places(line.at(places)) / BIN_M).astype(np.int64) - profile.face.first
    inside = (index >= 0) & (index < len(profile.facing))
    return np.where(inside, index, 0), inside
