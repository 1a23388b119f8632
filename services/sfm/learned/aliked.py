"""ALIKED (Zhao et al., IEEE Transactions on Instrumentation and Measurement 2023), the network as kornia has it."""

from pathlib import Path

import torch
from kornia import feature
from torch import Tensor

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Detected
from services.sfm.learned.loading import fill, read_state
from services.sfm.learned.preparation import Preparation

PREPARATION = Preparation(grey=False, longest_side_px=1024)
_DERIVED = frozenset({"dkd.hw_grid"})


def network(most_keypoints: int) -> feature.ALIKED:
    """hloc's configuration: aliked-n16, scores from 0.2, non-maximum suppression within 2 px."""
    return feature.ALIKED("aliked-n16", max_num_keypoints=most_keypoints, detection_threshold=0.2, nms_radius=2)


def load(path: Path, most_keypoints: int) -> feature.ALIKED:
    """From the authors' file. Raises WeightsUnusable if it belongs to another network."""
    made = network(most_keypoints)
    fill(made, read_state(path), derived=_DERIVED)
    return made


class Aliked:
    preparation = PREPARATION

    def __init__(self, network: feature.ALIKED, compute: Compute) -> None:
        self._network = network.eval().to(compute.device)
        self._compute = compute

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detected]:
        """Keypoints lie between pixels: a soft maximum over 5 x 5 of them.

        A picture in which nothing scores above the threshold yields its maxima above the mean, as the authors have it.
        """
        with self._compute.autocast():
            found = self._network(pictures)
        return [Detected(one.keypoints.float(), one.keypoint_scores.float(), one.descriptors.float()) for one in found]
