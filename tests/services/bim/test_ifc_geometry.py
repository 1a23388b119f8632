"""What is in the file, measured by another way: IfcOpenShell's geometry engine, trimesh, and the drawing of the house."""

from pathlib import Path

import ifcopenshell
import ifcopenshell.util.element as elements
import ifcopenshell.util.placement as placements
import numpy as np
import pytest
import shapely
import trimesh
from shapely import Polygon, box

from services.bim.ifc.writer import ElementIds
from services.bim.model import Building
from tests.services.bim.handmade_house import (
    CEILING_M,
    GROUND_M,
    INSIDE,
    OUTSIDE,
    PARTITION_M,
    STAIRWELL,
    TOP_M,
    UPPER_M,
    Pose,
    house,
)
from tests.services.bim.ifc_meshes import Floats, meshes, open_ifc, plan
from tests.services.bim.test_ifc import write

NEAR_M3 = 1e-4


class Written:
    """A house as a file, and its elements as meshes: `cut` with openings, `solid` without."""

    def __init__(self, folder: Path, turn_deg: float) -> None:
        self.pose = Pose(turn_deg)
        self.building: Building = house(self.pose)
        self.ids: ElementIds = write(folder / "model.ifc", self.building)[0]
        self.model: ifcopenshell.file = open_ifc(folder / "model.ifc")
        self.cut = meshes(self.model)
        self.solid = meshes(self.model, cut=False)

    def mesh(self, model_id: str) -> trimesh.Trimesh:
        return self.cut[self.ids[model_id].global_id]

    def plan(self, model_id: str) -> shapely.geometry.base.BaseGeometry:
        return plan(self.solid[self.ids[model_id].global_id])

    def quantities(self, model_id: str, name: str) -> dict[str, float]:
        found = elements.get_pset(self.model.by_guid(self.ids[model_id].global_id), name)
        assert isinstance(found, dict)
        return found

    def drawn(self, area: shapely.geometry.base.BaseGeometry) -> shapely.geometry.base.BaseGeometry:
        """Something of the drawing, in the model's frame."""
        return shapely.transform(area, self.pose.points)


@pytest.fixture(scope="module", params=[0.0, 17.0, 133.0])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("geometry"), request.param)


def test_exterior_walls_fill_the_space_between_outside_and_inside(written: Written) -> None:
    for storey, height in ((0, CEILING_M - GROUND_M), (1, TOP_M - UPPER_M)):
        walls = [wall.wall_id for wall in written.building.walls if wall.storey == storey and wall.is_external]
        ring = shapely.union_all([written.plan(wall) for wall in walls])
        expected = written.drawn(OUTSIDE - INSIDE)
        assert ring.symmetric_difference(expected).area < 1e-4
        solid = sum(written.solid[written.ids[wall].global_id].volume for wall in walls)
        assert solid == pytest.approx(expected.area * height, abs=NEAR_M3)


def test_partitions_end_at_the_faces_they_meet(written: Written) -> None:
    """T at both ends, and an X in which one of the two runs through."""
    half = PARTITION_M / 2
    north_south = INSIDE.intersection(box(5 - half, 0, 5 + half, 8))
    east_west = INSIDE.intersection(box(0, 4 - half, 10, 4 + half))
    both = shapely.union_all([written.plan("0p0"), written.plan("0p1")])
    assert both.symmetric_difference(written.drawn(north_south | east_west)).area < 1e-4
    volume = sum(written.solid[written.ids[wall].global_id].volume for wall in ("0p0", "0p1"))
    assert volume == pytest.approx((north_south | east_west).area * (CEILING_M - GROUND_M), abs=NEAR_M3)


def test_a_star_of_walls_covers_its_middle_once(written: Written) -> None:
    star = [written.plan(wall) for wall in ("1p0", "1p1", "1p2")]
    assert shapely.union_all(star).area == pytest.approx(sum(part.area for part in star), abs=1e-6)
    middle = written.drawn(shapely.Point(4.0, 4.0).buffer(0.05))
    assert middle.difference(shapely.union_all(star).buffer(1e-6)).area < 1e-4


def test_no_two_walls_share_volume(written: Written) -> None:
    plans = {wall.wall_id: (wall.storey, written.plan(wall.wall_id)) for wall in written.building.walls}
    names = sorted(plans)
    shared = [
        (a, b, plans[a][1].intersection(plans[b][1]).area)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if plans[a][0] == plans[b][0]
    ]
    assert len(shared) == 21 + 28
    assert [each for each in shared if each[2] > 1e-6] == []


def test_net_volumes_are_those_of_the_meshes(written: Written) -> None:
    for wall in written.building.walls:
        measured = written.quantities(wall.wall_id, "Qto_WallBaseQuantities")
        mesh = written.mesh(wall.wall_id)
        assert mesh.is_watertight
        assert measured["NetVolume"] == pytest.approx(mesh.volume, abs=NEAR_M3)
        assert measured["GrossVolume"] == pytest.approx(
            written.solid[written.ids[wall.wall_id].global_id].volume, abs=NEAR_M3
        )
        assert measured["NetSideArea"] * wall.thickness_m == pytest.approx(mesh.volume, abs=NEAR_M3)
        assert measured["GrossFootprintArea"] == pytest.approx(written.plan(wall.wall_id).area, abs=1e-5)


def test_openings_take_what_was_drawn(written: Written) -> None:
    """Where no opening reaches into a join, what is missing is width times height times thickness."""
    walls = {wall.wall_id: wall for wall in written.building.walls}
    for wall_id in ("0e0", "0e2", "0p0", "1e3", "1p0"):
        own = [opening for opening in written.building.openings if opening.wall_id == wall_id]
        taken = sum(opening.width_m * opening.height_m for opening in own) * walls[wall_id].thickness_m
        missing = written.solid[written.ids[wall_id].global_id].volume - written.mesh(wall_id).volume
        assert missing == pytest.approx(taken, abs=NEAR_M3)
        assert taken > 0.1


def test_slabs_have_their_voids(written: Written) -> None:
    thickness = UPPER_M - CEILING_M
    assert written.mesh("s1").volume == pytest.approx((OUTSIDE - STAIRWELL).area * thickness, abs=NEAR_M3)
    measured = written.quantities("s1", "Qto_SlabBaseQuantities")
    assert measured["GrossArea"] == pytest.approx(OUTSIDE.area, abs=1e-5)
    assert measured["NetArea"] == pytest.approx((OUTSIDE - STAIRWELL).area, abs=1e-5)
    assert measured["Width"] == pytest.approx(thickness, abs=1e-6)
    assert written.mesh("s1").bounds[:, 2] == pytest.approx((CEILING_M, UPPER_M), abs=1e-5)
    kinds = {slab: written.model.by_guid(written.ids[slab].global_id).PredefinedType for slab in ("s0", "s1", "s2")}
    assert kinds == {"s0": "BASESLAB", "s1": "FLOOR", "s2": "ROOF"}


def test_rooms_have_the_areas_that_were_drawn(written: Written) -> None:
    for space in written.building.spaces:
        measured = written.quantities(space.space_id, "Qto_SpaceBaseQuantities")
        mesh = written.mesh(space.space_id)
        assert measured["GrossFloorArea"] == pytest.approx(space.area_m2, abs=1e-5)
        assert measured["GrossVolume"] == pytest.approx(space.volume_m3, abs=1e-4)
        assert mesh.volume == pytest.approx(space.volume_m3, abs=1e-3)
        assert mesh.bounds[:, 2] == pytest.approx((space.floor_m, space.ceiling_m), abs=1e-5)
    with_column = written.quantities("0r1", "Qto_SpaceBaseQuantities")
    assert with_column["GrossFloorArea"] - with_column["NetFloorArea"] == pytest.approx(0.30 * 0.40, abs=1e-5)


def test_columns_stand_where_they_were_drawn(written: Written) -> None:
    square, round_one = written.mesh("0c0"), written.mesh("0c1")
    height = CEILING_M - GROUND_M
    assert square.volume == pytest.approx(0.3 * 0.4 * height, abs=NEAR_M3)
    assert round_one.volume == pytest.approx(np.pi * 0.175**2 * height, rel=2e-3)
    drawn = written.drawn(box(7.35, 1.8, 7.65, 2.2))
    assert plan(square).symmetric_difference(drawn).area < 1e-5
    assert written.quantities("0c1", "Qto_ColumnBaseQuantities")["NetVolume"] == pytest.approx(
        np.pi * 0.175**2 * height, abs=1e-5
    )


def corners_in(mesh: trimesh.Trimesh, frame: Floats) -> Floats:
    """Bounds (2, 3) of a mesh in a frame given by its 4x4 matrix."""
    local = trimesh.transform_points(mesh.vertices, np.linalg.inv(frame))
    return np.array([local.min(axis=0), local.max(axis=0)])


def test_doors_and_windows_fit_their_openings(written: Written) -> None:
    walls = {wall.wall_id: wall for wall in written.building.walls}
    for opening in written.building.openings:
        entity = written.model.by_guid(written.ids[opening.opening_id].global_id)
        if entity.is_a("IfcOpeningElement"):
            continue
        hole = entity.FillsVoids[0].RelatingOpeningElement
        bounds = corners_in(written.mesh(opening.opening_id), placements.get_local_placement(hole.ObjectPlacement))
        half = walls[opening.wall_id].thickness_m / 2
        assert np.all(bounds[0] >= np.array([0, -half, 0]) - 1e-5)
        assert np.all(bounds[1] <= np.array([opening.width_m, half, opening.height_m]) + 1e-5)
        # The frame touches all sides of its opening.
        assert bounds[0][[0, 2]] == pytest.approx((0, 0), abs=1e-5)
        assert bounds[1][[0, 2]] == pytest.approx((opening.width_m, opening.height_m), abs=1e-5)
        assert (entity.OverallWidth, entity.OverallHeight) == pytest.approx(
            (opening.width_m, opening.height_m), abs=1e-6
        )
        assert hole.VoidsElements[0].RelatingBuildingElement.GlobalId == written.ids[opening.wall_id].global_id


def test_openings_lie_where_they_were_drawn(written: Written) -> None:
    walls = {wall.wall_id: wall for wall in written.building.walls}
    for opening in written.building.openings:
        wall = walls[opening.wall_id]
        middle = wall.start + wall.direction * (opening.from_m + opening.to_m) / 2
        mesh = written.mesh(opening.opening_id)
        offset = mesh.bounding_box_oriented.centroid - [*middle, (opening.sill_m + opening.head_m) / 2]
        assert abs(offset[:2] @ wall.direction) < 1e-4
        assert abs(offset[2]) < 1e-4
        assert abs(offset[:2] @ wall.normal) < wall.thickness_m / 2


def test_doors_open_along_their_y_axis_into_the_smaller_room(written: Written) -> None:
    """Of two rooms of the same size (0d1) it is the one on the wall's left; 0d0 leads in from outside.

    The hinge is at the jamb nearer to a corner of the room, and the frame's origin in the wall's other face.
    """
    rooms = {space.space_id: Polygon(space.outline.outer) for space in written.building.spaces}
    for door_id, room_id, hinge in (
        ("0d0", "0r0", (3.16, 0.0)),
        ("0d1", "0r0", (5.0575, 0.35)),
        ("1d0", "1r0", (3.88, 2.3)),
    ):
        entity = written.model.by_guid(written.ids[door_id].global_id)
        frame = placements.get_local_placement(entity.ObjectPlacement)
        leads_to = frame @ [entity.OverallWidth / 2, 1.0, 0.0, 1.0]
        assert rooms[room_id].contains(shapely.Point(leads_to[:2])), door_id
        assert not rooms[room_id].contains(shapely.Point((frame @ [entity.OverallWidth / 2, -1.0, 0.0, 1.0])[:2]))
        at_x = 0.0 if entity.OperationType == "SINGLE_SWING_LEFT" else entity.OverallWidth
        hinged = frame @ [at_x, 0.0, 0.0, 1.0]
        expected = written.pose.points(np.array([hinge]))[0]
        assert hinged[:2] == pytest.approx(expected, abs=1e-5), door_id


def test_joins_say_where_walls_meet(written: Written) -> None:
    names = {element.global_id: model_id for model_id, element in written.ids.items()}
    found = {
        tuple(
            sorted(
                (
                    (names[rel.RelatingElement.GlobalId], rel.RelatingConnectionType),
                    (names[rel.RelatedElement.GlobalId], rel.RelatedConnectionType),
                )
            )
        )
        for rel in written.model.by_type("IfcRelConnectsPathElements")
    }
    around = {
        tuple(sorted(((f"{storey}e{i}", "ATEND"), (f"{storey}e{(i + 1) % 5}", "ATSTART"))))
        for storey in (0, 1)
        for i in range(5)
    }
    assert found == around | {
        (("0e0", "ATPATH"), ("0p0", "ATSTART")),
        (("0e3", "ATPATH"), ("0p0", "ATEND")),
        (("0e4", "ATPATH"), ("0p1", "ATSTART")),
        (("0e1", "ATPATH"), ("0p1", "ATEND")),
        (("0p0", "ATPATH"), ("0p1", "ATPATH")),
        (("1e0", "ATPATH"), ("1p0", "ATSTART")),
        (("1p0", "ATEND"), ("1p1", "ATSTART")),
        (("1p0", "ATEND"), ("1p2", "ATSTART")),
        (("1p1", "ATSTART"), ("1p2", "ATSTART")),
    }


def test_axes_are_the_centre_lines(written: Written) -> None:
    walls = {wall.wall_id: wall for wall in written.building.walls}
    for wall_id, wall in walls.items():
        entity = written.model.by_guid(written.ids[wall_id].global_id)
        (axis,) = (r for r in entity.Representation.Representations if r.RepresentationIdentifier == "Axis")
        frame = placements.get_local_placement(entity.ObjectPlacement)
        points = np.array([[*point.Coordinates, 0, 1] for point in axis.Items[0].Points]) @ frame.T
        assert points[:, :2] == pytest.approx(np.array([wall.start, wall.end]), abs=1e-5)


def test_boundaries_lie_on_the_room_and_on_what_bounds_it(written: Written) -> None:
    boundaries = written.model.by_type("IfcRelSpaceBoundary1stLevel")
    names = {element.global_id: model_id for model_id, element in written.ids.items()}
    walled: dict[str, float] = {}
    for rel in boundaries:
        space_id, element_id = names[rel.RelatingSpace.GlobalId], names[rel.RelatedBuildingElement.GlobalId]
        plane = rel.ConnectionGeometry.SurfaceOnRelatingElement
        frame = placements.get_local_placement(rel.RelatingSpace.ObjectPlacement) @ placements.get_axis2placement(
            plane.BasisSurface.Position
        )
        ring = np.array([point.Coordinates for point in plane.OuterBoundary.Points])
        corners = np.column_stack([ring, np.zeros(len(ring)), np.ones(len(ring))]) @ frame.T
        middle = corners[:-1, :3].mean(axis=0)
        room = written.mesh(space_id)
        _, to_room, _ = trimesh.proximity.closest_point_naive(room, [middle])
        assert to_room[0] < 1e-4
        # The plane looks out of the room.
        assert not room.contains([middle + 0.02 * frame[:3, 2]])[0]
        assert room.contains([middle - 0.02 * frame[:3, 2]])[0]
        if element_id[1] in "ep" and rel.PhysicalOrVirtualBoundary == "PHYSICAL":
            walled[space_id] = walled.get(space_id, 0.0) + shapely.Polygon(ring).area
    for space in written.building.spaces:
        if space.storey == 0:
            whole = Polygon(space.outline.outer).length * (space.ceiling_m - space.floor_m)
            assert walled[space.space_id] == pytest.approx(whole, rel=1e-3)


def test_doors_connect_rooms_through_their_boundaries(written: Written) -> None:
    names = {element.global_id: model_id for model_id, element in written.ids.items()}
    through: dict[str, set[str]] = {}
    for rel in written.model.by_type("IfcRelSpaceBoundary1stLevel"):
        element = names[rel.RelatedBuildingElement.GlobalId]
        if element[1] in "dw" or element == "0p2":
            through.setdefault(element, set()).add(names[rel.RelatingSpace.GlobalId])
            assert rel.ParentBoundary.RelatedBuildingElement.is_a("IfcWall")
            assert rel.PhysicalOrVirtualBoundary == ("VIRTUAL" if element == "0p2" else "PHYSICAL")
            wall = next(opening.wall_id for opening in written.building.openings if opening.opening_id == element)
            assert rel.InternalOrExternalBoundary == ("EXTERNAL" if wall[1] == "e" else "INTERNAL")
    assert through["0d0"] == {"0r0"}
    assert through["0d1"] == {"0r0", "0r1"}
    assert through["0d2"] == {"0r0", "0r3"}
    assert through["0p2"] == {"0r1", "0r2"}
    assert through["0w1"] == {"0r2"}
