"""How long a building takes, step by step, and in what memory: from a PLY file to the model, the plans and the point mapping.

    python bench/bim.py [--millions 1 5 20] [--clouds FOLDER]

A bungalow has a million points, a house five, an office ten and more: even draws from their scans, or, of more points than there are,
the scan again and again with fresh noise. Every cloud is read and recognised as workers do it: in a process for each service, with the modules loaded before.
Times are wall seconds on two threads at most; memory is the peak of the resident set, pages of mapped files included. `--millions 100`
needs 5 GB of disk. Ends with one figure: seconds per million points of the largest cloud.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.building_settings import BuildingRequest
from samples.building import BuildingSpec, ScanSpec, make_building, scan
from services.bim import pipeline
from services.ingest.clouds import entry


@dataclass(frozen=True)
class Scan:
    """A building of the catalogue that is scanned at a spacing, for clouds of so many points."""

    building: str
    spacing_m: float
    up_to_points: float


SCANS = (
    Scan("simple_house", 0.02, 2e6),
    Scan("two_storey_house", 0.0143, 7e6),
    Scan("office", 0.0143, math.inf),
)
"""Larger buildings for larger clouds, so that both points and surfaces grow. The office has 21 million points at this spacing."""
REPEATED_NOISE_M = 0.002
MOST_SECONDS_PER_MILLION, MOST_GB = 3.0, 6.0
MOST_GROWTH = 1.05
"""Exponent of time over points; linear is 1."""
SPLIT_STEPS = ("preprocessing", "finalizing")
"""Steps whose operations are told apart."""
ROW = np.dtype(
    [*((axis, "<f4") for axis in "xyz"), *((name, "u1") for name in ("red", "green", "blue")), ("intensity", "<f4")]
)
_PIECE = 1 << 21

Rows = npt.NDArray[np.void]


# --- clouds ------------------------------------------------------------------------------------------------------------------


def scan_rows(chosen: Scan, folder: Path) -> Rows:
    """The rows of a whole scan, a memory map; scanned if it is not there yet."""
    path = folder / f"{chosen.building}.npy"
    if not path.exists():
        cloud = scan(make_building(BuildingSpec(chosen.building, seed=1)), ScanSpec(spacing_m=chosen.spacing_m, seed=1))
        rows = np.empty(len(cloud.points), ROW)
        for k, axis in enumerate("xyz"):
            rows[axis] = cloud.points[:, k]
        for k, name in enumerate(("red", "green", "blue")):
            rows[name] = cloud.rgb[:, k]
        rows["intensity"] = cloud.intensity
        np.save(path, rows)
    mapped: Rows = np.load(path, mmap_mode="r")
    return mapped


def write_ply(path: Path, scanned: Rows, count: int) -> None:
    """`count` points: a draw from the scan, or the scan again and again with noise of its own each time."""
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property {'uchar' if ROW[name] == np.uint8 else 'float'} {name}" for name in ROW.names or ()]
    with path.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        for rows in _drawn(scanned, count) if count <= len(scanned) else _repeated(scanned, count):
            file.write(rows.tobytes())


def _drawn(scanned: Rows, count: int) -> Iterator[Rows]:
    """An even draw, in the scan's order."""
    chosen = np.sort(np.random.default_rng(1).permutation(len(scanned))[:count])
    for begin in range(0, count, _PIECE):
        yield scanned[chosen[begin : begin + _PIECE]]


def _repeated(scanned: Rows, count: int) -> Iterator[Rows]:
    rng = np.random.default_rng(2)
    for begin in range(0, count, _PIECE):
        rows = scanned[np.arange(begin, min(begin + _PIECE, count)) % len(scanned)]
        for axis in "xyz":
            rows[axis] += rng.normal(0, REPEATED_NOISE_M, len(rows)).astype(np.float32)
        yield rows


# --- measuring, in processes of their own --------------------------------------------------------------------------------------


class Stopwatch:
    """A reporter that keeps seconds and peak memory of each step, or of each operation of a step that is split."""

    def __init__(self) -> None:
        self.laps: dict[str, tuple[float, float]] = {}
        """Seconds, and peak in MB."""
        self._name = ""
        self._is_named_by_step = True
        self._begin()

    def step(self, name: str) -> None:
        self.lap()
        self._name, self._is_named_by_step = name, True

    def progress(self, done: int, total: int, operation: str | None = None) -> None:  # noqa: ARG002
        step = self._name.partition(":")[0]
        if operation is None or step not in SPLIT_STEPS or self._name == f"{step}: {operation}":
            return
        if not self._is_named_by_step:
            self.lap()
        # What a step does before it first says what it does belongs to that.
        self._name, self._is_named_by_step = f"{step}: {operation}", False

    def lap(self) -> None:
        if self._name:
            seconds, peak_mb = self.laps.get(self._name, (0.0, 0.0))
            self.laps[self._name] = seconds + time.perf_counter() - self._began, max(peak_mb, _peak_mb())
        self._begin()

    def finished(self, step: str) -> None:
        pass

    def log(self, message: str) -> None:
        pass

    def warn(self, message: str) -> None:
        pass

    def _begin(self) -> None:
        self._began = time.perf_counter()
        # Sets the kernel's mark of the highest resident set back (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e6


def ingest_here(ply: Path, folder: Path) -> Stopwatch:
    watch = Stopwatch()
    settings = {"exterior_scan": True}
    entry.run({"upload": str(ply), "file_name": ply.name, "settings": settings, "out": str(folder / "cloud")}, watch)
    watch.lap()
    return watch


def recognise_here(ply: Path, folder: Path) -> Stopwatch:
    watch = Stopwatch()
    request = BuildingRequest.model_validate(
        {"dataset_id": "bench", "file_name": ply.name, "settings": {"exterior_scan": True}}
    )
    arguments: dict[str, object] = {
        "job_id": "bench",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "request": request.model_dump(mode="json"),
        "cloud": str(folder / "cloud"),
        "out": str(folder / "out"),
    }
    pipeline.run(arguments, watch)
    watch.lap()
    return watch


SERVICES = {"ingest": ingest_here, "bim": recognise_here}


# --- the table -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One cloud's way through both services."""

    building: str
    points: int
    laps: dict[str, tuple[float, float]]
    found: str

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.laps.values())

    @property
    def peak_mb(self) -> float:
        return max(peak for _, peak in self.laps.values())


def run(millions: float, clouds: Path) -> Run:
    """Make a cloud of so many points, and take it through both services; nothing of it is left on the disk but its scan."""
    count = round(millions * 1e6)
    chosen = next(each for each in SCANS if count <= each.up_to_points)
    laps: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as name:
        folder = Path(name)
        ply = folder / f"{chosen.building}.ply"
        write_ply(ply, scan_rows(chosen, clouds), count)
        for service in SERVICES:
            command = [sys.executable, __file__, "--service", service, "--ply", str(ply), "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            laps |= {step: (seconds, peak_mb) for step, (seconds, peak_mb) in json.loads(done.stdout).items()}
        report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    counts = ", ".join(f"{number} {what}" for what, number in report["counts"].items() if number)
    return Run(
        chosen.building, count, laps, f"{counts}; {100 * report['fit']['mapped_share']:.0f} % of the points mapped"
    )


def print_table(runs: Sequence[Run]) -> None:
    print(f"\n{'':<48}" + "".join(f"{one.points / 1e6:>14g} M points" for one in runs))
    print(f"{'':<48}" + f"{'s':>9}{'s/M':>6}{'MB':>8}" * len(runs))
    for step in runs[-1].laps:
        cells = [(one.points, *one.laps.get(step, (0.0, 0.0))) for one in runs]
        print(f"{step:<48}" + "".join(_cell(*cell) for cell in cells))
    print(f"{'PLY to IFC, plans, mapping':<48}" + "".join(_cell(one.points, one.seconds, one.peak_mb) for one in runs))
    print(f"{'MB per million points':<48}" + "".join(f"{one.peak_mb / one.points * 1e6:>23.0f}" for one in runs))


def _cell(points: int, seconds: float, peak_mb: float) -> str:
    return f"{seconds:>9.2f}{seconds / points * 1e6:>6.2f}{peak_mb:>8.0f}"


def growth(runs: Sequence[Run]) -> float:
    """The largest exponent of time over points between neighbouring sizes: 1 is linear. 0 for a single run."""
    return max(
        (
            math.log(large.seconds / small.seconds) / math.log(large.points / small.points)
            for small, large in itertools.pairwise(runs)
        ),
        default=0.0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 5, 20], help="sizes of clouds")
    parser.add_argument("--clouds", type=Path, help="folder where the scan is kept for the next time")
    parser.add_argument("--service", choices=sorted(SERVICES), help=argparse.SUPPRESS)
    parser.add_argument("--ply", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.service is not None:
        print(json.dumps(SERVICES[options.service](options.ply, options.folder).laps))
        return 0
    with tempfile.TemporaryDirectory(prefix="alidade-bench-") as scratch:
        runs = []
        for millions in sorted(options.millions):
            runs.append(run(millions, options.clouds if options.clouds is not None else Path(scratch)))
            print(
                f"{millions:g} M points: {runs[-1].seconds:.1f} s, {runs[-1].peak_mb:.0f} MB; {runs[-1].found}",
                flush=True,
            )
    print_table(runs)
    steepest, largest = growth(runs), runs[-1]
    figure = largest.seconds / largest.points * 1e6
    print(f"\nsteepest growth of time with points: exponent {steepest:.2f} (1 is linear)")
    print(f"seconds per million points: {figure:.2f}")
    within = figure <= MOST_SECONDS_PER_MILLION and largest.peak_mb <= 1000 * MOST_GB and steepest <= MOST_GROWTH
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
