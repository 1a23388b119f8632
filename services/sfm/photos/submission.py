"""submission.csv: the pose of every picture, in the table of the Image Matching Challenge 2025.

    dataset,scene,image,rotation_matrix,translation_vector

World to camera as in COLMAP; nine and three numbers, row by row, with ";" between. A picture without a pose is in scene
`outliers`, with "nan" for numbers.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from contracts.photos import PhotoManifest
from services.sfm.models import Floats
from services.sfm.photos.collection import database_name

COLUMNS = ("dataset", "scene", "image", "rotation_matrix", "translation_vector")
OUTLIERS = "outliers"


@dataclass(frozen=True)
class PosedPicture:
    """A picture's model and its camera_from_world (3, 4)."""

    scene: str
    camera_from_world: Floats


def read_poses(sparse_dir: Path) -> dict[str, PosedPicture]:
    """By name in the database, from the models in `sparse_dir/0` and on."""
    poses = {}
    for folder in sparse_dir.iterdir():
        model = pycolmap.Reconstruction(folder)
        for image_id in model.reg_image_ids():
            image = model.image(image_id)
            pose = np.asarray(image.cam_from_world().matrix(), np.float64)
            poses[image.name] = PosedPicture(f"cluster{folder.name}", pose)
    return poses


def rows(dataset: str, manifest: PhotoManifest, poses: Mapping[str, PosedPicture]) -> list[tuple[str, ...]]:
    """One row for every picture of the archive, in the order of names.

    A duplicate has the pose of the picture that was used in its place; what could not be used is an outlier.
    """
    by_name = {photo.name: poses.get(database_name(photo)) for photo in manifest.photos}
    for left_out in manifest.left_out:
        by_name[left_out.name] = by_name.get(left_out.same_as) if left_out.same_as is not None else None
    return [_row(dataset, name, by_name[name]) for name in sorted(by_name)]


def _row(dataset: str, name: str, posed: PosedPicture | None) -> tuple[str, ...]:
    if posed is None:
        return dataset, OUTLIERS, name, ";".join(["nan"] * 9), ";".join(["nan"] * 3)
    rotation, translation = posed.camera_from_world[:, :3], posed.camera_from_world[:, 3]
    return dataset, posed.scene, name, _joined(rotation.ravel()), _joined(translation)


def _joined(values: Floats) -> str:
    return ";".join(repr(float(value)) for value in values)


def write(path: Path, table: Iterable[tuple[str, ...]]) -> None:
    """The table with its header."""
    with path.open("w", encoding="utf-8", newline="", errors="replace") as file:
        plain = csv.writer(file, lineterminator="\n")
        # A carriage return is no line end here, so the writer would leave it bare, and readers would break the line.
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(COLUMNS)
        for row in table:
            (quoted if any("\r" in value for value in row) else plain).writerow(row)
