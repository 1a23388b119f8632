"""Specks away, faces within a budget, closed and manifold where that can be had."""

import fast_simplification
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from services.mesh.carving import free_depth, see_through
from services.mesh.depth import RangeView
from services.mesh.fusion import sampled_view
from services.mesh.surface import Surface

FACE_BUDGET = 30_000
_BUDGET_SHARES = (1.0, 0.97, 0.94, 0.9, 0.85)
_SPECK_SHARE = 2e-4
"""Bodies with less of the surface than this are specks."""
_SUPPORTED_SHARE = 0.02
"""Bodies of which less was seen are inventions: bubbles inside, or blobs outside."""
_AGGRESSION = 3.0
"""Quality before speed in fast-simplification: edges go strictly by their error."""


def supported_bodies(surface: Surface, views: tuple[RangeView, ...], tolerance: float) -> Surface:
    """Only bodies that some view saw, and none that views look through. Raises UserError if nothing is left."""
    count, body = surface.bodies()
    seen = np.zeros(len(surface.vertices), bool)
    crossed = np.zeros(len(surface.vertices), bool)
    for view in views:
        pixel, depth = view.camera.project(surface.vertices)
        measured, _, rim = sampled_view(view, pixel)
        seen |= (measured > 0) & (rim > 0) & (np.abs(depth - measured) < tolerance)
        crossed |= see_through(view, free_depth(view), surface.vertices, 3 * tolerance)
    size = np.bincount(body, minlength=count)
    area = np.bincount(body[surface.faces[:, 0]], np.linalg.norm(surface.face_normals(), axis=1), count)
    good = np.bincount(body[seen], minlength=count) >= _SUPPORTED_SHARE * size
    good &= np.bincount(body[crossed], minlength=count) < 0.5 * size
    good &= area >= _SPECK_SHARE * area.sum()
    if not good.any():
        raise UserError(
            ErrorCode.NO_MODEL,
            "The depth renders do not describe one object: no surface agrees with all six views.",
            field="depth_renders",
        )
    return surface.without_faces(~good[body[surface.faces[:, 0]]])


def decimated(surface: Surface, faces: int) -> Surface:
    """At most about `faces` faces by quadric error metrics (Garland and Heckbert, SIGGRAPH 1997): flat parts go first.

    Collapsing can pinch a closed surface; then a few faces less are tried, because that is another order of collapses.
    """
    if len(surface.faces) <= faces:
        return surface
    results = (_decimated(surface, round(faces * share)) for share in _BUDGET_SHARES)
    best, fewest = surface, len(surface.vertices)
    for result in results:
        pinched = open_or_shared_edges(result)
        if pinched < fewest:
            best, fewest = result, pinched
        if pinched == 0:
            break
    return best


def _decimated(surface: Surface, faces: int) -> Surface:
    # The library thinks in single precision, and its thresholds in units of about one.
    low, size = surface.vertices.min(axis=0), surface.diagonal()
    points, triangles = fast_simplification.simplify(
        ((surface.vertices - low) / size).astype(np.float32), surface.faces, target_count=faces, agg=_AGGRESSION
    )
    return without_degenerate(Surface(np.asarray(points, np.float64) * size + low, np.asarray(triangles, np.int32)))


def open_or_shared_edges(surface: Surface) -> int:
    """Edges that do not have exactly two faces, one on each side: 0 for a closed manifold."""
    edges = np.concatenate([surface.faces[:, [0, 1]], surface.faces[:, [1, 2]], surface.faces[:, [2, 0]]]).astype(
        np.int64
    )
    key = edges[:, 0] * len(surface.vertices) + edges[:, 1]
    back = edges[:, 1] * len(surface.vertices) + edges[:, 0]
    _, counts = np.unique(key, return_counts=True)
    return int((counts > 1).sum() + (~np.isin(key, back)).sum())


def without_degenerate(surface: Surface) -> Surface:
    """The same without faces that have no area because two corners are one vertex."""
    f = surface.faces
    degenerate: NDArray[np.bool_] = (f[:, 0] == f[:, 1]) | (f[:, 1] == f[:, 2]) | (f[:, 2] == f[:, 0])
    return surface.without_faces(degenerate)
