"""A mesh in a frame of its own finds its place among the views."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from contracts.progress import Silence
from services.mesh.builtin import BuiltinEngine
from services.mesh.placement import Similarity, placed, placement
from services.mesh.surface import TexturedMesh
from services.mesh.texture import ColourView


@pytest.fixture(scope="module")
def reconstructed(mug) -> tuple[TexturedMesh, tuple[ColourView, ...]]:
    views = mug.sighting().views
    return BuiltinEngine().reconstruct(views, Silence()).mesh, views


def moved(mesh: TexturedMesh, transform: Similarity) -> TexturedMesh:
    return replace(mesh, vertices=transform.applied(mesh.vertices), normals=mesh.normals @ transform.rotation.T)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_any_similarity_is_undone(reconstructed, seed: int) -> None:
    mesh, views = reconstructed
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix()
    away = Similarity(float(rng.uniform(0.2, 8)), rotation, rng.normal(size=3))
    back = placement(moved(mesh, away), views)
    assert back.scale * away.scale == pytest.approx(1, abs=0.005)
    off = Rotation.from_matrix(back.rotation @ away.rotation).magnitude()
    assert np.degrees(off) < 0.5
    error = np.linalg.norm(back.applied(away.applied(mesh.vertices)) - mesh.vertices, axis=1)
    assert error.max() < 0.01 * np.linalg.norm(np.ptp(mesh.vertices, axis=0))


def test_normals_turn_with_the_mesh(reconstructed) -> None:
    mesh, views = reconstructed
    rotation = Rotation.from_euler("xyz", [40, -70, 110], degrees=True).as_matrix()
    back = placed(moved(mesh, Similarity(2.0, rotation, np.array([1.0, 2.0, 3.0]))), views)
    assert np.degrees(np.arccos(np.clip((back.normals * mesh.normals).sum(axis=1), -1, 1))).max() < 0.5


def test_a_mesh_that_lacks_a_part_is_placed_by_the_rest(reconstructed) -> None:
    mesh, views = reconstructed
    height = mesh.vertices[mesh.faces].mean(axis=1)[:, 1]
    cut = replace(mesh, faces=mesh.faces[height > np.quantile(height, 0.06)])
    away = Similarity(0.5, Rotation.from_euler("y", 130, degrees=True).as_matrix(), np.array([0.3, 0.0, -1.0]))
    back = placement(moved(cut, away), views)
    error = np.linalg.norm(back.applied(away.applied(mesh.vertices)) - mesh.vertices, axis=1)
    assert error.max() < 0.02 * np.linalg.norm(np.ptp(mesh.vertices, axis=0))
