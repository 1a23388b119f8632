"""The model `nvdiffrec`: the built-in reconstruction, refined through a differentiable renderer. On a GPU where there is one."""

from dataclasses import replace

from contracts.progress import Reporter
from services.mesh.builtin import BuiltinEngine, tolerance_of
from services.mesh.engine import Reconstruction
from services.mesh.texture import ColourView

NAME = "builtin-differentiable-refinement"


class NvdiffrecEngine:
    """Fused depth, unfolded and textured; then cameras, surface, texture and light by optimisation."""

    @property
    def name(self) -> str:
        return NAME

    def reconstruct(self, views: tuple[ColourView, ...], report: Reporter) -> Reconstruction:
        """With the views as the refinement left their cameras and depth.

        Raises UserError if no surface agrees with the views, torch.OutOfMemoryError if the GPU has too little memory.
        """
        # Torch takes seconds and 300 MB: only who asks for this model pays.
        from services.mesh.refinement import refine  # noqa: PLC0415

        engine = BuiltinEngine()
        start = engine.reconstruct(views, report)
        report.step("refining")
        refined = refine(start, views, engine, tolerance_of(views), report)
        return replace(refined.made, views=refined.views)
