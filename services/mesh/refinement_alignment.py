"""First stage of the refinement: cameras and depth scales, by pictures, outlines and depth of all views at once."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from contracts.progress import Reporter
from services.mesh.refinement_cameras import RidingSurface, ViewVariables
from services.mesh.refinement_losses import Target, photometric, silhouette, target
from services.mesh.refinement_rendering import Fragments, Scene, Topology, fragments, render
from services.mesh.surface import Floats, Surface
from services.mesh.texture import ColourView

_LEVELS_PX = (256, 512)
"""Widths at which pictures are compared, one after the other: large errors need no detail."""
_ROUNDS = 24
"""At each."""
_ROUNDS_A_CAST = 4
_FIRST_STEP_PX, _LAST_STEP_PX = 0.15, 0.01
_SILHOUETTE = 0.3
_DISAGREEMENT = 0.005
_PRIOR = 2e-5


@dataclass(frozen=True)
class Aligned:
    """vertices (n, 3) float64; the views with their new cameras and depth; moved_px: root mean square of what changed."""

    vertices: Floats
    views: tuple[ColourView, ...]
    moved_px: float


def aligned(
    vertices: Floats,
    shape: Topology,
    scene: Scene,
    views: tuple[ColourView, ...],
    *,
    tolerance: float,
    report: Reporter,
) -> Aligned:
    """Cameras that agree better with each other, and the mesh moved with them. `scene`: the mesh as it is, with its texture."""
    like = scene.texture
    surface = Surface(vertices, shape.faces)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    radius = surface.diagonal() / 2
    variables = ViewVariables(views, middle, radius, like)
    riding = RidingSurface(surface, views, tolerance, like)
    total = _ROUNDS * len(_LEVELS_PX)
    optimiser = torch.optim.Adam([variables.values, variables.common], lr=_FIRST_STEP_PX, betas=(0.8, 0.95))
    decay = (_LAST_STEP_PX / _FIRST_STEP_PX) ** (1 / total)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, decay)
    targets: list[Target] = []
    seen: list[Fragments] = []
    for done in range(total):
        if done % _ROUNDS == 0:
            targets = [target(view, _LEVELS_PX[done // _ROUNDS], like) for view in views]
        if done % _ROUNDS_A_CAST == 0:
            seen = _cast(variables, riding, shape, targets, like)
        optimiser.zero_grad()
        _collect(scene, variables, riding, targets, seen)
        optimiser.step()
        schedule.step()
        report.progress(done + 1, total, "Cameras")
    found = variables.values.detach()
    place = riding.vertices(variables).detach().cpu().double().numpy()
    moved = found.square().sum(dim=1).mean() + variables.common.detach().square().sum()
    return Aligned(place, variables.views(), float(moved) ** 0.5)


def _cast(
    variables: ViewVariables, riding: RidingSurface, shape: Topology, targets: list[Target], like: Tensor
) -> list[Fragments]:
    """What each view shows with everything where it is now."""
    place = riding.vertices(variables).detach().cpu().double().numpy()
    cameras = [variables.colour_camera(i, t.width_px, t.height_px).fixed() for i, t in enumerate(targets)]
    return [fragments(place, shape, camera, like) for camera in cameras]


def _collect(
    scene: Scene, variables: ViewVariables, riding: RidingSurface, targets: list[Target], seen: list[Fragments]
) -> None:
    """Adds the loss's derivatives to the variables' gradients, view by view: the pictures of all at once take six times the memory."""
    for i, wanted in enumerate(targets):
        camera = variables.colour_camera(i, wanted.width_px, wanted.height_px)
        shown = render(replace(scene, vertices=riding.vertices(variables)), camera, seen[i])
        loss = photometric(shown, wanted, seen[i]) + _SILHOUETTE * silhouette(shown, wanted, seen[i])
        torch.autograd.backward(loss / len(targets))
    apart = riding.disagreement(variables, riding.vertices(variables))
    torch.autograd.backward(_DISAGREEMENT * apart + _PRIOR * variables.values.square().sum())
