"""AdaLAM (Cavalli et al., "AdaLAM: Revisiting handcrafted outlier detection", 2020), as kornia has it.

No network: nearest neighbours, of which those stay that agree with their surroundings on a local affine map. It needs
keypoints that have a scale and an orientation.
"""

import torch
from kornia.feature.adalam.adalam import AdalamFilter, get_adalam_default_config

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Matched, Side


class AdaLam:
    """With hloc's configuration, which is kornia's default. A match's score is (1 + cosine) / 2."""

    most_together = 1

    def __init__(self, compute: Compute) -> None:
        configuration = get_adalam_default_config()
        configuration["device"] = compute.device
        self._filter = AdalamFilter(configuration)

    @torch.inference_mode()
    def match(self, first: Side, second: Side) -> list[Matched]:
        """Raises ValueError for features without scales and orientations."""
        return [self._match_one(first, second, index) for index in range(len(first.scores))]

    def _match_one(self, first: Side, second: Side, index: int) -> Matched:
        descriptors0, descriptors1 = first.descriptors[index], second.descriptors[index]
        if min(len(descriptors0), len(descriptors1)) < 2:
            return Matched(descriptors0.new_zeros((0, 2), dtype=torch.int64), descriptors0.new_zeros(0))
        indices = self._filter.match_and_filter(
            first.keypoints_px[index],
            second.keypoints_px[index],
            descriptors0,
            descriptors1,
            im1shape=_shape(first, index),
            im2shape=_shape(second, index),
            o1=torch.rad2deg(_known(first.orientations_rad)[index]),
            o2=torch.rad2deg(_known(second.orientations_rad)[index]),
            s1=_known(first.scales_px)[index],
            s2=_known(second.scales_px)[index],
        )
        assert isinstance(indices, torch.Tensor)
        cosines = (descriptors0[indices[:, 0]] * descriptors1[indices[:, 1]]).sum(dim=1)
        return Matched(indices, ((1 + cosines) / 2).clamp(0, 1))


def _shape(side: Side, index: int) -> tuple[int, int]:
    width, height = side.sizes_px[index].tolist()
    return int(height), int(width)


def _known(values: torch.Tensor | None) -> torch.Tensor:
    if values is None:
        raise ValueError("AdaLAM needs keypoints with scales and orientations")
    return values
