"""Procedural textures with detail at every scale, packed with their mip levels into one atlas.

A texture is an 8-bit RGB image, gamma 2 encoded: the linear reflectance is (value / 255) ** 2. Sizes are powers of two,
so that every mip level halves exactly. Filtering between levels (Williams, "Pyramidal parametrics", SIGGRAPH 1983) keeps
what is rendered free of aliasing, so that features found in one picture are found in the next.
"""

import itertools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""(h, w, 3) or (h, w) float32, display-like values (gamma 2) in 0..1."""

_ATLAS_WIDTH_PX = 8448
_PAD_PX = 2
_SMALLEST_LEVEL_PX = 4


@dataclass(frozen=True)
class TextureRecipe:
    """How one texture is made. `width_px` and `height_px` are powers of two at scale 1."""

    name: str
    paint: Callable[[np.random.Generator, int, int], Image]
    width_px: int
    height_px: int


@dataclass(frozen=True)
class TextureAtlas:
    """All textures and all their mip levels in one picture.

    image: (H, W, 3) uint8, gamma 2. width_px, height_px: (n,) int32 at level 0. levels: (n,) int32, number of levels.
    left_px, top_px: (n, max levels) int32, where a level begins in `image`. mean: (n, 3) float32, linear reflectance.
    names: the textures' names, whose positions are their indices.
    """

    names: tuple[str, ...]
    image: NDArray[np.uint8]
    width_px: NDArray[np.int32]
    height_px: NDArray[np.int32]
    levels: NDArray[np.int32]
    left_px: NDArray[np.int32]
    top_px: NDArray[np.int32]
    mean: NDArray[np.float32]

    def index(self, name: str) -> int:
        return self.names.index(name)


def paint_atlas(recipes: tuple[TextureRecipe, ...], seed: int, scale: float) -> TextureAtlas:
    """Paints every texture and packs them.

    `scale` (a power of two up to 1) shrinks every texture: small renderings need less. A texture's picture depends on
    its name, the seed and the scale only, so that adding one texture does not change the others.
    """
    pyramids = [_pyramid(_paint(recipe, seed, scale)) for recipe in recipes]
    boxes = [(level.shape[1], level.shape[0]) for pyramid in pyramids for level in pyramid]
    corners, height = _pack_shelves(boxes)
    image = np.zeros((height, _ATLAS_WIDTH_PX, 3), np.uint8)
    most_levels = max(len(pyramid) for pyramid in pyramids)
    left = np.zeros((len(recipes), most_levels), np.int32)
    top = np.zeros((len(recipes), most_levels), np.int32)
    at = 0
    for t, pyramid in enumerate(pyramids):
        for k, level in enumerate(pyramid):
            x, y = corners[at]
            at += 1
            padded = cv2.copyMakeBorder(level, _PAD_PX, _PAD_PX, _PAD_PX, _PAD_PX, cv2.BORDER_WRAP)
            image[y : y + padded.shape[0], x : x + padded.shape[1]] = padded
            left[t, k], top[t, k] = x + _PAD_PX, y + _PAD_PX
    return TextureAtlas(
        names=tuple(recipe.name for recipe in recipes),
        image=image,
        width_px=np.array([p[0].shape[1] for p in pyramids], np.int32),
        height_px=np.array([p[0].shape[0] for p in pyramids], np.int32),
        levels=np.array([len(p) for p in pyramids], np.int32),
        left_px=left,
        top_px=top,
        mean=np.array([((p[0] / np.float32(255)) ** 2).mean(axis=(0, 1)) for p in pyramids], np.float32),
    )


def _paint(recipe: TextureRecipe, seed: int, scale: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng([seed, zlib.crc32(recipe.name.encode())])
    width = max(_SMALLEST_LEVEL_PX, round(recipe.width_px * scale))
    height = max(_SMALLEST_LEVEL_PX, round(recipe.height_px * scale))
    painted = recipe.paint(rng, width, height)
    return np.clip(np.rint(painted * 255), 0, 255).astype(np.uint8)


def _pyramid(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    levels = [image]
    while min(levels[-1].shape[:2]) > _SMALLEST_LEVEL_PX:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return levels


def _pack_shelves(boxes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Upper left corners of boxes (width, height, without padding), tallest first on shelves; and the total height."""
    corners: list[tuple[int, int]] = [(0, 0)] * len(boxes)
    x = y = shelf = 0
    for i in sorted(range(len(boxes)), key=lambda i: -boxes[i][1]):
        width, height = boxes[i][0] + 2 * _PAD_PX, boxes[i][1] + 2 * _PAD_PX
        if x + width > _ATLAS_WIDTH_PX:
            x, y = 0, y + shelf
            shelf = 0
        corners[i] = (x, y)
        x += width
        shelf = max(shelf, height)
    return corners, y + shelf


# --- noise ---------------------------------------------------------------------------------------------------------


def fractal_noise(
    rng: np.random.Generator,
    width: int,
    height: int,
    *,
    cells: tuple[float, float],
    octaves: int,
    roughness: float = 0.6,
) -> Image:
    """Smooth noise that wraps at its borders: (height, width) float32, about zero mean and unit spread.

    `cells`: how many grid cells the coarsest octave has along x and y; every octave doubles them and multiplies the
    amplitude by `roughness`.
    """
    total = np.zeros((height, width), np.float32)
    amplitude = 1.0
    power = 0.0
    nx, ny = cells
    for _ in range(octaves):
        gx, gy = min(width, max(2, round(nx))), min(height, max(2, round(ny)))
        grid = rng.standard_normal((gy, gx)).astype(np.float32)
        pad = np.asarray(cv2.copyMakeBorder(grid, 2, 2, 2, 2, cv2.BORDER_WRAP), np.float32)
        xs = (np.arange(width, dtype=np.float32) + 0.5) * (gx / width) + 1.5
        ys = (np.arange(height, dtype=np.float32) + 0.5) * (gy / height) + 1.5
        rows = _cubic(pad, xs, np.arange(gy + 4, dtype=np.float32))
        columns = _cubic(np.ascontiguousarray(rows.T), ys, np.arange(width, dtype=np.float32))
        total += np.float32(amplitude) * columns.T
        power += amplitude**2
        amplitude *= roughness
        nx, ny = nx * 2, ny * 2
    return total / np.float32(np.sqrt(power) * 0.8)


def _cubic(image: Image, xs: Image, ys: Image) -> Image:
    """Cubic interpolation at every combination of columns `xs` and rows `ys`."""
    map_x, map_y = np.meshgrid(xs, ys)
    return np.asarray(cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC), np.float32)


def _resized(image: Image, width: int, height: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _tint(value: Image, colour: tuple[float, float, float]) -> Image:
    return value[..., None] * np.array(colour, np.float32)


def _mix(a: Image, b: Image, weight: Image) -> Image:
    w = weight[..., None] if weight.ndim < a.ndim or weight.ndim < b.ndim else weight
    return np.asarray(a * (1 - w) + b * w, np.float32)


# --- surfaces that repeat ---------------------------------------------------------------------------------------------


def plaster(colour: tuple[float, float, float], contrast: float) -> Callable[[np.random.Generator, int, int], Image]:
    """A painted wall: roller marks and stains, nearly featureless."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        fine = fractal_noise(rng, width, height, cells=(width / 8, height / 8), octaves=3, roughness=0.8)
        coarse = fractal_noise(rng, width, height, cells=(4, 4), octaves=5)
        return _tint(1 + np.float32(contrast) * (0.6 * fine + 0.5 * coarse), colour)

    return paint


def planks(
    light: tuple[float, float, float], dark: tuple[float, float, float], *, rows: int, per_row: int
) -> Callable[[np.random.Generator, int, int], Image]:
    """Floor boards along x: grain, knots and a shade of its own for every board, joints staggered from row to row."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        board = height // rows
        image = np.zeros((height, width, 3), np.float32)
        for row in range(rows):
            shift = int(rng.integers(width))
            cuts = np.sort(rng.choice(np.arange(1, 4 * per_row), per_row - 1, replace=False) * width // (4 * per_row))
            edges = [0, *cuts.tolist(), width]
            strip = np.zeros((board, width, 3), np.float32)
            for a, b in itertools.pairwise(edges):
                strip[:, a:b] = _board(rng, b - a, board, light, dark)
                strip[:, a : a + 1] *= 0.5
            strip[:1] *= 0.5
            image[row * board : (row + 1) * board] = np.roll(strip, shift, axis=1)
        return image

    return paint


def _board(
    rng: np.random.Generator,
    width: int,
    height: int,
    light: tuple[float, float, float],
    dark: tuple[float, float, float],
) -> Image:
    warp = fractal_noise(rng, width, height, cells=(max(2, width / 256), 2), octaves=4)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    rings = np.sin((y * rng.uniform(6, 14) + 0.7 * warp + rng.uniform(0, 6)) * 6.28).astype(np.float32)
    pores = fractal_noise(rng, width, height, cells=(max(2, width / 48), max(2, height / 2)), octaves=2, roughness=0.9)
    weight = np.clip(0.45 + 0.16 * rings + 0.14 * pores + 0.18 * warp + rng.normal(0, 0.16), 0, 1)
    image = _mix(np.broadcast_to(np.array(light, np.float32), (height, width, 3)), np.array(dark, np.float32), weight)
    for _ in range(rng.integers(0, 2)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        size = max(1, int(height * rng.uniform(0.03, 0.1)))
        colour = tuple(float(c * 0.5) for c in dark)
        cv2.ellipse(image, centre, (2 * size, size), 0.0, 0, 360, colour, -1, cv2.LINE_AA)
    return image


def tiles(
    colour: tuple[float, float, float], grout: tuple[float, float, float], *, across: int, marbling: float
) -> Callable[[np.random.Generator, int, int], Image]:
    """Square tiles, all alike but for faint marbling: repetition on purpose."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        size = width // across
        veins = fractal_noise(rng, width, height, cells=(3 * across, 3 * across), octaves=6, roughness=0.75)
        vein_lines = np.exp(-np.abs(veins) * 6)
        shade = 1 + marbling * (0.35 * veins - 0.8 * vein_lines)
        tone = rng.normal(1, 0.5 * marbling, (height // size, across)).astype(np.float32)
        shade *= np.kron(tone, np.ones((size, size), np.float32))
        image = _tint(shade.astype(np.float32), colour)
        gap = max(1, size // 60)
        at_gap = np.zeros((height, width), bool)
        for k in range(gap):
            at_gap[k::size] = True
            at_gap[:, k::size] = True
        image[at_gap] = np.array(grout, np.float32)
        return image

    return paint


def wallpaper(
    ground: tuple[float, float, float], ink: tuple[float, float, float], *, motifs: int
) -> Callable[[np.random.Generator, int, int], Image]:
    """One drawn motif, repeated exactly in a half-drop pattern."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        cell = width // motifs
        stamp = np.zeros((cell, cell), np.float32)
        for _ in range(7):
            points = (np.cumsum(rng.normal(0, 0.16, (6, 2)), axis=0) + rng.uniform(0.25, 0.75, 2)) * cell
            mirrored = points * [-1, 1] + [cell, 0]
            for line in (points, mirrored):
                cv2.polylines(stamp, [line.astype(np.int32)], False, 1.0, max(1, cell // 60), cv2.LINE_AA)
        rows = height // cell
        weight = np.tile(stamp, (rows, motifs))
        for column in range(1, motifs, 2):
            strip = slice(column * cell, (column + 1) * cell)
            weight[:, strip] = np.roll(weight[:, strip], cell // 2, axis=0)
        base = plaster(ground, 0.02)(rng, width, height)
        return _mix(base, np.array(ink, np.float32), weight * 0.8)

    return paint


def weave(
    colour: tuple[float, float, float], other: tuple[float, float, float], *, threads: int
) -> Callable[[np.random.Generator, int, int], Image]:
    """Cloth: warp and weft with irregular threads, folds and wear."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        warp = np.repeat(rng.normal(0, 1, (1, threads)), height, axis=0).astype(np.float32)
        weft = np.repeat(rng.normal(0, 1, (threads, 1)), width, axis=1).astype(np.float32)
        warp = _resized(warp, width, height)
        weft = _resized(weft, width, height)
        wear = fractal_noise(rng, width, height, cells=(5, 5), octaves=6, roughness=0.8)
        weight = np.clip(0.4 + 0.14 * warp + 0.14 * weft + 0.22 * wear, 0, 1).astype(np.float32)
        return _mix(
            np.broadcast_to(np.array(colour, np.float32), (height, width, 3)), np.array(other, np.float32), weight
        )

    return paint


def speckle(
    colours: tuple[tuple[float, float, float], ...], *, chips: int
) -> Callable[[np.random.Generator, int, int], Image]:
    """Terrazzo or granite: chips of several colours and sizes."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = plaster(colours[0], 0.04)(rng, width, height)
        for _ in range(chips):
            x, y = int(rng.integers(width)), int(rng.integers(height))
            size = width / 512 * float(rng.gamma(1.5, 3.0))
            angles = np.sort(rng.uniform(0, 6.28, 6))
            shape = np.stack([x + size * np.cos(angles), y + size * np.sin(angles)], axis=1)
            colour = np.array(colours[int(rng.integers(1, len(colours)))]) * rng.uniform(0.8, 1.2)
            cv2.fillPoly(image, [shape.astype(np.int32)], tuple(float(c) for c in colour), cv2.LINE_AA)
        return image

    return paint


# --- surfaces that are unique ----------------------------------------------------------------------------------------


def _palette(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    hue = (rng.uniform(0, 1) + rng.normal(0, 0.18, n)) % 1
    hsv = np.stack([hue * 360, rng.uniform(0.05, 0.62, n), rng.uniform(0.22, 0.95, n)], axis=1).astype(np.float32)
    return np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0], np.float32)


def _shapes(rng: np.random.Generator, image: Image, palette: NDArray[np.float32], count: int) -> None:
    height, width = image.shape[:2]
    for k in range(count):
        size = min(width, height) * 0.35 / (1 + k) ** 0.42
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = tuple(float(c) for c in palette[int(rng.integers(len(palette)))])
        kind = int(rng.integers(4))
        if kind == 0:
            axes = (max(1, int(size * rng.uniform(0.3, 1))), max(1, int(size * rng.uniform(0.3, 1))))
            cv2.ellipse(image, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            corners = np.array([x, y]) + rng.normal(0, size * 0.7, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            line = np.array([x, y]) + np.cumsum(rng.normal(0, size * 0.5, (6, 2)), axis=0)
            cv2.polylines(image, [line.astype(np.int32)], kind == 2, colour, max(1, int(size / 9)), cv2.LINE_AA)


def painting(rng: np.random.Generator, width: int, height: int) -> Image:
    """A picture to hang: brush strokes, shapes from large to small, in a frame."""
    palette = _palette(rng, 7)
    ground = fractal_noise(rng, width, height, cells=(3, 3), octaves=7, roughness=0.65)
    weight = np.clip(0.5 + 0.4 * ground, 0, 1)
    image = np.ascontiguousarray(_mix(np.broadcast_to(palette[0], (height, width, 3)), palette[1], weight))
    _shapes(rng, image, palette, int(rng.integers(60, 220)))
    image *= (1 + 0.12 * fractal_noise(rng, width, height, cells=(width / 16, height / 16), octaves=3))[..., None]
    edge = max(2, min(width, height) // 26)
    frame = palette[6] * 0.4
    for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
        image[side] = frame
    return image


def poster(rng: np.random.Generator, width: int, height: int) -> Image:
    """Printed matter: a picture and lines of text."""
    palette = _palette(rng, 5)
    image = np.ascontiguousarray(np.broadcast_to(0.82 + 0.15 * palette[0], (height, width, 3)), dtype=np.float32)
    inner = painting(rng, width, max(_SMALLEST_LEVEL_PX, height // 2))
    image[: inner.shape[0]] = inner
    y = height * 0.55
    while y < height * 0.95:
        size = height * float(rng.uniform(0.02, 0.06))
        _text_line(rng, image, at=(width * 0.06, y + size), size=size, length=width * float(rng.uniform(0.5, 0.88)))
        y += size * 1.6
    return image


def _text_line(rng: np.random.Generator, image: Image, *, at: tuple[float, float], size: float, length: float) -> None:
    x, y = at
    letters = "".join(chr(int(c)) for c in rng.choice([*range(65, 91), *range(97, 123), *range(48, 58), 32, 32], 40))
    scale = size / 24
    thickness = max(1, int(size / 9))
    (width, _), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    count = max(1, int(40 * length / max(1, width)))
    ink = (0.1, 0.1, 0.12) if rng.random() < 0.8 else (0.6, 0.1, 0.1)
    top, bottom = max(0, int(y - 1.3 * size)), min(image.shape[0], int(y + 0.5 * size) + 1)
    if bottom <= top:
        return
    mask = np.zeros((bottom - top, image.shape[1]), np.uint8)
    start = (int(x), int(y) - top)
    cv2.putText(mask, letters[:count], start, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    image[top:bottom] = _mix(image[top:bottom], np.array(ink, np.float32), (mask / np.float32(255)).astype(np.float32))


def package(rng: np.random.Generator, width: int, height: int) -> Image:
    """A printed box or tin: label, brand, small print."""
    palette = _palette(rng, 4)
    image = np.ascontiguousarray(np.broadcast_to(palette[0], (height, width, 3)), dtype=np.float32)
    _shapes(rng, image, palette, 14)
    for _ in range(6):
        size = height * float(rng.uniform(0.05, 0.16))
        at = (width * float(rng.uniform(0, 0.2)), height * float(rng.uniform(0.1, 0.95)))
        _text_line(rng, image, at=at, size=size, length=width * 0.8)
    return image


def book_spines(rng: np.random.Generator, width: int, height: int) -> Image:
    """Spines side by side, titles running up; a few volumes of one series look alike."""
    image = np.full((height, width, 3), 0.06, np.float32)
    x = 0
    series: Image | None = None
    while x < width:
        w = min(width - x, max(3, int(height * rng.uniform(0.08, 0.2))))
        if series is not None and series.shape[1] <= width - x and rng.random() < 0.55:
            image[height - series.shape[0] :, x : x + series.shape[1]] = series
            x += series.shape[1]
            continue
        h = int(height * rng.uniform(0.72, 0.99))
        spine = _spine(rng, w, h)
        image[height - h :, x : x + w] = spine
        series = spine if rng.random() < 0.3 else None
        x += w
    return image


def _spine(rng: np.random.Generator, width: int, height: int) -> Image:
    palette = _palette(rng, 3)
    lying = np.ascontiguousarray(np.broadcast_to(palette[0] * 0.9, (width, height, 3)), dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        x = int(rng.uniform(0, height))
        lying[:, x : x + max(1, height // 60)] = palette[1]
    _text_line(rng, lying, at=(height * 0.12, width * 0.7), size=width * 0.6, length=height * 0.7)
    lying[0] *= 0.4
    lying[-1] *= 0.4
    return np.ascontiguousarray(np.rot90(lying))


def rug(rng: np.random.Generator, width: int, height: int) -> Image:
    """A knotted rug: mirrored ornament with a border, and pile that is not mirrored."""
    palette = _palette(rng, 6)
    quarter = np.ascontiguousarray(np.broadcast_to(palette[0], (height // 2, width // 2, 3)), dtype=np.float32)
    _shapes(rng, quarter, palette, 120)
    half = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    image = np.ascontiguousarray(np.concatenate([half, half[::-1]], axis=0))
    band = max(2, min(width, height) // 22)
    for k, colour in enumerate((palette[4], palette[5], palette[3])):
        inset = (k * band, k * band)
        far = (width - 1 - k * band, height - 1 - k * band)
        cv2.rectangle(image, inset, far, tuple(float(c) for c in colour), band)
    pile = fractal_noise(rng, width, height, cells=(width / 10, height / 10), octaves=3, roughness=0.8)
    wear = fractal_noise(rng, width, height, cells=(4, 4), octaves=5)
    return np.asarray(image * (0.9 + 0.16 * pile + 0.1 * wear)[..., None], np.float32)


def quilt(rng: np.random.Generator, width: int, height: int) -> Image:
    """A patchwork cover: squares of printed cloth."""
    image = np.zeros((height, width, 3), np.float32)
    size = max(2, min(width, height) // 8)
    cloths = []
    for _ in range(7):
        palette = _palette(rng, 3)
        cloth = np.ascontiguousarray(np.broadcast_to(palette[0], (size, size, 3)), dtype=np.float32)
        _shapes(rng, cloth, palette, 14)
        cloths.append(cloth)
    for y in range(0, height, size):
        for x in range(0, width, size):
            cloth = np.rot90(cloths[int(rng.integers(len(cloths)))], int(rng.integers(4)))
            image[y : y + size, x : x + size] = cloth[: height - y, : width - x]
    folds = fractal_noise(rng, width, height, cells=(5, 5), octaves=6)
    return np.asarray(image * (0.92 + 0.12 * folds)[..., None], np.float32)


def street(rng: np.random.Generator, width: int, height: int) -> Image:
    """What a window looks out on: sky, houses with windows, trees. Bright."""
    sky = np.linspace(0.95, 0.8, height, dtype=np.float32)[:, None]
    clouds = fractal_noise(rng, width, height, cells=(4, 6), octaves=6)
    image = _tint(np.clip(sky + 0.08 * clouds, 0, 1), (0.92, 0.97, 1.0))
    x = 0
    while x < width:
        w = max(1, int(width * rng.uniform(0.08, 0.2)))
        top = int(height * rng.uniform(0.25, 0.5))
        wall = np.array(_palette(rng, 1)[0] * 0.4 + 0.35)
        image[top:, x : x + w] = wall
        step = max(4, width // 48)
        for wy in range(top + step, height - step, step * 2):
            for wx in range(x + step, min(width, x + w) - step, step * 2):
                image[wy : wy + step, wx : wx + step] = rng.uniform(0.1, 0.5)
        x += w
    leaves = fractal_noise(rng, width, height, cells=(24, 24), octaves=5, roughness=0.8)
    crown = fractal_noise(rng, width, height, cells=(6, 6), octaves=2) - np.linspace(1.2, -1.4, height)[:, None]
    weight = np.clip(crown * 4, 0, 1).astype(np.float32)
    return _mix(image, _tint(np.clip(0.42 + 0.16 * leaves, 0.1, 1), (0.6, 0.85, 0.45)), weight)


def screen(rng: np.random.Generator, width: int, height: int) -> Image:
    """A dark screen with dust and finger marks."""
    dust = fractal_noise(rng, width, height, cells=(8, 6), octaves=6)
    image = _tint(np.clip(0.13 + 0.03 * dust, 0, 1), (0.9, 0.95, 1.0))
    image[height * 14 // 15 :, width * 2 // 5 : width * 3 // 5] = 0.4
    return image


def leaf(rng: np.random.Generator, width: int, height: int) -> Image:
    """A leaf with ribs."""
    veins = fractal_noise(rng, width, height, cells=(6, 3), octaves=5)
    x = np.linspace(0, 12, width, dtype=np.float32)[None]
    y = np.abs(np.linspace(-1, 1, height, dtype=np.float32))[:, None]
    ribs = (np.abs((x + 2 * y) % 1.0 - 0.5) < 0.07) | (y < 0.06)
    return _tint(0.62 + 0.1 * veins + 0.22 * ribs.astype(np.float32), (0.45, 0.8, 0.38))


Paint = Callable[[np.random.Generator, int, int], Image]

# Painter, size in texels, and the width in metres after which the texture repeats.
_REPEATING: Mapping[str, tuple[Paint, int, int, float]] = {
    "plaster_white": (plaster((0.9, 0.89, 0.86), 0.012), 1024, 1024, 2.56),
    "plaster_warm": (plaster((0.88, 0.83, 0.74), 0.014), 1024, 1024, 2.56),
    "plaster_blue": (plaster((0.66, 0.75, 0.8), 0.014), 1024, 1024, 2.56),
    "ceiling": (plaster((0.94, 0.94, 0.93), 0.02), 1024, 1024, 2.56),
    "facade": (plaster((0.8, 0.76, 0.7), 0.05), 512, 512, 2.0),
    "floor_oak": (planks((0.78, 0.62, 0.44), (0.52, 0.36, 0.22), rows=32, per_row=9), 4096, 2048, 14.2),
    "floor_dark": (planks((0.55, 0.42, 0.32), (0.32, 0.22, 0.15), rows=16, per_row=4), 2048, 2048, 4.6),
    "wood_light": (planks((0.84, 0.72, 0.55), (0.68, 0.52, 0.36), rows=4, per_row=2), 1024, 512, 1.6),
    "wood_dark": (planks((0.48, 0.33, 0.23), (0.28, 0.17, 0.11), rows=4, per_row=2), 1024, 512, 1.6),
    "tiles_white": (tiles((0.9, 0.92, 0.92), (0.62, 0.62, 0.6), across=8, marbling=0.035), 1024, 1024, 1.6),
    "tiles_floor": (tiles((0.62, 0.6, 0.58), (0.4, 0.4, 0.4), across=8, marbling=0.16), 2048, 2048, 3.2),
    "wallpaper": (wallpaper((0.8, 0.8, 0.68), (0.42, 0.5, 0.4), motifs=8), 1024, 1024, 2.4),
    "cloth_grey": (weave((0.6, 0.6, 0.62), (0.34, 0.35, 0.39), threads=512), 1024, 1024, 1.6),
    "cloth_red": (weave((0.72, 0.36, 0.3), (0.46, 0.18, 0.16), threads=512), 1024, 1024, 1.6),
    "cloth_cream": (weave((0.9, 0.86, 0.78), (0.74, 0.68, 0.58), threads=512), 1024, 1024, 1.6),
    "counter": (
        speckle(((0.5, 0.5, 0.5), (0.8, 0.8, 0.78), (0.2, 0.2, 0.22), (0.6, 0.5, 0.4)), chips=2500),
        512,
        512,
        1.0,
    ),
    "white_paint": (plaster((0.93, 0.93, 0.92), 0.008), 256, 256, 0.6),
    "metal": (plaster((0.7, 0.71, 0.73), 0.03), 256, 256, 0.6),
    "black": (plaster((0.16, 0.16, 0.17), 0.05), 256, 256, 0.6),
    "lamp": (plaster((1.0, 0.97, 0.9), 0.01), 64, 64, 0.5),
    "leaf": (leaf, 256, 128, 0.2),
}

# How many of each there are: as many as `samples.furniture` hangs up and puts on shelves.
_UNIQUE: Mapping[str, tuple[Paint, int, int, int]] = {
    "painting": (painting, 512, 512, 48),
    "poster": (poster, 256, 256, 160),
    "package": (package, 128, 128, 160),
    "spines": (book_spines, 512, 256, 96),
    "rug": (rug, 1024, 1024, 7),
    "quilt": (quilt, 1024, 1024, 1),
    "street": (street, 1024, 1024, 4),
    "screen": (screen, 512, 256, 2),
}


def flat_recipes() -> tuple[TextureRecipe, ...]:
    """Every texture that the flat uses."""
    repeating = [TextureRecipe(name, paint, w, h) for name, (paint, w, h, _) in _REPEATING.items()]
    unique = [TextureRecipe(f"{kind}_{k}", paint, w, h) for kind, (paint, w, h, n) in _UNIQUE.items() for k in range(n)]
    return (*repeating, *unique)


def period_m(name: str) -> tuple[float, float] | None:
    """Width and height in metres after which a texture repeats; None for one that is stretched over its surface."""
    if name not in _REPEATING:
        return None
    _, width, height, period = _REPEATING[name]
    return period, period * height / width
