"""Cameras: the documented rig, and cameras as users give them."""

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.object_settings import GivenCameras
from services.mesh.rig import assumed_cameras, given_cameras

K = {"width": 512, "height": 512, "fx": 1111, "fy": 1111, "cx": 256, "cy": 256}


def given(**changes: object) -> dict[str, object]:
    poses = [camera.camera_from_world.tolist() for camera in assumed_cameras(512, 512)]
    return {"intrinsics": K, "views": [{"camera_from_world": pose} for pose in poses], **changes}


def test_assumed_cameras_stand_where_the_document_says() -> None:
    centres = np.stack([camera.centre for camera in assumed_cameras(512, 512)])
    expected = 2.5 * np.array([[0, 0, 1], [0, 0, -1], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert centres == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("view", "right", "down"),
    [
        (0, (1, 0, 0), (0, -1, 0)),
        (1, (-1, 0, 0), (0, -1, 0)),
        (2, (0, 0, 1), (0, -1, 0)),
        (3, (0, 0, -1), (0, -1, 0)),
        (4, (1, 0, 0), (0, 0, 1)),
        (5, (1, 0, 0), (0, 0, -1)),
    ],
)
def test_pictures_are_upright(view: int, right: tuple[int, ...], down: tuple[int, ...]) -> None:
    rotation = assumed_cameras(512, 512)[view].camera_from_world[:3, :3]
    assert rotation[0] == pytest.approx(right)
    assert rotation[1] == pytest.approx(down)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_projection_is_undone_by_rays() -> None:
    camera = assumed_cameras(512, 384)[3]
    points = np.random.default_rng(0).uniform(-0.4, 0.4, (50, 3))
    pixel, depth = camera.project(points)
    assert camera.centre + camera.rays(pixel) * depth[:, None] == pytest.approx(points, abs=1e-12)


def test_the_field_of_view_is_kept_in_another_size() -> None:
    camera = assumed_cameras(512, 512)[0]
    pixel, _ = camera.project(np.array([[0.2, 0.1, 0.0]]))
    larger, _ = camera.resized(1024, 1024).project(np.array([[0.2, 0.1, 0.0]]))
    assert larger == pytest.approx(2 * pixel)


def test_world_from_camera_and_opengl_axes_say_the_same() -> None:
    told = given_cameras(GivenCameras.model_validate(given()), ((512, 512),) * 6)
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    poses = [np.linalg.inv(flip @ camera.camera_from_world).tolist() for camera in assumed_cameras(512, 512)]
    other = GivenCameras.model_validate(given(axes="opengl", views=[{"world_from_camera": pose} for pose in poses]))
    for a, b in zip(told, given_cameras(other, ((512, 512),) * 6), strict=True):
        assert a.camera_from_world == pytest.approx(b.camera_from_world, abs=1e-12)


def test_sizes_of_depth_renders_scale_the_intrinsics() -> None:
    told = given_cameras(GivenCameras.model_validate(given()), ((256, 256),) * 6)
    assert (told[0].fx_px, told[0].cx_px) == (555.5, 128)


@pytest.mark.parametrize(
    "changes",
    [
        {"views": [{}] * 6},
        {"views": [{"camera_from_world": np.diag([2.0, 1, 1, 1]).tolist()}] * 6},
        {"views": [{"camera_from_world": np.diag([-1.0, 1, 1, 1]).tolist()}] * 6},
        {"views": [{"camera_from_world": np.eye(4).tolist(), "world_from_camera": np.eye(4).tolist()}] * 6},
        {"views": [{"camera_from_world": np.eye(4).tolist()}] * 5},
        {"intrinsics": None},
        {"intrinsics": {**K, "fx": float("nan")}},
        {"depth": {"encoding": "near_far", "near": 2.0, "far": 1.0}},
        {"depth": {"encoding": "metric"}},
    ],
)
def test_impossible_cameras_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GivenCameras.model_validate(given(**changes))
