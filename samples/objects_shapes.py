"""Shapes of the generated objects: closed, manifold meshes of varied topology, from seeds.

A shape is what a person might put on a turntable: smooth, thin, concave, with holes, with sharp edges, assembled from parts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import trimesh
from manifold3d import CrossSection, Manifold
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from samples.surfaces import Floats

HALF_EXTENT = 0.42
"""Half the longest side of every object's bounding box, about the origin: seen whole by the cameras of the API."""
_SEGMENTS = 128


@dataclass(frozen=True)
class Shape:
    """A closed mesh. vertices (n, 3) float64; faces (m, 3) int32, outward; part (m,) int32, which part a face belongs to."""

    vertices: Floats
    faces: NDArray[np.int32]
    part: NDArray[np.int32]

    def mesh(self) -> trimesh.Trimesh:
        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def _placed(vertices: Floats, faces: NDArray[np.int32], part: NDArray[np.int32]) -> Shape:
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    scale = 2 * HALF_EXTENT / float((high - low).max())
    return Shape(np.asarray((vertices - (low + high) / 2) * scale, np.float64), faces, part)


def _of_parts(parts: list[Manifold]) -> Shape:
    """The union of solids; every face knows the solid that it came from."""
    originals = [part.as_original() for part in parts]
    number = {solid.original_id(): i for i, solid in enumerate(originals)}
    mesh = sum(originals[1:], originals[0]).to_mesh()
    starts, ids = np.asarray(mesh.run_index) // 3, np.asarray(mesh.run_original_id)
    part = np.repeat([number[int(i)] for i in ids], np.diff(starts))
    return _placed(
        np.asarray(mesh.vert_properties, np.float64)[:, :3],
        np.asarray(mesh.tri_verts, np.int32),
        np.asarray(part, np.int32),
    )


def _of_mesh(vertices: Floats, faces: NDArray[np.int32]) -> Shape:
    return _placed(vertices, faces, np.zeros(len(faces), np.int32))


def _turned(solid: Manifold, rng: np.random.Generator, most_deg: float) -> Manifold:
    return solid.rotate(tuple(float(a) for a in rng.uniform(-most_deg, most_deg, 3)))


def _box(width: float, height: float, depth: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Manifold:
    return Manifold.cube((width, height, depth), True).translate(at)


def _rod(radius: float, length: float, axis: str = "y") -> Manifold:
    rod = Manifold.cylinder(length, radius, radius, _SEGMENTS, True)
    turns = {"z": (0.0, 0.0, 0.0), "y": (90.0, 0.0, 0.0), "x": (0.0, 90.0, 0.0)}
    return rod.rotate(turns[axis])


def _lathe(profile: list[tuple[float, float]]) -> Manifold:
    """A closed outline (radius, height) turned about +y."""
    return Manifold.revolve(CrossSection([profile]), 2 * _SEGMENTS).rotate((-90.0, 0.0, 0.0))


def _tube(path: Callable[[Floats], Floats], radius: Callable[[Floats], Floats], rings: int, sides: int = 48) -> Shape:
    """A closed tube round a closed curve over 0..2 pi."""
    t = np.linspace(0, 2 * np.pi, rings, endpoint=False)
    centre = path(t)
    tangent = path(t + 1e-4) - path(t - 1e-4)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # The curves here have tangents that are never along this axis.
    axis = np.array([0.31, 0.22, 0.92])
    first = np.cross(tangent, axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    vertices = (centre[:, None] + radius(t)[:, None, None] * ring).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = (i + 1) % rings * sides + j, (i + 1) % rings * sides + (j + 1) % sides
    faces = np.concatenate([np.stack(f, axis=-1).reshape(-1, 3) for f in ((a, c, b), (b, c, d))]).astype(np.int32)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    if mesh.volume < 0:
        faces = faces[:, ::-1].copy()
    return _of_mesh(vertices, faces)


def _waves(rng: np.random.Generator, count: int, frequency: float) -> Callable[[Floats], Floats]:
    """Smooth noise of points (n, 3), about -1..1."""
    direction = rng.normal(size=(count, 3))
    direction *= frequency / np.linalg.norm(direction, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, count)
    return lambda points: np.asarray(
        np.cos(points @ direction.T + phase).sum(axis=1) / math.sqrt(count / 2), np.float64
    )


# --- the shapes ------------------------------------------------------------------------------------------------------------


def pebble(rng: np.random.Generator) -> Shape:
    """Smooth and convex but for shallow dents."""
    sphere = trimesh.creation.icosphere(subdivisions=7)
    points = np.asarray(sphere.vertices, np.float64)
    height = 1 + 0.10 * _waves(rng, 8, 2.2)(points) + 0.02 * _waves(rng, 12, 7.0)(points)
    return _of_mesh(points * height[:, None] * np.array([1.0, 0.72, 0.85]), np.asarray(sphere.faces, np.int32))


def torus(rng: np.random.Generator) -> Shape:
    """A ring that leans a little."""
    turn = Rotation.from_euler("xyz", rng.uniform(-0.35, 0.35, 3)).as_matrix()

    def path(t: Floats) -> Floats:
        return np.asarray(np.stack([np.cos(t), 0.8 * np.sin(t), 0 * t], axis=1) @ turn.T, np.float64)

    return _tube(path, lambda t: 0.3 + 0.05 * np.cos(3 * t), 384, 96)


def knot(rng: np.random.Generator) -> Shape:
    """A trefoil knot: thin, with much of it hidden behind itself."""
    lift = float(rng.uniform(0.9, 1.1))

    def path(t: Floats) -> Floats:
        x, y = np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t)
        return np.stack([x, y, -lift * np.sin(3 * t)], axis=1)

    return _tube(path, lambda t: np.full(len(t), 0.55), 768, 64)


def box(rng: np.random.Generator) -> Shape:
    """A plain box: sides of three lengths, and nothing that tells its orientation."""
    width, height, depth = 1.0, float(rng.uniform(0.6, 0.7)), float(rng.uniform(0.75, 0.85))
    return _of_parts([_box(width, height, depth)])


def bracket(rng: np.random.Generator) -> Shape:
    """Sheet metal: sharp edges, drilled holes, a rib."""
    foot = _box(1.0, 0.16, 0.7)
    wall = _box(0.16, 0.8, 0.7, (-0.42, 0.4, 0))
    rib = Manifold.extrude(CrossSection([[(-0.36, 0.05), (0.3, 0.05), (-0.36, 0.6)]]), 0.1).translate((0, 0, -0.05))
    radius = float(rng.uniform(0.08, 0.1))
    drills = [_rod(radius, 1.0).translate((0.25, 0, z)) for z in (-0.2, 0.2)]
    drills += [_rod(radius, 1.0, "x").translate((-0.42, 0.55, z)) for z in (-0.2, 0.2)]
    whole = foot + wall + rib
    for drill in drills:
        whole -= drill
    return _of_parts([whole])


def mug(rng: np.random.Generator) -> Shape:
    """Concave, with a handle that one can put a finger through."""
    lean = float(rng.uniform(0.0, 0.06))
    body = _lathe([(0, -0.5), (0.38 - lean, -0.5), (0.42, 0.5), (0.36, 0.5), (0.32 - lean, -0.42), (0, -0.42)])
    handle = Manifold.revolve(CrossSection.circle(0.06, 48).translate((0.25, 0.0)), _SEGMENTS).translate(
        (0.42, 0.0, 0.0)
    )
    return _of_parts([body, handle - _rod(0.37, 2.0)])


def vase(rng: np.random.Generator) -> Shape:
    """Turned, with a neck and a funnel that is seen from above only."""
    height = np.linspace(0, 1, 60)
    outer = (
        0.22 + 0.16 * np.sin(2.6 * height + 0.2) ** 2 - 0.1 * height**3 + 0.01 * np.sin(height * rng.uniform(28, 32))
    )
    outline = [(0.0, 0.0), *zip(outer.tolist(), height.tolist(), strict=True)]
    mouth = float(outer[-1]) - 0.03
    outline += [(mouth, 1.0), (0.6 * mouth, 0.85), (0.0, 0.82)]
    return _of_parts([_lathe(outline)])


def gear(rng: np.random.Generator) -> Shape:
    """Straight teeth, a bore and five windows."""
    teeth = int(rng.integers(14, 18))
    turn = np.arange(4 * teeth) * (2 * np.pi / (4 * teeth))
    radius = np.where(np.arange(4 * teeth) % 4 < 2, 1.0, 0.84)
    outline = CrossSection([list(zip((radius * np.cos(turn)).tolist(), (radius * np.sin(turn)).tolist(), strict=True))])
    flat = outline - CrossSection.circle(0.2, _SEGMENTS)
    for i in range(5):
        a = 2 * math.pi * i / 5
        flat -= CrossSection.circle(0.17, _SEGMENTS).translate((0.52 * math.cos(a), 0.52 * math.sin(a)))
    disc = Manifold.extrude(flat, 0.4).translate((0, 0, -0.2))
    hub = Manifold.extrude(CrossSection.circle(0.32, _SEGMENTS) - CrossSection.circle(0.2, _SEGMENTS), 0.7)
    return _of_parts([disc, hub.translate((0, 0, -0.35))])


def frame(rng: np.random.Generator) -> Shape:
    """A cube bored through along all three axes: genus five."""
    cube = _box(1.0, 1.0, 1.0)
    for axis in ("x", "y", "z"):
        cube -= _rod(float(rng.uniform(0.3, 0.36)), 2.0, axis)
    return _of_parts([_turned(cube, rng, 8.0)])


def chair(rng: np.random.Generator) -> Shape:
    """Legs, a seat, a back with gaps: an assembly of thin parts."""
    seat_y = float(rng.uniform(-0.08, -0.02))
    parts = [_box(0.62, 0.06, 0.6, (0, seat_y, 0))]
    for x in (-0.27, 0.27):
        parts += [_box(0.06, 0.5, 0.06, (x, seat_y - 0.26, z)) for z in (-0.26, 0.26)]
        parts.append(_box(0.05, 0.56, 0.05, (x, seat_y + 0.3, -0.26)))
    parts += [_box(0.54, 0.07, 0.03, (0, seat_y + h, -0.26)) for h in (0.2, 0.36, 0.52)]
    return _of_parts(parts)


def robot(rng: np.random.Generator) -> Shape:
    """A toy of blocks, balls and rods that touch."""
    tilt = float(rng.uniform(-25, 25))
    parts = [
        _box(0.5, 0.5, 0.34),
        _box(0.34, 0.26, 0.28, (0, 0.42, 0)),
        Manifold.sphere(0.05, 64).translate((0.08, 0.45, 0.15)),
        Manifold.sphere(0.05, 64).translate((-0.08, 0.45, 0.15)),
        _rod(0.06, 0.2).translate((0, 0.28, 0)),
        _rod(0.015, 0.2).translate((0, 0.6, 0)),
        Manifold.sphere(0.035, 64).translate((0, 0.71, 0)),
        _rod(0.07, 0.34).translate((-0.15, -0.4, 0)),
        _rod(0.07, 0.34).translate((0.15, -0.4, 0)),
        _box(0.18, 0.08, 0.3, (-0.15, -0.58, 0.05)),
        _box(0.18, 0.08, 0.3, (0.15, -0.58, 0.05)),
        _rod(0.055, 0.5).translate((0, -0.2, 0)).rotate((tilt, 0.0, 15.0)).translate((0.28, 0.2, 0.0)),
        _rod(0.055, 0.5).translate((0, -0.2, 0)).rotate((-tilt, 0.0, -15.0)).translate((-0.28, 0.2, 0.0)),
    ]
    return _of_parts(parts)


def leaf(rng: np.random.Generator) -> Shape:
    """A thin curved sheet, 0.02 thick."""
    bend = float(rng.uniform(0.25, 0.35))

    def warp(points: Floats) -> Floats:
        moved = np.array(points, np.float64)
        moved[:, 2] += bend * moved[:, 0] ** 2 - 0.3 * moved[:, 1] ** 2 + 0.04 * np.sin(6 * moved[:, 0])
        return moved

    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    radius = 1 + 0.08 * np.cos(9 * angle)
    outline = np.stack([radius * np.cos(angle), 0.62 * radius * np.sin(angle)], axis=1)
    sheet = Manifold.extrude(CrossSection([[(float(x), float(y)) for x, y in outline]]), 0.045, 1)
    return _of_parts([sheet.translate((0, 0, -0.02)).refine_to_length(0.04).warp_batch(warp)])


def figurine(rng: np.random.Generator) -> Shape:
    """Balls melted together (Blinn, "A generalization of algebraic surface drawing", 1982)."""
    centre = np.array(
        [[0, -0.3, 0], [0, 0.1, 0.05], [0, 0.42, 0.0], [-0.28, 0.15, 0.1], [0.28, 0.12, -0.05], [0.1, -0.4, 0.22]]
    )
    centre = centre + rng.uniform(-0.03, 0.03, centre.shape)
    size = np.array([0.24, 0.2, 0.16, 0.12, 0.12, 0.13])
    sphere = trimesh.creation.icosphere(subdivisions=7)
    points = np.asarray(sphere.vertices, np.float64)
    # Along each direction from the middle, the farthest place where the field still reaches its level.
    steps = np.linspace(0.02, 1.1, 140)
    level = np.zeros((len(points), len(steps)))
    for c, r in zip(centre, size, strict=True):
        squared = (steps**2)[None] - 2 * steps[None] * (points @ c)[:, None] + c @ c
        level += np.exp(-1.2 * squared / r**2)
    inside = level > math.exp(-1.2)
    last = len(steps) - 1 - np.argmax(inside[:, ::-1], axis=1)
    last = np.minimum(last, len(steps) - 2)
    rows = np.arange(len(points))
    here, there = level[rows, last], level[rows, last + 1]
    share = np.clip((here - math.exp(-1.2)) / np.maximum(here - there, 1e-12), 0, 1)
    distance = steps[last] + share * (steps[1] - steps[0])
    return _of_mesh(points * distance[:, None], np.asarray(sphere.faces, np.int32))


def stairs(rng: np.random.Generator) -> Shape:
    """Steps, an arch below, a ball on top: concave corners everywhere."""
    count = int(rng.integers(5, 7))
    parts = [
        _box(1.0 - i / count, 0.5 * (i + 1) / count, 0.6, (0.5 * i / count, 0.25 * (i + 1) / count, 0.0))
        for i in range(count)
    ]
    ball = Manifold.sphere(0.13, 96).translate((0.38, 0.6, 0.1))
    arch = _rod(0.17, 2.0, "z").translate((0.2, 0.02, 0.0))
    return _of_parts([part - arch for part in parts] + [ball])


SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "pebble": pebble,
    "torus": torus,
    "knot": knot,
    "box": box,
    "bracket": bracket,
    "mug": mug,
    "vase": vase,
    "gear": gear,
    "frame": frame,
    "chair": chair,
    "robot": robot,
    "leaf": leaf,
    "figurine": figurine,
    "stairs": stairs,
}
