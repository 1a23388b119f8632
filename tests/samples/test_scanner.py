"""The scanner: points lie on what it saw, nothing behind walls is seen, and thinning keeps what it should."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import Point, Polygon

from samples.building import Building, BuildingSpec, ScannedCloud, ScanSpec, make_building, scan
from samples.building_surfaces import Finish, MeshBuilder, Placement, box
from samples.scanner import NO_ELEMENT, Station, grid_rays, grid_size, scan_stations, thinned

COARSE = ScanSpec(spacing_m=0.0, angular_step_rad=0.03, seed=3)
EXACT = ScanSpec(
    spacing_m=0.0, angular_step_rad=0.03, noise_m=0.0, registration_m=0.0, registration_rad=0.0, mixed_share=0.0, seed=3
)
GREY = Finish((128, 128, 128), 0.5)


@pytest.fixture(scope="module")
def building() -> Building:
    return make_building(BuildingSpec("attached_house", 2))


@pytest.fixture(scope="module")
def exact(building: Building) -> ScannedCloud:
    return scan(building, EXACT)


@pytest.fixture(scope="module")
def noisy(building: Building) -> ScannedCloud:
    return scan(building, COARSE)


def offsets(building: Building, cloud: ScannedCloud) -> NDArray[np.float64]:
    """Distances (n,) of points from the planes of their triangles, in the building's frame."""
    local = (cloud.points - cloud.file_from_building[:3, 3]) @ cloud.file_from_building[:3, :3]
    corner = building.mesh.triangles[cloud.triangle, 0]
    normal = building.mesh.normals()[cloud.triangle]
    return np.asarray(np.einsum("ij,ij->i", local - corner, normal), np.float64)


def test_points_without_noise_lie_on_their_triangles(building: Building, exact: ScannedCloud) -> None:
    assert len(exact.points) > 90_000
    assert np.abs(offsets(building, exact)).max() < 1e-9
    local = (exact.points - exact.file_from_building[:3, 3]) @ exact.file_from_building[:3, :3]
    a, b, c = np.moveaxis(building.mesh.triangles[exact.triangle], 1, 0)
    normal = np.cross(b - a, c - a)
    squared = np.einsum("ij,ij->i", normal, normal)
    for one, two in ((a, b), (b, c), (c, a)):
        weight = np.einsum("ij,ij->i", np.cross(two - one, local - one), normal) / squared
        # embree finds hits in single precision.
        assert weight.min() > -0.02
    assert (exact.element == building.mesh.element[exact.triangle]).all()


def test_points_of_walls_slabs_and_holes_lie_where_the_truth_says(exact: ScannedCloud) -> None:
    """The truth is in the cloud's own frame, turned and all."""
    names = [element.name for element in exact.elements]
    checked = 0
    for wall in exact.truth.walls:
        points = exact.points[exact.element == names.index(wall.wall_id)]
        along = np.subtract(wall.end, wall.start) / wall.length_m
        relative = points[:, :2] - wall.start
        across = np.abs(relative @ np.array([-along[1], along[0]]))
        assert across.max() < wall.thickness_m / 2 + 0.01
        if len(points) > 200:
            assert np.mean(np.abs(across - wall.thickness_m / 2) < 1e-5) > 0.9
            checked += 1
        assert (points[:, 2] > wall.base_m - 1e-6).all()
        assert (points[:, 2] < wall.top_m + 1e-6).all()
    assert checked > 10
    for slab in exact.truth.slabs:
        z = exact.points[exact.element == names.index(slab.slab_id), 2]
        on_face = np.minimum(np.abs(z - slab.bottom_m), np.abs(z - slab.top_m)) < 1e-6
        assert np.mean(on_face) > 0.8
        assert ((z > slab.bottom_m - 1e-6) & (z < slab.top_m + 1e-6)).all()


def test_nothing_of_a_wall_lies_within_its_openings(exact: ScannedCloud) -> None:
    names = [element.name for element in exact.elements]
    for opening in exact.truth.openings:
        wall = exact.truth.wall(opening.wall_id)
        points = exact.points[exact.element == names.index(wall.wall_id)]
        along = (points[:, :2] - wall.start) @ (np.subtract(wall.end, wall.start) / wall.length_m)
        inside = (along > opening.from_m + 1e-5) & (along < opening.to_m - 1e-5)
        inside &= (points[:, 2] > opening.sill_m + 1e-5) & (points[:, 2] < opening.head_m - 1e-5)
        assert not inside.any()


def test_ranges_have_the_noise_asked_for(building: Building, noisy: ScannedCloud) -> None:
    local = (noisy.points - noisy.file_from_building[:3, 3]) @ noisy.file_from_building[:3, :3]
    stations = np.array([s.position_m for s in noisy.stations])[noisy.scan]
    rays = (local - stations) / np.linalg.norm(local - stations, axis=1, keepdims=True)
    cosine = np.abs(np.einsum("ij,ij->i", rays, building.mesh.normals()[noisy.triangle]))
    head_on = (noisy.element >= 0) & (cosine > 0.98)
    spread = offsets(building, noisy)[head_on]
    assert head_on.sum() > 2000
    assert 0.003 < spread.std() < 0.006
    assert np.abs(spread).max() < 0.05


def test_uneven_surfaces_wave_around_their_planes(building: Building) -> None:
    uneven = scan(building, dataclasses.replace(EXACT, waviness_m=0.006))
    found = offsets(building, uneven)
    assert np.abs(found).max() < 0.006 + 1e-9
    assert 0.0015 < found.std() < 0.004
    assert abs(found.mean()) < 0.001


def test_mixed_pixels_are_few_and_belong_to_nothing(noisy: ScannedCloud) -> None:
    share = np.mean(noisy.element == NO_ELEMENT)
    assert 0.002 < share < 0.05


def test_walls_hide_what_is_behind_them() -> None:
    """A closed box with a box in it: the inner one is not seen from outside, nor the outer one's outside from within."""
    mesh = MeshBuilder()
    for name in ("shell", "inner", "ground"):
        mesh.element(name, "wall")
    mesh.add(box((-2, -2, 0), (2, 2, 3), Placement()), "shell", GREY)
    mesh.add(box((-0.5, -0.5, 0.5), (0.5, 0.5, 1.5), Placement()), "inner", GREY)
    mesh.add(box((-9, -9, -1), (9, 9, -0.5), Placement()), "ground", GREY)
    made = mesh.done()
    columns, rows = grid_size(EXACT.step_rad)
    seen = scan_stations(made, [Station((5.0, 1.0, 1.5), -1, columns, rows)], EXACT)
    assert set(np.unique(seen.element)) == {0, 2}
    x, y = seen.points[seen.element == 0][:, :2].T
    assert (np.isclose(x, 2.0) | np.isclose(y, 2.0) | np.isclose(y, -2.0)).all()
    assert np.isclose(x, 2.0).sum() > 200
    within = scan_stations(made, [Station((1.5, 1.0, 1.5), 0, columns, rows)], EXACT)
    assert set(np.unique(within.element)) == {0, 1}


def test_panes_send_little_back_and_let_rays_pass() -> None:
    mesh = MeshBuilder()
    for name in ("pane", "behind"):
        mesh.element(name, "opening")
    mesh.add(box((2, -5, -5), (2.001, 5, 5), Placement()), "pane", GREY, glass=True)
    mesh.add(box((4, -5, -5), (4.1, 5, 5), Placement()), "behind", GREY)
    columns, rows = grid_size(EXACT.step_rad)
    seen = scan_stations(mesh.done(), [Station((0.0, 0.0, 0.0), 0, columns, rows)], EXACT)
    on_pane = np.mean(seen.element == 0)
    assert 0.02 < on_pane < 0.09
    assert np.isclose(seen.points[seen.element == 1, 0], 4.0).all()


def test_rays_cover_the_sphere_column_by_column() -> None:
    columns, rows = grid_size(0.02)
    rays = grid_rays(columns, rows, 0, columns).reshape(columns, rows, 3)
    assert np.allclose(np.linalg.norm(rays, axis=2), 1)
    assert (np.diff(rays[3, :, 2]) > 0).all()
    assert np.degrees(np.arcsin(rays[0, 0, 2])) == pytest.approx(-62, abs=1)
    step = np.arccos(np.clip(rays[0, 60] @ rays[0, 61], -1, 1))
    assert step == pytest.approx(0.02, rel=0.02)


def test_thinning_leaves_one_point_a_voxel_in_order(noisy: ScannedCloud, building: Building) -> None:
    spec = ScanSpec(spacing_m=0.1, angular_step_rad=0.03, seed=3)
    thin = scan(building, spec)
    local = (thin.points - thin.file_from_building[:3, 3]) @ thin.file_from_building[:3, :3]
    cells = np.floor((local - local.min(axis=0)) / 0.1)
    share = len(np.unique(cells, axis=0)) / len(cells)
    # The turn to and fro may move a point over a voxel's border.
    assert share > 0.9999
    assert len(thin.points) < 0.5 * len(noisy.points)
    order = thin.scan.astype(np.int64) * 10**9 + thin.cell
    assert (np.diff(order) > 0).all()


def test_thinning_by_nothing_is_nothing(building: Building) -> None:
    columns, rows = grid_size(0.05)
    station = Station((1.5, 1.5, 1.5), 0, columns, rows)
    returns = scan_stations(building.mesh, [station], ScanSpec(spacing_m=0.0, angular_step_rad=0.05))
    assert thinned(returns, 0.0) is returns
    assert len(thinned(returns, 100.0).points) == 1


def test_the_same_seed_scans_the_same(building: Building, noisy: ScannedCloud) -> None:
    again = scan(building, COARSE)
    assert (again.points == noisy.points).all()
    other = scan(building, ScanSpec(spacing_m=0.0, angular_step_rad=0.03, seed=4))
    assert other.stations != noisy.stations


def test_stations_stand_free_in_every_room_and_around(building: Building, noisy: ScannedCloud) -> None:
    spaces = building.truth.spaces
    for space in spaces:
        inside = Polygon(space.outline.outer)
        here = [s for s in noisy.stations if s.storey == space.storey and inside.contains(Point(s.position_m[:2]))]
        assert here, space.name
        assert all(1.4 < s.position_m[2] - space.floor_m < 1.8 for s in here)
    outdoors = [s for s in noisy.stations if s.storey < 0]
    outline = Polygon(building.truth.storeys[0].footprint.outer)
    assert len(outdoors) >= 4
    assert all(outline.distance(Point(s.position_m[:2])) > 3 for s in outdoors)
    for floor in building.floorspace:
        for station in noisy.stations:
            if station.storey == floor.storey:
                assert all(area.distance(Point(station.position_m[:2])) > 0.05 for area in floor.taken)


def test_every_station_sees_the_ceiling_above_it(exact: ScannedCloud) -> None:
    """None stands below a lamp."""
    above = {e.name for e in exact.elements if e.element_class in ("slab", "ceiling")}
    overhead = np.array([e.name in above for e in exact.elements])[exact.element]
    for number, station in enumerate(exact.stations):
        if station.storey < 0:
            continue
        relative = exact.points[(exact.scan == number) & overhead] - exact.scanners_m[number]
        near = (np.linalg.norm(relative[:, :2], axis=1) < 0.6) & (relative[:, 2] > 0.4)
        assert near.sum() > 300


@pytest.mark.parametrize(("coverage", "indoors", "outdoors"), [("indoors", True, False), ("outdoors", False, True)])
def test_coverage_says_from_where(building: Building, coverage: str, indoors: bool, outdoors: bool) -> None:
    spec = ScanSpec(spacing_m=0.0, angular_step_rad=0.08, coverage="indoors" if coverage == "indoors" else "outdoors")
    stations = scan(building, spec).stations
    assert any(s.storey >= 0 for s in stations) == indoors
    assert any(s.storey < 0 for s in stations) == outdoors


def test_a_building_on_a_survey_grid_is_the_same_building_elsewhere() -> None:
    here = make_building(BuildingSpec("garage", 1, yaw_deg=0.0))
    there = make_building(BuildingSpec("garage", 1, yaw_deg=37.0, offset_m=(-743210.25, -1043517.5, 251.3)))
    a, b = scan(here, COARSE), scan(there, COARSE)
    turned = a.points @ there.file_from_building[:3, :3].T + there.file_from_building[:3, 3]
    assert np.abs(turned - b.points).max() < 1e-8
    assert b.truth.storeys[0].floor_m == pytest.approx(251.3)
    assert b.truth.walls[0].start == pytest.approx((-743210.25, -1043517.5))
    assert np.linalg.norm(np.subtract(b.truth.walls[0].end, b.truth.walls[0].start)) == pytest.approx(
        here.truth.walls[0].length_m
    )
