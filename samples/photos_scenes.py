"""Places to photograph: a house, a monument, a courtyard, ruins; and such as are easily mistaken for themselves.

Each has ground, things that stand around and a horizon, all textured without repetition but where repetition is the point.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from samples import photos_paint as paint
from samples.photos_paint import Colour, Painter
from samples.photos_render import PhotoRenderer, daylight
from samples.photos_solids import Place, Solids, ripples, waves
from samples.photos_walk import Walk
from samples.surfaces import Face, Floats
from samples.textures import TextureRecipe, paint_atlas

SceneKind = Literal["house", "monument", "courtyard", "ruin", "terrace", "twins", "elsewhere"]
"""terrace: a long house whose two fronts have the same windows, seen from either side and never from its ends. twins: two statues
that are alike. elsewhere: a few things on a meadow, for pictures that belong to nothing else.
"""
KINDS: tuple[SceneKind, ...] = get_args(SceneKind)
ORDINARY: tuple[SceneKind, ...] = ("house", "monument", "courtyard", "ruin")
_FRONTS: tuple[Face, ...] = ("south", "east", "north", "west")
_HORIZON_M = 85.0
_HERE = Place()


@dataclass(frozen=True)
class PhotoScene:
    """A place, and the walks on which people photograph it: pictures of different walks share nothing."""

    renderer: PhotoRenderer
    walks: tuple[Walk, ...]


@dataclass(frozen=True)
class _Texture:
    painter: Painter
    width_px: int
    height_px: int
    width_m: float | None = None
    """What the width covers; None for a picture that is stretched over its sheet."""


def make_scene(kind: SceneKind, seed: int, texture_scale: float) -> PhotoScene:
    """The place of a kind and a seed; `texture_scale` (a power of two up to 1) makes do with less for small pictures."""
    rng = np.random.default_rng([seed, KINDS.index(kind), 1])
    textures = _TEXTURES[kind](rng)
    recipes = tuple(TextureRecipe(name, t.painter, t.width_px, t.height_px) for name, t in textures.items())
    atlas = paint_atlas(recipes, int(rng.integers(1 << 31)), texture_scale)
    widths = {name: t.width_m for name, t in textures.items() if t.width_m is not None}
    solids = Solids(atlas, widths, rng)
    _surroundings(solids, open_space_m=0.0 if kind == "elsewhere" else 20.0)
    walks = _BUILDERS[kind](solids)
    return PhotoScene(PhotoRenderer(solids.done(), atlas, daylight(rng)), walks)


# --- textures --------------------------------------------------------------------------------------------------------------


def _tone(rng: np.random.Generator, low: float, high: float, colourful: float) -> Colour:
    """Of stone, wood or earth: rather warm than cold."""
    value = rng.uniform(low, high) * (1 + colourful * rng.uniform(-1, 1, 3)) * (1.06, 1.0, 0.86)
    return float(value[0]), float(value[1]), float(value[2])


def _green(rng: np.random.Generator) -> Colour:
    return float(rng.uniform(0.35, 0.6)), float(rng.uniform(0.5, 0.66)), float(rng.uniform(0.22, 0.36))


def _tones(rng: np.random.Generator, count: int, low: float, high: float, colourful: float) -> tuple[Colour, ...]:
    return tuple(_tone(rng, low, high, colourful) for _ in range(count))


def _common(rng: np.random.Generator, ground: Painter | None = None) -> dict[str, _Texture]:
    pebbles = (*_tones(rng, 4, 0.35, 0.8, 0.15), (0.5, 0.4, 0.2), (0.32, 0.36, 0.18))
    plain = paint.earth(_tone(rng, 0.5, 0.62, 0.12), pebbles)
    return {
        "ground": _Texture(ground or plain, 4096, 4096, 36.0),
        "meadow": _Texture(paint.earth((0.4, 0.46, 0.26), pebbles), 1024, 1024, 40.0),
        "skyline": _Texture(paint.skyline, 4096, 128),
        "leaves": _Texture(paint.foliage(_green(rng)), 1024, 512, 2.6),
        "bark": _Texture(paint.boards((0.42, 0.34, 0.27), count=16), 512, 512, 2.0),
        "boards": _Texture(paint.boards(_tone(rng, 0.45, 0.7, 0.3), count=24), 1024, 1024, 3.5),
        "rock": _Texture(paint.rock(_tone(rng, 0.55, 0.75, 0.08), _tone(rng, 0.25, 0.4, 0.1)), 1024, 1024, 4.0),
    }


def _paved(rng: np.random.Generator) -> Painter:
    return paint.paving(_tones(rng, 4, 0.45, 0.75, 0.1), across=60)


def _walls(rng: np.random.Generator) -> dict[str, _Texture]:
    stones = _tones(rng, 4, 0.42, 0.75, 0.14)
    painters = (
        paint.masonry(stones, courses=26),
        paint.stucco(_tone(rng, 0.6, 0.85, 0.15)),
        paint.masonry(_tones(rng, 4, 0.42, 0.75, 0.14), courses=34),
        paint.stucco(_tone(rng, 0.6, 0.85, 0.15)),
    )
    return {f"wall_{face}": _Texture(p, 2048, 1024) for face, p in zip(_FRONTS, painters, strict=True)}


def _many(name: str, painter: Painter, count: int, width_px: int, height_px: int) -> dict[str, _Texture]:
    return {f"{name}_{k}": _Texture(painter, width_px, height_px) for k in range(count)}


def _house_textures(rng: np.random.Generator) -> dict[str, _Texture]:
    return {
        **_common(rng, _paved(rng)),
        **_walls(rng),
        **_many("window", paint.window, 20, 256, 256),
        **_many("mural", paint.mural, 6, 512, 512),
        "roof": _Texture(paint.roofing(_tone(rng, 0.45, 0.6, 0.25), rows=40), 1024, 1024, 9.0),
        "trim": _Texture(paint.rock(_tone(rng, 0.7, 0.85, 0.05), (0.6, 0.58, 0.55)), 512, 512, 3.0),
    }


def _monument_textures(rng: np.random.Generator) -> dict[str, _Texture]:
    return {
        **_common(rng, _paved(rng)),
        **_many("mural", paint.mural, 8, 512, 512),
        "marble": _Texture(paint.rock(_tone(rng, 0.7, 0.85, 0.08), _tone(rng, 0.3, 0.5, 0.15)), 2048, 2048, 6.0),
        "blocks": _Texture(paint.masonry(_tones(rng, 4, 0.5, 0.8, 0.1), courses=40), 2048, 2048, 9.0),
        "bronze": _Texture(paint.rock(_tone(rng, 0.4, 0.5, 0.2), (0.42, 0.6, 0.5)), 1024, 1024, 3.0),
    }


def _elsewhere_textures(rng: np.random.Generator) -> dict[str, _Texture]:
    return {
        **{name: _Texture(t.painter, 512, min(512, t.height_px), t.width_m) for name, t in _common(rng).items()},
        **_many("mural", paint.mural, 5, 256, 256),
    }


_TEXTURES: Mapping[SceneKind, Callable[[np.random.Generator], dict[str, _Texture]]] = {
    "house": _house_textures,
    "monument": _monument_textures,
    "courtyard": _house_textures,
    "ruin": _monument_textures,
    "terrace": _house_textures,
    "twins": _monument_textures,
    "elsewhere": _elsewhere_textures,
}


# --- what stands everywhere ----------------------------------------------------------------------------------------------------


def _vector(*values: float) -> Floats:
    return np.array(values, np.float64)


def _surroundings(s: Solids, open_space_m: float) -> None:
    """Ground, horizon, and trees and stones beyond `open_space_m`."""
    half = 18.0
    s.sheet(
        _vector(-half, half, 0), _vector(2 * half, 0, 0), _vector(0, -2 * half, 0), "ground",
        step_m=0.5, relief=ripples(s.rng, 0.03, 4.0), start=(0.0, 0.0),
    )  # fmt: skip
    far = _HORIZON_M + 5
    s.sheet(_vector(-far, far, -0.12), _vector(2 * far, 0, 0), _vector(0, -2 * far, 0), "meadow", step_m=10.0)
    angle = np.linspace(2 * np.pi, 0, 241)
    height = 8 + 2.5 * waves(s.rng, 16, 6.0)(np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    ring = np.stack([_HORIZON_M * np.cos(angle), _HORIZON_M * np.sin(angle)], axis=-1)
    points = np.stack([np.column_stack([ring, height]), np.column_stack([ring, np.full(241, -1.0)])])
    across, down = (float(size[s.atlas.index("skyline")]) for size in (s.atlas.width_px, s.atlas.height_px))
    texels = np.stack(np.meshgrid(np.linspace(0, across, 241), [0.5, down - 0.5]), axis=-1)
    s.grid(points, texels, "skyline")
    for _ in range(14):
        away, turn = s.rng.uniform(open_space_m + 4, open_space_m + 22), s.rng.uniform(0, 2 * np.pi)
        _tree(s, Place(away * math.cos(turn), away * math.sin(turn)), float(s.rng.uniform(3.5, 7.0)))


def _tree(s: Solids, at: Place, height_m: float) -> None:
    s.turned([(0.1, 0.55 * height_m), (0.14, 0.3 * height_m), (0.26, -0.2)], "bark", at, sides=12)
    for _ in range(3):
        lean = s.rng.normal(0, 0.1 * height_m, 2)
        crown = Place(at.x_m + lean[0], at.y_m + lean[1], height_m * float(s.rng.uniform(0.55, 0.8)))
        size = height_m * s.rng.uniform(0.2, 0.3, 3)
        s.stone(size.tolist(), "leaves", crown, roughness=0.12, cells=24)


def _bush(s: Solids, at: Place, size_m: float) -> None:
    s.stone([size_m, size_m * 0.8, size_m * 0.75], "leaves", at, roughness=0.13, cells=28)


def _crate(s: Solids, at: Place, size_m: float, texture: str = "boards") -> None:
    half = size_m / 2
    s.box((-half, -half, -0.1), (half, half, size_m), texture, at=at)
    s.box(
        (-half - 0.03, -half - 0.03, size_m * 0.4), (half + 0.03, half + 0.03, size_m * 0.5), "bark", at=at, without=()
    )


def _barrel(s: Solids, at: Place, height_m: float) -> None:
    radius = 0.36 * height_m
    side = [(radius * 0.8, height_m), (radius, 0.65 * height_m), (radius, 0.35 * height_m), (radius * 0.8, -0.1)]
    s.turned(side, "boards", at, sides=32)
    s.turned([(0.0, height_m), (radius * 0.8, height_m)], "bark", at, sides=32)


def _pot(s: Solids, at: Place, height_m: float, texture: str) -> None:
    profile = [(0.34, 1.0), (0.4, 0.96), (0.3, 0.8), (0.42, 0.5), (0.2, 0.12), (0.3, 0.0), (0.3, -0.2)]
    s.turned([(r * height_m, h * height_m) for r, h in profile], texture, at, sides=36)
    _bush(s, Place(at.x_m, at.y_m, at.z_m + height_m * 1.1), 0.42 * height_m)


def _bench(s: Solids, at: Place) -> None:
    s.box((-0.9, -0.25, 0.38), (0.9, 0.25, 0.46), "boards", at=at, without=())
    s.box((-0.9, 0.2, 0.46), (0.9, 0.26, 0.9), "boards", at=at, without=())
    for x in (-0.7, 0.55):
        s.box((x, -0.22, -0.1), (x + 0.15, 0.22, 0.38), "rock", at=at)


# --- houses --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """A box-shaped building about the origin."""

    width_m: float
    depth_m: float
    height_m: float

    def front(self, face: Face) -> float:
        """Length of a front."""
        return self.depth_m if face in ("east", "west") else self.width_m


@dataclass(frozen=True)
class _Front:
    """One side of a block that stands at `place`."""

    block: _Block
    face: Face
    place: Place = _HERE

    def on_it(
        self, along_m: float, low_m: float, size_m: tuple[float, float], thickness_m: float
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Local corners of a box that stands out of the front; `along_m` is its middle, counted from the front's middle."""
        wide, high = size_m
        a, b = along_m - wide / 2, along_m + wide / 2
        x, y = self.block.width_m / 2, self.block.depth_m / 2
        spans = {
            "south": ((a, b), (-y - thickness_m, -y + 0.05)),
            "north": ((a, b), (y - 0.05, y + thickness_m)),
            "east": ((x - 0.05, x + thickness_m), (a, b)),
            "west": ((-x - thickness_m, -x + 0.05), (a, b)),
        }
        (x0, x1), (y0, y1) = spans[self.face]
        return (x0, y0, low_m), (x1, y1, low_m + high)


def _hang(s: Solids, front: _Front, at: tuple[float, float], size: tuple[float, float], picture: str) -> None:
    low, high = front.on_it(at[0], at[1], size, 0.05)
    s.box(low, high, "trim", at=front.place, faces={front.face: picture}, without=())


def _window(s: Solids, front: _Front, at: tuple[float, float], picture: str) -> None:
    wide, high = 1.15, 1.35
    for below, size, thickness in ((-0.14, (wide + 0.36, 0.12), 0.2), (high, (wide + 0.3, 0.16), 0.14)):
        low, up = front.on_it(at[0], at[1] + below, size, thickness)
        s.box(low, up, "trim", at=front.place, without=())
    _hang(s, front, at, (wide, high), picture)


def _gable_roof(s: Solids, block: _Block, rise_m: float) -> None:
    x, y, top = block.width_m / 2 + 0.4, block.depth_m / 2 + 0.5, block.height_m
    for side in (-1.0, 1.0):
        ridge, eaves = _vector(side * -x, 0, top + rise_m), _vector(side * -x, side * -y, top - 0.25)
        if side > 0:
            s.sheet(ridge, _vector(2 * x, 0, 0), eaves - ridge, "roof", step_m=0.3, relief=ripples(s.rng, 0.015, 0.8))
        else:
            s.sheet(ridge, _vector(-2 * x, 0, 0), eaves - ridge, "roof", step_m=0.3, relief=ripples(s.rng, 0.015, 0.8))
    for side, face in ((-1.0, "west"), (1.0, "east")):
        apex = _vector(side * block.width_m / 2, 0, top + rise_m * 0.92)
        low = [_vector(side * block.width_m / 2, side * end * block.depth_m / 2, top) for end in (-1.0, 1.0)]
        points = np.array([[apex, apex], low])
        size = s.atlas.width_px[s.atlas.index(f"wall_{face}")], s.atlas.height_px[s.atlas.index(f"wall_{face}")]
        texels = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.9], [1.0, 0.9]]]) * np.array(size, np.float64) * 0.6
        s.grid(points, texels, f"wall_{face}")


def _walls_of(s: Solids, block: _Block) -> None:
    faces: dict[Face, str] = {face: f"wall_{face}" for face in _FRONTS}
    s.box(
        (-block.width_m / 2, -block.depth_m / 2, -0.3),
        (block.width_m / 2, block.depth_m / 2, block.height_m),
        "trim", faces=faces, without=("top", "bottom"), step_m=0.25, relief=ripples(s.rng, 0.012, 1.2),
    )  # fmt: skip


def _along(s: Solids, length_m: float, step_m: float) -> list[float]:
    """Places of windows on a front: in order, but no two gaps alike."""
    count = max(1, int((length_m - 1.2) / step_m))
    places = (np.arange(count) - (count - 1) / 2) * step_m
    return [float(place) for place in places + s.rng.uniform(-0.3, 0.3, count)]


def _house(s: Solids) -> tuple[Walk, ...]:
    block = _Block(float(s.rng.uniform(9, 11)), float(s.rng.uniform(7, 8.5)), float(s.rng.uniform(5.4, 6.2)))
    _walls_of(s, block)
    _gable_roof(s, block, float(s.rng.uniform(2.0, 3.0)))
    pictures = iter(s.rng.permutation(20).tolist())
    for face in _FRONTS:
        for floor in (1.0, 3.6):
            for along in _along(s, block.front(face), 2.9):
                number = next(pictures, None)
                if number is None:
                    continue
                _window(s, _Front(block, face), (along, floor + float(s.rng.uniform(-0.1, 0.2))), f"window_{number}")
        _hang(s, _Front(block, face), (float(s.rng.uniform(-1, 1)), 2.55), (1.0, 0.85), f"mural_{_FRONTS.index(face)}")
    s.box((-1.7, -block.depth_m / 2 - 1.3, -0.1), (-0.1, -block.depth_m / 2, 0.4), "rock")
    s.box((1.6, block.depth_m / 2 - 0.1, -0.1), (3.6, block.depth_m / 2 + 1.4, 2.3), "boards")
    s.box((2.0, -0.7, block.height_m), (2.8, 0.1, block.height_m + 3.0), "wall_south")
    for _ in range(26):
        _scatter(s, block.width_m / 2 + 0.4, block.depth_m / 2 + 0.4, 3.0)
    return (Walk(centre_m=(0.0, 0.0, 2.6), radius_m=(13.5, 17.5), aim_m=(1.4, 1.4, 0.6)),)


def _scatter(s: Solids, inner_x_m: float, inner_y_m: float, width_m: float) -> None:
    """One thing in the strip of `width_m` round a rectangle about the origin."""
    side, reach = int(s.rng.integers(4)), float(s.rng.uniform(0.3, width_m))
    t = float(s.rng.uniform(-1, 1))
    x, y = (
        (t * inner_x_m, (inner_y_m + reach) * (1 if side else -1))
        if side < 2
        else ((inner_x_m + reach) * (1 if side == 2 else -1), t * inner_y_m)
    )
    at = Place(x, y, 0.0, float(s.rng.uniform(0, 2 * np.pi)))
    _thing(s, at)


def _thing(s: Solids, at: Place) -> None:
    kind = int(s.rng.integers(5))
    size = float(s.rng.uniform(0.4, 0.9))
    if kind == 0:
        _crate(
            s,
            at,
            size,
            f"mural_{int(s.rng.integers(4, 6))}" if s.rng.random() < 0.4 and "mural_5" in s.atlas.names else "boards",
        )
    elif kind == 1:
        _barrel(s, at, size + 0.2)
    elif kind == 2:
        _pot(s, at, size, "rock")
    elif kind == 3:
        s.stone([size * 0.6, size * 0.5, size * 0.45], "rock", at, roughness=0.12, cells=28)
    else:
        _bush(s, at, size * 0.7)


def _terrace(s: Solids) -> tuple[Walk, ...]:
    block = _Block(17.0, 7.0, 5.8)
    _walls_of(s, block)
    _gable_roof(s, block, 2.4)
    for face in ("south", "north"):
        for floor in (0.9, 3.5):
            for along in np.linspace(-7, 7, 6).tolist():
                _window(s, _Front(block, face), (along, floor), "window_0")
    for _ in range(24):
        _scatter(s, block.width_m / 2, block.depth_m / 2 + 0.5, 3.0)
    front = Walk(
        name="front",
        centre_m=(0.0, 0.0, 2.2),
        radius_m=(14.0, 17.0),
        aim_m=(2.5, 0.5, 0.5),
        start_rad=-math.pi / 2,
        arc_rad=math.radians(100),
    )
    return front, replace(front, name="back", start_rad=math.pi / 2)


def _courtyard(s: Solids) -> tuple[Walk, ...]:
    inner = _Block(17.0, 14.0, float(s.rng.uniform(5.0, 6.0)))
    # The four walls look inwards: each is a front of a house behind it.
    opposite: dict[Face, Face] = {"south": "north", "north": "south", "east": "west", "west": "east"}
    pictures = iter(s.rng.permutation(20).tolist())
    for face in _FRONTS:
        wide, deep = (inner.width_m, 3.0) if face in ("south", "north") else (3.0, inner.depth_m)
        shift = {
            "south": (0.0, -(inner.depth_m + 3) / 2), "north": (0.0, (inner.depth_m + 3) / 2),
            "east": ((inner.width_m + 3) / 2, 0.0), "west": (-(inner.width_m + 3) / 2, 0.0),
        }[face]  # fmt: skip
        house = _Block(wide, deep, inner.height_m)
        place = Place(*shift)
        looks = opposite[face]
        front = _Front(house, looks, place)
        s.box(
            (-wide / 2, -deep / 2, -0.3), (wide / 2, deep / 2, inner.height_m), "trim", at=place,
            faces={looks: f"wall_{face}"}, step_m=0.25, relief=ripples(s.rng, 0.012, 1.2),
        )  # fmt: skip
        for floor in (1.0, 3.4):
            for along in _along(s, house.front(looks), 3.6):
                number = next(pictures, None)
                if number is not None:
                    _window(s, front, (along, floor), f"window_{number}")
        _hang(s, front, (float(s.rng.uniform(-2, 2)), 2.6), (1.5, 0.75), f"mural_{_FRONTS.index(face)}")
    _arcade(s, inner)
    _well(s, Place(float(s.rng.uniform(-1, 1)), float(s.rng.uniform(-1, 1))))
    for _ in range(20):
        t, side = s.rng.uniform(-0.9, 0.9), s.rng.choice([-1.0, 1.0])
        x, y = (t * inner.width_m / 2, side * (inner.depth_m / 2 - 0.8))
        if s.rng.random() < 0.5:
            x, y = side * (inner.width_m / 2 - 0.8), t * inner.depth_m / 2
        _thing(s, Place(x, y, 0.0, float(s.rng.uniform(0, 6))))
    return (Walk(centre_m=(0.0, 0.0, 2.2), radius_m=(4.2, 5.6), aim_m=(1.2, 1.2, 0.6), across_m=4.0),)


def _arcade(s: Solids, inner: _Block) -> None:
    """Columns with a roof along the north side."""
    y = inner.depth_m / 2 - 2.0
    for x in np.linspace(-inner.width_m / 2 + 1.2, inner.width_m / 2 - 1.2, 6).tolist():
        profile = [(0.3, 2.7), (0.34, 2.6), (0.2, 2.45), (0.23, 1.2), (0.22, 0.3), (0.34, 0.2), (0.34, -0.1)]
        s.turned(profile, "rock", Place(x + float(s.rng.uniform(-0.15, 0.15)), y), sides=32)
    s.box((-inner.width_m / 2, y - 0.35, 2.7), (inner.width_m / 2, y + 0.35, 3.1), "trim", without=())
    start = _vector(-inner.width_m / 2, inner.depth_m / 2, 3.6)
    s.sheet(
        start,
        _vector(inner.width_m, 0, 0),
        _vector(0, -2.6, -0.55),
        "roof",
        step_m=0.3,
        relief=ripples(s.rng, 0.015, 0.8),
    )


def _well(s: Solids, at: Place) -> None:
    s.turned([(0.85, 0.95), (1.1, 0.95), (1.1, 0.8), (0.95, 0.75), (1.0, -0.1)], "rock", at, sides=12, flat=True)
    for side in (-1.0, 1.0):
        s.box((side * 0.95 - 0.09, -0.09, 0.8), (side * 0.95 + 0.09, 0.09, 2.3), "bark", at=at)
    s.box((-1.2, -0.1, 2.3), (1.2, 0.1, 2.5), "boards", at=at, without=())


# --- things of stone ---------------------------------------------------------------------------------------------------------------


def _monument(s: Solids) -> tuple[Walk, ...]:
    for k, radius in enumerate((3.4, 2.8, 2.2)):
        top = 0.28 * (k + 1)
        s.turned([(0.0, top), (radius, top), (radius, -0.1)], "blocks", Place(), sides=8, flat=True)
    s.box((-1.1, -1.1, 0.8), (1.1, 1.1, 2.9), "marble", step_m=0.1, relief=ripples(s.rng, 0.012, 0.5))
    s.box((-1.3, -1.3, 2.9), (1.3, 1.3, 3.15), "marble", without=())
    for k, face in enumerate(_FRONTS):
        low, high = _Front(_Block(2.2, 2.2, 2.0), face).on_it(0.0, 1.2, (1.3, 1.2), 0.06)
        s.box(low, high, "bronze", faces={face: f"mural_{k}"}, without=())
    column = [(0.75, 5.6), (0.8, 5.45), (0.55, 5.2), (0.6, 4.4), (0.62, 3.7), (0.8, 3.4), (0.8, 3.1)]
    s.turned(column, "marble", Place(), sides=48)
    _statue(s, Place(0, 0, 5.6, 0.4), s.rng)
    for k in range(4):
        angle = math.pi / 4 + k * math.pi / 2
        corner = Place(2.5 * math.cos(angle), 2.5 * math.sin(angle), 0.55)
        s.box((-0.4, -0.4, 0.0), (0.4, 0.4, 0.8), "blocks", at=corner)
        at = Place(corner.x_m, corner.y_m, 1.3)
        if k % 2:
            _pot(s, at, 0.9, "bronze")
        else:
            s.stone([0.45, 0.45, 0.45], "marble", Place(at.x_m, at.y_m, 1.75), roughness=0.06)
    for k in range(9):
        angle = 2 * math.pi * (k + float(s.rng.uniform(0.1, 0.9))) / 9
        away = float(s.rng.uniform(4.4, 5.6))
        at = Place(away * math.cos(angle), away * math.sin(angle), 0.0, angle + math.pi / 2)
        if k % 3 == 0:
            _bench(s, at)
        else:
            _thing(s, at)
    return (Walk(centre_m=(0.0, 0.0, 2.8), radius_m=(8.0, 12.0), aim_m=(0.7, 0.7, 0.5)),)


def _statue(s: Solids, at: Place, shape: np.random.Generator) -> None:
    """Somebody of stone, about 2 m tall."""
    s.box((-0.5, -0.4, 0.0), (0.5, 0.4, 0.25), "marble", at=at)
    parts: Sequence[tuple[tuple[float, float, float], tuple[float, float, float]]] = (
        ((-0.17, 0.0, 0.65), (0.16, 0.18, 0.5)),
        ((0.17, 0.05, 0.65), (0.16, 0.18, 0.5)),
        ((0.0, 0.0, 1.25), (0.36, 0.24, 0.45)),
        ((0.0, 0.03, 1.85), (0.17, 0.2, 0.22)),
        ((-0.45, 0.1, 1.3), (0.13, 0.13, 0.4)),
        ((0.5, 0.15, 1.6), (0.12, 0.3, 0.14)),
    )
    for offset, radii in parts:
        x, y, z = at.points(np.array(offset)).tolist()
        s.stone(radii, "bronze", Place(x, y, z, at.yaw_rad), roughness=0.09, cells=36, shape=shape)


def _ruin(s: Solids) -> tuple[Walk, ...]:
    for k in range(7):
        angle = 2 * math.pi * (k + float(s.rng.uniform(0, 0.6))) / 7
        away = float(s.rng.uniform(1.8, 3.6))
        at = Place(away * math.cos(angle), away * math.sin(angle), 0.0, float(s.rng.uniform(0, 6.3)))
        x, left = -1.6, float(s.rng.uniform(1.6, 3.0))
        while left > 0.5:
            wide = float(s.rng.uniform(0.5, 1.1))
            high = left * float(s.rng.uniform(0.8, 1.1))
            texture = "blocks" if k % 2 else "marble"
            s.box((x, -0.3, -0.2), (x + wide, 0.3, high), texture, at=at, step_m=0.12, relief=ripples(s.rng, 0.03, 0.5))
            x, left = x + wide, left - float(s.rng.uniform(0.2, 0.7))
    for _ in range(26):
        x, y = s.rng.normal(0, 2.4, 2).tolist()
        at = Place(x, y, float(s.rng.uniform(0, 0.3)))
        radii = s.rng.uniform(0.25, 0.9, 3) * float(s.rng.uniform(0.5, 1.1))
        s.stone(radii.tolist(), str(s.rng.choice(["rock", "marble", "bronze"])), at, roughness=0.16, cells=36)
    for k in range(3):
        at = Place(float(s.rng.uniform(-3, 3)), float(s.rng.uniform(-3, 3)))
        column = [(0.3, 2.4 - 0.6 * k), (0.32, 1.0), (0.42, 0.4), (0.42, -0.1)]
        s.turned(column, "marble", at, sides=40)
        s.turned([(0.0, 2.4 - 0.6 * k), (0.3, 2.4 - 0.6 * k)], "blocks", at, sides=24)
        x, y = s.rng.normal(0, 3.0, 2).tolist()
        _thing(s, Place(x, y))
    return (Walk(centre_m=(0.0, 0.0, 1.2), radius_m=(7.0, 10.0), aim_m=(0.8, 0.8, 0.3)),)


def _twins(s: Solids) -> tuple[Walk, ...]:
    seed = int(s.rng.integers(1 << 31))
    furniture = s.rng
    for x in (-3.2, 3.2):
        # Everything about the two is drawn from the same numbers.
        s.rng = np.random.default_rng(seed)
        at = Place(x, 0.0, 0.0, 0.0)
        s.box((-1.0, -1.0, -0.1), (1.0, 1.0, 0.4), "blocks", at=at)
        s.box(
            (-0.7, -0.7, 0.4), (0.7, 0.7, 1.7), "marble", at=at, faces={f: f"mural_{k}" for k, f in enumerate(_FRONTS)}
        )
        _statue(s, Place(x, 0.0, 1.7), s.rng)
    s.rng = furniture
    for _ in range(22):
        x, y = float(s.rng.uniform(-6, 6)), float(s.rng.uniform(-5, 5))
        if min(abs(x - 3.2), abs(x + 3.2)) > 1.6 or abs(y) > 1.6:
            _thing(s, Place(x, y, 0.0, float(s.rng.uniform(0, 6))))
    return (Walk(centre_m=(0.0, 0.0, 1.5), radius_m=(9.0, 12.0), aim_m=(1.4, 0.8, 0.4)),)


def _elsewhere(s: Solids) -> tuple[Walk, ...]:
    for k in range(12):
        x, y = s.rng.normal(0, 2.0, 2).tolist()
        at = Place(x, y, 0.0, float(s.rng.uniform(0, 6)))
        if k < 5:
            size = s.rng.uniform(0.4, 1.4, 3)
            s.box((-size[0], -size[1], -0.1), (size[0], size[1], 2 * size[2]), f"mural_{k}", at=at)
        else:
            _thing(s, at)
    start = float(s.rng.uniform(0, 2 * np.pi))
    return (Walk(centre_m=(0.0, 0.0, 1.2), radius_m=(6.0, 9.0), aim_m=(0.8, 0.8, 0.3), start_rad=start),)


_BUILDERS: Mapping[SceneKind, Callable[[Solids], tuple[Walk, ...]]] = {
    "house": _house,
    "monument": _monument,
    "courtyard": _courtyard,
    "ruin": _ruin,
    "terrace": _terrace,
    "twins": _twins,
    "elsewhere": _elsewhere,
}
