"""How well six depth renders agree under a guess of focal length and depth scales, and the best guess nearby.

Every view's sampled points are carried into every other view. A point beside the other's silhouette, or in front of its surface, is
wrong by that much; a point behind it may be hidden, and counts as if it were wrong by little. The deviations are bounded
(Geman and McClure, 1987), and the bound shrinks from step to step (Blake and Zisserman, "Visual Reconstruction", 1987).
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from services.mesh.depth import smoothed_within_steps
from services.mesh.rig import ASSUMED_DISTANCE, DIRECTIONS, UPS, looking_at_origin
from services.mesh.views import Raw

Floats = NDArray[np.float64]
_POSES = np.stack(
    [looking_at_origin(direction, up, ASSUMED_DISTANCE) for direction, up in zip(DIRECTIONS, UPS, strict=True)]
)
_HIDDEN = 0.35
"""What a point far behind a surface counts, beside one that is as far in front of it."""
_STEP = 1e-4
_LEAST_GAIN = 1e-4
"""Share of the cost: less is noise, and following it would have no end."""
_FIRST_SIGMA = 0.06
"""What matters where hardly anything is known, in picture widths."""
_TRIED_RANGES = 9
_OTHER_RANGES = (0.35, 0.6, 1.6, 2.6, 4.0)
_HULL_CELLS = (24, 44)
"""Along the longest side: to find where the object is, and then to see its shape."""


@dataclass(frozen=True)
class SeenView:
    """One depth render, upright. pose (4, 4): camera_from_world. focal (2,): along x and y, times the guess's focal length.
    share (h, w) float32: 0 = nearest value, 1 = farthest, carried on
    into the background. beside (h, w) float32: pixels to the silhouette, 0 within. place (n, 2) float64: where samples are, from the
    principal point, over the focal length; sample (n,): their share. low, high: the smallest and largest stored
    value. middle (2,): the principal point, in pixels of `share`."""

    pose: Floats
    focal: Floats
    middle: Floats
    share: NDArray[np.float32]
    beside: NDArray[np.float32]
    place: Floats
    sample: Floats
    low: float
    high: float


@dataclass(frozen=True)
class _Crossings:
    """Samples of views in the pictures of other views: n rows, one for each sample and other view.

    source, target (n,) int64: the view that took the sample, and the one that looks at it. share (n,): the sample's. Its place in
    the target's camera is depth * (across / focal length + forward) + origin, each (3, n).
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    share: Floats
    across: Floats
    forward: Floats
    origin: Floats

    def only(self, rows: NDArray[np.int64]) -> "_Crossings":
        return _Crossings(
            self.source[rows],
            self.target[rows],
            self.share[rows],
            self.across[:, rows],
            self.forward[:, rows],
            self.origin[:, rows],
        )


class Scene:
    """Views that look at one object, and what each of them sees of the others' samples. `focals`: lowest and highest focal length
    that is possible, in picture widths."""

    def __init__(self, views: tuple[SeenView, ...], focals: tuple[float, float] = (0.1, 100.0)) -> None:
        self.views = views
        self.log_focals = (float(np.log(focals[0])), float(np.log(focals[1])))
        self.focal = np.stack([view.focal for view in views])
        self.middle = np.stack([view.middle for view in views])
        shapes = np.array([view.beside.shape for view in views], np.int64)
        self.height, self.width = shapes.T
        self.start = np.cumsum(shapes.prod(axis=1)) - shapes.prod(axis=1)
        self.share = np.concatenate([view.share.ravel() for view in views])
        self.beside = np.concatenate([view.beside.ravel() for view in views])
        pairs = [_crossing(views, i, j) for i, j in itertools.permutations(range(len(views)), 2)]
        self.crossings = _Crossings(
            np.concatenate([pair.source for pair in pairs]),
            np.concatenate([pair.target for pair in pairs]),
            np.concatenate([pair.share for pair in pairs]),
            np.concatenate([pair.across for pair in pairs], axis=1),
            np.concatenate([pair.forward for pair in pairs], axis=1),
            np.concatenate([pair.origin for pair in pairs], axis=1),
        )

    def __len__(self) -> int:
        return len(self.views)

    def rows_with(self, view: int) -> NDArray[np.int64]:
        """Which rows are of samples that `view` took, or looks at."""
        return np.flatnonzero((self.crossings.source == view) | (self.crossings.target == view))


def _crossing(views: tuple[SeenView, ...], source: int, target: int) -> _Crossings:
    taken, seen = views[source], views[target]
    target_from_source = seen.pose @ np.linalg.inv(taken.pose)
    rotation, count = target_from_source[:3, :3], len(taken.sample)
    return _Crossings(
        np.full(count, source),
        np.full(count, target),
        taken.sample,
        np.asarray(rotation[:, :2] @ taken.place.T, np.float64),
        np.repeat(rotation[:, 2:], count, axis=1),
        np.repeat(target_from_source[:3, 3:], count, axis=1),
    )


@dataclass(frozen=True)
class Guess:
    """values: log of the focal length in picture widths; then for each view how far its nearest point is from the rig's middle, and
    the log of its range, both times the focal length: so a longer focal length means a smaller object, and shape and focal length
    are looked for apart."""

    values: Floats

    @property
    def focal(self) -> float:
        return float(np.exp(self.values[0]))

    def near(self, view: int) -> float:
        return float(ASSUMED_DISTANCE - self.values[1 + 2 * view] / self.focal)

    def extent(self, view: int) -> float:
        """Farthest minus nearest depth."""
        return float(np.exp(self.values[2 + 2 * view]) / self.focal)

    def extended(self, scale: Floats) -> "Guess":
        """With one view more; `scale` (2,): its two values."""
        return Guess(np.concatenate([self.values, scale]))

    def at_focal(self, focal: float) -> "Guess":
        return Guess(np.concatenate([[np.log(focal)], self.values[1:]]))


@dataclass(frozen=True)
class Stand:
    """What is known of a view's camera. pose (4, 4): camera_from_world; focal (2,): along x and y, in picture widths, or ones where
    the guess says all; middle (2,): the principal point in picture widths from the picture's middle."""

    pose: Floats
    focal: Floats
    middle: Floats


def rig_stand(pose: int) -> Stand:
    """Camera 0 to 5 of the assumed rig, its focal length unknown."""
    return Stand(_POSES[pose], np.ones(2), np.zeros(2))


def seen_view(raw: Raw, background: int, stand: Stand, *, near_is_bright: bool, size_px: int, points: int) -> SeenView:
    """Prepare an upright depth render at about `size_px`, with about `points` samples."""
    stride = max(1, round(raw.shape[1] / size_px))
    # The middle of every block, so that places stay exact.
    block = (slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    covered = raw[block] != background
    whole = raw[raw != background].astype(np.float64)
    low, high = float(whole.min()), float(whole.max())
    value = _continuous(raw, background)[block]
    share = (high - value if near_is_bright else value - low) / max(high - low, 1.0)
    outside = (~covered).astype(np.uint8)
    beside, label = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(label.max()) + 1)
    nearest[label[covered]] = share[covered]
    # Pixels at an outline are mixed by smoothing, and by whoever rendered them.
    inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    rows, columns = np.nonzero(inner if inner.any() else covered)
    chosen = np.random.default_rng(0).permutation(len(rows))[:points]
    rows, columns = rows[chosen], columns[chosen]
    width, height = raw.shape[1], raw.shape[0]
    centre = np.array([width, height]) / 2 + stand.middle * width
    place = (np.stack([columns, rows], axis=1) * stride + stride // 2 + 0.5 - centre) / width
    return SeenView(
        pose=stand.pose,
        focal=stand.focal,
        # The pixels of `share` are the middles of blocks.
        middle=(centre - (stride // 2 + 0.5)) / stride + 0.5,
        share=nearest[label].astype(np.float32),
        beside=beside.astype(np.float32),
        place=place / stand.focal,
        sample=share[rows, columns],
        low=low,
        high=high,
    )


def _continuous(raw: Raw, background: int) -> Floats:
    """Stored values (h, w) with the steps between them smoothed away."""
    shifted = np.where(raw == background, 0.0, raw.astype(np.float64) + 1)
    return smoothed_within_steps(shifted, 1.0) - 1


@dataclass(frozen=True)
class Space:
    """points (n, 3): centres of cells that may be filled; cell: their size."""

    points: Floats
    cell: float

    def within(self, view: SeenView, focal: float) -> "Space":
        """Those that the view sees within its silhouette."""
        local = self.points @ view.pose[:3, :3].T + view.pose[:3, 3]
        depth = np.maximum(local[:, 2], 1e-3)
        height, width = view.beside.shape
        scale = focal * width / depth
        column = np.floor(local[:, 0] * scale * view.focal[0] + view.middle[0]).astype(np.int64)
        row = np.floor(local[:, 1] * scale * view.focal[1] + view.middle[1]).astype(np.int64)
        beside = view.beside[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        # A cell of which a corner is within.
        return Space(self.points[beside < 0.87 * self.cell * scale], self.cell)


def hull(scene: Scene, focal: float) -> Space:
    """What all silhouettes leave of the space about the origin (Laurentini, "The visual hull concept", PAMI 1994), in cells."""
    steepest = max(float(np.abs(view.place).max()) for view in scene.views) / focal
    reach = ASSUMED_DISTANCE * steepest / max(1 - steepest, 0.3)
    low, high = np.full(3, -reach), np.full(3, reach)
    space = Space(np.zeros((0, 3)), 2 * reach)
    for cells in _HULL_CELLS:
        cell = float((high - low).max()) / cells
        axes = [np.arange(a + cell / 2, b + cell / 2, cell) for a, b in zip(low, high, strict=True)]
        space = Space(np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1), cell)
        for view in scene.views:
            space = space.within(view, focal)
        if len(space.points) == 0:
            break
        low, high = space.points.min(axis=0) - cell / 2, space.points.max(axis=0) + cell / 2
    return space


def depth_bounds(view: SeenView, space: Space) -> tuple[float, float, float]:
    """Where a view's nearest depth is, and between which two its farthest: of the nearest points of the space along its rays the
    farthest, and the farthest of all. The object is somewhere within the space, and fills its outlines."""
    if len(space.points) == 0:
        # No such object exists: whatever follows will not fit.
        return ASSUMED_DISTANCE, 1.05 * ASSUMED_DISTANCE, 1.1 * ASSUMED_DISTANCE
    local = space.points @ view.pose[:3, :3].T + view.pose[:3, 3]
    ray = np.floor(local[:, :2] / (local[:, 2:] * 1.5 * space.cell / ASSUMED_DISTANCE)).astype(np.int64)
    _, pixel = np.unique(ray @ np.array([1 << 20, 1]), return_inverse=True)
    front = np.full(int(pixel.max()) + 1, np.inf)
    np.minimum.at(front, pixel, local[:, 2])
    near, least, most = float(front.min()), float(front.max()), float(local[:, 2].max())
    # The space is a little larger than what the silhouettes leave, by half a cell.
    return near + 0.5 * space.cell, max(least, near + 1.5 * space.cell), max(most, near + 3 * space.cell)


def first_guess(scene: Scene, focal: float) -> Guess:
    """Depth scales from the silhouettes, and of what these leave open what agrees best."""
    space = hull(scene, focal)
    bounds = {i: depth_bounds(view, space.within(view, focal)) for i, view in enumerate(scene.views)}
    values = [np.log(focal)]
    for near, least, _ in bounds.values():
        values += [(ASSUMED_DISTANCE - near) * focal, np.log((least - near) * focal)]
    return _likely_ranges(scene, Guess(np.array(values)), bounds)


def extended_guess(scene: Scene, guess: Guess, space: Space) -> Guess:
    """The guess for all views but the last one, with that one; `space`: what the others' silhouettes leave."""
    last = len(scene) - 1
    near, least, most = depth_bounds(scene.views[last], space.within(scene.views[last], guess.focal))
    scale = np.array([(ASSUMED_DISTANCE - near) * guess.focal, np.log((least - near) * guess.focal)])
    return _likely_ranges(scene, guess.extended(scale), {last: (near, least, most)})


def _likely_ranges(scene: Scene, guess: Guess, bounds: dict[int, tuple[float, float, float]]) -> Guess:
    """The guess with the ranges of some views exchanged for those at which each agrees best with the others.

    How deep a view looks past its nearest part is not in any silhouette.
    """
    values, parts = guess.values.copy(), {view: _crossings(scene, view) for view in bounds}
    for _ in range(2 if len(bounds) > 1 else 1):
        for view, (near, least, most) in bounds.items():
            tried, costs = np.log((np.linspace(least, most, _TRIED_RANGES) - near) * guess.focal), []
            for logarithm in tried:
                values[2 + 2 * view] = logarithm
                costs.append(_bounded(*_deviations(scene, parts[view], values, _FIRST_SIGMA)))
            values[2 + 2 * view] = tried[int(np.argmin(costs))]
    return Guess(values)


def cost(scene: Scene, guess: Guess, sigma: float = 0.01, only: int | None = None) -> float:
    """Mean squared bounded deviation, 0 to 1, at the given scale (in picture widths); `only` as for `optimised`."""
    return _bounded(*_deviations(scene, _crossings(scene, only), guess.values, sigma))


def optimised(
    scene: Scene,
    guess: Guess,
    sigmas: tuple[float, ...],
    *,
    rounds: int,
    free: NDArray[np.int64],
    only: int | None = None,
) -> Guess:
    """Reweighted least squares over the values with index in `free`, at one scale after the other.

    With `only`, what counts is the agreement of that view with the others.
    """
    values, crossings = guess.values.copy(), _crossings(scene, only)
    concerned = [_concerned(crossings, int(index)) for index in free]
    for sigma in sigmas:
        damping = 1e-4
        deviation, bound = _deviations(scene, crossings, values, sigma)
        best = _bounded(deviation, bound)
        for _ in range(rounds):
            jacobian = np.zeros((len(deviation), len(free)))
            for column, (index, (rows, part)) in enumerate(zip(free, concerned, strict=True)):
                moved = values.copy()
                moved[index] += _STEP
                jacobian[rows, column] = (_deviations(scene, part, moved, sigma)[0] - deviation[rows]) / _STEP
            weight = 1 / (1 + (deviation / bound) ** 2) ** 2
            normal = jacobian.T @ (jacobian * weight[:, None])
            gradient = jacobian.T @ (weight * deviation)
            before = best
            for _ in range(4):
                scaled = normal + damping * np.diag(np.diag(normal) + 1e-9)
                tried = values.copy()
                tried[free] += np.clip(-np.linalg.solve(scaled, gradient), -0.2, 0.2)
                if free[0] == 0:
                    tried[0] = np.clip(tried[0], *scene.log_focals)
                there, there_bound = _deviations(scene, crossings, tried, sigma)
                now = _bounded(there, there_bound)
                if now < best:
                    values, deviation, bound, best, damping = tried, there, there_bound, now, damping * 0.2
                    break
                damping = max(damping, 1e-4) * 8
            if best > before * (1 - 1e-5):
                break
    return Guess(values)


def _crossings(scene: Scene, only: int | None) -> _Crossings:
    return scene.crossings if only is None else scene.crossings.only(scene.rows_with(only))


def _concerned(crossings: _Crossings, index: int) -> tuple[NDArray[np.int64], _Crossings]:
    """The rows that depend on value `index` of a guess: all of them on the focal length, else those with its view."""
    if index == 0:
        return np.arange(len(crossings.share)), crossings
    view = (index - 1) // 2
    rows = np.flatnonzero((crossings.source == view) | (crossings.target == view))
    return rows, crossings.only(rows)


def other_ranges(scene: Scene, guess: Guess, sigma: float) -> Guess:
    """The guess with single views' ranges exchanged for longer or shorter ones where those agree better: a wrong range is a local
    minimum."""
    best, lowest = guess, cost(scene, guess, sigma)
    for index, factor in itertools.product(range(len(scene)), _OTHER_RANGES):
        values = best.values.copy()
        values[2 + 2 * index] += np.log(factor)
        free = np.array([1 + 2 * index, 2 + 2 * index])
        tried = optimised(scene, Guess(values), (3 * sigma, sigma), rounds=4, free=free, only=index)
        there = cost(scene, tried, sigma)
        if there < lowest:
            best, lowest = tried, there
    return best


def settled_focal(scene: Scene, guess: Guess, sigma: float) -> Guess:
    """The best focal length near a guess: one after the other is tried, and all else follows.

    Focal length and shape trade off along a narrow valley, down which least squares creep.
    """
    rest = np.arange(1, len(guess.values))
    best = optimised(scene, guess, (sigma,), rounds=6, free=rest)
    lowest, step = cost(scene, best, sigma), 0.04
    while step > 0.002:
        for factor in (1 - step, 1 + step):
            tried = optimised(scene, best.at_focal(best.focal * factor), (sigma,), rounds=4, free=rest)
            there = cost(scene, tried, sigma)
            if there < lowest * (1 - _LEAST_GAIN):
                best, lowest = tried, there
                break
        else:
            step /= 2.5
    return best


def _bounded(deviation: Floats, bound: Floats) -> float:
    """Mean of squared deviations, none more than its bound squared."""
    return float(np.mean(deviation**2 / (1 + (deviation / bound) ** 2)))


def _deviations(scene: Scene, crossings: _Crossings, values: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Deviations (n,) and their bounds (n,)."""
    guess, target = Guess(values), crossings.target
    views = range(len(scene))
    near, extent = np.array([guess.near(i) for i in views]), np.array([guess.extent(i) for i in views])
    taken_depth = near[crossings.source] + extent[crossings.source] * crossings.share
    across, down, depth = taken_depth * (crossings.across / guess.focal + crossings.forward) + crossings.origin
    depth = np.maximum(depth, 1e-3)
    width, height = scene.width[target], scene.height[target]
    scale = guess.focal * width / depth
    x = across * scale * scene.focal[target, 0] + scene.middle[target, 0] - 0.5
    y = down * scale * scene.focal[target, 1] + scene.middle[target, 1] - 0.5
    share, beside = _looked_up(scene, target, x, y)
    off = np.maximum(np.maximum(-x, x - width), np.maximum(-y, y - height))
    beside = np.maximum(np.maximum(beside - 0.5, off), 0) / scale
    gap = near[target] + extent[target] * share - depth
    # In picture widths: in world units the guess with the smallest object would be the best.
    unit = sigma * ASSUMED_DISTANCE / guess.focal
    hidden = (gap < 0) & (beside == 0)
    # As steep as being in front where the points are nearly on the surface, or the best guess would hide everything a little.
    deviation = np.where(hidden, gap, np.hypot(np.maximum(gap, 0), beside)) / unit
    return deviation, np.where(hidden, _HIDDEN, 1.0)


def _looked_up(scene: Scene, view: NDArray[np.int64], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Share and distance beside at pixels of views; OpenCV's remap rounds to 1/32 pixel, which would drown the derivatives."""
    width = scene.width[view]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, scene.height[view] - 1.001)
    column, row = x.astype(np.int64), y.astype(np.int64)
    right, down = x - column, y - row
    at = scene.start[view] + row * width + column
    share, beside = np.zeros(len(x)), np.zeros(len(x))
    corners = (
        (at, (1 - right) * (1 - down)),
        (at + 1, right * (1 - down)),
        (at + width, (1 - right) * down),
        (at + width + 1, right * down),
    )
    for index, weight in corners:
        share += weight * scene.share[index]
        beside += weight * scene.beside[index]
    return share, beside
