"""Points that are drawn on known elements get their labels back."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.building_settings import BuildingSettings
from contracts.clouds import CLOUD_MANIFEST_NAME, POINTS_NAME, CloudManifest
from contracts.progress import Silence
from services.bim import labels
from services.bim.cloud import CanonicalCloud, open_cloud
from services.bim.labels import Labels
from services.bim.model import Building, Column, Opening, OpeningKind, Polygon, Slab, SlabKind, Storey, Wall

Floats = NDArray[np.float64]
SQUARE = np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 4.0], [0.0, 4.0]])


def building() -> Building:
    """A wall along x at y = 0 with a door, a slab below, a round and a square column."""
    wall = Wall("wall", 0, np.array([0.0, 0.0]), np.array([6.0, 0.0]), 0.2, 0.0, 2.5, False, 2, 0.002, 1.0)
    return Building(
        storeys=(Storey(0, "Storey 0", 0.0, 2.5, Polygon(SQUARE)),),
        slabs=(Slab("slab", SlabKind.FLOOR, 0, Polygon(SQUARE), -0.3, 0.0, True, False, 1.0),),
        walls=(wall,),
        openings=(Opening("door", "wall", 0, OpeningKind.DOOR, 2.0, 3.0, 0.0, 2.1, 1.0),),
        columns=(
            Column("round", 0, np.array([2.0, 2.0]), (0.4, 0.4), 0.0, 0.0, 2.5, True, 1.0),
            Column("square", 0, np.array([4.0, 2.0]), (0.4, 0.3), 0.5, 0.0, 2.5, False, 1.0),
        ),
    )


def canonical(points: Floats, folder: Path) -> CanonicalCloud:
    folder.mkdir(exist_ok=True)
    np.save(folder / POINTS_NAME, points.astype(np.float32))
    low, high = points.min(0), points.max(0)
    manifest = CloudManifest(
        file_name="drawn.ply",
        format="ply",
        points=len(points),
        points_in_file=len(points),
        file_from_cloud=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
        up_axis="z",
        bounds_m=((low[0], low[1], low[2]), (high[0], high[1], high[2])),
        spacing_m=0.02,
    )
    (folder / CLOUD_MANIFEST_NAME).write_text(manifest.model_dump_json())
    return open_cloud(folder)


def labelled(points: Floats, folder: Path) -> Labels:
    return labels.main(building(), canonical(points, folder), BuildingSettings(), Silence())


def names(points: list[tuple[float, float, float]], folder: Path) -> list[str]:
    found = labelled(np.array(points), folder)
    return [found.elements[i] if i >= 0 else "" for i in found.index]


def test_every_kind_of_surface_has_its_element(tmp_path: Path) -> None:
    side = 0.2 * np.array([np.cos(0.5), np.sin(0.5)])
    points = [
        (1.0, 0.1, 1.0),
        (1.0, -0.1, 1.0),
        (1.0, 0.11, 1.0),
        (6.0, 0.03, 1.0),
        (5.0, 3.0, 0.01),
        (5.0, 3.0, -0.3),
        (6.0, 3.0, -0.15),
        (2.2, 2.0, 1.0),
        (4.0 + side[0], 2.0 + side[1], 1.0),
    ]
    assert names(points, tmp_path) == ["wall", "wall", "wall", "wall", "slab", "slab", "slab", "round", "square"]


def test_what_stands_in_a_hole_is_the_openings_and_the_face_beside_it_the_walls(tmp_path: Path) -> None:
    points = [
        (2.0, 0.0, 1.0),
        (2.5, 0.05, 1.0),
        (2.03, 0.08, 1.5),
        (2.5, 0.0, 2.1),
        (1.97, 0.1, 1.0),
        (2.5, 0.1, 2.13),
        (2.5, 0.3, 1.0),
    ]
    assert names(points, tmp_path) == ["door", "door", "door", "door", "wall", "wall", ""]


def test_points_away_from_all_surfaces_belong_to_nothing(tmp_path: Path) -> None:
    points = [(1.0, 0.15, 1.0), (1.0, 0.0, 1.0), (3.0, 3.0, 1.0), (2.0, 2.0, 1.0), (1.0, 0.1, 2.6), (50.0, 50.0, 0.0)]
    assert names(points, tmp_path) == [""] * 6


def test_residuals_are_the_distances_to_the_surface(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    u, z = rng.uniform(0.1, 1.8, 4000), rng.uniform(0.2, 2.4, 4000)
    offsets = rng.uniform(0.0, 0.01, 4000)
    found = labelled(np.column_stack([u, 0.1 + offsets, z]), tmp_path)
    place = found.elements.index("wall")
    assert found.counts[place] == 4000
    assert found.residual_median_m[place] == pytest.approx(0.005, abs=0.0004)
    assert found.residual_p90_m[place] == pytest.approx(0.009, abs=0.0004)
    assert np.isnan(found.residual_median_m[found.elements.index("slab")])


def test_coverage_is_the_share_of_the_surface_that_was_seen(tmp_path: Path) -> None:
    u, z = np.meshgrid(np.arange(0.02, 6, 0.04), np.arange(0.02, 2.5, 0.04))
    free = ~((u > 1.99) & (u < 3.01) & (z < 2.11))
    one_face = np.column_stack([u[free], np.full(int(free.sum()), 0.1), z[free]])
    found = labelled(one_face, tmp_path)
    assert found.coverage[found.elements.index("wall")] == pytest.approx(0.5, abs=0.02)
    assert found.coverage[found.elements.index("slab")] < 0.05
    assert np.isnan(found.coverage[found.elements.index("door")])


def test_the_share_of_explained_points(tmp_path: Path) -> None:
    points = np.array([(1.0, 0.1, 1.0), (1.0, 0.1, 1.2), (3.0, 3.0, 1.0), (3.0, 3.0, 1.1)])
    assert labelled(points, tmp_path).explained == 0.5


def test_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform((-0.2, -0.2, -0.4), (6.2, 2.4, 2.6), (20_000, 3))
    points[::2, 1] = rng.choice([-0.1, 0.1], 10_000)
    whole = labelled(points, tmp_path)
    monkeypatch.setattr(labels, "_PIECE", 777)
    pieces = labelled(points, tmp_path)
    np.testing.assert_array_equal(whole.index, pieces.index)
    np.testing.assert_array_equal(whole.residual_median_m, pieces.residual_median_m)
    np.testing.assert_array_equal(whole.coverage, pieces.coverage)


def test_a_cloud_that_leans_is_made_level_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    level = np.column_stack([rng.uniform(0, 1.9, 500), np.full(500, 0.1), rng.uniform(0.1, 2.4, 500)])
    angle = np.radians(2.0)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    leaning = canonical(level @ turn, tmp_path)
    found = labels.main(building(), leaning, BuildingSettings(), Silence(), level_from_cloud=turn)
    assert set(found.index.tolist()) == {found.elements.index("wall")}


def test_a_building_of_nothing_explains_nothing(tmp_path: Path) -> None:
    cloud = canonical(np.zeros((10, 3)), tmp_path)
    found = labels.main(Building((), ()), cloud, BuildingSettings(), Silence())
    assert found.elements == ()
    assert found.explained == 0.0
