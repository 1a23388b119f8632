"""What stands, lies and hangs in the flat. Plain boxes, prisms and sheets with busy textures."""

import numpy as np

from samples.plan import CEILING_M
from samples.surfaces import Face, Placement, Surfaces

_QUARTER = np.pi / 2


def furnish(s: Surfaces) -> None:
    """Puts everything in its place."""
    _trim(s)
    _living(s)
    _kitchen(s)
    _bath(s)
    _hall(s)
    _bedroom(s)
    _study(s)


# --- pieces ----------------------------------------------------------------------------------------------------------------


def table(s: Surfaces, at: Placement, size: tuple[float, float, float], wood: str) -> None:
    """A table of width, depth and height whose local origin is the middle of its footprint."""
    w, d, h = size
    s.box((-w / 2, -d / 2, h - 0.04), (w / 2, d / 2, h), wood, at=at)
    for x in (-w / 2 + 0.03, w / 2 - 0.08):
        for y in (-d / 2 + 0.03, d / 2 - 0.08):
            s.box((x, y, 0), (x + 0.05, y + 0.05, h - 0.04), wood, at=at, without=("top", "bottom"))


def chair(s: Surfaces, at: Placement, cloth: str) -> None:
    """A chair that faces local -y."""
    table(s, at, (0.44, 0.44, 0.45), "wood_light")
    s.box((-0.21, -0.21, 0.45), (0.21, 0.21, 0.48), cloth, at=at)
    for z in (0.56, 0.68, 0.8):
        s.box((-0.21, 0.18, z), (0.21, 0.21, z + 0.07), "wood_light", at=at)
    for x in (-0.22, 0.19):
        s.box((x, 0.18, 0.45), (x + 0.03, 0.22, 0.9), "wood_light", at=at)


def shelf(s: Surfaces, at: Placement, size: tuple[float, float, float], wood: str) -> None:
    """A bookcase whose back stands on local y = 0 and whose front looks to local -y; width, height, depth."""
    width, height, depth = size
    t = 0.022
    for x in (0.0, width - t):
        s.box((x, -depth, 0), (x + t, 0, height), wood, at=at)
    s.box((0, -0.012, 0), (width, 0, height), wood, at=at)
    boards = max(2, round(height / 0.36))
    for k in range(boards + 1):
        z = k * (height - t) / boards
        s.box((t, -depth, z), (width - t, -0.012, z + t), wood, at=at)
        if k < boards:
            _shelf_load(s, at.moved(t, 0.0, z + t), (width - 2 * t, depth, (height - t) / boards - t))


def _shelf_load(s: Surfaces, at: Placement, size: tuple[float, float, float]) -> None:
    """Books and boxes on one board of width and depth, up to the height of the next."""
    width, depth, room = size
    x = 0.01
    while x < width - 0.12:
        kind = s.rng.random()
        w = float(min(width - x - 0.01, s.rng.uniform(0.3, 0.6) if kind < 0.7 else s.rng.uniform(0.1, 0.22)))
        h = float(room * s.rng.uniform(0.62, 0.92))
        y = -float(depth * s.rng.uniform(0.72, 0.95))
        if kind < 0.7:
            front = s.unused("spines")
            s.box((x, y, 0), (x + w, -0.03, h), "cloth_cream", at=at, faces={"south": front}, without=("bottom",))
        elif kind < 0.92:
            s.box((x, y, 0), (x + w, -0.05, h * 0.8), s.unused("package"), at=at, without=("bottom",))
        else:
            s.prism(w / 2.6, h * 0.7, s.unused("package"), at.moved(x + w / 2, -depth / 2, 0.0))
        x += w + float(s.rng.uniform(0.005, 0.06))


def sofa(s: Surfaces, at: Placement, width: float, cloth: str, cushion: str) -> None:
    """A sofa whose back stands on local y = 0 and which faces local -y."""
    s.box((0, -0.85, 0.06), (width, 0, 0.3), cloth, at=at)
    seats = max(1, round(width / 0.7))
    step = (width - 0.36) / seats
    for k in range(seats):
        x = 0.18 + k * step
        s.box((x + 0.008, -0.86, 0.3), (x + step - 0.008, -0.2, 0.44), cloth, at=at)
        s.box((x + 0.008, -0.3, 0.44), (x + step - 0.008, -0.1, 0.78), cloth, at=at)
    for x in (0.0, width - 0.17):
        s.box((x, -0.85, 0.3), (x + 0.17, 0, 0.6), cloth, at=at)
    s.box((0.17, -0.1, 0.3), (width - 0.17, 0, 0.82), cloth, at=at)
    for x in (0.3, width - 0.7):
        spot = at.moved(x, -0.46, 0.45, float(s.rng.uniform(-0.3, 0.3)))
        s.box((0, 0, 0), (0.4, 0.13, 0.38), cushion, at=spot, faces={"south": s.unused("painting")})


def plant(s: Surfaces, at: Placement, height: float) -> None:
    """A pot with a bush of leaves."""
    s.prism(0.15, 0.28, "cloth_red", at)
    for _ in range(90):
        angle, lift = float(s.rng.uniform(0, 6.28)), float(s.rng.uniform(0.15, 1.0))
        reach = 0.26 * float(s.rng.uniform(0.2, 1.0)) * (1.25 - 0.5 * lift)
        root = np.array([reach * np.cos(angle), reach * np.sin(angle), 0.28 + lift * (height - 0.28)])
        along = np.array([np.cos(angle), np.sin(angle), float(s.rng.uniform(-0.7, 0.6))]) * 0.17
        across = np.array([-np.sin(angle), np.cos(angle), float(s.rng.uniform(-0.6, 0.6))]) * 0.06
        s.patch(at.points(root), at.vectors(along), at.vectors(across), "leaf", anchor=(0.0, 0.0))


def cupboard(
    s: Surfaces, at: Placement, size: tuple[float, float, float], doors: int, finish: str, *, base_m: float = 0.0
) -> None:
    """A closed cupboard; local origin at the back left foot, front to local -y; doors with gaps and handles."""
    w, d, h = size
    s.box((0, -d, base_m), (w, 0, base_m + h), finish, at=at)
    step = w / doors
    for k in range(doors):
        x = k * step
        s.box(
            (x + 0.004, -d - 0.02, base_m + 0.03),
            (x + step - 0.004, -d, base_m + h - 0.01),
            finish,
            at=at,
            without=("north",),
        )
        handle = x + (0.06 if k % 2 else step - 0.08)
        s.box(
            (handle, -d - 0.045, base_m + h * 0.5), (handle + 0.015, -d - 0.02, base_m + h * 0.5 + 0.16), "metal", at=at
        )


def clutter(s: Surfaces, at: Placement, size: tuple[float, float], count: int) -> None:
    """Boxes, tins and piles of books on a surface of width and depth; local origin in its middle."""
    w, d = size
    for _ in range(count):
        x, y = float(s.rng.uniform(-w / 2, w / 2)), float(s.rng.uniform(-d / 2, d / 2))
        spot = at.moved(x, y, 0.0, float(s.rng.uniform(-0.5, 0.5)))
        kind = s.rng.random()
        if kind < 0.4:
            a, b, h = (float(v) for v in s.rng.uniform((0.04, 0.03, 0.08), (0.11, 0.07, 0.26)))
            s.box((-a, -b, 0), (a, b, h), s.unused("package"), at=spot, without=("bottom",))
        elif kind < 0.65:
            s.prism(float(s.rng.uniform(0.03, 0.06)), float(s.rng.uniform(0.08, 0.24)), s.unused("package"), spot)
        else:
            z = 0.0
            for _ in range(int(s.rng.integers(1, 5))):
                t, turn = float(s.rng.uniform(0.012, 0.04)), float(s.rng.uniform(-0.15, 0.15))
                book = spot.moved(0.0, 0.0, z, turn)
                cover = s.unused("poster")
                s.box(
                    (-0.1, -0.07, 0), (0.1, 0.07, t), "cloth_cream", at=book, faces={"top": cover}, without=("bottom",)
                )
                z += t


def picture(s: Surfaces, at: Placement, width: float, height: float, texture: str) -> None:
    """A framed picture; local origin in its middle, back on local y = 0, looking to local -y."""
    low, high = (-width / 2, -0.025, -height / 2), (width / 2, -0.002, height / 2)
    s.box(low, high, "wood_dark", at=at, faces={"south": texture}, without=("north",))


def curtain(s: Surfaces, at: Placement, width: float, height: float, cloth: str) -> None:
    """Folded cloth hanging on local y = 0 over local x from 0 to width, foot at local z = 0."""
    folds = max(4, round(width / 0.07))
    xs = np.linspace(0, width, 2 * folds + 1)
    ys = -0.05 - 0.03 * np.where(np.arange(len(xs)) % 2, 1.0, -1.0) * s.rng.uniform(0.6, 1.0, len(xs))
    down = np.array([0.0, 0.0, -height])
    at_x = 0.0
    for k in range(len(xs) - 1):
        a, b = np.array([xs[k], ys[k], height]), np.array([xs[k + 1], ys[k + 1], height])
        s.patch(at.points(a), at.vectors(b - a), at.vectors(down), cloth, anchor=(at_x, 0.0))
        at_x += float(np.linalg.norm(b - a))


def window_frame(s: Surfaces, at: Placement, width: float, height: float, panes: int) -> None:
    """Frame and glazing bars; local origin at the lower left corner of the hole, in the middle of the wall."""
    t = 0.05
    s.box((0, -0.03, 0), (width, 0.03, t), "white_paint", at=at)
    s.box((0, -0.03, height - t), (width, 0.03, height), "white_paint", at=at)
    for k in range(panes + 1):
        x = k * (width - t) / panes
        s.box((x, -0.03, t), (x + t, 0.03, height - t), "white_paint", at=at)


def door_leaf(s: Surfaces, at: Placement, width: float, height: float) -> None:
    """A panelled leaf hinged at the local origin, along local x, 4 cm thick."""
    s.box((0, -0.02, 0.005), (width, 0.02, height), "wood_light", at=at)
    for y0, y1 in ((-0.03, -0.02), (0.02, 0.03)):
        for z0, z1 in ((0.2, 0.9), (1.05, height - 0.2)):
            s.box((0.14, y0, z0), (width - 0.14, y1, z1), "wood_light", at=at)
        s.box((width - 0.1, y0 - 0.03, 0.98), (width - 0.06, y1 + 0.03, 1.12), "metal", at=at)


# --- rooms -----------------------------------------------------------------------------------------------------------------


def _trim(s: Surfaces) -> None:
    """Window frames, door leaves and casings, lamps."""
    for x, y, yaw, width, sill, head, panes in (
        (-0.15, 1.0, _QUARTER, 1.6, 0.85, 2.25, 2),
        (1.5, -0.15, 0.0, 2.0, 0.85, 2.25, 3),
        (-0.15, 5.0, _QUARTER, 1.2, 1.05, 2.15, 2),
        (3.8, 7.15, 0.0, 0.7, 1.5, 2.1, 1),
        (10.75, 1.2, _QUARTER, 1.6, 0.85, 2.25, 2),
        (8.0, 7.15, 0.0, 1.4, 0.85, 2.25, 2),
    ):
        window_frame(s, Placement(x, y, sill, yaw), width, head - sill, panes)
    door_leaf(s, Placement(2.1, 4.05, 0.0, _QUARTER - 0.12), 0.88, 2.08)
    door_leaf(s, Placement(5.17, 5.2, 0.0, np.pi + 0.1), 0.78, 2.08)
    door_leaf(s, Placement(6.87, 2.2, 0.0, -0.12), 0.88, 2.08)
    door_leaf(s, Placement(6.87, 5.5, 0.0, 0.14), 0.88, 2.08)
    door_leaf(s, Placement(5.56, -0.08, 0.0, 0.0), 0.93, 2.09)
    casings: tuple[tuple[float, float, float, float, float], ...] = (
        (5.2, 1.3, _QUARTER, 1.2, 2.2),
        (5.2, 5.2, _QUARTER, 0.8, 2.1),
        (6.72, 2.2, _QUARTER, 0.9, 2.1),
        (6.72, 4.6, _QUARTER, 0.9, 2.1),
        (1.2, 3.9, 0.0, 0.9, 2.1),
    )
    for x, y, yaw, width, head in casings:
        # Local y is across the wall: the casing stands proud of it on both sides.
        low, high = (-0.135, 0.015) if yaw else (-0.015, 0.135)
        for y0, y1 in ((low, low + 0.014), (high - 0.014, high)):
            at = Placement(x, y, 0.0, yaw)
            s.box((-0.07, y0, 0), (0.0, y1, head + 0.07), "white_paint", at=at)
            s.box((width, y0, 0), (width + 0.07, y1, head + 0.07), "white_paint", at=at)
            s.box((0.0, y0, head), (width, y1, head + 0.07), "white_paint", at=at)
    for x, y in ((2.5, 1.9), (1.5, 5.5), (4.2, 5.5), (6.02, 1.6), (6.02, 5.2), (8.7, 1.9), (8.7, 5.5)):
        s.box((x - 0.18, y - 0.18, CEILING_M - 0.07), (x + 0.18, y + 0.18, CEILING_M - 0.01), "lamp", emission=2.2)


def _pictures(s: Surfaces, face: Face, plane: float, spots: tuple[tuple[float, float, float, float], ...]) -> None:
    """Pictures on a wall: `face` is where they look; spots are (along, height, width, height of the picture)."""
    yaw = {"south": 0.0, "north": np.pi, "west": -_QUARTER, "east": _QUARTER}[face]
    for along, z, width, height in spots:
        x, y = (along, plane) if face in ("south", "north") else (plane, along)
        name = s.unused("painting" if s.rng.random() < 0.7 else "poster")
        picture(s, Placement(x, y, z, yaw), width, height, name)


def _living(s: Surfaces) -> None:
    s.sheet((1.2, 1.1, 0), (3.9, 2.9, 0.008), "top", s.unused("rug"))
    sofa(s, Placement(3.5, 0.08, 0.0, np.pi), 2.1, "cloth_grey", "cloth_red")
    sofa(s, Placement(0.12, 0.15, 0.0, _QUARTER + 0.35), 0.95, "cloth_red", "cloth_cream")
    table(s, Placement(2.5, 1.75, 0.0, 0.08), (1.1, 0.62, 0.42), "wood_dark")
    clutter(s, Placement(2.5, 1.75, 0.42, 0.08), (0.85, 0.4), 6)
    cupboard(s, Placement(2.5, 3.88, 0.0, 0.0), (2.2, 0.42, 0.5), 4, "wood_light")
    s.box((3.0, 3.72, 0.58), (4.2, 3.77, 1.26), "black", faces={"south": s.unused("screen")})
    s.box((3.5, 3.6, 0.5), (3.7, 3.8, 0.58), "black")
    clutter(s, Placement(2.75, 3.65, 0.5, 0.0), (0.35, 0.25), 4)
    clutter(s, Placement(4.45, 3.65, 0.5, 0.0), (0.35, 0.25), 4)
    _pictures(s, "south", 3.9, ((2.7, 1.65, 0.5, 0.6), (4.6, 1.6, 0.55, 0.7), (3.6, 1.9, 0.9, 0.5)))
    shelf(s, Placement(0.02, 2.75, 0.0, _QUARTER), (1.1, 2.1, 0.3), "wood_light")
    shelf(s, Placement(5.18, 3.85, 0.0, -_QUARTER), (1.15, 1.1, 0.34), "wood_dark")
    clutter(s, Placement(5.0, 3.25, 1.1, 0.0), (0.2, 0.9), 7)
    _pictures(s, "west", 5.2, ((3.5, 1.75, 0.45, 0.55), (2.85, 1.7, 0.4, 0.5), (0.65, 1.55, 0.7, 0.9)))
    _pictures(s, "east", 0.0, ((0.5, 1.6, 0.5, 0.65),))
    _pictures(s, "north", 0.0, ((0.75, 1.65, 0.6, 0.8), (4.25, 1.6, 0.7, 0.85)))
    plant(s, Placement(4.8, 0.4), 1.5)
    curtain(s, Placement(1.5, 0.02, 0.1, np.pi), 0.45, 2.35, "cloth_cream")
    curtain(s, Placement(3.95, 0.02, 0.1, np.pi), 0.45, 2.35, "cloth_cream")
    curtain(s, Placement(0.02, 0.6, 0.1, _QUARTER), 0.4, 2.35, "cloth_cream")


def _kitchen(s: Surfaces) -> None:
    cupboard(s, Placement(0.6, 6.98, 0.0, 0.0), (2.38, 0.58, 0.86), 4, "white_paint")
    s.box((0.0, 6.36, 0.86), (3.0, 7.0, 0.9), "counter")
    cupboard(s, Placement(0.02, 4.9, 0.0, _QUARTER), (2.08, 0.58, 0.86), 4, "white_paint")
    s.box((0.0, 4.88, 0.86), (0.62, 6.36, 0.9), "counter")
    s.sheet((0.6, 6.985, 0.9), (3.0, 6.985, 1.45), "south", "tiles_white")
    cupboard(s, Placement(0.6, 6.98, 0.0, 0.0), (2.38, 0.34, 0.7), 4, "wood_light", base_m=1.45)
    s.box((1.3, 6.42, 0.9), (1.9, 6.9, 0.915), "black")
    clutter(s, Placement(1.6, 6.75, 0.9, 0.0), (2.3, 0.2), 16)
    clutter(s, Placement(0.3, 5.5, 0.9, 0.0), (0.4, 1.0), 12)
    s.box((0.02, 4.1, 0.0), (0.64, 4.76, 1.85), "metal", faces={"east": "white_paint"})
    for k in range(9):
        y, z = 4.2 + 0.16 * (k % 3), 0.9 + 0.25 * (k // 3)
        s.sheet((0.645, y, z), (0.645, y + 0.11, z + 0.15), "east", s.unused("package"))
    table(s, Placement(2.5, 5.45, 0.0, 0.0), (0.8, 0.8, 0.74), "wood_dark")
    clutter(s, Placement(2.5, 5.45, 0.74, 0.0), (0.6, 0.6), 7)
    chair(s, Placement(2.45, 6.0, 0.0, 0.15), "cloth_red")
    chair(s, Placement(1.9, 5.5, 0.0, _QUARTER + 0.2), "cloth_red")
    _pictures(s, "west", 3.0, ((4.6, 1.6, 0.6, 0.8), (5.4, 1.6, 0.5, 0.6), (6.1, 1.7, 0.4, 0.6)))
    _pictures(s, "north", 4.02, ((2.55, 1.6, 0.55, 0.75), (0.85, 1.7, 0.35, 0.5)))
    s.sheet((0.8, 5.2, 0), (1.6, 6.2, 0.006), "top", s.unused("rug"))


def _bath(s: Surfaces) -> None:
    s.box((3.14, 6.2, 0.0), (4.9, 6.98, 0.56), "white_paint", without=("top",))
    s.box((3.2, 6.28, 0.2), (4.84, 6.9, 0.22), "white_paint")
    cupboard(s, Placement(3.14, 4.4, 0.0, _QUARTER), (0.9, 0.45, 0.8), 2, "wood_light")
    s.box((3.12, 4.38, 0.8), (3.62, 5.32, 0.86), "counter")
    clutter(s, Placement(3.3, 4.85, 0.86, 0.0), (0.2, 0.8), 9)
    _pictures(s, "east", 3.12, ((4.85, 1.6, 0.8, 0.8), (5.7, 1.6, 0.35, 0.5)))
    s.sheet((3.7, 5.2, 0), (4.7, 5.95, 0.01), "top", s.unused("rug"))
    _pictures(s, "north", 4.02, ((4.2, 1.6, 0.5, 0.7),))
    shelf(s, Placement(5.18, 5.0, 0.0, -_QUARTER), (0.8, 1.5, 0.28), "white_paint")
    s.sheet((3.14, 6.25, 0.8), (3.14, 6.85, 1.9), "east", s.unused("poster"))


def _hall(s: Surfaces) -> None:
    s.sheet((5.6, 0.5, 0), (6.4, 3.4, 0.008), "top", s.unused("rug"))
    s.sheet((5.6, 3.7, 0), (6.4, 6.6, 0.008), "top", s.unused("rug"))
    cupboard(s, Placement(5.34, 3.0, 0.0, _QUARTER), (1.3, 0.26, 0.9), 3, "wood_light")
    clutter(s, Placement(5.46, 3.65, 0.9, 0.0), (0.15, 1.1), 8)
    _pictures(
        s, "east", 5.32, ((0.6, 1.6, 0.5, 0.7), (3.2, 1.65, 0.5, 0.6), (4.0, 1.65, 0.6, 0.6), (4.75, 1.6, 0.4, 0.55))
    )
    _pictures(
        s,
        "west",
        6.72,
        (
            (0.5, 1.6, 0.5, 0.7),
            (1.4, 1.6, 0.6, 0.55),
            (1.95, 1.45, 0.26, 0.7),
            (3.8, 1.6, 0.8, 0.6),
            (6.2, 1.6, 0.6, 0.8),
        ),
    )
    _pictures(s, "south", 7.0, ((6.0, 1.55, 0.8, 1.1),))
    for k in range(5):
        y = 6.3 + 0.12 * k
        at = Placement(5.34, y, 0.9, _QUARTER)
        s.box(
            (0, -0.1, 0),
            (0.09, 0, 0.75),
            ("cloth_red", "cloth_grey", "wallpaper", "cloth_cream", "cloth_grey")[k],
            at=at,
        )


def _bedroom(s: Surfaces) -> None:
    s.box((8.9, 2.0, 0.08), (10.55, 3.75, 0.36), "wood_dark")
    s.box(
        (8.92, 2.03, 0.36),
        (10.5, 3.72, 0.56),
        "cloth_cream",
        faces={"top": "quilt_0", "west": "quilt_0", "south": "quilt_0"},
    )
    s.box((10.5, 1.95, 0.0), (10.58, 3.8, 1.05), "wood_dark")
    for y in (2.15, 3.0):
        spot = Placement(10.1, y, 0.56, 0.06)
        s.box((0, 0, 0), (0.36, 0.6, 0.14), "cloth_grey", at=spot, faces={"top": s.unused("painting")})
    s.sheet((7.3, 0.75, 0), (9.6, 1.85, 0.008), "top", s.unused("rug"))
    cupboard(s, Placement(7.0, 3.88, 0.0, 0.0), (1.8, 0.56, 2.1), 3, "wood_light")
    for x, z in ((7.2, 1.25), (7.95, 1.35), (8.4, 1.1)):
        s.sheet((x, 3.297, z), (x + 0.3, 3.297, z + 0.42), "south", s.unused("poster"))
    for k in range(6):
        x = 7.1 + 0.27 * k
        high = float(s.rng.uniform(0.12, 0.3))
        s.box((x, 3.4, 2.1), (x + 0.24, 3.8, 2.1 + high), s.unused("package"))
    cupboard(s, Placement(8.0, 0.02, 0.0, np.pi), (1.1, 0.42, 0.8), 2, "wood_dark")
    clutter(s, Placement(7.45, 0.22, 0.8, 0.0), (0.9, 0.25), 9)
    shelf(s, Placement(9.6, 0.02, 0.0, np.pi), (1.2, 1.8, 0.3), "wood_light")
    _pictures(s, "north", 0.0, ((7.4, 1.6, 0.7, 0.8), (10.1, 1.6, 0.5, 0.7)))
    _pictures(s, "south", 3.9, ((9.7, 1.75, 1.0, 0.7),))
    _pictures(s, "east", 6.84, ((1.1, 1.6, 0.6, 0.8), (0.45, 1.55, 0.4, 0.5)))
    _pictures(s, "west", 10.6, ((0.6, 1.6, 0.5, 0.7), (3.35, 1.65, 0.6, 0.6)))
    curtain(s, Placement(10.58, 1.15, 0.1, -_QUARTER), 0.4, 2.35, "cloth_red")
    plant(s, Placement(10.25, 0.4), 1.2)


def _study(s: Surfaces) -> None:
    table(s, Placement(8.7, 6.62, 0.0, 0.0), (1.7, 0.7, 0.74), "wood_light")
    s.box((8.35, 6.7, 0.86), (8.98, 6.74, 1.24), "black", faces={"south": s.unused("screen")})
    s.box((8.6, 6.65, 0.74), (8.74, 6.8, 0.86), "black")
    clutter(s, Placement(8.1, 6.6, 0.74, 0.0), (0.35, 0.45), 7)
    clutter(s, Placement(9.25, 6.6, 0.74, 0.0), (0.4, 0.45), 7)
    chair(s, Placement(8.7, 6.0, 0.0, np.pi + 0.3), "cloth_grey")
    shelf(s, Placement(10.58, 6.6, 0.0, -_QUARTER), (2.2, 2.15, 0.32), "wood_dark")
    shelf(s, Placement(9.9, 4.04, 0.0, np.pi), (1.6, 1.2, 0.32), "wood_light")
    clutter(s, Placement(9.1, 4.2, 1.2, 0.0), (1.4, 0.2), 9)
    _pictures(s, "north", 4.02, ((7.4, 1.6, 0.6, 0.8), (9.1, 1.8, 1.0, 0.6)))
    _pictures(s, "east", 6.84, ((6.3, 1.6, 0.7, 0.9), (4.3, 1.6, 0.35, 0.5)))
    _pictures(s, "south", 7.0, ((7.3, 1.6, 0.6, 0.8), (10.0, 1.7, 0.6, 0.6)))
    s.sheet((7.7, 4.9, 0), (9.7, 6.1, 0.008), "top", s.unused("rug"))
    for k in range(5):
        at = Placement(7.2 + 0.12 * (k % 2), 6.6 - 0.02 * k, 0.3 * k, 0.1 * k)
        if k < 3:
            s.box((-0.22, -0.18, 0), (0.22, 0.18, 0.3), s.unused("package"), at=at)
