"""Floor plans: true to scale, complete, the same every time; and their numbers."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings, IfcSettings
from services.bim.model import Building, Polygon
from services.bim.plans import drawing
from services.bim.plans import sheet as sheets
from services.bim.plans import storey as storeys
from services.bim.plans.drawing import Title
from services.bim.plans.pen import DPI
from services.bim.plans.sheet import HEIGHT_MM, WIDTH_MM, Sheet
from tests.services.bim.handmade_house import OUTSIDE, PARTITION_M, Pose, house
from tests.services.bim.test_ifc import CREATED, manifest, shifted

TITLE = Title("House on the hill", "Main building", "Ada Brunel", "scan.e57", "2026-11-21", None)
WALL = (61, 61, 61)
PAPER = (255, 255, 255)
ROOM = (246, 244, 239)

Bytes = NDArray[np.uint8]


class Drawn:
    """A plan as pixels, and where things of the drawing of the house lie on it."""

    def __init__(self, folder: Path, building: Building, storey: int = 0, title: Title = TITLE) -> None:
        self.png, self.svg = folder / "plan.png", folder / "plan.svg"
        drawing.main(building, storey, self.png, self.svg, title)
        picture = cv2.imread(str(self.png))
        assert picture is not None
        self.pixels: Bytes = np.asarray(picture[:, :, ::-1], np.uint8)
        north = None if title.north is None else np.array(title.north)
        self.sheet: Sheet = sheets.choose(building, north)

    def at(self, x: float, y: float) -> tuple[int, ...]:
        """The colour at a place of the drawing, (r, g, b)."""
        mm = self.sheet.place(Pose().points(np.array([[x, y]])))[0]
        row, column = int((HEIGHT_MM - mm[1]) * DPI / 25.4), int(mm[0] * DPI / 25.4)
        return tuple(int(value) for value in self.pixels[row, column])

    def words(self) -> list[str]:
        """All texts of the SVG."""
        root = ElementTree.fromstring(self.svg.read_text(encoding="utf-8"))
        return [(element.text or "").strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn(tmp_path_factory.mktemp("plan"), house())


def test_the_sheet_is_a3(ground: Drawn) -> None:
    height, width = ground.pixels.shape[:2]
    assert (width, height) == (int(WIDTH_MM / 25.4 * DPI), int(HEIGHT_MM / 25.4 * DPI))
    assert DPI >= 150
    root = ElementTree.fromstring(ground.svg.read_text(encoding="utf-8"))
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(WIDTH_MM / 25.4 * 72, rel=1e-3)
    assert width / height == pytest.approx(np.sqrt(2), rel=2e-3)


@pytest.mark.parametrize("turn_deg", [0.0, 17.0, 45.0, 90.0, 133.0, 200.0])
def test_the_building_lies_straight_and_to_scale(turn_deg: float) -> None:
    pose = Pose(turn_deg)
    sheet = sheets.choose(house(pose), None)
    corners = sheet.place(pose.points(np.asarray(OUTSIDE.exterior.coords)[:-1]))
    assert sheet.scale == 50
    assert np.ptp(corners, axis=0) == pytest.approx((10_000 / 50, 8_000 / 50), abs=0.01)
    assert corners[:, 0].min() > sheets.BORDER_MM + sheets.CHAINS_MM
    assert corners[:, 1].min() > sheets.BORDER_MM + sheets.TITLE_MM + sheets.CHAINS_MM
    assert corners[:, 0].max() < WIDTH_MM - sheets.BORDER_MM - sheets.CHAIN_MM
    assert corners[:, 1].max() < HEIGHT_MM - sheets.BORDER_MM - sheets.CHAIN_MM
    assert np.linalg.det(sheet.turn) == pytest.approx(1.0)


def test_all_storeys_share_the_sheet() -> None:
    building = house()
    assert sheets.choose(building, None).scale == 50
    taller = replace(building, walls=tuple(w for w in building.walls if w.storey == 0))
    np.testing.assert_allclose(sheets.choose(taller, None).middle_m, sheets.choose(building, None).middle_m)


def test_walls_are_filled_and_openings_are_not(ground: Drawn) -> None:
    assert ground.at(1.0, 0.15) == WALL
    assert ground.at(9.85, 2.0) == WALL
    assert ground.at(7.6, 7.305) == WALL
    assert ground.at(8.975, 6.30) == PAPER
    assert ground.at(5.0, 3.0) == WALL
    assert ground.at(2.5, 4.0) == PAPER
    assert ground.at(0.9, 4.0) == WALL
    assert ground.at(2.6, 0.08) == PAPER
    assert ground.at(7.9, 0.06) == PAPER
    assert ground.at(6.9, 4.0) == ROOM
    # A window with its sill above the cut leaves its wall filled.
    assert ground.at(0.22, 2.5) == WALL
    assert ground.at(1.0, 1.0) == ROOM
    assert ground.at(-1.0, 1.0) == PAPER


def test_columns_and_stairwells(ground: Drawn, tmp_path: Path) -> None:
    assert ground.at(7.5, 2.0) == (27, 27, 27)
    assert ground.at(2.5, 6.0) == (27, 27, 27)
    upper = Drawn(tmp_path, house(), 1)
    assert upper.at(1.3, 6.2) == PAPER
    assert upper.at(7.5, 2.0) == ROOM


def test_the_door_leaf_stands_in_the_room_it_opens_into(ground: Drawn) -> None:
    """0d0 is hinged at x = 3.16 on the inner face, y = 0.30, and 1.01 wide: leaf along x = 3.16, arc around it."""
    turn = np.radians(45)
    arc = (3.16 - 1.01 * np.cos(turn), 0.30 + 1.01 * np.sin(turn))
    around = [ground.at(arc[0] + dx, arc[1] + dx) for dx in np.linspace(-0.02, 0.02, 9)]
    assert min(sum(colour) for colour in around) < 500
    along = [ground.at(3.16 + dx, 0.8) for dx in np.linspace(-0.06, 0.03, 25)]
    assert min(sum(colour) for colour in along) < 300
    assert ground.at(2.2, -0.5) == PAPER


def test_rooms_tell_number_area_and_height(ground: Drawn) -> None:
    words = ground.words()
    assert {"Room 0.01", "Room 0.02", "Room 0.03", "Room 0.04"} <= set(words)
    area = (5 - 0.3 - PARTITION_M / 2) * (4 - 0.3 - PARTITION_M / 2)
    assert words.count(f"{area:.2f} m²") == 3
    assert words.count("h 2.60") == 4
    assert "4.64 × 3.64" in words


def test_dimensions_overall_and_in_chains(ground: Drawn) -> None:
    words = ground.words()
    assert {"10.00", "8.00"} <= set(words)
    # South: corner, door, pier, window, corner.
    for number in ("2.15", "1.01", "2.59", "3.30", "0.95"):
        assert number in words
    # Walls behind: 0.30 | 4.64 | 0.12 | 4.64 | 0.30.
    assert words.count("4.64") == 2
    # The slanting wall, 3.905 m: 1.80 of it a window.
    assert "1.80" in words
    chain = [float(word) for word in words if re.fullmatch(r"\d+\.\d\d", word)]
    assert all(number > 0.02 for number in chain)


def test_the_title_block(ground: Drawn, tmp_path: Path) -> None:
    words = set(ground.words())
    assert {
        "House on the hill",
        "Main building",
        "Floor plan: Ground floor",
        "±0.00 m",
        "Ada Brunel",
        "1:50 (A3)",
    } <= words
    assert {"+2.85 m", "Floor plan: Floor 1"} <= set(Drawn(tmp_path, house(), 1).words())
    assert "N" not in words


def test_north_is_shown_where_a_map_is_known(tmp_path: Path) -> None:
    settings = BuildingSettings(ifc=IfcSettings(project_name="P", author_surname="Brunel"))
    known = drawing.title_of(manifest(shifted(5e5, 6e6, 0), crs="EPSG:25833"), settings, CREATED)
    assert known == Title("P", "Building", "Brunel", "house.ply", "2026-11-21", (0.0, 1.0))
    assert "N" in Drawn(tmp_path, house(), title=known).words()
    assert drawing.title_of(manifest(shifted(5e5, 6e6, 0)), settings, CREATED).north is None


@pytest.mark.parametrize("turn_deg", [17.0, 100.0, 190.0, 300.0])
def test_north_points_up_rather_than_down(turn_deg: float) -> None:
    north = np.array([0.0, 1.0])
    assert sheets.choose(house(Pose(turn_deg)), north).direction(north)[1] > 0


def test_names_are_not_formulas_and_long_ones_are_cut(tmp_path: Path) -> None:
    title = replace(TITLE, project="$\\frac{1}{2}$ <b>&amp; 東京 " + "x" * 300, source="%s {0} \\n")
    words = Drawn(tmp_path, house(), title=title).words()
    project = next(word for word in words if word.startswith("$"))
    assert project.startswith("$\\frac{1}{2}$ <b>&amp; 東京 x")
    assert project.endswith("…")
    assert len(project) < 60
    assert "%s {0} \\n" in words


def test_the_same_drawing_every_time_and_no_trace_in_matplotlib(tmp_path: Path, ground: Drawn) -> None:
    before = dict(mpl.rcParams)
    (tmp_path / "again").mkdir()
    again = Drawn(tmp_path / "again", house())
    assert dict(mpl.rcParams) == before
    assert again.png.read_bytes() == ground.png.read_bytes()
    assert again.svg.read_bytes() == ground.svg.read_bytes()


def test_a_storey_without_walls_shows_its_footprint(tmp_path: Path) -> None:
    building = house()
    bare = Building(building.storeys, building.slabs)
    drawn = Drawn(tmp_path, bare, 1)
    edge = [drawn.at(x, 3.0) for x in np.linspace(-0.05, 0.05, 41)]
    assert min(sum(colour) for colour in edge) < 600


def test_an_unknown_storey_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no storey 7"):
        drawing.main(house(), 7, tmp_path / "plan.png", tmp_path / "plan.svg", TITLE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("with_walls", [True, False])
def test_a_storey_in_which_nothing_was_found_is_an_empty_sheet(tmp_path: Path, with_walls: bool) -> None:
    building = house()
    empty = tuple(replace(storey, footprint=Polygon(np.empty((0, 2)))) for storey in building.storeys)
    walls = tuple(wall for wall in building.walls if wall.storey == 0 and with_walls)
    found = Building(empty, building.slabs, walls)
    drawing.main(found, 1, tmp_path / "plan.png", tmp_path / "plan.svg", TITLE)
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert sheets.choose(found, None).scale == sheets.choose(building, None).scale


def test_a_large_building_gets_a_smaller_scale() -> None:
    building = house()
    far = replace(building.walls[0], wall_id="far", start=np.array([150.0, 0.0]), end=np.array([150.0, 10.0]))
    sheet = sheets.choose(replace(building, walls=(*building.walls, far)), None)
    assert sheet.scale == 500
    corners = sheet.place(np.array([[150.0, 0.0], [150.0, 10.0]]))
    assert corners[:, 0].max() < WIDTH_MM - sheets.BORDER_MM
    assert corners.min() > sheets.BORDER_MM


def test_outer_faces_are_as_long_as_the_house_is_outside() -> None:
    plan = storeys.main(house(), 0)
    lengths = {face.wall.wall_id: float(np.linalg.norm(face.end - face.start)) for face in storeys.outer_faces(plan)}
    assert lengths == {
        "0e0": pytest.approx(10.0, abs=1e-4),
        "0e1": pytest.approx(5.5, abs=1e-4),
        "0e2": pytest.approx(np.hypot(3, 2.5), abs=1e-4),
        "0e3": pytest.approx(7.0, abs=1e-4),
        "0e4": pytest.approx(8.0, abs=1e-4),
    }
    inner = np.array([5.0, 3.0])
    for face in storeys.outer_faces(plan):
        middle = (face.start + face.end) / 2
        assert (middle - Pose().points(inner[None])[0]) @ face.outward > 0
