"""What mapping works on: the frames that have verified matches, the phone's track, and depth at the keypoints."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap

from contracts.captures import MANIFEST_NAME, CaptureManifest
from contracts.errors import ErrorCode, UserError
from services.sfm.metric import depth_at, read_depth
from services.sfm.models import Floats, Ints
from services.sfm.trajectory import RayMatches, Track, read_track

MIN_PAIR_INLIERS = 15
MIN_FRAMES = 3
FEW_FRAMES = "fewer than three pictures share verified matches with another"
HIGH_CONFIDENCE = 2


@dataclass(frozen=True)
class Scene:
    """`f` frames in time order; per-frame tuples have one array per frame, rows are its keypoints.

    cache: the database in memory. image_ids (f,). times_s (f,). keypoints_px: (k, 2). depth_m: (k,), NaN where LiDAR
    says nothing trustworthy. all_names: every frame of the capture, those without matches included.
    """

    cache: pycolmap.DatabaseCache
    names: tuple[str, ...]
    image_ids: Ints
    times_s: Floats
    track: Track
    keypoints_px: tuple[Floats, ...]
    depth_m: tuple[Floats, ...]
    all_names: tuple[str, ...]
    verified_pairs: int

    @property
    def frames(self) -> int:
        return len(self.image_ids)


def read_scene(capture_dir: Path, database: Path) -> Scene:
    """Raises UserError(NO_MODEL) where fewer than three frames have verified matches."""
    manifest = CaptureManifest.model_validate_json((capture_dir / MANIFEST_NAME).read_bytes())
    cache, verified = _read_database(database)
    ids = {image.name: image_id for image_id, image in cache.images.items()}
    frames = [frame for frame in sorted(manifest.frames, key=lambda frame: frame.timestamp_s) if frame.name in ids]
    if len(frames) < MIN_FRAMES:
        raise no_model(len(manifest.frames), verified, FEW_FRAMES)
    keypoints, depths = [], []
    for frame in frames:
        image = cache.image(ids[frame.name])
        camera = cache.camera(image.camera_id)
        pixels = np.array([point.xy for point in image.points2D], dtype=np.float64).reshape(-1, 2)
        depth = read_depth(capture_dir, frame.name, HIGH_CONFIDENCE) if frame.has_depth else None
        keypoints.append(pixels)
        known = depth is not None and len(pixels) > 0
        depths.append(
            depth_at(depth, pixels, (camera.width, camera.height))
            if known and depth is not None
            else np.full(len(pixels), np.nan)
        )
    return Scene(
        cache=cache,
        names=tuple(frame.name for frame in frames),
        image_ids=np.array([ids[frame.name] for frame in frames]),
        times_s=np.array([frame.timestamp_s for frame in frames]),
        track=read_track(capture_dir, manifest),
        keypoints_px=tuple(keypoints),
        depth_m=tuple(depths),
        all_names=tuple(frame.name for frame in manifest.frames),
        verified_pairs=verified,
    )


def with_matches_of(database: Path, scene: Scene) -> Scene:
    """The scene with the matches that `database` has, a copy of the scene's own without some pairs.

    Raises UserError(NO_MODEL) where fewer than three frames have verified matches.
    """
    cache, verified = _read_database(database)
    left = {image.name for image in cache.images.values()}
    kept = np.flatnonzero([name in left for name in scene.names])
    if len(kept) < MIN_FRAMES:
        raise no_model(len(scene.all_names), verified, FEW_FRAMES)
    return replace(
        scene,
        cache=cache,
        names=tuple(scene.names[i] for i in kept),
        image_ids=scene.image_ids[kept],
        times_s=scene.times_s[kept],
        keypoints_px=tuple(scene.keypoints_px[i] for i in kept),
        depth_m=tuple(scene.depth_m[i] for i in kept),
        verified_pairs=verified,
    )


def _read_database(database: Path) -> tuple[pycolmap.DatabaseCache, int]:
    """What mapping needs of it, and how many pairs are verified."""
    options = pycolmap.DatabaseCacheOptions()
    options.min_num_matches = MIN_PAIR_INLIERS
    with pycolmap.Database.open(database) as db:
        # COLMAP keeps a row for every pair that it looked at; this lists those with inliers.
        return pycolmap.DatabaseCache.create(db, options), len(db.read_two_view_geometry_num_inliers()[0])


def no_model(images: int, pairs: int, reason: str) -> UserError:
    """The error of a capture whose pictures do not make a model."""
    return UserError(
        ErrorCode.NO_MODEL,
        f"No model could be made from {images} pictures with {pairs} matched pairs: {reason}. "
        "Try more pictures per second (a higher `fps`), pairing_mode `exhaustive`, or a slower walk with more texture in view.",
    )


def rays_of(scene: Scene, cameras: pycolmap.Reconstruction | pycolmap.DatabaseCache) -> tuple[Floats, ...]:
    """Undistorted image-plane points (k, 2) at z = 1 of every frame's keypoints, by the cameras given."""
    rays = []
    for image_id, pixels in zip(scene.image_ids, scene.keypoints_px, strict=True):
        camera = cameras.cameras[scene.cache.image(int(image_id)).camera_id]
        rays.append(np.asarray(camera.cam_from_img(pixels), dtype=np.float64).reshape(-1, 2) if len(pixels) else pixels)
    return tuple(rays)


def focal_lengths(scene: Scene) -> Floats:
    """Mean focal length (f,) in pixels of every frame's camera."""
    return np.array(
        [scene.cache.cameras[scene.cache.image(int(i)).camera_id].mean_focal_length() for i in scene.image_ids]
    )


def ray_matches(scene: Scene) -> RayMatches:
    """All verified matches as undistorted rays."""
    rays = rays_of(scene, scene.cache)
    index = {int(image_id): frame for frame, image_id in enumerate(scene.image_ids)}
    graph = scene.cache.correspondence_graph
    first, second, first_ray, second_ray = [], [], [], []
    for pair_id in graph.image_pairs():
        id1, id2 = pycolmap.pair_id_to_image_pair(pair_id)
        if id1 not in index or id2 not in index:
            continue
        a, b = index[id1], index[id2]
        matches = graph.extract_matches_between_images(id1, id2)
        first.append(np.full(len(matches), a))
        second.append(np.full(len(matches), b))
        first_ray.append(rays[a][matches[:, 0]])
        second_ray.append(rays[b][matches[:, 1]])
    if not first:
        none = np.zeros(0, np.int64)
        return RayMatches(none, none, np.zeros((0, 2)), np.zeros((0, 2)))
    return RayMatches(
        np.concatenate(first), np.concatenate(second), np.concatenate(first_ray), np.concatenate(second_ray)
    )
