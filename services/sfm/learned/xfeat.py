"""XFeat (Potje et al., CVPR 2024), the network as kornia has it: small enough for a processor."""

from pathlib import Path

import torch
from kornia import feature
from torch import Tensor

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Detected
from services.sfm.learned.loading import fill, read_state
from services.sfm.learned.preparation import Preparation

PREPARATION = Preparation(grey=False, longest_side_px=1600, side_multiple_px=32)
"""The network resizes to multiples of 32 by itself, and puts keypoints back without regard to pixel centres."""


def load(path: Path, most_keypoints: int) -> feature.XFeat:
    """From the authors' file. Raises WeightsUnusable if it belongs to another network."""
    made = feature.XFeat(top_k=most_keypoints)
    fill(made.net, read_state(path))
    return made


class XFeat:
    preparation = PREPARATION

    def __init__(self, network: feature.XFeat, compute: Compute) -> None:
        self._network = network.eval().to(compute.device)
        self._compute = compute

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detected]:
        """Best first. Keypoints are whole pixels."""
        with self._compute.autocast():
            found = self._network.detectAndCompute(pictures)
        return [Detected(one["keypoints"].float(), one["scores"].float(), one["descriptors"].float()) for one in found]
