from pathlib import Path

import cv2
import numpy as np
import pytest

from services.sfm import metric
from services.sfm.models import Scale
from tests.services.sfm.exact_room import Walk, at_times, phone_track, true_path


def track_scale(walk: Walk, model_scale: float) -> Scale:
    times, poses = true_path(walk)
    stamps = np.arange(walk.frames) / walk.fps
    truth = at_times(times, poses, stamps)
    truth[:, :3, 3] /= model_scale
    scale = metric.scale_from_track(stamps, truth, at_times(times, phone_track(walk, times, poses), stamps))
    assert scale is not None
    return scale


@pytest.mark.parametrize("bias", [0.95, 1.0, 1.09])
def test_the_tracks_scale_is_measured_through_drift(bias: float) -> None:
    scale = track_scale(Walk(track_scale=bias, drift_m=0.1, drift_deg=5.0), model_scale=3.0)
    assert scale.factor / 3.0 == pytest.approx(bias, rel=0.01)
    assert scale.sigma / scale.factor >= metric.TRACK_SYSTEMATIC


def test_too_little_motion_gives_no_scale() -> None:
    still = np.tile(np.eye(4), (20, 1, 1))
    assert metric.scale_from_track(np.arange(20.0), still, still) is None


def test_depth_scale_survives_wrong_points_and_a_frame_full_of_them() -> None:
    rng = np.random.default_rng(5)
    frame = np.concatenate([np.full(5000, 0), np.repeat(np.arange(1, 30), 40)])
    ratio = 0.7 * (1 + rng.normal(0, 0.02, len(frame)))
    ratio[frame == 0] *= 1.3
    ratio[rng.uniform(size=len(ratio)) < 0.2] *= 1.5
    scale = metric.scale_from_depth(metric.DepthRatios(ratio, frame))
    assert scale is not None
    assert scale.factor == pytest.approx(0.7, rel=0.01)


def test_too_few_readings_give_no_scale() -> None:
    assert metric.scale_from_depth(metric.DepthRatios(np.ones(10), np.arange(10))) is None


def test_sources_combine_by_inverse_variance_and_disagreement_is_counted() -> None:
    a, b = Scale("track", 1.0, 0.03, 10), Scale("depth", 1.1, 0.01, 20)
    both = metric.combine([a, b])
    assert both.factor == pytest.approx((1.0 / 9 + 1.1) / (1 / 9 + 1))
    assert both.sigma < 0.01
    assert metric.disagreement_sigma([a, b]) == pytest.approx(0.1 / np.hypot(0.03, 0.01))
    assert metric.disagreement_sigma([a]) == 0


def test_depth_is_read_exactly_on_a_slanted_plane_and_not_at_edges_or_without_confidence(tmp_path: Path) -> None:
    for name in ("depth", "confidence"):
        (tmp_path / name).mkdir()
    v, u = np.mgrid[0:192, 0:256] + 0.5
    plane = 1 / (0.5 + 0.001 * (u - 128) + 0.0005 * (v - 96))
    depth = plane.copy()
    depth[:, 200:] += 1.0
    confidence = np.full(depth.shape, 2, np.uint8)
    confidence[:20] = 1
    cv2.imwrite(str(tmp_path / "depth" / "000001.png"), np.round(depth * 1000).astype(np.uint16))
    cv2.imwrite(str(tmp_path / "confidence" / "000001.png"), confidence)
    read = metric.read_depth(tmp_path, "000001.png", 2)
    assert read is not None
    assert np.isnan(read[:20]).all()
    assert np.isnan(read[60, 199:201]).all()
    pixels = np.array([[400.0, 500.0], [61.3, 333.3], [10.0, 10.0]])
    got = metric.depth_at(read, pixels, (1024, 768))
    want = 1 / (0.5 + 0.001 * (pixels[:, 0] / 4 - 128) + 0.0005 * (pixels[:, 1] / 4 - 96))
    np.testing.assert_allclose(got[:2], want[:2], atol=0.001)
    assert np.isnan(got[2])
    assert metric.read_depth(tmp_path, "000002.png", 2) is None
