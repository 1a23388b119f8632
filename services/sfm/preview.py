"""The preview: cameras and points seen from above, at a scale that can be read off.

In: the capture's manifest, the model, the LiDAR cloud if there is one. Out: a PNG of 1600 x 1200.

Points too high above the cameras are left out, so that one looks into rooms and not at ceilings. The plan is turned so that
walls are parallel to its edges; a cross shows where the world's x and z point. It is not mirrored: seen from above, with y towards the
viewer, z points down where x points right.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from contracts.captures import CaptureManifest
from services.sfm.cloud import PointCloud

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 1600, 1200
_SUPERSAMPLE = 2
_TOP, _BOTTOM, _SIDE = 96, 96, 60
_BACKGROUND: Colour = (22, 25, 30)
_INK: Colour = (236, 238, 240)
_FAINT: Colour = (140, 147, 156)
_PATH_COLOURS = np.array([[64, 146, 255], [43, 214, 199], [190, 226, 74], [255, 187, 51], [255, 84, 84]], np.float64)
"""From the first picture to the last."""
_CUT_ABOVE_FLOOR_M = 2.2
_CUT_ABOVE_CAMERA_M = 0.6
_ONE_STOREY_M = 1.8
_MIN_EXTENT_M = 1.0
_GAP_FACTOR = 3.0
_FAR_FACTOR = 4.0
_WALL_BIN_M = 0.04


@dataclass(frozen=True)
class _Cameras:
    """Registered frames in time order. centres_m, views (n, 3) unit viewing directions; times_s (n,)."""

    centres_m: Floats
    views: Floats
    times_s: Floats


@dataclass(frozen=True)
class _Points:
    """positions_m (n, 3), colours (n, 3); `lidar` where they are a dense cloud."""

    positions_m: Floats
    colours: Bytes
    lidar: bool


@dataclass(frozen=True)
class _Plan:
    """Where plan coordinates (x, z) land in the supersampled picture: pixel = centre + scale * (turn @ (xz - middle))."""

    turn: Floats
    middle: Floats
    scale_px_per_m: float

    def pixels(self, positions_m: Floats) -> Floats:
        """(n, 3) in the world to (n, 2)."""
        flat = (positions_m[:, [0, 2]] - self.middle) @ self.turn.T * self.scale_px_per_m
        centre = np.array([WIDTH, HEIGHT + _TOP - _BOTTOM]) * _SUPERSAMPLE / 2
        return np.asarray(flat + centre)


def _cameras(manifest: CaptureManifest, model: pycolmap.Reconstruction) -> _Cameras:
    times = {frame.name: frame.timestamp_s for frame in manifest.frames}
    found = []
    for image in model.images.values():
        if image.has_pose and image.name in times:
            pose = image.cam_from_world().inverse().matrix()
            found.append((times[image.name], pose[:, 3], pose[:, 2]))
    found.sort(key=lambda row: row[0])
    return _Cameras(
        centres_m=np.array([row[1] for row in found]).reshape(-1, 3),
        views=np.array([row[2] for row in found]).reshape(-1, 3),
        times_s=np.array([row[0] for row in found]),
    )


def _points(model: pycolmap.Reconstruction, cloud: PointCloud | None) -> _Points:
    if cloud is not None and len(cloud):
        return _Points(cloud.points_m.astype(np.float64), cloud.colours, lidar=True)
    points = list(model.points3D.values())
    return _Points(
        np.array([point.xyz for point in points], np.float64).reshape(-1, 3),
        np.array([point.color for point in points], np.uint8).reshape(-1, 3),
        lidar=False,
    )


def _below_ceiling(points: _Points, cameras: _Cameras) -> _Points:
    """Cut above the floor on one storey; over several, above the nearest camera."""
    height = points.positions_m[:, 1]
    if not len(height) or not len(cameras.times_s):
        return points
    if np.ptp(cameras.centres_m[:, 1]) < _ONE_STOREY_M:
        floor = float(np.percentile(height, 1))
        low = min(floor + _CUT_ABOVE_FLOOR_M, float(cameras.centres_m[:, 1].max()) + _CUT_ABOVE_CAMERA_M)
        keep = height < max(low, float(cameras.centres_m[:, 1].min()))
    else:
        _, nearest = cKDTree(cameras.centres_m[:, [0, 2]]).query(points.positions_m[:, [0, 2]])
        keep = height < cameras.centres_m[nearest, 1] + _CUT_ABOVE_CAMERA_M
    return _Points(points.positions_m[keep], points.colours[keep], points.lidar)


def _layout(points: _Points, cameras: _Cameras) -> _Plan:
    """Turn and scale so that walls are parallel to the edges and nearly everything fills the picture."""
    flat = _near_cameras(points.positions_m[:: max(1, len(points.positions_m) // 50_000), [0, 2]], cameras)
    everything = np.concatenate([flat, cameras.centres_m[:, [0, 2]]])
    if len(everything) < 3:
        middle = everything.mean(0) if len(everything) else np.zeros(2)
        return _Plan(np.eye(2), middle, _SUPERSAMPLE * (HEIGHT - _TOP - _BOTTOM) / (2 * _MIN_EXTENT_M))
    along = wall_direction_rad(everything)
    angles = (-along, np.pi / 2 - along)
    extents = [np.ptp(everything @ _turn(angle).T, axis=0) for angle in angles]
    room = np.array([WIDTH - 2 * _SIDE, HEIGHT - _TOP - _BOTTOM]) * _SUPERSAMPLE
    scales = [float((room / np.maximum(extent, _MIN_EXTENT_M)).min()) for extent in extents]
    # A half turn fills the picture as well: of the two, the one that leaves x pointing right.
    across = int(np.argmax(scales))
    angle = max((angles[across], angles[across] + np.pi), key=lambda a: float(np.cos(a)))
    turned = everything @ _turn(angle).T
    middle = _turn(angle).T @ ((turned.min(0) + turned.max(0)) / 2)
    return _Plan(_turn(angle), middle, scales[across])


def wall_direction_rad(flat: Floats) -> float:
    """The direction, 0 to 90 degrees, along which points (n, 2) line up best, both ways.

    Walls make narrow peaks in the histograms of coordinates along and across them, and nowhere else: the sum of squares of
    both histograms is largest there.
    """
    angles = np.deg2rad(np.arange(0, 90, 0.5))
    some = flat[:: max(1, len(flat) // 20_000)]
    scores = []
    for angle in angles:
        bins = np.floor((some @ _turn(-angle).T) / _WALL_BIN_M).astype(np.int64)
        bins -= bins.min(0)
        scores.append(sum(float((np.bincount(bins[:, axis]).astype(np.float64) ** 2).sum()) for axis in (0, 1)))
    return float(angles[int(np.argmax(scores))])


def _near_cameras(flat: Floats, cameras: _Cameras) -> Floats:
    """Without what is seen through windows, and without wrong points: both are many times farther than the rest."""
    if not len(flat) or not len(cameras.times_s):
        return flat
    distance, _ = cKDTree(cameras.centres_m[:, [0, 2]]).query(flat)
    return np.asarray(flat[distance <= _FAR_FACTOR * np.median(distance)])


def _turn(angle: float) -> Floats:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _paint_points(canvas: Bytes, points: _Points, plan: _Plan) -> None:
    """From low to high, so that the table covers the floor."""
    order = np.argsort(points.positions_m[:, 1], kind="stable")
    pixels = np.floor(plan.pixels(points.positions_m[order])).astype(np.int64)
    colours = points.colours[order]
    if points.lidar:
        side = int(np.clip(round(plan.scale_px_per_m * 0.014), 2, 9))
    else:
        side = 2 * _SUPERSAMPLE
        # Sparse points are often dark and would drown in the background.
        colours = (48 + colours * (207 / 255)).astype(np.uint8)
    height, width = canvas.shape[:2]
    dy, dx = (grid.reshape(-1) - side // 2 for grid in np.mgrid[0:side, 0:side])
    for part in range(0, len(pixels), 200_000):
        x = pixels[part : part + 200_000, :1] + dx
        y = pixels[part : part + 200_000, 1:] + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        rows = np.broadcast_to(np.arange(len(x))[:, None], x.shape)[inside]
        canvas[y[inside], x[inside]] = colours[part : part + 200_000][rows]


def _time_colour(share: float) -> Colour:
    at = np.linspace(0, 1, len(_PATH_COLOURS))
    red, green, blue = (round(float(np.interp(share, at, _PATH_COLOURS[:, c]))) for c in range(3))
    return red, green, blue


def _draw_cameras(draw: ImageDraw.ImageDraw, cameras: _Cameras, plan: _Plan) -> None:
    if not len(cameras.times_s):
        return
    s = _SUPERSAMPLE
    pixels = plan.pixels(cameras.centres_m)
    span = max(float(np.ptp(cameras.times_s)), 1e-9)
    shares = (cameras.times_s - cameras.times_s[0]) / span
    steps = np.diff(cameras.times_s)
    longest = _GAP_FACTOR * float(np.median(steps)) if len(steps) else 0.0
    length = float(np.clip(0.22 * plan.scale_px_per_m, 12 * s, 34 * s))
    ahead = (cameras.views[:, [0, 2]] @ plan.turn.T) * length
    for width, dark in ((7 * s, True), (4 * s, False)):
        for i, step in enumerate(steps):
            colour = _BACKGROUND if dark else _time_colour(float(shares[i] + shares[i + 1]) / 2)
            # Where pictures without a pose lie between two cameras, the way is not known: a thin line.
            draw.line([*pixels[i], *pixels[i + 1]], fill=colour, width=width if step <= longest else max(s, width // 3))
    for centre, tick, share in zip(pixels, ahead, shares, strict=True):
        draw.line([*centre, *(centre + tick)], fill=_BACKGROUND, width=4 * s)
        draw.line([*centre, *(centre + tick)], fill=_INK, width=2 * s)
        _dot(draw, centre, 4.5 * s, _BACKGROUND)
        _dot(draw, centre, 3.5 * s, _time_colour(float(share)))


def _dot(draw: ImageDraw.ImageDraw, centre: Floats, radius: float, colour: Colour) -> None:
    x, y = float(centre[0]), float(centre[1])
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SUPERSAMPLE)


def scale_bar_m(scale_px_per_m: float, longest_px: float) -> float:
    """The longest of 1, 2, 5 times a power of ten metres that fits into `longest_px`."""
    longest = longest_px / scale_px_per_m
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest))


def _draw_scale_bar(draw: ImageDraw.ImageDraw, plan: _Plan) -> None:
    s = _SUPERSAMPLE
    metres = scale_bar_m(plan.scale_px_per_m, 360 * s)
    length = metres * plan.scale_px_per_m
    x, y = _SIDE * s, (HEIGHT - 40) * s
    for part in range(4):
        left = x + part * length / 4
        draw.rectangle([left, y, left + length / 4, y + 7 * s], fill=_INK if part % 2 == 0 else _FAINT)
    draw.text((x, y - 8 * s), "0", font=_font(18), fill=_INK, anchor="ls")
    draw.text((x + length, y - 8 * s), f"{metres:g} m", font=_font(18), fill=_INK, anchor="rs")


def _draw_axes(draw: ImageDraw.ImageDraw, plan: _Plan) -> None:
    s = _SUPERSAMPLE
    origin = np.array([WIDTH - _SIDE - 22, HEIGHT - 52]) * s
    for label, direction, colour in (
        ("x", np.array([1.0, 0.0]), (255, 98, 98)),
        ("z", np.array([0.0, 1.0]), (98, 160, 255)),
    ):
        tip = origin + plan.turn @ direction * 26 * s
        draw.line([*origin, *tip], fill=colour, width=3 * s)
        draw.text(tuple(origin + plan.turn @ direction * 38 * s), label, font=_font(17), fill=colour, anchor="mm")
    _dot(draw, origin, 3 * s, _INK)


def _draw_time_bar(draw: ImageDraw.ImageDraw, seconds: float) -> None:
    s = _SUPERSAMPLE
    length, x, y = 260 * s, (WIDTH // 2 - 130) * s, (HEIGHT - 40) * s
    for column in range(length):
        draw.line([x + column, y, x + column, y + 7 * s], fill=_time_colour(column / length))
    draw.text((x, y - 8 * s), "0 s", font=_font(18), fill=_INK, anchor="ls")
    draw.text((x + length, y - 8 * s), f"{seconds:.0f} s", font=_font(18), fill=_INK, anchor="rs")


def _titles(manifest: CaptureManifest, model: pycolmap.Reconstruction, points: _Points, cameras: _Cameras) -> list[str]:
    parts = [
        f"{len(cameras.times_s)} of {len(manifest.frames)} cameras",
        f"{model.num_points3D():,} triangulated points",
    ]
    if points.lidar:
        parts.append(f"{len(points.positions_m):,} LiDAR points")
    way = float(np.linalg.norm(np.diff(cameras.centres_m, axis=0), axis=1).sum())
    return [
        "   ·   ".join(parts),
        f"Seen from above, without ceilings. Path of {way:.1f} m, from blue to red; ticks show where cameras look.",
    ]


def main(manifest: CaptureManifest, sparse_dir: Path, cloud: PointCloud | None, path: Path) -> None:
    """Draw the model in `sparse_dir`, with the points of `cloud` where there is one, into the PNG `path`."""
    model = pycolmap.Reconstruction(sparse_dir)
    cameras = _cameras(manifest, model)
    every_point = _points(model, cloud)
    shown = _below_ceiling(every_point, cameras)
    plan = _layout(shown, cameras)
    canvas = np.full((HEIGHT * _SUPERSAMPLE, WIDTH * _SUPERSAMPLE, 3), _BACKGROUND, np.uint8)
    _paint_points(canvas, shown, plan)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    _draw_cameras(draw, cameras, plan)
    s = _SUPERSAMPLE
    for bottom in (0, (HEIGHT - _BOTTOM + 8) * s):
        draw.rectangle([0, bottom, WIDTH * s, bottom + (_TOP - 8) * s], fill=_BACKGROUND)
    title, subtitle = _titles(manifest, model, every_point, cameras)
    draw.text((_SIDE * s, 46 * s), title, font=_font(28), fill=_INK, anchor="ls")
    draw.text((_SIDE * s, 74 * s), subtitle, font=_font(17), fill=_FAINT, anchor="ls")
    _draw_scale_bar(draw, plan)
    if len(cameras.times_s) > 1:
        _draw_time_bar(draw, float(np.ptp(cameras.times_s)))
    _draw_axes(draw, plan)
    picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(path, optimize=False, compress_level=6)
