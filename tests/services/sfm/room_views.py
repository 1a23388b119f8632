"""Four pictures of one textured room whose every pixel's place on the walls is known.

0 and 1 see the same wall from places 45 cm apart. 2 is 0 rolled by `ROLL_DEG` about its optical axis, from the same place:
their pictures are a homography of each other. 3 looks at the opposite wall and shares nothing with the others.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.captures import CaptureManifest
from tests.services.sfm.textured_rooms import Pinhole, Rectangle, box_room, looking, write_capture

Floats = NDArray[np.float64]
CAMERA = Pinhole(480, 360, 370.0, 372.5, 243.0, 177.5)
ROLL_DEG = 25.0
CONF = CaptureSettings(
    feature_type=FeatureType.SIFT, matcher_type=MatcherType.NEAREST, max_keypoints=3000, num_threads=1
)
"""What this worker has, on one core: always the same result."""


@dataclass(frozen=True)
class RoomViews:
    capture: Path
    features: Path
    """The folder that the features step wrote."""
    manifest: CaptureManifest
    scene: tuple[Rectangle, ...]
    world_from_camera: tuple[Floats, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(frame.name for frame in self.manifest.frames)

    def carried(self, first: int, second: int, pixels: Floats) -> Floats:
        """Where what lies at `pixels` (n, 2) of picture `first` is in picture `second`; NaN behind the camera."""
        pose = self.world_from_camera[second]
        local = (self._on_walls(first, pixels) - pose[:3, 3]) @ pose[:3, :3]
        local[local[:, 2] <= 0] = np.nan
        focal, middle = (CAMERA.fx_px, CAMERA.fy_px), (CAMERA.cx_px, CAMERA.cy_px)
        return np.asarray(local[:, :2] / local[:, 2:] * focal + middle)

    def _on_walls(self, view: int, pixels: Floats) -> Floats:
        pose = self.world_from_camera[view]
        middle, focal = np.array([CAMERA.cx_px, CAMERA.cy_px]), np.array([CAMERA.fx_px, CAMERA.fy_px])
        rays = np.concatenate([(pixels - middle) / focal, np.ones((len(pixels), 1))], axis=1) @ pose[:3, :3].T
        along = np.full(len(pixels), np.inf)
        for face in self.scene:
            normal = np.cross(face.edge_u_m, face.edge_v_m)
            distance = (face.origin_m - pose[:3, 3]) @ normal / (rays @ normal)
            # The room is convex and the camera inside it: the nearest plane ahead is the wall that is seen.
            along = np.where((distance > 0) & (distance < along), distance, along)
        return np.asarray(pose[:3, 3] + rays * along[:, None])


def inside(pixels: Floats, margin_px: float = 0.0) -> NDArray[np.bool_]:
    """Which of (n, 2) are in the picture, `margin_px` or more from its border."""
    size = np.array([CAMERA.width_px, CAMERA.height_px])
    return np.asarray(((pixels > margin_px) & (pixels < size - margin_px)).all(axis=1))


def write_room(folder: Path) -> RoomViews:
    """The capture, rendered; its features are yet to come."""
    scene = tuple(box_room(seed=3))
    ahead = looking((2.2, 1.4, 1.2), (2.5, 1.3, 4.0))
    rolled = ahead.copy()
    rolled[:3, :3] = ahead[:3, :3] @ Rotation.from_euler("z", ROLL_DEG, degrees=True).as_matrix()
    poses = (ahead, looking((2.63, 1.5, 1.3), (2.4, 1.25, 4.0)), rolled, looking((2.4, 1.3, 2.8), (2.2, 1.2, 0.0)))
    manifest = write_capture(folder / "capture", scene, poses, [CAMERA] * len(poses), depth_size_px=None)
    return RoomViews(folder / "capture", folder / "features", manifest, scene, poses)
