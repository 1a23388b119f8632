"""How far clusters and poses of a collection are from the truth: relative poses, purity, registration.

    python -m samples.evaluate_photos TRUTH.json POSES.csv

Relative poses need no alignment: of two pictures of one cluster, the rotation between the cameras and the direction from one to the
other are compared with the true ones, in degrees. Scale plays no part.
"""

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samples.evaluate import rotation_angles_deg
from samples.photos_truth import OUTLIERS, CollectionTruth, TableRow, load_collection, read_table
from samples.surfaces import Floats

_SHORTEST_SHARE = 0.02
"""Cameras that are closer to each other than this share of the scene's extent have no direction worth comparing."""


@dataclass(frozen=True)
class PhotoErrors:
    """Errors of one answer.

    rotation_deg, direction_deg: (n,) float64, of all pairs of pictures of one scene in one cluster; the direction is that in which
    the second camera sees the first, NaN where they are too close to each other to have one.
    """

    rotation_deg: Floats
    direction_deg: Floats
    clusters: int
    purity: float
    """Share of the clusters' pictures that are of the scene most of their cluster is of; 1 where there is no cluster."""
    registration_rate: float
    """Share of the pictures of true scenes that have a pose."""
    strays: tuple[str, ...]
    """Pictures in a cluster of another scene, and outliers in any."""
    split_scenes: tuple[str, ...]
    """Scenes that are the greater part of more than one cluster."""

    @property
    def pose_error_deg(self) -> Floats:
        """The larger of both errors, (n,)."""
        return np.asarray(np.fmax(self.rotation_deg, self.direction_deg), np.float64)

    @property
    def median_deg(self) -> float:
        """Median of the pose errors. Raises ValueError where no two pictures of a scene are in one cluster."""
        if not len(self.rotation_deg):
            raise ValueError("no two pictures of a scene are in one cluster")
        return float(np.median(self.pose_error_deg))

    def summary(self) -> str:
        """Two lines for people."""
        if not len(self.rotation_deg):
            return f"{self.clusters} clusters, no pair of pictures with poses"
        pose = self.pose_error_deg
        return (
            f"{self.clusters} clusters, purity {self.purity:.4f}, registration {self.registration_rate:.4f}, "
            f"{len(self.strays)} strays, {len(self.split_scenes)} scenes split\n"
            f"relative pose median {self.median_deg:.3f} deg (rotation {np.median(self.rotation_deg):.3f}, direction "
            f"{np.nanmedian(self.direction_deg):.3f}), 90 % within {np.percentile(pose, 90):.3f}, all within {pose.max():.3f}"
        )


def photo_errors(truth: CollectionTruth, rows: Sequence[TableRow]) -> PhotoErrors:
    """Errors of a table of clusters and poses. Raises ValueError if it names a picture that the truth does not know."""
    known = {p.name: p for p in truth.pictures}
    unknown = [row.image for row in rows if row.image not in known]
    if unknown:
        raise ValueError(f"the truth does not know {unknown[0]}")
    clusters: dict[str, list[TableRow]] = defaultdict(list)
    for row in rows:
        if row.scene != OUTLIERS:
            clusters[row.scene].append(row)
    rotation, direction, strays, owners, pure = [], [], [], [], 0
    for members in clusters.values():
        counts = Counter(scene for row in members if (scene := known[row.image].scene) is not None)
        owner = min(counts, key=lambda scene: (-counts[scene], scene), default=None)
        strays += [row.image for row in members if owner is None or known[row.image].scene != owner]
        pure += counts[owner] if owner is not None else 0
        if owner is not None:
            owners.append(owner)
        for scene in counts:
            turned, pointed = _pair_errors(truth, scene, members)
            rotation.append(turned)
            direction.append(pointed)
    inside = sum(len(members) for members in clusters.values())
    expected = sum(p.scene is not None for p in truth.pictures)
    registered = sum(row.camera_from_world is not None and known[row.image].scene is not None for row in rows)
    return PhotoErrors(
        rotation_deg=np.concatenate([*rotation, np.empty(0)]),
        direction_deg=np.concatenate([*direction, np.empty(0)]),
        clusters=len(clusters),
        purity=pure / inside if inside else 1.0,
        registration_rate=registered / expected,
        strays=tuple(sorted(strays)),
        split_scenes=tuple(sorted(scene for scene, n in Counter(owners).items() if n > 1)),
    )


def _pair_errors(truth: CollectionTruth, scene: str, members: Sequence[TableRow]) -> tuple[Floats, Floats]:
    true_pose = {p.name: p.pose() for p in truth.of_scene(scene)}
    posed = [(row.camera_from_world, true_pose[row.image]) for row in members if row.image in true_pose]
    pairs = [(a, b) for a, b in itertools.combinations([(e, t) for e, t in posed if e is not None], 2)]
    if not pairs:
        return np.empty(0), np.empty(0)
    found = np.stack([b[0] @ np.linalg.inv(a[0]) for a, b in pairs])
    true = np.stack([b[1] @ np.linalg.inv(a[1]) for a, b in pairs])
    rotation = rotation_angles_deg(found[:, :3, :3], true[:, :3, :3])
    apart = np.linalg.norm(true[:, :3, 3], axis=1) > _SHORTEST_SHARE * truth.extent_m(scene)
    return rotation, np.where(apart, _angles_deg(found[:, :3, 3], true[:, :3, 3]), np.nan)


def _angles_deg(a: Floats, b: Floats) -> Floats:
    """Angles between vectors (n, 3) and (n, 3); where one has no length, 180."""
    sine, cosine = np.linalg.norm(np.cross(a, b), axis=1), np.einsum("ij,ij->i", a, b)
    nowhere = (np.linalg.norm(a, axis=1) == 0) | (np.linalg.norm(b, axis=1) == 0)
    return np.asarray(np.where(nowhere, 180.0, np.rad2deg(np.arctan2(sine, cosine))), np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("poses", type=Path)
    given = parser.parse_args()
    errors = photo_errors(load_collection(given.truth), read_table(given.poses))
    print(errors.summary())
    for name in errors.strays:
        print(f"stray: {name}")


if __name__ == "__main__":
    main()
