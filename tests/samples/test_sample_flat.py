"""The building is what its plan says: checked by rays against planes worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from samples import plan
from samples.flat import Flat
from samples.render import RayCaster
from samples.surfaces import Patches

Point = Sequence[float] | NDArray[np.float64]


def structure_of(patches: Patches) -> Patches:
    keep = patches.structure
    return Patches(*(getattr(patches, name)[keep] for name in Patches.__dataclass_fields__))


@pytest.fixture(scope="module")
def structure(flat: Flat) -> RayCaster:
    return RayCaster(structure_of(flat.patches))


def distance(caster: RayCaster, origin: Point, direction: Point) -> float:
    """How far the next surface is; infinitely far where there is none."""
    rays = np.array([direction], np.float64)
    start = np.array(origin)
    hits = caster.cast(start[None].astype(np.float32), rays.astype(np.float32))
    return float(caster.exact_distance(hits, start, rays)[0]) if hits.patch[0] >= 0 else np.inf


@pytest.mark.parametrize("room", plan.ROOMS, ids=lambda room: room.name)
def test_rooms_end_where_the_plan_says(structure: RayCaster, room: plan.Room) -> None:
    x, y = (room.low_m[0] + room.high_m[0]) / 2, (room.low_m[1] + room.high_m[1]) / 2
    z = 2.4  # above every opening
    assert distance(structure, (x, y, z), (1, 0, 0)) == pytest.approx(room.high_m[0] - x, abs=1e-12)
    assert distance(structure, (x, y, z), (-1, 0, 0)) == pytest.approx(x - room.low_m[0], abs=1e-12)
    assert distance(structure, (x, y, z), (0, 1, 0)) == pytest.approx(room.high_m[1] - y, abs=1e-12)
    assert distance(structure, (x, y, z), (0, -1, 0)) == pytest.approx(y - room.low_m[1], abs=1e-12)
    assert distance(structure, (x, y, z), (0, 0, 1)) == pytest.approx(room.height_m - z, abs=1e-12)
    assert distance(structure, (x, y, z), (0, 0, -1)) == pytest.approx(z, abs=1e-12)


@pytest.mark.parametrize("opening", plan.OPENINGS, ids=lambda opening: opening.name)
def test_openings_are_holes_of_exactly_their_size(structure: RayCaster, opening: plan.Opening) -> None:
    low, high = (np.array(corner) for corner in plan.opening_box(opening))
    wall = plan.wall_named(opening.wall)
    across = 1 if wall.direction == "x" else 0
    along = 1 - across
    middle = (low + high) / 2
    direction = np.zeros(3)
    direction[across] = 1.0
    depth = high[across] - low[across]
    assert depth == pytest.approx(wall.thickness_m)
    for axis, sign in ((along, 1), (along, -1), (2, 1), (2, -1)):
        edge = high[axis] if sign > 0 else low[axis]
        inside, outside = middle.copy(), middle.copy()
        inside[axis], outside[axis] = edge - sign * 0.01, edge + sign * 0.01
        for point in (inside, outside):
            point[across] = low[across] - 0.05
        assert distance(structure, inside, direction) > depth + 0.05
        if axis == along or edge > 0:  # below a door's threshold there is the floor, not the wall
            assert distance(structure, outside, direction) == pytest.approx(0.05, abs=1e-12)
        # The reveal closes the hole towards the wall.
        sideways = np.zeros(3)
        sideways[axis] = sign
        assert distance(structure, middle, sideways) == pytest.approx(abs(edge - middle[axis]), abs=1e-12)


def test_openings_lie_within_their_walls() -> None:
    for opening in plan.OPENINGS:
        wall = plan.wall_named(opening.wall)
        along = 0 if wall.direction == "x" else 1
        assert wall.low_m[along] < opening.from_m < opening.to_m < wall.high_m[along]
        assert 0 <= opening.sill_m < opening.head_m < wall.height_m


def test_rooms_and_walls_fill_the_footprint_without_overlap() -> None:
    def area(low: tuple[float, float], high: tuple[float, float]) -> float:
        return (high[0] - low[0]) * (high[1] - low[1])

    boxes = [(part.low_m, part.high_m) for part in (*plan.ROOMS, *plan.WALLS)]
    assert sum(area(*box) for box in boxes) == pytest.approx(area(*plan.FOOTPRINT_M), abs=1e-9)
    for k, (low_a, high_a) in enumerate(boxes):
        for low_b, high_b in boxes[k + 1 :]:
            gaps = [max(low_a[i], low_b[i]) - min(high_a[i], high_b[i]) for i in (0, 1)]
            assert max(gaps) > -1e-9


def test_every_patch_has_an_area_and_a_texture(flat: Flat) -> None:
    patches = flat.patches
    area: NDArray[np.float64] = np.linalg.norm(np.cross(patches.edge_u, patches.edge_v), axis=1)
    assert area.min() > 1e-6
    assert np.allclose(np.linalg.norm(patches.normals(), axis=1), 1)
    assert patches.texture.max() < len(flat.atlas.names)


def test_triangles_tile_their_patches(flat: Flat) -> None:
    triangles, patch = flat.patches.triangles()
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    whole = np.linalg.norm(np.cross(flat.patches.edge_u, flat.patches.edge_v), axis=1)
    whole[flat.patches.triangular] /= 2
    assert np.bincount(patch, area) == pytest.approx(whole)
