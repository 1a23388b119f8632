"""Solid textures for generated objects: a colour for every point in space, so that a surface needs no map.

Waves of random direction (Perlin, "An image synthesizer", SIGGRAPH 1985, has the idea of solid texture). Light is baked:
the same from wherever one looks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samples.surfaces import Floats

Paint = Callable[[Floats, NDArray[np.int32]], Floats]
"""Colours (n, 3) in 0..1, gamma-encoded, of points (n, 3) on parts (n,)."""

_LIGHT = np.array([0.4, 0.75, 0.53])


@dataclass(frozen=True)
class _Noise:
    """Sum of waves. direction (3, k), phase (k,), weight (k,)."""

    direction: Floats
    phase: Floats
    weight: Floats

    def __call__(self, points: Floats) -> Floats:
        return np.asarray(np.cos(points @ self.direction + self.phase) @ self.weight, np.float64)


def noise(rng: np.random.Generator, period: float, octaves: int, roughness: float = 0.6) -> _Noise:
    """Noise of about unit spread. `period` is the coarsest wave's length in the object's units; octaves halve it."""
    directions, weights = [], []
    for octave in range(octaves):
        direction = rng.normal(size=(5, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        stretch = rng.uniform(0.8, 1.25, (5, 1))
        directions.append(direction * stretch * (2 * np.pi / period) * 2**octave)
        weights.append(np.full(5, roughness**octave))
    weight = np.concatenate(weights)
    phase = rng.uniform(0, 2 * np.pi, len(weight))
    return _Noise(np.concatenate(directions).T, phase, weight / np.sqrt((weight**2).sum() / 2))


def _palette(rng: np.random.Generator, count: int) -> Floats:
    hue = (rng.uniform() + np.arange(count) * 0.381966) % 1.0
    value, chroma = rng.uniform(0.55, 0.85, count), rng.uniform(0.25, 0.55, count)
    wheel = np.abs((hue[:, None] * 6 - np.array([3.0, 2.0, 4.0])) % 6 - 3) - 1
    rgb = np.clip(np.where(np.arange(3) == 0, wheel, wheel), 0, 1)
    return np.asarray(value[:, None] * (1 - chroma[:, None] * (1 - rgb)), np.float64)


def clouds(rng: np.random.Generator) -> Paint:
    """Soft spots of several colours."""
    colours, fields = _palette(rng, 4), [noise(rng, 0.35, 4) for _ in range(4)]

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:  # noqa: ARG001
        weight = np.exp(2 * np.stack([field(points) for field in fields], axis=1))
        return np.asarray(weight @ colours / weight.sum(axis=1, keepdims=True), np.float64)

    return paint


def fine_grain(rng: np.random.Generator) -> Paint:
    """Detail down to a few pixels of a 512 px view: granite."""
    light, dark, grain = _palette(rng, 1)[0], _palette(rng, 1)[0] * 0.45, noise(rng, 0.09, 4, 0.9)

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:  # noqa: ARG001
        share = 1 / (1 + np.exp(-1.5 * grain(points)))[:, None]
        return np.asarray(dark + share * (light - dark), np.float64)

    return paint


def stripes(rng: np.random.Generator) -> Paint:
    """Bands with crisp borders that wander."""
    colours = _palette(rng, 2)
    axis = rng.normal(size=3)
    axis *= 2 * np.pi / 0.12 / np.linalg.norm(axis)
    wander, shade = noise(rng, 0.5, 2), noise(rng, 0.2, 3)

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:  # noqa: ARG001
        share = 1 / (1 + np.exp(-6 * np.sin(points @ axis + 0.7 * wander(points))))[:, None]
        return np.asarray(
            (colours[0] + share * (colours[1] - colours[0])) * (1 + 0.05 * shade(points)[:, None]), np.float64
        )

    return paint


def wood(rng: np.random.Generator) -> Paint:
    """Rings about an axis off the object."""
    light, dark = np.array([0.80, 0.62, 0.42]), np.array([0.52, 0.34, 0.19])
    wobble, fibre, middle = noise(rng, 0.6, 3), noise(rng, 0.05, 2), rng.uniform(0.3, 0.6, 2)

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:
        shifted = points[:, [0, 2]] + middle + 0.11 * part[:, None]
        ring = np.sin(2 * np.pi * np.linalg.norm(shifted, axis=1) / 0.06 + 0.8 * wobble(points))
        share = (0.5 + 0.4 * ring + 0.05 * fibre(points))[:, None]
        return np.asarray(light + share * (dark - light), np.float64)

    return paint


def enamel(rng: np.random.Generator) -> Paint:
    """One colour for each part, with slight mottling."""
    colours, mottle = _palette(rng, 16), noise(rng, 0.15, 3)

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:
        return np.asarray(colours[part % len(colours)] * (1 + 0.06 * mottle(points)[:, None]), np.float64)

    return paint


def tiles(rng: np.random.Generator) -> Paint:
    """A chequered solid with soft seams."""
    colours, mottle = _palette(rng, 2), noise(rng, 0.1, 3)
    frequency = 2 * np.pi / np.array([0.22, 0.22, 0.22])

    def paint(points: Floats, part: NDArray[np.int32]) -> Floats:  # noqa: ARG001
        product = np.sin(points * frequency + 0.4).prod(axis=1)
        share = 1 / (1 + np.exp(-20 * product))[:, None]
        return np.asarray(
            (colours[0] + share * (colours[1] - colours[0])) * (1 + 0.05 * mottle(points)[:, None]), np.float64
        )

    return paint


def lit(colour: Floats, normal: Floats) -> Floats:
    """Colours (n, 3) under soft light from above, for outward unit normals (n, 3)."""
    return np.asarray(np.clip(colour * (0.82 + 0.18 * (normal @ _LIGHT))[:, None], 0, 1), np.float64)
