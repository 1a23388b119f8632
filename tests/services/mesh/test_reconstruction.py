"""The built-in reconstruction against exact truth, part by part and whole."""

from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from pygltflib import GLTF2
from trimesh.visual import TextureVisuals

from contracts.object_settings import ModelType, ObjectSettings
from contracts.progress import Silence
from samples.evaluate_object import surface_errors
from services.mesh import cleaning, fusion, pipeline, quality
from services.mesh.atlas import creased
from services.mesh.carving import unseen_boundary
from services.mesh.quality import Quality
from services.mesh.surface import Surface
from tests.services.mesh.conftest import Taken

FILES = {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.ply", "texture.png", "quality.json"} | {
    f"preview_{kind}_{i}.png" for kind in ("textured", "wireframe") for i in range(6)
}


@pytest.fixture(scope="module")
def result(bracket: Taken, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("result")
    task: dict[str, object] = {
        "job_id": "k3m8xq2p",
        "created_at": datetime(2026, 1, 31, tzinfo=UTC),
        "settings": ObjectSettings(model_type=ModelType.RECONVIAGEN, cameras=bracket.cameras),
        "views": bracket.folder,
        "out": out,
    }
    said = pipeline.run(task, Silence())
    assert said == {"statuses": {"reconviagen": "normal"}}
    return out / "reconviagen"


def test_every_documented_file_is_there(result: Path) -> None:
    assert {path.name for path in result.iterdir()} == FILES
    assert (result.parent / "README.txt").stat().st_size > 200


def test_the_surface_is_the_objects(result: Path, bracket: Taken) -> None:
    mesh = trimesh.load_mesh(result / "mesh.glb", process=False)
    errors = surface_errors(mesh, bracket.sample.shape.mesh(), samples=20_000)
    assert errors.chamfer < 0.0015
    assert errors.f_score > 0.98


def test_holes_go_through(result: Path, bracket: Taken) -> None:
    split = trimesh.load_mesh(result / "mesh.ply", process=False)
    mesh = trimesh.Trimesh(split.vertices, split.faces)
    truth = bracket.sample.shape.mesh()
    assert mesh.is_watertight
    assert mesh.euler_number == truth.euler_number == 2 - 2 * 4
    assert mesh.volume == pytest.approx(truth.volume, rel=0.01)


def test_glb_has_texture_normals_and_a_pbr_material(result: Path) -> None:
    stored = GLTF2().load(str(result / "mesh.glb"))
    assert stored is not None
    attributes = stored.meshes[0].primitives[0].attributes
    assert attributes.NORMAL is not None
    assert attributes.TEXCOORD_0 is not None
    material = stored.materials[0].pbrMetallicRoughness
    assert material.baseColorTexture is not None
    assert material.metallicFactor == 0
    mesh = trimesh.load_mesh(result / "mesh.glb", process=False)
    assert isinstance(mesh.visual, TextureVisuals)
    assert mesh.visual.uv.min() >= 0
    assert mesh.visual.uv.max() <= 1


def test_obj_and_glb_are_one_mesh(result: Path) -> None:
    glb = trimesh.load_mesh(result / "mesh.glb", process=False)
    obj = trimesh.load_mesh(result / "mesh.obj", process=False)
    assert obj.bounds == pytest.approx(glb.bounds, abs=1e-5)
    assert len(obj.faces) == len(glb.faces)
    assert obj.visual.material.image.size == glb.visual.material.baseColorTexture.size


def test_quality_says_what_is_true(result: Path) -> None:
    said = Quality.model_validate_json((result / "quality.json").read_bytes())
    assert (said.job_id, said.model, said.engine) == ("k3m8xq2p", "reconviagen", "builtin-depth-fusion")
    assert said.status == "normal"
    assert said.metrics.psnr > 30
    assert said.metrics.ssim > 0.95
    assert said.metrics.depth_mae < 0.002
    assert said.cameras.source == "given"
    assert said.metadata.num_views == 6


def test_previews_show_the_object_and_not_its_mirror_image(result: Path, bracket: Taken) -> None:
    for i in range(6):
        preview = cv2.imread(str(result / f"preview_textured_{i}.png"))
        view = cv2.imread(str(bracket.folder / f"view_{i}.png"))
        assert preview is not None
        assert view is not None
        small = cv2.resize(preview, view.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert cv2.PSNR(small, view) > 25
        assert cv2.PSNR(np.ascontiguousarray(small[:, ::-1]), view) < 20 or i in (2, 3)


def test_carving_marks_what_nobody_saw(mug: Taken) -> None:
    ranges = tuple(view.range_view for view in mug.sighting().views)
    seen = fusion.seen_points(ranges)
    unseen = unseen_boundary(ranges, seen.points)
    assert 0 < len(unseen) < 0.2 * len(seen)
    # The inside of the mug, under the rim, is the most of it: within the walls' outline.
    assert np.abs(unseen.points).max() < 0.43
    assert np.linalg.norm(unseen.normals, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_floating_speck_is_removed(bracket: Taken) -> None:
    ranges = tuple(view.range_view for view in bracket.sighting().views)
    truth = bracket.sample.shape.mesh().subdivide().subdivide().subdivide()
    speck = trimesh.creation.icosphere(subdivisions=2, radius=0.01)
    speck.vertices += (0.3, 0.3, 0.2)
    both = trimesh.util.concatenate([truth, speck])
    surface = Surface(np.asarray(both.vertices, np.float64), np.asarray(both.faces, np.int32))
    kept = cleaning.supported_bodies(surface, ranges, 0.01)
    assert len(kept.faces) == len(truth.faces)


def test_decimation_keeps_flat_faces_flat_and_the_mesh_closed() -> None:
    box = trimesh.creation.box((1, 0.7, 0.5))
    for _ in range(5):
        box = box.subdivide()
    surface = cleaning.decimated(Surface(np.asarray(box.vertices), np.asarray(box.faces, np.int32)), 1000)
    assert len(surface.faces) <= 1000
    assert cleaning.open_or_shared_edges(surface) == 0
    mesh = trimesh.Trimesh(surface.vertices, surface.faces)
    assert mesh.volume == pytest.approx(0.35, rel=1e-4)


def test_an_open_mesh_is_called_open() -> None:
    box = trimesh.creation.box((1, 1, 1))
    surface = Surface(np.asarray(box.vertices), np.asarray(box.faces[:-1], np.int32))
    assert cleaning.open_or_shared_edges(surface) == 3


def test_every_normal_has_a_direction_even_where_faces_have_no_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0]], np.float64)
    _, _, normals = creased(Surface(vertices, np.array([[0, 1, 2], [0, 3, 1]], np.int32)))
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1)


def test_creases_stay_sharp_and_round_parts_smooth() -> None:
    box = trimesh.creation.box((1, 1, 1))
    vertices, faces, normals = creased(Surface(np.asarray(box.vertices), np.asarray(box.faces, np.int32)))
    assert len(vertices) == 24
    assert np.abs(normals).max(axis=1) == pytest.approx(np.ones(24))
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces, normals = creased(Surface(np.asarray(ball.vertices), np.asarray(ball.faces, np.int32)))
    assert len(vertices) == len(ball.vertices)
    assert len(faces) == len(ball.faces)


@pytest.mark.parametrize(
    ("psnr", "ssim", "status"),
    [
        (25, 0.85, "normal"),
        (24.9, 0.9, "warning"),
        (30, 0.84, "warning"),
        (19.9, 0.9, "failure"),
        (30, 0.74, "failure"),
    ],
)
def test_thresholds_are_the_documented_ones(psnr: float, ssim: float, status: str) -> None:
    assert quality.status_of(psnr, ssim) == status


def test_psnr_and_ssim_of_known_pictures() -> None:
    image = np.full((64, 64, 3), 0.5, np.float32)
    assert quality.psnr(image, image + np.float32(0.1)) == pytest.approx(20, abs=1e-3)
    assert quality.ssim(image, image) == pytest.approx(1)
    noise = np.random.default_rng(0).uniform(0, 1, (64, 64, 3)).astype(np.float32)
    assert quality.ssim(noise, 1 - noise) < 0
