"""What the refinement of objects gains over its start, and in which time: generated objects, cameras exact and not.

    python bench/mesh_refinement.py [--objects mug gear] [--seed 1] [--size 512] [--conditions exact perturbed recovered]

exact: cameras given, sixteen-bit depth. perturbed: cameras given with errors (about 0.1 degrees, 0.1 % of the distance and 0.2 % of the
focal length), eight-bit depth, each view on a scale of its own. recovered: as people upload, nothing told. Pictures are compared at
the inputs as quality.json does it, and at cameras that nobody gave; surfaces by Chamfer distance. Where the frame is free, mesh
and cameras are first brought onto the truth by a similarity of the camera centres. Ends with the mean gain where there is something to gain.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from contracts.object_settings import GivenCameras
from contracts.progress import Silence
from samples.evaluate_object import psnr, similarity_aligned, surface_errors
from samples.objects import CATALOGUE, SampleObject, make_object
from samples.objects_files import write_upload
from samples.objects_views import ObjectRenderer, ViewSpec, degraded_spec, exact_spec, novel_rig, pinhole, rig
from services.mesh import quality, rendering, sighting
from services.mesh.builtin import BuiltinEngine, tolerance_of
from services.mesh.refinement import refine
from services.mesh.rig import Camera
from services.mesh.surface import Floats, TexturedMesh
from services.mesh.texture import ColourView
from services.mesh.views import read_views

CONDITIONS = ("exact", "perturbed", "recovered")
NOVEL_VIEWS = 6
TURN_RAD, SHIFT, FOCAL_SHARE = np.radians(0.1), 0.0025, 0.002
HEADER = f"{'object':10} {'condition':10} {'PSNR':>13} {'SSIM':>15} {'novel':>13} {'Chamfer %':>15} {'start s':>7} {'refine s':>8}"


@dataclass(frozen=True)
class Figures:
    """Of a mesh: psnr, ssim at the inputs; novel in dB elsewhere; chamfer as a share of the diagonal."""

    psnr: float
    ssim: float
    novel: float
    chamfer: float


@dataclass(frozen=True)
class Outcome:
    name: str
    condition: str
    before: Figures
    after: Figures
    start_s: float
    refine_s: float

    def line(self) -> str:
        a, b = self.before, self.after
        return (
            f"{self.name:10} {self.condition:10} {a.psnr:6.2f} {b.psnr:6.2f} {a.ssim:7.4f} {b.ssim:7.4f} "
            f"{a.novel:6.2f} {b.novel:6.2f} {100 * a.chamfer:7.4f} {100 * b.chamfer:7.4f} "
            f"{self.start_s:7.1f} {self.refine_s:8.1f}"
        )


class Log(Silence):
    def log(self, message: str) -> None:
        print(f"    {message}", flush=True)


def spec_of(condition: str, size_px: int, seed: int, name: str) -> ViewSpec:
    if condition == "recovered":
        return degraded_spec(size_px, seed, name)
    exact = exact_spec(size_px)
    return exact if condition == "exact" else replace(exact, bits=8, coding="own_range")


def perturbed_cameras(spec: ViewSpec, seed: int) -> GivenCameras:
    """The rig as somebody would tell it who measured it not too well."""
    rng = np.random.default_rng([seed, 5])
    views = []
    for pose in rig(spec.distance):
        error = np.eye(4)
        error[:3, :3] = Rotation.from_rotvec(TURN_RAD * rng.normal(size=3)).as_matrix()
        error[:3, 3] = SHIFT * rng.normal(size=3)
        focal = spec.focal * spec.size_px * (1 + FOCAL_SHARE * rng.normal())
        middle = spec.size_px / 2
        k = {"width": spec.size_px, "height": spec.size_px, "fx": focal, "fy": focal, "cx": middle, "cy": middle}
        views.append({"camera_from_world": (error @ pose).tolist(), "intrinsics": k})
    return GivenCameras.model_validate({"views": views, "depth": {"encoding": "normalised"}})


def run(name: str, condition: str, size_px: int, seed: int, folder: Path) -> Outcome:
    sample, spec = make_object(name, seed), spec_of(condition, size_px, seed, name)
    write_upload(sample, spec, folder)
    cameras = None
    if condition == "exact":
        cameras = GivenCameras.model_validate(json.loads((folder / "cameras.json").read_text()))
    elif condition == "perturbed":
        cameras = perturbed_cameras(spec, seed)
    views = sighting.sight(read_views(folder), cameras, Silence()).views
    began = time.monotonic()
    engine = BuiltinEngine()
    start = engine.reconstruct(views, Silence())
    middle = time.monotonic()
    found = refine(start, views, engine, tolerance_of(views), Log())
    end = time.monotonic()
    before = figures(start.mesh, views, sample, spec, condition, seed)
    after = figures(found.made.mesh, found.views, sample, spec, condition, seed)
    return Outcome(name, condition, before, after, middle - began, end - middle)


def figures(  # noqa: PLR0917
    mesh: TexturedMesh, views: tuple[ColourView, ...], sample: SampleObject, spec: ViewSpec, condition: str, seed: int
) -> Figures:
    inputs = quality.mean(quality.measure(mesh, views))
    truth = sample.shape.mesh()
    placed = mesh if condition == "exact" else onto_truth(mesh, truth, spec)
    flat = trimesh.Trimesh(placed.vertices, placed.faces, process=False)
    return Figures(
        inputs.psnr, inputs.ssim, novel_psnr(placed, sample, spec, seed), surface_errors(flat, truth).chamfer
    )


def onto_truth(mesh: TexturedMesh, truth: trimesh.Trimesh, spec: ViewSpec) -> TexturedMesh:
    """Wrong cameras leave where, how large and which way round free."""
    scale = spec.distance / 2.5
    flat = trimesh.Trimesh(mesh.vertices * scale, mesh.faces, process=False)
    placed = similarity_aligned(flat, truth)
    moved: Floats = np.asarray(placed.vertices, np.float64)
    return replace(mesh, vertices=moved)


def novel_psnr(mesh: TexturedMesh, sample: SampleObject, spec: ViewSpec, seed: int) -> float:
    truth, found = ObjectRenderer(sample), []
    for pose in novel_rig(spec.distance, NOVEL_VIEWS, seed):
        k = pinhole(spec.size_px, spec.focal)
        camera = Camera(k.width_px, k.height_px, k.fx_px, k.fy_px, k.cx_px, k.cy_px, pose)
        found.append(psnr(rendering.render(mesh, camera), truth.view(k, pose).colour))
    return float(np.mean(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--objects", nargs="+", choices=CATALOGUE, default=["mug", "figurine", "chair", "robot", "gear"]
    )
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    print(HEADER, flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="alidade-refinement-") as scratch:
        for condition in options.conditions:
            for name in options.objects:
                folder = Path(scratch) / condition / name
                outcomes.append(run(name, condition, options.size, options.seed, folder))
                print(outcomes[-1].line(), flush=True)
    good = True
    for condition in options.conditions:
        own = [outcome for outcome in outcomes if outcome.condition == condition]
        gain = float(np.mean([outcome.after.psnr - outcome.before.psnr for outcome in own]))
        novel = float(np.mean([outcome.after.novel - outcome.before.novel for outcome in own]))
        chamfer = float(np.mean([outcome.after.chamfer / outcome.before.chamfer for outcome in own]))
        print(f"{condition:10} PSNR {gain:+.2f} dB, novel views {novel:+.2f} dB, Chamfer x {chamfer:.3f}")
        good &= gain >= (0 if condition == "exact" else 1) and chamfer <= 1.02
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
