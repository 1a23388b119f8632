"""What pairs by the phone's poses save: matching time and accuracy against exhaustive pairing, on one capture.

    python bench/pairing.py [--frames 200] [--mapper COLMAP]

Ends with one figure: how many times less matching time `poses` takes.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import pycolmap
from pydantic import JsonValue

from client.api import Alidade
from deploy.local.demo import measure
from deploy.local.system import running_system
from samples.capture import CaptureSpec, make_capture
from samples.truth import CaptureTruth
from services.sfm.report import CaptureReport


def run(
    alidade: Alidade, dataset: str, settings: dict[str, JsonValue], truth: CaptureTruth, folder: Path
) -> CaptureReport:
    """One job; prints how accurate its model is."""
    job = alidade.process(dataset, settings)
    alidade.wait(job.job_id)
    result = folder / f"{job.job_id}.zip"
    alidade.download(job.job_id, result)
    opened = folder / job.job_id
    with zipfile.ZipFile(result) as archive:
        archive.extractall(opened, [n for n in archive.namelist() if n.startswith(("sparse/0/", "report"))])
    report = CaptureReport.model_validate_json((opened / "report.json").read_bytes())
    errors = measure(pycolmap.Reconstruction(str(opened / "sparse" / "0")), truth)
    print(
        f"{settings['pairing_mode']:>10}: {report.matching.pairs:6} pairs, pairing {report.seconds['pairs']:5.1f} s, "
        f"matching {report.seconds['matching']:6.1f} s, mapping {report.seconds['mapping']:5.1f} s; {errors.summary()}",
        flush=True,
    )
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mapper", choices=("COLMAP", "GLOMAP"), default="COLMAP")
    options = parser.parse_args()
    reports = {}
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as scratch:
        folder = Path(scratch)
        truth = make_capture(CaptureSpec(frames=options.frames, seed=options.seed, conventions=("stray",)), folder)
        with running_system(folder / "state") as system, Alidade(system.url, system.api_key) as alidade:
            dataset = alidade.upload(folder / "capture_stray.zip").dataset_id
            for pairing in ("poses", "exhaustive"):
                settings: dict[str, JsonValue] = {
                    "feature_type": "sift",
                    "matcher_type": "nearest",
                    "pairing_mode": pairing,
                    "mapper_type": options.mapper,
                }
                reports[pairing] = run(alidade, dataset, settings, truth, folder)
    spent = {name: report.seconds["pairs"] + report.seconds["matching"] for name, report in reports.items()}
    print(f"\npairing and matching, exhaustive over poses: {spent['exhaustive'] / spent['poses']:.1f}")


if __name__ == "__main__":
    main()
