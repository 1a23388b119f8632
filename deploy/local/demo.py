"""`make demo`: a synthetic LiDAR capture travels through the whole system and comes back as a COLMAP model.

Renders a hand-held walk through a furnished flat, starts everything on free ports, uploads the capture through the real
HTTP API, watches the job, downloads the result, opens it with pycolmap and measures it against the truth.
"""

import argparse
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from client.api import Alidade
from contracts.errors import AlidadeError
from deploy.local.system import running_system
from samples.capture import CaptureSpec, make_capture
from samples.evaluate import PoseErrors, pose_errors
from samples.truth import CaptureTruth

SETTINGS: dict[str, JsonValue] = {
    "feature_type": "sift",
    "matcher_type": "nearest",
    "pairing_mode": "poses",
    "mapper_type": "COLMAP",
    "stray_approach": "full_sfm",
}
GOALS = {"registered": 0.98, "median_m": 0.02, "scale_error": 0.01, "reprojection_px": 1.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the model is as accurate as it has to be, 1 if not."""
    options = _parse(arguments)
    console = Console()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with console.status(f"Rendering a walk of {options.frames} frames through a flat"):
        truth = make_capture(CaptureSpec(frames=options.frames, seed=options.seed, conventions=("stray",)), out)
    capture = out / "capture_stray.zip"
    console.print(f"[green]✓[/] {capture} ({capture.stat().st_size / 1e6:.0f} MB) in {time.monotonic() - began:.0f} s")
    with tempfile.TemporaryDirectory(prefix="alidade-demo-") as state:
        began = time.monotonic()
        with running_system(Path(state)) as system:
            console.print(
                f"[green]✓[/] gateway, notifier, ingest and sfm are ready in {time.monotonic() - began:.1f} s"
            )
            began = time.monotonic()
            result = _run_job(system.url, system.api_key, capture, out, console)
            seconds = time.monotonic() - began
    folder = out / "result"
    with zipfile.ZipFile(result) as archive:
        archive.extractall(folder)
    model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
    errors = measure(model, truth)
    reached = _print_table(errors, model.compute_mean_reprojection_error(), seconds, console)
    console.print(f"Result: {result}   Picture: {folder / 'preview.png'}   Point cloud: {folder / 'pointcloud.ply'}")
    return 0 if reached else 1


def measure(model: pycolmap.Reconstruction, truth: CaptureTruth) -> PoseErrors:
    """Camera poses of a delivered model against the truth."""
    world_from_camera = {}
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        world_from_camera[image.name] = pose
    return pose_errors(world_from_camera, truth)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    return parser.parse_args(arguments)


def _run_job(url: str, api_key: str, capture: Path, out: Path, console: Console) -> Path:
    """Upload, process, watch, download. Returns where the result is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Alidade(url, api_key) as alidade, Progress(*columns, console=console) as bars:
        upload = bars.add_task("Upload")
        dataset = alidade.upload(capture, lambda done, total: bars.update(upload, completed=done, total=total))
        job = alidade.process(dataset.dataset_id, SETTINGS)
        bar = bars.add_task("Job", total=100)
        for update in alidade.watch(job.job_id):
            bars.update(bar, completed=update.percentage, description=update.step)
        for line in alidade.logs(job.job_id):
            console.print(f"  [dim]{line.message}[/]", highlight=False)
        result = out / "result.zip"
        result.unlink(missing_ok=True)
        alidade.wait(job.job_id)
        alidade.download(job.job_id, result)
    return result


def _print_table(errors: PoseErrors, reprojection_px: float, seconds: float, console: Console) -> bool:
    """Print measured against wanted; whether everything wanted is reached."""
    rows = (
        ("frames registered", errors.registered_share, ">=", GOALS["registered"], "{:.1%}"),
        ("camera centres, median error", errors.median_m, "<=", GOALS["median_m"], "{:.4f} m"),
        ("scale error", errors.scale_error, "<=", GOALS["scale_error"], "{:.3%}"),
        ("reprojection error", reprojection_px, "<=", GOALS["reprojection_px"], "{:.2f} px"),
    )
    table = Table(title=f"Against the exact truth, aligned rigidly, no scale fitted (job: {seconds:.0f} s)")
    for heading in ("", "measured", "wanted", ""):
        table.add_column(heading, justify="right")
    all_reached = True
    for name, value, relation, goal, form in rows:
        reached = value >= goal if relation == ">=" else value <= goal
        all_reached &= reached
        mark = "[green]✓[/]" if reached else "[red]✗[/]"
        table.add_row(name, form.format(value), f"{relation} {form.format(goal)}", mark)
    console.print(table)
    return all_reached


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AlidadeError as error:
        sys.exit(f"The demo failed: {error.message}")
