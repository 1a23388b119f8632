"""The mesh as files: GLB with a PBR material and its texture inside, OBJ with MTL, PLY, and the texture as PNG."""

from pathlib import Path

import cv2
import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange import gltf
from trimesh.exchange.ply import export_ply
from trimesh.visual.material import PBRMaterial

from services.mesh.surface import TexturedMesh

GLB_NAME, OBJ_NAME, MTL_NAME, PLY_NAME, TEXTURE_NAME = "mesh.glb", "mesh.obj", "mesh.mtl", "mesh.ply", "texture.png"
_MATERIAL = "material_0"
_ROUGHNESS = 0.9


def write(mesh: TexturedMesh, folder: Path) -> None:
    """Write mesh.glb, mesh.obj, mesh.mtl, mesh.ply and texture.png into `folder`."""
    texture = mesh.texture[..., ::-1]
    ok, png = cv2.imencode(".png", texture, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert ok
    (folder / TEXTURE_NAME).write_bytes(png.tobytes())
    # The file, and not the array: so the same bytes go into the GLB and are not packed a second time.
    with Image.open(folder / TEXTURE_NAME) as image:
        image.load()
        _write_glb(mesh, image, folder / GLB_NAME)
    _write_obj(mesh, folder)
    _write_ply(mesh, folder / PLY_NAME)


def _write_glb(mesh: TexturedMesh, texture: Image.Image, path: Path) -> None:
    material = PBRMaterial(  # type: ignore[no-untyped-call]
        name=_MATERIAL,
        baseColorTexture=texture,
        baseColorFactor=[255, 255, 255, 255],
        metallicFactor=0.0,
        roughnessFactor=_ROUGHNESS,
        doubleSided=False,
    )
    visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)  # type: ignore[no-untyped-call]
    shown = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        visual=visual,
        process=False,
    )
    scene = trimesh.Scene()
    scene.add_geometry(shown, node_name="mesh", geom_name="mesh")
    path.write_bytes(gltf.export_glb(scene, include_normals=True))  # type: ignore[no-untyped-call]


def _write_obj(mesh: TexturedMesh, folder: Path) -> None:
    folder.joinpath(MTL_NAME).write_text(
        f"newmtl {_MATERIAL}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {TEXTURE_NAME}\n", encoding="ascii"
    )
    lines = [f"mtllib {MTL_NAME}", "o mesh"]
    lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u:.7f} {v:.7f}" for u, v in mesh.uv.tolist()]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.normals.tolist()]
    lines.append(f"usemtl {_MATERIAL}")
    lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in (mesh.faces + 1).tolist()]
    folder.joinpath(OBJ_NAME).write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_ply(mesh: TexturedMesh, path: Path) -> None:
    """With a colour for every vertex, for programs that know no textures."""
    height, width = mesh.texture.shape[:2]
    column = np.clip((mesh.uv[:, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip(((1 - mesh.uv[:, 1]) * height).astype(np.int64), 0, height - 1)
    coloured = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        vertex_colors=mesh.texture[row, column],
        process=False,
    )
    path.write_bytes(export_ply(coloured))
