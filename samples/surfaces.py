"""Surfaces: planar parallelograms with textures, and what collects them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samples import textures
from samples.textures import TextureAtlas

Floats = NDArray[np.float64]
Face = Literal["east", "west", "north", "south", "top", "bottom"]


@dataclass(frozen=True)
class Patches:
    """Every surface. Patch i covers origin + a edge_u + b edge_v, a and b in 0..1 (a + b <= 1 where `triangular`).

    origin, edge_u, edge_v: (n, 3) float64, metres. Seen from its visible side, `origin` is the upper left corner, edge_u
    runs right and edge_v down; the outward normal is edge_v x edge_u. texture: (n,) int32 index into the atlas.
    texels, texel_offset: (n, 2) float64: the texel at (a, b) is offset + (a, b) * texels, at level 0.
    emission: (n,) float32, radiance per reflectance. structure: (n,) bool, True for walls, floors, ceilings and slabs.
    """

    origin: Floats
    edge_u: Floats
    edge_v: Floats
    triangular: NDArray[np.bool_]
    texture: NDArray[np.int32]
    texels: Floats
    texel_offset: Floats
    emission: NDArray[np.float32]
    structure: NDArray[np.bool_]

    def triangles(self) -> tuple[Floats, NDArray[np.int32]]:
        """Corners (m, 3, 3) float64 metres and the patch (m,) of every triangle: first all first halves, then the rest."""
        first = np.stack([self.origin, self.origin + self.edge_u, self.origin + self.edge_v], axis=1)
        whole = np.flatnonzero(~self.triangular)
        far = self.origin + self.edge_u + self.edge_v
        second = np.stack([far, self.origin + self.edge_v, self.origin + self.edge_u], axis=1)[whole]
        patch = np.concatenate([np.arange(len(first)), whole]).astype(np.int32)
        return np.concatenate([first, second]), patch

    def normals(self) -> Floats:
        """Outward unit normals (n, 3)."""
        normal = np.cross(self.edge_v, self.edge_u)
        return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True), np.float64)


@dataclass(frozen=True)
class Placement:
    """Where a piece of furniture stands: its local origin in the building, turned about z."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    yaw_rad: float = 0.0

    def points(self, local: Floats) -> Floats:
        return np.asarray(self.vectors(local) + np.array([self.x_m, self.y_m, self.z_m]), np.float64)

    def moved(self, x_m: float, y_m: float, z_m: float, turned_rad: float = 0.0) -> "Placement":
        """A place given in this one's coordinates."""
        x, y, z = (float(v) for v in self.points(np.array([x_m, y_m, z_m])))
        return Placement(x, y, z, self.yaw_rad + turned_rad)

    def vectors(self, local: Floats) -> Floats:
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.asarray(local @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]), np.float64)


_HERE = Placement()
_FACES: tuple[Face, ...] = ("east", "west", "north", "south", "top", "bottom")


@dataclass
class Surfaces:
    """Collects patches; `rng` picks offsets and decoration, so that the same seed furnishes the same flat."""

    atlas: TextureAtlas
    rng: np.random.Generator
    rows: list[tuple[Floats, Floats, Floats, bool, int, Floats, Floats, float, bool]] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)

    def unused(self, kind: str) -> str:
        """The next texture `kind_0`, `kind_1` ... of the atlas, so that no two pictures or rows of books are alike.

        Begins again once all have been used.
        """
        number = self.taken.get(kind, 0)
        self.taken[kind] = number + 1
        name = f"{kind}_{number}"
        if name in self.atlas.names:
            return name
        count = sum(other.startswith(f"{kind}_") for other in self.atlas.names)
        return f"{kind}_{number % count}"

    def patch(
        self,
        origin: Floats,
        edge_u: Floats,
        edge_v: Floats,
        texture: str,
        *,
        anchor: tuple[float, float] | None = None,
        triangular: bool = False,
        emission: float = 0.0,
        structure: bool = False,
    ) -> None:
        """Adds one patch. A repeating texture starts at `anchor` (metres), else somewhere at random."""
        index = self.atlas.index(texture)
        size = np.array([self.atlas.width_px[index], self.atlas.height_px[index]], np.float64)
        period = textures.period_m(texture)
        if period is None:
            texels, offset = size, np.zeros(2)
        else:
            lengths = np.array([np.linalg.norm(edge_u), np.linalg.norm(edge_v)])
            start = np.array(anchor) if anchor is not None else self.rng.uniform(0, 1, 2) * period
            texels, offset = size * lengths / period, size * start / period
        self.rows.append((origin, edge_u, edge_v, triangular, index, texels, offset, emission, structure))

    def box(
        self,
        low: Sequence[float],
        high: Sequence[float],
        texture: str,
        *,
        at: Placement = _HERE,
        faces: Mapping[Face, str] | None = None,
        without: Sequence[Face] = (),
        emission: float = 0.0,
    ) -> None:
        """A box between two local corners; `faces` overrides the texture of single faces."""
        for face in _FACES:
            if face in without:
                continue
            origin, edge_u, edge_v = box_face(low, high, face)
            name = texture if faces is None else faces.get(face, texture)
            self.patch(at.points(origin), at.vectors(edge_u), at.vectors(edge_v), name, emission=emission)

    def sheet(
        self, low: Sequence[float], high: Sequence[float], face: Face, texture: str, at: Placement = _HERE
    ) -> None:
        """One face of a box only: a picture, a rug, a poster."""
        origin, edge_u, edge_v = box_face(low, high, face)
        self.patch(at.points(origin), at.vectors(edge_u), at.vectors(edge_v), texture)

    def prism(self, radius: float, height: float, texture: str, at: Placement) -> None:
        """An upright prism that stands for a cylinder on the local origin, closed at the top."""
        sides = 12
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(sides + 1, height)], axis=1)
        down = np.array([0.0, 0.0, -height])
        top = np.array([0.0, 0.0, height])
        for a, b in itertools.pairwise(ring):
            self.patch(at.points(a), at.vectors(b - a), at.vectors(down), texture)
            self.patch(at.points(top), at.vectors(b - top), at.vectors(a - top), texture, triangular=True)

    def done(self) -> Patches:
        columns = list(zip(*self.rows, strict=True))
        return Patches(
            origin=np.array(columns[0], np.float64),
            edge_u=np.array(columns[1], np.float64),
            edge_v=np.array(columns[2], np.float64),
            triangular=np.array(columns[3], np.bool_),
            texture=np.array(columns[4], np.int32),
            texels=np.array(columns[5], np.float64),
            texel_offset=np.array(columns[6], np.float64),
            emission=np.array(columns[7], np.float32),
            structure=np.array(columns[8], np.bool_),
        )


def box_face(low: Sequence[float], high: Sequence[float], face: Face) -> tuple[Floats, Floats, Floats]:
    """Upper left corner, edge to the right and edge downwards of a box's face as seen from outside."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    w, d, h = x1 - x0, y1 - y0, z1 - z0
    down = (0.0, 0.0, -h)
    table: dict[Face, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
        "east": ((x1, y0, z1), (0.0, d, 0.0), down),
        "west": ((x0, y1, z1), (0.0, -d, 0.0), down),
        "north": ((x1, y1, z1), (-w, 0.0, 0.0), down),
        "south": ((x0, y0, z1), (w, 0.0, 0.0), down),
        "top": ((x0, y1, z1), (w, 0.0, 0.0), (0.0, -d, 0.0)),
        "bottom": ((x1, y1, z0), (-w, 0.0, 0.0), (0.0, -d, 0.0)),
    }
    origin, edge_u, edge_v = table[face]
    return np.array(origin), np.array(edge_u), np.array(edge_v)
