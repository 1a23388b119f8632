"""A textured mesh made more like the views it came from: cameras, surface, colours and light by gradients through pictures of it.

Each stage is a proposal. It is taken if pictures of the mesh, by the same rays and the same figure as quality.json's, are more
like the views, and if the mesh stays where depth was measured; otherwise what was there before goes on. So the result is
never worse than the start.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.progress import Reporter, Silence
from services.mesh import fusion, quality, texture
from services.mesh.atlas import Unfolded
from services.mesh.engine import Engine, Reconstruction
from services.mesh.refinement_alignment import aligned
from services.mesh.refinement_frame import Frame
from services.mesh.refinement_light import described, separated
from services.mesh.refinement_rendering import Scene, Topology, corner_normals, topology
from services.mesh.refinement_shape import shaped
from services.mesh.refinement_texture import fitted
from services.mesh.surface import Floats, Surface, TexturedMesh
from services.mesh.texture import ColourView

_LEAST_CAMERA_GAIN_DB = 0.5
"""Cameras are known well as a rule: it takes more than a trace to move them."""
_MOST_ALIGNMENTS = 3
_WORTH_MORE_DB = 1.0
"""A step that gained less is followed by no further one."""
_FUSE_FROM_PX = 0.5
"""Views that moved less leave what was fused as it is."""
_HOLD = 0.05
_FIT_ROUNDS = 8
_DEPTH_SLACK = 1.02


@dataclass(frozen=True)
class Refined:
    """made: in the frame of the cameras of `views`; its texture is the appearance, albedo times light. views: as they were, but for
    cameras and depth where those were refined. light (9, 3): spherical harmonics. before, after: figures of quality."""

    made: Reconstruction
    views: tuple[ColourView, ...]
    light: Tensor
    before: quality.Metrics
    after: quality.Metrics


@dataclass(frozen=True)
class _State:
    made: Reconstruction
    views: tuple[ColourView, ...]
    figures: quality.Metrics

    @property
    def mesh(self) -> TexturedMesh:
        return self.made.mesh

    def with_mesh(self, mesh: TexturedMesh, views: tuple[ColourView, ...]) -> "_State":
        return _measured(replace(self.made, mesh=mesh), views)


def device() -> torch.device:
    """Where the refinement computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def refine(
    start: Reconstruction, views: tuple[ColourView, ...], engine: Engine, tolerance: float, report: Reporter
) -> Refined:
    """The mesh at its best. `engine`: what made the start, and makes it anew where cameras moved. `tolerance`: how far, in world
    units, mesh and depth may be apart and still be the same surface.

    Raises torch.OutOfMemoryError if the GPU has too little memory.
    """
    frame = Frame.of(start.mesh)
    near = tuple(frame.view(view) for view in views)
    first = _measured(replace(start, mesh=frame.mesh(start.mesh)), near)
    report.log(f"Refinement on {device().type}: PSNR {first.figures.psnr:.2f} dB at the start")
    stages = _Stages(engine, tolerance / frame.unit, report)
    state = first
    for index in range(_MOST_ALIGNMENTS):
        state, again = stages.better_cameras(state, _Part(report, index))
        if not again:
            break
    state, light = stages.better_surface(state, _Part(report, _MOST_ALIGNMENTS))
    report.log(f"Light: {described(light)}")
    back = frame.inverse()
    report.log(f"Refinement: PSNR {state.figures.psnr:.2f} dB, {state.figures.psnr - first.figures.psnr:+.2f} dB")
    after = views if state.views is near else tuple(back.view(view) for view in state.views)
    return Refined(replace(state.made, mesh=back.mesh(state.mesh)), after, light, first.figures, state.figures)


def _measured(made: Reconstruction, views: tuple[ColourView, ...]) -> _State:
    return _State(made, views, quality.mean(quality.measure(made.mesh, views)))


class _Part(Silence):
    """Progress of one of several stages as that of all."""

    def __init__(self, report: Reporter, index: int) -> None:
        self._report = report
        self._index = index

    def progress(self, done: int, total: int, operation: str | None = None) -> None:
        share = round(100 * done / total)
        self._report.progress(100 * self._index + share, 100 * (_MOST_ALIGNMENTS + 1), operation)


class _Stages:
    """Proposals, and whether they are taken."""

    def __init__(self, engine: Engine, tolerance: float, report: Reporter) -> None:
        self._engine = engine
        self._tolerance = tolerance
        self._report = report

    def better_cameras(self, state: _State, part: Reporter) -> tuple[_State, bool]:
        """With cameras moved, where that makes clearly better pictures; and whether it is worth trying once more."""
        shape, places = topology(state.mesh)
        scene = scene_of(state.mesh, shape)
        found = aligned(places, shape, scene, state.views, tolerance=self._tolerance, report=part)
        ranges = tuple(view.range_view for view in found.views)
        surface = fusion.moved_onto_depth(Surface(found.vertices, shape.faces), ranges, self._tolerance)
        moved = with_places(state.mesh, shape, surface.vertices)
        unfolded = Unfolded(moved.vertices, moved.faces, moved.normals, moved.uv, moved.texture.shape[0])
        best = state.with_mesh(texture.bake(unfolded, found.views, self._tolerance), found.views)
        anew = found.moved_px > _FUSE_FROM_PX and best.figures.psnr > state.figures.psnr
        if anew:
            fused = _measured(self._engine.reconstruct(found.views, Silence()), found.views)
            best = max((best, fused), key=lambda s: s.figures.psnr)
        gain = best.figures.psnr - state.figures.psnr
        taken = gain > _LEAST_CAMERA_GAIN_DB
        self._report.log(
            f"Cameras: {gain:+.2f} dB with views moved by {found.moved_px:.2f} px; "
            + ("taken" if taken else "they stay as they were")
        )
        return (best, anew and gain > _WORTH_MORE_DB) if taken else (state, False)

    def better_surface(self, state: _State, part: Reporter) -> tuple[_State, Tensor]:
        """With surface, colours and light optimised, and with colours alone: the better of both. And the light on it."""
        shape, places = topology(state.mesh)
        scene = scene_of(state.mesh, shape)
        lit = separated(state.mesh, scene.texture)
        same = _fitted(state, state.mesh, scene.texture)
        found = shaped(places, shape, scene, state.views, lit=lit, tolerance=self._tolerance, report=part)
        changed = _fitted(state, with_places(state.mesh, shape, found.vertices), scene.texture)
        best = max((state, same), key=lambda s: s.figures.psnr)
        gain = changed.figures.psnr - best.figures.psnr
        holds = changed.figures.depth_mae <= _DEPTH_SLACK * state.figures.depth_mae
        taken = holds and gain > 0
        self._report.log(
            f"Colours: {best.figures.psnr - state.figures.psnr:+.2f} dB; surface: {gain:+.2f} dB, depth error "
            f"x {changed.figures.depth_mae / max(state.figures.depth_mae, 1e-12):.3f}; "
            + ("taken" if taken else "surface stays")
        )
        return (changed, found.light) if taken else (best, lit.light)


def _fitted(state: _State, mesh: TexturedMesh, colours: Tensor) -> _State:
    """That mesh with the colours that suit the views best."""
    found = fitted(mesh, state.views, colours, _HOLD, _FIT_ROUNDS)
    stored = (found[0].permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
    return state.with_mesh(replace(mesh, texture=np.ascontiguousarray(stored)), state.views)


def scene_of(mesh: TexturedMesh, shape: Topology) -> Scene:
    """The mesh as the differentiable renderer takes it, without a light: the texture is the appearance."""
    where = device()

    def real(values: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=where)

    places = np.zeros((shape.count, 3))
    places[shape.welded] = mesh.vertices
    colours = real(mesh.texture).permute(2, 0, 1)[None] / 255
    faces = torch.as_tensor(shape.faces.astype(np.int64), device=where)
    return Scene(real(places), faces, real(mesh.uv[mesh.faces]), colours.contiguous(), None, None)


def with_places(mesh: TexturedMesh, shape: Topology, places: Floats) -> TexturedMesh:
    """The mesh with its welded vertices at `places` (n, 3), and normals to that."""
    corners = corner_normals(torch.as_tensor(places), shape).numpy()
    normals = mesh.normals.copy()
    normals[shape.split_faces.ravel()] = corners.reshape(-1, 3)
    return replace(mesh, vertices=places[shape.welded], normals=normals)
