"""Depth maps against exact depth."""

import cv2
import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray

from services.sfm.photos import plane_sweep
from services.sfm.photos.plane_sweep import View
from tests.services.sfm.textured_rooms import Pinhole, Rectangle, box_room, cast, looking

Floats = NDArray[np.float64]
CAMERA = Pinhole(320, 240, 300.0, 300.0, 160.0, 120.0)
MIDDLE_M = (2.5, 1.3, 2.0)


@pytest.fixture(scope="module")
def room() -> list[Rectangle]:
    return box_room(seed=8)


def camera(radial: float = 0.0) -> pycolmap.Camera:
    return pycolmap.Camera(
        model="SIMPLE_RADIAL", width=CAMERA.width_px, height=CAMERA.height_px, params=[300.0, 160.0, 120.0, radial]
    )


def seen(room: list[Rectangle], position_m: tuple[float, float, float]) -> tuple[View, Floats]:
    """A view of the room from there, and its exact depth."""
    world_from_camera = looking(position_m, (3.2, 1.2, 4.0))
    picture, depth = cast(room, CAMERA, world_from_camera)
    return plane_sweep.view(picture, camera(), np.asarray(np.linalg.inv(world_from_camera)[:3], np.float64)), depth


def test_depth_is_right_where_it_is_given(room: list[Rectangle]) -> None:
    reference, depth = seen(room, (2.5, 1.4, 0.8))
    others = [seen(room, (x, y, 0.9))[0] for x, y in ((2.1, 1.4), (2.9, 1.5), (2.5, 1.75))]
    planes = plane_sweep.inverse_depths(depth[::7, ::7].ravel())
    found = plane_sweep.sweep(reference, others, planes).depth
    given = found > 0
    error = np.abs(found - depth)[given] / depth[given]
    assert given.mean() > 0.45
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.9) < 0.05


def test_neighbours_confirm_true_depth_and_not_a_wrong_one(room: list[Rectangle]) -> None:
    reference, depth = seen(room, (2.5, 1.4, 0.8))
    others = [seen(room, (x, 1.4, 0.9)) for x in (2.2, 2.8)]
    maps = [(view, truth.astype(np.float32)) for view, truth in others]
    right = plane_sweep.confirmed(reference, depth.astype(np.float32), maps, 2)
    wrong = plane_sweep.confirmed(reference, (1.1 * depth).astype(np.float32), maps, 2)
    assert right[60:180, 80:240].mean() > 0.95
    assert wrong.mean() < 0.02


def test_points_lie_where_the_camera_sees_them(room: list[Rectangle]) -> None:
    reference, depth = seen(room, (2.5, 1.4, 0.8))
    world_from_camera = looking((2.5, 1.4, 0.8), (3.2, 1.2, 4.0))
    points = plane_sweep.grid_points(reference, depth.astype(np.float32)).reshape(-1, 3)
    world = points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]
    walls = np.stack([np.abs(world[:, axis] - at) for axis, at in ((0, 0), (0, 5), (1, 0), (1, 2.6), (2, 0), (2, 4))])
    assert walls.min(axis=0).max() < 1e-3


def test_distortion_is_undone(room: list[Rectangle]) -> None:
    """A distorted picture becomes the pinhole's: the same picture as without distortion."""
    world_from_camera = looking((2.5, 1.4, 0.8), (3.2, 1.2, 4.0))
    straight, _ = cast(room, CAMERA, world_from_camera)
    v, u = np.mgrid[0 : CAMERA.height_px, 0 : CAMERA.width_px] + 0.5
    radial = camera(-0.08)
    rays = np.asarray(radial.cam_from_img(np.stack([u.ravel(), v.ravel()], axis=1))).reshape(*u.shape, 2)
    x = rays[..., 0] * CAMERA.fx_px + CAMERA.cx_px - 0.5
    y = rays[..., 1] * CAMERA.fy_px + CAMERA.cy_px - 0.5
    distorted = cv2.remap(straight, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    undone = plane_sweep.view(np.asarray(distorted, np.uint8), radial, np.eye(4)[:3]).grey
    plain = plane_sweep.view(straight, camera(), np.eye(4)[:3]).grey
    inner = np.s_[30:-30, 30:-30]
    mismatched = plane_sweep.view(np.asarray(distorted, np.uint8), camera(), np.eye(4)[:3]).grey
    assert np.abs(undone - plain)[inner].mean() < 0.5 * np.abs(mismatched - plain)[inner].mean()


def test_neighbours_are_near_but_not_too_near() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal((0, 0, 10), 0.3, (50, 3))
    others = np.array([(0.05, 0, 0), (1.8, 0, 0), (3.0, 0, 0), (12.0, 0, 0), (1.7, 0, 0)])
    shared = [points, points, points, points, points[:5]]
    assert plane_sweep.choose_neighbours(np.zeros(3), others, shared).tolist() == [1, 2]
