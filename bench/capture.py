"""What the service costs: one capture job against plain pycolmap on the same frames with the same settings.

    python bench/capture.py [--frames 60] [--mapper COLMAP]

The service's time is all of a job, from its submission to its completion: reading the video, depth and poses,
features, exhaustive matching, mapping, refinement to the phone's metres, LiDAR cloud, the ZIP, every step stored. Plain
pycolmap's is extraction, matching and mapping of pictures that lie ready on the disk. Ends with one figure: the wall time
that the service adds, as a share of plain pycolmap's.
"""

import argparse
import tempfile
import time
import zipfile
from pathlib import Path

import pycolmap

from client.api import Alidade
from contracts.capture_settings import CaptureSettings, FeatureType, MapperType, MatcherType, PairingMode
from contracts.progress import Silence
from deploy.local.system import running_system
from samples.capture import CaptureSpec, make_capture
from services.sfm import full_sfm
from services.sfm.features import extraction_options
from services.sfm.matching import matching_options, verification_options
from services.sfm.report import CaptureReport


def run_service(capture: Path, settings: CaptureSettings, folder: Path) -> tuple[float, CaptureReport]:
    """Seconds of the job; the pictures it worked on lie in `folder/images` then."""
    with running_system(folder / "state") as system, Alidade(system.url, system.api_key) as alidade:
        dataset = alidade.upload(capture)
        began = time.monotonic()
        asked = settings.model_dump(
            mode="json", include={"feature_type", "matcher_type", "mapper_type", "pairing_mode"}
        )
        job = alidade.process(dataset.dataset_id, asked)
        alidade.wait(job.job_id)
        seconds = time.monotonic() - began
        result = folder / "result.zip"
        alidade.download(job.job_id, result)
    with zipfile.ZipFile(result) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(("images/", "report"))])
    return seconds, CaptureReport.model_validate_json((folder / "report.json").read_bytes())


def run_pycolmap(
    pictures: Path, settings: CaptureSettings, intrinsics: str, size: tuple[int, int], folder: Path
) -> dict[str, float]:
    """Seconds of each of COLMAP's own steps on the same pictures."""
    database = folder / "database.db"
    reader = pycolmap.ImageReaderOptions(camera_model=str(settings.camera_model), camera_params=intrinsics)
    seconds = {}
    began = time.monotonic()
    pycolmap.extract_features(
        database,
        pictures,
        camera_mode=pycolmap.CameraMode.SINGLE,
        reader_options=reader,
        extraction_options=extraction_options(settings, *size),
        device=pycolmap.Device.cpu,
    )
    seconds["features"] = time.monotonic() - began
    began = time.monotonic()
    pycolmap.match_exhaustive(
        database,
        matching_options=matching_options(settings),
        verification_options=verification_options(*size),
        device=pycolmap.Device.cpu,
    )
    seconds["matching"] = time.monotonic() - began
    began = time.monotonic()
    if settings.mapper_type is MapperType.GLOMAP:
        models = full_sfm.map_globally(database, -1, Silence())
    else:
        models = full_sfm.map_incrementally(database, len(list(pictures.iterdir())), -1, Silence())
    seconds["mapping"] = time.monotonic() - began
    print(f"plain pycolmap registered {max((m.num_reg_images() for m in models), default=0)} pictures")
    return seconds


def main() -> None:
    pycolmap.logging.minloglevel = pycolmap.logging.WARNING.value
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mapper", choices=("COLMAP", "GLOMAP"), default="COLMAP")
    options = parser.parse_args()
    settings = CaptureSettings(
        feature_type=FeatureType.SIFT,
        matcher_type=MatcherType.NEAREST,
        mapper_type=MapperType(options.mapper),
        pairing_mode=PairingMode.EXHAUSTIVE,
    )
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as scratch:
        folder = Path(scratch)
        truth = make_capture(CaptureSpec(frames=options.frames, seed=options.seed, conventions=("stray",)), folder)
        seconds, report = run_service(folder / "capture_stray.zip", settings, folder)
        middle = truth.frames[len(truth.frames) // 2]
        intrinsics = f"{middle.fx_px},{middle.fy_px},{middle.cx_px},{middle.cy_px}"
        plain = run_pycolmap(folder / "images", settings, intrinsics, (truth.width_px, truth.height_px), folder)
    print(
        f"service: {report.frames.registered} of {report.frames.total} pictures registered, {report.matching.pairs} pairs"
    )
    print(f"{'step':12} {'service':>9} {'pycolmap':>9}")
    for step, spent in report.seconds.items():
        print(f"{step:12} {spent:8.1f}s " + (f"{plain[step]:8.1f}s" if step in plain else f"{'-':>9}"))
    print(f"{'the rest':12} {seconds - sum(report.seconds.values()):8.1f}s {'-':>9}")
    total = sum(plain.values())
    print(f"{'job':12} {seconds:8.1f}s {total:8.1f}s")
    print(f"\nwall time that the service adds: {seconds / total - 1:+.3f}")


if __name__ == "__main__":
    main()
