import zlib  # noqa: F401  (the system's zlib has to be bound before pycolmap brings its own)
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from contracts.capture_settings import Approach, CameraModel, CaptureSettings, MapperType
from contracts.errors import ErrorCode, UserError
from services.sfm import mapping
from services.sfm.models import MappingSummary
from tests.services.sfm.exact_room import Truth, Walk, make_scene

Floats = NDArray[np.float64]
WAYS = [
    (Approach.KNOWN_POSES, MapperType.GLOMAP),
    (Approach.FULL_SFM, MapperType.GLOMAP),
    (Approach.FULL_SFM, MapperType.COLMAP),
]


@dataclass
class Listener:
    """Keeps what was reported."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.lines.append(name)

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        self.shares.append(done / total)

    def log(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass(frozen=True)
class Errors:
    """Against the truth after a rigid alignment of the centres, scale left alone."""

    summary: MappingSummary
    centre_m: Floats
    rotation_deg: Floats
    scale: float
    gravity_deg: float
    listener: Listener


def run(walk: Walk, approach: Approach, mapper: MapperType, folder: Path) -> Errors:
    folder.mkdir(exist_ok=True)
    database, capture, truth = make_scene(walk, folder)
    listener = Listener()
    conf = CaptureSettings(
        stray_approach=approach, mapper_type=mapper, num_threads=1, camera_model=CameraModel(walk.camera_model)
    )
    summary = mapping.main(conf, capture, database, folder / "out", listener)
    stored = MappingSummary.model_validate_json((folder / "out" / "mapping.json").read_bytes())
    assert stored == summary
    return compare(summary, pycolmap.Reconstruction(folder / "out" / "sparse" / "0"), truth, listener)


def compare(summary: MappingSummary, model: pycolmap.Reconstruction, truth: Truth, listener: Listener) -> Errors:
    images = [model.image(image_id) for image_id in model.reg_image_ids()]
    assert len(images) == summary.registered
    target = truth.world_from_camera[[int(image.name[:6]) - 1 for image in images]]
    centres = np.array([image.projection_center() for image in images])
    rotations = np.array([image.cam_from_world().inverse().rotation.matrix() for image in images])
    a, b = centres - centres.mean(0), target[:, :3, 3] - target[:, :3, 3].mean(0)
    turn, _ = Rotation.align_vectors(b, a)
    away = Rotation.from_matrix((turn.as_matrix() @ rotations).transpose(0, 2, 1) @ target[:, :3, :3])
    return Errors(
        summary=summary,
        centre_m=np.linalg.norm(turn.apply(a) - b, axis=1),
        rotation_deg=np.degrees(away.magnitude()),
        scale=float(np.linalg.norm(a) / np.linalg.norm(b)),
        gravity_deg=float(np.degrees(np.arccos(np.clip(turn.as_matrix()[1, 1], -1, 1)))),
        listener=listener,
    )


@pytest.mark.parametrize(("approach", "mapper"), WAYS)
def test_a_walk_through_two_rooms_comes_out_in_metres_with_gravity_up(
    approach: Approach, mapper: MapperType, tmp_path: Path
) -> None:
    errors = run(Walk(), approach, mapper, tmp_path)
    summary = errors.summary
    assert summary.registered == summary.total == 40
    assert np.median(errors.centre_m) < 0.004
    assert errors.centre_m.max() < 0.012
    assert np.median(errors.rotation_deg) < 0.1
    assert errors.scale == pytest.approx(1, abs=0.004)
    assert errors.gravity_deg < 0.3
    assert summary.reprojection_error_px < 0.7
    assert summary.picture_delay_s == pytest.approx(0.03, abs=0.003)
    assert {source.name for source in summary.scale_sources} == {"track", "depth"}
    assert summary.track_residual is not None
    assert summary.track_residual.median_m < 0.06
    assert any("residual to the arkit track" in line.lower() for line in errors.listener.lines)
    assert errors.listener.shares
    assert not errors.listener.warnings


@pytest.mark.parametrize(("approach", "mapper"), WAYS)
def test_lidar_mends_a_track_whose_scale_is_off(approach: Approach, mapper: MapperType, tmp_path: Path) -> None:
    errors = run(Walk(track_scale=1.05, drift_m=0.08, drift_deg=3.0), approach, mapper, tmp_path)
    assert errors.scale == pytest.approx(1, abs=0.005)
    assert np.median(errors.centre_m) < 0.01
    track = next(source for source in errors.summary.scale_sources if source.name == "track")
    assert track.factor == pytest.approx(1.05, abs=0.015)


@pytest.mark.parametrize(("approach", "mapper"), WAYS)
def test_rooms_that_share_no_picture_pair_become_one_model(
    approach: Approach, mapper: MapperType, tmp_path: Path
) -> None:
    errors = run(Walk(cut_before=20), approach, mapper, tmp_path)
    assert errors.summary.registered == 40
    assert errors.summary.models == 1
    assert np.median(errors.centre_m) < 0.01
    assert errors.centre_m.max() < 0.03
    if approach is Approach.FULL_SFM:
        assert any("joined along the phone's track" in line for line in errors.listener.lines)


def test_pictures_that_see_nothing_are_not_registered_and_named(tmp_path: Path) -> None:
    errors = run(Walk(silent_frames=(12, 25)), Approach.KNOWN_POSES, MapperType.GLOMAP, tmp_path)
    assert errors.summary.unregistered == ("000013.png", "000026.png")
    assert np.median(errors.centre_m) < 0.004
    assert "000013.png" in errors.listener.warnings[0]


@pytest.mark.parametrize(
    ("model", "distortion"), [("OPENCV", -0.06), ("SIMPLE_RADIAL", -0.06), ("OPENCV_FISHEYE", 0.05)]
)
def test_distortion_that_the_phone_does_not_report_is_found(model: str, distortion: float, tmp_path: Path) -> None:
    walk = Walk(camera_model=model, distortion=distortion)
    errors = run(walk, Approach.KNOWN_POSES, MapperType.GLOMAP, tmp_path)
    assert errors.summary.registered == 40
    assert errors.summary.reprojection_error_px < 0.6
    assert np.median(errors.centre_m) < 0.01
    assert errors.scale == pytest.approx(1, abs=0.005)


def test_one_thread_gives_the_same_model_again(tmp_path: Path) -> None:
    first = run(Walk(), Approach.FULL_SFM, MapperType.COLMAP, tmp_path / "a")
    second = run(Walk(), Approach.FULL_SFM, MapperType.COLMAP, tmp_path / "b")
    np.testing.assert_array_equal(first.centre_m, second.centre_m)


def test_pictures_that_do_not_match_make_no_model(tmp_path: Path) -> None:
    database, capture, _ = make_scene(Walk(frames=6, landmarks=20), tmp_path)
    for approach in Approach:
        with pytest.raises(UserError, match="6 pictures with 0 matched pairs") as error:
            mapping.main(CaptureSettings(stray_approach=approach), capture, database, tmp_path / "out", Listener())
        assert error.value.code is ErrorCode.NO_MODEL
