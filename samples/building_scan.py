"""A synthetic building from a name and a seed, and its scan."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon

from samples.building_catalogue import CATALOGUE, draw_plan
from samples.building_clutter import Floorspace, add_surroundings, furnish
from samples.building_fittings import add_fittings, add_structure, add_void_railings
from samples.building_plan import BuildingPlan, Floats
from samples.building_surfaces import BuildingMesh, Element, MeshBuilder
from samples.building_truth import BuildingTruth, truth_of
from samples.scanner import ScanSpec, Station, place_stations, scan_stations


@dataclass(frozen=True)
class BuildingSpec:
    """Which building. `yaw_deg` and `offset_m` place it; without them it lies where the catalogue has it."""

    name: str
    seed: int = 1
    furnished: bool = True
    yaw_deg: float | None = None
    offset_m: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Building:
    """A building with all its surfaces (in the building frame) and its truth (there as well)."""

    spec: BuildingSpec
    plan: BuildingPlan
    mesh: BuildingMesh
    truth: BuildingTruth
    file_from_building: Floats
    """(4, 4) float64: a turn about z and a shift."""
    floorspace: tuple[Floorspace, ...]
    taken_outdoors: tuple[Polygon, ...]


@dataclass(frozen=True)
class ScannedCloud:
    """A scanned building in the file's frame: metres, z up, as far from the origin as its survey grid puts it.

    points (n, 3) float64; rgb (n, 3) uint8; intensity (n,) float32, 0 to 1; scan (n,) uint16, index into `stations` and
    `scanners_m`; element (n,) int32, index into `elements`, -1 where a point lies on nothing (mixed pixels); triangle (n,) int32,
    index into the building's mesh; cell (n,) int64, the place in the scan's grid (column * rows + row).
    `truth` is in the same frame.
    """

    points: Floats
    rgb: NDArray[np.uint8]
    intensity: NDArray[np.float32]
    scan: NDArray[np.uint16]
    element: NDArray[np.int32]
    triangle: NDArray[np.int32]
    cell: NDArray[np.int64]
    elements: tuple[Element, ...]
    stations: tuple[Station, ...]
    scanners_m: Floats
    spacing_m: float
    file_from_building: Floats
    truth: BuildingTruth


def make_building(spec: BuildingSpec) -> Building:
    """Draws the plan of a name and a seed, builds and furnishes it. Raises KeyError for an unknown name."""
    plan = draw_plan(spec.name, spec.seed)
    mesh = MeshBuilder()
    add_structure(mesh, plan)
    add_fittings(mesh, plan, np.random.default_rng([spec.seed, 12]))
    add_void_railings(mesh, plan)
    floorspace: tuple[Floorspace, ...] = ()
    taken: tuple[Polygon, ...] = ()
    if spec.furnished:
        floorspace = furnish(mesh, plan, np.random.default_rng([spec.seed, 13]))
        taken = add_surroundings(mesh, plan, np.random.default_rng([spec.seed, 14]))
    entry = CATALOGUE[spec.name]
    yaw = entry.yaw_deg if spec.yaw_deg is None else spec.yaw_deg
    offset = entry.offset_m if spec.offset_m is None else spec.offset_m
    return Building(spec, plan, mesh.done(), truth_of(plan, spec.seed), placed(yaw, offset), floorspace, taken)


def placed(yaw_deg: float, offset_m: tuple[float, float, float]) -> Floats:
    """(4, 4) float64: a turn about z, then a shift."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:3, 3] = offset_m
    return matrix


def scan(building: Building, spec: ScanSpec) -> ScannedCloud:
    """Scans a building from stations in its rooms, around it, or both."""
    taken = [(space.storey, area) for space in building.floorspace for area in space.taken]
    stations = place_stations(building.plan, taken, building.taken_outdoors, spec)
    returns = scan_stations(building.mesh, stations, spec)
    move = building.file_from_building
    return ScannedCloud(
        points=_moved(move, returns.points),
        rgb=returns.rgb,
        intensity=returns.intensity,
        scan=returns.scan,
        element=returns.element,
        triangle=returns.triangle,
        cell=returns.cell,
        elements=building.mesh.elements,
        stations=stations,
        scanners_m=_moved(move, np.array([s.position_m for s in stations])),
        spacing_m=spec.spacing_m,
        file_from_building=move,
        truth=building.truth.moved(move),
    )


def _moved(matrix: Floats, points: Floats) -> Floats:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], np.float64)
