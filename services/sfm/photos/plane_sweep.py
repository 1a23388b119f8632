"""Depth maps without a graphics card: plane sweeps over a few neighbours, kept where neighbours' depth maps agree.

For each picture a stack of planes parallel to it is laid through the scene, evenly in inverse depth. A neighbour's picture,
warped over each plane, is compared in small windows by normalised cross-correlation (Collins 1996; Yang and Pollefeys 2003).
Of several neighbours the better half counts, so that one that is in the way does no harm (Kang, Szeliski and Chai 2001).
The best plane gives the depth, refined by a parabola.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from services.sfm.models import Bools, Floats, Ints

LONGEST_SIDE_PX = 480
PLANES = 64
WINDOW_PX = 7
NEIGHBOURS = 3
LEAST_SCORE = 0.5
LEAST_ANGLE_RAD = np.deg2rad(1.5)
BEST_ANGLE_RAD = np.deg2rad(10.0)
MOST_ANGLE_RAD = np.deg2rad(35.0)
LEAST_SHARED_POINTS = 12
RANGE_SHARE = (0.01, 0.99)
RANGE_MARGIN = 0.15
SAME_DEPTH_SHARE = 0.015
_FLAT = 6.0
"""Added to the variance of grey values (0 to 255) in a window: noise alone gives no correlation."""

Floats32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """A small undistorted picture with its pose.

    colour: (h, w, 3) uint8 RGB. grey: (h, w) float32. matrix: (3, 3), pixel centres at whole numbers. camera_from_world: (3, 4).
    """

    colour: Bytes
    grey: Floats32
    matrix: Floats
    camera_from_world: Floats


@dataclass(frozen=True)
class DepthMap:
    """depth along z: (h, w) float32, 0 where there is none. score: (h, w) float32, correlation of the best plane."""

    depth: Floats32
    score: Floats32


def view(picture: Bytes, camera: pycolmap.Camera, camera_from_world: Floats) -> View:
    """From a picture (h, w, 3) RGB of a SIMPLE_RADIAL or SIMPLE_PINHOLE camera, whose distortion is undone."""
    scale = min(1.0, LONGEST_SIDE_PX / max(camera.width, camera.height))
    size = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    across, down = size[0] / camera.width, size[1] / camera.height
    focal, (cx, cy) = camera.mean_focal_length(), (camera.principal_point_x, camera.principal_point_y)
    matrix = np.array([[focal * across, 0, cx * across - 0.5], [0, focal * down, cy * down - 0.5], [0, 0, 1.0]])
    radial = float(camera.params[3]) if camera.model == pycolmap.CameraModelId.SIMPLE_RADIAL else 0.0
    if radial:
        small = cv2.undistort(small, matrix, np.array([radial, 0.0, 0.0, 0.0]))
    colour = np.asarray(small, np.uint8)
    grey = np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), np.float32)
    return View(colour, grey, matrix, camera_from_world)


def inverse_depths(depths: Floats) -> Floats:
    """Planes (PLANES,) evenly in inverse depth, nearest last, over what the picture's points (k,) span and a margin."""
    near, far = np.quantile(depths, RANGE_SHARE)
    low, high = 1 / far, 1 / near
    margin = RANGE_MARGIN * (high - low) + 0.02 * high
    return np.linspace(max(low - margin, 0.2 * low), high + margin, PLANES)


def choose_neighbours(centre: Floats, others: Floats, shared: Sequence[Floats]) -> Ints:
    """Which of n other pictures to sweep over: up to `NEIGHBOURS` indices, the best first.

    centre (3,), others (n, 3): camera centres. shared: per other picture the points (k, 3) that both see. Baselines around
    `BEST_ANGLE_RAD` are best: narrower ones tell depth badly, wider ones look different.
    """
    worth = np.zeros(len(others))
    for number, points in enumerate(shared):
        if len(points) < LEAST_SHARED_POINTS:
            continue
        a, b = centre - points, others[number] - points
        cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        angle = float(np.median(np.arccos(np.clip(cosine, -1, 1))))
        if LEAST_ANGLE_RAD < angle < MOST_ANGLE_RAD:
            worth[number] = np.sqrt(len(points)) * np.exp(-(np.log(angle / BEST_ANGLE_RAD) ** 2))
    order = np.argsort(-worth, kind="stable")[:NEIGHBOURS]
    return np.asarray(order[worth[order] > 0], np.int64)


def _mean(image: Floats32) -> Floats32:
    return np.asarray(cv2.boxFilter(image, cv2.CV_32F, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_REFLECT))


def _normalised(grey: Floats32) -> Floats32:
    """Grey values (h, w) less the mean of their window, over its standard deviation; near 0 where it is flat."""
    mean = _mean(grey)
    variance = np.maximum(_mean(grey**2) - mean**2, 0)
    return np.asarray((grey - mean) / np.sqrt(variance + _FLAT), np.float32)


def _scores(reference: View, other: View, planes: Floats) -> Floats32:
    """Correlation (p, h, w) with one neighbour over every plane; 0 where it sees nothing.

    Pictures are normalised before they are warped, each by its own windows: one filter for a plane in place of three.
    """
    height, width = reference.grey.shape
    here, there = _normalised(reference.grey), _normalised(other.grey)
    out = np.empty((len(planes), height, width), np.float32)
    pose = np.vstack([reference.camera_from_world, [0, 0, 0, 1.0]])
    relative = np.asarray(other.camera_from_world @ np.linalg.inv(pose))
    back = np.linalg.inv(reference.matrix)
    for number, inverse in enumerate(planes):
        through = relative[:, :3].copy()
        through[:, 2] += relative[:, 3] * inverse
        homography = other.matrix @ through @ back
        warped = cv2.warpPerspective(
            there, homography, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
        cv2.boxFilter(
            cv2.multiply(here, warped), cv2.CV_32F, (WINDOW_PX, WINDOW_PX), out[number], borderType=cv2.BORDER_REFLECT
        )
    return out


def sweep(reference: View, others: Sequence[View], planes: Floats) -> DepthMap:
    """The depth map of a picture by its neighbours, of which there is at least one."""
    every = np.stack([_scores(reference, other, planes) for other in others])
    better = max(1, (len(others) + 1) // 2)
    every.partition(len(others) - better, axis=0)
    volume = every[len(others) - better :].mean(axis=0)
    best = volume.argmax(axis=0)
    at = np.clip(best, 1, len(planes) - 2)[None]
    before, peak, after = (np.take_along_axis(volume, at + step, axis=0)[0] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    shift = np.where(bend < -1e-6, 0.5 * (before - after) / np.where(bend < -1e-6, bend, -1), 0.0)
    plane = at[0] + np.clip(shift, -0.5, 0.5)
    inverse = planes[0] + plane * (planes[1] - planes[0])
    score = volume.max(axis=0)
    good = (score > LEAST_SCORE) & (best > 0) & (best < len(planes) - 1) & (inverse > 0)
    depth = np.where(good, 1 / np.maximum(inverse, 1e-12), 0.0)
    return DepthMap(depth.astype(np.float32), score.astype(np.float32))


def grid_points(view: View, depth: Floats32) -> Floats:
    """Points (h, w, 3) of a depth map in the camera's frame."""
    height, width = depth.shape
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    x = (u - view.matrix[0, 2]) / view.matrix[0, 0]
    y = (v - view.matrix[1, 2]) / view.matrix[1, 1]
    return np.stack([x, y, np.ones_like(x)], axis=-1) * depth[..., None]


def confirmed(reference: View, depth: Floats32, others: Sequence[tuple[View, Floats32]], least: int) -> Bools:
    """Where (h, w) at least so many of the others' depth maps have the same surface."""
    height, width = depth.shape
    known = depth > 0
    local = grid_points(reference, depth)[known]
    rotation, translation = reference.camera_from_world[:, :3], reference.camera_from_world[:, 3]
    world = (local - translation) @ rotation
    votes = np.zeros(len(world), np.int64)
    for other, there in others:
        seen = world @ other.camera_from_world[:, :3].T + other.camera_from_world[:, 3]
        z = np.maximum(seen[:, 2], 1e-9)
        u = np.rint(seen[:, 0] / z * other.matrix[0, 0] + other.matrix[0, 2])
        v = np.rint(seen[:, 1] / z * other.matrix[1, 1] + other.matrix[1, 2])
        inside = (seen[:, 2] > 0) & (u >= 0) & (v >= 0) & (u < there.shape[1]) & (v < there.shape[0])
        measured = np.zeros(len(world))
        measured[inside] = there[v[inside].astype(np.int64), u[inside].astype(np.int64)]
        votes += (measured > 0) & (np.abs(measured - seen[:, 2]) < SAME_DEPTH_SHARE * seen[:, 2])
    out = np.zeros((height, width), np.bool_)
    out[known] = votes >= least
    return out
