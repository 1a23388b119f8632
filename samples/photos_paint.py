"""Painted surfaces of outdoor scenes: masonry, plaster, paving, ground, foliage, windows. No two places of one are alike.

Images as in `samples.textures`: (h, w, 3) float32, gamma 2, in 0..1. Sizes of stones and stains are shares of the width, so that a
small texture shows the same kind of surface with less detail.
"""

import itertools
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from samples.textures import Image, fractal_noise

Colour = tuple[float, float, float]
Painter = Callable[[np.random.Generator, int, int], Image]


def _mixed(a: Image, b: Image, weight: Image) -> Image:
    w = weight[..., None] if weight.ndim == 2 else weight
    return np.asarray(a * (1 - w) + b * w, np.float32)


def _flat(colour: Colour | NDArray[np.float32], width: int, height: int) -> Image:
    return np.ascontiguousarray(np.broadcast_to(np.array(colour, np.float32), (height, width, 3)))


def _octaves(width: int) -> int:
    """As many octaves of noise as a texture of this width can show, from eight cells on."""
    return max(3, int(np.log2(width / 8)))


def _ink(colour: NDArray[np.float32]) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def palette(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Colours (count, 3) that go together."""
    hue = (rng.uniform() + rng.normal(0, 0.2, count)) % 1
    hsv = np.stack([hue * 360, rng.uniform(0.1, 0.7, count), rng.uniform(0.2, 0.95, count)], axis=1)
    return np.asarray(cv2.cvtColor(hsv.astype(np.float32)[None], cv2.COLOR_HSV2RGB)[0], np.float32)


def weathered(rng: np.random.Generator, image: Image, strength: float) -> Image:
    """Stains, streaks that run down, lichen and grain on top of `image`."""
    height, width = image.shape[:2]
    cells = (8.0, 8.0 * height / width)
    stains = fractal_noise(rng, width, height, cells=cells, octaves=_octaves(width), roughness=0.72)
    streaks = fractal_noise(rng, width, height, cells=(width / 12, 3), octaves=2)
    grain = fractal_noise(rng, width, height, cells=(width / 6, height / 6), octaves=2, roughness=0.9)
    shade = 1 + strength * (0.17 * stains + 0.05 * streaks + 0.09 * grain)
    done = image * shade[..., None].astype(np.float32)
    lichen = fractal_noise(
        rng, width, height, cells=(cells[0] * 2, cells[1] * 2), octaves=_octaves(width) - 1, roughness=0.75
    )
    weight = np.clip(2.2 * (lichen - 1.25), 0, 0.7 * min(strength, 1.0)).astype(np.float32)
    moss = np.array([0.42, 0.43, 0.22], np.float32)
    return np.clip(_mixed(done, _flat(moss, width, height), weight), 0.02, 1)


def masonry(colours: tuple[Colour, ...], *, courses: int, mortar: Colour = (0.62, 0.6, 0.56)) -> Painter:
    """Courses of stones of all lengths, each with a tone of its own and worn corners."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = _flat(mortar, width, height)
        edges = np.cumsum(rng.uniform(0.7, 1.3, courses))
        edges = np.concatenate([[0], edges / edges[-1] * height]).round().astype(int)
        gap = max(1.0, width / 900)
        for top, bottom in itertools.pairwise(edges.tolist()):
            x = -rng.uniform(0, bottom - top)
            while x < width:
                length = (bottom - top) * rng.uniform(0.8, 3.2)
                tone = np.array(colours[int(rng.integers(len(colours)))], np.float32) * np.float32(rng.normal(1, 0.16))
                wear = rng.normal(0, gap, (8, 2))
                corners = np.array(
                    [
                        [x + gap, top + gap], [x + length / 2, top + gap], [x + length - gap, top + gap],
                        [x + length - gap, (top + bottom) / 2], [x + length - gap, bottom - gap],
                        [x + length / 2, bottom - gap], [x + gap, bottom - gap], [x + gap, (top + bottom) / 2],
                    ]
                )  # fmt: skip
                cv2.fillPoly(image, [np.rint(corners + wear).astype(np.int32)], _ink(tone), cv2.LINE_AA)
                x += length
        return weathered(rng, image, 1.0)

    return paint


def stucco(colour: Colour) -> Painter:
    """Plaster outdoors: stains, cracks, patches of another tone where stones show through."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = weathered(rng, _flat(colour, width, height), 1.3)
        bare = masonry(((0.6, 0.5, 0.42), (0.5, 0.42, 0.36)), courses=max(6, 40 * height // width))(rng, width, height)
        where = fractal_noise(rng, width, height, cells=(5, max(2, 5 * height // width)), octaves=6, roughness=0.65)
        image = _mixed(image, bare, np.clip(8 * (where - 1.0), 0, 1).astype(np.float32))
        for _ in range(26):
            steps = rng.normal(0, width / 60, (30, 2)) + rng.normal(0, width / 90, 2)
            line = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(steps, axis=0)
            dark = np.array(colour, np.float32) * np.float32(rng.uniform(0.35, 0.7))
            cv2.polylines(image, [line.astype(np.int32)], False, _ink(dark), max(1, width // 900), cv2.LINE_AA)
        return image

    return paint


def paving(colours: tuple[Colour, ...], *, across: int) -> Painter:
    """Flagstones: cells round scattered points, each with a tone of its own, with joints and dirt."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        down = max(2, across * height // width)
        spots = np.stack(np.meshgrid(np.arange(across) + 0.5, np.arange(down) + 0.5), axis=-1).reshape(-1, 2)
        spots = (spots + rng.uniform(-0.32, 0.32, spots.shape)) * (width / across, height / down)
        tones = np.array(colours, np.float32)[rng.integers(len(colours), size=len(spots))]
        tones *= rng.normal(1, 0.15, (len(spots), 1)).astype(np.float32)
        image = np.zeros((height, width, 3), np.float32)
        plane = cv2.Subdiv2D((-width, -height, 3 * width, 3 * height))
        for x, y in spots.tolist():
            plane.insert((x, y))
        # Facets come in the order of insertion.
        facets, _ = plane.getVoronoiFacetList([])
        for facet, tone in zip(facets, tones, strict=True):
            outline = np.rint(np.asarray(facet)).astype(np.int32)
            cv2.fillConvexPoly(image, outline, _ink(tone), cv2.LINE_AA)
            cv2.polylines(image, [outline], True, (0.3, 0.29, 0.26), max(1, width // (across * 14)), cv2.LINE_AA)
        return weathered(rng, image, 1.1)

    return paint


def earth(colour: Colour, litter: tuple[Colour, ...]) -> Painter:
    """Trodden ground with pebbles, twigs and leaves."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = weathered(rng, _flat(colour, width, height), 1.6)
        for _ in range(9000):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            size = width / 2048 * float(rng.gamma(1.6, 2.4)) + 0.6
            tone = np.array(litter[int(rng.integers(len(litter)))], np.float32) * np.float32(rng.uniform(0.6, 1.3))
            axes = (max(1, round(size)), max(1, round(size * rng.uniform(0.25, 0.9))))
            cv2.ellipse(image, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, _ink(tone), -1, cv2.LINE_AA)
        return np.clip(image, 0.02, 1)

    return paint


def foliage(colour: Colour) -> Painter:
    """Leaves upon leaves, dark gaps between them."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = _flat(np.array(colour, np.float32) * 0.3, width, height)
        for k in range(5000):
            size = width / 40 * rng.uniform(0.4, 1.0)
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            tone = np.array(colour, np.float32) * np.float32((0.5 + 0.6 * k / 5000) * rng.normal(1, 0.2))
            axes = (max(1, round(size)), max(1, round(size * 0.45)))
            cv2.ellipse(image, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, _ink(tone), -1, cv2.LINE_AA)
        return np.clip(image, 0.02, 1)

    return paint


def roofing(colour: Colour, *, rows: int) -> Painter:
    """Rows of clay tiles, each fired a little differently, some replaced."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        across = max(2, rows * width // height)
        tone = rng.normal(1, 0.16, (rows, across)).astype(np.float32)
        tone[rng.uniform(size=tone.shape) < 0.06] *= 1.5
        bent = (0.72 + 0.28 * np.sin(np.linspace(0, np.pi, max(2, width // across)))).astype(np.float32)
        steps = np.linspace(1.0, 0.7, max(2, height // rows), dtype=np.float32)
        cells = np.kron(tone, steps[:, None] * bent[None])
        cells = np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        return weathered(rng, cells[..., None] * np.array(colour, np.float32), 1.2)

    return paint


def rock(colour: Colour, veins: Colour) -> Painter:
    """Stone with veins and grains."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        bent = fractal_noise(rng, width, height, cells=(5, 5), octaves=_octaves(width), roughness=0.65)
        line = np.exp(-7 * np.abs(bent)).astype(np.float32)
        image = _mixed(_flat(colour, width, height), _flat(veins, width, height), 0.7 * line)
        return weathered(rng, image, 1.2)

    return paint


def boards(colour: Colour, *, count: int) -> Painter:
    """Upright boards with grain, knots and flaking paint."""

    def paint(rng: np.random.Generator, width: int, height: int) -> Image:
        image = _flat(colour, width, height)
        edges = np.linspace(0, width, count + 1).astype(int)
        for left, right in itertools.pairwise(edges.tolist()):
            image[:, left:right] *= np.float32(rng.normal(1, 0.14))
            image[:, left : left + max(1, (right - left) // 16)] *= 0.35
        grain = fractal_noise(rng, width, height, cells=(width / 6, max(2.0, height / 90)), octaves=3, roughness=0.8)
        return weathered(rng, image * (1 + 0.14 * grain)[..., None].astype(np.float32), 0.9)

    return paint


def mural(rng: np.random.Generator, width: int, height: int) -> Image:
    """What somebody has painted on a wall: shapes from large to small."""
    colours = palette(rng, 7)
    image = weathered(rng, _flat(colours[0], width, height), 0.8)
    for k in range(130):
        size = 0.4 * min(width, height) / (1 + k) ** 0.45
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = _ink(colours[int(rng.integers(7))] * np.float32(rng.uniform(0.6, 1.1)))
        kind = int(rng.integers(3))
        if kind == 0:
            axes = (max(1, int(size * rng.uniform(0.4, 1))), max(1, int(size * rng.uniform(0.3, 0.8))))
            cv2.ellipse(image, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            corners = np.array([x, y]) + rng.normal(0, size * 0.7, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            line = np.array([x, y]) + np.cumsum(rng.normal(0, size * 0.5, (7, 2)), axis=0)
            cv2.polylines(image, [line.astype(np.int32)], False, colour, max(1, int(size / 8)), cv2.LINE_AA)
    grain = fractal_noise(rng, width, height, cells=(width / 6, height / 6), octaves=2)
    return np.clip(image * (1 + 0.06 * grain)[..., None].astype(np.float32), 0.02, 1)


def window(rng: np.random.Generator, width: int, height: int) -> Image:
    """Panes with curtains and things behind them, glazing bars, a painted frame."""
    dark = _flat((0.16, 0.18, 0.22), width, height)
    blur = fractal_noise(rng, width, height, cells=(4, 5), octaves=5)
    image = np.ascontiguousarray(np.clip(dark * (1 + 0.4 * blur)[..., None], 0.02, 1), dtype=np.float32)
    colours = palette(rng, 5)
    fold = (0.75 + 0.25 * np.sin(np.linspace(0, rng.uniform(20, 40), width))).astype(np.float32)
    reach = int(width * rng.uniform(0.12, 0.3))
    for part in (np.s_[:, :reach], np.s_[:, width - reach :]):
        image[part] = colours[0] * fold[part[1]][None, :, None]
    for k in range(1, 5):
        size = width * rng.uniform(0.05, 0.13)
        x, y = rng.uniform(0.25, 0.75) * width, height * 0.92
        corner = (int(x - size), int(y - size * rng.uniform(1, 5)))
        cv2.rectangle(image, corner, (int(x + size), height), _ink(colours[k] * 0.7), -1)
    frame = _ink(colours[4] * 0.5 + 0.4)
    bar = max(1, width // 18)
    for k in range(3):
        x = round(k * (width - 1) / 2)
        cv2.line(image, (x, 0), (x, height), frame, bar if k == 1 else 2 * bar)
    for k in range(4):
        y = round(k * (height - 1) / 3)
        cv2.line(image, (0, y), (width, y), frame, bar if k in (1, 2) else 2 * bar)
    return weathered(rng, image, 0.35)


def skyline(rng: np.random.Generator, width: int, height: int) -> Image:
    """Hills, trees and houses far away, as wide as the horizon."""
    image = _flat((0.36, 0.46, 0.3), width, height)
    woods = fractal_noise(rng, width, height, cells=(width / 24, height / 24), octaves=3, roughness=0.8)
    fields = fractal_noise(rng, width, height, cells=(24, 3), octaves=4)
    image *= (1 + 0.16 * woods + 0.14 * fields)[..., None]
    for _ in range(160):
        w, h = int(width * rng.uniform(0.003, 0.012)), int(height * rng.uniform(0.1, 0.45))
        x, base = int(rng.integers(width)), int(height * rng.uniform(0.55, 0.95))
        wall = palette(rng, 1)[0] * 0.35 + 0.45
        cv2.rectangle(image, (x, base - h), (x + w, base), _ink(wall), -1)
        roof = np.array([[x - 1, base - h], [x + w // 2, base - h - max(1, h // 3)], [x + w + 1, base - h]], np.int32)
        cv2.fillPoly(image, [roof], (0.45, 0.25, 0.2), cv2.LINE_AA)
        for row in range(2):
            for column in range(3):
                at = (x + w * (2 * column + 1) // 7, base - h + h * (2 * row + 1) // 5)
                cv2.rectangle(image, at, (at[0] + max(1, w // 8), at[1] + max(1, h // 6)), (0.2, 0.2, 0.24), -1)
    return np.clip(image, 0.02, 1)


def static(rng: np.random.Generator, width: int, height: int) -> Image:
    """Nothing: coloured noise."""
    channels = [
        fractal_noise(rng, width, height, cells=(width / 40, height / 40), octaves=5, roughness=0.9) for _ in range(3)
    ]
    return np.asarray(np.clip(0.5 + 0.22 * np.stack(channels, axis=-1), 0.02, 1), np.float32)
