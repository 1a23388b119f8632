"""How far a reconstructed object is from the truth: surface distances, and pictures from anywhere.

Distances are from points on one surface to the other surface (not to points on it), so that they do not depend on how densely
either was sampled.
"""

from dataclasses import dataclass

import numpy as np
import open3d
import trimesh
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from samples.surfaces import Floats


@dataclass(frozen=True)
class SurfaceErrors:
    """chamfer: mean of both mean distances; all as shares of the truth's bounding-box diagonal. f_score at 1 % of it."""

    chamfer: float
    accuracy: float
    """Mean distance from the reconstruction to the truth."""
    completeness: float
    """Mean distance from the truth to the reconstruction."""
    f_score: float

    def summary(self) -> str:
        return (
            f"Chamfer {100 * self.chamfer:.4f} % (accuracy {100 * self.accuracy:.4f}, completeness "
            f"{100 * self.completeness:.4f}), F {self.f_score:.4f}"
        )


def surface_errors(
    found: trimesh.Trimesh, truth: trimesh.Trimesh, samples: int = 100_000, seed: int = 0
) -> SurfaceErrors:
    """Compare two surfaces that are in the same frame."""
    diagonal = float(np.linalg.norm(truth.extents))
    to_truth = surface_distances(sampled(found, samples, seed)[0], truth) / diagonal
    to_found = surface_distances(sampled(truth, samples, seed + 2)[0], found) / diagonal
    precision, recall = float((to_truth < 0.01).mean()), float((to_found < 0.01).mean())
    accuracy, completeness = float(to_truth.mean()), float(to_found.mean())
    f_score = 2 * precision * recall / max(precision + recall, 1e-12)
    return SurfaceErrors((accuracy + completeness) / 2, accuracy, completeness, f_score)


def sampled(mesh: trimesh.Trimesh, count: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Points (count, 3) spread evenly over a surface, and the faces (count,) that they are on."""
    points, faces = trimesh.sample.sample_surface(mesh, count, seed=seed)
    return np.asarray(points, np.float64), np.asarray(faces, np.int64)


def surface_distances(points: Floats, mesh: trimesh.Trimesh) -> Floats:
    """Distance (n,) of points (n, 3) to a surface, in single precision: to 1e-6, beside needle-like triangles to 3e-4."""
    scene = open3d.t.geometry.RaycastingScene()
    vertices = open3d.core.Tensor.from_numpy(np.asarray(mesh.vertices, np.float32))
    scene.add_triangles(vertices, open3d.core.Tensor.from_numpy(np.asarray(mesh.faces, np.uint32)))
    found = scene.compute_distance(open3d.core.Tensor.from_numpy(points.astype(np.float32)))
    return np.asarray(found.numpy(), np.float64)


def similarity_aligned(found: trimesh.Trimesh, truth: trimesh.Trimesh, rounds: int = 30) -> trimesh.Trimesh:
    """`found`, moved, turned and scaled onto `truth`: cameras that nobody told leave these seven free.

    Besl and McKay, "A method for registration of 3-D shapes", PAMI 1992, with scale.
    """
    moved = found.copy()
    target, faces = sampled(truth, 60_000, 5)
    normals = np.asarray(truth.face_normals)[faces]
    tree = cKDTree(target)
    points, _ = sampled(found, 20_000, 6)
    for _ in range(rounds):
        _, near = tree.query(points, workers=2)
        normal = normals[near]
        gap = ((target[near] - points) * normal).sum(axis=1)
        kept = np.abs(gap) <= max(3 * float(np.median(np.abs(gap))), 1e-9)
        jacobian = np.concatenate([np.cross(points, normal), normal, (points * normal).sum(axis=1)[:, None]], axis=1)
        step = np.linalg.lstsq(jacobian[kept], gap[kept], rcond=1e-9)[0]
        change = np.eye(4)
        change[:3, :3] = (1 + step[6]) * Rotation.from_rotvec(step[:3]).as_matrix()
        change[:3, 3] = step[3:6]
        points = points @ change[:3, :3].T + change[:3, 3]
        moved.apply_transform(change)
    return moved


def psnr(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Peak signal to noise (dB) of pictures (h, w, 3) in 0..1."""
    error = float(((image.astype(np.float64) - reference) ** 2).mean())
    return 10 * float(np.log10(1 / max(error, 1e-12)))


def ssim(image: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Structural similarity (Wang et al., TIP 2004): Gaussian window of 1.5 px, mean over the picture and its channels."""
    a, b = image.astype(np.float64), reference.astype(np.float64)

    def blurred(values: Floats) -> Floats:
        return np.asarray(gaussian_filter(values, (1.5, 1.5, 0), truncate=3.5), np.float64)

    mean_a, mean_b = blurred(a), blurred(b)
    variance_a, variance_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ratio /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float(ratio.mean())
