"""Solids for outdoor scenes: bent sheets, boxes, turned columns, stones, ground; every one with texture coordinates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from samples.photos_render import TexturedMesh
from samples.render import Floats32
from samples.surfaces import Face, Floats, box_face
from samples.textures import TextureAtlas

_FACES: tuple[Face, ...] = ("east", "west", "north", "south", "top", "bottom")
Relief = Callable[[Floats, Floats], Floats]
"""Height in metres along the normal, of places (rows, columns) given in metres to the right and downwards."""


@dataclass(frozen=True)
class Place:
    """Where a thing stands, turned about z."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    yaw_rad: float = 0.0

    def points(self, local: Floats) -> Floats:
        """World points (..., 3) of local ones."""
        turn = Rotation.from_euler("z", self.yaw_rad).as_matrix()
        return np.asarray(local @ turn.T + np.array([self.x_m, self.y_m, self.z_m]), np.float64)


@dataclass
class Solids:
    """Collects triangles.

    `widths_m` says how many metres the width of each texture covers; textures that are not in it are stretched over the
    sheet that they are on.
    """

    atlas: TextureAtlas
    widths_m: Mapping[str, float]
    rng: np.random.Generator
    _parts: list[tuple[Floats, Floats, Floats, int]] = field(default_factory=list)

    def sheet(
        self,
        origin: Floats,
        edge_u: Floats,
        edge_v: Floats,
        texture: str,
        *,
        step_m: float | None = None,
        relief: Relief | None = None,
        start: tuple[float, float] | None = None,
    ) -> None:
        """A parallelogram; seen from outside `origin` is its upper left corner, edge_u runs right and edge_v down.

        With `relief` it is a grid with cells of `step_m`. A texture that covers metres begins at `start` (metres), else at random.
        """
        lengths = np.array([np.linalg.norm(edge_u), np.linalg.norm(edge_v)])
        cells = np.ones(2, np.int64) if step_m is None else np.maximum(1, np.ceil(lengths / step_m)).astype(np.int64)
        a, b = np.meshgrid(np.linspace(0, 1, cells[0] + 1), np.linspace(0, 1, cells[1] + 1))
        points = origin + a[..., None] * edge_u + b[..., None] * edge_v
        if relief is not None:
            normal = np.cross(edge_v, edge_u)
            height = relief(a * lengths[0], b * lengths[1])
            points = points + height[..., None] * normal / np.linalg.norm(normal)
        self.grid(points, self._texels(texture, a, b, lengths, start), texture)

    def _texels(
        self, texture: str, a: Floats, b: Floats, lengths_m: Floats, start: tuple[float, float] | None
    ) -> Floats:
        index = self.atlas.index(texture)
        size = np.array([self.atlas.width_px[index], self.atlas.height_px[index]], np.float64)
        share = np.stack([a, b], axis=-1)
        width_m = self.widths_m.get(texture)
        if width_m is None:
            return np.asarray(share * size, np.float64)
        begin = self.rng.uniform(0, 1, 2) * size if start is None else np.array(start) / width_m * size[0]
        return np.asarray(begin + share * lengths_m / width_m * size[0], np.float64)

    def grid(self, points: Floats, texels: Floats, texture: str) -> None:
        """Points (rows, columns, 3) as one smooth surface; rows run down and columns right as seen from outside."""
        normals = _grid_normals(points)
        rows = np.concatenate([points, normals, texels], axis=-1)
        a, b, c, d = rows[:-1, :-1], rows[:-1, 1:], rows[1:, 1:], rows[1:, :-1]
        corners = np.concatenate([np.stack(triangle, axis=-2).reshape(-1, 3, 8) for triangle in ((a, d, b), (c, b, d))])
        area = np.linalg.norm(
            np.cross(corners[:, 1, :3] - corners[:, 0, :3], corners[:, 2, :3] - corners[:, 0, :3]), axis=1
        )
        corners = corners[area > 1e-10]
        self._parts.append((corners[..., :3], corners[..., 3:6], corners[..., 6:], self.atlas.index(texture)))

    def box(
        self,
        low: Sequence[float],
        high: Sequence[float],
        texture: str,
        *,
        at: Place | None = None,
        faces: Mapping[Face, str] | None = None,
        without: Sequence[Face] = ("bottom",),
        step_m: float | None = None,
        relief: Relief | None = None,
        starts: Mapping[Face, tuple[float, float]] | None = None,
    ) -> None:
        """A box between two local corners; `faces` overrides the texture of single faces, `starts` where they begin."""
        place = at or Place()
        for face in _FACES:
            if face in without:
                continue
            origin, edge_u, edge_v = box_face(low, high, face)
            corner = place.points(origin)
            self.sheet(
                corner,
                place.points(origin + edge_u) - corner,
                place.points(origin + edge_v) - corner,
                texture if faces is None else faces.get(face, texture),
                step_m=step_m,
                relief=relief,
                start=None if starts is None else starts.get(face),
            )

    def turned(
        self, profile: Sequence[tuple[float, float]], texture: str, at: Place, *, sides: int = 48, flat: bool = False
    ) -> None:
        """An outline (radius, height), from the top down, turned about the local z axis; `flat`: with edges, not smooth."""
        outline = np.array(profile, np.float64)
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
        girth = 2 * np.pi * float(outline[:, 0].max())
        lengths = np.array([girth, along[-1]])
        a, b = np.meshgrid(angle / (2 * np.pi), along / along[-1])
        radius, height = outline[:, :1], outline[:, 1:]
        points = np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), np.broadcast_to(height, (len(outline), sides + 1))],
            axis=-1,
        )
        texels = self._texels(texture, a, b, lengths, None)
        world = at.points(points)
        if not flat:
            self.grid(world, texels, texture)
            return
        for row in range(len(outline) - 1):
            for k in range(sides):
                cell = np.s_[row : row + 2, k : k + 2]
                self.grid(world[cell], texels[cell], texture)

    def stone(
        self,
        radii: Sequence[float],
        texture: str,
        at: Place,
        *,
        roughness: float,
        cells: int = 40,
        shape: np.random.Generator | None = None,
    ) -> None:
        """A lumpy ellipsoid about the local origin: stones, crowns of trees, heads. `shape` draws its lumps."""
        rng = self.rng if shape is None else shape
        longitude = np.linspace(0, 2 * np.pi, 2 * cells + 1)
        latitude = np.linspace(np.pi / 2, -np.pi / 2, cells + 1)
        lon, lat = np.meshgrid(longitude, latitude)
        unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        height = 1 + roughness * waves(rng, 24, 3.0)(unit)
        points = unit * height[..., None] * np.array(radii, np.float64)
        size = float(np.mean(radii))
        lengths = np.array([2 * np.pi * size, np.pi * size])
        a, b = lon / (2 * np.pi), 0.5 - lat / np.pi
        self.grid(at.points(points), self._texels(texture, a, b, lengths, None), texture)

    def done(self) -> TexturedMesh:
        counts = [len(part[0]) for part in self._parts]
        return TexturedMesh(
            corners=np.concatenate([part[0] for part in self._parts]),
            normals=np.concatenate([part[1] for part in self._parts]).astype(np.float32),
            texels=np.concatenate([part[2] for part in self._parts]).astype(np.float32),
            texture=np.repeat([part[3] for part in self._parts], counts).astype(np.int32),
            surface=np.repeat(np.arange(len(counts)), counts).astype(np.int32),
        )


def _grid_normals(points: Floats) -> Floats32:
    """Outward unit normals (rows, columns, 3); of a surface that closes on itself also at the seam."""
    right, down = np.empty_like(points), np.empty_like(points)
    right[:, 1:-1], right[:, 0], right[:, -1] = (
        points[:, 2:] - points[:, :-2],
        points[:, 1] - points[:, 0],
        points[:, -1] - points[:, -2],
    )
    down[1:-1], down[0], down[-1] = points[2:] - points[:-2], points[1] - points[0], points[-1] - points[-2]
    if points.shape[1] > 3 and np.allclose(points[:, 0], points[:, -1], atol=1e-9):
        right[:, 0] = right[:, -1] = points[:, 1] - points[:, -2]
    # At a pole all columns meet; the way down is the same as just beside it, and the way right is taken from there.
    for row, beside in ((0, 1), (-1, -2)):
        if np.linalg.norm(right[row], axis=-1).max() < 1e-9:
            right[row] = right[beside]
    normal = np.cross(down, right)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(normal / np.maximum(length, 1e-12), np.float32)


def waves(rng: np.random.Generator, count: int, frequency: float) -> Callable[[Floats], Floats]:
    """Smooth noise of points (..., k), about unit spread; `frequency` in radians per unit, with as fine ones as four times that."""
    width = 3
    direction = rng.normal(size=(count, width))
    scale = frequency * 4 ** rng.uniform(0, 1, count)
    direction *= (scale / np.linalg.norm(direction, axis=1))[:, None]
    phase = rng.uniform(0, 2 * np.pi, count)
    weight = frequency / scale
    weight = weight / np.sqrt((weight**2).sum() / 2)

    def height(points: Floats) -> Floats:
        padded = (
            points if points.shape[-1] == width else np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
        )
        return np.asarray(np.cos(padded @ direction.T + phase) @ weight, np.float64)

    return height


def ripples(rng: np.random.Generator, height_m: float, length_m: float) -> Relief:
    """An uneven surface: bumps of about `height_m`, `length_m` across."""
    noise = waves(rng, 24, 2 * np.pi / length_m)
    return lambda right, down: height_m * noise(np.stack([right, down], axis=-1))
