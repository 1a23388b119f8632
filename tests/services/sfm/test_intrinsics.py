"""Refinement of distortion, on models whose true lens is known."""

from dataclasses import dataclass

import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from services.sfm import intrinsics

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 640, 480
PROJECTION = {"SIMPLE_RADIAL": [470.0, 322.0, 236.0]}
TWO_FOCAL = [470.0, 474.0, 322.0, 236.0]
NONE = {"PINHOLE": [], "SIMPLE_RADIAL": [0.0], "OPENCV": [0.0] * 4, "OPENCV_FISHEYE": [0.0] * 4}


@dataclass(frozen=True)
class Lens:
    """A camera model, its true distortion, and how many frames with how many points each were taken with it."""

    model: str
    distortion: tuple[float, ...]
    frames: int = 20
    points: int = 200

    def camera(self, camera_id: int, distortion: list[float]) -> pycolmap.Camera:
        params = [*PROJECTION.get(self.model, TWO_FOCAL), *distortion]
        return pycolmap.Camera(model=self.model, width=WIDTH, height=HEIGHT, params=params, camera_id=camera_id)

    def true(self) -> pycolmap.Camera:
        return self.camera(1, list(self.distortion))


def made_with(*lenses: Lens, start: list[float] | None = None) -> pycolmap.Reconstruction:
    """Points all over the pictures, seen through the true lenses with 0.2 px of noise; the model's cameras know nothing
    of distortion, or `start`."""
    rng = np.random.default_rng(0)
    model = pycolmap.Reconstruction()
    tracks: dict[int, list[pycolmap.TrackElement]] = {}
    places = np.stack([rng.uniform(-4, 4, 900), rng.uniform(-3, 3, 900), rng.uniform(3, 6, 900)], axis=1)
    image_id = 0
    for camera_id, lens in enumerate(lenses, start=1):
        model.add_camera_with_trivial_rig(lens.camera(camera_id, start or NONE[lens.model]))
        for _ in range(lens.frames):
            image_id += 1
            turn = Rotation.from_euler("yxz", rng.uniform(-0.25, 0.25, 3)).as_matrix()
            pose = np.concatenate([turn, -turn @ rng.uniform(-0.8, 0.8, (3, 1))], axis=1)
            local = places @ pose[:, :3].T + pose[:, 3]
            pixels = np.asarray(lens.true().img_from_cam(local))
            inside = (local[:, 2] > 0.5) & ((pixels > 0) & (pixels < (WIDTH, HEIGHT))).all(axis=1)
            seen = rng.choice(np.flatnonzero(inside), lens.points, replace=False).tolist()
            image = pycolmap.Image(name=f"{image_id:06d}.png", camera_id=camera_id, image_id=image_id)
            noisy = pixels[seen] + rng.normal(0, 0.2, (lens.points, 2))
            image.points2D = pycolmap.Point2DList([pycolmap.Point2D(xy) for xy in noisy])
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose))
            for row, place in enumerate(seen):
                tracks.setdefault(place, []).append(pycolmap.TrackElement(image_id, row))
    for place, elements in tracks.items():
        if len(elements) > 1:
            model.add_point3D(places[place], pycolmap.Track(elements), np.zeros(3, np.uint8))
    return model


def error_px(camera: pycolmap.Camera, lens: Lens) -> float:
    """The largest distance between both cameras' projections, up to 20 px from the border."""
    u, v = np.meshgrid(np.linspace(20, WIDTH - 20, 20), np.linspace(20, HEIGHT - 20, 15))
    pixels = np.stack([u.ravel(), v.ravel()], axis=1)
    rays = np.asarray(lens.true().cam_from_img(pixels))
    found = np.asarray(camera.img_from_cam(np.concatenate([rays, np.ones((len(rays), 1))], axis=1)))
    return float(np.linalg.norm(found - pixels, axis=1).max())


def rest_of(model: pycolmap.Reconstruction) -> tuple[Floats, Floats]:
    """Poses (f, 3, 4) and points (p, 3)."""
    poses = np.stack([model.image(i).cam_from_world().matrix() for i in sorted(model.reg_image_ids())])
    return poses, np.stack([model.point3D(i).xyz for i in sorted(model.point3D_ids())])


@pytest.mark.parametrize(
    "lens",
    [
        Lens("SIMPLE_RADIAL", (-0.08,)),
        Lens("OPENCV", (-0.1, 0.03, 0.001, -0.002)),
        Lens("OPENCV_FISHEYE", (0.05, -0.01, 0.0, 0.0)),
    ],
    ids=lambda lens: lens.model,
)
def test_the_true_distortion_is_found_and_nothing_else_moves(lens: Lens) -> None:
    model = made_with(lens)
    before = rest_of(model)
    focal = len(PROJECTION.get(lens.model, TWO_FOCAL))
    phone = model.camera(1).params[:focal].tolist()
    assert error_px(model.camera(1), lens) > 4
    assert intrinsics.refine_distortion(model, threads=1)
    assert error_px(model.camera(1), lens) < 0.5
    assert model.camera(1).params[:focal].tolist() == phone
    for old, new in zip(before, rest_of(model), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize(
    "lens",
    [
        Lens("PINHOLE", ()),
        Lens("SIMPLE_RADIAL", (-0.08,), frames=intrinsics.MIN_SHARED_FRAMES - 1),
        Lens("SIMPLE_RADIAL", (-0.08,), frames=18, points=intrinsics.MIN_OBSERVATIONS // 18 - 1),
        Lens("SIMPLE_RADIAL", (-0.4,)),
        Lens("SIMPLE_RADIAL", (0.0,)),
    ],
    ids=["no such parameter", "few frames", "few points", "no lens of a phone", "nothing to gain"],
)
def test_distortion_is_left_alone(lens: Lens) -> None:
    model = made_with(lens)
    before = model.camera(1).params.tolist()
    assert not intrinsics.refine_distortion(model, threads=1)
    assert model.camera(1).params.tolist() == before


def test_a_lens_that_few_frames_share_does_not_follow_one_that_many_do() -> None:
    many, few = Lens("SIMPLE_RADIAL", (-0.08,)), Lens("SIMPLE_RADIAL", (-0.08,), frames=5)
    model = made_with(many, few)
    assert intrinsics.refine_distortion(model, threads=1)
    assert error_px(model.camera(1), many) < 0.5
    assert model.camera(2).params.tolist() == [*PROJECTION["SIMPLE_RADIAL"], 0.0]


def test_what_is_right_already_stays() -> None:
    lens = Lens("OPENCV", (-0.1, 0.03, 0.001, -0.002))
    model = made_with(lens, start=list(lens.distortion))
    assert not intrinsics.refine_distortion(model, threads=1)
    assert model.camera(1).params.tolist() == [*TWO_FOCAL, *lens.distortion]
