"""SuperGlue (Sarlin et al., CVPR 2020), the layers as transformers has them.

transformers runs its own SuperPoint first and pads pairs to the same number of keypoints, which changes the optimal
transport. Here the layers are called one by one on features that are there, without padding.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import SuperGlueConfig, SuperGlueForKeypointMatching
from transformers.models.superglue.modeling_superglue import log_optimal_transport

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Matched, Side, matched_from_rows
from services.sfm.learned.loading import pretrained

_NORMALISING_SHARE = 0.7
"""Keypoints are divided by this share of the longest side (the authors' normalisation)."""


def configuration() -> SuperGlueConfig:
    """hloc's: 50 Sinkhorn iterations, matches from 0.2."""
    return SuperGlueConfig(sinkhorn_iterations=50, matching_threshold=0.2)


def load(path: Path) -> SuperGlueForKeypointMatching:
    """From a safetensors file. Raises WeightsUnusable if it belongs to another network."""
    return pretrained(SuperGlueForKeypointMatching, path, configuration())


class SuperGlue:
    most_together = 8

    def __init__(self, network: SuperGlueForKeypointMatching, compute: Compute) -> None:
        self._network = network.train(mode=False).to(compute.device)
        self._compute = compute

    @torch.inference_mode()
    def match(self, first: Side, second: Side) -> list[Matched]:
        if not first.scores.shape[1] or not second.scores.shape[1]:
            none = first.scores.new_full(first.scores.shape, -1, dtype=torch.int64)
            return matched_from_rows(none, first.scores)
        with self._compute.autocast():
            one, other = self._encoded(first), self._encoded(second)
            for layer, kind in zip(self._network.gnn.layers, self._network.gnn.layers_types, strict=True):
                one_sees, other_sees = (other, one) if kind == "cross" else (None, None)
                change = layer(one, encoder_hidden_states=one_sees)[0]
                other = other + layer(other, encoder_hidden_states=other_sees)[0]
                one = one + change
            projected0, projected1 = self._network.final_projection(one), self._network.final_projection(other)
        # Fifty rounds of sums of exponentials: not in half precision.
        configured = self._network.config
        similarity = projected0.float() @ projected1.float().transpose(1, 2) / configured.hidden_size**0.5
        log_transport = log_optimal_transport(
            similarity, self._network.bin_score.float(), configured.sinkhorn_iterations
        )
        return matched_from_rows(*mutual_best(log_transport[:, :-1, :-1].exp(), configured.matching_threshold))

    def _encoded(self, side: Side) -> Tensor:
        """Descriptors (b, n, 256) with each keypoint's place and score added."""
        longest = side.sizes_px.amax(dim=1, keepdim=True)
        places = (side.keypoints_px - side.sizes_px[:, None] / 2) / (longest[:, None] * _NORMALISING_SHARE)
        encoded: Tensor = self._network.keypoint_encoder(places, side.scores)[0]
        return side.descriptors + encoded


def mutual_best(probabilities: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """From (b, n0, n1): indices (b, n0) of partners that prefer each other and score above `least`, else -1; scores."""
    best0, best1 = probabilities.max(2), probabilities.max(1)
    back = best1.indices.gather(1, best0.indices)
    mutual = back == torch.arange(back.shape[1], device=back.device)[None]
    valid = mutual & (best0.values > least)
    return torch.where(valid, best0.indices, -1), torch.where(valid, best0.values, 0.0)
