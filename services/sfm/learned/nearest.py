"""Mutual nearest neighbours that pass Lowe's ratio test (2004), for descriptors of unit length of any kind."""

import torch
from torch import Tensor

from services.sfm.learned.interface import Matched, Side, matched_from_rows

MAX_RATIO = 0.8


class NearestNeighbours:
    """As hloc's `NN-ratio`; a match's score is (1 + cosine) / 2."""

    most_together = 16

    @torch.inference_mode()
    def match(self, first: Side, second: Side) -> list[Matched]:
        count0, count1 = first.scores.shape[1], second.scores.shape[1]
        if not count0 or not count1:
            none = first.scores.new_full(first.scores.shape, -1, dtype=torch.int64)
            return matched_from_rows(none, first.scores)
        # With a single candidate on either side there is nothing to compare the best one with.
        compares = min(count0, count1) > 1
        cosines = first.descriptors @ second.descriptors.transpose(1, 2)
        matches0, scores0 = _nearest(cosines, compares=compares)
        matches1, _ = _nearest(cosines.transpose(1, 2), compares=compares)
        back = matches1.gather(1, matches0.clamp(min=0))
        mutual = (matches0 >= 0) & (back == torch.arange(count0, device=back.device)[None])
        return matched_from_rows(torch.where(mutual, matches0, -1), scores0)


def _nearest(cosines: Tensor, *, compares: bool) -> tuple[Tensor, Tensor]:
    """Index of the best of each row, -1 where the second best is too near, and its score."""
    best = cosines.topk(2 if compares else 1, dim=-1)
    indices, scores = best.indices[..., 0], (1 + best.values[..., 0]).clamp(0, 2) / 2
    if not compares:
        return indices, scores
    squared_distances = 2 * (1 - best.values)
    passes = squared_distances[..., 0] <= MAX_RATIO**2 * squared_distances[..., 1]
    return torch.where(passes, indices, -1), scores
