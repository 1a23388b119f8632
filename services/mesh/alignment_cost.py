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
_OTHER_RANGES = (0.35, 0.6, 1.6, 2.6, 4.0)
_LEAST_RANGE = 1e-3


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

    @property
    def box(self) -> Floats:
        """Left, top, right and bottom of the silhouette, from the middle, in picture widths."""
        rows, columns = np.nonzero(self.beside == 0)
        width = self.beside.shape[1]
        x, y = self.middle
        edges = [columns.min() - x, rows.min() - y, columns.max() + 1 - x, rows.max() + 1 - y]
        return np.asarray(np.array(edges) / width / np.tile(self.focal, 2), np.float64)


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


def first_guess(scene: Scene, focal: float) -> Guess:
    """Nearest depths and ranges from the silhouettes' sizes."""
    values = [np.log(focal)]
    for index in range(len(scene)):
        values += first_scale(scene, index).tolist()
    return Guess(np.array(values))


def first_scale(scene: Scene, index: int) -> Floats:
    """The two values of a view's depth scale, from how far the others' silhouettes reach along its axis."""
    axis = scene.views[index].pose[2, :3]
    near, far = [], []
    for view in scene.views:
        local = view.pose[:3, :3] @ axis
        if abs(local[2]) > 0.5:
            continue
        left, top, right, bottom = view.box * ASSUMED_DISTANCE
        ends = [left * local[0] + top * local[1], right * local[0] + bottom * local[1]]
        near.append(min(ends))
        far.append(max(ends))
    front, back = float(np.mean(near)), float(np.mean(far))
    # Seen surfaces reach to about the middle of what is there.
    return np.array([-front, np.log(max(0.6 * (back - front), 0.05))])


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
    """The guess with single views' ranges exchanged for longer or shorter ones where those agree better.

    How deep a view looks past its nearest part is not in any silhouette, and a wrong range is a local minimum.
    """
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
