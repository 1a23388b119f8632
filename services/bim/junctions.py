"""Where walls meet: centre lines are led to the centre lines of the walls they end at, so that corners close exactly.

An end goes to the crossing with another wall's centre line if that lies within what the other wall's thickness hides, or if
nothing but unseen space lies between. Two ends at one corner get the same crossing, bit for bit. Where several crossings are
within reach the nearest counts.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.bim.face_profiles import OPEN_SHARE, side_cover
from services.bim.room_cover import RoomCover
from services.bim.wall_faces import BIN_M, Line
from services.bim.wall_runs import WallRun

MIN_ANGLE_RAD = np.deg2rad(8.0)
_SLACK_M = 0.12
_UNSEEN_REACH_M = 1.2
_ROUNDS = 3
_MAX_OPENING_M = 1.7
_MAX_GAP_M = 4.0
_SAME_LINE_M = 0.02
_SAME_LINE_RAD = np.deg2rad(1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Crossing:
    """Where the centre lines of two walls cross: the places along each, and the plan point (2,)."""

    point: Floats
    places: tuple[float, float]
    sine: float


def close_junctions(runs: list[WallRun], cover: RoomCover) -> list[tuple[Floats, Floats]]:
    """The ends (start, end), each (2,), of the centre lines of `runs`, in their order."""
    net = _Net(runs, cover, _crossings(runs))
    spans = [(run.low, run.high) for run in runs]
    ends = [[run.axis.at(run.low), run.axis.at(run.high)] for run in runs]
    for _ in range(_ROUNDS):
        # An end that was led on may be what another end has been looking for.
        changed = False
        for index, which in itertools.product(range(len(runs)), (0, 1)):
            found = net.meeting(index, which, spans)
            if found is None:
                continue
            place, point = found
            changed |= abs(place - spans[index][which]) > 1e-6
            spans[index] = (place, spans[index][1]) if which == 0 else (spans[index][0], place)
            ends[index][which] = point
        if not changed:
            break
    return [(one[0], one[1]) for one in ends]


@dataclass(frozen=True)
class _Net:
    """All walls of a storey, and where their centre lines cross."""

    runs: list[WallRun]
    cover: RoomCover
    crossings: dict[tuple[int, int], _Crossing]

    def meeting(self, index: int, which: int, spans: list[tuple[float, float]]) -> tuple[float, Floats] | None:
        """The crossing that an end of wall `index` (0: low, 1: high) belongs to: its place along the wall, and the point."""
        end = spans[index][which]
        best: tuple[float, float, Floats] | None = None
        for other in range(len(self.runs)):
            crossing = self.crossings.get((min(index, other), max(index, other)))
            if other == index or crossing is None:
                continue
            mine, theirs = crossing.places if index < other else crossing.places[::-1]
            beyond = max(spans[other][0] - theirs, theirs - spans[other][1], 0.0)
            ahead = (mine - end) if which else (end - mine)
            if not self._within_reach(index, other, crossing.sine, (ahead, beyond)):
                continue
            hidden, beside = self._hidden(index, other, crossing.sine)
            if ahead > hidden + _SLACK_M and not _unseen(self.runs[index], end, mine, self.cover):
                continue
            gap = spans[other][0] if theirs < spans[other][0] else spans[other][1]
            if beyond > beside + _SLACK_M and not _unseen(self.runs[other], gap, theirs, self.cover):
                continue
            if best is None or abs(ahead) + beyond < best[0]:
                best = (abs(ahead) + beyond, mine, crossing.point)
        return None if best is None else best[1:]

    def _hidden(self, index: int, other: int, sine: float) -> tuple[float, float]:
        """How far an end may stop from the crossing because of the other wall's thickness, and the other because of its own."""
        own, thickness = self.runs[index].thickness_m, self.runs[other].thickness_m
        cosine = float(np.sqrt(max(1 - sine**2, 0.0)))
        return (thickness + own * cosine) / 2 / sine, own / 2 / sine

    def _within_reach(self, index: int, other: int, sine: float, distances: tuple[float, float]) -> bool:
        hidden, beside = self._hidden(index, other, sine)
        ahead, beyond = distances
        return -(hidden + _SLACK_M) <= ahead <= _UNSEEN_REACH_M and beyond <= beside + _UNSEEN_REACH_M


def _crossings(runs: list[WallRun]) -> dict[tuple[int, int], _Crossing]:
    found = {}
    for one in range(len(runs)):
        for other in range(one + 1, len(runs)):
            crossing = _crossing(runs[one].axis, runs[other].axis)
            if crossing is not None:
                found[one, other] = crossing
    return found


def _crossing(first: Line, second: Line) -> _Crossing | None:
    sine = float(second.normal @ first.along)
    if abs(sine) < np.sin(MIN_ANGLE_RAD):
        return None
    place = float((second.origin - first.origin) @ second.normal) / sine
    point = first.at(place)
    return _Crossing(point, (place, float(second.places(point[None])[0])), abs(sine))


def _unseen(run: WallRun, start: float, stop: float, cover: RoomCover) -> bool:
    """Whether hardly any room was seen in the strip of a wall between two places along it."""
    return _open_m(run, start, stop, cover) < 0.25 * abs(stop - start) + BIN_M


def _open_m(run: WallRun, start: float, stop: float, cover: RoomCover) -> float:
    """Over which length a room was seen in the strip of a wall between two places along it."""
    places = np.arange(min(start, stop) + BIN_M / 2, max(start, stop), BIN_M)
    if not len(places):
        return 0.0
    offsets = np.linspace(-0.3, 0.3, 5) * run.thickness_m
    return float((side_cover(run.axis, places, cover, offsets).mean(1) >= OPEN_SHARE).sum()) * BIN_M


def joined_over_openings(runs: list[WallRun], cover: RoomCover) -> list[WallRun]:
    """Pieces of one line and thickness with an opening up to the ceiling in between become one wall.

    Not where both pieces end at other walls: between those runs a corridor.
    """
    waiting = list(runs)
    done: list[WallRun] = []
    while waiting:
        run = waiting.pop(0)
        mate = next((other for other in waiting if _is_continued(run, other, runs, cover)), None)
        if mate is None:
            done.append(run)
            continue
        waiting = [_union(run, mate), *(other for other in waiting if other is not mate)]
    return sorted(done, key=lambda run: (-run.length_m, float(run.axis.origin[0]), float(run.axis.origin[1])))


def _span_on(run: WallRun, other: WallRun) -> tuple[float, float]:
    """The ends of `other` along the axis of `run`."""
    places = run.axis.places(other.axis.at(np.array([other.low, other.high])))
    return float(places.min()), float(places.max())


def _is_continued(run: WallRun, other: WallRun, runs: list[WallRun], cover: RoomCover) -> bool:
    if abs(float(run.axis.along @ other.axis.normal)) > np.sin(_SAME_LINE_RAD):
        return False
    across = np.abs(run.axis.offsets(other.axis.at(np.array([other.low, other.high]))))
    if float(across.min()) > _SAME_LINE_M or abs(run.thickness_m - other.thickness_m) > _SAME_LINE_M:
        return False
    low, high = _span_on(run, other)
    gap = (run.high, low) if low > run.high else (high, run.low)
    if gap[1] - gap[0] <= 0:
        return True
    if gap[1] - gap[0] > _MAX_GAP_M or _open_m(run, *gap, cover) > _MAX_OPENING_M:
        return False
    return any(not _is_met(run, place, runs) for place in gap)


def _is_met(run: WallRun, place: float, runs: list[WallRun]) -> bool:
    """Whether another wall stands at a place along `run`."""
    spot = run.axis.at(place)[None]
    for other in runs:
        if abs(float(run.axis.along @ other.axis.normal)) < np.sin(MIN_ANGLE_RAD):
            continue
        along, across = float(other.axis.places(spot)[0]), abs(float(other.axis.offsets(spot)[0]))
        reach = run.thickness_m / 2 + 0.15
        if across < other.thickness_m / 2 + 0.15 and other.low - reach < along < other.high + reach:
            return True
    return False


def _union(run: WallRun, other: WallRun) -> WallRun:
    longer, shorter = (run, other) if run.length_m >= other.length_m else (other, run)
    low, high = _span_on(longer, shorter)
    share = np.array([longer.length_m, shorter.length_m]) / (longer.length_m + shorter.length_m)
    return replace(
        longer,
        low=min(longer.low, low),
        high=max(longer.high, high),
        thickness_m=float(share @ [longer.thickness_m, shorter.thickness_m]),
        tall_m=longer.tall_m + shorter.tall_m,
        seen_m=longer.seen_m + shorter.seen_m,
    )


def aligned(runs: list[WallRun], tolerance_rad: float = float(np.deg2rad(0.4))) -> list[WallRun]:
    """Walls that are all but parallel or square to each other are made exactly so, each about its own middle.

    Directions modulo a quarter turn are gathered around those of the longest walls; the mean is weighted by length cubed, as
    the precision of a fitted direction is.
    """
    angles = np.array([np.arctan2(run.axis.along[1], run.axis.along[0]) for run in runs])
    lengths = np.array([run.length_m for run in runs])
    turned = angles.copy()
    waiting = np.ones(len(runs), np.bool_)
    for leader in np.argsort(-lengths, kind="stable"):
        if not waiting[leader]:
            continue
        off = (angles - angles[leader] + np.pi / 4) % (np.pi / 2) - np.pi / 4
        # Short walls know their direction less well: 4 mm over their length is no turn.
        mates = waiting & (np.abs(off) < np.minimum(tolerance_rad + 0.004 / np.maximum(lengths, 0.1), np.deg2rad(2.5)))
        mean = float(np.average(off[mates], weights=lengths[mates] ** 3))
        turned[mates] = angles[mates] - off[mates] + mean
        waiting &= ~mates
    found = []
    for run, angle in zip(runs, turned, strict=True):
        middle = (run.low + run.high) / 2
        along = np.array([np.cos(angle), np.sin(angle)])
        axis = Line(run.axis.at(middle), along)
        found.append(replace(run, axis=axis, low=run.low - middle, high=run.high - middle))
    return found
