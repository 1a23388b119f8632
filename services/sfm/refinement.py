"""From rough poses to a metric model: triangulate, adjust with the phone's priors, repeat with tighter thresholds.

Both approaches end here. Every round triangulates anew, because better poses keep more tracks alive; measures the picture
delay and the scale anew, because a better model shows them better; and then adjusts. Frames without enough support
ride along on the phone's motion, are offered to PnP, and are dropped at the end if no image supports them.
"""

from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from contracts.progress import Reporter
from services.sfm import adjustment, alignment, metric
from services.sfm.intrinsics import refine_distortion
from services.sfm.models import Bools, Floats, Ints, Scale
from services.sfm.scene import Scene, focal_lengths, rays_of
from services.sfm.trajectory import delay_from_motion, inverse

MIN_SUPPORT = 12
"""Observations of triangulated points that a frame needs to count as registered."""
FINAL_ERROR_PX = 4.0
MIN_ANGLE_DEG = 1.5
PNP_MIN_INLIERS = 12
PNP_SURE_INLIERS = 40
PNP_MAX_AWAY_M = 0.5
DISTORTION_ROUNDS = 3
NEIGHBOUR_STEPS = (1, 2, 4)


@dataclass(frozen=True)
class Round:
    """Thresholds as angles, so that they mean the same at every resolution; never below the final pixel error."""

    max_error_rad: float
    loss_rad: float
    iterations: int
    observations_per_frame: int | None
    """Points enough for so many observations in every frame are adjusted, those with the longest tracks; None for all."""


FROM_PHONE_POSES = (Round(0.02, 0.004, 8, 400), Round(0.008, 0.002, 8, 400), Round(0.0, 0.0, 10, 400))
FROM_MAPPER_POSES: tuple[Round, ...] = ()
LAST = Round(0.0, 0.0, 4, None)
"""All points settle within a few steps once poses have; ten more change centres by tenths of a millimetre."""


@dataclass(frozen=True)
class State:
    """Where the refinement stands. world_from_camera: (f, 4, 4). supported: (f,) bool.

    scale_factor: by how much the poses given at the start were multiplied so far.
    """

    world_from_camera: Floats
    supported: Bools
    delay_s: float
    scale_factor: float
    scale: Scale | None
    sources: tuple[Scale, ...]


def load(scene: Scene, world_from_camera: Floats) -> pycolmap.Reconstruction:
    """A reconstruction of all frames of the scene at the given poses, without points."""
    reconstruction = pycolmap.Reconstruction()
    reconstruction.load(scene.cache)
    for image_id, pose in zip(scene.image_ids, inverse(world_from_camera), strict=True):
        image = reconstruction.image(int(image_id))
        reconstruction.frame(image.frame_id).set_cam_from_world(image.camera_id, pycolmap.Rigid3d(pose[:3]))
        reconstruction.register_frame(image.frame_id)
    return reconstruction


def _triangulator_options(max_error_px: float, max_error_rad: float) -> pycolmap.IncrementalTriangulatorOptions:
    options = pycolmap.IncrementalTriangulatorOptions()
    options.min_angle = MIN_ANGLE_DEG
    options.merge_max_reproj_error = max_error_px
    options.complete_max_reproj_error = max_error_px
    options.create_max_angle_error = max(2.0, float(np.degrees(max_error_rad)))
    options.continue_max_angle_error = options.create_max_angle_error
    options.random_seed = 0
    return options


def triangulate(
    scene: Scene, reconstruction: pycolmap.Reconstruction, max_error_px: float, max_error_rad: float
) -> None:
    """Points from all verified matches at the poses that the reconstruction has, in place."""
    graph = scene.cache.correspondence_graph
    manager = pycolmap.ObservationManager(reconstruction, graph)
    triangulator = pycolmap.IncrementalTriangulator(graph, reconstruction, manager)
    options = _triangulator_options(max_error_px, max_error_rad)
    for image_id in scene.image_ids:
        triangulator.triangulate_image(options, int(image_id))
    triangulator.complete_all_tracks(options)
    triangulator.merge_all_tracks(options)
    manager.filter_all_points3D(max_error_px, MIN_ANGLE_DEG)


def complete(scene: Scene, reconstruction: pycolmap.Reconstruction, max_error_px: float) -> None:
    """Drop observations that no longer fit, and take in those that do now, in place."""
    graph = scene.cache.correspondence_graph
    manager = pycolmap.ObservationManager(reconstruction, graph)
    manager.filter_all_points3D(max_error_px, MIN_ANGLE_DEG)
    triangulator = pycolmap.IncrementalTriangulator(graph, reconstruction, manager)
    options = _triangulator_options(max_error_px, 0.0)
    for image_id in scene.image_ids:
        if reconstruction.image(int(image_id)).has_pose:
            triangulator.triangulate_image(options, int(image_id))
    triangulator.complete_all_tracks(options)
    triangulator.merge_all_tracks(options)
    manager.filter_all_points3D(max_error_px, MIN_ANGLE_DEG)


def observe(
    scene: Scene, reconstruction: pycolmap.Reconstruction, rays: tuple[Floats, ...], depth_factor: float
) -> tuple[adjustment.Observations, Floats, Ints]:
    """Observations of the reconstruction's points, their positions (m, 3) and ids (m,).

    LiDAR depth is multiplied by `depth_factor`, so that it is in the units of the model.
    """
    index = {int(image_id): frame for frame, image_id in enumerate(scene.image_ids)}
    frames, features, which, positions, ids = [], [], [], [], []
    for number, (point_id, point) in enumerate(reconstruction.points3D.items()):
        ids.append(point_id)
        positions.append(point.xyz)
        for element in point.track.elements:
            frames.append(index[element.image_id])
            features.append(element.point2D_idx)
            which.append(number)
    frame, feature = np.array(frames, np.int64), np.array(features, np.int64)
    start = np.concatenate([[0], np.cumsum([len(r) for r in rays])])[:-1]
    flat = start[frame] + feature
    depth = np.concatenate(scene.depth_m)[flat]
    observations = adjustment.Observations(
        frame=frame,
        point=np.array(which, np.int64),
        ray=np.concatenate(rays)[flat],
        focal_px=focal_lengths(scene)[frame],
        depth_m=depth * depth_factor,
        depth_sigma_m=np.nan_to_num(metric.depth_sigma(depth) * depth_factor, nan=1.0),
    )
    return observations, np.array(positions).reshape(-1, 3), np.array(ids, np.int64)


def thinned(
    observations: adjustment.Observations, points: Floats, ids: Ints, frames: int, per_frame: int
) -> tuple[adjustment.Observations, Floats, Ints]:
    """The points with the longest tracks that give every frame `per_frame` observations, where it has as many."""
    order = np.lexsort((observations.frame, observations.point))
    starts = np.searchsorted(observations.point[order], np.arange(len(points) + 1))
    seen_by = observations.frame[order]
    seen = np.zeros(frames, np.int64)
    keep = np.zeros(len(points), dtype=np.bool_)
    for point in np.argsort(-np.diff(starts), kind="stable"):
        track = seen_by[starts[point] : starts[point + 1]]
        if (seen[track] < per_frame).any():
            keep[point] = True
            seen[track] += 1
    chosen = keep[observations.point]
    number = np.cumsum(keep) - 1
    thin = adjustment.Observations(
        frame=observations.frame[chosen],
        point=number[observations.point[chosen]],
        ray=observations.ray[chosen],
        focal_px=observations.focal_px[chosen],
        depth_m=observations.depth_m[chosen],
        depth_sigma_m=observations.depth_sigma_m[chosen],
    )
    return thin, points[keep], ids[keep]


def make_priors(times_s: Floats, phone: Floats) -> adjustment.Priors:
    """The phone's relative motions between near neighbours, its up, and its position; `phone` (f, 4, 4).

    Sigmas: millimetres of jitter, 2 % of the way for scale and drift, and more the longer it took.
    """
    count = len(times_s)
    pairs = [(i, i + step) for step in NEIGHBOUR_STEPS for i in range(count - step)]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    relative = inverse(phone)[first] @ phone[second]
    length = np.linalg.norm(relative[:, :3, 3], axis=1)
    seconds = np.abs(times_s[second] - times_s[first])
    return adjustment.Priors(
        first=first,
        second=second,
        first_from_second=relative,
        rotation_sigma_rad=np.deg2rad(np.hypot(0.2, 0.1 * seconds)),
        translation_sigma_m=np.hypot(0.005, 0.02 * length + 0.003 * seconds),
        up_in_camera=phone[:, 1, :3],
        position_m=phone[:, :3, 3],
    )


def depth_ratios(
    observations: adjustment.Observations, points: Floats, camera_from_world: Floats
) -> metric.DepthRatios:
    """LiDAR depth over the depth of the triangulated point, of points that several frames see."""
    rotation = camera_from_world[observations.frame, 2, :3]
    z = (rotation * points[observations.point]).sum(1) + camera_from_world[observations.frame, 2, 3]
    often = np.bincount(observations.point, minlength=len(points))[observations.point] >= 3
    good = np.isfinite(observations.depth_m) & (z > 0.1) & often
    return metric.DepthRatios(observations.depth_m[good] / z[good], observations.frame[good])


def measure_scale(
    scene: Scene, state: State, observations: adjustment.Observations, points: Floats
) -> tuple[Scale | None, tuple[Scale, ...]]:
    """Metres per unit of the current model, both sources together and each alone; None where neither can tell."""
    known = np.flatnonzero(state.supported)
    sources: list[Scale] = []
    if len(known) >= 3:
        times = scene.times_s[known]
        phone = scene.track.at(times - state.delay_s)
        track = metric.scale_from_track(times, state.world_from_camera[known], phone)
        sources += [track] if track else []
    depth = metric.scale_from_depth(depth_ratios(observations, points, inverse(state.world_from_camera)))
    sources += [depth] if depth else []
    return (metric.combine(sources) if sources else None), tuple(sources)


def _support(observations: adjustment.Observations, frames: int) -> Ints:
    return np.bincount(observations.frame, minlength=frames)


def _write_back(
    scene: Scene, reconstruction: pycolmap.Reconstruction, world_from_camera: Floats, points: Floats, ids: Ints
) -> None:
    for image_id, pose in zip(scene.image_ids, inverse(world_from_camera), strict=True):
        image = reconstruction.image(int(image_id))
        reconstruction.frame(image.frame_id).set_cam_from_world(image.camera_id, pycolmap.Rigid3d(pose[:3]))
    for point_id, xyz in zip(ids, points, strict=True):
        reconstruction.point3D(int(point_id)).xyz = xyz


def _placed(state: State, points: Floats, similarity: alignment.Similarity) -> tuple[State, Floats]:
    poses = similarity.poses(state.world_from_camera)
    moved = similarity.scale * points @ similarity.rotation.T + similarity.translation
    return replace(state, world_from_camera=poses, scale_factor=state.scale_factor * similarity.scale), moved


def _to_phone(state: State, phone: Floats, scale: float) -> alignment.Similarity:
    known = np.flatnonzero(state.supported)
    chosen = known if len(known) >= 3 else np.arange(len(phone))
    return alignment.to_phone_world(state.world_from_camera[chosen], phone[chosen], scale)


def adjust_once(
    scene: Scene, reconstruction: pycolmap.Reconstruction, state: State, rays: tuple[Floats, ...], step: Round
) -> State:
    """Measure delay and scale on the current points, then adjust poses and points, in place; returns the new state."""
    observations, points, ids = observe(scene, reconstruction, rays, 1.0)
    state = replace(state, supported=_support(observations, scene.frames) >= MIN_SUPPORT)
    state = replace(state, delay_s=_delay(scene, state))
    combined, sources = measure_scale(scene, state, observations, points)
    metres = combined.factor if combined else 1.0
    by_name = {source.name: source.factor for source in sources}
    phone = alignment.scaled(scene.track, metres / by_name.get("track", metres)).at(scene.times_s - state.delay_s)
    state, points = _placed(state, points, _to_phone(state, phone, metres))
    known = np.flatnonzero(state.supported)
    if 0 < len(known) < scene.frames:
        filled = alignment.filled_in(scene.times_s, known, state.world_from_camera[known], phone)
        state = replace(state, world_from_camera=filled)
    depth_factor = metres / by_name.get("depth", metres)
    observations = replace(
        observations,
        depth_m=observations.depth_m * depth_factor,
        depth_sigma_m=observations.depth_sigma_m * depth_factor,
    )
    if step.observations_per_frame is not None:
        observations, points, ids = thinned(observations, points, ids, scene.frames, step.observations_per_frame)
    focal = float(np.median(focal_lengths(scene)))
    options = adjustment.Options(loss_px=max(1.0, step.loss_rad * focal), max_iterations=step.iterations)
    solution = adjustment.adjust(
        inverse(state.world_from_camera), points, observations, make_priors(scene.times_s, phone), options
    )
    state = replace(state, world_from_camera=inverse(solution.camera_from_world), scale=combined, sources=sources)
    _write_back(scene, reconstruction, state.world_from_camera, solution.points, ids)
    return state


def _delay(scene: Scene, state: State) -> float:
    known = np.flatnonzero(state.supported)
    if len(known) < 4:
        return state.delay_s
    found = delay_from_motion(scene.track, scene.times_s[known], state.world_from_camera[known])
    return state.delay_s if found is None else found


def _correspondences(scene: Scene, reconstruction: pycolmap.Reconstruction, frame: int) -> tuple[Floats, Floats]:
    """Keypoints (n, 2) of a frame and the triangulated points (n, 3) that its matches in other frames belong to."""
    graph = scene.cache.correspondence_graph
    image_id = int(scene.image_ids[frame])
    chosen: dict[int, int] = {}
    for other in scene.image_ids:
        if int(other) == image_id or not graph.num_matches_between_images(image_id, int(other)):
            continue
        points2d = reconstruction.image(int(other)).points2D
        for mine, theirs in graph.extract_matches_between_images(image_id, int(other)):
            if points2d[int(theirs)].has_point3D():
                chosen.setdefault(int(mine), points2d[int(theirs)].point3D_id)
    features = np.array(list(chosen), np.int64)
    xyz = np.array([reconstruction.point3D(point_id).xyz for point_id in chosen.values()]).reshape(-1, 3)
    return scene.keypoints_px[frame][features].reshape(-1, 2), xyz


def resection(scene: Scene, reconstruction: pycolmap.Reconstruction, frame: int, expected: Floats) -> Floats | None:
    """`world_from_camera` (4, 4) of a frame by PnP on existing points; None if the images do not support one.

    `expected` (4, 4) is where the phone's motion puts it: few inliers need its agreement, many do not.
    """
    pixels, xyz = _correspondences(scene, reconstruction, frame)
    if len(pixels) < PNP_MIN_INLIERS:
        return None
    camera = scene.cache.cameras[scene.cache.image(int(scene.image_ids[frame])).camera_id]
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = 2 * FINAL_ERROR_PX
    options.ransac.random_seed = 0
    answer = pycolmap.estimate_and_refine_absolute_pose(pixels, xyz, camera, estimation_options=options)
    if answer is None or answer["num_inliers"] < PNP_MIN_INLIERS:
        return None
    pose = np.eye(4)
    pose[:3] = answer["cam_from_world"].matrix()
    pose = inverse(pose[None])[0]
    away = float(np.linalg.norm(pose[:3, 3] - expected[:3, 3]))
    agrees = away < PNP_MAX_AWAY_M and float((pose[:3, 2] * expected[:3, 2]).sum()) > np.cos(np.deg2rad(20))
    return pose if agrees or answer["num_inliers"] >= PNP_SURE_INLIERS else None


def _resected(scene: Scene, reconstruction: pycolmap.Reconstruction, state: State) -> State:
    """Frames without support at the pose that PnP finds for them."""
    poses = state.world_from_camera.copy()
    for frame in np.flatnonzero(~state.supported):
        found = resection(scene, reconstruction, int(frame), poses[frame])
        if found is not None:
            poses[frame] = found
    return replace(state, world_from_camera=poses)


def refine(
    scene: Scene, state: State, rounds: tuple[Round, ...], threads: int, report: Reporter
) -> tuple[pycolmap.Reconstruction, State]:
    """Run all rounds; the reconstruction that comes back holds supported frames only, in metres, in the phone's world."""
    focal = float(np.median(focal_lengths(scene)))
    rays = rays_of(scene, scene.cache)
    reconstruction = load(scene, state.world_from_camera)
    for number, step in enumerate(rounds):
        report.progress(number, len(rounds) + 1, "refining")
        limit = max(FINAL_ERROR_PX, step.max_error_rad * focal)
        triangulate(scene, reconstruction, limit, step.max_error_rad)
        state = adjust_once(scene, reconstruction, state, rays, step)
        if number + 1 < len(rounds):
            state = _resected(scene, reconstruction, state)
            reconstruction = load(scene, state.world_from_camera)
    report.progress(len(rounds), len(rounds) + 1, "refining")
    for _ in range(DISTORTION_ROUNDS):
        complete(scene, reconstruction, FINAL_ERROR_PX)
        changed = refine_distortion(reconstruction, threads)
        rays = rays_of(scene, reconstruction)
        state = adjust_once(scene, reconstruction, state, rays, LAST)
        if not changed:
            break
    complete(scene, reconstruction, FINAL_ERROR_PX)
    return reconstruction, replace(state, supported=_drop_unsupported(scene, reconstruction))


def _drop_unsupported(scene: Scene, reconstruction: pycolmap.Reconstruction) -> Bools:
    """Deregister frames with too few observations, in place; returns (f,) bool of those that stay."""
    manager = pycolmap.ObservationManager(reconstruction, scene.cache.correspondence_graph)
    kept = np.ones(scene.frames, dtype=np.bool_)
    while True:
        count = np.array([reconstruction.image(int(i)).num_points3D for i in scene.image_ids])
        weak = np.flatnonzero(kept & (count < MIN_SUPPORT))
        if not len(weak):
            return kept
        for frame in weak:
            manager.deregister_frame(reconstruction.image(int(scene.image_ids[frame])).frame_id)
            kept[frame] = False
