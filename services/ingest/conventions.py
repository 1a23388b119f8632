"""Camera axes: which ones the odometry uses, and the conversion to OpenCV's. No other module converts axes.

Both apps write camera-to-world poses in a world with +y up. Stray Scanner's camera has OpenCV axes (x right, y down,
z forward), ReScan's ARKit's (x right, y up, z backward); they differ by half a turn about x. Seen from the camera, the
wrong choice flips yaw, roll and the motion along y and z, and leaves pitch and the motion along x.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from contracts.captures import ConventionEvidence, Intrinsics, Pose

FloatArray = npt.NDArray[np.float64]
Axes = Literal["opencv", "arkit"]

_ARKIT_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_ANCHORS = 60
_PAIRS = 30
_GAPS_S = (0.15, 0.3, 0.6, 1.0, 1.6)
_MAX_ROTATION_RAD = np.deg2rad(40)
_MAX_TRANSLATION_M = 1.5
_MIN_DIFFERENCE_M = 0.02
"""Pairs whose two predictions lie closer than this say nothing."""
_SENSOR_NOISE_M = 0.01
_MIN_PAIRS = 3
_SIGNIFICANCE = 3.0
"""Mean over standard error that a decision needs."""
_MIN_LOG_RATIO = 0.1
_MOTION_SIDE_PX = 160
_MIN_MOTION_PX = 1.5
_UPRIGHT = 0.5


@dataclass(frozen=True)
class DepthSource:
    """Depth by row of odometry.csv."""

    rows: Sequence[int]
    depth_mm: Callable[[int], npt.NDArray[np.uint16] | None]
    intrinsics_px: tuple[float, float, float, float]
    """fx, fy, cx, cy in depth pixels, centres at +0.5."""


@dataclass(frozen=True)
class GreyFrame:
    """A picture for comparing motion with the poses."""

    row: int
    grey: npt.NDArray[np.uint8]
    """(h, w) small copy."""


def matrices(positions_m: FloatArray, quaternions_xyzw: FloatArray) -> FloatArray:
    """(n, 4, 4) rigid transforms from (n, 3) positions and (n, 4) unit quaternions."""
    x, y, z, w = quaternions_xyzw.T
    result = np.zeros((len(positions_m), 4, 4))
    result[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=-1)
    result[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=-1)
    result[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=-1)
    result[:, :3, 3] = positions_m
    result[:, 3, 3] = 1
    return result


def world_from_camera(positions_m: FloatArray, quaternions_xyzw: FloatArray, axes: Axes) -> FloatArray:
    """(n, 4, 4) poses of cameras with OpenCV axes, from poses with the given ones."""
    written = matrices(positions_m, quaternions_xyzw)
    return written @ _ARKIT_FROM_OPENCV if axes == "arkit" else written


def pose(position_m: FloatArray, quaternion_xyzw: FloatArray, axes: Axes) -> Pose:
    """One pose of a camera with OpenCV axes; the half turn about x is a product with the quaternion (1, 0, 0, 0)."""
    x, y, z, w = (float(value) for value in quaternion_xyzw)
    turned = (w, z, -y, -x) if axes == "arkit" else (x, y, z, w)
    px, py, pz = (float(value) for value in position_m)
    return Pose(quaternion_xyzw=turned, position_m=(px, py, pz))


def scaled(intrinsics: Intrinsics, factor_x: float, factor_y: float) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of the same camera on another pixel grid."""
    return (
        intrinsics.fx_px * factor_x,
        intrinsics.fy_px * factor_y,
        intrinsics.cx_px * factor_x,
        intrinsics.cy_px * factor_y,
    )


def detect(
    written: FloatArray,
    timestamps_s: FloatArray,
    depth: DepthSource | None,
    greys: Sequence[GreyFrame],
    grey_intrinsics_px: tuple[float, float, float, float],
) -> ConventionEvidence:
    """Decide which camera axes (n, 4, 4) world-from-camera matrices were written in.

    In this order, the first that is clear: depth of one frame laid over another under both conventions; pictures
    turned by the rotation between them under both; which way is up for a phone held in landscape; else OpenCV's.
    """
    evidence = None if depth is None else _decide_by_depth(written, timestamps_s, depth)
    if evidence is None:
        evidence = _decide_by_motion(written, greys, grey_intrinsics_px)
    if evidence is None:
        evidence = _decide_by_gravity(written)
    return evidence or ConventionEvidence(axes="opencv", decided_by="default")


def _relative(written: FloatArray, i: int, j: int) -> dict[Axes, FloatArray]:
    """Transform from camera i to camera j in OpenCV axes, if the poses were written in either axes."""
    as_written = np.linalg.inv(written[j]) @ written[i]
    return {"opencv": as_written, "arkit": _ARKIT_FROM_OPENCV @ as_written @ _ARKIT_FROM_OPENCV}


def _decide_by_depth(written: FloatArray, timestamps_s: FloatArray, depth: DepthSource) -> ConventionEvidence | None:
    log_ratios: list[float] = []
    residuals: dict[Axes, list[float]] = {"opencv": [], "arkit": []}
    for i, j in _telling_pairs(written, timestamps_s, np.array(depth.rows, dtype=np.int64)):
        depth_i, depth_j = depth.depth_mm(i), depth.depth_mm(j)
        if depth_i is None or depth_j is None:
            continue
        pair = {
            axes: _reprojection_residual_m(depth_i, depth_j, j_from_i, depth.intrinsics_px)
            for axes, j_from_i in _relative(written, i, j).items()
        }
        opencv_m, arkit_m = pair["opencv"], pair["arkit"]
        if opencv_m is None or arkit_m is None:
            continue
        residuals["opencv"].append(opencv_m)
        residuals["arkit"].append(arkit_m)
        log_ratios.append(float(np.log((arkit_m + _SENSOR_NOISE_M) / (opencv_m + _SENSOR_NOISE_M))))
    axes = _sign(np.array(log_ratios), _MIN_LOG_RATIO)
    if axes is None:
        return None
    rejected: Axes = "arkit" if axes == "opencv" else "opencv"
    return ConventionEvidence(
        axes=axes,
        decided_by="depth",
        residual_m=float(np.median(residuals[axes])),
        rejected_residual_m=float(np.median(residuals[rejected])),
    )


def _sign(differences: FloatArray, least_mean: float) -> Axes | None:
    """opencv if the differences are clearly positive, arkit if clearly negative, else None."""
    if len(differences) < _MIN_PAIRS:
        return None
    mean = float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    if abs(mean) < max(least_mean, _SIGNIFICANCE * error):
        return None
    return "opencv" if mean > 0 else "arkit"


def _telling_pairs(written: FloatArray, timestamps_s: FloatArray, rows: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Overlapping pairs of rows whose relative motion the two conventions disagree on most."""
    if len(rows) < 2:
        return []
    anchors = rows[np.unique(np.linspace(0, len(rows) - 1, _ANCHORS).astype(int))]
    # Corners and middle of a view two metres deep, with a field of view of about 65 degrees.
    probes = np.array([(x, y, 2.0, 1.0) for x in (-1.2, 0.0, 1.2) for y in (-0.9, 0.0, 0.9)]).T
    best: list[tuple[float, int, int]] = []
    for i in anchors.tolist():
        partners = {int(rows[_nearest(timestamps_s[rows], timestamps_s[i] + gap_s)]) for gap_s in _GAPS_S}
        choices = []
        for j in partners - {i}:
            relative = _relative(written, i, j)
            turn_rad = np.arccos(np.clip((np.trace(relative["opencv"][:3, :3]) - 1) / 2, -1, 1))
            if turn_rad > _MAX_ROTATION_RAD or np.linalg.norm(relative["opencv"][:3, 3]) > _MAX_TRANSLATION_M:
                continue
            apart = (relative["opencv"] - relative["arkit"]) @ probes
            choices.append((float(np.linalg.norm(apart[:3], axis=0).mean()), i, j))
        if choices and max(choices)[0] > _MIN_DIFFERENCE_M:
            best.append(max(choices))
    best.sort(reverse=True)
    return [(i, j) for _, i, j in best[:_PAIRS]]


def _nearest(times_s: FloatArray, time_s: float) -> int:
    return int(np.abs(times_s - time_s).argmin())


def _reprojection_residual_m(
    depth_i_mm: npt.NDArray[np.uint16],
    depth_j_mm: npt.NDArray[np.uint16],
    j_from_i: FloatArray,
    intrinsics_px: tuple[float, float, float, float],
) -> float | None:
    """Median disagreement between frame i's points seen from j and what j measured; None without overlap."""
    fx, fy, cx, cy = intrinsics_px
    height_px, width_px = depth_i_mm.shape
    stride = max(1, width_px // 64)
    v, u = np.mgrid[0:height_px:stride, 0:width_px:stride]
    z_m = depth_i_mm[v, u].ravel() / 1000.0
    u_px, v_px = u.ravel()[z_m > 0] + 0.5, v.ravel()[z_m > 0] + 0.5
    z_m = z_m[z_m > 0]
    points = np.stack([(u_px - cx) / fx * z_m, (v_px - cy) / fy * z_m, z_m, np.ones_like(z_m)])
    x_m, y_m, seen_m = (j_from_i @ points)[:3]
    ahead = seen_m > 0.05
    x_m, y_m, seen_m = x_m[ahead], y_m[ahead], seen_m[ahead]
    column = np.floor(x_m / seen_m * fx + cx).astype(np.int64)
    row = np.floor(y_m / seen_m * fy + cy).astype(np.int64)
    inside = (column >= 0) & (column < width_px) & (row >= 0) & (row < height_px)
    measured_m = depth_j_mm[row[inside], column[inside]] / 1000.0
    valid = measured_m > 0
    if valid.sum() < max(50, 0.1 * len(z_m)):
        return None
    return float(np.median(np.abs(seen_m[inside][valid] - measured_m[valid])))


def _decide_by_motion(
    written: FloatArray, greys: Sequence[GreyFrame], intrinsics_px: tuple[float, float, float, float]
) -> ConventionEvidence | None:
    """Turn each picture into the one before it by the rotation alone and compare (normalised correlation)."""
    differences = []
    for first, second in itertools.pairwise(greys):
        relative = _relative(written, first.row, second.row)
        k = _camera_matrix(intrinsics_px, first.grey.shape[1], _MOTION_SIDE_PX)
        warps = {axes: k @ matrix[:3, :3] @ np.linalg.inv(k) for axes, matrix in relative.items()}
        size = _small_size(first.grey)
        centre = np.array([size[0] / 2, size[1] / 2, 1.0])
        corner = np.array([size[0] * 0.8, size[1] * 0.2, 1.0])
        moved = [_moved_px(warps, point) for point in (centre, corner)]
        turn_rad = np.arccos(np.clip((np.trace(relative["opencv"][:3, :3]) - 1) / 2, -1, 1))
        if max(moved) < _MIN_MOTION_PX or turn_rad > _MAX_ROTATION_RAD / 2:
            continue
        pair = {axes: _correlation(first.grey, second.grey, warp, size) for axes, warp in warps.items()}
        if pair["opencv"] is not None and pair["arkit"] is not None:
            differences.append(pair["opencv"] - pair["arkit"])
    axes = _sign(np.array(differences), 0.02)
    return None if axes is None else ConventionEvidence(axes=axes, decided_by="motion")


def _small_size(grey: npt.NDArray[np.uint8]) -> tuple[int, int]:
    height_px, width_px = grey.shape
    return _MOTION_SIDE_PX, max(8, round(_MOTION_SIDE_PX * height_px / width_px))


def _camera_matrix(intrinsics_px: tuple[float, float, float, float], width_px: int, target_width_px: int) -> FloatArray:
    """(3, 3) on the small grid, with pixel centres at whole numbers as cv2's warps have them."""
    fx, fy, cx, cy = (value * target_width_px / width_px for value in intrinsics_px)
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])


def _moved_px(warps: dict[Axes, FloatArray], point: FloatArray) -> float:
    """How far apart the two conventions put a point."""
    opencv, arkit = warps["opencv"] @ point, warps["arkit"] @ point
    return float(np.linalg.norm(opencv[:2] / opencv[2] - arkit[:2] / arkit[2]))


def _correlation(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], warp: FloatArray, size: tuple[int, int]
) -> float | None:
    """Normalised correlation of `first` with `second` drawn in its place; None if too little overlaps."""
    small_first = cv2.resize(first, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small_second = cv2.resize(second, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpPerspective(small_second, warp, size, flags=flags)
    inside = cv2.warpPerspective(np.ones_like(small_second), warp, size, flags=flags) > 0.99
    if inside.mean() < 0.3:
        return None
    a, b = small_first[inside], drawn[inside]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm > 0 else None


def _decide_by_gravity(written: FloatArray) -> ConventionEvidence | None:
    """In landscape the sensor's y axis points up in ARKit's axes and down in OpenCV's; in portrait this tells nothing."""
    upward = float(np.median(written[:, 1, 1]))
    if abs(upward) < _UPRIGHT:
        return None
    return ConventionEvidence(axes="arkit" if upward > 0 else "opencv", decided_by="gravity")
