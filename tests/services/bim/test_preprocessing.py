"""The working cloud: means of voxels, normals, and a level frame."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from contracts.building_settings import BuildingSettings
from contracts.errors import ErrorCode, UserError
from contracts.progress import Silence
from services.bim.cloud import open_cloud
from services.bim.levelling import tilt_rad
from services.bim.preprocessing import WorkingCloud, preprocess
from services.bim.voxels import thin
from tests.services.bim.boxed_cloud import BoxedCloud, turn_about, write_cloud


def one_room() -> BoxedCloud:
    cloud = BoxedCloud()
    cloud.room((0.013, 0.017), (4.0, 3.0), 0.011, 2.5)
    return cloud


def working(folder: Path) -> WorkingCloud:
    return preprocess(open_cloud(folder), BuildingSettings(), Silence())


def test_voxels_hold_the_means_of_their_points(tmp_path: Path) -> None:
    points = one_room().points()
    cloud = open_cloud(write_cloud(points, tmp_path, 0.02))
    voxels = thin(cloud, 0.05, Silence())
    low = np.array(cloud.manifest.bounds_m[0]) - 0.05
    cell = ((points - low.astype(np.float32)) * np.float32(20)).astype(np.int64)
    _, where, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(where, points[:, k]) for k in range(3)], axis=1) / count[:, None]
    assert voxels.readings.sum() == len(points)
    assert len(voxels.points) == len(mean)
    distance, nearest = cKDTree(mean).query(voxels.points)
    assert distance.max() < 2e-5
    assert len(np.unique(nearest)) == len(mean)


def test_pieces_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cloud(one_room().points(), tmp_path, 0.02)
    whole = thin(open_cloud(tmp_path), 0.02, Silence())
    monkeypatch.setattr("services.bim.cloud.CanonicalCloud.pieces", lambda cloud: _slices(len(cloud), 7_001))
    pieces = thin(open_cloud(tmp_path), 0.02, Silence())
    assert np.array_equal(whole.readings, pieces.readings)
    assert np.allclose(whole.points, pieces.points, atol=1e-5)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def test_normals_of_a_box_are_square_to_its_faces(tmp_path: Path) -> None:
    cloud = working(one_room().write(tmp_path))
    inner = (cloud.points > [0.15, 0.15, 0.15]).all(1) & (cloud.points[:, 0] < 3.85) & (cloud.points[:, 1] < 2.85)
    floors = inner | (np.abs(cloud.points[:, 2] - 0.011) < 0.01)
    away = np.rad2deg(np.arccos(np.clip(np.abs(cloud.normals[floors]).max(1), 0, 1)))
    assert np.median(away) < 8
    assert np.linalg.norm(cloud.normals[cloud.bend < 1], axis=1) == pytest.approx(1, abs=1e-5)
    assert not cloud.oriented


def test_a_level_cloud_is_left_as_it_is(tmp_path: Path) -> None:
    cloud = working(one_room().write(tmp_path))
    assert np.array_equal(cloud.level_from_cloud, np.eye(3))


def test_a_leaning_cloud_is_made_level(tmp_path: Path) -> None:
    lean = turn_about(np.array([0.6, 0.8, 0.0]), np.deg2rad(1.5))
    cloud = working(one_room().write(tmp_path, lean))
    assert np.rad2deg(tilt_rad(cloud.level_from_cloud @ lean)) < 0.03


def test_main_directions_follow_the_building(tmp_path: Path) -> None:
    turned = turn_about(np.array([0.0, 0.0, 1.0]), np.deg2rad(31))
    cloud = working(one_room().write(tmp_path, turned))
    found = np.sort(np.rad2deg(cloud.directions_rad[:2]))
    assert found == pytest.approx([31, 121], abs=0.3)


def test_too_few_points_are_refused(tmp_path: Path) -> None:
    write_cloud(one_room().points()[:100], tmp_path, 0.02)
    with pytest.raises(UserError, match="100 valid points") as raised:
        working(tmp_path)
    assert raised.value.code is ErrorCode.INVALID_CLOUD


def test_stray_points_far_away_are_refused(tmp_path: Path) -> None:
    points = np.concatenate([one_room().points(), np.full((1, 3), 1e7, np.float32)])
    write_cloud(points, tmp_path, 0.02)
    with pytest.raises(UserError, match="stray"):
        working(tmp_path)


def test_arrays_and_manifest_must_agree(tmp_path: Path) -> None:
    write_cloud(one_room().points(), tmp_path, 0.02)
    np.save(tmp_path / "colours.npy", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="the manifest says"):
        open_cloud(tmp_path)
