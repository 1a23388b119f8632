"""ReconViaGen (Chang et al., "ReconViaGen: Towards Accurate Multi-view 3D Object Reconstruction via Generation", arXiv 2510.23306).

The package, MIT, is the user's to install: a clone of its repository with its own requirements on the Python path, its weights in the
hub's cache or in a folder (docs/objects.md says how), and a graphics card with some 16 GB. Nothing of it is part of this project.
It takes pictures only and makes a mesh in a frame of its own, which is then placed among the views.
"""

import importlib
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.visual import TextureVisuals

from contracts.errors import ErrorCode, UserError
from contracts.progress import Reporter
from services.mesh.cleaning import open_or_shared_edges, without_degenerate
from services.mesh.engine import Reconstruction
from services.mesh.placement import placed
from services.mesh.surface import Surface, TexturedMesh
from services.mesh.texture import ColourView

NAME = "reconviagen"
WEIGHTS = "Stable-X/trellis-vggt-v0-2"
_WEIGHTS_ENTRY = "pipeline.json"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SEED = 1
_SIMPLIFY, _TEXTURE_PX = 0.95, 1024
_STRUCTURE = {"steps": 30, "cfg_strength": 7.5, "cfg_interval": [0.6, 1.0], "guidance_rescale": 0.7, "rescale_t": 5.0}
_LATENT = {"steps": 12, "cfg_strength": 7.5, "cfg_interval": [0.6, 1.0], "guidance_rescale": 0.5, "rescale_t": 3.0}


class Generator(Protocol):
    """What is used of the package's pipeline."""

    def preprocess_image(self, image: Image.Image) -> Image.Image:
        """Cropped to the object by its alpha."""

    def run(  # noqa: PLR0917
        self,
        image: list[Image.Image],
        seed: int,
        formats: list[str],
        preprocess_image: bool,
        sparse_structure_sampler_params: Mapping[str, object],
        slat_sampler_params: Mapping[str, object],
        mode: str,
    ) -> tuple[Mapping[str, Sequence[object]], object, object]:
        """Gaussians and meshes, by format."""


def missing(weights: str = WEIGHTS) -> str | None:
    """Why ReconViaGen cannot run on this worker, as a sentence; None if it can. Loads no weights."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed."
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return "There is no graphics card that PyTorch can use."
    if importlib.util.find_spec("trellis") is None:
        return "The package of ReconViaGen (trellis) is not on the Python path."
    if not _has_weights(weights):
        return f"The weights {weights} are neither a folder nor in the hub's cache."
    return None


def _has_weights(weights: str) -> bool:
    if (Path(weights) / _WEIGHTS_ENTRY).is_file():
        return True
    if _HUB_NAME.fullmatch(weights) is None or importlib.util.find_spec("huggingface_hub") is None:
        return False
    hub = importlib.import_module("huggingface_hub")
    return isinstance(hub.try_to_load_from_cache(weights, _WEIGHTS_ENTRY), str)


class ReconViaGenEngine:
    """Runs the package as its own demo does, without refinement."""

    def __init__(self, weights: str = WEIGHTS) -> None:
        self._weights = weights

    @property
    def name(self) -> str:
        return NAME

    def reconstruct(self, views: tuple[ColourView, ...], report: Reporter) -> Reconstruction:
        """Raises UserError if the package makes no mesh of the views; torch's own error where the card's memory ends."""
        report.step("fusing_depth")
        report.log(f"ReconViaGen: loading {self._weights}")
        generator = self._load()
        pictures = [generator.preprocess_image(cut_out(view)) for view in views]
        outputs, _, _ = generator.run(
            image=pictures,
            seed=_SEED,
            formats=["gaussian", "mesh"],
            preprocess_image=False,
            sparse_structure_sampler_params=_STRUCTURE,
            slat_sampler_params=_LATENT,
            mode="multidiffusion",
        )
        report.step("unwrapping_mesh")
        baking = importlib.import_module("trellis.utils.postprocessing_utils")
        generated = baking.to_glb(
            outputs["gaussian"][0], outputs["mesh"][0], simplify=_SIMPLIFY, texture_size=_TEXTURE_PX, verbose=False
        )
        report.step("texturing_mesh")
        mesh = placed(from_trimesh(generated), views)
        surface = welded(mesh)
        bodies, _ = surface.bodies()
        return Reconstruction(mesh, open_or_shared_edges(surface) == 0, bodies)

    def _load(self) -> Generator:
        # Read by the package at its import; its other choice tries every algorithm at every start.
        os.environ.setdefault("SPCONV_ALGO", "native")
        torch = importlib.import_module("torch")
        generator = importlib.import_module("trellis.pipelines").TrellisVGGTTo3DPipeline.from_pretrained(self._weights)
        generator._device = torch.device("cuda")
        generator.low_vram = True
        loaded: Generator = generator
        return loaded


def cut_out(view: ColourView) -> Image.Image:
    """The picture as RGBA, transparent where its depth shows nothing."""
    height, width = view.colour.shape[:2]
    alpha = Image.fromarray(view.range_view.covered.astype(np.uint8) * 255).resize((width, height))
    picture = Image.fromarray(np.rint(view.colour * 255).astype(np.uint8)).convert("RGBA")
    picture.putalpha(alpha)
    return picture


def from_trimesh(generated: trimesh.Trimesh) -> TexturedMesh:
    """Raises UserError for a mesh without faces or without a texture."""
    visual = generated.visual
    picture = getattr(visual.material, "baseColorTexture", None) if isinstance(visual, TextureVisuals) else None
    if len(generated.faces) == 0 or not isinstance(visual, TextureVisuals) or picture is None:
        raise UserError(
            ErrorCode.MODEL_CONVERGENCE_FAILED,
            "ReconViaGen made no textured mesh of these views. Try higher-quality or better-lit pictures.",
            field="views",
        )
    texture: NDArray[np.uint8] = np.asarray(picture.convert("RGB"), np.uint8)
    return TexturedMesh(
        vertices=np.asarray(generated.vertices, np.float64),
        faces=np.asarray(generated.faces, np.int32),
        normals=np.asarray(generated.vertex_normals, np.float64),
        uv=np.asarray(visual.uv, np.float64),
        texture=texture,
    )


def welded(mesh: TexturedMesh) -> Surface:
    """The surface without the seams of its texture: vertices at one place are one."""
    step = 1e-6 * max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-12)
    _, first, index = np.unique(np.rint(mesh.vertices / step), axis=0, return_index=True, return_inverse=True)
    return without_degenerate(Surface(mesh.vertices[first], index.reshape(-1)[mesh.faces].astype(np.int32)))
