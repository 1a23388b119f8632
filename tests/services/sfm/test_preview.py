"""The preview: right scale, right way round, ceilings off."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.sfm import preview
from services.sfm.cloud import PointCloud
from tests.services.sfm.boxed_capture import make_box


def blob(centre: tuple[float, float, float], colour: tuple[int, int, int]) -> PointCloud:
    steps = np.mgrid[-20:21, 0:1, -20:21].reshape(3, -1).T * 0.01
    points = (np.array(centre) + steps).astype(np.float32)
    return PointCloud(points, np.zeros_like(points), np.tile(np.array(colour, np.uint8), (len(points), 1)))


def together(parts: list[PointCloud]) -> PointCloud:
    return PointCloud(
        np.concatenate([p.points_m for p in parts]),
        np.concatenate([p.normals for p in parts]),
        np.concatenate([p.colours for p in parts]),
    )


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    rows, columns = np.nonzero((np.abs(picture.astype(int) - colour) < 12).all(-1))
    return np.array([columns.mean(), rows.mean()])


def test_seen_from_above_at_one_scale_not_mirrored_without_ceiling(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    x, z, origin, ceiling = (0.0, 0.0, 3.0), (4.0, 0.0, 0.0), (0.0, 0.0, 0.0), (2.0, 2.6, 1.5)
    colours = {"x": (255, 0, 255), "z": (0, 255, 255), "origin": (0, 255, 0), "ceiling": (128, 0, 0)}
    points = together(
        [
            blob(origin, colours["origin"]),
            blob(z, colours["z"]),  # along x from the origin
            blob(x, colours["x"]),  # along z from the origin
            blob(ceiling, colours["ceiling"]),
        ]
    )
    preview.main(box.manifest, box.sparse, points, tmp_path / "preview.png")
    picture = np.asarray(Image.open(tmp_path / "preview.png"))
    assert picture.shape == (1200, 1600, 3)
    start = where(picture, colours["origin"])
    along_x, along_z = where(picture, colours["z"]) - start, where(picture, colours["x"]) - start
    assert np.linalg.norm(along_x) / 4 == pytest.approx(np.linalg.norm(along_z) / 3, rel=0.01)
    # Looking down on a right-handed world with y up, z is clockwise of x (rows grow downward).
    assert along_x[0] * along_z[1] - along_x[1] * along_z[0] > 0
    assert along_x @ along_z == pytest.approx(0, abs=0.02 * np.linalg.norm(along_x) * np.linalg.norm(along_z))
    assert not (np.abs(picture.astype(int) - colours["ceiling"]) < 12).all(-1).any()


def test_the_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    plan = preview._Plan(np.eye(2), np.zeros(2), 137.0)
    pixels = plan.pixels(np.array([[0, 0, 0], [1, 5, 0], [0, -3, 2]], float))
    assert np.linalg.norm(pixels[1] - pixels[0]) == pytest.approx(137)
    assert np.linalg.norm(pixels[2] - pixels[0]) == pytest.approx(274)


@given(st.floats(0.01, 10_000), st.floats(50, 2000))
def test_scale_bars_are_round_and_fit(scale_px_per_m: float, longest_px: float) -> None:
    metres = preview.scale_bar_m(scale_px_per_m, longest_px)
    assert 0.39 * longest_px < metres * scale_px_per_m <= longest_px * (1 + 1e-9)
    assert float(f"{metres:.0e}") == pytest.approx(metres)
    assert int(f"{metres:.0e}"[0]) in {1, 2, 5}


@pytest.mark.parametrize("degrees", [0.0, 12.5, 37.0, 81.0])
def test_walls_are_found(degrees: float) -> None:
    rng = np.random.default_rng(1)
    walls = rng.uniform(0, 1, (4000, 2)) * [6, 4]
    side = rng.integers(0, 4, 4000)
    for index, (axis, value) in enumerate(((0, 0), (0, 6), (1, 0), (1, 4))):
        walls[side == index, axis] = value
    walls += rng.normal(0, 0.01, walls.shape)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = np.rad2deg(preview.wall_direction_rad(walls @ turn.T))
    assert min(abs(found - degrees), 90 - abs(found - degrees)) <= 0.5


@pytest.mark.parametrize("frames", [1, 2])
def test_little_to_draw_is_drawn(tmp_path: Path, frames: int) -> None:
    box = make_box(tmp_path, frames=frames)
    model = pycolmap.Reconstruction(box.sparse)
    for point in list(model.points3D):
        model.delete_point3D(point)
    model.write_binary(box.sparse)
    preview.main(box.manifest, box.sparse, None, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (1600, 1200)
