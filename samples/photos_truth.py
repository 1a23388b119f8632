"""The exact truth of a collection of photographs, and the table of poses that the Image Matching Challenge 2025 uses.

The table has the columns dataset, scene, image, rotation_matrix (nine floats, row by row) and translation_vector (three), `;`
between floats; camera_from_world with OpenCV camera axes. A picture without a pose has `nan` twelve times, and is of the scene
`outliers` if it belongs to none.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from contracts.model import Frozen
from samples.photos_render import PhotoCamera
from samples.surfaces import Floats
from samples.truth import Matrix4

OUTLIERS = "outliers"
COLUMNS = ("dataset", "scene", "image", "rotation_matrix", "translation_vector")

OutlierKind = Literal["noise", "elsewhere", "blurred"]


class PictureTruth(Frozen):
    """One picture. All figures are of the picture shown upright, as EXIF says it should be shown."""

    name: str
    """As in the archive, below the folder that all share."""
    scene: str | None
    """None for a picture that belongs to no scene."""
    outlier: OutlierKind | None
    camera: str
    """Which camera took it: pictures of one camera have one focal length, distortion and size."""
    width_px: int
    height_px: int
    focal_px: float
    cx_px: float
    cy_px: float
    k1: float
    """SIMPLE_RADIAL of COLMAP."""
    camera_from_world: Matrix4 | None
    """OpenCV camera axes; the world is the scene's own: metres, z up. None where there is no scene."""
    exif_orientation: int
    """1 where the file is stored as it should be shown."""

    def intrinsics(self) -> PhotoCamera:
        return PhotoCamera(self.width_px, self.height_px, self.focal_px, self.cx_px, self.cy_px, self.k1)

    def pose(self) -> Floats:
        """camera_from_world (4, 4) float64. Raises ValueError for a picture of no scene."""
        if self.camera_from_world is None:
            raise ValueError(f"{self.name} belongs to no scene")
        return np.array(self.camera_from_world, np.float64)


class CollectionTruth(Frozen):
    """All that is known about a collection."""

    dataset: str
    seed: int
    top_folder: str
    """Folder in the archive that all pictures share; empty for none."""
    pictures: tuple[PictureTruth, ...]
    """In the order of their names."""

    def scenes(self) -> tuple[str, ...]:
        """Names of the true scenes, sorted."""
        return tuple(sorted({p.scene for p in self.pictures if p.scene is not None}))

    def of_scene(self, scene: str | None) -> tuple[PictureTruth, ...]:
        """Pictures of one scene, or with None those of no scene."""
        return tuple(p for p in self.pictures if p.scene == scene)

    def extent_m(self, scene: str) -> float:
        """The largest distance between two cameras of a scene."""
        centres = np.array([centre_of(p.pose()) for p in self.of_scene(scene)])
        return float(np.linalg.norm(centres[:, None] - centres[None], axis=2).max())

    def table(self) -> tuple["TableRow", ...]:
        """The truth as the challenge writes it."""
        return tuple(
            TableRow(self.dataset, p.scene or OUTLIERS, p.name, None if p.scene is None else p.pose())
            for p in self.pictures
        )


def centre_of(camera_from_world: Floats) -> Floats:
    """The camera's centre (3,) in the world."""
    return np.asarray(-camera_from_world[:3, :3].T @ camera_from_world[:3, 3], np.float64)


def save_collection(truth: CollectionTruth, path: Path) -> None:
    path.write_text(truth.model_dump_json(indent=1), encoding="utf-8")


def load_collection(path: Path) -> CollectionTruth:
    """Reads truth.json."""
    return CollectionTruth.model_validate_json(path.read_bytes())


# --- the table of poses ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableRow:
    """One picture of the table. camera_from_world: (4, 4) float64, None where the picture has no pose."""

    dataset: str
    scene: str
    image: str
    camera_from_world: Floats | None


def write_table(rows: Iterable[TableRow], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            pose = row.camera_from_world
            rotation = [math.nan] * 9 if pose is None else pose[:3, :3].ravel().tolist()
            translation = [math.nan] * 3 if pose is None else pose[:3, 3].tolist()
            writer.writerow([row.dataset, row.scene, row.image, _joined(rotation), _joined(translation)])


def read_table(path: Path) -> tuple[TableRow, ...]:
    """Reads a table of poses. Raises ValueError that names the line where it is not one, or an image that is in it twice."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(COLUMNS) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} lacks the columns {', '.join(sorted(missing))}")
        rows = tuple(_read_row(fields, f"{path.name}, line {reader.line_num}") for fields in reader)
    names = [(row.dataset, row.image) for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path.name} has {twice[1]} of {twice[0]} more than once")
    return rows


def _joined(values: list[float]) -> str:
    return ";".join(repr(value) for value in values)


def _read_row(fields: dict[str, str], where: str) -> TableRow:
    rotation = _floats(fields["rotation_matrix"], 9, f"{where}: rotation_matrix")
    translation = _floats(fields["translation_vector"], 3, f"{where}: translation_vector")
    known = np.isfinite(rotation).all() and np.isfinite(translation).all()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.reshape(3, 3), translation
    return TableRow(fields["dataset"], fields["scene"], fields["image"], pose if known else None)


def _floats(text: str | None, count: int, where: str) -> Floats:
    try:
        values = np.array([float(part) for part in (text or "").split(";")], np.float64)
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise ValueError(f"{where} needs {count} numbers with ';' between them")
    return values
