"""Matches of pairs of pictures by a matcher, as hloc stores them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from services.sfm.hloc_files import FeatureReader, Features, PairMatches, h5_from_colmap_px
from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Matcher, Side

PICTURES_KEPT = 64
"""Features that stay on the device: pairs come sorted by their first picture, and the second ones repeat."""


def matched(
    pairs: Sequence[tuple[str, str]], features: FeatureReader, matcher: Matcher, compute: Compute
) -> Iterator[PairMatches]:
    """Matches of every pair, in the order of `pairs`, before verification.

    Pairs that follow each other with the same numbers of keypoints go through the matcher together, as many as it takes.
    """

    @lru_cache(maxsize=PICTURES_KEPT)
    def side(name: str) -> Side:
        return _side(features.read(name), compute)

    for batch in _alike(pairs, features, matcher.most_together):
        first, second = (stack([side(pair[which]) for pair in batch]) for which in (0, 1))
        for pair, found in zip(batch, matcher.match(first, second), strict=True):
            yield PairMatches(
                pair,
                first.scores.shape[1],
                found.indices.cpu().numpy().astype(np.int64),
                found.scores.float().cpu().numpy(),
            )


def _alike(pairs: Sequence[tuple[str, str]], features: FeatureReader, most: int) -> Iterator[list[tuple[str, str]]]:
    """Runs of pairs whose pictures have as many keypoints, `most` at a time."""
    batch: list[tuple[str, str]] = []
    shape: tuple[int, ...] | None = None
    for pair in pairs:
        own = tuple(features.count(name) for name in pair)
        if batch and (own != shape or len(batch) == most):
            yield batch
            batch = []
        batch, shape = [*batch, pair], own
    if batch:
        yield batch


def _side(found: Features, compute: Compute) -> Side:
    """Of one picture, b = 1."""

    def sent(values: np.ndarray) -> Tensor:
        return compute.send(np.asarray(values, np.float32)[None])

    return Side(
        keypoints_px=sent(h5_from_colmap_px(found.keypoints_px)),
        scores=sent(found.scores),
        descriptors=sent(found.descriptors),
        sizes_px=sent(np.array(found.size_px)),
        scales_px=None if found.scales_px is None else sent(found.scales_px),
        orientations_rad=None if found.orientations_rad is None else sent(found.orientations_rad),
    )


def stack(sides: Sequence[Side]) -> Side:
    """One side of several pairs from one of each."""

    def together(values: list[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.cat(known) if len(known) == len(values) else None

    return Side(
        keypoints_px=torch.cat([side.keypoints_px for side in sides]),
        scores=torch.cat([side.scores for side in sides]),
        descriptors=torch.cat([side.descriptors for side in sides]),
        sizes_px=torch.cat([side.sizes_px for side in sides]),
        scales_px=together([side.scales_px for side in sides]),
        orientations_rad=together([side.orientations_rad for side in sides]),
    )
