"""COLMAP's database: cameras, pictures, and where the phone was; features and matches are written by their steps.

Other SQLite libraries must not open the file while pycolmap has it open in the same process: two copies of SQLite
release each other's POSIX locks when they close it, and the write-ahead log is lost (sqlite.org/howtocorrupt.html, 2.2.1).
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from contracts.capture_settings import CameraModel
from contracts.captures import CapturedFrame, CaptureManifest, Intrinsics
from contracts.progress import Reporter
from services.sfm.captured import Floats
from services.sfm.hloc_files import Features

DATABASE_NAME = "database.db"

SAME_CAMERA_PX = 0.5
"""Frames whose projections nowhere differ by more share a camera."""

POSITION_SIGMA_M = 0.05
"""Of a phone's position against the walk so far: drift of a few centimetres and the delay of its pictures."""

WATCH_PERIOD_S = 0.4
COMPANIONS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class CameraGroup:
    """Frames that share one camera, and that camera's intrinsics (the mean of theirs)."""

    intrinsics: Intrinsics
    names: tuple[str, ...]


def _fisheye_coefficients(intrinsics: Intrinsics, width_px: int, height_px: int) -> Floats:
    """k1 to k4 with which the equidistant polynomial is a pinhole's tangent over the whole picture.

    Least squares on θ(1 + k1θ² + k2θ⁴ + k3θ⁶ + k4θ⁸) = tan θ up to the farthest corner, in pixels.
    """
    farthest = np.hypot(
        max(intrinsics.cx_px, width_px - intrinsics.cx_px) / intrinsics.fx_px,
        max(intrinsics.cy_px, height_px - intrinsics.cy_px) / intrinsics.fy_px,
    )
    theta = np.arctan(np.linspace(0, farthest, 400)[1:])
    powers = theta[:, None] ** np.array([3, 5, 7, 9])
    return np.asarray(np.linalg.lstsq(powers, np.tan(theta) - theta, rcond=None)[0], np.float64)


def camera_parameters(intrinsics: Intrinsics, model: CameraModel, width_px: int, height_px: int) -> list[float]:
    """COLMAP's parameters of the camera of `model` that projects as the pinhole does.

    Exact for PINHOLE and OPENCV; OPENCV_FISHEYE within 0.03 px up to 90° across; SIMPLE_RADIAL has one
    focal length, the mean of the two.
    """
    fx, fy, cx, cy = intrinsics.fx_px, intrinsics.fy_px, intrinsics.cx_px, intrinsics.cy_px
    if model is CameraModel.PINHOLE:
        return [fx, fy, cx, cy]
    if model is CameraModel.OPENCV:
        return [fx, fy, cx, cy, 0.0, 0.0, 0.0, 0.0]
    if model is CameraModel.SIMPLE_RADIAL:
        return [(fx + fy) / 2, cx, cy, 0.0]
    return [fx, fy, cx, cy, *_fisheye_coefficients(intrinsics, width_px, height_px).tolist()]


def camera(intrinsics: Intrinsics, model: CameraModel, width_px: int, height_px: int) -> pycolmap.Camera:
    """A COLMAP camera whose focal length is marked as known."""
    made = pycolmap.Camera(
        model=model.value,
        width=width_px,
        height=height_px,
        params=camera_parameters(intrinsics, model, width_px, height_px),
    )
    made.has_prior_focal_length = True
    return made


def focal_mismatch_px(intrinsics: Intrinsics, model: CameraModel, width_px: int, height_px: int) -> float:
    """How far SIMPLE_RADIAL's single focal length moves the farthest corner; 0 for models that have two."""
    if model is not CameraModel.SIMPLE_RADIAL:
        return 0.0
    apart = abs(intrinsics.fx_px - intrinsics.fy_px) / 2
    x = max(intrinsics.cx_px, width_px - intrinsics.cx_px) / intrinsics.fx_px
    y = max(intrinsics.cy_px, height_px - intrinsics.cy_px) / intrinsics.fy_px
    return float(apart * np.hypot(x, y))


def group_cameras(frames: Sequence[CapturedFrame], width_px: int, height_px: int) -> list[CameraGroup]:
    """One camera for all frames if their intrinsics agree, else one for each run of consecutive frames that do.

    Phones that focus continuously report intrinsics that wander by pixels; the runs follow them.
    """
    rows = np.array([_row(frame.intrinsics) for frame in frames])
    if _spread_px(rows, width_px, height_px) <= SAME_CAMERA_PX:
        return [_group(frames, rows)]
    groups, start = [], 0
    for stop in range(1, len(frames) + 1):
        if stop == len(frames) or _spread_px(rows[start : stop + 1], width_px, height_px) > SAME_CAMERA_PX:
            groups.append(_group(frames[start:stop], rows[start:stop]))
            start = stop
    return groups


def _row(intrinsics: Intrinsics) -> tuple[float, float, float, float]:
    return intrinsics.fx_px, intrinsics.fy_px, intrinsics.cx_px, intrinsics.cy_px


def _spread_px(rows: Floats, width_px: int, height_px: int) -> float:
    """The largest distance in pixels between the projections of two of the cameras, anywhere in the picture."""
    spread = np.ptp(rows, axis=0)
    reach = np.array([width_px, height_px]) / rows[:, :2].min(axis=0)
    return float(np.hypot(*(spread[:2] * reach + spread[2:])))


def _group(frames: Sequence[CapturedFrame], rows: Floats) -> CameraGroup:
    fx, fy, cx, cy = (float(value) for value in rows.mean(axis=0))
    return CameraGroup(
        Intrinsics(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy),
        tuple(frame.name for frame in frames),
    )


def remove(path: Path) -> None:
    """Delete a database with what SQLite keeps beside it; one that is left over from a killed run must not be opened."""
    for suffix in ("", *COMPANIONS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def create(path: Path, capture: CaptureManifest, model: CameraModel) -> dict[str, int]:
    """A new database with every frame's camera, picture, trivial rig and frame, and position prior.

    Picture ids are the frames' places in `capture.frames`, from 1. Priors are the phone's positions in its own world
    (metres, +y up), CARTESIAN, with an isotropic covariance. Returns picture ids by name.
    """
    remove(path)
    width, height = capture.source.width_px, capture.source.height_px
    place = {frame.name: number for number, frame in enumerate(capture.frames, start=1)}
    priors = {frame.name: frame.pose.position_m for frame in capture.frames}
    with pycolmap.Database.open(path) as db, pycolmap.DatabaseTransaction(db):
        for group in group_cameras(capture.frames, width, height):
            ids = {place[name]: name for name in group.names}
            for image in write_camera(db, camera(group.intrinsics, model, width, height), ids):
                _write_prior(db, image, priors[image.name])
    return place


def write_camera(db: pycolmap.Database, shared: pycolmap.Camera, names: Mapping[int, str]) -> list[pycolmap.Image]:
    """Write a camera, its trivial rig, and its pictures with their frames; `names` of the pictures by their ids."""
    shared.camera_id = db.write_camera(shared)
    rig = pycolmap.Rig()
    rig.add_ref_sensor(shared.sensor_id)
    rig_id = db.write_rig(rig)
    return [_write_image(db, image_id, name, shared.camera_id, rig_id) for image_id, name in names.items()]


def _write_image(db: pycolmap.Database, image_id: int, name: str, camera_id: int, rig_id: int) -> pycolmap.Image:
    image = pycolmap.Image(name=name, camera_id=camera_id)
    image.image_id = image_id
    db.write_image(image, use_image_id=True)
    frame = pycolmap.Frame()
    frame.frame_id = image.image_id
    frame.rig_id = rig_id
    frame.add_data_id(image.data_id)
    db.write_frame(frame, use_frame_id=True)
    image.frame_id = frame.frame_id
    db.update_image(image)
    return image


def _write_prior(db: pycolmap.Database, image: pycolmap.Image, position_m: Sequence[float]) -> None:
    prior = pycolmap.PosePrior(
        position=np.array(position_m, np.float64),
        position_covariance=np.eye(3) * POSITION_SIGMA_M**2,
        coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
    )
    prior.pose_prior_id = image.image_id
    prior.corr_data_id = image.data_id
    db.write_pose_prior(prior, use_pose_prior_id=True)


def keypoint_rows(features: Features) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """COLMAP's keypoint rows (n, 2) or (n, 4) float32: x, y and, where known, scale and orientation."""
    if features.scales_px is None or features.orientations_rad is None:
        return np.ascontiguousarray(features.keypoints_px, np.float32)
    columns = (features.keypoints_px, features.scales_px[:, None], features.orientations_rad[:, None])
    return np.ascontiguousarray(np.concatenate(columns, axis=1), np.float32)


@contextmanager
def watched(
    path: Path, count: Callable[[pycolmap.Database], int], total: int, report: Reporter, operation: str
) -> Iterator[None]:
    """Report `count` of the database as progress while the body runs native code that writes to it."""
    finished = threading.Event()

    def watch() -> None:
        with pycolmap.Database.open(path) as db:
            last = -1
            while not finished.wait(WATCH_PERIOD_S):
                done = min(count(db), total)
                if done != last:
                    report.progress(done, total, operation)
                    last = done

    watcher = threading.Thread(target=watch, name="database-watch", daemon=True)
    report.progress(0, total, operation)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
    report.progress(total, total, operation)
