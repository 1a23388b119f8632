"""hloc's files: features.h5, matches.h5 and pairs.txt, written and read.

Layout (github.com/cvg/Hierarchical-Localization): in features.h5 one group per picture's name, in matches.h5 one per
pair, `name0/name1`, with every "/" inside a name written as "-". Pixel centres are at whole numbers in the files and at
+0.5 everywhere else in Alidade; this module is the one place that converts.

Keypoints are float32: half floats, which hloc writes, lose sub-pixels above 2048 px, and its readers take either.
Descriptors are half floats, which hold SIFT's quantised values (multiples of 1/512) exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

FEATURES_NAME = "features.h5"
MATCHES_NAME = "matches.h5"
PAIRS_NAME = "pairs.txt"

PIXEL_CENTRE_PX = 0.5
MOST_INT16 = 32767
_READABLE_BY = ("earliest", "v110")
"""hloc opens files with whatever HDF5 its h5py came with: nothing newer than the format of 1.10 may be in them."""


def h5_from_colmap_px(keypoints_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints (n, 2) with pixel centres at +0.5 to (n, 2) with pixel centres at whole numbers."""
    return (keypoints_px.astype(np.float64) - PIXEL_CENTRE_PX).astype(np.float32)


def colmap_from_h5_px(keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keypoints (n, 2), half floats or wider, with pixel centres at whole numbers to (n, 2) with centres at +0.5."""
    return (keypoints.astype(np.float64) + PIXEL_CENTRE_PX).astype(np.float32)


@dataclass(frozen=True)
class Features:
    """Local features of one picture.

    keypoints_px: (n, 2) float32, pixel centres at +0.5. descriptors: (n, d) float16. scores: (n,) float32.
    scales_px, orientations_rad: (n,) float32; None for features that have none. size_px: width and height.
    """

    keypoints_px: NDArray[np.float32]
    descriptors: NDArray[np.float16]
    scores: NDArray[np.float32]
    size_px: tuple[int, int]
    scales_px: NDArray[np.float32] | None = None
    orientations_rad: NDArray[np.float32] | None = None


class FeatureReader:
    """features.h5, opened for reading by `with FeatureReader(path) as features:`."""

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "r")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def names(self) -> tuple[str, ...]:
        """In alphabetical order."""
        found: list[str] = []
        self._file.visititems(
            lambda name, item: found.append(name) if isinstance(item, h5py.Group) and "keypoints" in item else None
        )
        return tuple(sorted(found))

    def read(self, name: str) -> Features:
        """Raises KeyError if the picture is not there."""
        group = self._file[name]
        orientations = np.deg2rad(group["oris"][()]).astype(np.float32) if "oris" in group else None
        width, height = (int(side) for side in group["image_size"][()])
        return Features(
            keypoints_px=colmap_from_h5_px(group["keypoints"][()]),
            descriptors=np.ascontiguousarray(group["descriptors"][()].T, dtype=np.float16),
            scores=group["scores"][()].astype(np.float32),
            size_px=(width, height),
            scales_px=group["scales"][()].astype(np.float32) if "scales" in group else None,
            orientations_rad=orientations,
        )

    def count(self, name: str) -> int:
        """How many keypoints a picture has, without reading them."""
        return int(self._file[name]["keypoints"].shape[0])

    def descriptors(self, name: str) -> NDArray[np.float16]:
        """(n, d) of one picture, without reading the rest."""
        return np.ascontiguousarray(self._file[name]["descriptors"][()].T, dtype=np.float16)


def write_features(path: Path, features: Iterable[tuple[str, Features]]) -> None:
    """features.h5 from (name, features) in the order given; one picture is in memory at a time."""
    with h5py.File(path, "w", libver=_READABLE_BY) as file:
        for name, found in features:
            group = file.create_group(name)
            keypoints = group.create_dataset("keypoints", data=h5_from_colmap_px(found.keypoints_px))
            keypoints.attrs["uncertainty"] = 1.0
            group.create_dataset("descriptors", data=np.ascontiguousarray(found.descriptors.T))
            group.create_dataset("scores", data=found.scores.astype(np.float32))
            group.create_dataset("image_size", data=np.array(found.size_px, np.int64))
            if found.scales_px is not None and found.orientations_rad is not None:
                group.create_dataset("scales", data=found.scales_px.astype(np.float32))
                group.create_dataset("oris", data=np.rad2deg(found.orientations_rad).astype(np.float32))


def pair_key(name0: str, name1: str) -> str:
    """The group of a pair in matches.h5."""
    return f"{name0.replace('/', '-')}/{name1.replace('/', '-')}"


@dataclass(frozen=True)
class PairMatches:
    """Matches of a pair. indices: (m, 2) into the keypoints of the two pictures; scores: (m,) in 0..1."""

    names: tuple[str, str]
    keypoints0: int
    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


def write_matches(path: Path, pairs: Iterable[PairMatches]) -> None:
    """matches.h5; a pair without matches is there too, since hloc's reader asks for every pair of pairs.txt.

    Raises ValueError for what the format cannot hold: two matches of one keypoint of the first picture.
    """
    with h5py.File(path, "w", libver=_READABLE_BY) as file:
        for pair in pairs:
            first = pair.indices[:, 0]
            if len(first) and (len(np.unique(first)) != len(first) or first.max() >= pair.keypoints0):
                raise ValueError(
                    f"a keypoint of {pair.names[0]} is matched twice in {pair.names[1]}, or does not exist"
                )
            wide = len(pair.indices) > 0 and int(pair.indices[:, 1].max()) > MOST_INT16
            matches0 = np.full(pair.keypoints0, -1, np.int32 if wide else np.int16)
            scores0 = np.zeros(pair.keypoints0, np.float16)
            matches0[pair.indices[:, 0]] = pair.indices[:, 1]
            scores0[pair.indices[:, 0]] = pair.scores
            group = file.create_group(pair_key(*pair.names))
            compression = "gzip" if pair.keypoints0 else None
            level = 1 if pair.keypoints0 else None
            group.create_dataset("matches0", data=matches0, compression=compression, compression_opts=level)
            group.create_dataset("matching_scores0", data=scores0, compression=compression, compression_opts=level)


def read_matches(path: Path, name0: str, name1: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices (m, 2) and scores (m,) of a pair, whichever way round it was written.

    Raises KeyError if the pair is not there.
    """
    with h5py.File(path, "r") as file:
        turned = pair_key(name0, name1) not in file
        group = file[pair_key(name1, name0) if turned else pair_key(name0, name1)]
        matches0 = group["matches0"][()].astype(np.int64)
        scores0 = group["matching_scores0"][()].astype(np.float32)
    matched = np.flatnonzero(matches0 >= 0)
    indices = np.stack([matched, matches0[matched]], axis=1)
    return (indices[:, ::-1] if turned else indices), scores0[matched]


def write_pairs(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """pairs.txt: "name0 name1" per line."""
    path.write_text("".join(f"{name0} {name1}\n" for name0, name1 in pairs), encoding="utf-8")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Raises ValueError on a line that is not two names."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        names = line.split()
        if len(names) != 2:
            raise ValueError(f"{path.name}, line {number}: two names expected, found {len(names)}")
        pairs.append((names[0], names[1]))
    return pairs
