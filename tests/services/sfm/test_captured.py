"""What the steps read from a capture folder."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.captures import CapturedFrame, Pose
from contracts.errors import ErrorCode, UserError
from services.sfm.captured import pose_matrix, read_depth, read_manifest
from tests.services.sfm.textured_rooms import Pinhole, box_room, cast, looking, write_capture

SIZE_M = (1.5, 1.0, 1.5)
CAMERA = Pinhole(64, 48, 50.0, 50.0, 32.0, 24.0)


def one_frame(folder: Path, depth_size_px: tuple[int, int] | None = (64, 48)) -> CapturedFrame:
    pose = looking((0.7, 0.6, 0.4), (0.8, 0.5, 1.5))
    write_capture(folder, box_room(SIZE_M), [pose], [CAMERA], depth_size_px=depth_size_px, draw_pictures=False)
    return read_manifest(folder).frames[0]


def test_depth_is_in_metres(tmp_path: Path) -> None:
    frame = one_frame(tmp_path)
    depth = read_depth(tmp_path, frame, 2)
    assert depth is not None and depth.dtype == np.float64
    _, exact = cast(box_room(SIZE_M), CAMERA, pose_matrix(frame.pose))
    assert np.abs(depth - exact).max() <= 0.00051


def test_depth_less_sure_than_asked_for_is_no_depth(tmp_path: Path) -> None:
    frame = one_frame(tmp_path)
    whole = read_depth(tmp_path, frame, 0)
    confidence = np.arange(64 * 48).reshape(48, 64) % 3
    cv2.imwrite(str(tmp_path / "confidence" / frame.name), confidence.astype(np.uint8))
    assert whole is not None
    for least in (0, 1, 2):
        depth = read_depth(tmp_path, frame, least)
        assert depth is not None
        assert np.array_equal(depth, np.where(confidence >= least, whole, 0))


def test_a_capture_without_confidence_is_sure_of_everything(tmp_path: Path) -> None:
    frame = one_frame(tmp_path)
    (tmp_path / "confidence" / frame.name).unlink()
    depth = read_depth(tmp_path, frame, 2)
    assert depth is not None and np.all(depth > 0)


def test_a_frame_without_depth_has_none(tmp_path: Path) -> None:
    assert read_depth(tmp_path, one_frame(tmp_path, depth_size_px=None), 0) is None


@pytest.mark.parametrize("content", [None, b"torn", "colour"])
def test_depth_that_cannot_be_read_is_the_users_affair(content: bytes | str | None, tmp_path: Path) -> None:
    frame = one_frame(tmp_path)
    path = tmp_path / "depth" / frame.name
    path.unlink()
    if content == "colour":
        cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"depth/{frame.name}") as error:
        read_depth(tmp_path, frame, 0)
    assert error.value.code is ErrorCode.INVALID_DEPTH


@pytest.mark.parametrize("content", [b"torn", "small"])
def test_confidence_that_does_not_fit_is_the_users_affair(content: bytes | str, tmp_path: Path) -> None:
    frame = one_frame(tmp_path)
    path = tmp_path / "confidence" / frame.name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        cv2.imwrite(str(path), np.full((24, 32), 2, np.uint8))
    with pytest.raises(UserError, match=f"confidence/{frame.name}") as error:
        read_depth(tmp_path, frame, 1)
    assert error.value.code is ErrorCode.INVALID_DEPTH


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(value**2 for value in q) > 0.01))
def test_a_pose_is_the_rotation_of_its_quaternion(quaternion: tuple[float, float, float, float]) -> None:
    matrix = pose_matrix(Pose(quaternion_xyzw=quaternion, position_m=(1, 2, 3)))
    vector, scalar = np.array(quaternion[:3]), quaternion[3]
    length = vector @ vector + scalar**2
    for axis in np.eye(3):
        # v' = v + 2 w (q x v) + 2 q x (q x v), for a unit quaternion (q, w).
        turned = axis + 2 * (scalar * np.cross(vector, axis) + np.cross(vector, np.cross(vector, axis))) / length
        assert matrix[:3, :3] @ axis == pytest.approx(turned, abs=1e-9)
    assert matrix[:3, 3].tolist() == [1, 2, 3]
    assert matrix[3].tolist() == [0, 0, 0, 1]
