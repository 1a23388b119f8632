"""Cameras and depth scales of six views as variables, and a surface that moves with them.

A mesh fused from depth maps lies where wrong cameras put it, and each view's own depth holds it there: cameras and vertices can
only move together. So here a vertex is a fixed place in each view (a pixel and a depth), and its position is the mean of what the views
that measured it say under their cameras of the moment. Then a camera that moves takes along what it measured, and what other
views see of that surface, its outlines above all, pulls the camera to where all views agree.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import diags
from scipy.sparse.linalg import splu
from torch import Tensor

from services.mesh.depth import range_view
from services.mesh.fusion import sampled_view
from services.mesh.refinement_geometry import laplacian
from services.mesh.refinement_rendering import Pinhole
from services.mesh.rig import Camera
from services.mesh.surface import Floats, Surface
from services.mesh.texture import ColourView

_LEAST_COSINE = 0.08
_UNSEEN = 1e-3
"""Weight of a vertex's neighbours against a view's own measurement of it."""


@dataclass(frozen=True)
class Planes:
    """Where one view measured vertices. index (k,) of the vertices; pixel (k, 2) and depth (k,) in its depth render; normal (k, 3) of
    the measured surface, in the world; weight (k,), up to one."""

    index: NDArray[np.int64]
    pixel: Floats
    depth: Floats
    normal: Floats
    weight: Floats


def measured_planes(surface: Surface, view: ColourView, tolerance: float) -> Planes:
    """The vertices that a view measured within `tolerance` (world units) of where they are.

    Views count by their cosine of incidence, squared, less near the ends of surfaces.
    """
    ranges = view.range_view
    pixel, depth = ranges.camera.project(surface.vertices)
    measured, normal, rim = sampled_view(ranges, pixel)
    rays = ranges.camera.rays(pixel)
    cosine = -(normal * rays).sum(axis=1) / np.linalg.norm(rays, axis=1)
    agrees = (normal * surface.vertex_normals()).sum(axis=1)
    seen = (measured > 0) & (rim >= 1) & (cosine > _LEAST_COSINE) & (agrees > 0.3)
    seen &= np.abs(measured - depth) * np.maximum(cosine, 0) < tolerance
    index = np.flatnonzero(seen)
    weight = cosine[index] ** 2 * np.clip((rim[index] - 0.5) / 3, 0.1, 1)
    return Planes(index, pixel[index], measured[index], normal[index], weight)


class ViewVariables:
    """What of six views may move, all in pixels at the object; zero is where the views started.

    values (views, 9): turn about the object's middle (3), shift (3), focal length (1), and of the depth: offset and slope (2).
    common (2,): where the pictures' middles are off, beside the depth renders', in all views alike.
    """

    def __init__(self, views: tuple[ColourView, ...], middle: Floats, radius: float, like: Tensor) -> None:
        self._views = views
        self._like = like
        self.values = like.new_zeros(len(views), 9).requires_grad_()
        self.common = like.new_zeros(2).requires_grad_()
        cameras = [view.range_view.camera for view in views]
        self.distance = [float((c.camera_from_world[:3, :3] @ middle + c.camera_from_world[:3, 3])[2]) for c in cameras]
        self.pixel = [d / camera.fx_px for d, camera in zip(self.distance, cameras, strict=True)]
        self._depth_focal = [camera.fx_px for camera in cameras]
        turn = [pixel / radius for pixel in self.pixel]
        self._unit = like.new_tensor([[t] * 3 + [p] * 3 + [t, p, t] for t, p in zip(turn, self.pixel, strict=True)])
        self._middle = like.new_tensor(middle.tolist())

    def _step(self, view: int) -> Tensor:
        return self.values[view] * self._unit[view]

    def _posed(self, view: int, camera: Camera) -> Pinhole:
        start, step = Pinhole.of(camera, self._like), self._step(view)
        x, y, z = step[:3].unbind()
        zero = torch.zeros_like(x)
        turn = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3))
        middle = start.rotation @ self._middle + start.translation
        translation = turn @ (start.translation - middle) + middle + step[3:6]
        focal = start.focal * torch.exp(step[6])
        return Pinhole(
            turn @ start.rotation, translation, focal, start.middle, camera.width_px, camera.height_px
        )  # fmt: skip

    def colour_camera(self, view: int, width_px: int, height_px: int) -> Pinhole:
        """Of the picture, resized."""
        posed = self._posed(view, self._views[view].camera.resized(width_px, height_px))
        return replace(posed, middle=posed.middle + self.common * posed.focal / self._depth_focal[view])

    def points(self, view: int, pixel: Tensor, depth: Tensor) -> Tensor:
        """World points (n, 3) of pixels (n, 2) and depths (n,) of a depth render."""
        camera, step = self._posed(view, self._views[view].range_view.camera), self._step(view)
        corrected = depth + step[7] + step[8] * (depth - self.distance[view])
        return (camera.rays(pixel) * corrected[:, None] - camera.translation) @ camera.rotation

    def views(self) -> tuple[ColourView, ...]:
        """The views as they are now."""
        return tuple(self._moved(i, view) for i, view in enumerate(self._views))

    def _moved(self, index: int, view: ColourView) -> ColourView:
        ranges = view.range_view
        offset, slope = self._step(index)[7:].detach().cpu().double().tolist()
        depth = ranges.depth + offset + slope * (ranges.depth - self.distance[index])
        depth = np.where(ranges.covered, depth, 0.0)
        camera = self._posed(index, ranges.camera).fixed()
        # The depth was smoothed before, and ends where it ended.
        moved = range_view(depth, camera, 0.0)
        return ColourView(
            view.colour,
            self.colour_camera(index, view.camera.width_px, view.camera.height_px).fixed(),
            replace(moved, rim_px=ranges.rim_px, step=ranges.step),
        )


class RidingSurface:
    """A mesh whose vertices go where the views that measured them go."""

    def __init__(self, surface: Surface, views: tuple[ColourView, ...], tolerance: float, like: Tensor) -> None:
        self._like = like
        self.planes = [measured_planes(surface, view, tolerance) for view in views]
        share = _shares(surface, self.planes)
        self._share = self._real(share)
        self._places = [
            tuple(self._real(part) for part in view.range_view.camera.project(surface.vertices)) for view in views
        ]
        self._measured = [
            (torch.as_tensor(p.index, device=like.device), *map(self._real, (p.pixel, p.depth, p.normal, p.weight)))
            for p in self.planes
        ]

    def _real(self, values: Floats) -> Tensor:
        return torch.as_tensor(values, dtype=self._like.dtype, device=self._like.device)

    def vertices(self, variables: ViewVariables) -> Tensor:
        """Positions (n, 3)."""
        total = torch.zeros_like(self._share[:, :1])
        for i, (pixel, depth) in enumerate(self._places):
            total = total + self._share[:, i : i + 1] * variables.points(i, pixel, depth)
        return total

    def disagreement(self, variables: ViewVariables, vertices: Tensor) -> Tensor:
        """Mean over measurements of how far, in pixels, views are from the vertices they measured; beyond two pixels linear."""
        total, count = vertices.new_zeros(()), vertices.new_zeros(())
        for i, (index, pixel, depth, normal, weight) in enumerate(self._measured):
            gap = ((variables.points(i, pixel, depth) - vertices[index]) * normal).sum(dim=1) / variables.pixel[i]
            total = (
                total
                + (
                    weight * torch.nn.functional.huber_loss(gap, torch.zeros_like(gap), reduction="none", delta=2.0)
                ).sum()
            )
            count = count + weight.sum()
        return total / count.clamp_min(1e-9)


def _shares(surface: Surface, planes: list[Planes]) -> Floats:
    """How much each vertex goes with each view: (n, views), rows sum to one. Unmeasured vertices go with their neighbours."""
    known = np.zeros((len(surface.vertices), len(planes)))
    for i, plane in enumerate(planes):
        known[plane.index, i] = plane.weight
    total = known.sum(axis=1)
    # A trace of all views, so that a body that no view measured goes somewhere.
    system = diags(total + 1e-6) + _UNSEEN * laplacian(surface.faces, len(surface.vertices))
    spread = splu(system.tocsc()).solve(known + 1e-6 / len(planes))
    spread = np.maximum(spread, 0)
    return np.asarray(spread / spread.sum(axis=1, keepdims=True), np.float64)
