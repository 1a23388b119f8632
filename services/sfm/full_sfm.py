"""Structure from motion from the images, then the phone's help: metres, gravity, and mending what the mapper left.

Mappers: GLOMAP (Pan et al., "Global Structure-from-Motion Revisited", 2024) and COLMAP's incremental one (Schönberger and
Frahm, "Structure-from-Motion Revisited", 2016), both with the known intrinsics held fixed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import MapperType
from contracts.progress import Reporter
from services.sfm import alignment, metric
from services.sfm.models import Bools, Floats, Ints, Scale
from services.sfm.refinement import FROM_MAPPER_POSES, FROM_PHONE_POSES, State, depth_ratios, observe, refine
from services.sfm.scene import Scene, no_model, ray_matches, rays_of
from services.sfm.trajectory import delay_from_matches, delay_from_motion, inverse

MIN_MODEL_FRAMES = 3
MAX_SUB_MODEL_AWAY_M = 0.5
MAX_SUB_MODEL_AWAY_DEG = 15.0
MAX_STRAY_M = 0.5
MAX_STRAY_SHARE = 0.06
"""Of the capture's extent: twice what a scale error of 3 % does from end to end."""
MAX_STRAY_DEG = 12.0


@dataclass(frozen=True)
class SubModel:
    """What a mapper made: frames (k,) indices in the scene, world_from_camera (k, 4, 4), and its LiDAR ratios."""

    reconstruction: pycolmap.Reconstruction
    frames: Ints
    world_from_camera: Floats
    ratios: metric.DepthRatios


@dataclass(frozen=True)
class Result:
    """`apart`: sub-models that could not be joined, each with its similarity to the phone's world."""

    reconstruction: pycolmap.Reconstruction
    state: State
    apart: tuple[pycolmap.Reconstruction, ...]
    mapper_models: int


def map_incrementally(database: Path, total: int, threads: int, report: Reporter) -> list[pycolmap.Reconstruction]:
    """COLMAP's incremental mapper; progress per registered image."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = threads
    options.random_seed = 0
    options.min_model_size = MIN_MODEL_FRAMES
    options.ba_refine_focal_length = False
    options.ba_refine_principal_point = False
    options.ba_refine_extra_params = False
    options.mapper.abs_pose_refine_focal_length = False
    options.mapper.abs_pose_refine_extra_params = False
    options.extract_colors = False
    manager = pycolmap.ReconstructionManager()
    done = 0

    def registered() -> None:
        nonlocal done
        done = min(done + 1, total)
        report.progress(done, total, "registering pictures")

    with pycolmap.Database.open(database) as db:
        pipeline = pycolmap.IncrementalPipeline(options, db, manager)
        pipeline.add_callback(int(pycolmap.IncrementalPipelineCallback.NEXT_IMAGE_REG_CALLBACK), registered)
        pipeline.run()
    return [manager.get(index) for index in range(manager.size())]


def map_globally(database: Path, threads: int, report: Reporter) -> list[pycolmap.Reconstruction]:
    """GLOMAP; it says only when a model changes."""
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = threads
    options.random_seed = 0
    options.min_model_size = MIN_MODEL_FRAMES
    options.mapper.num_threads = threads
    options.mapper.random_seed = 0
    options.mapper.global_positioning.use_gpu = False
    options.mapper.bundle_adjustment.ceres.use_gpu = False
    options.mapper.bundle_adjustment.refine_focal_length = False
    options.mapper.bundle_adjustment.refine_extra_params = False
    manager = pycolmap.ReconstructionManager()
    done = 0

    def updated() -> None:
        nonlocal done
        done += 1
        report.progress(min(done, 9), 10, "global mapping")

    with pycolmap.Database.open(database) as db:
        pipeline = pycolmap.GlobalPipeline(options, db, manager)
        pipeline.add_callback(int(pycolmap.GlobalPipelineCallback.MODEL_UPDATE_CALLBACK), updated)
        pipeline.run()
    return [manager.get(index) for index in range(manager.size())]


def _sub_model(scene: Scene, reconstruction: pycolmap.Reconstruction) -> SubModel:
    posed = [i for i, n in enumerate(scene.image_ids) if int(n) in set(reconstruction.reg_image_ids())]
    frames = np.array(posed, np.int64)
    camera_from_world = np.tile(np.eye(4), (scene.frames, 1, 1))
    for frame in frames:
        camera_from_world[frame, :3] = reconstruction.image(int(scene.image_ids[frame])).cam_from_world().matrix()
    observations, points, _ = observe(scene, reconstruction, rays_of(scene, scene.cache), 1.0)
    ratios = depth_ratios(observations, points, camera_from_world)
    return SubModel(reconstruction, frames, inverse(camera_from_world[frames]), ratios)


def sub_models(scene: Scene, reconstructions: list[pycolmap.Reconstruction]) -> list[SubModel]:
    """The mapper's models with at least `MIN_MODEL_FRAMES` frames, largest first."""
    models = [_sub_model(scene, r) for r in reconstructions if r.num_reg_images() >= MIN_MODEL_FRAMES]
    return sorted((m for m in models if len(m.frames) >= MIN_MODEL_FRAMES), key=lambda m: -len(m.frames))


def _scale(scene: Scene, model: SubModel, phone: Floats) -> Scale | None:
    track = metric.scale_from_track(scene.times_s[model.frames], model.world_from_camera, phone[model.frames])
    depth = metric.scale_from_depth(model.ratios)
    sources = [source for source in (track, depth) if source is not None]
    return metric.combine(sources) if sources else None


def _overlap(model: SubModel, known: Bools, poses: Floats) -> alignment.Similarity | None:
    """The model's similarity to frames that are already placed, where it shares at least three that moved."""
    shared = known[model.frames]
    if shared.sum() < MIN_MODEL_FRAMES:
        return None
    mine, theirs = model.world_from_camera[shared], poses[model.frames[shared]]
    a, b = mine[:, :3, 3] - mine[:, :3, 3].mean(0), theirs[:, :3, 3] - theirs[:, :3, 3].mean(0)
    if np.linalg.norm(b, axis=1).max() < 0.2:
        return None
    rotation = alignment.mean_rotation(theirs[:, :3, :3] @ mine[:, :3, :3].transpose(0, 2, 1))
    scale = float((b * (a @ rotation.T)).sum() / (a**2).sum())
    offset = np.median(theirs[:, :3, 3] - scale * mine[:, :3, 3] @ rotation.T, axis=0)
    return alignment.Similarity(scale, rotation, offset) if scale > 0 else None


def _fits(poses: Floats, target: Floats) -> bool:
    residual = alignment.track_residual(poses, target)
    return residual.median_m < MAX_SUB_MODEL_AWAY_M and residual.median_deg < MAX_SUB_MODEL_AWAY_DEG


def join(scene: Scene, models: list[SubModel], phone: Floats) -> tuple[Floats, Bools, list[SubModel], float]:
    """Place all sub-models in one world by shared frames, else by the phone's track near the frames already placed.

    Returns poses (f, 4, 4), which of them come from a model (f,), the models left apart, and the first one's scale.
    """
    poses, known = phone.copy(), np.zeros(scene.frames, dtype=np.bool_)
    apart: list[SubModel] = []
    first_scale = 1.0
    for number, model in enumerate(models):
        scale = _scale(scene, model, phone)
        target = phone
        if known.any():
            placed = np.flatnonzero(known)
            target = alignment.filled_in(scene.times_s, placed, poses[placed], phone)
        similarity = _overlap(model, known, poses)
        if similarity is None:
            factor = scale.factor if scale else 1.0
            similarity = alignment.to_phone_world(model.world_from_camera, target[model.frames], factor)
        moved = similarity.poses(model.world_from_camera)
        if number and not _fits(moved, target[model.frames]):
            apart.append(model)
            continue
        first_scale = similarity.scale if number == 0 else first_scale
        new = ~known[model.frames]
        poses[model.frames[new]] = moved[new]
        known[model.frames] = True
    return poses, known, apart, first_scale


def consensus(poses: Floats, phone: Floats, known: Bools) -> tuple[Floats, Bools]:
    """Poses (f, 4, 4) moved to where most known frames agree with the phone's track, and which agree (f,).

    Every known frame in turn says where the model lies; the one that most others second wins. The tolerance leaves room
    for drift, not for a room in the wrong place, and grows with the size of the capture.
    """
    frames = np.flatnonzero(known)
    extent = float(np.linalg.norm(np.ptp(phone[:, :3, 3], axis=0)))
    tolerance_m = max(MAX_STRAY_M, MAX_STRAY_SHARE * extent)
    model, target = poses[frames], phone[frames]
    best = np.zeros(len(frames), dtype=np.bool_)
    for placed in target @ inverse(model):
        moved = placed @ model
        away = np.linalg.norm(moved[:, :3, 3] - target[:, :3, 3], axis=1)
        cosine = (np.einsum("nij,nij->n", moved[:, :3, :3], target[:, :3, :3]) - 1) / 2
        agree = (away < tolerance_m) & (cosine > np.cos(np.deg2rad(MAX_STRAY_DEG)))
        best = agree if agree.sum() > best.sum() else best
    out = np.zeros(len(known), dtype=np.bool_)
    out[frames[best]] = True
    similarity = alignment.to_phone_world(poses[out], phone[out], 1.0)
    return similarity.poses(poses), out


def _start(scene: Scene, models: list[SubModel], report: Reporter) -> tuple[State, list[SubModel], int]:
    largest = models[0]
    delay = delay_from_motion(scene.track, scene.times_s[largest.frames], largest.world_from_camera)
    if delay is None:
        delay = delay_from_matches(scene.track, scene.times_s, ray_matches(scene))
    phone = scene.track.at(scene.times_s - delay)
    poses, known, apart, scale = join(scene, models, phone)
    poses, agreed = consensus(poses, phone, known)
    stray = int(known.sum() - agreed.sum())
    if stray:
        report.log(f"  {stray} pictures that the mapper misplaced, by the phone's motion, are registered anew")
    placed = np.flatnonzero(agreed)
    filled = alignment.filled_in(scene.times_s, placed, poses[placed], phone)
    return State(filled, agreed, delay, scale, None, ()), apart, stray


def reconstruct(scene: Scene, database: Path, mapper: MapperType, threads: int, report: Reporter) -> Result:
    """Map, join the mapper's models, take in what it left out, and refine. Raises UserError(NO_MODEL)."""
    if mapper is MapperType.GLOMAP:
        reconstructions = map_globally(database, threads, report)
    else:
        reconstructions = map_incrementally(database, len(scene.all_names), threads, report)
    models = sub_models(scene, reconstructions)
    if not models:
        raise no_model(len(scene.all_names), scene.verified_pairs, "the mapper found no pair of pictures to start from")
    found = sum(len(model.frames) for model in models)
    report.log(
        f"  {mapper}: {len(models[0].frames)} of {len(scene.all_names)} pictures in the largest of {len(models)} models"
    )
    state, apart, stray = _start(scene, models, report)
    joined = len(models) - len(apart)
    if joined > 1:
        report.log(f"  {joined} models with {found} pictures joined along the phone's track")
    rounds = FROM_MAPPER_POSES if joined == 1 and not stray else FROM_PHONE_POSES
    reconstruction, state = refine(scene, state, rounds, threads, report)
    return Result(reconstruction, state, tuple(model.reconstruction for model in apart), len(models))
