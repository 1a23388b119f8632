"""SuperPoint (DeTone, Malisiewicz and Rabinovich, CVPR workshops 2018), the network as transformers has it."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import SuperPointConfig, SuperPointForKeypointDetection

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Detected
from services.sfm.learned.loading import pretrained
from services.sfm.learned.preparation import Preparation

AACHEN = Preparation(grey=True, longest_side_px=1024)
MAX = Preparation(grey=True, longest_side_px=1600, enlarges=True)
"""Enlarged even where the picture is smaller, for keypoints that lie more exactly."""


def configuration(most_keypoints: int) -> SuperPointConfig:
    """hloc's: non-maximum suppression within 3 px, scores from 0.005, 4 px of border left out."""
    return SuperPointConfig(
        nms_radius=3, keypoint_threshold=0.005, border_removal_distance=4, max_keypoints=most_keypoints
    )


def load(path: Path, most_keypoints: int) -> SuperPointForKeypointDetection:
    """From a safetensors file. Raises WeightsUnusable if it belongs to another network."""
    return pretrained(SuperPointForKeypointDetection, path, configuration(most_keypoints))


class SuperPoint:
    def __init__(self, network: SuperPointForKeypointDetection, preparation: Preparation, compute: Compute) -> None:
        self._network = network.train(mode=False).to(compute.device)
        self._compute = compute
        self.preparation = preparation

    @torch.inference_mode()
    def detect(self, pictures: Tensor) -> list[Detected]:
        """Strongest first where there are more than asked for, else from the top down. Keypoints are whole pixels."""
        with self._compute.autocast():
            encoded: Tensor = self._network.encoder(pictures)[0]
            # Part by part, since the network's own call cannot take a picture without a keypoint.
            return [self._of_one(encoded[index : index + 1]) for index in range(len(pictures))]

    def _of_one(self, encoded: Tensor) -> Detected:
        keypoints, scores = self._network.keypoint_decoder(encoded)
        if not len(keypoints):
            return Detected(
                encoded.new_zeros((0, 2)).float(),
                encoded.new_zeros(0).float(),
                encoded.new_zeros((0, self._network.config.descriptor_decoder_dim)).float(),
            )
        descriptors = self._network.descriptor_decoder(encoded, keypoints[None])
        return Detected(keypoints.float(), scores.float(), descriptors.float())
