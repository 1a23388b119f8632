"""The exact truth of a capture, and how it is stored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.model import Frozen
from samples.plan import Opening, Room, Slab, Wall
from samples.render import Camera, RayCaster, exact_depth
from samples.surfaces import Floats, Patches

Matrix4 = tuple[
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
    tuple[float, float, float, float],
]


class FrameTruth(Frozen):
    """One picture. Pixel centres at +0.5; OpenCV camera axes; `world` is what an error-free phone would have used."""

    source_index: int
    """Row of odometry.csv and index in the video, from 0."""
    name: str
    """Name of the picture where every frame of the video is used."""
    timestamp_s: float
    """As in odometry.csv."""
    picture_time_s: float
    """When the middle of the exposure really was, on the same clock; `world_from_camera` holds then."""
    world_from_camera: Matrix4
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    exposure_s: float
    exposure_gain: float

    def pose(self) -> Floats:
        """world_from_camera (4, 4) float64."""
        return np.array(self.world_from_camera, np.float64)


class CaptureTruth(Frozen):
    """All that is known about a capture. Walls, openings, rooms and slabs are in the building frame."""

    seed: int
    width_px: int
    height_px: int
    fps: float
    picture_delay_s: float
    capture_from_building: Matrix4
    frames: tuple[FrameTruth, ...]
    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    openings: tuple[Opening, ...]
    slabs: tuple[Slab, ...]

    def camera(self, index: int) -> Camera:
        """Intrinsics of picture `index`."""
        frame = self.frames[index]
        return Camera(self.width_px, self.height_px, frame.fx_px, frame.fy_px, frame.cx_px, frame.cy_px)

    def building_from_camera(self, index: int) -> Floats:
        """Pose of picture `index` in the building, (4, 4) float64."""
        return np.linalg.inv(np.array(self.capture_from_building)) @ self.frames[index].pose()


def save_truth(truth: CaptureTruth, path: Path) -> None:
    path.write_text(truth.model_dump_json(indent=1), encoding="utf-8")


def load_truth(path: Path) -> CaptureTruth:
    """Reads truth.json."""
    return CaptureTruth.model_validate_json(path.read_bytes())


def save_mesh(patches: Patches, path: Path) -> None:
    """triangles: (m, 3, 3) float64 metres in the building frame; structure: (m,) bool, walls, floors and ceilings."""
    triangles, patch = patches.triangles()
    np.savez_compressed(path, triangles=triangles, structure=patches.structure[patch])


def load_mesh(path: Path) -> tuple[Floats, NDArray[np.bool_]]:
    """The triangles (m, 3, 3) float64 and which of them belong to the building itself."""
    with np.load(path) as stored:
        return stored["triangles"], stored["structure"]


def frame_depth(truth: CaptureTruth, caster: RayCaster, index: int, width_px: int, height_px: int) -> Floats:
    """Exact depth of picture `index` in a grid of width x height: (height, width) float64 metres, 0 = nothing there."""
    camera = truth.camera(index).resized(width_px, height_px)
    return exact_depth(caster, camera, truth.building_from_camera(index))
