"""The built-in reconstruction: fused depth, unfolded and textured. Needs no GPU and no weights."""

import math

import numpy as np

from contracts.progress import Reporter
from services.mesh import atlas, cleaning, fusion, texture
from services.mesh.engine import Reconstruction
from services.mesh.surface import Surface
from services.mesh.texture import ColourView

NAME = "builtin-depth-fusion"
_TEXELS_PER_PIXEL = 1.25
"""Along each axis: enough that the texture loses nothing of the pictures."""
_TEXTURE_STEP_PX = 256
"""Sides are a multiple of it: eight levels of a mipmap halve exactly, and a power of two can cost four times the memory."""
_SMALLEST_TEXTURE_PX, _LARGEST_TEXTURE_PX = 512, 4096


class BuiltinEngine:
    """Screened Poisson, quadric decimation, xatlas, weighted views."""

    @property
    def name(self) -> str:
        return NAME

    def reconstruct(self, views: tuple[ColourView, ...], report: Reporter) -> Reconstruction:
        """Raises UserError if no surface agrees with the views."""
        ranges = tuple(view.range_view for view in views)
        report.step("fusing_depth")
        fused = fusion.fuse(ranges)
        report.log(f"Fused six depth maps: {len(fused.faces):,} faces")
        report.step("cleaning_mesh")
        surface = simplified(fused, views)
        bodies, _ = surface.bodies()
        closed = cleaning.open_or_shared_edges(surface) == 0
        report.log(f"Mesh: {len(surface.faces):,} faces, {bodies} bodies, {'closed' if closed else 'not closed'}")
        report.step("unwrapping_mesh")
        unfolded = atlas.unfold(surface, texture_size(surface, views))
        report.step("texturing_mesh")
        mesh = texture.bake(unfolded, views, tolerance_of(views))
        report.log(f"Texture: {unfolded.texture_px} x {unfolded.texture_px}")
        return Reconstruction(mesh, closed, bodies)


def simplified(fused: Surface, views: tuple[ColourView, ...]) -> Surface:
    """Specks away, decimated, and once more moved onto the measurements."""
    ranges = tuple(view.range_view for view in views)
    tolerance = tolerance_of(views)
    kept = cleaning.supported_bodies(fused, ranges, tolerance)
    small = cleaning.decimated(kept, cleaning.FACE_BUDGET)
    return fusion.moved_onto_depth(small, ranges, tolerance)


def tolerance_of(views: tuple[ColourView, ...]) -> float:
    """How far mesh and measurement may be apart and still be the same surface: two pixels and a step of the depth scale."""
    pixels = [float(np.median(v.range_view.pixel_size()[v.range_view.covered])) for v in views]
    return 2 * float(np.median(pixels)) + float(np.max([view.range_view.step for view in views]))


def texture_size(surface: Surface, views: tuple[ColourView, ...]) -> int:
    """Side of the texture in texels for the surface's area and the pictures' resolution."""
    area = float(np.linalg.norm(surface.face_normals(), axis=1).sum()) / 2
    pixels = []
    for view in views:
        ratio = view.range_view.camera.width_px / view.colour.shape[1]
        pixels.append(float(np.median(view.range_view.pixel_size()[view.range_view.covered])) * ratio)
    # Charts fill about two thirds of a texture.
    wanted = np.sqrt(1.5 * area) / float(np.median(pixels)) * _TEXELS_PER_PIXEL
    side = _TEXTURE_STEP_PX * math.ceil(wanted / _TEXTURE_STEP_PX)
    return int(np.clip(side, _SMALLEST_TEXTURE_PX, _LARGEST_TEXTURE_PX))
