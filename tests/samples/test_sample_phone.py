"""The phone's errors are what its specification says, no more."""

from dataclasses import replace

import numpy as np
import pytest

from samples import phone as phones
from samples.phone import PhoneSpec
from samples.walk import Pace, Walk

PERFECT = PhoneSpec(
    scale_error=(0.0, 0.0),
    yaw_drift_rad=0.0,
    tilt_drift_rad=0.0,
    position_drift_m=0.0,
    jitter_m=0.0,
    jitter_rad=0.0,
)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_perfect_phone_reports_the_truth(seed: int) -> None:
    walk = Walk(12.0, seed, Pace())
    times = np.linspace(0.05, 11, 50)
    world_from_building = phones.capture_from_building(walk.poses(times[:1])[0], seed)
    reported = phones.odometry(walk, times, world_from_building, PERFECT, seed)
    assert np.abs(reported - world_from_building @ walk.poses(times)).max() < 1e-4  # the track is sampled at 60 Hz


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_drift_stays_within_the_specification(seed: int) -> None:
    phone = PhoneSpec()
    walk = Walk(40.0, seed, Pace())
    times = np.linspace(0.05, 39, 200)
    world_from_building = phones.capture_from_building(walk.poses(times[:1])[0], seed)
    true = world_from_building @ walk.poses(times)
    reported = phones.odometry(walk, times, world_from_building, phone, seed)
    away = np.linalg.norm(true[:, :3, 3] - true[0, :3, 3], axis=1)
    travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1))])
    error = np.linalg.norm(reported[:, :3, 3] - true[:, :3, 3], axis=1)
    allowed = phone.scale_error[1] * away + phone.yaw_drift_rad * travelled + np.sqrt(3) * phone.position_drift_m
    assert (error <= allowed + 6 * phone.jitter_m).all()
    assert error[-1] > 0.005  # and there is some
    apart = np.swapaxes(true[:, :3, :3], 1, 2) @ reported[:, :3, :3]
    angle = np.arccos(np.clip((np.trace(apart, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angle.max() < phone.yaw_drift_rad + 2 * phone.tilt_drift_rad + 6 * phone.jitter_rad
    tilt = np.arccos(np.clip(np.einsum("ni,ni->n", reported[:, 1, :3], true[:, 1, :3]), -1, 1))
    assert np.rad2deg(tilt).max() < 0.6  # gravity is known much better than heading


def test_only_the_scale_error_stretches_the_track() -> None:
    walk = Walk(30.0, 2, Pace())
    times = np.linspace(0.05, 29, 100)
    world_from_building = phones.capture_from_building(walk.poses(times[:1])[0], 2)
    phone = replace(PERFECT, scale_error=(0.012, 0.012))
    true = (world_from_building @ walk.poses(times))[:, :3, 3]
    reported = phones.odometry(walk, times, world_from_building, phone, 2)[:, :3, 3]
    stretch = np.linalg.norm(reported - reported[0], axis=1)[20:] / np.linalg.norm(true - true[0], axis=1)[20:]
    assert np.abs(np.abs(stretch - 1) - 0.012).max() < 1e-4


def test_the_phones_world_is_upright_and_begins_at_the_first_camera() -> None:
    pose = Walk(3.0, 9, Pace()).poses(np.array([0.1]))[0]
    world_from_building = phones.capture_from_building(pose, 9)
    assert np.allclose(world_from_building[:3, :3] @ [0, 0, 1], [0, 1, 0], atol=1e-15)
    assert np.linalg.det(world_from_building[:3, :3]) == pytest.approx(1)
    assert np.allclose(world_from_building @ pose[:, 3], [0, 0, 0, 1], atol=1e-12)


def test_time_stamps_are_irregular_with_gaps_and_pictures_are_late() -> None:
    phone = PhoneSpec()
    timing = phones.clock(400, 5.0, phone, 1)
    steps = np.diff(timing.timestamp_s)
    assert timing.timestamp_s[0] == 0
    assert (steps > 0).all()
    assert np.median(steps) == pytest.approx(0.2, abs=0.002)
    gaps = steps > 0.2 + 0.5 / 60
    assert 0.01 < gaps.mean() < 0.15
    assert np.allclose(timing.pose_time_s - timing.picture_time_s, phone.picture_delay_s)


def test_lidar_noise_grows_with_range_and_ends_at_five_metres() -> None:
    phone, rng = PhoneSpec(), np.random.default_rng(0)
    shape = (phones.DEPTH_HEIGHT_PX, phones.DEPTH_WIDTH_PX)
    lit, frontal = np.full(shape, 0.3, np.float32), np.ones(shape, np.float32)
    spread = []
    for range_m in (1.0, 2.0, 4.0):
        depth, confidence = phones.lidar(
            np.full(shape, range_m, np.float32), frontal, lit, phone=phone, scale=1.0, rng=rng
        )
        assert abs(np.median(depth) / 1000 / range_m - 1) < 0.003
        spread.append(float(np.std(depth / 1000.0)))
        assert 0.002 < spread[-1] / range_m < 0.01
        assert (confidence == 2).mean() > 0.9 if range_m < 3 else (confidence == 2).mean() < 0.6
    assert spread[0] < spread[1] < spread[2]
    depth, confidence = phones.lidar(np.full(shape, 5.5, np.float32), frontal, lit, phone=phone, scale=1.0, rng=rng)
    assert not depth.any()
    assert not confidence.any()
    depth, _ = phones.lidar(np.full(shape, 2.0, np.float32), frontal, lit, phone=phone, scale=1.003, rng=rng)
    assert np.mean(depth) == pytest.approx(2006, abs=2.5)


def test_lidar_edges_are_rounded_and_doubted() -> None:
    shape = (phones.DEPTH_HEIGHT_PX, phones.DEPTH_WIDTH_PX)
    step = np.full(shape, 1.0, np.float32)
    step[:, 128:] = 2.0
    bright, frontal = np.full(shape, 0.3, np.float32), np.ones(shape, np.float32)
    depth, confidence = phones.lidar(step, frontal, bright, phone=PhoneSpec(), scale=1.0, rng=np.random.default_rng(1))
    between = (depth > 1150) & (depth < 1850)
    assert between[:, 126:130].any(axis=1).all()  # points that float between near and far
    assert not between[:, :120].any()
    assert (confidence[:, 127:129] == 0).mean() > 0.9
    grazing = np.full(shape, 0.1, np.float32)
    for cosine, light in ((grazing, bright), (frontal, np.zeros(shape, np.float32))):
        _, confidence = phones.lidar(
            np.ones(shape, np.float32), cosine, light, phone=PhoneSpec(), scale=1.0, rng=np.random.default_rng(1)
        )
        assert (confidence < 2).mean() > 0.9


def test_transfer_curves() -> None:
    grey = np.full((1, 1, 3), 0.18, np.float32)
    assert phones.rec709(grey)[0, 0] / 65535 == pytest.approx(1.055 * 0.18 ** (1 / 2.4) - 0.055, abs=1e-3)
    # Middle grey in Apple's white paper: 0.488.
    assert phones.apple_log(grey)[0, 0] / 65535 == pytest.approx(0.48827, abs=2e-4)
    ramp = np.repeat(np.linspace(0, 3, 500, dtype=np.float32)[:, None, None], 3, axis=2)
    for curve in (phones.rec709, phones.apple_log):
        assert (np.diff(curve(ramp)[:, 0, 0].astype(int)) >= 0).all()
