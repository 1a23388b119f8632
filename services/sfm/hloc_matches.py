"""What the matcher found, for hloc: every pair's matches before verification.

In: features.h5, pairs.txt and COLMAP's database. Out: matches.h5. Nothing else waits for it but the result's ZIP, and mapping
keeps one core busy at most: so it is written beside mapping, by a process of its own.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from services.sfm import hloc_files
from services.sfm.database import DATABASE_NAME
from services.sfm.hloc_files import FEATURES_NAME, MATCHES_NAME, PAIRS_NAME, FeatureReader, PairMatches

TILE_PICTURES = 32
"""Scores are computed over tiles of so many by so many pictures: each one's descriptors are read once a tile."""


def main(features_dir: Path, pairs_dir: Path, matching_dir: Path, out_dir: Path) -> None:
    """Writes `out_dir/matches.h5`. Takes the one over that a matcher of its own scores has left in `matching_dir`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    if (matching_dir / MATCHES_NAME).exists():
        shutil.copyfile(matching_dir / MATCHES_NAME, out_dir / MATCHES_NAME)
        return
    pairs = hloc_files.read_pairs(pairs_dir / PAIRS_NAME)
    with (
        FeatureReader(features_dir / FEATURES_NAME) as features,
        pycolmap.Database.open(matching_dir / DATABASE_NAME) as db,
    ):
        hloc_files.write_matches(out_dir / MATCHES_NAME, _matches(db, pairs, features))


@contextmanager
def written_beside(features_dir: Path, pairs_dir: Path, matching_dir: Path, out_dir: Path) -> Iterator[None]:
    """Run `main` in a process while the body runs; whole when the body has ended. Raises RuntimeError if it fails."""
    process = get_context("spawn").Process(target=main, args=(features_dir, pairs_dir, matching_dir, out_dir))
    process.start()
    try:
        yield
        process.join()
    finally:
        # Where the body failed nobody waits for the rest.
        process.kill()
        process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"matches.h5 could not be written: its process ended with {process.exitcode}")


def _matches(db: pycolmap.Database, pairs: list[tuple[str, str]], features: FeatureReader) -> Iterator[PairMatches]:
    """The matches of every pair before verification, with hloc's score (1 + cosine) / 2."""
    ids = {image.name: image.image_id for image in db.read_all_images()}

    @lru_cache(maxsize=2 * TILE_PICTURES)
    def descriptors(name: str) -> NDArray[np.float16]:
        return features.descriptors(name)

    for name0, name1 in _in_tiles(pairs, sorted(ids)):
        first, second = descriptors(name0), descriptors(name1)
        found = np.zeros((0, 2), np.int64)
        if db.exists_matches(ids[name0], ids[name1]):
            found = np.asarray(db.read_matches(ids[name0], ids[name1]), np.int64).reshape(-1, 2)
        a, b = first[found[:, 0]].astype(np.float32), second[found[:, 1]].astype(np.float32)
        cosine = np.einsum("nd,nd->n", a, b)
        yield PairMatches((name0, name1), len(first), found, np.clip((1 + cosine) / 2, 0, 1))


def _in_tiles(pairs: list[tuple[str, str]], names: list[str]) -> list[tuple[str, str]]:
    tile = {name: number // TILE_PICTURES for number, name in enumerate(names)}
    return sorted(pairs, key=lambda pair: (tile[pair[0]], tile[pair[1]]))
