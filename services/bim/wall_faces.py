"""Wall faces in plan: straight lines through columns of upright points.

Lines grow from seeds in the manner of region growing for line segments (von Gioi et al. 2010), in the order of weight, without
chance: whatever way a wall runs, it is found alike. A line is fitted by total least squares, so many points make it exact
to a fraction of a millimetre. Along the line, bins say where the face was seen from floor to ceiling.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from services.bim.plan_columns import PlanColumns, Stacks

BIN_M = 0.05
_SEED_REACH_M = 0.25
_MAX_GAP_M = 0.3
_MIN_FACE_M = 0.1
_FACING_COSINE = np.cos(np.deg2rad(12))
_ROUNDS = 8
_COLLINEAR_RAD = np.deg2rad(0.8)
_COLLINEAR_M = 0.012
_MAX_JOINED_GAP_M = 8.0
_ECHO_M = 0.03
_MIN_CROWN_SHARE = 0.5
_MIN_BODY_SHARE = 0.5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Masks = NDArray[np.uint64]


@dataclass(frozen=True)
class Line:
    """A line in plan: `origin` (2,), unit `along` (2,). Left of `along` is positive offset."""

    origin: Floats
    along: Floats

    @property
    def normal(self) -> Floats:
        return np.array([-self.along[1], self.along[0]])

    def places(self, xy: Floats) -> Floats:
        """Distances along the line (n,)."""
        return np.asarray((xy - self.origin) @ self.along)

    def offsets(self, xy: Floats) -> Floats:
        """Distances to the left (n,)."""
        return np.asarray((xy - self.origin) @ self.normal)

    def at(self, along_m: Floats | float, left_m: Floats | float = 0.0) -> Floats:
        """Plan points (..., 2)."""
        s, d = np.broadcast_arrays(np.asarray(along_m, np.float64), np.asarray(left_m, np.float64))
        return np.asarray(self.origin + s[..., None] * self.along + d[..., None] * self.normal)


@dataclass(frozen=True)
class Face:
    """A straight face. Bin k covers `first` + k to `first` + k + 1 times BIN_M along the line.

    seen (m,) bool: the face was seen over most of the height or just below the ceiling. tall (m,) bool: over most of the
    height. spread_m: median distance of its columns to the line.
    """

    line: Line
    first: int
    seen: Bools
    tall: Bools
    weight: float
    spread_m: float

    @property
    def centres(self) -> Floats:
        """Middles of the bins along the line (m,)."""
        return np.asarray((self.first + np.arange(len(self.seen)) + 0.5) * BIN_M, np.float64)

    @property
    def length_m(self) -> float:
        return float(self.seen.sum()) * BIN_M


@dataclass(frozen=True)
class _Segment:
    line: Line
    members: NDArray[np.int64]
    low: float
    high: float


def find_faces(columns: PlanColumns, tolerance_m: float) -> list[Face]:
    """All straight faces, the longest first. `tolerance_m`: how far columns may lie from a face."""
    segments = _segments(columns.crown, tolerance_m)
    faces = [_face(columns, group, tolerance_m) for group in _collinear(columns.crown, segments)]
    faces = [face for face in faces if face.length_m >= _MIN_FACE_M]
    faces.sort(key=lambda face: (-face.length_m, float(face.line.origin[0]), float(face.line.origin[1])))
    return _without_echoes(faces)


def _without_echoes(faces: list[Face]) -> list[Face]:
    """Without pieces that run beside a heavier face, nearer than any wall is thick: its noise, a skirting, a picture rail."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.weight):
        spots = face.line.at(face.centres[face.seen])
        if not any(_echoes(face, spots, other) for other in kept):
            kept.append(face)
    return [face for face in faces if any(face is other for other in kept)]


def _echoes(face: Face, spots: Floats, other: Face) -> bool:
    if abs(float(face.line.along @ other.line.normal)) > 0.1 or face.weight > 0.5 * other.weight:
        return False
    bins = np.floor(other.line.places(spots) / BIN_M).astype(np.int64) - other.first
    inside = (bins >= 0) & (bins < len(other.seen))
    beside = inside & other.seen[np.where(inside, bins, 0)] & (np.abs(other.line.offsets(spots)) < _ECHO_M)
    return float(beside.mean()) > 0.5


def _segments(crown: Stacks, tolerance: float) -> list[_Segment]:
    if not len(crown.xy):
        return []
    tree = cKDTree(crown.xy)
    strength = np.bitwise_count(crown.heights).astype(np.float64) * crown.weight
    free = np.ones(len(crown.xy), np.bool_)
    found = []
    for seed in np.argsort(-strength, kind="stable"):
        if not free[seed]:
            continue
        near = np.array(tree.query_ball_point(crown.xy[seed], _SEED_REACH_M), np.int64)
        segment = _grown(crown, seed, near[free[near]], free, tolerance)
        free[seed] = False
        if segment is None:
            continue
        free[segment.members] = False
        found.append(segment)
    return found


def _grown(crown: Stacks, seed: int, near: NDArray[np.int64], free: Bools, tolerance: float) -> _Segment | None:
    along = np.array([-crown.facing[seed, 1], crown.facing[seed, 0]])
    line = Line(crown.xy[seed], along)
    members = _run(crown, near, line, 1.5 * tolerance, crown.xy[seed])
    if len(members) < 3:
        return None
    line = _fitted(crown, members)
    if float(np.ptp(line.places(crown.xy[members]))) < _MIN_FACE_M:
        return None
    everywhere = np.flatnonzero(free)
    for _ in range(_ROUNDS):
        grown = _run(crown, everywhere, line, tolerance, crown.xy[seed])
        if len(grown) < 3:
            return None
        settled = len(grown) == len(members) and np.array_equal(grown, members)
        members, line = grown, _fitted(crown, grown)
        if settled:
            break
    places = line.places(crown.xy[members])
    return _Segment(line, members, float(places.min()), float(places.max()))


def _run(
    crown: Stacks, candidates: NDArray[np.int64], line: Line, tolerance: float, seed_xy: Floats
) -> NDArray[np.int64]:
    """The candidates on `line` that hang together with the seed, no gap longer than _MAX_GAP_M; in order of index."""
    xy = crown.xy[candidates]
    on = np.abs(line.offsets(xy)) < tolerance
    rows: NDArray[np.int64] = candidates[on]
    rows = rows[np.abs(crown.facing[rows] @ line.normal) > _FACING_COSINE]
    if not len(rows):
        return rows
    places = line.places(crown.xy[rows])
    order = np.argsort(places, kind="stable")
    part = np.cumsum(np.concatenate([[0], np.diff(places[order]) > _MAX_GAP_M]))
    middle = float(line.places(seed_xy[None])[0])
    home = part[np.argmin(np.abs(places[order] - middle))]
    return np.asarray(np.sort(rows[order[part == home]]), np.int64)


def _fitted(crown: Stacks, members: NDArray[np.int64]) -> Line:
    """Total least squares, twice: the second time without the outer part of the spread, where pictures hang."""
    xy, weight = crown.xy[members], crown.weight[members]
    line = _least_squares(xy, weight)
    off = np.abs(line.offsets(xy))
    near = off <= max(2.5 * float(np.median(off)), 1e-4)
    return _least_squares(xy[near], weight[near]) if near.sum() >= 3 else line


def _least_squares(xy: Floats, weight: Floats) -> Line:
    mean = (xy * weight[:, None]).sum(0) / weight.sum()
    local = (xy - mean) * np.sqrt(weight)[:, None]
    _, vectors = np.linalg.eigh(local.T @ local)
    along = vectors[:, 1]
    # One direction for both ways of running: the sign must not hang on rounding.
    if along[0] < -1e-9 or (abs(along[0]) <= 1e-9 and along[1] < 0):
        along = -along
    return Line(mean, along)


def _collinear(crown: Stacks, segments: list[_Segment]) -> list[list[_Segment]]:
    """Groups of segments on one line: pieces of a face between which a door, a wardrobe or another wall stands."""
    order = sorted(range(len(segments)), key=lambda k: -(segments[k].high - segments[k].low))
    home = [-1] * len(segments)
    groups: list[list[_Segment]] = []
    for index in order:
        if home[index] >= 0:
            continue
        home[index] = len(groups)
        group = [segments[index]]
        line = segments[index].line
        for other in order:
            if home[other] < 0 and _on_line(line, group, segments[other]):
                home[other] = len(groups)
                group.append(segments[other])
                line = _fitted(crown, np.concatenate([part.members for part in group]))
        groups.append(group)
    return groups


def _on_line(line: Line, group: list[_Segment], other: _Segment) -> bool:
    length = other.high - other.low
    turn = abs(float(line.along @ other.line.normal))
    # A short piece does not know its own direction well.
    if turn > np.sin(_COLLINEAR_RAD) + 0.004 / max(length, 0.05):
        return False
    ends = other.line.at(np.array([other.low, (other.low + other.high) / 2, other.high]))
    places = line.places(ends)
    spans = [line.places(part.line.at(np.array([part.low, part.high]))) for part in group]
    gap = min(max(float(span.min() - places.max()), float(places.min() - span.max()), 0.0) for span in spans)
    if gap > _MAX_JOINED_GAP_M:
        return False
    # The farther away, the less is known about where the line runs: a millimetre a metre.
    return abs(float(line.offsets(ends)[1])) < _COLLINEAR_M + 0.001 * min(gap, 5.0)


def _face(columns: PlanColumns, group: list[_Segment], tolerance: float) -> Face:
    crown, body = columns.crown, columns.body
    members = np.sort(np.concatenate([part.members for part in group]))
    line = _fitted(crown, members)
    places = line.places(crown.xy[members])
    first = int(np.floor(places.min() / BIN_M))
    count = int(np.floor(places.max() / BIN_M)) - first + 1
    below = np.flatnonzero(np.abs(line.offsets(body.xy)) < tolerance)
    below = below[np.abs(body.facing[below] @ line.normal) > _FACING_COSINE]
    return Face(
        line=line,
        first=first,
        seen=_reaching_up(_heights_seen(line, crown, members, first, count), crown.steps),
        tall=np.bitwise_count(_heights_seen(line, body, below, first, count)) >= _MIN_BODY_SHARE * body.steps,
        weight=float(crown.weight[members].sum()),
        spread_m=float(np.median(np.abs(line.offsets(crown.xy[members])))),
    )


def _reaching_up(heights: Masks, steps: int) -> Bools:
    """Seen over much of the band below the ceiling, and up to its top: wardrobes end lower."""
    top = np.uint64(0b11 << (steps - 2))
    return np.asarray((np.bitwise_count(heights) >= _MIN_CROWN_SHARE * steps) & ((heights & top) != 0))


def _heights_seen(line: Line, stacks: Stacks, members: NDArray[np.int64], first: int, count: int) -> Masks:
    """At which heights members were seen, in each of `count` bins from `first`: (count,)."""
    bins = np.floor(line.places(stacks.xy[members]) / BIN_M).astype(np.int64) - first
    inside = (bins >= 0) & (bins < count)
    heights = np.zeros(count, np.uint64)
    np.bitwise_or.at(heights, bins[inside], stacks.heights[members[inside]])
    return _widened(heights)


def _widened(heights: Masks) -> Masks:
    """Bins borrow from their neighbours, but only where they have points themselves: sparse sampling leaves holes."""
    wide = heights.copy()
    wide[1:] |= heights[:-1]
    wide[:-1] |= heights[1:]
    return np.where(heights > 0, wide, heights)
