"""Second stage of the refinement: surface, colours and light together, by gradients through pictures (Munkberg et al., "Extracting
triangular 3D models, materials, and lighting from images", CVPR 2022, from where topology is known)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from contracts.progress import Reporter
from services.mesh.refinement_cameras import Planes, measured_planes
from services.mesh.refinement_geometry import SmoothField
from services.mesh.refinement_light import Lit, white
from services.mesh.refinement_losses import photometric, silhouette, target
from services.mesh.refinement_rendering import Fragments, Pinhole, Scene, Topology, corner_normals, fragments, render
from services.mesh.surface import Floats, Surface
from services.mesh.texture import ColourView

_WORKING_PX = 512
_ROUNDS = 24
_ROUNDS_A_CAST = 4
_STIFFNESS = 8.0
"""Of the mesh against single vertices: offsets spread over about the square root of this many edges."""
_STEP_PX, _COLOUR_STEP, _LIGHT_STEP = 0.05, 0.002, 0.003
_SILHOUETTE = 0.3
_DEPTH, _DEPTH_NOISE_PX = 0.02, 0.3
"""Depth counts as exactly as it was stored: by its own noise, and by the steps of its scale."""
_WHITE = 0.001


@dataclass(frozen=True)
class Shaped:
    """vertices (n, 3) float64; what the colours became, taken apart."""

    vertices: Floats
    albedo: Tensor
    light: Tensor


def shaped(
    vertices: Floats,
    shape: Topology,
    scene: Scene,
    views: tuple[ColourView, ...],
    *,
    lit: Lit,
    tolerance: float,
    report: Reporter,
) -> Shaped:
    """Vertices moved along their normals, albedo and light, for which pictures are most like the views."""
    like = scene.texture
    surface = Surface(vertices, shape.faces)
    pixel = float(np.median([np.median(v.range_view.pixel_size()[v.range_view.covered]) for v in views]))
    start = torch.as_tensor(vertices, dtype=like.dtype, device=like.device)
    along = torch.as_tensor(surface.vertex_normals() * pixel, dtype=like.dtype, device=like.device)
    held = _Depth(surface, views, tolerance, pixel, like)
    field = SmoothField(shape.faces, shape.count, _STIFFNESS, like)
    albedo, light = lit.albedo.clone().requires_grad_(), lit.light.clone().requires_grad_()
    optimiser = torch.optim.Adam([{"params": [albedo], "lr": _COLOUR_STEP}, {"params": [light], "lr": _LIGHT_STEP}])
    targets = [target(view, _WORKING_PX, like) for view in views]
    cameras = [view.camera.resized(t.width_px, t.height_px) for view, t in zip(views, targets, strict=True)]
    seen: list[Fragments] = []
    for done in range(_ROUNDS):
        if done % _ROUNDS_A_CAST == 0:
            place = _placed(start, along, field).detach().cpu().double().numpy()
            seen = [fragments(place, shape, camera, like) for camera in cameras]
        optimiser.zero_grad()
        for wanted, camera, there in zip(targets, cameras, seen, strict=True):
            moved = _placed(start, along, field)
            now = replace(scene, vertices=moved, texture=albedo, light=light, normals=corner_normals(moved, shape))
            shown = render(now, Pinhole.of(camera, like), there)
            loss = photometric(shown, wanted, there) + _SILHOUETTE * silhouette(shown, wanted, there)
            torch.autograd.backward(loss / len(views))
        rest = held.misfit(field.values) + _WHITE * (light - white(light)).square().sum()
        torch.autograd.backward(rest)
        decay = 1 - 0.9 * done / _ROUNDS
        field.descend(_STEP_PX * decay)
        optimiser.step()
        report.progress(done + 1, _ROUNDS, "Surface, colours and light")
    found = _placed(start, along, field).detach().cpu().double().numpy()
    return Shaped(found, albedo.detach(), light.detach())


def _placed(start: Tensor, along: Tensor, field: SmoothField) -> Tensor:
    return start + along * field.values[:, None]


class _Depth:
    """How far offsets along normals take vertices from what the views measured there."""

    def __init__(
        self, surface: Surface, views: tuple[ColourView, ...], tolerance: float, pixel: float, like: Tensor
    ) -> None:
        normals = surface.vertex_normals()
        step_px = float(np.median([view.range_view.step for view in views])) / pixel
        self._exactness = _DEPTH / (_DEPTH_NOISE_PX**2 + step_px**2)
        self._parts = [
            self._part(surface, normals, view, measured_planes(surface, view, tolerance), pixel, like) for view in views
        ]

    @staticmethod
    def _part(  # noqa: PLR0917
        surface: Surface, normals: Floats, view: ColourView, planes: Planes, pixel: float, like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        camera = view.range_view.camera
        points = camera.centre + camera.rays(planes.pixel) * planes.depth[:, None]
        gap = ((points - surface.vertices[planes.index]) * planes.normal).sum(axis=1) / pixel
        slope = (normals[planes.index] * planes.normal).sum(axis=1)
        real = [torch.as_tensor(a, dtype=like.dtype, device=like.device) for a in (gap, slope, planes.weight)]
        return torch.as_tensor(planes.index, device=like.device), real[0], real[1], real[2]

    def misfit(self, offset: Tensor) -> Tensor:
        """Mean over measurements, in pixels, squared; linear beyond one; by how exact they are. offset (n,) in pixels."""
        total, count = offset.new_zeros(()), offset.new_zeros(())
        for index, gap, slope, weight in self._parts:
            error = functional.huber_loss(slope * offset[index], gap, reduction="none", delta=1.0)
            total, count = total + (weight * error).sum(), count + weight.sum()
        return self._exactness * total / count.clamp_min(1e-9)
