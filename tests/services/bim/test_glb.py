"""model.glb: every element, in its place, in its colour, +y up."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from services.bim import glb
from services.bim.ifc.writer import ElementIds
from services.bim.model import Building
from tests.services.bim.handmade_house import BASE_M, CEILING_M, GROUND_M, OUTSIDE, ROOF_M, TOP_M, UPPER_M, Pose, house
from tests.services.bim.ifc_meshes import meshes, open_ifc
from tests.services.bim.test_ifc import write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ElementIds]:
    folder = tmp_path_factory.mktemp("glb")
    ids, _ = write(folder / "model.ifc", house())
    glb.main(folder / "model.ifc", folder / "model.glb")
    return folder / "model.ifc", folder / "model.glb", ids


def load(path: Path) -> trimesh.Scene:
    scene = trimesh.load_scene(path)
    assert isinstance(scene, trimesh.Scene)
    return scene


def test_bounds_are_those_of_the_building(made: tuple[Path, Path, ElementIds]) -> None:
    corners = Pose().points(np.asarray(OUTSIDE.exterior.coords))
    low, high = load(made[1]).bounds
    # A leaf or a window never stands out of the walls.
    assert low == pytest.approx((corners[:, 0].min(), BASE_M, -corners[:, 1].max()), abs=1e-4)
    assert high == pytest.approx((corners[:, 0].max(), ROOF_M, -corners[:, 1].min()), abs=1e-4)


def test_every_element_is_where_the_ifc_file_has_it(made: tuple[Path, Path, ElementIds]) -> None:
    ifc_file, glb_file, ids = made
    expected = meshes(open_ifc(ifc_file))
    scene = load(glb_file)
    parts: dict[str, list[trimesh.Trimesh]] = {}
    for node in scene.graph.nodes_geometry:
        transform, geometry = scene.graph[node]
        name = node if node in {element.name for element in ids.values()} else node.rsplit("_", 1)[0]
        parts.setdefault(name, []).append(scene.geometry[geometry].copy().apply_transform(transform))
    shown = {e.name: e for e in ids.values() if e.ifc_class not in ("IfcSpace", "IfcOpeningElement")}
    assert set(parts) == set(shown)
    for name, element in shown.items():
        together = trimesh.util.concatenate(parts[name])
        low, high = expected[element.global_id].bounds
        assert together.bounds[0] == pytest.approx((low[0], low[2], -high[1]), abs=1e-3)
        assert together.bounds[1] == pytest.approx((high[0], high[2], -low[1]), abs=1e-3)


def test_walls_have_their_openings(made: tuple[Path, Path, ElementIds]) -> None:
    scene = load(made[1])
    transform, geometry = scene.graph["W-0-001"]
    wall = scene.geometry[geometry].copy().apply_transform(transform)
    wall.merge_vertices()
    gross = (10 * 0.3 - 0.3**2) * (CEILING_M - GROUND_M)
    holes = (1.01 * 2.13 + 3.3 * 1.3) * 0.3
    assert wall.volume == pytest.approx(gross - holes, abs=1e-3)


def test_each_class_has_its_colour(made: tuple[Path, Path, ElementIds]) -> None:
    colours = {}
    for mesh in load(made[1]).geometry.values():
        material = mesh.visual.material
        colours[material.name] = (tuple(material.baseColorFactor.tolist()), material.alphaMode)
    assert set(colours) == {"Exterior wall", "Interior wall", "Slab", "Roof", "Column", "Door", "Frame", "Glass"}
    assert len({colour for colour, _ in colours.values()}) == len(colours)
    assert colours["Glass"][1] == "BLEND"
    assert colours["Glass"][0][3] < 255
    assert all(colour[3] == 255 for name, (colour, _) in colours.items() if name != "Glass")


def test_the_same_file_every_time(made: tuple[Path, Path, ElementIds], tmp_path: Path) -> None:
    glb.main(made[0], tmp_path / "again.glb")
    assert (tmp_path / "again.glb").read_bytes() == made[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.glb"]


def test_a_model_without_a_body_is_refused(tmp_path: Path) -> None:
    building = house()
    write(tmp_path / "empty.ifc", Building(building.storeys, ()))
    with pytest.raises(ValueError, match="no element to show"):
        glb.main(tmp_path / "empty.ifc", tmp_path / "empty.glb")
    assert not (tmp_path / "empty.glb").exists()


def test_the_house_is_as_high_as_drawn() -> None:
    """The truth that the bounds are compared with."""
    assert BASE_M < GROUND_M < CEILING_M < UPPER_M < TOP_M < ROOF_M
