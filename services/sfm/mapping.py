"""Step 5: cameras and points, in metres, gravity up, in the phone's world.

In: a COLMAP database with verified matches and the canonical capture. Out: `sparse/0` (and `sparse/1` … for models that could
not be joined) and `mapping.json`.

One thread gives the same model from run to run; several are faster and differ in the last digits of the mapper's part. The
refinement after it does not depend on threads.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import Approach, CaptureSettings
from contracts.progress import Reporter
from services.sfm import alignment, full_sfm, known_poses, metric
from services.sfm.gating import impossible_pairs, without_pairs
from services.sfm.models import MAPPING_NAME, Floats, MappingSummary, Scale, ScaleSource, TrackResidual
from services.sfm.refinement import State, measure_scale, observe
from services.sfm.scene import Scene, no_model, rays_of, read_scene, with_matches_of

MIN_POINTS = 30
DISAGREEMENT_SIGMAS = 2.5
GOOD_SHARE = 0.98


@dataclass(frozen=True)
class _Placed:
    """A model that has been put into the phone's world, and how."""

    state: State
    residual: TrackResidual
    gravity_correction_deg: float
    scale: Scale | None
    sources: tuple[ScaleSource, ...]


def _place(scene: Scene, reconstruction: pycolmap.Reconstruction, state: State) -> _Placed:
    """Scale, level, turn and shift the finished model, in place."""
    observations, points, _ = observe(scene, reconstruction, rays_of(scene, reconstruction), 1.0)
    combined, sources = measure_scale(scene, state, observations, points)
    factor = combined.factor if combined else 1.0
    known = np.flatnonzero(state.supported)
    phone = scene.track.at(scene.times_s - state.delay_s)[known]
    poses = state.world_from_camera[known]
    tilt = alignment.gravity_angle_deg(poses, phone)
    similarity = alignment.to_phone_world(poses, phone, factor)
    similarity = alignment.refine_heading(similarity, poses, phone)
    reconstruction.transform(
        pycolmap.Sim3d(similarity.scale, pycolmap.Rotation3d(similarity.rotation), similarity.translation)
    )
    placed = state.world_from_camera.copy()
    placed[known] = similarity.poses(poses)
    return _Placed(
        state=replace(state, world_from_camera=placed, scale_factor=state.scale_factor * factor),
        residual=alignment.track_residual(placed[known], phone),
        gravity_correction_deg=tilt,
        scale=combined,
        sources=tuple(_relative(source, factor) for source in sources),
    )


def _relative(source: Scale, factor: float) -> ScaleSource:
    return ScaleSource(
        name=source.name, factor=source.factor / factor, sigma=source.sigma / factor, samples=source.samples
    )


def _write(models: list[pycolmap.Reconstruction], pictures: Path, out_dir: Path, threads: int) -> None:
    for number, model in enumerate(models):
        if pictures.is_dir():
            model.extract_colors_for_all_images(pictures, threads)
        folder = out_dir / "sparse" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        model.tear_down()
        model.write_binary(folder)


def _log(summary: MappingSummary, report: Reporter) -> None:
    report.log(
        f"  ✓ {summary.registered} of {summary.total} pictures, {summary.points:,} points, "
        f"reprojection error {summary.reprojection_error_px:.2f} px"
    )
    for source in summary.scale_sources:
        witness = "ARKit track" if source.name == "track" else "LiDAR depth"
        report.log(f"  Scale by the {witness}: {source.factor:.4f} ± {source.sigma:.4f} of the delivered one")
    spread = "" if summary.scale_sigma is None else f" ± {100 * summary.scale_sigma:.1f} %"
    report.log(f"  Scale applied: {summary.scale_factor:.4f}{spread}, in metres, gravity up")
    if summary.track_residual is not None:
        residual = summary.track_residual
        report.log(
            f"  Residual to the ARKit track: median {100 * residual.median_m:.1f} cm, rms {100 * residual.rms_m:.1f} cm, "
            f"max {100 * residual.max_m:.1f} cm, {residual.median_deg:.2f}°; pictures {1000 * summary.picture_delay_s:+.0f} ms late"
        )


def _warnings(summary: MappingSummary) -> list[str]:
    out = []
    if summary.registered < GOOD_SHARE * summary.total:
        out.append(
            f"{summary.total - summary.registered} of {summary.total} pictures have no pose: "
            + ", ".join(summary.unregistered[:10])
            + (" …" if len(summary.unregistered) > 10 else "")
        )
    scales = [Scale(s.name, s.factor, s.sigma, s.samples) for s in summary.scale_sources]
    if not scales:
        out.append(
            "Neither the phone's motion nor LiDAR depth could tell the scale: the model's metres are the phone's."
        )
    elif metric.disagreement_sigma(scales) > DISAGREEMENT_SIGMAS:
        percent = 100 * abs(scales[0].factor / scales[1].factor - 1)
        out.append(f"The phone's track and LiDAR depth disagree on the scale by {percent:.1f} %.")
    if summary.models > 1:
        out.append(
            f"{summary.models - 1} part(s) of the capture could not be joined to the model: see sparse/1 and on."
        )
    return out


def _summary(
    conf: CaptureSettings,
    scene: Scene,
    models: list[pycolmap.Reconstruction],
    placed: _Placed,
    seconds: dict[str, float],
) -> MappingSummary:
    main_model = models[0]
    names = {main_model.image(image_id).name for image_id in main_model.reg_image_ids()}
    known = conf.stray_approach is Approach.KNOWN_POSES
    main_model.update_point_3d_errors()
    return MappingSummary(
        approach=conf.stray_approach,
        mapper=None if known else conf.mapper_type,
        registered=len(names),
        total=len(scene.all_names),
        unregistered=tuple(name for name in scene.all_names if name not in names),
        points=main_model.num_points3D(),
        observations=main_model.compute_num_observations(),
        mean_track_length=main_model.compute_mean_track_length(),
        reprojection_error_px=main_model.compute_mean_reprojection_error(),
        scale_factor=placed.state.scale_factor,
        scale_sigma=placed.scale.sigma / placed.scale.factor if placed.scale else None,
        scale_sources=placed.sources,
        track_residual=placed.residual,
        picture_delay_s=placed.state.delay_s,
        gravity_correction_deg=placed.gravity_correction_deg,
        models=len(models),
        seconds=seconds,
    )


def _gate(capture_dir: Path, database: Path, gated: Path, report: Reporter) -> tuple[Scene, Path]:
    """The scene without pairs that the phone contradicts, and the database to map: `gated` where there are such pairs."""
    scene = read_scene(capture_dir, database)
    rejected = impossible_pairs(scene, scene.track.at(scene.times_s))
    if not rejected:
        return scene, database
    without_pairs(database, rejected, gated)
    report.log(f"  {len(rejected)} matched pairs show look-alike places that the phone's motion tells apart: not used")
    return with_matches_of(gated, scene), gated


def main(conf: CaptureSettings, capture_dir: Path, database: Path, out_dir: Path, report: Reporter) -> MappingSummary:
    """Map a capture; writes `out_dir/sparse/*` and `out_dir/mapping.json`, and returns what the latter holds.

    Raises UserError(NO_MODEL) where the pictures do not hang together.
    """
    threads = conf.num_threads or -1
    clock = [time.monotonic()]
    seconds: dict[str, float] = {}

    def lap(part: str) -> None:
        clock.append(time.monotonic())
        seconds[part] = round(clock[-1] - clock[-2], 3)

    out_dir.mkdir(parents=True, exist_ok=True)
    gated = out_dir / "gated.db"
    scene, used = _gate(capture_dir, database, gated, report)
    lap("reading")
    apart: tuple[pycolmap.Reconstruction, ...] = ()
    if conf.stray_approach is Approach.KNOWN_POSES:
        reconstruction, state = known_poses.reconstruct(scene, threads, report)
    else:
        result = full_sfm.reconstruct(scene, used, conf.mapper_type, threads, report)
        reconstruction, state, apart = result.reconstruction, result.state, result.apart
    gated.unlink(missing_ok=True)
    lap("mapping")
    if reconstruction.num_points3D() < MIN_POINTS or reconstruction.num_reg_images() < 3:
        raise no_model(len(scene.all_names), scene.verified_pairs, "too few points could be triangulated")
    placed = _place(scene, reconstruction, state)
    models = [reconstruction, *apart]
    summary = _summary(conf, scene, models, placed, seconds)
    _write(models, capture_dir / "matching", out_dir, threads)
    lap("writing")
    warnings = _warnings(summary)
    summary = summary.model_copy(update={"warnings": tuple(warnings), "seconds": seconds})
    (out_dir / MAPPING_NAME).write_text(summary.model_dump_json(indent=2))
    _log(summary, report)
    for warning in warnings:
        report.warn(warning)
    return summary


def camera_centres(reconstruction: pycolmap.Reconstruction) -> dict[str, Floats]:
    """Camera centre (3,) in metres of every registered picture, by name."""
    images = (reconstruction.image(image_id) for image_id in reconstruction.reg_image_ids())
    return {image.name: np.asarray(image.projection_center()) for image in images}
