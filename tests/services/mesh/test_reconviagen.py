"""ReconViaGen as far as it can be tried without its package, weights and a graphics card.

The package itself is stood in for by a module of its shape that gives back a mesh made here, in a frame of its own: this
proves what is ours, the hand-over and the placing, and nothing about the package.
"""

import importlib.machinery
import sys
import types

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from contracts.errors import ErrorCode, UserError
from contracts.progress import Silence
from services.mesh import quality
from services.mesh.builtin import BuiltinEngine
from services.mesh.placement import Similarity
from services.mesh.reconviagen import ReconViaGenEngine, cut_out, from_trimesh, missing, welded
from services.mesh.surface import TexturedMesh

AWAY = Similarity(3.0, Rotation.from_euler("xyz", [20, 160, -35], degrees=True).as_matrix(), np.array([0.5, -2.0, 1.0]))


@pytest.fixture(scope="module")
def views(mug):
    return mug.sighting().views


@pytest.fixture(scope="module")
def built(views) -> TexturedMesh:
    return BuiltinEngine().reconstruct(views, Silence()).mesh


def as_trimesh(mesh: TexturedMesh, transform: Similarity) -> trimesh.Trimesh:
    material = PBRMaterial(baseColorTexture=Image.fromarray(mesh.texture))
    return trimesh.Trimesh(
        transform.applied(mesh.vertices),
        mesh.faces,
        vertex_normals=mesh.normals @ transform.rotation.T,
        visual=TextureVisuals(uv=mesh.uv, material=material),
        process=False,
    )


@pytest.fixture
def package(monkeypatch, built):
    """Modules of the package's names and calls."""
    seen: list[Image.Image] = []

    class Pipeline:
        @staticmethod
        def from_pretrained(path: str) -> "Pipeline":
            assert path == "weights"
            return Pipeline()

        def preprocess_image(self, image: Image.Image) -> Image.Image:
            return image.resize((518, 518))

        def run(self, image, seed, formats, preprocess_image, mode, **samplers):
            assert not preprocess_image
            assert set(samplers) == {"sparse_structure_sampler_params", "slat_sampler_params"}
            seen.extend(image)
            return {name: [name] for name in formats}, None, None

    def to_glb(gaussian, mesh, simplify, texture_size, verbose):
        assert (gaussian, mesh) == ("gaussian", "mesh")
        return as_trimesh(built, AWAY)

    modules = {
        "torch": {"device": lambda name: name, "cuda": types.SimpleNamespace(is_available=lambda: True)},
        "trellis": {},
        "trellis.pipelines": {"TrellisVGGTTo3DPipeline": Pipeline},
        "trellis.utils": {},
        "trellis.utils.postprocessing_utils": {"to_glb": to_glb},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def test_the_generated_mesh_is_placed_before_it_is_scored(package, views, built) -> None:
    made = ReconViaGenEngine("weights").reconstruct(views, Silence())
    assert len(package) == 6
    diagonal = np.linalg.norm(np.ptp(built.vertices, axis=0))
    assert np.linalg.norm(made.mesh.vertices - built.vertices, axis=1).max() < 0.01 * diagonal
    scored = quality.mean(quality.measure(made.mesh, views)).psnr
    assert scored > quality.mean(quality.measure(built, views)).psnr - 3


def test_pictures_are_cut_out_by_their_depth(views) -> None:
    for view in views:
        alpha = np.asarray(cut_out(view))[..., 3] > 127
        covered = view.range_view.covered
        assert alpha.shape == covered.shape
        assert (alpha != covered).mean() < 0.002


def test_a_mesh_without_texture_is_refused() -> None:
    with pytest.raises(UserError) as refused:
        from_trimesh(trimesh.creation.box())
    assert refused.value.code is ErrorCode.MODEL_CONVERGENCE_FAILED


def test_what_is_missing_is_named(tmp_path, package, monkeypatch) -> None:
    (tmp_path / "pipeline.json").write_text("{}")
    assert missing(str(tmp_path)) is None
    assert "weights" in str(missing(str(tmp_path / "elsewhere")))
    monkeypatch.setattr(sys.modules["torch"].cuda, "is_available", lambda: False)
    assert "graphics card" in str(missing(str(tmp_path)))
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "PyTorch" in str(missing(str(tmp_path)))


def test_seams_of_the_texture_are_no_edges(built) -> None:
    surface = welded(built)
    assert len(surface.vertices) < len(built.vertices)
    assert len(surface.faces) <= len(built.faces)
