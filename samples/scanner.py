"""A terrestrial laser scanner in a synthetic building: stations, rays, noise, and what surveyors do to clouds afterwards.

Rays come from embree; the range is computed again in float64 from the triangle that was hit, so that a cloud without noise lies
on the surfaces to rounding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from samples.building_plan import BuildingPlan, Floats, Spot, room_areas
from samples.building_surfaces import BuildingMesh

Floats32 = NDArray[np.float32]
Coverage = Literal["indoors", "outdoors", "both"]
COVERAGES: tuple[Coverage, ...] = ("indoors", "outdoors", "both")
NO_ELEMENT = -1
"""Element of points that lie on nothing: mixed pixels."""
_LOWEST_RAD = math.radians(-62.0)
_RAYS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class ScanSpec:
    """How a building is scanned. Lengths in metres."""

    spacing_m: float = 0.02
    """What the cloud is thinned to (one point a voxel of this size); 0 leaves every return."""
    angular_step_rad: float = 0.0
    """Between rays; 0 = as the spacing needs it at five metres."""
    coverage: Coverage = "both"
    noise_m: float = 0.004
    """Standard deviation of ranges."""
    registration_m: float = 0.0015
    """Standard deviation of the stations' positions."""
    registration_rad: float = 0.00005
    """Standard deviation of the stations' turns, all axes."""
    waviness_m: float = 0.0
    """How far plaster and screed lie before and behind their planes at most: slow waves of about a metre."""
    mixed_share: float = 0.25
    """Share of rays at depth edges whose range lies between the two surfaces."""
    glass_return_share: float = 0.04
    range_m: float = 40.0
    seed: int = 0

    @property
    def step_rad(self) -> float:
        """The angle between rays."""
        if self.angular_step_rad > 0:
            return self.angular_step_rad
        return (self.spacing_m if self.spacing_m > 0 else 0.02) / 5.0


@dataclass(frozen=True)
class Station:
    """Where the scanner stood: position (x, y, z) in the building frame, and its size of grid."""

    position_m: tuple[float, float, float]
    storey: int
    """-1 outdoors."""
    columns: int
    rows: int


@dataclass(frozen=True)
class Returns:
    """What a building sends back, in the building frame.

    points (n, 3) float64; element (n,) int32, NO_ELEMENT for mixed pixels; triangle (n,) int32; rgb (n, 3) uint8;
    intensity (n,) float32, 0 to 1; scan (n,) uint16; cell (n,) int64, column * rows + row in the scan's grid.
    """

    points: Floats
    element: NDArray[np.int32]
    triangle: NDArray[np.int32]
    rgb: NDArray[np.uint8]
    intensity: Floats32
    scan: NDArray[np.uint16]
    cell: NDArray[np.int64]

    def chosen(self, keep: NDArray[np.int64]) -> "Returns":
        return Returns(
            self.points[keep],
            self.element[keep],
            self.triangle[keep],
            self.rgb[keep],
            self.intensity[keep],
            self.scan[keep],
            self.cell[keep],
        )


class _Caster:
    """The opaque surfaces and the panes, each in a scene of its own: rays pass most panes."""

    def __init__(self, mesh: BuildingMesh) -> None:
        self.mesh = mesh
        self.normals = mesh.normals()
        self._opaque = np.flatnonzero(~mesh.glass).astype(np.int32)
        self._glass = np.flatnonzero(mesh.glass).astype(np.int32)
        self._opaque_scene = self._scene(self._opaque)
        self._glass_scene = self._scene(self._glass)

    def _scene(self, chosen: NDArray[np.int32]) -> tuple[rtcore_scene.EmbreeScene, TriangleMesh] | None:
        if len(chosen) == 0:
            return None
        scene = rtcore_scene.EmbreeScene()
        return scene, TriangleMesh(scene, self.mesh.triangles[chosen].astype(np.float32))

    def opaque(self, origin: Floats, rays: Floats) -> tuple[NDArray[np.int32], Floats]:
        return self._hits(self._opaque_scene, self._opaque, origin, rays)

    def panes(self, origin: Floats, rays: Floats) -> tuple[NDArray[np.int32], Floats]:
        return self._hits(self._glass_scene, self._glass, origin, rays)

    def _hits(
        self,
        scene: tuple[rtcore_scene.EmbreeScene, TriangleMesh] | None,
        chosen: NDArray[np.int32],
        origin: Floats,
        rays: Floats,
    ) -> tuple[NDArray[np.int32], Floats]:
        """Triangle (n,), -1 = none, and distance (n,) float64, inf = none, of unit rays (n, 3)."""
        if scene is None:
            return np.full(len(rays), -1, np.int32), np.full(len(rays), np.inf)
        origins = np.broadcast_to(origin.astype(np.float32), rays.shape)
        local = scene[0].run(np.ascontiguousarray(origins), np.ascontiguousarray(rays, np.float32))
        triangle = np.where(local < 0, -1, chosen[local]).astype(np.int32)
        distance = np.full(len(rays), np.inf)
        hit = np.flatnonzero(triangle >= 0)
        normal = self.normals[triangle[hit]]
        corner = self.mesh.triangles[triangle[hit], 0]
        across = np.einsum("ij,ij->i", normal, rays[hit])
        # A ray within a plane of its triangle has no exact range; embree reports such hits now and then.
        across = np.where(np.abs(across) < 1e-6, np.nan, across)
        distance[hit] = np.einsum("ij,ij->i", normal, corner - origin) / across
        bad = ~(distance > 0)
        distance[bad], triangle[bad] = np.inf, -1
        return triangle, distance


def place_stations(
    plan: BuildingPlan,
    indoors_taken: Sequence[tuple[int, BaseGeometry]],
    outdoors_taken: Sequence[BaseGeometry],
    spec: ScanSpec,
) -> tuple[Station, ...]:
    """Stations in every room (large ones get several) and on a ring around the building, clear of what stands there."""
    rng = np.random.default_rng([spec.seed, 21])
    columns, rows = grid_size(spec.step_rad)
    stations: list[Station] = []
    if spec.coverage != "outdoors":
        for storey in plan.storeys:
            things = shapely.union_all([area for index, area in indoors_taken if index == storey.index])
            for room, area in room_areas(storey).items():
                floor = next(r.floor_m for r in storey.rooms if r.name == room)
                for x, y in _spots_in_room(area, things, rng):
                    height = float(rng.uniform(1.5, 1.75))
                    stations.append(Station((x, y, floor + height), storey.index, columns, rows))
    if spec.coverage != "indoors":
        ground = min(slab.top_m for slab in plan.slabs) - 0.15
        hull = shapely.union_all([slab.outline for slab in plan.slabs]).convex_hull
        ring = hull.buffer(6.0, join_style="mitre").exterior
        blocked = shapely.union_all(list(outdoors_taken))
        count = max(4, math.ceil(ring.length / 11.0))
        for k in range(count):
            spot = ring.interpolate((k + float(rng.uniform(-0.2, 0.2))) * ring.length / count)
            if blocked.is_empty or blocked.distance(spot) > 0.5:
                stations.append(Station((float(spot.x), float(spot.y), ground + 1.7), -1, columns, rows))
    return tuple(stations)


def _spots_in_room(area: shapely.Polygon, things: BaseGeometry, rng: np.random.Generator) -> list[Spot]:
    """One spot for about 14 m2 of a room, far from each other and from walls and furniture as far as there is room."""
    wanted = max(1, min(6, math.ceil(area.area / 14.0)))
    x0, y0, x1, y1 = area.bounds
    spots = np.column_stack([rng.uniform(x0, x1, 400), rng.uniform(y0, y1, 400)])
    inside = np.array([s for s in spots if area.contains(Point(*s))])
    clearance = np.array([area.exterior.distance(Point(*s)) - 0.2 for s in inside])
    if not things.is_empty:
        clearance = np.minimum(clearance, [things.distance(Point(*s)) for s in inside])
    # Where a room is so full that nothing is clear, the best of what there is.
    usable = inside[clearance >= min(0.25, float(np.quantile(clearance, 0.97)))]
    edge = np.array([min(area.exterior.distance(Point(*s)), 1.2) for s in usable])
    chosen = [int(np.argmax(edge + rng.uniform(0, 0.2, len(edge))))]
    while len(chosen) < min(wanted, len(usable)):
        apart = np.min(np.linalg.norm(usable[:, None] - usable[chosen][None], axis=2), axis=1)
        chosen.append(int(np.argmax(np.minimum(apart, 4.0) + edge)))
    return [(float(usable[i, 0]), float(usable[i, 1])) for i in chosen]


def grid_size(step_rad: float) -> tuple[int, int]:
    """Columns (azimuth) and rows (elevation) of a full scan."""
    return round(2 * math.pi / step_rad), math.ceil((math.pi / 2 - _LOWEST_RAD) / step_rad)


def grid_rays(columns: int, rows: int, first: int, last: int) -> Floats:
    """Unit rays of grid columns first to last: ((last - first) * rows, 3), column by column, from below upwards."""
    azimuth = np.arange(first, last) * (2 * math.pi / columns)
    elevation = _LOWEST_RAD + (np.arange(rows) + 0.5) * ((math.pi / 2 - _LOWEST_RAD) / rows)
    flat, up = np.cos(elevation), np.sin(elevation)
    rays = np.empty((last - first, rows, 3))
    rays[..., 0] = np.cos(azimuth)[:, None] * flat
    rays[..., 1] = np.sin(azimuth)[:, None] * flat
    rays[..., 2] = up
    return rays.reshape(-1, 3)


def scan_stations(mesh: BuildingMesh, stations: Sequence[Station], spec: ScanSpec) -> Returns:
    """All returns of all stations, thinned as the settings ask for."""
    caster = _Caster(mesh)
    parts = []
    for number, station in enumerate(stations):
        rng = np.random.default_rng([spec.seed, 22, number])
        returns = _scan(caster, station, number, spec, rng)
        parts.append(thinned(returns, spec.spacing_m))
    return thinned(joined(parts), spec.spacing_m)


def _scan(caster: _Caster, station: Station, number: int, spec: ScanSpec, rng: np.random.Generator) -> Returns:
    origin = np.array(station.position_m)
    at_once = max(8, _RAYS_AT_ONCE // station.rows)
    parts = [
        _sweep(caster, station, (first, min(first + at_once, station.columns)), spec, rng)
        for first in range(0, station.columns, at_once)
    ]
    seen = joined(parts)
    shift = rng.normal(0, spec.registration_m, 3) * np.array([1, 1, 0.5])
    tilt = rng.normal(0, spec.registration_rad, 3)
    arm = seen.points - origin
    moved = seen.points + shift + np.cross(tilt, arm)
    scan = np.full(len(moved), number, np.uint16)
    return Returns(moved, seen.element, seen.triangle, seen.rgb, seen.intensity, scan, seen.cell)


def _sweep(
    caster: _Caster,
    station: Station,
    columns: tuple[int, int],
    spec: ScanSpec,
    rng: np.random.Generator,
) -> Returns:
    """The returns of some columns of a station's grid."""
    first, last = columns
    origin = np.array(station.position_m)
    rays = grid_rays(station.columns, station.rows, first, last)
    triangle, distance = caster.opaque(origin, rays)
    pane, pane_distance = caster.panes(origin, rays)
    before = pane_distance < distance
    chance = rng.random((3, len(rays)), np.float32)
    from_pane = before & (chance[0] < spec.glass_return_share)
    triangle = np.where(from_pane, pane, triangle)
    distance = np.where(from_pane, pane_distance, distance)
    hit = triangle >= 0
    cosine = np.zeros(len(rays))
    cosine[hit] = np.abs(np.einsum("ij,ij->i", caster.normals[triangle[hit]], rays[hit]))
    power = caster.mesh.reflectance[triangle] * np.sqrt(cosine)
    # Grazing rays, dark surfaces, long ranges and light lost in panes: no return.
    lost = (
        np.clip(0.9 - cosine * 12, 0, 0.9) + np.where(power < 0.05, 0.3, 0.01) + np.where(before & ~from_pane, 0.15, 0)
    )
    kept = hit & (chance[1] > lost) & (distance < spec.range_m) & (distance > 0.4)
    distance = np.where(hit, distance, np.nan)
    noisy = distance + rng.normal(0, spec.noise_m, len(rays)) * (0.8 + 0.02 * np.nan_to_num(distance))
    mixed, between = _mixed(distance.reshape(-1, station.rows), spec, rng)
    at_edge = mixed.ravel() & kept
    noisy[at_edge] = between.ravel()[at_edge]
    keep = np.flatnonzero(kept)
    shade = 0.75 + 0.25 * cosine[keep]
    rgb = caster.mesh.rgb[triangle[keep]] * shade[:, None] + rng.normal(0, 5, (len(keep), 1))
    intensity = np.clip(power[keep] * (0.95 + 0.1 * chance[2][keep]), 0, 1)
    element = caster.mesh.element[triangle[keep]].copy()
    element[at_edge[keep]] = NO_ELEMENT
    points = origin + noisy[keep, None] * rays[keep]
    if spec.waviness_m > 0:
        points += spec.waviness_m * _waves(points)[:, None] * caster.normals[triangle[keep]]
    return Returns(
        points,
        element,
        triangle[keep].astype(np.int32),
        np.clip(rgb, 0, 255).astype(np.uint8),
        intensity.astype(np.float32),
        np.zeros(len(keep), np.uint16),
        keep + first * station.rows,
    )


def _mixed(distance: Floats, spec: ScanSpec, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Floats]:
    """Some rays at depth edges of the grid see both surfaces, and measure somewhere between."""
    mixed = np.zeros(distance.shape, np.bool_)
    between = distance.copy()
    jump = np.abs(np.diff(distance, axis=0))
    edge = (jump > 0.04) & (jump < 3.0) & (rng.random(jump.shape, np.float32) < spec.mixed_share)
    share = rng.random(int(edge.sum()))
    near, far = distance[:-1][edge], distance[1:][edge]
    between[:-1][edge] = near + share * (far - near)
    mixed[:-1] = edge
    return mixed, between


def _waves(points: Floats) -> Floats:
    """A smooth field (n,) between -1 and 1, the same for every station."""
    x, y, z = points.T
    return np.asarray(
        (np.sin(5.3 * x + 2.1 * z) + np.sin(4.7 * y - 1.7 * x) + np.sin(6.1 * z + 2.9 * y)) / 3, np.float64
    )


def joined(parts: Sequence[Returns]) -> Returns:
    """One after the other."""
    return Returns(
        np.concatenate([p.points for p in parts]),
        np.concatenate([p.element for p in parts]),
        np.concatenate([p.triangle for p in parts]),
        np.concatenate([p.rgb for p in parts]),
        np.concatenate([p.intensity for p in parts]),
        np.concatenate([p.scan for p in parts]),
        np.concatenate([p.cell for p in parts]),
    )


def thinned(returns: Returns, spacing_m: float) -> Returns:
    """The first point of every voxel of this size, in their order; all of them for a spacing of 0."""
    if spacing_m <= 0 or len(returns.points) == 0:
        return returns
    cell = np.floor((returns.points - returns.points.min(axis=0)) / spacing_m).astype(np.int64)
    nx, ny, _ = cell.max(axis=0) + 1
    key = cell[:, 0] + nx * (cell[:, 1] + ny * cell[:, 2])
    _, first = np.unique(key, return_index=True)
    return returns.chosen(np.sort(first))
