"""The skin of a building: closed, of the right volume and area, and every face with its owner."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import box as rectangle
from shapely.geometry.base import BaseGeometry

from samples.building import BuildingSpec, make_building
from samples.building_catalogue import CATALOGUE, draw_plan
from samples.building_fittings import CONCRETE, PLASTER, REVEAL, add_structure
from samples.building_plan import BuildingPlan, joined_areas, wall_solids
from samples.building_surfaces import BuildingMesh, Cut, MeshBuilder, Placement, Solid, add_solids, ball, box, cylinder


def volume(triangles: NDArray[np.float64]) -> float:
    """Of a closed surface with outward normals (divergence theorem)."""
    a, b, c = np.moveaxis(triangles - triangles.reshape(-1, 3).mean(axis=0), 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def area_of(mesh: BuildingMesh, name: str) -> float:
    names = [element.name for element in mesh.elements]
    return float(mesh.areas()[mesh.element == names.index(name)].sum())


def structure(plan: BuildingPlan) -> BuildingMesh:
    mesh = MeshBuilder()
    add_structure(mesh, plan)
    return mesh.done()


def test_shapes_have_their_volumes() -> None:
    place = Placement(3.0, -2.0, 1.0, 0.7)
    assert volume(box((0, 0, 0), (1, 2, 3), place)) == pytest.approx(6)
    assert volume(cylinder(0.5, 0.0, 2.0, place, 64)) == pytest.approx(np.pi / 2, rel=2e-3)
    assert volume(ball(1.0, place, 40, 80)) == pytest.approx(4 / 3 * np.pi, rel=5e-3)


def test_a_wall_with_a_window_has_the_faces_that_one_can_touch() -> None:
    mesh = MeshBuilder()
    for name in ("wall", "slab"):
        mesh.element(name, "wall")
    mesh.element("window", "opening")
    wall = Solid("wall", rectangle(0, 0, 4, 0.3), 0.0, 2.5, PLASTER, 1)
    slab = Solid("slab", rectangle(-1, -1, 5, 1), -0.2, 0.0, CONCRETE, 3)
    hole = Cut("window", "wall", rectangle(1, -0.01, 2.2, 0.31), 0.9, 2.1, REVEAL)
    add_solids(mesh, [wall, slab], [hole])
    made = mesh.done()
    assert volume(made.triangles) == pytest.approx(4 * 2.5 * 0.3 + 6 * 2 * 0.2 - 1.2 * 1.2 * 0.3)
    # Two sides less the hole, two ends, the top; the bottom stands on the slab.
    assert area_of(made, "wall") == pytest.approx(2 * (4 * 2.5 - 1.44) + 2 * 0.3 * 2.5 + 4 * 0.3)
    assert area_of(made, "window") == pytest.approx(4 * 1.2 * 0.3)
    assert area_of(made, "slab") == pytest.approx(2 * 12 - 4 * 0.3 + 2 * (6 + 2) * 0.2)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_structure_is_closed_and_of_the_right_volume(name: str) -> None:
    plan = draw_plan(name, 4)
    made = structure(plan)
    holes = sum(
        o.width_m * (o.head_m - o.sill_m) * s.walls[o.wall].thickness_m for s in plan.storeys for o in s.openings
    )
    assert volume(made.triangles) == pytest.approx(matter(plan) - holes, rel=1e-5)


def matter(plan: BuildingPlan) -> float:
    """Cubic metres of all walls, slabs and columns, what they share counted once."""
    parts: list[tuple[BaseGeometry, float, float]] = [(s.outline, s.bottom_m, s.top_m) for s in plan.slabs]
    for storey in plan.storeys:
        solids = wall_solids(storey.walls)
        parts += [(solids[w.name], w.base_m, w.top_m) for w in storey.walls.values()]
        parts += [(c.outline(), c.base_m, c.top_m) for c in storey.columns]
    levels = sorted({round(z, 9) for _, bottom, top in parts for z in (bottom, top)})
    return sum(
        joined_areas(area for area, bottom, top in parts if bottom < (low + high) / 2 < top).area * (high - low)
        for low, high in itertools.pairwise(levels)
    )


@pytest.mark.parametrize("name", ["two_storey_house", "skewed_house", "curved_house", "attached_house"])
def test_faces_lie_on_the_walls_that_own_them(name: str) -> None:
    building = make_building(BuildingSpec(name, 3, furnished=False))
    mesh, normals = building.mesh, building.mesh.normals()
    walls = {w.wall_id: w for w in building.truth.walls}
    upright = np.abs(normals[:, 2]) < 1e-9
    checked = 0
    for index, element in enumerate(mesh.elements):
        if element.element_class != "wall":
            continue
        wall = walls[element.name]
        along = np.subtract(wall.end, wall.start) / wall.length_m
        left = np.array([-along[1], along[0]])
        sides = (mesh.element == index) & upright & (np.abs(normals[:, :2] @ left) > 0.999)
        corners = mesh.triangles[sides].reshape(-1, 3)
        across = (corners[:, :2] - wall.start) @ left
        assert np.abs(np.abs(across) - wall.thickness_m / 2).max() < 1e-5
        assert corners[:, 2].min() == pytest.approx(wall.base_m)
        assert corners[:, 2].max() == pytest.approx(wall.top_m)
        checked += len(corners)
    assert checked > 100


def test_the_faces_of_a_wall_have_the_area_of_the_plan() -> None:
    """A partition between two storeys' slabs: both sides less its doors, whatever it is cut into."""
    building = make_building(BuildingSpec("two_storey_house", 1, furnished=False))
    mesh, plan = building.mesh, building.plan
    storey = plan.storeys[0]
    wall = storey.walls["w0.west"]
    left = storey.walls["w0.left"].thickness_m / 2
    outer = storey.walls["w0.e3"].thickness_m / 2
    doors = sum(o.width_m * (o.head_m - o.sill_m) for o in storey.openings if o.wall == wall.name)
    clear = wall.length_m - left - outer
    expected = 2 * (clear * (wall.top_m - wall.base_m) - doors)
    assert area_of(mesh, wall.name) == pytest.approx(expected, rel=1e-5)
