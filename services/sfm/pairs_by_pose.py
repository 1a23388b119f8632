"""Pairs of frames that see the same surfaces, by the phone's poses and depth.

A sparse grid of each frame's depth is carried into every other frame. A point counts as seen there if it lands inside and
in front, at the depth measured there (else something stands between: a wall, another room), from the side its surface
faces, and from a direction from which SIFT would still know it (Mikolajczyk and Schmid 2005: up to some 50°).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.captures import CapturedFrame, CaptureManifest
from contracts.progress import Reporter
from services.sfm.captured import Floats, pose_matrix, read_depth

Pairs = NDArray[np.int64]
Float32s = NDArray[np.float32]

GRID = (16, 12)
DEFAULT_DEPTH_M = 2.5
DEPTH_TOLERANCE_M = 0.10
DEPTH_TOLERANCE_SHARE = 0.05
"""Of the depth. Both together allow for the drift of a phone's track between two visits of one room."""
MAX_VIEW_ANGLE_RAD = np.deg2rad(50)
MIN_FACING = 0.1
"""Cosine between a surface's normal and the direction to a camera that sees it: 84° at most."""
MAX_SCALE_RATIO = 2.5
GOOD_PARALLAX_RAD = np.deg2rad(4)
"""From here on more parallax does not make a pair better."""
MIN_OVERLAP = 0.12
FRAMES_NEAR_IN_TIME = 2
PAIRS_PER_FRAME = 8


@dataclass(frozen=True)
class Views:
    """`n` frames, `g` grid points each.

    camera_from_world: (n, 4, 4). intrinsics: (n, 4) fx, fy, cx, cy in pixels of `size_px`. depth_m: (n, h, w) float32 at
    about four times the grid, 0 = unknown. points_m, normals: (n, g, 3) in the world, normals zero where unknown (no
    depth around). weights: (n, g), 0 for a point that must not count. z_m: (n, g) depth of the points.
    """

    camera_from_world: Floats
    intrinsics: Floats
    size_px: tuple[int, int]
    depth_m: Float32s
    points_m: Floats
    normals: Floats
    weights: Floats
    z_m: Floats


def unique_pairs(pairs: Pairs) -> Pairs:
    """Each unordered pair once, smaller index first, sorted; pairs of a frame with itself are dropped."""
    ordered = np.sort(pairs.reshape(-1, 2), axis=1)
    distinct: NDArray[np.intp] = np.flatnonzero(ordered[:, 0] - ordered[:, 1])
    return np.asarray(np.unique(ordered[distinct], axis=0), np.int64).reshape(-1, 2)


def _coarse_depth(depth: Floats | None, shape: tuple[int, int]) -> Float32s:
    """Depth at the middle of the cells of a grid (h, w): picked, not averaged, which would invent depths at edges."""
    height, width = shape
    if depth is None:
        return np.zeros(shape, np.float32)
    rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(int)
    return np.asarray(depth[np.ix_(rows, columns)], np.float32)


def read_views(capture_dir: Path, capture: CaptureManifest, report: Reporter) -> Views:
    """The frames of a capture as seen by this module; depth of every confidence counts."""
    shape = (GRID[1] * 4, GRID[0] * 4)
    coarse = []
    for index, frame in enumerate(capture.frames):
        coarse.append(_coarse_depth(read_depth(capture_dir, frame, 0), shape))
        report.progress(index, len(capture.frames), "Reading depth")
    size = capture.source.width_px, capture.source.height_px
    return make_views(capture.frames, np.stack(coarse), size)


def make_views(frames: tuple[CapturedFrame, ...], depth_m: Float32s, size_px: tuple[int, int]) -> Views:
    """`depth_m` (n, h, w): depth at the middle of the cells of a regular grid over the picture, 0 = unknown."""
    world_from_camera = np.stack([pose_matrix(frame.pose) for frame in frames])
    intrinsics = np.array(
        [(f.intrinsics.fx_px, f.intrinsics.fy_px, f.intrinsics.cx_px, f.intrinsics.cy_px) for f in frames]
    )
    _, height, width = depth_m.shape
    u, v = np.meshgrid((np.arange(width) + 0.5) * size_px[0] / width, (np.arange(height) + 0.5) * size_px[1] / height)
    rays = np.stack(
        [
            (u - intrinsics[:, 2, None, None]) / intrinsics[:, 0, None, None],
            (v - intrinsics[:, 3, None, None]) / intrinsics[:, 1, None, None],
            np.ones((len(frames), height, width)),
        ],
        axis=-1,
    )
    cells = (slice(None), slice(2, None, 4), slice(2, None, 4))
    has_depth = np.any(depth_m.reshape(len(frames), -1) > 0, axis=1, keepdims=True)
    z = depth_m[cells].astype(np.float64).reshape(len(frames), -1)
    z = np.where(has_depth, z, DEFAULT_DEPTH_M)
    local = rays[cells].reshape(len(frames), -1, 3) * z[..., None]
    normals = _normals(rays * depth_m[..., None], depth_m)[cells].reshape(len(frames), -1, 3)
    rotation, centre = world_from_camera[:, :3, :3], world_from_camera[:, :3, 3]
    camera_from_world = np.tile(np.eye(4), (len(frames), 1, 1))
    camera_from_world[:, :3, :3] = rotation.transpose(0, 2, 1)
    camera_from_world[:, :3, 3] = -np.einsum("nji,nj->ni", rotation, centre)
    return Views(
        camera_from_world=camera_from_world,
        intrinsics=intrinsics,
        size_px=size_px,
        depth_m=depth_m,
        points_m=np.einsum("nij,ngj->ngi", rotation, local) + centre[:, None],
        normals=np.einsum("nij,ngj->ngi", rotation, normals),
        weights=(z > 0).astype(np.float64),
        z_m=z,
    )


def _normals(points: Floats, depth_m: Float32s) -> Floats:
    """Unit normals (n, h, w, 3) towards the camera from points in camera axes; zero at borders and unknown depth."""
    across = np.zeros_like(points)
    down = np.zeros_like(points)
    across[:, :, 1:-1] = points[:, :, 2:] - points[:, :, :-2]
    down[:, 1:-1] = points[:, 2:] - points[:, :-2]
    known = np.zeros(depth_m.shape, bool)
    known[:, 1:-1, 1:-1] = (
        (depth_m[:, 1:-1, 2:] > 0)
        & (depth_m[:, 1:-1, :-2] > 0)
        & (depth_m[:, 2:, 1:-1] > 0)
        & (depth_m[:, :-2, 1:-1] > 0)
    )
    normals = np.cross(across, down)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    facing = np.where(np.einsum("nhwi,nhwi->nhw", normals, points) > 0, -1.0, 1.0)
    return np.asarray(normals * (facing * known)[..., None])


def _seen_from(views: Views, source: int) -> tuple[Floats, Floats]:
    """How frame `source`'s points fare in every frame: overlap (n,) in 0..1 and mean parallax (n,) in radians."""
    points = views.points_m[source]
    rotation, shift = views.camera_from_world[:, :3, :3], views.camera_from_world[:, :3, 3]
    centres = -np.einsum("nji,nj->ni", rotation, shift)
    local = np.einsum("nij,gj->ngi", rotation, points) + shift[:, None]
    z = local[..., 2]
    ahead = z > 0.05
    safe_z = np.where(ahead, z, 1.0)
    u = local[..., 0] / safe_z * views.intrinsics[:, None, 0] + views.intrinsics[:, None, 2]
    v = local[..., 1] / safe_z * views.intrinsics[:, None, 1] + views.intrinsics[:, None, 3]
    width, height = views.size_px
    seen = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    rows, columns = views.depth_m.shape[1:]
    row = np.clip(v / height * rows, 0, rows - 1).astype(int)
    column = np.clip(u / width * columns, 0, columns - 1).astype(int)
    measured = views.depth_m[np.arange(len(views.depth_m))[:, None], row, column]
    tolerance = DEPTH_TOLERANCE_M + DEPTH_TOLERANCE_SHARE * safe_z
    seen &= (measured == 0) | (np.abs(safe_z - measured) < tolerance)
    ratio = safe_z / np.maximum(views.z_m[source], 1e-6)
    seen &= (ratio < MAX_SCALE_RATIO) & (ratio > 1 / MAX_SCALE_RATIO)
    to_camera = centres[:, None] - points
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=-1, keepdims=True), 1e-9)
    normals = views.normals[source]
    has_normal = np.abs(normals).sum(axis=-1) > 0
    seen &= ~has_normal | (np.einsum("ngi,gi->ng", to_camera, normals) > MIN_FACING)
    cosine = np.clip(np.einsum("ngi,gi->ng", to_camera, to_camera[source]), -1, 1)
    seen &= cosine > np.cos(MAX_VIEW_ANGLE_RAD)
    weights = views.weights[source] * seen
    total = weights.sum(axis=1)
    parallax = (np.arccos(cosine) * weights).sum(axis=1) / np.maximum(total, 1e-9)
    return total / max(float(views.weights[source].sum()), 1.0), parallax


def overlaps(views: Views) -> tuple[Floats, Floats]:
    """Symmetric overlap (n, n) in 0..1, the geometric mean of both directions, and parallax (n, n) in radians."""
    rows = [_seen_from(views, source) for source in range(len(views.z_m))]
    one_way = np.stack([row[0] for row in rows])
    parallax = np.stack([row[1] for row in rows])
    overlap = np.sqrt(one_way * one_way.T)
    np.fill_diagonal(overlap, 0)
    return overlap, np.asarray((parallax + parallax.T) / 2)


def choose(overlap: Floats, parallax: Floats, per_frame: int) -> Pairs:
    """Pairs (p, 2) int64: frames near in time, and for each frame the `per_frame` best others.

    A pair's worth is its overlap, less where there is hardly any parallax to triangulate by. Of candidates next to each
    other in time the best is taken first, so that a frame is tied to different places of the walk and loops are closed.
    Near frames keep the graph connected whatever the overlaps say.
    """
    count = len(overlap)
    steps = range(1, min(FRAMES_NEAR_IN_TIME, count - 1) + 1)
    found = [(first, first + step) for step in steps for first in range(count - step)]
    worth = overlap * (0.3 + 0.7 * np.minimum(1, parallax / GOOD_PARALLAX_RAD))
    worth[overlap < MIN_OVERLAP] = 0
    for frame in range(count):
        scores = worth[frame].copy()
        scores[max(0, frame - FRAMES_NEAR_IN_TIME) : frame + FRAMES_NEAR_IN_TIME + 1] = 0
        for _ in range(per_frame):
            best = int(scores.argmax())
            if scores[best] <= 0:
                break
            found.append((frame, best))
            scores[max(0, best - 1) : best + 2] *= 0.5
            scores[best] = 0
    return unique_pairs(np.array(found, np.int64).reshape(-1, 2))


def overlapping_pairs(views: Views, per_frame: int = PAIRS_PER_FRAME) -> Pairs:
    """Pairs (p, 2) int64 worth matching, by frame index, smaller first."""
    return choose(*overlaps(views), per_frame)
