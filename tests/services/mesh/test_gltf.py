"""mesh.glb before the validator of those who wrote the glTF specification."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh

from services.mesh import atlas, export
from services.mesh.surface import Surface, TexturedMesh

VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
CHECK = """
const fs = require("fs");
const validator = require("gltf-validator");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then((report) => console.log(JSON.stringify(report.issues)));
"""


def mesh() -> TexturedMesh:
    ball = trimesh.creation.icosphere(subdivisions=3)
    surface = Surface(np.asarray(ball.vertices, np.float64), np.asarray(ball.faces, np.int32))
    unfolded = atlas.unfold(surface, 512)
    texture = np.random.default_rng(0).integers(0, 255, (768, 768, 3), np.uint8)
    return TexturedMesh(unfolded.vertices, unfolded.faces, unfolded.normals, unfolded.uv, texture)


@pytest.mark.slow
def test_the_khronos_validator_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    export.write(mesh(), tmp_path)
    subprocess.run([npm, "install", "--no-save", VALIDATOR], cwd=tmp_path, check=True, capture_output=True)
    said = subprocess.run(
        [node, "-e", CHECK, "mesh.glb"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    issues = json.loads(said)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
