"""How many metres a model unit has: what the phone's track says, what LiDAR says, and both together.

The track drifts, so only motions over short windows count; its own scale may be several per cent off, however smooth it
looks, and no statistic of the track shows that: hence the systematic part of its sigma. LiDAR depth is good to a per cent
as a whole though a single reading is not.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from services.sfm.models import Floats, Ints, Scale
from services.sfm.trajectory import inverse, motion_pairs

TRACK_SYSTEMATIC = 0.03
DEPTH_SYSTEMATIC = 0.005
TRACK_WINDOW_S = (0.4, 4.0)
MIN_MOTION_M = 0.1
NEAREST_DEPTH_M, FARTHEST_DEPTH_M = 0.3, 4.5
EDGE_SHARE = 0.06
"""Depth that changes by more than this share within 3 x 3 pixels is an edge, where LiDAR mixes two surfaces."""
MIN_READINGS = 8
BLOCKS = 8


@dataclass(frozen=True)
class DepthRatios:
    """LiDAR depth over model depth: ratio (n,), frame (n,) index of the frame of each."""

    ratio: Floats
    frame: Ints


def read_depth(capture_dir: Path, name: str, min_confidence: int) -> Floats | None:
    """Depth (h, w) in metres of a frame, NaN where it is missing, unsure, or at an edge; None without a depth map."""
    raw = cv2.imread(str(capture_dir / "depth" / name), cv2.IMREAD_UNCHANGED)
    if raw is None:
        return None
    depth = np.where(raw > 0, raw / 1000.0, np.nan)
    confidence = cv2.imread(str(capture_dir / "confidence" / name), cv2.IMREAD_UNCHANGED)
    if confidence is not None and confidence.shape == depth.shape:
        depth[confidence < min_confidence] = np.nan
    depth[(depth < NEAREST_DEPTH_M) | (depth > FARTHEST_DEPTH_M)] = np.nan
    near, far = np.nan_to_num(depth, nan=-1e6), np.nan_to_num(depth, nan=1e6)
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(near, kernel) - cv2.erode(far, kernel) > EDGE_SHARE * np.nan_to_num(depth, nan=1.0)
    hole = cv2.erode(near, kernel) < 0
    depth[edge | hole] = np.nan
    return np.asarray(depth)


def depth_at(depth_m: Floats, pixels: Floats, image_size: tuple[int, int]) -> Floats:
    """Depth (n,) at image `pixels` (n, 2), centres at +0.5; bilinear in inverse depth, which is exact on planes."""
    height, width = depth_m.shape
    x = np.clip(pixels[:, 0] * width / image_size[0] - 0.5, 0, width - 1.001)
    y = np.clip(pixels[:, 1] * height / image_size[1] - 0.5, 0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    u, v = x - column, y - row
    inverse_depth = 1 / depth_m
    top = inverse_depth[row, column] * (1 - u) + inverse_depth[row, column + 1] * u
    bottom = inverse_depth[row + 1, column] * (1 - u) + inverse_depth[row + 1, column + 1] * u
    return np.asarray(1 / (top * (1 - v) + bottom * v))


def depth_sigma(depth_m: Floats) -> Floats:
    """One standard deviation in metres of a confident phone LiDAR reading at `depth_m`."""
    return np.asarray(0.015 + 0.01 * depth_m)


def _robust_scale(model: Floats, phone: Floats, sigma: Floats) -> float:
    """Least squares of phone = s * model over (n, 3) with Cauchy weights, from the median of the length ratios."""
    scale = float(np.median(np.linalg.norm(phone, axis=1) / np.maximum(np.linalg.norm(model, axis=1), 1e-12)))
    for _ in range(20):
        error = np.linalg.norm(phone - scale * model, axis=1) / sigma
        weight = 1 / (1 + error**2) / sigma**2
        scale = float((weight * (model * phone).sum(1)).sum() / max((weight * (model**2).sum(1)).sum(), 1e-18))
    return scale


def scale_from_track(times_s: Floats, world_from_camera: Floats, world_from_phone: Floats) -> Scale | None:
    """Scale from motions over short windows, which drift hardly touches; both (f, 4, 4), in any world frames.

    The statistical sigma is a jackknife over blocks of time, because neighbouring motions share their errors.
    """
    first, second = motion_pairs(times_s, *TRACK_WINDOW_S)
    if not len(first):
        return None
    model = (inverse(world_from_camera)[first] @ world_from_camera[second])[:, :3, 3]
    phone = (inverse(world_from_phone)[first] @ world_from_phone[second])[:, :3, 3]
    length = np.linalg.norm(phone, axis=1)
    moved = length > MIN_MOTION_M
    if moved.sum() < MIN_READINGS:
        return None
    first, model, phone = first[moved], model[moved], phone[moved]
    sigma = 0.006 + 0.03 * length[moved]
    factor = _robust_scale(model, phone, sigma)
    rank = np.argsort(np.argsort(times_s))[first] * BLOCKS // max(len(times_s), 1)
    without = [
        _robust_scale(model[rank != b], phone[rank != b], sigma[rank != b])
        for b in np.unique(rank)
        if (rank != b).any()
    ]
    spread = np.array(without) / factor - 1
    blocks = len(spread)
    statistical = float(np.sqrt((blocks - 1) / blocks * (spread**2).sum())) if blocks > 1 else 0.05
    return Scale("track", factor, factor * float(np.hypot(statistical, TRACK_SYSTEMATIC)), int(moved.sum()))


def scale_from_depth(ratios: DepthRatios) -> Scale | None:
    """Median of the ratios in each frame, then over frames, so that no frame full of points outvotes the others."""
    medians = np.array(
        [
            np.median(ratios.ratio[ratios.frame == frame])
            for frame in np.unique(ratios.frame)
            if (ratios.frame == frame).sum() >= MIN_READINGS
        ]
    )
    if len(medians) < 3:
        return None
    factor = float(np.median(medians))
    spread = 1.4826 * float(np.median(np.abs(medians / factor - 1)))
    statistical = 1.2533 * spread / np.sqrt(len(medians))
    return Scale("depth", factor, factor * float(np.hypot(statistical, DEPTH_SYSTEMATIC)), len(ratios.ratio))


def combine(sources: list[Scale]) -> Scale:
    """Inverse-variance mean. `sources` must not be empty."""
    weights = np.array([1 / source.sigma**2 for source in sources])
    factor = float((weights * [source.factor for source in sources]).sum() / weights.sum())
    return Scale("combined", factor, float(1 / np.sqrt(weights.sum())), sum(source.samples for source in sources))


def disagreement_sigma(sources: list[Scale]) -> float:
    """By how many sigmas the two witnesses differ; 0 with fewer than two."""
    if len(sources) < 2:
        return 0.0
    a, b = sources[0], sources[1]
    return abs(a.factor - b.factor) / float(np.hypot(a.sigma, b.sigma))
