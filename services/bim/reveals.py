"""How thick exterior walls are that were seen from inside only: by the reveals of their windows.

Through the glass one sees the outer part of the jambs, behind the frame. It ends at the outer face. What ends at the frame itself
says nothing, so a wall counts only where jambs were seen, then hardly any, where the frame hides them, and then again.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.bim.preprocessing import WorkingCloud
from services.bim.wall_runs import WallRun

_BIN_M = 0.02
_MIN_POINTS = 4
_DIP_SHARE = 0.5
_AGREE_M = 0.015
_ALONG_COSINE = 0.85
_END_MARGIN_M = 0.3

Floats = NDArray[np.float64]


def reveal_depths_m(
    cloud: WorkingCloud, rows: NDArray[np.int64], runs: Sequence[WallRun], limits_m: tuple[float, float]
) -> tuple[float | None, ...]:
    """How deep the jambs in each of `runs` are; None where they were not seen."""
    upright = rows[np.abs(cloud.normals[rows, 2]) < 0.3]
    points, normals = cloud.points[upright, :2].astype(np.float64), cloud.normals[upright, :2]
    return tuple(_depth_m(run, points, normals, limits_m) for run in runs)


def agreed_m(depths_m: Sequence[float]) -> float | None:
    """The greatest depth that two walls agree on, None if there is none.

    Jambs are seen less and less the farther out they are, so depths fall short rather than go too far.
    """
    deepest = sorted(depths_m, reverse=True)
    return next(((one + other) / 2 for one, other in pairwise(deepest) if one - other < _AGREE_M), None)


def usual_m(depths_m: Sequence[float]) -> float | None:
    """The depth that two walls agree on, else the deepest of several; one alone may fall far short."""
    return agreed_m(depths_m) or (max(depths_m) if len(depths_m) > 1 else None)


def surely_agreed_m(depths_m: Sequence[float]) -> float | None:
    """The depth of the two deepest, or of three; two that fall short may agree by chance."""
    deepest = sorted(depths_m, reverse=True)
    if len(deepest) > 1 and deepest[0] - deepest[1] < _AGREE_M:
        return (deepest[0] + deepest[1]) / 2
    triples = zip(deepest, deepest[1:], deepest[2:], strict=False)
    return next((middle for first, middle, last in triples if first - last < _AGREE_M), None)


def _depth_m(run: WallRun, points: Floats, normals: NDArray[np.float32], limits_m: tuple[float, float]) -> float | None:
    """How deep behind the run's one face jambs go on, if they were seen on both sides of a window's frame."""
    depth = run.thickness_m / 2 - run.face_side * run.axis.offsets(points)
    place = run.axis.places(points)
    inside = (depth > 0) & (depth < limits_m[1] + 0.05)
    inside &= (place > run.low + _END_MARGIN_M) & (place < run.high - _END_MARGIN_M)
    inside &= np.abs(normals @ run.axis.along) > _ALONG_COSINE
    counts = np.bincount((depth[inside] / _BIN_M).astype(np.int64))
    seen = np.flatnonzero(counts >= _MIN_POINTS)
    if not len(seen) or not _dips(counts[: seen[-1] + 1]):
        return None
    last = depth[inside & (depth < (seen[-1] + 1) * _BIN_M)]
    # The very last points are noise beyond the edge.
    deepest = float(np.sort(last)[-_MIN_POINTS])
    return deepest if limits_m[0] <= deepest <= limits_m[1] else None


def _dips(counts: NDArray[np.int64]) -> bool:
    """Whether counts fall to less than half of what there is before and behind."""
    for place in range(2, len(counts) - 1):
        if counts[place] < _DIP_SHARE * min(int(counts[:place].max()), int(counts[place + 1 :].max())):
            return True
    return False
