"""Stretches of wall from faces and pairs of faces.

A wall is a maximal straight run of one thickness: where one face is
hidden, the other carries it on. A face whose back nobody saw is an exterior wall seen from one side.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contracts.building_settings import BuildingSettings
from services.bim.face_pairs import MIN_CORE_M, Ledger, Pair, axis_between, find_pairs
from services.bim.face_profiles import OPEN_SHARE, Profile, bins_on, profile_of, strip_cover
from services.bim.room_cover import RoomCover
from services.bim.wall_faces import BIN_M, Face, Line

_MAX_BRIDGE_M = 5.0
_MAX_OPEN_BRIDGE_M = 0.3
_BACK_SLACK_M = 0.08
_MAX_LOST_M = 1.2
_CORNER_M = 0.04

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Backing(Enum):
    """What was seen behind a wall's face, which its thickness is by."""

    FACE = "face"
    """Its other face."""
    ROOM = "room"
    """The ceiling of the next room, which begins there at the latest."""
    UNSEEN = "unseen"
    """Nothing, within the building."""
    OUTSIDE = "outside"
    """Nothing, where the building ends."""


@dataclass(frozen=True)
class WallRun:
    """A stretch of wall along its centre line, before junctions are closed."""

    axis: Line
    low: float
    high: float
    thickness_m: float
    backed_by: Backing
    tall_m: float
    """Length over which a face was seen over most of the height."""
    seen_m: float
    spread_m: float
    rooms: tuple[float, float]
    """Shares of the length along which a room lies on the left and on the right."""
    face_side: int = 0
    """With one face: on which side of the centre line it is, 1 left, -1 right."""

    @property
    def faces(self) -> int:
        """How many faces were seen."""
        return 2 if self.backed_by is Backing.FACE else 1

    def thinned_to(self, thickness_m: float) -> "WallRun":
        """The same run with another thickness, its one face where it is."""
        shift = self.face_side * (self.thickness_m - thickness_m) / 2
        axis = Line(self.axis.at(0.0, shift), self.axis.along)
        return replace(self, axis=axis, thickness_m=thickness_m)

    @property
    def length_m(self) -> float:
        return self.high - self.low


def find_runs(faces: list[Face], cover: RoomCover, settings: BuildingSettings) -> list[WallRun]:
    """All stretches of wall of a storey, the longest first."""
    reach = float(settings.max_wall_thickness) + 0.2
    profiles = [profile_of(face, cover, reach) for face in faces]
    pairs = find_pairs(profiles, cover, settings)
    ledger = Ledger(profiles)
    for pair in pairs:
        own = np.flatnonzero(pair.both)
        other, _ = bins_on(profiles[pair.first].line, profiles[pair.second], profiles[pair.first].face.centres[own])
        ledger.offer(pair.first, own, pair.second, pair.thickness_m)
        ledger.offer(pair.second, other, pair.first, pair.thickness_m)
    runs = [run for pair in pairs for run in _runs_of_pair(pair, profiles, ledger, cover)]
    for index in range(len(profiles)):
        runs += _runs_of_one(index, profiles, ledger, cover, settings)
    return sorted(runs, key=lambda run: (-run.length_m, float(run.axis.origin[0]), float(run.axis.origin[1])))


def _runs_of_pair(pair: Pair, profiles: list[Profile], ledger: Ledger, cover: RoomCover) -> list[WallRun]:
    first, second = profiles[pair.first], profiles[pair.second]
    axis = axis_between(first, second, pair)
    places = _common_places(axis, first, second)
    views = [
        _View.of(axis, places, profiles[index], ledger, index=index, partner=partner)
        for index, partner in ((pair.first, pair.second), (pair.second, pair.first))
    ]
    core = views[0].paired | views[1].paired
    if core.sum() * BIN_M < MIN_CORE_M:
        return []
    half = pair.thickness_m / 2
    between = strip_cover(axis, places, cover, -half, half)
    internal = _is_internal(views, core)
    carried = np.zeros(len(places), np.bool_)
    for view in views:
        carried |= view.alone & view.backed(pair.thickness_m, internal)
    taken = views[0].elsewhere | views[1].elsewhere
    evidence = (core | carried) & ~taken & (between < OPEN_SHARE)
    found = []
    for low, high in _stretches(evidence, core, taken, between):
        inside = np.zeros(len(places), np.bool_)
        inside[low:high] = True
        if (core & inside).sum() * BIN_M < MIN_CORE_M:
            continue
        for view in views:
            ledger.used[view.index][view.bins[inside & view.exists]] = True
        found.append(_run(axis, places, inside, views, thickness=pair.thickness_m, cover=cover))
    return found


@dataclass(frozen=True)
class _View:
    """One face as seen from the bins of a wall's axis; all arrays (m,)."""

    index: int
    profile: Profile
    bins: Ints
    exists: Bools
    seen: Bools
    tall: Bools
    paired: Bools
    alone: Bools
    elsewhere: Bools
    behind_m: Floats
    outdoors: Bools
    facing: NDArray[np.int64]
    """In terms of the axis: 1 where the room lies to its left."""

    @staticmethod
    def of(axis: Line, places: Floats, profile: Profile, ledger: Ledger, *, index: int, partner: int) -> "_View":
        bins, inside = bins_on(axis, profile, places)
        seen = inside & profile.face.seen[bins]
        mate = ledger.partner[index][bins]
        turned = 1 if float(axis.along @ profile.line.along) > 0 else -1
        facing = profile.facing[bins].astype(np.int64)
        return _View(
            index=index,
            profile=profile,
            bins=bins,
            exists=inside,
            seen=seen,
            tall=inside & profile.face.tall[bins],
            paired=seen & (mate == partner),
            alone=seen & (mate < 0) & (facing != 2),
            elsewhere=seen & (mate >= 0) & (mate != partner),
            behind_m=profile.behind_m[bins],
            outdoors=profile.outdoors[bins],
            facing=np.where(np.abs(facing) == 1, facing * turned, facing),
        )

    def backed(self, thickness_m: float, internal: bool) -> Bools:
        """Where the back of this face, not seen, may lie at `thickness_m`: no room begins before it.

        A room may begin later: furniture hides ceilings too. But where an internal wall's back has no room behind it for long,
        it is another wall, an exterior one.
        """
        beyond = self.behind_m >= thickness_m - _BACK_SLACK_M
        if not internal:
            return np.asarray(beyond)
        lost = ndimage.binary_opening(
            ~np.isfinite(self.behind_m) & self.outdoors & self.seen, np.ones(round(_MAX_LOST_M / BIN_M))
        )
        return np.asarray(beyond & ~lost)


def _common_places(axis: Line, first: Profile, second: Profile) -> Floats:
    ends = np.concatenate(
        [
            axis.places(p.line.at(np.array([p.face.first, p.face.first + len(p.facing)]) * BIN_M))
            for p in (first, second)
        ]
    )
    low, high = np.floor(ends.min() / BIN_M), np.ceil(ends.max() / BIN_M)
    return (np.arange(low, high) + 0.5) * BIN_M


def _is_internal(views: list[_View], core: Bools) -> bool:
    """Whether rooms lie on both sides of most of what was paired."""
    known = [float((np.abs(view.facing[core]) == 1).mean()) for view in views]
    return min(known) > 0.5


def _stretches(evidence: Bools, core: Bools, taken: Bools, between: Floats) -> list[tuple[int, int]]:
    """Runs of bins [low, high) with evidence, joined over gaps where the wall may go on unseen."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], evidence.astype(np.int8), [0]])))
    spans = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    joined: list[tuple[int, int]] = []
    for low, high in spans:
        if joined and _bridged(slice(joined[-1][1], low), taken, between):
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return [(low, high) for low, high in joined if core[low:high].any()]


def _bridged(gap: slice, taken: Bools, between: Floats) -> bool:
    length = (gap.stop - gap.start) * BIN_M
    if taken[gap].any() and length > _MAX_OPEN_BRIDGE_M:
        return False
    open_m = float((between[gap] >= OPEN_SHARE).sum()) * BIN_M
    return length <= _MAX_BRIDGE_M and open_m <= _MAX_OPEN_BRIDGE_M


def _run(
    axis: Line, places: Floats, inside: Bools, views: list[_View], *, thickness: float, cover: RoomCover
) -> WallRun:
    seen = np.any([view.seen for view in views], axis=0) & inside
    tall = np.any([view.tall & view.seen for view in views], axis=0) & inside
    reach = places[np.flatnonzero(seen)[[0, -1]]]
    return WallRun(
        axis=axis,
        low=float(reach[0]) - BIN_M / 2,
        high=float(reach[1]) + BIN_M / 2,
        thickness_m=thickness,
        backed_by=Backing.FACE,
        tall_m=float(tall.sum()) * BIN_M,
        seen_m=float(seen.sum()) * BIN_M,
        spread_m=float(np.mean([view.profile.face.spread_m for view in views])),
        rooms=_rooms_beside(axis, places[inside], thickness, cover),
    )


def _rooms_beside(axis: Line, places: Floats, thickness: float, cover: RoomCover) -> tuple[float, float]:
    """The shares of `places` with a room beside the wall, on its left and on its right."""
    near, far = thickness / 2 + 0.03, thickness / 2 + 0.2
    left = strip_cover(axis, places, cover, near, far) >= OPEN_SHARE
    right = strip_cover(axis, places, cover, -far, -near) >= OPEN_SHARE
    return float(left.mean()), float(right.mean())


def _runs_of_one(
    index: int, profiles: list[Profile], ledger: Ledger, cover: RoomCover, settings: BuildingSettings
) -> list[WallRun]:
    """Stretches of a face that no wall has used and that has a room before it."""
    profile = profiles[index]
    face = profile.face
    free = face.seen & ~ledger.used[index] & (np.abs(profile.facing) == 1)
    found = []
    for side in (1, -1):
        mine = free & (profile.facing == side)
        if not mine.any():
            continue
        back = -side * float(settings.exterior_walls_thickness)
        behind = strip_cover(face.line, face.centres, cover, min(0.0, back), max(0.0, back))
        for low, high in _stretches(mine, mine, ledger.used[index], behind):
            stretch = np.zeros(len(mine), np.bool_)
            stretch[low:high] = True
            run = _one_sided(profile, stretch & mine, side, cover, settings)
            if run is not None:
                found.append(run)
    return found


def _one_sided(
    profile: Profile, bins: Bools, side: int, cover: RoomCover, settings: BuildingSettings
) -> WallRun | None:
    behind = profile.behind_m[bins]
    known = np.isfinite(behind)
    thickness = float(settings.exterior_walls_thickness)
    backing = Backing.OUTSIDE if float(profile.outdoors[bins].mean()) > 0.5 else Backing.UNSEEN
    if float(known.mean()) > 0.5:
        # The ceiling of the room behind ends as far from its wall as that of the room in front does.
        gap = max(float(np.median(behind[known])) - _CORNER_M, float(settings.min_wall_thickness))
        if gap <= float(settings.max_wall_thickness):
            thickness, backing = gap, Backing.ROOM
    face = profile.face
    places = face.centres[bins]
    if len(places) * BIN_M < MIN_CORE_M:
        return None
    axis = Line(face.line.at(0.0, -side * thickness / 2), face.line.along)
    return WallRun(
        axis=axis,
        low=float(places.min()) - BIN_M / 2,
        high=float(places.max()) + BIN_M / 2,
        thickness_m=thickness,
        backed_by=backing,
        tall_m=float((face.tall & bins).sum()) * BIN_M,
        seen_m=float(bins.sum()) * BIN_M,
        spread_m=face.spread_m,
        rooms=_rooms_beside(axis, places, thickness, cover),
        face_side=side,
    )
