"""Where a mesh of unknown position, orientation and size stands among the views it was made for.

A generated mesh has a frame of its own. It is brought into that of the cameras by a similarity: rotations spread evenly over all
orientations are tried (Alexa, "Super-Fibonacci spirals", CVPR 2022), the best ones refined by iterated closest points with scale (Besl
and McKay 1992; Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991), and
what depth cannot tell apart, symmetric shapes, is decided by colour.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from services.mesh.fusion import bilinear
from services.mesh.surface import Floats, TexturedMesh
from services.mesh.texture import ColourView

_ORIENTATIONS = 1500
"""About 17 degrees from any orientation to the nearest one tried."""
_COARSE_POINTS, _FINE_POINTS = 250, 4000
_SURFACE_POINTS = 20_000
_KEPT = 48
_COARSE_ROUNDS, _FINE_ROUNDS, _PLANE_ROUNDS = 15, 60, 40
_FAR = 0.3
"""Of the object's radius: from here on more distance makes no difference, so that parts that the mesh lacks do not drag it."""
_NEAR_SHARE = 0.6
"""At least so many points pull, however far they are."""
_LEAST_COSINE = 0.3
_COLOUR_WORTH = 0.05
"""Of a full difference in colour, in diagonals: colours decide only where shapes agree about equally well."""
_CONVERGED = 1e-6
_PLANE_PRECISION = 0.05
"""Of the object's radius: squares of distances count up to here, and beyond the distances alone (Huber)."""


@dataclass(frozen=True)
class Similarity:
    """world = scale * rotation @ mesh + shift; rotation (3, 3), shift (3,)."""

    scale: float
    rotation: Floats
    shift: Floats

    def applied(self, points: Floats) -> Floats:
        """World points (n, 3) of mesh points (n, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.shift, np.float64)


@dataclass(frozen=True)
class _Cloud:
    """points, normals (n, 3) float64; colours (n, 3) float32 in 0..1."""

    points: Floats
    normals: Floats
    colours: NDArray[np.float32]

    def some(self, count: int) -> "_Cloud":
        index = np.random.default_rng(0).permutation(len(self.points))[:count]
        return _Cloud(self.points[index], self.normals[index], self.colours[index])

    @property
    def centre(self) -> Floats:
        return np.asarray(self.points.mean(axis=0), np.float64)

    @property
    def radius(self) -> float:
        return float(np.sqrt(((self.points - self.centre) ** 2).sum(axis=1).mean()))


def placed(mesh: TexturedMesh, views: tuple[ColourView, ...]) -> TexturedMesh:
    """The mesh in the world of the views' cameras."""
    transform = placement(mesh, views)
    return replace(
        mesh,
        vertices=transform.applied(mesh.vertices),
        normals=np.asarray(mesh.normals @ transform.rotation.T, np.float64),
    )


def placement(mesh: TexturedMesh, views: tuple[ColourView, ...]) -> Similarity:
    """The similarity that brings the mesh onto what the views measured."""
    surface, seen = _surface(mesh), _seen(views)
    tree = cKDTree(surface.points)
    coarse, fine = seen.some(_COARSE_POINTS), seen.some(_FINE_POINTS)
    scale = seen.radius / surface.radius
    starts = [Similarity(scale, r, seen.centre - scale * r @ surface.centre) for r in _orientations(_ORIENTATIONS)]
    starts.sort(key=lambda start: _misfit(start, coarse, tree))
    nearer = [_closest_points(start, coarse, surface.points, tree, _COARSE_ROUNDS) for start in starts[:_KEPT]]
    nearer.sort(key=lambda guess: _misfit(guess, fine, tree))
    final = [_closest_points(guess, fine, surface.points, tree, _FINE_ROUNDS) for guess in nearer[: _KEPT // 3]]
    best = min(final, key=lambda guess: _difference(guess, fine, surface, tree))
    return _closest_planes(best, fine, surface, tree, _PLANE_ROUNDS)


def _orientations(count: int) -> Floats:
    """Rotations (n, 3, 3), evenly over all orientations."""
    phi, psi = np.sqrt(2.0), 1.533751168755204288118041
    s = np.arange(count) + 0.5
    r, rest = np.sqrt(s / count), np.sqrt(1 - s / count)
    a, b = 2 * np.pi * s / phi, 2 * np.pi * s / psi
    quaternions = np.stack([r * np.sin(a), r * np.cos(a), rest * np.sin(b), rest * np.cos(b)], axis=1)
    return np.asarray(Rotation.from_quat(quaternions).as_matrix(), np.float64)


def _surface(mesh: TexturedMesh) -> _Cloud:
    """Points evenly over the mesh, with its texture's colours."""
    rng = np.random.default_rng(0)
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), _SURFACE_POINTS, p=area / area.sum())
    first, second = np.sqrt(rng.random(_SURFACE_POINTS)), rng.random(_SURFACE_POINTS)
    weight = np.stack([1 - first, first * (1 - second), first * second], axis=1)
    uv = np.einsum("nk,nkd->nd", weight, mesh.uv[mesh.faces[face]])
    height, width = mesh.texture.shape[:2]
    pixel = np.stack([uv[:, 0] * width, (1 - uv[:, 1]) * height], axis=1)
    colour = bilinear(mesh.texture.astype(np.float32) / np.float32(255), pixel)
    normals = np.einsum("nk,nkd->nd", weight, mesh.normals[mesh.faces[face]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return _Cloud(np.einsum("nk,nkd->nd", weight, corners[face]), normals, colour)


def _seen(views: tuple[ColourView, ...]) -> _Cloud:
    """Points that the views measured, about evenly over the surface, with the pictures' colours."""
    rng = np.random.default_rng(0)
    points, normals, colours, areas = [], [], [], []
    for view in views:
        ranges = view.range_view
        useful = ranges.covered & (ranges.cosine > _LEAST_COSINE)
        where = ranges.points()[useful]
        pixel, _ = view.camera.project(where)
        points.append(where)
        normals.append(ranges.normal[useful])
        colours.append(bilinear(view.colour, pixel))
        # A pixel that looks along a surface stands for more of it.
        areas.append((ranges.pixel_size() ** 2 / np.maximum(ranges.cosine, _LEAST_COSINE))[useful])
    point, normal = np.concatenate(points), np.concatenate(normals).astype(np.float64)
    colour, area = np.concatenate(colours), np.concatenate(areas)
    index = rng.choice(len(point), min(_SURFACE_POINTS, len(point)), p=area / area.sum())
    return _Cloud(point[index], normal[index], colour[index])


def _partners(guess: Similarity, seen: _Cloud, tree: cKDTree) -> tuple[Floats, NDArray[np.int64]]:
    """Distance in mesh units (n,) from each seen point to the mesh, and the mesh point (n,) that is nearest."""
    back = (seen.points - guess.shift) @ guess.rotation / guess.scale
    distance, index = tree.query(back)
    return np.asarray(distance, np.float64), np.asarray(index, np.int64)


def _misfit(guess: Similarity, seen: _Cloud, tree: cKDTree) -> float:
    """Mean distance in the world, truncated: small parts count, for they tell the turns of round shapes apart."""
    distance, _ = _partners(guess, seen, tree)
    return float(np.minimum(distance * guess.scale, _FAR * seen.radius).mean())


def _difference(guess: Similarity, seen: _Cloud, surface: _Cloud, tree: cKDTree) -> float:
    """Misfit of shape, in diagonals of what was seen, and of colour where shapes fit."""
    distance, index = _partners(guess, seen, tree)
    apart = np.minimum(distance * guess.scale, _FAR * seen.radius)
    near = apart <= np.quantile(apart, _NEAR_SHARE)
    colour = np.abs(seen.colours[near] - surface.colours[index[near]]).mean()
    diagonal = float(np.linalg.norm(np.ptp(seen.points, axis=0)))
    return float(apart.mean()) / diagonal + _COLOUR_WORTH * float(colour)


def _closest_points(guess: Similarity, seen: _Cloud, surface: Floats, tree: cKDTree, rounds: int) -> Similarity:
    """Iterated closest points with scale, from seen points to the mesh; partners that are far off do not pull."""
    for _ in range(rounds):
        distance, index = _partners(guess, seen, tree)
        kept = distance <= max(_FAR * seen.radius / guess.scale, float(np.quantile(distance, _NEAR_SHARE)))
        found = _least_squares(surface[index[kept]], seen.points[kept])
        change = abs(found.scale / guess.scale - 1) + float(np.abs(found.rotation - guess.rotation).max())
        guess = found
        if change < _CONVERGED:
            break
    return guess


def _closest_planes(guess: Similarity, seen: _Cloud, surface: _Cloud, tree: cKDTree, rounds: int) -> Similarity:
    """Iterated closest planes with scale (Chen and Medioni 1992): surfaces slide along each other without cost."""
    for _ in range(rounds):
        distance, index = _partners(guess, seen, tree)
        kept = distance <= max(_FAR * seen.radius / guess.scale, float(np.quantile(distance, _NEAR_SHARE)))
        placed_points = guess.applied(surface.points[index[kept]])
        normal = surface.normals[index[kept]] @ guess.rotation.T
        centre = placed_points.mean(axis=0)
        arm = placed_points - centre
        system = np.column_stack([np.cross(arm, normal), normal, (arm * normal).sum(axis=1)])
        target = ((seen.points[kept] - placed_points) * normal).sum(axis=1)
        weight = 1 / np.maximum(np.abs(target), _PLANE_PRECISION * seen.radius)
        step, *_ = np.linalg.lstsq(system * weight[:, None], target * weight, rcond=None)
        turn, factor = Rotation.from_rotvec(step[:3]).as_matrix(), 1 + step[6]
        shift = factor * turn @ (guess.shift - centre) + centre + step[3:6]
        guess = Similarity(guess.scale * factor, turn @ guess.rotation, shift)
        if float(np.abs(step[[0, 1, 2, 6]]).max()) < _CONVERGED:
            break
    return guess


def _least_squares(mesh: Floats, world: Floats) -> Similarity:
    """The similarity that brings points (n, 3) nearest to their partners (n, 3): Umeyama 1991."""
    mesh_centre, world_centre = mesh.mean(axis=0), world.mean(axis=0)
    a, b = mesh - mesh_centre, world - world_centre
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / ((a**2).sum() / len(a)))
    return Similarity(scale, rotation, world_centre - scale * rotation @ mesh_centre)
