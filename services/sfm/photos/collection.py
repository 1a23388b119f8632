"""What the steps read from a canonical collection, and the cameras that its pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pycolmap

from contracts.photos import MANIFEST_NAME, Photo, PhotoManifest
from services.sfm import database

GUESSED_FOCAL_SHARE = 1.2
"""Focal length over the longest side where nothing tells it: the middle of what phones and compact cameras have."""
LEAST_PICTURES_FOR_DISTORTION = 5
"""With fewer pictures a focal length is all that their matches can tell apart."""


@dataclass(frozen=True)
class SharedCamera:
    """Pictures of one camera and one size. `known`: whether EXIF tells the focal length. photos: indices."""

    width_px: int
    height_px: int
    focal_px: float
    known: bool
    photos: tuple[int, ...]


def read_manifest(collection: Path) -> PhotoManifest:
    """`photos.json`."""
    return PhotoManifest.model_validate_json((collection / MANIFEST_NAME).read_bytes())


def database_name(photo: Photo) -> str:
    """What COLMAP and hloc's files call a picture: its file, which has neither spaces nor folders."""
    return PurePosixPath(photo.file).name


def shared_cameras(photos: Sequence[Photo]) -> list[SharedCamera]:
    """One camera for pictures of the same camera and size, in order of the first of them.

    Pictures that were held upright and across share a focal length, but COLMAP's cameras have one size each.
    """
    groups: dict[tuple[str, int, int], list[int]] = {}
    focal_lengths: dict[str, list[float]] = {}
    for index, photo in enumerate(photos):
        groups.setdefault((photo.camera, photo.width_px, photo.height_px), []).append(index)
        if photo.focal_px is not None:
            focal_lengths.setdefault(photo.camera, []).append(photo.focal_px)
    made = []
    for (camera, width, height), members in groups.items():
        told = [photos[index].focal_px for index in members]
        known = [focal for focal in told if focal is not None] or focal_lengths.get(camera, [])
        focal = float(np.median(known)) if known else GUESSED_FOCAL_SHARE * max(width, height)
        made.append(SharedCamera(width, height, focal, bool(known), tuple(members)))
    return made


def colmap_camera(shared: SharedCamera) -> pycolmap.Camera:
    """SIMPLE_RADIAL without distortion yet, or SIMPLE_PINHOLE where too few pictures could tell it."""
    centre = [shared.width_px / 2, shared.height_px / 2]
    radial = len(shared.photos) >= LEAST_PICTURES_FOR_DISTORTION
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL" if radial else "SIMPLE_PINHOLE",
        width=shared.width_px,
        height=shared.height_px,
        params=[shared.focal_px, *centre, *([0.0] if radial else [])],
    )
    camera.has_prior_focal_length = shared.known
    return camera


def create_database(path: Path, photos: Sequence[Photo]) -> dict[str, int]:
    """A new database with every picture and its camera. Picture ids are places in `photos`, from 1; by name."""
    database.remove(path)
    with pycolmap.Database.open(path) as db, pycolmap.DatabaseTransaction(db):
        for shared in shared_cameras(photos):
            names = {index + 1: database_name(photos[index]) for index in shared.photos}
            database.write_camera(db, colmap_camera(shared), names)
    return {database_name(photo): number for number, photo in enumerate(photos, start=1)}
