"""Pictures of the result for people: textured, and as a wireframe, from all six cameras."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.progress import Reporter
from services.mesh.rendering import Caster, Hits, looked_up
from services.mesh.rig import Camera
from services.mesh.surface import Floats, TexturedMesh

PREVIEW_PX = 640
_SUPERSAMPLING = 2
_LINE_PX = 0.7
_INK = np.array([0.13, 0.20, 0.30])
_PAPER = np.array([0.93, 0.95, 0.97])


def write(mesh: TexturedMesh, cameras: tuple[Camera, ...], folder: Path, report: Reporter) -> None:
    """Write preview_textured_i.png and preview_wireframe_i.png for camera i."""
    caster = Caster(mesh.vertices, mesh.faces)
    texture = mesh.texture.astype(np.float32) / np.float32(255)
    for i, camera in enumerate(cameras):
        size = PREVIEW_PX * _SUPERSAMPLING
        large = camera.resized(size, max(1, round(size * camera.height_px / camera.width_px)))
        everywhere = caster.through(large, large.centres().reshape(-1, 2))
        hit = np.flatnonzero(everywhere.face >= 0)
        hits = Hits(everywhere.face[hit], everywhere.weight[hit], everywhere.depth[hit])
        colour = looked_up(texture, hits.mixed(mesh.faces, mesh.uv))
        _save(colour, hit, large, folder / f"preview_textured_{i}.png")
        _save(_wireframe(mesh, large, hits).astype(np.float32), hit, large, folder / f"preview_wireframe_{i}.png")
        report.progress(i + 1, len(cameras), "Previews")


def _wireframe(mesh: TexturedMesh, camera: Camera, hits: Hits) -> Floats:
    """Edges of the faces that one sees, over soft shading: (n, 3)."""
    corner = mesh.vertices[mesh.faces[np.maximum(hits.face, 0)]]
    pixels = np.stack([camera.project(corner[:, k])[0] for k in range(3)], axis=1)
    b, c = hits.weight[:, 0].astype(np.float64), hits.weight[:, 1].astype(np.float64)
    barycentric = np.stack([1 - b - c, b, c], axis=1)
    doubled = np.abs(_cross(pixels[:, 1] - pixels[:, 0], pixels[:, 2] - pixels[:, 0]))
    nearest = np.full(len(b), np.inf)
    for k in range(3):
        edge = pixels[:, (k + 2) % 3] - pixels[:, (k + 1) % 3]
        nearest = np.minimum(nearest, barycentric[:, k] * doubled / np.maximum(np.linalg.norm(edge, axis=1), 1e-9))
    line = np.clip(_LINE_PX - nearest + 0.5, 0, 1)[:, None]
    normal = hits.mixed(mesh.faces, mesh.normals)
    towards = -camera.camera_from_world[2, :3]
    shade = 0.75 + 0.25 * np.clip(normal @ towards, 0, 1)[:, None]
    return np.asarray(_PAPER * shade * (1 - line) + _INK * line, np.float64)


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.float64)


def _save(colour: NDArray[np.float32], hit: NDArray[np.int64], camera: Camera, path: Path) -> None:
    """Colours (n, 3) of the pixels that were hit, on white, made smaller."""
    image = np.ones((camera.height_px * camera.width_px, 3), np.float32)
    image[hit] = colour
    whole = image.reshape(camera.height_px, camera.width_px, 3)
    share = 1 / _SUPERSAMPLING
    small = cv2.resize(whole, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    ok, png = cv2.imencode(".png", np.rint(small[..., ::-1] * 255).astype(np.uint8))
    assert ok
    path.write_bytes(png.tobytes())
