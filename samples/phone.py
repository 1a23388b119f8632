"""What a LiDAR phone makes of what it sees: pictures, depth, confidence, odometry and time stamps.

World of the phone: metres, right-handed, y up, origin where the first picture was taken, turned about y by any angle.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from samples.render import Camera, Floats32, Renderer
from samples.surfaces import Floats
from samples.walk import Walk

DEPTH_WIDTH_PX = 256
DEPTH_HEIGHT_PX = 192
DEPTH_LIMIT_M = 5.0
Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Rotates the building's axes (z up) into a phone's (y up)."""

_GRID_HZ = 60.0
_METER_SIZE_PX = (64, 48)


@dataclass(frozen=True)
class PhoneSpec:
    """How good the phone is. The defaults resemble phones of 2022 to 2024."""

    scale_error: tuple[float, float] = (0.005, 0.015)
    """Bounds of the size of the odometry's scale error; its sign is drawn."""
    yaw_drift_rad: float = 0.010
    """Greatest heading error over the capture; it is also in the track, as in dead reckoning."""
    tilt_drift_rad: float = 0.0015
    position_drift_m: float = 0.025
    """Greatest wandering of the position, beside what scale and heading do."""
    jitter_m: float = 0.0012
    jitter_rad: float = 0.0008
    picture_delay_s: float = 0.025
    """Picture i shows the scene this long before the time of pose i."""
    time_jitter_s: float = 0.0004
    dropped_share: float = 0.06
    """Share of time steps that are longer by one or two periods of the camera's clock."""
    focal_breathing: float = 0.0015
    """Greatest relative change of the focal length while focusing."""
    depth_noise: float = 0.004
    """Spread of depth noise, as a share of the range."""
    depth_scale_error: float = 0.003
    """Greatest relative error of all ranges alike; drawn once a capture."""
    exposure_max_s: float = 1 / 50
    exposure_min_s: float = 1 / 500
    full_well_electrons: float = 5000.0


@dataclass(frozen=True)
class Timing:
    """timestamp_s: what odometry.csv says, from 0 of the capture. pose_time_s, picture_time_s: when pose and picture are."""

    timestamp_s: Floats
    pose_time_s: Floats
    picture_time_s: Floats


@dataclass(frozen=True)
class Exposure:
    """How one picture was exposed: `gain` turns radiance into sensor signal (1 = full well)."""

    gain: float
    exposure_s: float
    iso_gain: float


def clock(count: int, fps: float, phone: PhoneSpec, seed: int) -> Timing:
    """Irregular times of `count` frames: steps of whole 1/60 s, some of them longer, with a little jitter."""
    rng = np.random.default_rng([seed, 5])
    period = 1 / max(60.0, fps)
    ideal = np.arange(count) / fps
    extra = np.cumsum(np.where(rng.random(count) < phone.dropped_share, rng.integers(1, 3, count), 0)) * period
    nominal = np.round((ideal + extra - extra[0]) / period) * period
    stamps = nominal + np.clip(rng.normal(0, phone.time_jitter_s, count), -period / 4, period / 4)
    start = phone.picture_delay_s + 0.01
    pose_time = stamps - stamps[0] + start
    return Timing(stamps - stamps[0], pose_time, pose_time - phone.picture_delay_s)


def capture_from_building(building_from_first_camera: Floats, seed: int) -> Floats:
    """The phone's world: gravity along -y, origin at the first camera, any heading. (4, 4) float64."""
    yaw = float(np.random.default_rng([seed, 6]).uniform(-np.pi, np.pi))
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("y", yaw).as_matrix() @ Z_UP_TO_Y_UP
    transform[:3, 3] = -transform[:3, :3] @ building_from_first_camera[:3, 3]
    return transform


def odometry(walk: Walk, pose_time_s: Floats, capture_from_building: Floats, phone: PhoneSpec, seed: int) -> Floats:
    """world_from_camera (n, 4, 4) float64 as the phone reports them: the true ones with drift, scale error and jitter.

    Heading and scale errors act on velocity, as dead reckoning would have it; position and tilt wander about zero.
    All errors but jitter are nil at time zero.
    """
    rng = np.random.default_rng([seed, 7])
    grid = np.arange(0.0, float(pose_time_s.max()) + 1 / _GRID_HZ, 1 / _GRID_HZ)
    truth = capture_from_building @ walk.poses(grid)
    scale = 1 + float(rng.choice([-1, 1]) * rng.uniform(*phone.scale_error))
    yaw = _drift(rng, len(grid), 1, 6.0, phone.yaw_drift_rad)[:, 0]
    tilt = _drift(rng, len(grid), 2, 3.0, phone.tilt_drift_rad)
    wander = _drift(rng, len(grid), 3, 4.0, phone.position_drift_m)
    turns = Rotation.from_euler("y", yaw[:, None])
    steps = np.diff(truth[:, :3, 3], axis=0, prepend=truth[:1, :3, 3])
    position = truth[0, :3, 3] + scale * np.cumsum(turns.apply(steps), axis=0) + wander
    position_at = np.stack([np.interp(pose_time_s, grid, column) for column in position.T], axis=1)
    yaw_at = np.interp(pose_time_s, grid, yaw)
    tilt_at = np.stack([np.interp(pose_time_s, grid, column) for column in tilt.T], axis=1)
    error = Rotation.from_euler("yxz", np.column_stack([yaw_at, tilt_at]))
    jitter = Rotation.from_rotvec(rng.normal(0, phone.jitter_rad / np.sqrt(3), (len(pose_time_s), 3)))
    exact = capture_from_building @ walk.poses(pose_time_s)
    poses = np.tile(np.eye(4), (len(pose_time_s), 1, 1))
    poses[:, :3, :3] = (error * Rotation.from_matrix(exact[:, :3, :3]) * jitter).as_matrix()
    poses[:, :3, 3] = position_at + rng.normal(0, phone.jitter_m / np.sqrt(3), (len(pose_time_s), 3))
    return poses


def _drift(rng: np.random.Generator, count: int, columns: int, period_s: float, greatest: float) -> Floats:
    """Smooth random curves (count, columns) that begin at zero, stay within `greatest` and come near it in the long run."""
    sigma = period_s * _GRID_HZ
    margin = int(4 * sigma)
    noise = gaussian_filter1d(rng.standard_normal((count + 2 * margin, columns)), sigma, axis=0)[
        margin : margin + count
    ]
    noise -= noise[0]
    # Scaled so that it reaches its greatest value over a long capture, less over a short one.
    grown = 1 - np.exp(-np.arange(count) / sigma)
    return np.asarray(noise / np.maximum(np.abs(noise).max(axis=0), 1e-12) * greatest * grown[-1], np.float64)


def focal_factors(times_s: Floats, phone: PhoneSpec, seed: int) -> Floats:
    """By what the focal length is longer than nominal, per picture."""
    rng = np.random.default_rng([seed, 8])
    phase, rate = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.2)
    return np.asarray(1 + phone.focal_breathing * np.sin(2 * np.pi * rate * times_s + phase), np.float64)


def auto_exposure(
    renderer: Renderer, cameras: list[Camera], poses: Floats, times_s: Floats, phone: PhoneSpec
) -> list[Exposure]:
    """Exposure of every picture: metered on small renderings, and slow to follow, as in a phone."""
    wanted = []
    for camera, pose in zip(cameras, poses, strict=True):
        image, _ = renderer.view(camera.resized(*_METER_SIZE_PX), pose)
        luminance = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        wanted.append(0.19 / float(np.exp(np.log(np.maximum(luminance, 1e-3)).mean())))
    exposures = []
    gain = wanted[0]
    for k, target in enumerate(wanted):
        step = float(times_s[k] - times_s[k - 1]) if k else 0.0
        gain *= (target / gain) ** (1 - np.exp(-step / 0.35))
        seconds = float(np.clip(phone.exposure_max_s * gain / 1.2, phone.exposure_min_s, phone.exposure_max_s))
        exposures.append(Exposure(gain, seconds, max(1.0, gain / 1.2)))
    return exposures


def blurred(
    image: Floats32, depth_m: Floats32, camera: Camera, start_from_middle: Floats, end_from_middle: Floats
) -> Floats32:
    """Motion blur: the picture averaged along the path that every point takes on the sensor during the exposure.

    `start_from_middle`, `end_from_middle`: camera poses at the shutter's opening and closing from the one in the middle.
    """
    centres = camera.centres().astype(np.float32)
    points = camera.directions(centres) * np.minimum(depth_m, np.float32(100))[..., None]
    begin, end = (_project(camera, points, pose) for pose in (start_from_middle, end_from_middle))
    path = end - begin
    longest = float(np.quantile(np.linalg.norm(path, axis=-1), 0.99))
    samples = int(np.clip(np.ceil(longest), 1, 24))
    if longest < 0.7:
        return image
    centres -= np.float32(0.5)
    total = np.zeros_like(image)
    for k in range(samples):
        at = centres + path * np.float32((k + 0.5) / samples - 0.5)
        total += cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(total / np.float32(samples), np.float32)


def _project(camera: Camera, points: Floats32, moved_from_middle: Floats) -> Floats32:
    moved = moved_from_middle.astype(np.float32)
    local = points @ moved[:3, :3].T + moved[:3, 3]
    pixels = local[..., :2] / np.maximum(local[..., 2:], np.float32(1e-3))
    pixels *= np.array([camera.fx_px, camera.fy_px], np.float32)
    return np.asarray(pixels + np.array([camera.cx_px, camera.cy_px], np.float32), np.float32)


def sensor(image: Floats32, exposure: Exposure, phone: PhoneSpec, rng: np.random.Generator) -> Floats32:
    """Exposed, vignetted and noisy signal, linear, 1 = full well before highlights are rolled off; (h, w, 3) float32."""
    height, width = image.shape[:2]
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width, dtype=np.float32)[None] + 0.5) / width - 0.5
    vignette = 1 - 0.22 * (x * x + y * y)
    signal = image * (np.float32(exposure.gain) * vignette)[..., None]
    # Shot and read noise after the phone's own denoising, which leaves it slightly correlated.
    spread = np.sqrt(np.minimum(signal, 1) * exposure.iso_gain / phone.full_well_electrons) + 0.0015 * exposure.iso_gain
    noise = rng.standard_normal(signal.shape, np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * np.float32(1.5)
    return np.asarray(np.maximum(signal + spread * noise, 0), np.float32)


def rec709(signal: Floats32) -> NDArray[np.uint16]:
    """Display-referred 16-bit RGB: highlights rolled off, then the sRGB curve, which phones use with Rec.709 primaries."""
    # A table over the square root of the signal: the curve is smooth there, and powers of every pixel are slow.
    steps = 1 << 14
    linear = 4 * np.linspace(0, 1, steps + 1) ** 2
    rolled = linear / (1 + linear**4) ** 0.25
    curve = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * np.maximum(rolled, 1e-6) ** (1 / 2.4) - 0.055)
    table = np.rint(np.clip(curve, 0, 1) * 65535).astype(np.uint16)
    place = np.rint(np.sqrt(np.minimum(signal, 4)) * np.float32(steps / 2)).astype(np.int32)
    return np.asarray(table.take(place), np.uint16)


def apple_log(signal: Floats32) -> NDArray[np.uint16]:
    """16-bit RGB in Apple Log with Rec.2020 primaries (Apple, "Apple Log Profile White Paper", 2023)."""
    to_2020 = np.array(
        [[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]], np.float32
    )
    linear = signal @ to_2020.T
    log = 0.08550479 * np.log2(np.maximum(linear + 0.00964052, 1e-6)) + 0.69336945
    toe = 47.28711236 * np.square(np.maximum(linear + 0.05641088, 0))
    return np.asarray(np.rint(np.clip(np.where(linear >= 0.01, log, toe), 0, 1) * 65535), np.uint16)


def lidar_scale(phone: PhoneSpec, seed: int) -> float:
    """By what this phone's ranges are too long, as a factor."""
    return 1 + float(np.random.default_rng([seed, 11]).uniform(-1, 1)) * phone.depth_scale_error


def lidar(
    exact_m: Floats32,
    cosine: Floats32,
    luminance: Floats32,
    *,
    phone: PhoneSpec,
    scale: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Depth in millimetres and confidence 0..2, both (192, 256), from the exact depth in metres (0 = nothing).

    The phone fuses sparse laser spots with the picture: noise grows with range and is smooth in space, edges are
    rounded so that points float between near and far, and beyond five metres there is nothing. `cosine` is of the angle
    of incidence, `luminance` the picture's linear signal, both of the same shape; `scale` comes from `lidar_scale`.
    """
    present = exact_m > 0
    filled = np.where(present, np.minimum(exact_m, 12.0), 12.0).astype(np.float32)
    smooth = cv2.GaussianBlur(filled, (0, 0), 1.0)
    step = cv2.dilate(filled, np.ones((5, 5))) - cv2.erode(filled, np.ones((5, 5)))
    relative = step / filled
    at_edge = np.clip((relative - 0.08) / 0.1, 0, 1)
    depth = (filled + (smooth - filled) * at_edge) * np.float32(scale)
    coarse = cv2.GaussianBlur(rng.standard_normal(filled.shape, np.float32), (0, 0), 6.0) * np.float32(21)
    fine = cv2.GaussianBlur(rng.standard_normal(filled.shape, np.float32), (0, 0), 0.8) * np.float32(2.6)
    grazing = 1 / np.maximum(cosine, 0.15)
    sigma = phone.depth_noise * depth * np.clip(np.sqrt(grazing), 1, 2)
    depth = depth + sigma * (0.75 * coarse + 0.65 * fine) + np.float32(0.001) * fine
    seen = present & (depth > 0.15) & (depth <= DEPTH_LIMIT_M)
    doubt = np.clip((relative - 0.1) / 0.15, 0, 2) + np.clip((0.3 - cosine) / 0.12, 0, 2)
    doubt += np.clip((depth - 3.0) / 0.8, 0, 2) + np.clip((0.03 - luminance) / 0.02, 0, 1)
    confidence = np.where(seen, 2 - np.minimum(np.floor(doubt + rng.uniform(0, 0.3, doubt.shape)), 2), 0)
    return np.where(seen, np.rint(depth * 1000), 0).astype(np.uint16), confidence.astype(np.uint8)
