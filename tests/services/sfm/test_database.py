"""COLMAP's database: cameras that project as the phone's, pictures, priors; opened again by pycolmap."""

import dataclasses
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.capture_settings import CameraModel
from contracts.captures import CapturedFrame, CaptureManifest, Intrinsics
from services.sfm import database
from services.sfm.hloc_files import Features
from tests.services.sfm.listening import Listener
from tests.services.sfm.textured_rooms import Pinhole, write_capture

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 1920, 1440
PHONE = Intrinsics(fx_px=1601.25, fy_px=1603.5, cx_px=955.5, cy_px=722.25)
WIDE = Intrinsics(fx_px=1125.0, fy_px=1127.0, cx_px=950.0, cy_px=731.0)
"""A phone's ultra-wide camera: 81° across, 94° from corner to corner."""
WIDEST = Intrinsics(fx_px=960.0, fy_px=960.0, cx_px=960.0, cy_px=720.0)
"""90° across."""


def capture_of(folder: Path, intrinsics: Sequence[Intrinsics], places_m: Floats | None = None) -> CaptureManifest:
    cameras = [Pinhole(WIDTH, HEIGHT, i.fx_px, i.fy_px, i.cx_px, i.cy_px) for i in intrinsics]
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    if places_m is not None:
        poses[:, :3, 3] = places_m
    return write_capture(folder, [], list(poses), cameras, depth_size_px=None, draw_pictures=False)


class WaitingListener(Listener):
    """Lets a test wait until something was reported."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = threading.Condition()

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        with self._heard:
            super().progress(done, total, operation)
            self._heard.notify_all()

    def wait_for(self, progress: tuple[int, int, str]) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: progress in self.progressed, timeout=30)


def pixel_grid() -> Floats:
    """All over the picture, its corners included; (n, 2)."""
    u, v = np.meshgrid(np.linspace(0, WIDTH, 33), np.linspace(0, HEIGHT, 25))
    return np.stack([u.ravel(), v.ravel()], axis=1)


def rays(intrinsics: Intrinsics, pixels: Floats) -> Floats:
    middle, focal = (intrinsics.cx_px, intrinsics.cy_px), (intrinsics.fx_px, intrinsics.fy_px)
    return np.concatenate([(pixels - middle) / focal, np.ones((len(pixels), 1))], axis=1)


def errors_px(camera: pycolmap.Camera, intrinsics: Intrinsics) -> Floats:
    """How far the camera's projection is from the phone's pinhole, all over the picture."""
    pixels = pixel_grid()
    return np.asarray(np.linalg.norm(np.asarray(camera.img_from_cam(rays(intrinsics, pixels))) - pixels, axis=1))


@pytest.mark.parametrize(
    ("intrinsics", "model", "worst_px"),
    [
        *itertools.product([PHONE, WIDE, WIDEST], [CameraModel.PINHOLE, CameraModel.OPENCV], [1e-9]),
        (PHONE, CameraModel.OPENCV_FISHEYE, 0.001),
        (WIDE, CameraModel.OPENCV_FISHEYE, 0.015),
        (WIDEST, CameraModel.OPENCV_FISHEYE, 0.03),
    ],
)
def test_the_stored_camera_projects_as_the_phones_pinhole(
    intrinsics: Intrinsics, model: CameraModel, worst_px: float, tmp_path: Path
) -> None:
    database.create(tmp_path / "database.db", capture_of(tmp_path, [intrinsics] * 2), model)
    with pycolmap.Database.open(tmp_path / "database.db") as db:
        (camera,) = db.read_all_cameras()
    assert camera.model.name == model
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert camera.has_prior_focal_length
    assert errors_px(camera, intrinsics).max() < worst_px
    assert database.focal_mismatch_px(intrinsics, model, WIDTH, HEIGHT) == 0


def test_simple_radial_is_off_by_what_it_says(tmp_path: Path) -> None:
    intrinsics = Intrinsics(fx_px=1600, fy_px=1612, cx_px=955.5, cy_px=722.25)
    camera = database.camera(intrinsics, CameraModel.SIMPLE_RADIAL, WIDTH, HEIGHT)
    assert camera.model.name == "SIMPLE_RADIAL"
    assert camera.params.tolist() == [1606, 955.5, 722.25, 0]
    said = database.focal_mismatch_px(intrinsics, CameraModel.SIMPLE_RADIAL, WIDTH, HEIGHT)
    assert errors_px(camera, intrinsics).max() == pytest.approx(said, abs=0.02)
    assert said > 3


@settings(deadline=None)
@given(
    st.builds(
        Intrinsics,
        fx_px=st.floats(1100, 3000),
        fy_px=st.floats(1100, 3000),
        cx_px=st.floats(900, 1020),
        cy_px=st.floats(680, 760),
    )
)
def test_the_fisheye_holds_any_phones_lens(intrinsics: Intrinsics) -> None:
    camera = database.camera(intrinsics, CameraModel.OPENCV_FISHEYE, WIDTH, HEIGHT)
    assert errors_px(camera, intrinsics).max() < 0.05


def test_one_lens_is_one_camera_and_pictures_are_numbered_in_order(tmp_path: Path) -> None:
    capture = capture_of(tmp_path, [PHONE] * 5)
    ids = database.create(tmp_path / "database.db", capture, CameraModel.PINHOLE)
    assert ids == {frame.name: number for number, frame in enumerate(capture.frames, start=1)}
    with pycolmap.Database.open(tmp_path / "database.db") as db:
        assert (db.num_cameras(), db.num_rigs(), db.num_images(), db.num_frames()) == (1, 1, 5, 5)
        for name, image_id in ids.items():
            image = db.read_image(image_id)
            assert image.name == name
            assert image.frame_id == image_id


def test_a_lens_that_refocuses_gets_a_camera_per_focus(tmp_path: Path) -> None:
    """As phones do: it holds a focus for a while, and comes back to it."""
    near = PHONE.model_copy(update={"fx_px": PHONE.fx_px + 9, "fy_px": PHONE.fy_px + 9})
    intrinsics = [PHONE, PHONE, near, near, near, PHONE]
    ids = database.create(tmp_path / "database.db", capture_of(tmp_path, intrinsics), CameraModel.PINHOLE)
    with pycolmap.Database.open(tmp_path / "database.db") as db:
        cameras = [db.read_camera(db.read_image(image_id).camera_id) for image_id in ids.values()]
        assert db.num_cameras() == db.num_rigs() == 3
    assert [camera.camera_id for camera in cameras] == [1, 1, 2, 2, 2, 3]
    for camera, expected in zip(cameras, intrinsics, strict=True):
        assert errors_px(camera, expected).max() < 1e-9


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 4), min_size=1, max_size=30))
def test_a_camera_serves_only_frames_it_fits(changes: list[tuple[float, float, float, float]]) -> None:
    base = np.array([PHONE.fx_px, PHONE.fy_px, PHONE.cx_px, PHONE.cy_px])
    frames = frames_of(base + np.cumsum(changes, axis=0))
    groups = database.group_cameras(frames, WIDTH, HEIGHT)
    assert [name for group in groups for name in group.names] == [frame.name for frame in frames]
    by_name = {frame.name: frame.intrinsics for frame in frames}
    for group in groups:
        camera = database.camera(group.intrinsics, CameraModel.PINHOLE, WIDTH, HEIGHT)
        for name in group.names:
            assert errors_px(camera, by_name[name]).max() <= 0.5


@settings(deadline=None)
@given(st.floats(0, 0.05), st.integers(2, 40))
def test_rounding_of_the_phones_numbers_makes_no_cameras(most_px: float, count: int) -> None:
    wander = most_px * np.random.default_rng(0).uniform(-1, 1, (count, 4))
    base = np.array([PHONE.fx_px, PHONE.fy_px, PHONE.cx_px, PHONE.cy_px])
    (group,) = database.group_cameras(frames_of(base + wander), WIDTH, HEIGHT)
    assert len(group.names) == count


def frames_of(rows: Floats) -> list[CapturedFrame]:
    """Frames with intrinsics (n, 4) fx, fy, cx, cy."""
    frame = CapturedFrame.model_validate(
        {
            "name": "000001.png",
            "source_index": 0,
            "timestamp_s": 0.0,
            "pose": {"quaternion_xyzw": (0, 0, 0, 1), "position_m": (0, 0, 0)},
            "intrinsics": PHONE,
            "has_depth": False,
            "sharpness": 1.0,
        }
    )
    made = []
    for number, (fx, fy, cx, cy) in enumerate(rows.tolist(), start=1):
        intrinsics = Intrinsics(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)
        made.append(frame.model_copy(update={"name": f"{number:06d}.png", "intrinsics": intrinsics}))
    return made


def test_where_the_phone_was_is_a_prior_in_metres(tmp_path: Path) -> None:
    places = np.random.default_rng(0).uniform(-4, 4, (6, 3))
    ids = database.create(tmp_path / "database.db", capture_of(tmp_path, [PHONE] * 6, places), CameraModel.PINHOLE)
    with pycolmap.Database.open(tmp_path / "database.db") as db:
        priors = db.read_all_pose_priors()
        sensors = [db.read_image(image_id).data_id for image_id in ids.values()]
    assert len(priors) == 6
    for prior, place, sensor in zip(priors, places, sensors, strict=True):
        assert prior.position.ravel() == pytest.approx(place)
        assert prior.coordinate_system == pycolmap.PosePriorCoordinateSystem.CARTESIAN
        assert np.sqrt(np.diag(prior.position_covariance)) == pytest.approx([0.05] * 3)
        assert prior.corr_data_id == sensor


def test_a_killed_runs_database_is_replaced_with_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "matching"
    folder.mkdir()
    path = folder / "database.db"

    def leave_over() -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).write_bytes(b"left over")

    leave_over()
    database.remove(path)
    assert list(folder.iterdir()) == []
    leave_over()
    database.create(path, capture_of(tmp_path, [PHONE] * 2), CameraModel.PINHOLE)
    with pycolmap.Database.open(path) as db:
        assert db.num_images() == 2


def test_keypoints_keep_their_scale_and_orientation_in_the_database(tmp_path: Path) -> None:
    path = tmp_path / "database.db"
    database.create(path, capture_of(tmp_path, [PHONE]), CameraModel.PINHOLE)
    rng = np.random.default_rng(0)
    found = Features(
        keypoints_px=rng.uniform(0, 1000, (9, 2)).astype(np.float32),
        descriptors=np.zeros((9, 128), np.float16),
        scores=np.ones(9, np.float32),
        size_px=(WIDTH, HEIGHT),
        scales_px=rng.uniform(1, 20, 9).astype(np.float32),
        orientations_rad=rng.uniform(-3, 3, 9).astype(np.float32),
    )
    with pycolmap.Database.open(path) as db:
        db.write_keypoints(1, database.keypoint_rows(found))
        rows = np.asarray(db.read_keypoints(1))
    assert found.scales_px is not None and found.orientations_rad is not None
    assert np.array_equal(rows[:, :2], found.keypoints_px)
    assert rows[:, 2] == pytest.approx(found.scales_px, rel=1e-5)
    assert rows[:, 3] == pytest.approx(found.orientations_rad, abs=1e-5)
    bare = dataclasses.replace(found, scales_px=None, orientations_rad=None)
    assert database.keypoint_rows(bare).shape == (9, 2)


def test_what_native_code_writes_is_watched_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "database.db"
    ids = database.create(path, capture_of(tmp_path, [PHONE] * 4), CameraModel.PINHOLE)
    heard = WaitingListener()
    with database.watched(path, lambda db: sum(map(db.exists_keypoints, ids.values())), 4, heard, "Working"):
        with pycolmap.Database.open(path) as db:
            for image_id in (1, 2, 3):
                db.write_keypoints(image_id, np.ones((5, 2), np.float32))
        heard.wait_for((3, 4, "Working"))
    assert heard.progressed[0] == (0, 4, "Working")
    assert heard.progressed[-1] == (4, 4, "Working")


def test_work_that_fails_is_not_reported_as_done(tmp_path: Path) -> None:
    path = tmp_path / "database.db"
    database.create(path, capture_of(tmp_path, [PHONE]), CameraModel.PINHOLE)
    listener = Listener()
    with (
        pytest.raises(RuntimeError, match="native"),
        database.watched(path, lambda db: db.num_images(), 9, listener, "Working"),
    ):
        raise RuntimeError("native code gave up")
    assert (9, 9, "Working") not in listener.progressed
    assert "database-watch" not in {thread.name for thread in threading.enumerate()}
