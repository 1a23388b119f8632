"""A canonical cloud on disk, as memory maps: nothing is read before it is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.clouds import (
    CLOUD_MANIFEST_NAME,
    COLOURS_NAME,
    INTENSITY_NAME,
    POINTS_NAME,
    SCAN_NAME,
    SOURCE_INDEX_NAME,
    CloudManifest,
)

PIECE_POINTS = 1 << 21
"""Points that are handled at once where a whole cloud is walked through: some tens of megabytes."""

Floats32 = NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class CanonicalCloud:
    """points (n, 3) float32 in metres; the others are None where the file did not have them. All are memory maps."""

    manifest: CloudManifest
    points: Floats32
    colours: NDArray[np.uint8] | None
    intensity: Floats32 | None
    scan: NDArray[np.uint16] | None
    source_index: NDArray[np.uint32] | None

    def __len__(self) -> int:
        return len(self.points)

    def pieces(self, size: int = PIECE_POINTS) -> Iterator[slice]:
        """Slices that cover the cloud in order."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))


def open_cloud(folder: Path) -> CanonicalCloud:
    """Open the canonical cloud in `folder`.

    Raises FileNotFoundError where a file is missing, ValueError where arrays and manifest disagree.
    """
    manifest = CloudManifest.model_validate_json((folder / CLOUD_MANIFEST_NAME).read_bytes())
    cloud = CanonicalCloud(
        manifest=manifest,
        points=np.load(folder / POINTS_NAME, mmap_mode="r") if manifest.points else np.zeros((0, 3), np.float32),
        colours=_optional(folder / COLOURS_NAME, np.uint8),
        intensity=_optional(folder / INTENSITY_NAME, np.float32),
        scan=_optional(folder / SCAN_NAME, np.uint16),
        source_index=_optional(folder / SOURCE_INDEX_NAME, np.uint32),
    )
    rows = {len(cloud.points)} | {
        len(rows) for rows in (cloud.colours, cloud.intensity, cloud.scan, cloud.source_index) if rows is not None
    }
    if rows != {manifest.points}:
        raise ValueError(f"{folder}: arrays of {sorted(rows)} rows, but the manifest says {manifest.points}")
    return cloud


def _optional(path: Path, dtype: type[Scalar]) -> NDArray[Scalar] | None:
    """Raises ValueError if the file holds another type."""
    if not path.exists():
        return None
    rows: NDArray[Scalar] = np.load(path, mmap_mode="r")
    if rows.dtype != dtype:
        raise ValueError(f"{path} holds {rows.dtype}, not {np.dtype(dtype)}")
    return rows
