"""Small collections of rendered photographs whose poses are known exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.photos import MANIFEST_NAME, PICTURES_FOLDER, Photo, PhotoManifest
from tests.services.sfm.textured_rooms import (
    TEXTURE_PX_PER_M,
    Pinhole,
    Rectangle,
    box_room,
    cast,
    looking,
    random_texture,
)

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]
CAMERA = Pinhole(640, 480, 610.0, 610.0, 320.0, 240.0)
OUTLIER = "outlier"
FINENESS = 0.4
"""Of the textures of a house, relative to those of rooms."""


@dataclass(frozen=True)
class Shot:
    """A picture, of which scene it is, and world_from_camera (4, 4); None for a picture of nothing else."""

    scene: str
    picture: Picture
    world_from_camera: Floats | None


def shoot(scene: str, faces: Sequence[Rectangle], poses: Sequence[Floats], camera: Pinhole = CAMERA) -> list[Shot]:
    return [Shot(scene, cast(faces, camera, pose)[0], pose) for pose in poses]


def room_shots(name: str, seed: int, count: int, camera: Pinhole = CAMERA) -> list[Shot]:
    """A room from its middle all around: every picture looks across at the wall opposite."""
    rng = np.random.default_rng(seed)
    poses = []
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        position = np.array([2.5 - 1.6 * np.cos(turn), 1.4, 2.0 - 1.2 * np.sin(turn)]) + rng.uniform(-0.15, 0.15, 3)
        target = np.array([2.5 + 2 * np.cos(turn), 1.2, 2.0 + 1.6 * np.sin(turn)]) + rng.uniform(-0.3, 0.3, 3)
        poses.append(looking(position.tolist(), target.tolist()))
    return shoot(name, box_room(seed=seed), poses, camera)


def outlier_shots(seed: int, count: int, camera: Pinhole = CAMERA) -> list[Shot]:
    """Pictures of walls that no other picture shows."""
    rng = np.random.default_rng([seed, 99])
    size_m = camera.width_px / TEXTURE_PX_PER_M, camera.height_px / TEXTURE_PX_PER_M
    blank = (camera.height_px, camera.width_px)
    return [
        Shot(OUTLIER, np.asarray(cv2.resize(random_texture(*size_m, rng), blank[::-1]), np.uint8), None)
        for _ in range(count)
    ]


def look_alike_house(seed: int) -> list[Rectangle]:
    """A house of 6 x 3 x 4 m on a square, whose front and back share their windows but not the rest of their wall."""
    rng = np.random.default_rng(seed)
    sx, sy, sz = 6.0, 3.0, 4.0
    windows = random_texture(0.9, 1.1, rng)
    walls = {side: random_texture(sx, sy, rng) for side in ("front", "back")}
    for texture in walls.values():
        for left_m in (0.9, 4.2):
            for top_m in (0.2, 1.7):
                x, y = round(left_m * TEXTURE_PX_PER_M), round(top_m * TEXTURE_PX_PER_M)
                texture[y : y + windows.shape[0], x : x + windows.shape[1]] = windows
    ground = random_texture(14.0, 12.0, rng)

    def face(origin: Sequence[float], u: Sequence[float], v: Sequence[float], texture: Picture) -> Rectangle:
        # As fine as a camera at the distance of `around_house` sees it, so that nothing aliases.
        seen = cv2.resize(texture, None, fx=FINENESS, fy=FINENESS, interpolation=cv2.INTER_AREA)
        return Rectangle(
            np.asarray(origin, float), np.asarray(u, float), np.asarray(v, float), np.asarray(seen, np.uint8)
        )

    return [
        face((0, sy, 0), (sx, 0, 0), (0, -sy, 0), walls["front"][:, ::-1].copy()),
        face((sx, sy, sz), (-sx, 0, 0), (0, -sy, 0), walls["back"][:, ::-1].copy()),
        face((0, sy, sz), (0, 0, -sz), (0, -sy, 0), random_texture(sz, sy, rng)),
        face((sx, sy, 0), (0, 0, sz), (0, -sy, 0), random_texture(sz, sy, rng)),
        face((-4, 0, -4), (14, 0, 0), (0, 0, 12), ground),
    ]


def around_house(count: int, *, distance_m: float = 5.5) -> list[Floats]:
    """Poses on a circle around the house, looking at its middle, from the front to the right first."""
    middle = np.array([3.0, 1.4, 2.0])
    poses = []
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        away = distance_m + 0.4 * np.cos(3 * turn)
        position = middle + away * np.array([np.sin(turn), 0.05, -np.cos(turn)])
        poses.append(looking(position.tolist(), middle.tolist()))
    return poses


def write_collection(
    folder: Path,
    shots: Sequence[Shot],
    *,
    focal_px: float | None = None,
    cameras: Sequence[str] | None = None,
) -> PhotoManifest:
    """A canonical collection as ingest would have made it, the shots in their order."""
    (folder / PICTURES_FOLDER).mkdir(parents=True)
    photos = []
    for number, shot in enumerate(shots):
        file = f"{PICTURES_FOLDER}/{number:06d}.jpg"
        cv2.imwrite(str(folder / file), shot.picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        height, width = shot.picture.shape[:2]
        grey = cv2.cvtColor(shot.picture, cv2.COLOR_RGB2GRAY)
        photos.append(
            Photo(
                name=f"{shot.scene} {number:04d}.jpg",
                file=file,
                width_px=width,
                height_px=height,
                camera="one" if cameras is None else cameras[number],
                focal_px=focal_px,
                sharpness=float(cv2.Laplacian(grey, cv2.CV_64F).var()),
                brightness=float(grey.mean()),
                contrast=float(grey.std()),
            )
        )
    manifest = PhotoManifest(photos=tuple(photos))
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return manifest
