"""Triangle meshes as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Faces = NDArray[np.int32]


@dataclass(frozen=True)
class Surface:
    """vertices (n, 3) float64 in the world; faces (m, 3) int32, anticlockwise seen from outside."""

    vertices: Floats
    faces: Faces

    def face_normals(self) -> Floats:
        """Normals (m, 3), as long as twice the face's area."""
        corners = self.vertices[self.faces]
        return np.asarray(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), np.float64)

    def vertex_normals(self) -> Floats:
        """Unit normals (n, 3), faces weighted by area."""
        weighted = self.face_normals()
        total = np.zeros_like(self.vertices)
        for corner in range(3):
            for axis in range(3):
                total[:, axis] += np.bincount(self.faces[:, corner], weighted[:, axis], len(self.vertices))
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.where(length > 0, length, 1), np.float64)

    def diagonal(self) -> float:
        """Length of the bounding box's diagonal."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))

    def bodies(self) -> tuple[int, NDArray[np.int32]]:
        """How many connected bodies there are, and which one each vertex belongs to, (n,) int32."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]]])
        graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(self.vertices),) * 2)
        count, label = connected_components(graph, directed=False)
        return int(count), np.asarray(label, np.int32)

    def without_faces(self, dropped: NDArray[np.bool_]) -> "Surface":
        """What is left without some faces, and without the vertices that only those used."""
        faces = self.faces[~dropped]
        used = np.zeros(len(self.vertices), bool)
        used[faces] = True
        renumbered = (np.cumsum(used) - 1).astype(np.int32)
        return Surface(self.vertices[used], renumbered[faces])


@dataclass(frozen=True)
class TexturedMesh:
    """vertices, normals (n, 3) and uv (n, 2) float64, split at seams and creases; faces (m, 3) int32; texture (h, w, 3) uint8.

    v runs upwards, as in OBJ: the texture's first row is v = 1.
    """

    vertices: Floats
    faces: Faces
    normals: Floats
    uv: Floats
    texture: NDArray[np.uint8]
