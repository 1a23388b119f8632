"""How good and how fast six views become a mesh: generated objects, reconstructed and held against their truth.

    python bench/mesh.py [--objects mug gear] [--seed 1] [--size 512] [--degraded] [--speed] [--keep FOLDER]

Cameras are given, or with --degraded they are not: eight bits, every view on a scale of its own, another field of view, turned and
swapped views. With --speed one object at 1024 px, seconds for each step. Ends with the share of objects that reach every goal, or
with the seconds.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import trimesh
from trimesh.visual import TextureVisuals

from contracts.errors import UserError
from contracts.object_settings import GivenCameras, ObjectSettings
from contracts.progress import Silence
from samples.evaluate_object import SurfaceErrors, psnr, similarity_aligned, surface_errors
from samples.objects import CATALOGUE, make_object
from samples.objects_files import write_upload
from samples.objects_views import (
    ASSUMED_DISTANCE,
    ObjectRenderer,
    ViewSpec,
    degraded_spec,
    exact_spec,
    novel_rig,
    pinhole,
)
from services.mesh import pipeline, rendering
from services.mesh.quality import Quality
from services.mesh.rig import Camera
from services.mesh.surface import TexturedMesh

NOVEL_VIEWS = 6
HEADER = f"{'object':10} {'Chamfer %':>10} {'F 1 %':>7} {'PSNR':>6} {'SSIM':>6} {'novel':>6} {'faces':>7} {'closed':>6} {'s':>6}"


class Clock(Silence):
    """Seconds of each step, and what the steps said."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.lines: list[str] = []
        self._step: str | None = None
        self._began = time.monotonic()

    def step(self, name: str) -> None:
        self.lap()
        self._step = name

    def lap(self) -> None:
        now = time.monotonic()
        if self._step is not None:
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._began
        self._began = now

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


@dataclass(frozen=True)
class Outcome:
    """One object. novel_psnr is NaN where cameras were not given: there the frame of the mesh is its own."""

    name: str
    errors: SurfaceErrors
    quality: Quality
    novel_psnr: float
    focal_error: float
    seconds: dict[str, float]
    lines: list[str]

    def good(self, degraded: bool) -> bool:
        if degraded:
            ambiguous = self.quality.cameras.source == "assumed"
            fitting = ambiguous or (abs(self.focal_error) < 0.01 and self.errors.chamfer < 0.0015)
            return fitting and self.quality.metrics.psnr > 30
        return self.errors.f_score >= 0.98 and self.quality.metrics.psnr > 34 and self.novel_psnr > 33

    def line(self) -> str:
        metrics = self.quality.metrics
        return (
            f"{self.name:10} {100 * self.errors.chamfer:10.4f} {self.errors.f_score:7.4f} {metrics.psnr:6.2f} "
            f"{metrics.ssim:6.4f} {self.novel_psnr:6.2f} {self.quality.mesh.faces:7} {self.quality.mesh.closed!s:>6} "
            f"{sum(self.seconds.values()):6.1f}"
        )


def run(name: str, spec: ViewSpec, seed: int, folder: Path) -> Outcome:
    """Take the views, reconstruct, compare."""
    sample = make_object(name, seed)
    views, out = folder / name / "views", folder / name / "out"
    write_upload(sample, spec, views)
    told = views / "cameras.json"
    cameras = GivenCameras.model_validate_json(told.read_bytes()) if told.exists() else None
    clock = Clock()
    task = {
        "job_id": "benchmrk", "created_at": datetime.now(UTC), "settings": ObjectSettings(cameras=cameras),
        "views": views, "out": out,
    }  # fmt: skip
    pipeline.run(task, clock)
    clock.lap()
    result = out / "reconviagen"
    quality = Quality.model_validate_json((result / "quality.json").read_bytes())
    found, truth = load(result), sample.shape.mesh()
    flat = trimesh.Trimesh(found.vertices, found.faces, process=False)
    novel = math.nan
    if cameras is None:
        flat.vertices *= spec.distance / ASSUMED_DISTANCE
        flat = similarity_aligned(flat, truth)
    else:
        novel = novel_psnr(found, ObjectRenderer(sample), spec, seed)
    focal_error = quality.cameras.focal_px / (spec.focal * spec.size_px) - 1
    return Outcome(name, surface_errors(flat, truth), quality, novel, focal_error, clock.seconds, clock.lines)


def load(result: Path) -> TexturedMesh:
    """mesh.glb as anybody would read it, with texture.png."""
    mesh = trimesh.load_mesh(result / "mesh.glb", process=False)
    texture = cv2.imread(str(result / "texture.png"))
    assert texture is not None
    assert isinstance(mesh.visual, TextureVisuals)
    return TexturedMesh(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int32),
        np.asarray(mesh.vertex_normals, np.float64),
        np.asarray(mesh.visual.uv, np.float64),
        np.ascontiguousarray(texture[..., ::-1]),
    )


def novel_psnr(found: TexturedMesh, truth: ObjectRenderer, spec: ViewSpec, seed: int) -> float:
    """Mean over cameras that nobody gave."""
    figures = []
    for pose in novel_rig(spec.distance, NOVEL_VIEWS, seed):
        camera = pinhole(spec.size_px, spec.focal)
        wanted = truth.view(camera, pose).colour
        seen_from = Camera(
            camera.width_px, camera.height_px, camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, pose
        )
        figures.append(psnr(rendering.render(found, seen_from), wanted))
    return float(np.mean(figures))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", choices=CATALOGUE, default=list(CATALOGUE))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--degraded", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.speed:
        options.objects, options.size = ["robot"], 1024
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="alidade-mesh-") as scratch:
        folder = options.keep or Path(scratch)
        print(HEADER, flush=True)
        for name in options.objects:
            degraded = degraded_spec(options.size, options.seed, name)
            spec = degraded if options.degraded else exact_spec(options.size)
            try:
                outcomes.append(run(name, spec, options.seed, folder))
            except UserError as error:
                print(f"{name:10} {error.message}", flush=True)
                continue
            print(outcomes[-1].line(), flush=True)
            if options.degraded:
                cameras = outcomes[-1].quality.cameras
                print(f"{'':10} focal {100 * outcomes[-1].focal_error:+.2f} %, {json.dumps(cameras.model_dump())}")
    return conclusion(outcomes, options)


def conclusion(outcomes: list[Outcome], options: argparse.Namespace) -> int:
    """The table of steps, and the one figure."""
    if not outcomes:
        return 1
    print("\nseconds for each step, mean")
    for step in outcomes[0].seconds:
        print(f"  {step:20} {np.mean([outcome.seconds[step] for outcome in outcomes]):6.2f}")
    total = float(np.mean([sum(outcome.seconds.values()) for outcome in outcomes]))
    if options.speed:
        print(f"\nseconds for six views at 1024 px: {total:.1f}")
        return 0 if total < 60 else 1
    chamfer = float(np.median([outcome.errors.chamfer for outcome in outcomes]))
    print(f"\nmedian Chamfer {100 * chamfer:.4f} %; mean {total:.1f} s")
    good = sum(outcome.good(options.degraded) for outcome in outcomes)
    print(f"objects that reach every goal: {good / len(options.objects):.3f}")
    most = 0.0015 if options.degraded else 0.0003
    return 0 if good == len(options.objects) and chamfer < most else 1


if __name__ == "__main__":
    sys.exit(main())
