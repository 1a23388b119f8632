"""Pictures for networks, and keypoints back: a blob at a known place stays at that place, whatever the size in between."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from services.sfm.learned.preparation import Preparation, read_picture, to_picture_px

AACHEN = Preparation(grey=True, longest_side_px=1024)
MAX = Preparation(grey=True, longest_side_px=1600, enlarges=True)
MULTIPLES = Preparation(grey=True, longest_side_px=1600, side_multiple_px=32)


def blob(width: int, height: int, x: float, y: float, sigma_px: float) -> NDArray[np.uint8]:
    """A Gaussian around (x, y), pixel centres at +0.5."""
    v, u = np.mgrid[0:height, 0:width] + 0.5
    light = 250 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma_px**2))
    return np.asarray(np.rint(light), np.uint8)


def centroid(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, 2), pixel centres at whole numbers."""
    v, u = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]]
    total = plane.sum(dtype=np.float64)
    return np.array([[(u * plane).sum() / total, (v * plane).sum() / total]], np.float32)


@pytest.mark.parametrize(
    ("preparation", "width", "height", "expected"),
    [
        (AACHEN, 1920, 1440, (1024, 768)),
        (AACHEN, 800, 600, (800, 600)),
        (MAX, 800, 600, (1600, 1200)),
        (MAX, 1921, 1441, (1600, 1200)),
        (MULTIPLES, 1920, 1440, (1600, 1184)),
        (MULTIPLES, 500, 333, (480, 320)),
    ],
)
def test_a_blob_comes_back_to_its_place(
    preparation: Preparation, width: int, height: int, expected: tuple[int, int]
) -> None:
    truth = np.array([[0.37 * width, 0.61 * height]])
    picture = blob(width, height, *truth[0], sigma_px=width / 60)
    prepared = preparation.prepare(picture)
    assert prepared.shape == (1, expected[1], expected[0])
    assert prepared.dtype == np.float32 and prepared.min() >= 0 and prepared.max() <= 1
    back = to_picture_px(centroid(prepared[0]), expected, (width, height))
    # Half a pixel of wrong convention, or a scale of one axis for both, would be far outside.
    assert np.abs(back - truth).max() < 0.02


@given(st.integers(16, 5000), st.integers(16, 5000))
def test_sizes_keep_to_their_limits(width: int, height: int) -> None:
    assert max(AACHEN.size_for(width, height)) == min(1024, max(width, height))
    assert max(MAX.size_for(width, height)) == 1600
    assert all(side % 32 == 0 and side >= 32 for side in MULTIPLES.size_for(width, height))
    small = AACHEN.size_for(width, height)
    if min(small) > 200:
        assert small[0] / small[1] == pytest.approx(width / height, rel=0.01)


def test_colours_are_red_first(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((4, 6, 3), (0, 0, 255), np.uint8))
    picture = read_picture(tmp_path / "red.png", grey=False)
    assert picture.shape == (4, 6, 3) and picture[0, 0].tolist() == [255, 0, 0]
    prepared = Preparation(grey=False, longest_side_px=1600).prepare(picture)
    assert prepared[:, 0, 0].tolist() == [1, 0, 0]
    # OpenCV's weight of red.
    assert read_picture(tmp_path / "red.png", grey=True)[0, 0] == round(0.299 * 255)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"no\.png") as error:
        read_picture(tmp_path / "no.png", grey=True)
    assert error.value.code is ErrorCode.INVALID_IMAGE
