"""Elements of an IFC file as triangles in the model's frame, by IfcOpenShell's own geometry engine."""

from pathlib import Path

import ifcopenshell
import ifcopenshell.geom
import numpy as np
import shapely
import trimesh
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

Floats = NDArray[np.float64]


def open_ifc(path: Path) -> ifcopenshell.file:
    model = ifcopenshell.open(path)
    assert isinstance(model, ifcopenshell.file)
    return model


def meshes(model: ifcopenshell.file, *, cut: bool = True) -> dict[str, trimesh.Trimesh]:
    """By GlobalId. With `cut` False, walls as if they had no openings."""
    settings = ifcopenshell.geom.settings()
    settings.set("use-world-coords", True)
    settings.set("disable-opening-subtractions", not cut)
    settings.set("mesher-linear-deflection", 1e-4)
    settings.set("mesher-angular-deflection", 0.02)
    iterator = ifcopenshell.geom.iterator(settings, model, 1)
    assert iterator.initialize()
    found = {}
    while True:
        shape = iterator.get()
        vertices = np.array(shape.geometry.verts).reshape(-1, 3)
        found[shape.guid] = trimesh.Trimesh(vertices, np.array(shape.geometry.faces).reshape(-1, 3))
        if not iterator.next():
            return found


def plan(mesh: trimesh.Trimesh) -> BaseGeometry:
    """The mesh seen from above."""
    upward = mesh.triangles[mesh.face_normals[:, 2] > 0.5][:, :, :2]
    return shapely.union_all([shapely.Polygon(triangle) for triangle in upward])
