"""Synthetic buildings as surveyors deliver them: `python -m samples.building OUT --name two_storey_house --seed 1`."""

import argparse
from pathlib import Path

from samples.building_catalogue import CATALOGUE
from samples.building_files import FORMATS, write_building
from samples.building_scan import Building, BuildingSpec, ScannedCloud, make_building, scan
from samples.scanner import COVERAGES, ScanSpec

__all__ = ["Building", "BuildingSpec", "ScanSpec", "ScannedCloud", "make_building", "scan"]


def main() -> None:
    """Writes the cloud, its configuration, the truth and the true element of every point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--name", choices=sorted(CATALOGUE), default="two_storey_house")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spacing", type=float, default=0.02, help="metres; 0 keeps every return")
    parser.add_argument("--step", type=float, default=0.0, help="angle between rays in radians; by the spacing if 0")
    parser.add_argument("--noise", type=float, default=0.004, help="metres, standard deviation of ranges")
    parser.add_argument("--waviness", type=float, default=0.0, help="metres, unevenness of surfaces")
    parser.add_argument("--coverage", choices=COVERAGES, default="both")
    parser.add_argument("--format", choices=sorted(FORMATS), default="ply")
    parser.add_argument("--empty", action="store_true", help="without furniture and surroundings")
    parser.add_argument("--yaw", type=float, default=None, help="degrees about z; else as in the catalogue")
    given = parser.parse_args()
    building = make_building(BuildingSpec(given.name, given.seed, furnished=not given.empty, yaw_deg=given.yaw))
    spec = ScanSpec(
        spacing_m=given.spacing,
        angular_step_rad=given.step,
        coverage=given.coverage,
        noise_m=given.noise,
        waviness_m=given.waviness,
        seed=given.seed,
    )
    cloud = scan(building, spec)
    path = write_building(cloud, given.out_dir, given.format)
    print(f"{len(cloud.points)} points from {len(cloud.stations)} stations in {path}")


if __name__ == "__main__":
    main()
