"""DISK (Tyszkiewicz, Fua and Trulls, NeurIPS 2020), the network as kornia has it."""

from pathlib import Path

import torch
from kornia import feature
from torch import Tensor

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Detected
from services.sfm.learned.loading import fill, read_state
from services.sfm.learned.preparation import Preparation

PREPARATION = Preparation(grey=False, longest_side_px=1600)
WINDOW_PX = 5


def load(path: Path) -> feature.DISK:
    """From the authors' file. Raises WeightsUnusable if it belongs to another network."""
    network = feature.DISK()
    fill(network, read_state(path))
    return network


class Disk:
    preparation = PREPARATION

    def __init__(self, network: feature.DISK, most_keypoints: int, compute: Compute) -> None:
        self._network = network.eval().to(compute.device)
        self._most = most_keypoints
        self._compute = compute

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detected]:
        """From the top down; scores are the network's logits. Keypoints are whole pixels."""
        with self._compute.autocast():
            found = self._network(
                pictures, n=self._most, window_size=WINDOW_PX, score_threshold=0.0, pad_if_not_divisible=True
            )
        return [Detected(one.keypoints.float(), one.detection_scores.float(), one.descriptors.float()) for one in found]
