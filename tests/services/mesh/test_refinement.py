"""The differentiable renderer against differences of pictures, and the refinement against what was changed on purpose."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from contracts.progress import Silence
from samples.evaluate_object import similarity_aligned, surface_errors
from services.mesh import quality, refinement_rendering, rendering
from services.mesh.builtin import BuiltinEngine, tolerance_of
from services.mesh.depth import range_view
from services.mesh.engine import Reconstruction
from services.mesh.nvdiffrec import NvdiffrecEngine
from services.mesh.refinement import refine
from services.mesh.refinement_alignment import aligned
from services.mesh.refinement_cameras import RidingSurface, ViewVariables
from services.mesh.refinement_geometry import SmoothField
from services.mesh.refinement_light import irradiance, relit, separated, texel_normals, white
from services.mesh.refinement_rendering import (
    Pinhole,
    Scene,
    Shown,
    Topology,
    corner_normals,
    fragments,
    render,
    topology,
)
from services.mesh.refinement_shape import shaped
from services.mesh.refinement_texture import fitted
from services.mesh.rendering import Caster
from services.mesh.rig import assumed_cameras
from services.mesh.surface import Floats, Surface, TexturedMesh
from services.mesh.texture import ColourView
from tests.services.mesh.conftest import Taken

SIZE_PX = 64
RADIUS = 0.45


def ball(texture_px: int = 64) -> TexturedMesh:
    """An egg, so that it has no symmetry to turn about, in soft colours; each half has its own half of the texture."""
    made = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
    points = np.asarray(made.vertices, np.float64)
    faces = np.asarray(made.faces, np.int32)
    back = points[faces][:, :, 2].mean(axis=1) < 0
    corners = points[faces].reshape(-1, 3)
    uv = 0.25 + 0.24 * corners[:, :2] / RADIUS
    uv[:, 0] += np.where(np.repeat(back, 3), 0.5, 0.0)
    uv[:, 1] *= 2
    normals = corners / RADIUS
    stretch = np.array([1.0, 0.8, 0.9]) * (1 + 0.1 * corners[:, :1])
    noise = np.random.default_rng(0).uniform(0.15, 0.85, (9, 9, 3)).astype(np.float32)
    texture = cv2.resize(noise, (texture_px, texture_px), interpolation=cv2.INTER_CUBIC)
    split = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    mesh = TexturedMesh(corners * stretch, split, normals, uv, np.rint(np.clip(texture, 0, 1) * 255).astype(np.uint8))
    return with_normals(mesh)


def with_normals(mesh: TexturedMesh) -> TexturedMesh:
    _, places = topology(mesh)
    shape, _ = topology(mesh)
    smooth = Surface(places, shape.faces).vertex_normals()
    return replace(mesh, normals=smooth[shape.welded])


def scene_of(mesh: TexturedMesh, dtype: torch.dtype = torch.float64) -> tuple[Scene, Topology, Floats]:
    shape, places = topology(mesh)

    def real(values: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype)

    scene = Scene(
        real(places),
        torch.as_tensor(shape.faces.astype(np.int64)),
        real(mesh.uv[mesh.faces]),
        real(mesh.texture / 255).permute(2, 0, 1)[None].contiguous(),
        None,
        None,
    )
    return scene, shape, places


def views_of(mesh: TexturedMesh, size_px: int = SIZE_PX) -> tuple[ColourView, ...]:
    """What the assumed cameras see of it, by the ray caster that quality is measured with."""
    caster = Caster(mesh.vertices, mesh.faces)
    views = []
    for camera in assumed_cameras(size_px, size_px):
        depth = caster.depth(camera).astype(np.float64)
        views.append(ColourView(rendering.render(mesh, camera), camera, range_view(depth, camera, 0.0)))
    return tuple(views)


def wave(size_px: int) -> Tensor:
    """Weights (h*w, 3) that make one number of a picture, not the same anywhere."""
    x, y = np.meshgrid(np.arange(size_px), np.arange(size_px))
    return torch.as_tensor(np.stack([np.sin(x / 9 + k) * np.cos(y / 7 + k) for k in range(3)], axis=-1).reshape(-1, 3))


def slope(function: Callable[[Tensor], Tensor], at: Tensor, direction: Tensor, step: float) -> float:
    """By central differences."""
    return float((function(at + step * direction) - function(at - step * direction)) / (2 * step))


def test_pictures_are_those_of_the_ray_caster() -> None:
    mesh = ball()
    scene, shape, places = scene_of(mesh)
    for camera in assumed_cameras(SIZE_PX, SIZE_PX):
        shown = render(scene, Pinhole.of(camera, scene.texture), fragments(places, shape, camera, scene.texture))
        wanted = rendering.render(mesh, camera).reshape(-1, 3)
        error = shown.colour.numpy() - wanted
        assert np.sqrt((error**2).mean()) < 0.015
        filled = rendering.footprint(mesh, Caster(mesh.vertices, mesh.faces), camera).covered
        assert float(shown.cover.sum()) == pytest.approx(float(filled.sum()), rel=0.003)


@pytest.mark.parametrize("variable", ["vertices", "texture", "light", "translation", "rotation", "focal"])
def test_derivatives_are_slopes(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Faces seen edge-on have slopes too, which the refinement does not want.
    monkeypatch.setattr(refinement_rendering, "_FLATTEST", 0.0)
    scene, shape, places = scene_of(ball())
    camera = assumed_cameras(SIZE_PX, SIZE_PX)[2]
    seen = fragments(places, shape, camera, scene.texture)
    weights, pinhole = wave(SIZE_PX), Pinhole.of(camera, scene.texture)
    light = white(scene.texture) + 0.1 * torch.arange(27, dtype=torch.float64).reshape(9, 3) / 27

    lit = replace(scene, light=light, normals=corner_normals(scene.vertices, shape))
    pictures: dict[str, tuple[Tensor, Callable[[Tensor], Shown]]] = {
        "vertices": (
            scene.vertices,
            lambda x: render(replace(lit, vertices=x, normals=corner_normals(x, shape)), pinhole, seen),
        ),
        "texture": (scene.texture, lambda x: render(replace(lit, texture=x), pinhole, seen)),
        "light": (light, lambda x: render(replace(lit, light=x), pinhole, seen)),
        "translation": (pinhole.translation, lambda x: render(lit, replace(pinhole, translation=x), seen)),
        "rotation": (pinhole.rotation, lambda x: render(lit, replace(pinhole, rotation=x), seen)),
        "focal": (pinhole.focal, lambda x: render(lit, replace(pinhole, focal=x), seen)),
    }
    start, shown = pictures[variable]

    def value(now: Tensor) -> Tensor:
        return (shown(now).colour * weights).sum()

    at = start.clone().requires_grad_()
    torch.autograd.backward(value(at))
    assert at.grad is not None
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        direction = torch.randn(at.shape, generator=generator, dtype=torch.float64)
        expected = slope(value, at.detach(), direction, 1e-6)
        assert float((at.grad * direction).sum()) == pytest.approx(expected, rel=2e-3, abs=1e-2)


def test_outlines_pull_as_the_pictures_do() -> None:
    """With pixels cast anew for every picture, and by the caster's own pictures: what outlines uncover is in the derivative."""
    mesh = ball()
    grey = replace(mesh, texture=np.full((8, 8, 3), 60, np.uint8))
    scene, shape, places = scene_of(grey)
    camera = assumed_cameras(SIZE_PX, SIZE_PX)[0]
    weights = wave(SIZE_PX)
    at = scene.vertices.clone().requires_grad_()
    shown = render(replace(scene, vertices=at), Pinhole.of(camera, at), fragments(places, shape, camera, scene.texture))
    torch.autograd.backward((shown.colour * weights).sum())
    assert at.grad is not None
    for direction in (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), places / RADIUS):
        moved = np.broadcast_to(direction, places.shape)

        def picture(step: float, moved: Floats = moved) -> float:
            changed = replace(grey, vertices=(places + step * moved)[shape.welded])
            return float((rendering.render(changed, camera).reshape(-1, 3) * weights.numpy()).sum())

        # The caster's sixteen rays a pixel need steps of about a pixel to show a slope.
        expected = (picture(0.01) - picture(-0.01)) / 0.02
        assert float((at.grad.numpy() * moved).sum()) == pytest.approx(expected, rel=0.05, abs=5)


def test_texture_comes_back_from_pictures() -> None:
    mesh = ball()
    views = views_of(mesh, 128)
    grey = torch.full((1, 3, 64, 64), 0.5)
    found = fitted(mesh, views, grey, hold=1e-3, rounds=30)
    index, _ = texel_normals(mesh)
    truth = (mesh.texture / 255).reshape(-1, 3)[index]
    error = found[0].reshape(3, -1).T.numpy()[index] - truth
    assert np.sqrt((error**2).mean()) < 0.02
    assert np.median(np.abs(error)) < 0.004


def test_light_comes_back_from_pictures() -> None:
    mesh = ball()
    scene, shape, places = scene_of(mesh)
    truth = white(scene.texture)
    truth[1:4] += torch.tensor([[0.20, 0.18, 0.15], [0.05, 0.08, 0.06], [-0.10, -0.05, -0.08]])
    lit = replace(scene, light=truth, normals=corner_normals(scene.vertices, shape))
    cameras = assumed_cameras(SIZE_PX, SIZE_PX)
    seen = [fragments(places, shape, camera, scene.texture) for camera in cameras]
    pinholes = [Pinhole.of(camera, scene.texture) for camera in cameras]
    wanted = [render(lit, p, s).colour for p, s in zip(pinholes, seen, strict=True)]
    light = white(scene.texture).requires_grad_()
    optimiser = torch.optim.LBFGS([light], max_iter=25, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        now = replace(lit, light=light)
        total = torch.stack(
            [(render(now, p, s).colour - w).square().mean() for p, s, w in zip(pinholes, seen, wanted, strict=True)]
        ).sum()
        torch.autograd.backward(total)
        return total.detach()

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    assert float((light.detach() - truth).abs().max()) < 0.002


def test_light_is_told_from_a_plain_body() -> None:
    mesh = replace(ball(), texture=np.full((64, 64, 3), 128, np.uint8))
    scene, _, _ = scene_of(mesh)
    truth = white(scene.texture)
    truth[1:4] += torch.tensor([[0.20], [0.05], [-0.10]])
    index, normal = texel_normals(mesh)
    flat = torch.full((3, 64 * 64), 0.5, dtype=torch.float64)
    flat[:, index] *= irradiance(truth, torch.as_tensor(normal)).T
    appearance = flat.reshape(1, 3, 64, 64)
    found = separated(mesh, appearance)
    ratio = found.light / found.light[0]
    assert float((ratio[1:4] - truth[1:4]).abs().max()) < 0.03
    again = relit(mesh, appearance, found.light, index, normal)
    assert torch.allclose(again.albedo * again.shade, appearance)


def test_smooth_fields_go_where_they_are_pulled() -> None:
    _, shape, _ = scene_of(ball())
    field = SmoothField(shape.faces, shape.count, 8.0, torch.zeros(1, dtype=torch.float64))
    pull = torch.randn(shape.count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    smooth = field.smoothed(pull)
    # Smoothing keeps the mean, and is its own transpose.
    assert float(smooth.mean()) == pytest.approx(float(pull.mean()), abs=1e-12)
    assert float(smooth.std()) < 0.5 * float(pull.std())
    other = torch.linspace(-1, 1, shape.count, dtype=torch.float64)
    assert float((smooth * other).sum()) == pytest.approx(float((field.smoothed(other) * pull).sum()))
    for _ in range(200):
        torch.autograd.backward((field.values - 0.5).square().mean())
        field.descend(0.02)
    assert float((field.values - 0.5).abs().max().detach()) < 0.01


def test_outlines_shrink_a_body_that_is_too_large() -> None:
    """Without any depth: only outlines and colours say where the surface is."""
    mesh = ball()
    views = tuple(
        replace(view, range_view=replace(view.range_view, normal=np.zeros_like(view.range_view.normal)))
        for view in views_of(mesh)
    )
    large = replace(mesh, vertices=mesh.vertices * 1.025)
    scene, shape, places = scene_of(large, torch.float32)
    found = shaped(places, shape, scene, views, lit=separated(large, scene.texture), tolerance=1.0, report=Silence())
    _, truth = topology(mesh)
    rim = np.abs(places[:, 2]) < 0.05
    before = np.linalg.norm(places - truth, axis=1)[rim].mean()
    after = np.linalg.norm(found.vertices - truth, axis=1)[rim].mean()
    pixel = 2.5 / views[0].camera.fx_px
    assert before > 0.5 * pixel
    assert after < 0.2 * pixel


def test_cameras_that_are_off_come_back() -> None:
    """A body as wrong cameras have it, each part where the views that measured it put it."""
    mesh = ball()
    views = views_of(mesh, 96)
    scene, shape, places = scene_of(mesh, torch.float32)
    like, radius = scene.texture, float(np.linalg.norm(np.ptp(places, axis=0))) / 2
    errors = torch.zeros(6, 9)
    errors[0, 3], errors[2, 4], errors[4, 5], errors[1, 6] = 1.5, -1.2, 1.0, 0.8
    variables = ViewVariables(views, np.zeros(3), radius, like)
    tolerance = 8 * variables.pixel[0]
    riding = RidingSurface(Surface(places, shape.faces), views, tolerance, like)
    with torch.no_grad():
        variables.values.copy_(errors)
        wrong = riding.vertices(variables).double().numpy()
    off = variables.views()
    off_scene = replace(scene, vertices=torch.as_tensor(wrong, dtype=torch.float32))
    found = aligned(wrong, shape, off_scene, off, tolerance=tolerance, report=Silence())
    before, after = disagreements(off, places), disagreements(found.views, places)
    assert before > 0.4
    assert after < 0.3 * before
    true = Surface(places, shape.faces)
    assert misshapen(found.vertices, true) < 0.5 * misshapen(wrong, true)


def misshapen(vertices: Floats, true: Surface) -> float:
    """Root mean square distance of vertices from the true surface, where the world may be moved as a whole."""
    points, normals = true.vertices, true.vertex_normals()
    gap = ((vertices - points) * normals).sum(axis=1)
    free = np.column_stack([normals, np.cross(points, normals), (points * normals).sum(axis=1)])
    rest = gap - free @ np.linalg.lstsq(free, gap, rcond=None)[0]
    return float(np.sqrt((rest**2).mean()))


def disagreements(views: tuple[ColourView, ...], points: Floats) -> float:
    """Root mean square, in pixels, of how cameras project points, against the true ones, where the world may be moved as a whole."""
    moved, wanted, jacobian = [], [], []
    for view, true in zip(views, assumed_cameras(96, 96), strict=True):
        wanted.append(true.project(points[::10])[0].ravel())
        moved.append(view.camera.project(points[::10])[0].ravel())
        columns = []
        for axis in range(7):
            shift = np.zeros_like(points[::10])
            if axis < 3:
                shift[:, axis] = 1e-4
            elif axis < 6:
                shift = 1e-4 * np.cross(np.eye(3)[axis - 3], points[::10])
            else:
                shift = 1e-4 * points[::10]
            columns.append((view.camera.project(points[::10] + shift)[0].ravel() - moved[-1]) / 1e-4)
        jacobian.append(np.stack(columns, axis=1))
    gap, a = np.concatenate(wanted) - np.concatenate(moved), np.concatenate(jacobian)
    rest = gap - a @ np.linalg.lstsq(a, gap, rcond=None)[0]
    return float(np.sqrt((rest**2).mean()))


def off_by_a_pixel(views: tuple[ColourView, ...], mesh_middle: Floats, radius: float) -> tuple[ColourView, ...]:
    """Every camera wrong by about a pixel in every way."""
    variables = ViewVariables(views, mesh_middle, radius, torch.zeros(1))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        variables.values.copy_(torch.randn(len(views), 9, generator=generator))
        variables.values[:, 7:] = 0
    return variables.views()


def test_refinement_gains_and_keeps_the_surface() -> None:
    mesh = ball()
    views = views_of(mesh)
    pale = replace(mesh, texture=np.rint(cv2.blur(mesh.texture, (9, 9))).astype(np.uint8))
    found = refine(Reconstruction(pale, True, 1), views, BuiltinEngine(), tolerance_of(views), Silence())
    assert found.before.psnr == pytest.approx(quality.mean(quality.measure(pale, views)).psnr, abs=0.1)
    assert found.after.psnr > found.before.psnr + 1
    errors = np.linalg.norm(found.made.mesh.vertices - mesh.vertices, axis=1)
    assert errors.mean() < 0.1 * 2.5 / views[0].camera.fx_px
    again = quality.mean(quality.measure(found.made.mesh, found.views))
    assert again.psnr == pytest.approx(found.after.psnr, abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cameras_off_by_a_pixel_cost_no_quality(mug: Taken) -> None:
    exact = mug.sighting().views
    truth = mug.sample.shape.mesh()
    middle, radius = truth.bounds.mean(axis=0), float(np.linalg.norm(truth.extents)) / 2
    views = off_by_a_pixel(exact, middle, radius)
    start = BuiltinEngine().reconstruct(views, Silence())
    found = refine(start, views, BuiltinEngine(), tolerance_of(views), Silence())
    made = found.made
    assert found.after.psnr > found.before.psnr + 1
    assert found.after.ssim > found.before.ssim
    worse, better = (
        surface_errors(similarity_aligned(trimesh.Trimesh(m.vertices, m.faces, process=False), truth), truth, 20_000)
        for m in (start.mesh, made.mesh)
    )
    assert better.chamfer < worse.chamfer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_exact_cameras_lose_nothing(bracket: Taken) -> None:
    views = bracket.sighting().views
    start = BuiltinEngine().reconstruct(views, Silence())
    made = NvdiffrecEngine().reconstruct(views, Silence())
    assert made.views is not None
    assert made.closed
    before, after = (quality.mean(quality.measure(m.mesh, views)) for m in (start, made))
    assert after.psnr > before.psnr
    truth = bracket.sample.shape.mesh()
    first, second = (
        surface_errors(trimesh.Trimesh(m.vertices, m.faces, process=False), truth, 20_000)
        for m in (start.mesh, made.mesh)
    )
    assert second.chamfer < 1.05 * first.chamfer
