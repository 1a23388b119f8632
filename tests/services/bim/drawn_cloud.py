"""Working clouds that are drawn surface by surface: every edge is known to the millimetre.

A surface is a grid of points with noise across it, like a thinned scan. Walls have local coordinates: u along, d to the left of
the centre line, z up.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.bim.model import Wall
from services.bim.preprocessing import WorkingCloud

Floats = NDArray[np.float64]
SPACING_M = 0.02
Box = tuple[float, float, float, float]
"""u from, u to, z from, z to."""


@dataclass
class Drawing:
    """Collects surfaces. Noise is the same for every run."""

    noise_m: float = 0.003
    points: list[Floats] = field(default_factory=list)
    normals: list[Floats] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def sheet(self, corner: Floats, first: Floats, second: Floats, normal: Floats, holes: tuple[Box, ...] = ()) -> None:
        """A rectangle from `corner` (3,) along two edges (3,), with holes in lengths along both edges."""
        lengths = [float(np.linalg.norm(edge)) for edge in (first, second)]
        a, b = np.meshgrid(*(np.arange(SPACING_M / 2, length, SPACING_M) for length in lengths), indexing="ij")
        free = np.ones(a.shape, np.bool_)
        for u0, u1, v0, v1 in holes:
            free &= ~((a > u0) & (a < u1) & (b > v0) & (b < v1))
        a, b = a[free][:, None], b[free][:, None]
        spots = corner + a * first / lengths[0] + b * second / lengths[1]
        self.points.append(spots + self.rng.normal(0, self.noise_m, (len(spots), 1)) * normal)
        self.normals.append(np.tile(normal, (len(spots), 1)))

    def cloud(self, *, oriented: bool = True) -> WorkingCloud:
        points = np.concatenate(self.points).astype(np.float32)
        normals = np.concatenate(self.normals).astype(np.float32)
        if not oriented:
            normals[self.rng.random(len(normals)) < 0.5] *= -1
        return WorkingCloud(
            points=points,
            normals=normals,
            bend=np.zeros(len(points), np.float32),
            readings=np.ones(len(points), np.int32),
            oriented=oriented,
            spacing_m=SPACING_M,
            noise_m=self.noise_m,
            scanners_m=np.zeros((0, 3)),
            level_from_cloud=np.eye(3),
            directions_rad=np.zeros(1),
        )


@dataclass
class DrawnWall:
    """Draws on a wall, in its own coordinates."""

    drawing: Drawing
    wall: Wall

    def spot(self, u: float, d: float, z: float) -> Floats:
        plan = self.wall.start + u * self.wall.direction + d * self.wall.normal
        return np.array([*plan, z])

    def _turned(self, u: float, d: float) -> Floats:
        return np.array([*(u * self.wall.direction + d * self.wall.normal), 0.0])

    def facing(self, side: int, depth: Box, d: float, holes: tuple[Box, ...] = ()) -> None:
        """A surface parallel to the wall that looks to its left (1) or right (-1), at `d`; holes in the wall's u and z."""
        u0, u1, z0, z1 = depth
        local = tuple((a - u0, b - u0, c - z0, e - z0) for a, b, c, e in holes)
        self.drawing.sheet(
            self.spot(u0, d, z0), self._turned(u1 - u0, 0), np.array([0, 0, z1 - z0]), self._turned(0, side), local
        )

    def faces(self, *holes: Box) -> None:
        """Both faces of the wall, with holes."""
        for side in (1, -1):
            self.face(side, *holes)

    def face(self, side: int, *holes: Box) -> None:
        wall = self.wall
        whole = (0.0, wall.length_m, wall.base_m, wall.top_m)
        self.facing(side, whole, side * wall.thickness_m / 2, holes)

    def jamb(self, u: float, looks: int, span: tuple[float, float], heights: tuple[float, float]) -> None:
        """An upright surface across the wall at `u` between two depths; looks along u (1) or against it."""
        d0, d1 = span
        rise = np.array([0, 0, heights[1] - heights[0]])
        self.drawing.sheet(self.spot(u, d0, heights[0]), self._turned(0, d1 - d0), rise, self._turned(looks, 0))

    def level(self, z: float, looks: int, along: tuple[float, float], span: tuple[float, float]) -> None:
        """A horizontal surface within the wall that looks up (1) or down."""
        (u0, u1), (d0, d1) = along, span
        across = self._turned(0, d1 - d0)
        self.drawing.sheet(self.spot(u0, d0, z), self._turned(u1 - u0, 0), across, np.array([0.0, 0, looks]))

    def reveal(self, hole: Box, *, floor: bool) -> None:
        """The four sides of a hole; at the floor its lower side is the floor."""
        u0, u1, z0, z1 = hole
        half = self.wall.thickness_m / 2
        self.jamb(u0, 1, (-half, half), (z0, z1))
        self.jamb(u1, -1, (-half, half), (z0, z1))
        self.level(z1, -1, (u0, u1), (-half, half))
        self.level(z0, 1, (u0, u1), (-half, half)) if not floor else self.level(
            z0, 1, (u0, u1), (-half - 0.3, half + 0.3)
        )

    def frame(self, hole: Box, width: float, depth: tuple[float, float], *, rail: bool) -> None:
        """Boards along jambs and head, and along the bottom if `rail`, that fill the depth between two d."""
        u0, u1, z0, z1 = hole
        for side, d in ((1, max(depth)), (-1, min(depth))):
            self.facing(side, (u0, u0 + width, z0, z1), d)
            self.facing(side, (u1 - width, u1, z0, z1), d)
            self.facing(side, (u0, u1, z1 - width, z1), d)
            if rail:
                self.facing(side, (u0, u1, z0, z0 + width), d)
        self.jamb(u0 + width, 1, depth, (z0, z1))
        self.jamb(u1 - width, -1, depth, (z0, z1))
        self.level(z1 - width, -1, (u0, u1), depth)
        if rail:
            self.level(z0 + width, 1, (u0, u1), depth)


def drawn_wall(
    drawing: Drawing, thickness_m: float, length_m: float = 6.0, height_m: float = 2.6, turn_deg: float = 23.0
) -> DrawnWall:
    """A wall at an angle to the axes, its base at 1.2 m."""
    along = np.array([np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))])
    start = np.array([1.5, -0.7])
    base = 1.2
    wall = Wall("w", 0, start, start + along * length_m, thickness_m, base, base + height_m, False, 2, 0.003, 1.0)
    return DrawnWall(drawing, wall)
