"""Clouds of plain boxes, sampled on their faces, whose truth is known by construction."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.clouds import CLOUD_MANIFEST_NAME, POINTS_NAME, CloudManifest, Row

Floats = NDArray[np.float64]
Spot = tuple[float, float]


@dataclass
class BoxedCloud:
    """Collects rectangles, sampled about every `spacing_m`, with noise along their normals."""

    spacing_m: float = 0.02
    noise_m: float = 0.003
    seed: int = 1
    parts: list[Floats] = field(default_factory=list)

    def rectangle(self, corner: Floats, first: Floats, second: Floats) -> None:
        """The parallelogram from `corner` (3,) along two edges (3,)."""
        rng = np.random.default_rng([self.seed, len(self.parts)])
        count = int(np.linalg.norm(first) * np.linalg.norm(second) / self.spacing_m**2)
        share = rng.uniform(0, 1, (count, 2))
        normal = np.cross(first, second)
        normal /= np.linalg.norm(normal)
        noise = rng.normal(0, self.noise_m, (count, 1)) * normal
        self.parts.append(corner + share[:, :1] * first + share[:, 1:] * second + noise)

    def level(self, low: Spot, high: Spot, height_m: float) -> None:
        """A horizontal rectangle."""
        corner = np.array([*low, height_m])
        self.rectangle(corner, np.array([high[0] - low[0], 0, 0]), np.array([0, high[1] - low[1], 0]))

    def face(self, start: Spot, end: Spot, low_m: float, high_m: float) -> None:
        """An upright rectangle over the line from `start` to `end`."""
        corner = np.array([*start, low_m])
        self.rectangle(corner, np.array([end[0] - start[0], end[1] - start[1], 0]), np.array([0, 0, high_m - low_m]))

    def sides(self, low: Spot, high: Spot, low_m: float, high_m: float) -> None:
        """The four upright sides of a box."""
        corners = [low, (high[0], low[1]), high, (low[0], high[1])]
        for one, other in zip(corners, corners[1:] + corners[:1], strict=True):
            self.face(one, other, low_m, high_m)

    def room(self, low: Spot, high: Spot, floor_m: float, ceiling_m: float) -> None:
        """A box seen from within."""
        self.level(low, high, floor_m)
        self.level(low, high, ceiling_m)
        self.sides(low, high, floor_m, ceiling_m)

    def box(self, low: Spot, high: Spot, low_m: float, high_m: float) -> None:
        """A box seen from outside, without its underside."""
        self.level(low, high, high_m)
        self.sides(low, high, low_m, high_m)

    def points(self) -> NDArray[np.float32]:
        """All points (n, 3), in an order that means nothing."""
        together = np.concatenate(self.parts)
        return np.random.default_rng(self.seed).permutation(together).astype(np.float32)

    def write(self, folder: Path, file_from_boxes: Floats | None = None) -> Path:
        """The canonical form, turned by a rotation (3, 3) if given; no scanner is known."""
        points = self.points()
        if file_from_boxes is not None:
            points = (points @ file_from_boxes.T).astype(np.float32)
        return write_cloud(points, folder, self.spacing_m)


def write_cloud(points: NDArray[np.float32], folder: Path, spacing_m: float) -> Path:
    """Points (n, 3) as a canonical cloud whose frame is the file's."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / POINTS_NAME, points)
    low, high = (points.min(0), points.max(0)) if len(points) else (np.zeros(3), np.zeros(3))
    rows: list[Row] = [(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)]
    manifest = CloudManifest(
        file_name="boxes.ply",
        format="ply",
        points=len(points),
        points_in_file=len(points),
        file_from_cloud=(rows[0], rows[1], rows[2], rows[3]),
        up_axis="z",
        bounds_m=((float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))),
        spacing_m=spacing_m,
    )
    (folder / CLOUD_MANIFEST_NAME).write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def turn_about(axis: Floats, angle_rad: float) -> Floats:
    """The rotation (3, 3) about a unit axis (Rodrigues)."""
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + np.sin(angle_rad) * skew + (1 - np.cos(angle_rad)) * skew @ skew)
