"""What the camera sees lies where geometry says, and pictures agree with poses and depth."""

import itertools
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from samples import plan
from samples.flat import Flat
from samples.phone import PhoneSpec, blurred
from samples.render import Camera, RayCaster, exact_depth
from samples.truth import CaptureTruth, frame_depth
from samples.walk import Pace, Walk, rotation_from_angles

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def caster(flat: Flat) -> RayCaster:
    return RayCaster(flat.patches)


def looking_at(position: tuple[float, float, float], target: tuple[float, float, float]) -> Floats:
    to = np.array(target) - np.array(position)
    heading, tilt = np.arctan2(to[1], to[0]), np.arctan2(to[2], np.hypot(to[0], to[1]))
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_angles(np.array([heading]), np.array([tilt]), np.array([0.1]))[0]
    pose[:3, 3] = position
    return pose


def box_depth(camera: Camera, pose: Floats, low: tuple[float, ...], high: tuple[float, ...]) -> Floats:
    """Depth of the inside of a box, from its six planes alone."""
    rays = camera.directions(camera.centres()) @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        exits = np.maximum((np.array(low) - pose[:3, 3]) / rays, (np.array(high) - pose[:3, 3]) / rays)
    return np.asarray(exits.min(axis=-1), np.float64)


def test_depth_around_a_wall_corner_is_that_of_its_three_planes(caster: RayCaster) -> None:
    room = plan.ROOMS[0]
    corner = (*room.low_m, room.height_m)
    pose = looking_at((2.0, 2.2, 1.3), corner)
    camera = Camera(400, 300, 380.0, 390.0, 203.0, 148.0)
    depth = exact_depth(caster, camera, pose)
    local = np.linalg.inv(pose) @ [*corner, 1.0]
    x = camera.fx_px * local[0] / local[2] + camera.cx_px
    y = camera.fy_px * local[1] / local[2] + camera.cy_px
    window = np.s_[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9]
    expected = box_depth(camera, pose, (*room.low_m, 0.0), (*room.high_m, room.height_m))
    assert np.abs(depth - expected)[window].max() < 1e-9
    # The corner is the deepest point of the three planes: its pixel is where depth culminates.
    row, column = np.unravel_index(np.argmax(depth[window]), depth[window].shape)
    assert np.hypot(column + int(x) - 8 + 0.5 - x, row + int(y) - 8 + 0.5 - y) < 1.0


def test_furniture_is_never_behind_the_walls(caster: RayCaster) -> None:
    room = plan.ROOMS[4]
    pose = looking_at((8.5, 1.5, 1.5), (10.6, 3.0, 2.4))
    camera = Camera(160, 120, 120.0, 120.0, 80.0, 60.0)
    depth = exact_depth(caster, camera, pose)
    bounds = box_depth(camera, pose, (*room.low_m, 0.0), (*room.high_m, room.height_m))
    points = pose[:3, 3] + (camera.directions(camera.centres()) @ pose[:3, :3].T) * bounds[..., None]
    solid = np.abs(points[..., 0] - 10.6) > 1e-6  # the east wall has the window
    assert (depth - bounds)[solid].max() < 1e-9
    assert np.isclose(depth, bounds).mean() > 0.2


def pictures(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as video:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in video.decode(video=0)]


def test_pictures_agree_with_truth_poses_and_depth(
    capture_dir: Path, capture_truth: CaptureTruth, caster: RayCaster, tmp_path: Path
) -> None:
    with zipfile.ZipFile(capture_dir / "capture_stray.zip") as archive:
        archive.extract("rgb.mp4", tmp_path)
    shown = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in pictures(tmp_path / "rgb.mp4")]
    assert len(shown) == len(capture_truth.frames)
    for a, b in itertools.pairwise(range(len(shown))):
        camera_a, camera_b = capture_truth.camera(a), capture_truth.camera(b)
        depth = frame_depth(capture_truth, caster, a, capture_truth.width_px, capture_truth.height_px)
        b_from_a = np.linalg.inv(capture_truth.frames[b].pose()) @ capture_truth.frames[a].pose()
        points = camera_a.directions(camera_a.centres()) * depth[..., None] @ b_from_a[:3, :3].T + b_from_a[:3, 3]
        x = camera_b.fx_px * points[..., 0] / points[..., 2] + camera_b.cx_px
        y = camera_b.fy_px * points[..., 1] / points[..., 2] + camera_b.cy_px
        seen = (x > 2) & (x < camera_b.width_px - 2) & (y > 2) & (y < camera_b.height_px - 2) & (points[..., 2] > 0)
        assert seen.mean() > 0.6  # consecutive pictures overlap well
        map_x, map_y = (x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32)
        moved = cv2.remap(shown[b], map_x, map_y, cv2.INTER_LINEAR)
        aligned = np.corrcoef(shown[a][seen], moved[seen])[0, 1]
        shifted = np.corrcoef(shown[a][seen], cv2.remap(shown[b], map_x + 3, map_y, cv2.INTER_LINEAR)[seen])[0, 1]
        assert aligned > 0.95
        assert aligned > shifted + 0.01


def test_blur_follows_the_motion() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((120, 160, 3)).astype(np.float32)
    depth = np.full((120, 160), 2.0, np.float32)
    camera = Camera(160, 120, 120.0, 120.0, 80.0, 60.0)
    still = np.eye(4)
    assert np.array_equal(blurred(image, depth, camera, still, still), image)
    begin, end = np.eye(4), np.eye(4)
    begin[0, 3], end[0, 3] = -0.08, 0.08  # 9.6 px along x at 2 m
    smeared = blurred(image, depth, camera, begin, end)
    along, across = np.diff(smeared, axis=1).std(), np.diff(smeared, axis=0).std()
    assert along < 0.35 * across
    assert smeared[20:-20, 20:-20].mean() == pytest.approx(image[20:-20, 20:-20].mean(), abs=0.01)


def test_a_walk_is_smooth_and_stays_inside() -> None:
    walk = Walk(70.0, 3, Pace())
    times = np.arange(0, 70, 1 / 60)
    poses = walk.poses(times)
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations @ np.swapaxes(rotations, 1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotations), 1)
    speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) * 60
    assert speed.max() < 1.2
    cosine = np.einsum("nij,nij->n", rotations[:-1], rotations[1:]) / 2 - 0.5
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() * 60 < 75
    x, y, z = poses[:, :3, 3].T
    assert (z > 1.3).all()
    assert (z < 1.65).all()
    # Every station lies in a room or in a doorway between two.
    inside = np.zeros(len(times), bool)
    for room in plan.ROOMS:
        inside |= (x > room.low_m[0]) & (x < room.high_m[0]) & (y > room.low_m[1]) & (y < room.high_m[1])
    for opening in plan.OPENINGS:
        if opening.opening_class != "window":
            low, high = plan.opening_box(opening)
            inside |= (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    assert inside.all()


def test_the_walk_never_runs_into_furniture(caster: RayCaster) -> None:
    walk = Walk(70.0, 3, Pace())
    for pose in walk.poses(np.arange(0, 70, 0.5)):
        depth = exact_depth(caster, Camera(16, 12, 12.0, 12.0, 8.0, 6.0), pose)
        assert depth.min() > 0.25


def test_default_phone_is_within_what_the_format_promises() -> None:
    phone = PhoneSpec()
    assert 0.020 <= phone.picture_delay_s <= 0.030
    assert phone.position_drift_m <= 0.03
