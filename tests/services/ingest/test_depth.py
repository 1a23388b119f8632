import zipfile

import numpy as np
import pytest

from contracts.errors import ErrorCode, UserError
from services.ingest.archive import inspect_archive
from services.ingest.depth import DepthMaps, decode_depth, detect_scale, normalise_confidence
from tests.services.ingest.box_room import png, zip_bytes

RNG = np.random.default_rng(0)
DEPTH = RNG.integers(500, 5000, (48, 64), dtype=np.uint16)
LEVELS = RNG.integers(0, 3, (48, 64), dtype=np.uint8)


def maps(files: dict[str, bytes]) -> DepthMaps:
    buffer = zip_bytes({"rgb.mp4": b"x", "odometry.csv": b"x", "camera_matrix.csv": b"x", **files})
    inspection = inspect_archive(buffer)

    def rows(names: tuple[str, ...]) -> dict[int, str]:
        return {int(name[-10:-4]): name for name in names}

    return DepthMaps(zipfile.ZipFile(buffer), inspection, rows(inspection.depth), rows(inspection.confidence))


@pytest.mark.parametrize(("scale", "values"), [("0-2", (0, 1, 2)), ("0-255", (0, 127, 255))])
def test_both_scales_come_out_alike(scale: str, values: tuple[int, int, int]) -> None:
    raw = np.array(values, dtype=np.uint8)[LEVELS]
    low = np.full_like(raw, values[0])
    files = {f"depth/{i:06d}.png": png(DEPTH) for i in range(3)}
    # The first picture is all low and settles nothing: later ones decide.
    confidence = {"confidence/000000.png": png(low), **{f"confidence/{i:06d}.png": png(raw) for i in (1, 2)}}
    found = maps({**files, **confidence})
    assert found.scale == scale
    frame = found.frame(1)
    assert frame is not None
    np.testing.assert_array_equal(frame.confidence, LEVELS)
    np.testing.assert_array_equal(frame.depth_mm, DEPTH)
    assert frame.measured_pixels(2) == int((LEVELS == 2).sum())
    assert found.warnings() == []


def test_scale_from_maxima() -> None:
    assert [detect_scale(each) for each in ([], [0, 0], [0, 2], [1, 127], [0, 255])] == [
        "none",
        "0-2",
        "0-2",
        "0-255",
        "0-255",
    ]
    assert normalise_confidence(np.array([0, 63, 64, 127, 190, 191, 255], np.uint8), "0-255").tolist() == [
        0,
        0,
        1,
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no picture", png(DEPTH)[:200], png(DEPTH)[:-20], png(DEPTH.astype(np.uint8)),
        png(np.zeros((4, 4, 3), np.uint16)), png(DEPTH)[:16] + b"\x7f\xff\xff\xff" * 2 + png(DEPTH)[24:],
    ],
)  # fmt: skip
def test_files_that_are_no_depth_are_refused(data: bytes) -> None:
    with pytest.raises(UserError) as caught:
        decode_depth(data, "depth/000001.png")
    assert caught.value.code is ErrorCode.INVALID_DEPTH
    assert "depth/000001.png" in caught.value.message


def test_bad_files_are_left_out_and_named_in_one_warning() -> None:
    good = png(DEPTH)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    found = maps(
        {
            "depth/000000.png": b"broken",
            "depth/000001.png": good,
            "depth/000002.png": bytes(flipped),
            "depth/000003.png": png(DEPTH[:24]),
            **{f"confidence/{i:06d}.png": png(LEVELS) for i in range(3)},
            "confidence/000004.png": b"broken",
        }
    )
    assert found.size_px == (64, 48)
    assert [found.frame(row) is not None for row in range(4)] == [False, True, False, False]
    depth_warning, confidence_warning = found.warnings()
    assert "depth/000000.png" in depth_warning
    assert "2 more" in depth_warning
    assert "confidence/000004.png" in confidence_warning


def test_without_confidence_all_depth_is_high_and_that_is_said() -> None:
    found = maps({"depth/000000.png": png(DEPTH)})
    frame = found.frame(0)
    assert frame is not None
    assert (frame.confidence == 2).all()
    assert "no confidence pictures" in found.warnings()[0]


def test_one_missing_confidence_picture_means_low() -> None:
    found = maps({**{f"depth/{i:06d}.png": png(DEPTH) for i in range(2)}, "confidence/000000.png": png(LEVELS)})
    frame = found.frame(1)
    assert frame is not None
    assert frame.measured_pixels(1) == 0
