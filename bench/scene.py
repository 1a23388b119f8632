"""What the scene API makes of a mixed collection of photographs, and what it costs.

    python bench/scene.py [--scenes 2] [--photos 48] [--outliers 0.1] [--size 800x600] [--exif full] [--seed 1] [--keep FOLDER]
    python bench/scene.py --photos 100 --size 1600x1200

Renders a collection (of an equal number of pictures of each scene, and a share of outliers besides), sends it through a whole system as the
document of the API says, and holds the table that comes back against the truth: registration, relative poses, the score of the
challenge. Prints seconds by stage as `/status` tells them and the peak memory of the service that computes. Ends with the score and
status 0 if every goal of a mixed collection is reached.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from scene_score import Score, score

from deploy.local.system import System, running_system
from samples.evaluate_photos import PhotoErrors, photo_errors
from samples.photos import CollectionSpec, make_collection
from samples.photos_scenes import KINDS, ORDINARY
from samples.photos_truth import CollectionTruth, TableRow, read_table

_LOOK_S = 0.25
_HOUR_S = 3600.0
_SERVICE = "sfm-1"
REGISTRATION = 0.95
POSE_DEG = 0.5
MAA = 0.95


@dataclass(frozen=True)
class Finished:
    """A job that succeeded. seconds: by stage of the document, in order, as they were seen in /status."""

    job_id: str
    seconds: dict[str, float]
    status: dict[str, object]
    table: Path


@dataclass
class Memory:
    """The most that one process of a service and all it started have had resident, and the most at once, in bytes."""

    one_process_bytes: int = 0
    together_bytes: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self, pid: int) -> Iterator[None]:
        """Looks at a process and its descendants until the block ends."""
        thread = threading.Thread(target=self._watch, args=(pid,))
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self, pid: int) -> None:
        while not self._stopped.wait(_LOOK_S):
            sizes = list(_resident(pid))
            self.one_process_bytes = max([self.one_process_bytes, *sizes])
            self.together_bytes = max(self.together_bytes, sum(sizes))


def _resident(pid: int) -> Iterator[int]:
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            yield int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue


def run_job(system: System, archive: Path, dataset: str, out: Path) -> Finished:
    """Upload, wait, fetch the table. Raises RuntimeError for a job that fails, httpx.HTTPStatusError for a refusal."""
    with httpx.Client(base_url=system.url, headers={"X-API-Key": system.api_key}, timeout=120) as http:
        with archive.open("rb") as file:
            answer = http.post(
                "/upload",
                files={"file": (archive.name, file, "application/zip")},
                data={"dataset_name": dataset, "scene_name": "mixed"},
            )
        answer.raise_for_status()
        job_id = str(answer.json()["job_id"])
        seconds, status = _followed(http, job_id)
        table = http.get(f"/download/jobs/{job_id}/csv")
        table.raise_for_status()
        out.write_bytes(table.content)
    return Finished(job_id, seconds, status, out)


def _followed(http: httpx.Client, job_id: str) -> tuple[dict[str, float], dict[str, object]]:
    """Seconds by stage, and the last status."""
    seconds: dict[str, float] = {}
    before = began = time.monotonic()
    while time.monotonic() - began < _HOUR_S:
        answer = http.get(f"/status/{job_id}")
        answer.raise_for_status()
        status: dict[str, object] = answer.json()
        stage, now = str(status["stage"]), time.monotonic()
        if stage == "success":
            return seconds, status
        if stage in {"failed", "cancelled"}:
            raise RuntimeError(f"the job {stage}: {status['error']}")
        seconds[stage] = seconds.get(stage, 0.0) + now - before
        before = now
        time.sleep(_LOOK_S)
    raise RuntimeError("the job took more than an hour")


def renamed(rows: tuple[TableRow, ...], truth: CollectionTruth) -> tuple[TableRow, ...]:
    """The rows under the truth's name of the data set, so that what the service was told to call it plays no part."""
    return tuple(TableRow(truth.dataset, r.scene, r.image, r.camera_from_world) for r in rows)


def reached(errors: PhotoErrors, found: Score, scenes: int) -> bool:
    """Whether the answer is as good as that of a mixed collection must be."""
    whole = found.datasets[0]
    return (
        errors.clusters == scenes
        and not errors.strays
        and errors.registration_rate >= REGISTRATION
        and errors.median_deg < POSE_DEG
        and whole.maa >= MAA
        and whole.clusterness == 1
    )


def collection_spec(options: argparse.Namespace) -> CollectionSpec:
    """As many pictures of each scene as there is room for beside the outliers, and the rest outliers."""
    width, height = (int(part) for part in options.size.split("x"))
    if 3 * width != 4 * height:
        raise SystemExit("--size must be 4:3, for instance 1600x1200")
    kinds = tuple(options.kinds or (ORDINARY[k % len(ORDINARY)] for k in range(options.scenes)))
    images = round(options.photos / (1 + options.outliers) / len(kinds))
    return CollectionSpec(
        scenes=kinds,
        images=images,
        outliers=max(0, options.photos - images * len(kinds)),
        seed=options.seed,
        width_px=width,
        exif=options.exif,
        cameras=options.cameras,
        workers=options.workers,
    )


def conclusion(truth: CollectionTruth, finished: Finished, memory: Memory) -> int:
    """Prints all figures; 0 if every goal is reached."""
    rows = renamed(read_table(finished.table), truth)
    errors, found = photo_errors(truth, rows), score(truth.table(), rows)
    print("\nseconds by stage")
    for stage, spent in finished.seconds.items():
        print(f"  {stage:16} {spent:7.1f}")
    print(f"  {'all':16} {sum(finished.seconds.values()):7.1f}")
    print(
        f"\nmemory of the service: {memory.one_process_bytes / 2**20:.0f} MiB in its largest process, "
        f"{memory.together_bytes / 2**20:.0f} MiB in all"
    )
    print(
        f"\nservice: {finished.status['n_images']} images, {finished.status['n_points']} points, "
        f"registration rate {finished.status['registration_rate']}"
    )
    print(errors.summary())
    print("\n".join(found.lines()))
    print(f"\nscore: {found.score:.4f}")
    return 0 if reached(errors, found, len(truth.scenes())) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="these scenes instead")
    parser.add_argument("--photos", type=int, default=48, help="in all, outliers included")
    parser.add_argument("--outliers", type=float, default=0.1, help="as a share of the pictures of scenes")
    parser.add_argument("--size", default="800x600")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--exif", choices=("full", "camera", "none"), default="full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--keep", type=Path, help="where the collection and the table stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alidade-scene-") as scratch:
        folder = options.keep or Path(scratch)
        began = time.monotonic()
        truth = make_collection(collection_spec(options), folder)
        print(
            f"{len(truth.pictures)} pictures of {options.size}, rendered in {time.monotonic() - began:.0f} s",
            flush=True,
        )
        memory = Memory()
        with running_system(Path(scratch) / "state") as system, memory.watched(system.running.services[_SERVICE]):
            finished = run_job(system, folder / "photos.zip", truth.dataset, folder / "submission.csv")
        return conclusion(truth, finished, memory)


if __name__ == "__main__":
    sys.exit(main())
