"""Single precision needs numbers of about one: the mesh and its cameras in a frame of their own."""

from dataclasses import dataclass, replace

import numpy as np

from services.mesh.rig import Camera
from services.mesh.surface import Floats, TexturedMesh
from services.mesh.texture import ColourView


@dataclass(frozen=True)
class Frame:
    """Coordinates (world - middle) / unit."""

    middle: Floats
    unit: float

    @staticmethod
    def of(mesh: TexturedMesh) -> "Frame":
        """In which the mesh is about one across."""
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        return Frame((low + high) / 2, float(np.linalg.norm(high - low)))

    def inverse(self) -> "Frame":
        """The way back."""
        return Frame(-self.middle / self.unit, 1 / self.unit)

    def mesh(self, mesh: TexturedMesh) -> TexturedMesh:
        return replace(mesh, vertices=(mesh.vertices - self.middle) / self.unit)

    def camera(self, camera: Camera) -> Camera:
        pose = camera.camera_from_world.copy()
        pose[:3, 3] = (pose[:3, :3] @ self.middle + pose[:3, 3]) / self.unit
        return replace(camera, camera_from_world=pose)

    def view(self, view: ColourView) -> ColourView:
        ranges = view.range_view
        moved = replace(
            ranges, camera=self.camera(ranges.camera), depth=ranges.depth / self.unit, step=ranges.step / self.unit
        )
        return ColourView(view.colour, self.camera(view.camera), moved)
