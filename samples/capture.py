"""Renders a walk through the flat as the ZIP files that phones upload.

    python -m samples.capture OUT_DIR --frames 100 --seed 1 --fps 5 --convention both

writes `capture_stray.zip`, `capture_rescan.zip`, `truth.json` and `truth_mesh.npz`. The same arguments give the same capture.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samples import phone as phones
from samples.export import Codec, Convention, Export, ExportForm, Transfer, camera_matrix_csv, odometry_csv
from samples.flat import Flat, make_flat
from samples.phone import Exposure, PhoneSpec, Timing
from samples.render import Camera, LightMap, Renderer, bake_light
from samples.surfaces import Floats
from samples.truth import CaptureTruth, FrameTruth, save_mesh, save_truth
from samples.walk import Pace, Walk

_BOOT_S = 48213.402


@dataclass(frozen=True)
class CaptureSpec:
    """What to render. Pictures are 4:3; `fps` is the video's rate."""

    frames: int = 100
    seed: int = 1
    fps: float = 5.0
    width_px: int = 960
    conventions: tuple[Convention, ...] = ("stray", "rescan")
    stray_codec: Codec = "libx264"
    rescan_codec: Codec = "prores_ks"
    rescan_transfer: Transfer = "rec709"
    workers: int = 2
    light_rays: int = 48
    phone: PhoneSpec = field(default_factory=PhoneSpec)
    pace: Pace = field(default_factory=Pace)

    @property
    def height_px(self) -> int:
        return self.width_px * 3 // 4

    def form(self, convention: Convention) -> ExportForm:
        """How one app writes this capture."""
        stray = convention == "stray"
        return ExportForm(
            convention=convention,
            codec=self.stray_codec if stray else self.rescan_codec,
            transfer="rec709" if stray else self.rescan_transfer,
            width_px=self.width_px,
            height_px=self.height_px,
            fps=self.fps,
        )

    @property
    def texture_scale(self) -> float:
        """Small pictures see small textures only."""
        needed = self.width_px / 960
        return next((scale for scale in (0.125, 0.25, 0.5) if scale >= 0.75 * needed), 1.0)


@dataclass(frozen=True)
class _Shot:
    """All that is needed to take one picture."""

    index: int
    camera: Camera
    poses: Floats
    """building_from_camera when the shutter opens, half way, and when it closes: (3, 4, 4)."""
    exposure: Exposure


@dataclass(frozen=True)
class _Taken:
    """One picture with its depth: 16-bit RGB per transfer curve, millimetres, confidence 0..2."""

    pictures: dict[Transfer, NDArray[np.uint16]]
    depth_mm: NDArray[np.uint16]
    confidence: NDArray[np.uint8]


def make_capture(spec: CaptureSpec, out_dir: Path) -> CaptureTruth:
    """Writes the ZIPs and the truth into `out_dir`; returns the truth."""
    out_dir.mkdir(parents=True, exist_ok=True)
    flat = make_flat(spec.seed, spec.texture_scale)
    light = bake_light(flat, spec.light_rays, spec.seed)
    timing = phones.clock(spec.frames, spec.fps, spec.phone, spec.seed)
    walk = Walk(float(timing.pose_time_s[-1]) + 1.0, spec.seed, spec.pace)
    shots = _plan_shots(spec, Renderer(flat, light), walk, timing)
    truth = _truth(spec, flat, timing, shots)
    with _exports(spec, truth, walk, timing, out_dir) as exports:
        for k, taken in enumerate(_take_all(spec, flat, light, shots)):
            for export in exports:
                export.add(k, taken.pictures, taken.depth_mm, taken.confidence)
    save_mesh(flat.patches, out_dir / "truth_mesh.npz")
    save_truth(truth, out_dir / "truth.json")
    return truth


def nominal_camera(width_px: int, height_px: int) -> Camera:
    """A phone's wide camera: 67 degrees across, principal point a little off the middle."""
    focal = 0.752 * width_px
    return Camera(width_px, height_px, focal, focal, width_px * 0.5035, height_px * 0.4972)


def _plan_shots(spec: CaptureSpec, renderer: Renderer, walk: Walk, timing: Timing) -> list[_Shot]:
    nominal = nominal_camera(spec.width_px, spec.height_px)
    factors = phones.focal_factors(timing.picture_time_s, spec.phone, spec.seed)
    cameras = [replace(nominal, fx_px=nominal.fx_px * f, fy_px=nominal.fy_px * f) for f in factors.tolist()]
    middle = walk.poses(timing.picture_time_s)
    exposures = phones.auto_exposure(renderer, cameras, middle, timing.picture_time_s, spec.phone)
    half = np.array([e.exposure_s / 2 for e in exposures])
    begin, end = walk.poses(timing.picture_time_s - half), walk.poses(timing.picture_time_s + half)
    return [
        _Shot(k, cameras[k], np.stack([begin[k], middle[k], end[k]]), exposures[k])
        for k in range(len(timing.timestamp_s))
    ]


def _truth(spec: CaptureSpec, flat: Flat, timing: Timing, shots: list[_Shot]) -> CaptureTruth:
    world_from_building = phones.capture_from_building(shots[0].poses[1], spec.seed)
    frames = tuple(
        FrameTruth(
            source_index=shot.index,
            name=f"{shot.index + 1:06d}.png",
            timestamp_s=_BOOT_S + float(timing.timestamp_s[shot.index]),
            picture_time_s=_BOOT_S + float(timing.timestamp_s[shot.index]) - spec.phone.picture_delay_s,
            world_from_camera=(world_from_building @ shot.poses[1]).tolist(),
            fx_px=shot.camera.fx_px,
            fy_px=shot.camera.fy_px,
            cx_px=shot.camera.cx_px,
            cy_px=shot.camera.cy_px,
            exposure_s=shot.exposure.exposure_s,
            exposure_gain=shot.exposure.gain,
        )
        for shot in shots
    )
    return CaptureTruth(
        seed=spec.seed,
        width_px=spec.width_px,
        height_px=spec.height_px,
        fps=spec.fps,
        picture_delay_s=spec.phone.picture_delay_s,
        capture_from_building=world_from_building.tolist(),
        frames=frames,
        rooms=flat.rooms,
        walls=flat.walls,
        openings=flat.openings,
        slabs=flat.slabs,
    )


# --- pictures ----------------------------------------------------------------------------------------------------------------

_studio: tuple[CaptureSpec, Renderer] | None = None
"""A worker process's own renderer."""


def _open_studio(spec: CaptureSpec, flat: Flat, light: LightMap) -> None:
    global _studio  # noqa: PLW0603 (a pool's processes have no other place for what they keep)
    cv2.setNumThreads(1)
    _studio = (spec, Renderer(flat, light))


def _take_in_studio(shot: _Shot) -> _Taken:
    assert _studio is not None
    return _take(*_studio, shot)


def _take_all(spec: CaptureSpec, flat: Flat, light: LightMap, shots: list[_Shot]) -> Iterator[_Taken]:
    if spec.workers <= 1:
        renderer = Renderer(flat, light)
        yield from (_take(spec, renderer, shot) for shot in shots)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(spec.workers, context, _open_studio, (spec, flat, light)) as pool:
        yield from pool.map(_take_in_studio, shots)


def _take(spec: CaptureSpec, renderer: Renderer, shot: _Shot) -> _Taken:
    rng = np.random.default_rng([spec.seed, 9, shot.index])
    begin, middle, end = shot.poses
    image, depth = renderer.view(shot.camera, middle)
    image = phones.blurred(image, depth, shot.camera, np.linalg.inv(begin) @ middle, np.linalg.inv(end) @ middle)
    signal = phones.sensor(image, shot.exposure, spec.phone, rng)
    pictures: dict[Transfer, NDArray[np.uint16]] = {"rec709": phones.rec709(signal)}
    if spec.rescan_transfer == "apple_log":
        pictures["apple_log"] = phones.apple_log(signal)
    exact, cosine = renderer.range_image(shot.camera.resized(phones.DEPTH_WIDTH_PX, phones.DEPTH_HEIGHT_PX), middle)
    small = np.asarray(
        cv2.resize(signal, (phones.DEPTH_WIDTH_PX, phones.DEPTH_HEIGHT_PX), interpolation=cv2.INTER_AREA), np.float32
    )
    scale = phones.lidar_scale(spec.phone, spec.seed)
    depth_mm, confidence = phones.lidar(exact, cosine, small.mean(axis=2), phone=spec.phone, scale=scale, rng=rng)
    return _Taken(pictures, depth_mm, confidence)


@contextmanager
def _exports(
    spec: CaptureSpec, truth: CaptureTruth, walk: Walk, timing: Timing, out_dir: Path
) -> Iterator[list[Export]]:
    world_from_building = np.array(truth.capture_from_building)
    reported = phones.odometry(walk, timing.pose_time_s, world_from_building, spec.phone, spec.seed)
    matrix = camera_matrix_csv(nominal_camera(spec.width_px, spec.height_px))
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".capture-") as scratch, ExitStack() as open_files:
        exports = []
        for convention in spec.conventions:
            path = out_dir / f"capture_{convention}.zip"
            exports.append(Export(spec.form(convention), path, Path(scratch), spec.seed))
            open_files.callback(exports[-1].abandon)
        yield exports
        for convention, export in zip(spec.conventions, exports, strict=True):
            export.finish(matrix, odometry_csv(truth, reported, convention))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--convention", choices=("both", "stray", "rescan"), default="both")
    parser.add_argument("--stray-codec", choices=("libx264", "libx265"), default="libx264")
    parser.add_argument("--rescan-codec", choices=("prores_ks", "libx264", "libx265"), default="prores_ks")
    parser.add_argument("--rescan-transfer", choices=("rec709", "apple_log"), default="rec709")
    given = parser.parse_args()
    spec = CaptureSpec(
        frames=given.frames,
        seed=given.seed,
        fps=given.fps,
        width_px=given.width,
        conventions=("stray", "rescan") if given.convention == "both" else (given.convention,),
        stray_codec=given.stray_codec,
        rescan_codec=given.rescan_codec,
        rescan_transfer=given.rescan_transfer,
        workers=given.workers,
    )
    truth = make_capture(spec, given.out_dir)
    print(f"{len(truth.frames)} frames of {truth.width_px} x {truth.height_px} in {given.out_dir}")


if __name__ == "__main__":
    main()
