"""How well buildings are recognised: the catalogue of generated buildings, scanned, recognised and held against their truth.

    python bench/buildings.py [--kinds simple_house office] [--seeds 101 102] [--spacings 0.02] [--coverages both] [--details]

One building after the other, so that the seconds mean something. Ends with the pooled figures, and the share of the runs that
reach every goal.
"""

import argparse
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.building_settings import BuildingSettings
from contracts.errors import AlidadeError
from contracts.progress import Silence
from samples.building import BuildingSpec, ScanSpec, make_building, scan
from samples.building_catalogue import CATALOGUE
from samples.building_files import write_canonical
from samples.building_truth import load_building_truth
from samples.evaluate_building import BuildingScore, Matches, evaluate
from samples.scanner import COVERAGES, Coverage
from services.bim import recognition

WALLS_F1 = 0.97
THICKNESS_M = 0.01
OPENINGS_F1 = 0.93
CLASS_ACCURACY = 0.97
STOREY_M = 0.01
SPACES_SHARE = 0.95
HEADER = f"{'building':42} {'walls':>6} {'thick':>7} {'open':>6} {'class':>6} {'storey':>7} {'spaces':>8} {'false':>6} {'time':>7}"


@dataclass(frozen=True)
class Case:
    """One scan of one building."""

    kind: str
    seed: int
    spacing_m: float
    coverage: Coverage

    @property
    def label(self) -> str:
        return f"{self.kind} {self.seed} {100 * self.spacing_m:g} cm {self.coverage}"


@dataclass(frozen=True)
class Figures:
    """What counts, of one building or pooled over several. Errors in metres."""

    walls_f1: float
    thickness_m: float
    """Median error."""
    openings_f1: float
    class_accuracy: float
    storey_m: float
    """Largest error of a floor's or a ceiling's height."""
    spaces: int
    true_spaces: int
    false_storeys: int
    missed_storeys: int
    seconds: float

    @property
    def good(self) -> bool:
        # What was not there to be found cannot be wrong: a garage may have no inner thickness to miss.
        return (
            self.walls_f1 >= WALLS_F1
            and not self.thickness_m >= THICKNESS_M
            and self.openings_f1 >= OPENINGS_F1
            and self.class_accuracy >= CLASS_ACCURACY
            and not self.storey_m > STOREY_M
            and self.spaces >= SPACES_SHARE * self.true_spaces
            and self.false_storeys + self.missed_storeys == 0
        )

    def line(self, label: str) -> str:
        return (
            f"{label:42} {self.walls_f1:6.3f} {100 * self.thickness_m:4.1f} cm {self.openings_f1:6.3f} "
            f"{self.class_accuracy:6.3f} {100 * self.storey_m:4.1f} cm {self.spaces:4d}/{self.true_spaces:<3d} "
            f"{self.false_storeys:6d} {self.seconds:5.1f} s  {'ok' if self.good else 'FAIL'}"
        )


def figures_of(scores: Sequence[BuildingScore], seconds: float) -> Figures:
    """Pooled: every wall, opening and space counts once, whichever building it is in."""
    found = [len(score.openings.pairs) for score in scores]
    right = sum(count * score.class_accuracy for count, score in zip(found, scores, strict=True))
    thickness = np.concatenate([score.thickness_error_m for score in scores])
    heights = np.concatenate([error for score in scores for error in (score.floor_error_m, score.ceiling_error_m)])
    return Figures(
        walls_f1=pooled_f1([score.walls for score in scores]),
        thickness_m=float(np.median(thickness)) if len(thickness) else math.nan,
        openings_f1=pooled_f1([score.openings for score in scores]),
        class_accuracy=right / max(sum(found), 1) if sum(found) else 1.0,
        storey_m=float(heights.max()) if len(heights) else math.nan,
        spaces=sum(len(score.spaces.pairs) for score in scores),
        true_spaces=sum(score.spaces.true for score in scores),
        false_storeys=sum(score.false_storeys for score in scores),
        missed_storeys=sum(len(score.storeys.missed) for score in scores),
        seconds=seconds,
    )


def pooled_f1(matches: Sequence[Matches]) -> float:
    things = sum(m.found + m.true for m in matches)
    return 2 * sum(len(m.pairs) for m in matches) / things if things else 1.0


def cloud_of(case: Case, folder: Path) -> Path:
    """The canonical cloud of a case, and its truth; scanned if it is not there yet."""
    made = folder / case.label.replace(" ", "_")
    if not (made / "truth.json").exists():
        building = make_building(BuildingSpec(case.kind, case.seed))
        spec = ScanSpec(spacing_m=case.spacing_m, coverage=case.coverage, seed=case.seed)
        write_canonical(scan(building, spec), made)
    return made


def run(case: Case, kept: Path | None) -> tuple[BuildingScore, float]:
    """The score of one case, and the seconds that the recognition took."""
    with tempfile.TemporaryDirectory(prefix="alidade-buildings-") as scratch:
        cloud = cloud_of(case, Path(scratch) if kept is None else kept)
        began = time.monotonic()
        building = recognition.recognise(cloud, BuildingSettings(), Silence()).building
        seconds = time.monotonic() - began
        return evaluate(building, load_building_truth(cloud / "truth.json"), case.label), seconds


def run_all(cases: Sequence[Case], kept: Path | None, details: bool) -> tuple[list[Figures], Figures | None]:
    """The figures of every case that ended, and of all together."""
    scores, figures = [], []
    for case in cases:
        try:
            score, seconds = run(case, kept)
        except AlidadeError as error:
            print(f"{case.label:42} {error.message}", flush=True)
            continue
        scores.append(score)
        figures.append(figures_of([score], seconds))
        print(figures[-1].line(case.label), flush=True)
        if details and score.details():
            print(score.details(), flush=True)
    return figures, figures_of(scores, sum(f.seconds for f in figures)) if scores else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=sorted(CATALOGUE), default=list(CATALOGUE))
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--spacings", type=float, nargs="+", default=[0.02], help="metres")
    parser.add_argument("--coverages", nargs="+", choices=COVERAGES, default=["both"])
    parser.add_argument("--details", action="store_true", help="what was missed and what is false, a line each")
    parser.add_argument("--clouds", type=Path, help="folder where scans are kept for the next time")
    options = parser.parse_args()
    chosen = itertools.product(options.spacings, options.coverages, options.kinds, options.seeds)
    cases = [Case(kind, seed, spacing, coverage) for spacing, coverage, kind, seed in chosen]
    print(HEADER)
    figures, pooled = run_all(cases, options.clouds, options.details)
    if pooled is not None:
        print(pooled.line("all"))
    good = sum(one.good for one in figures)
    print(f"\nruns that reach every goal: {good / len(cases):.3f}")
    return 0 if pooled is not None and pooled.good and len(figures) == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
