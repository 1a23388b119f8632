"""LightGlue (Lindenberger, Sarlin and Pollefeys, ICCV 2023), the network as kornia has it, with its authors' weights."""

from pathlib import Path

import torch
from kornia import feature
from torch import Tensor

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Matched, Side
from services.sfm.learned.loading import fill, read_state

DESCRIPTOR_SIZES = {"superpoint": 256, "disk": 128, "aliked": 128}
_DERIVED = frozenset({"confidence_thresholds"})


def network(descriptor_size: int) -> feature.LightGlue:
    """hloc's configuration: depth confidence 0.95, width confidence 0.99, matches from 0.1."""
    return feature.LightGlue(
        features=None,  # type: ignore[arg-type]  # kornia: "None builds the model and downloads no weights"
        input_dim=descriptor_size,
        depth_confidence=0.95,
        width_confidence=0.99,
        filter_threshold=0.1,
        weights=None,
    )


def load(path: Path, descriptor_size: int) -> feature.LightGlue:
    """From the authors' file, whose layers have other names. Raises WeightsUnusable if it belongs to another network."""
    made = network(descriptor_size)
    fill(made, {_renamed(name): value for name, value in read_state(path).items()}, derived=_DERIVED)
    return made


def _renamed(name: str) -> str:
    """`self_attn.3.…` of the authors is `transformers.3.self_attn.…`."""
    kind, _, rest = name.partition(".")
    if kind not in {"self_attn", "cross_attn"}:
        return name
    layer, _, parameter = rest.partition(".")
    return f"transformers.{layer}.{kind}.{parameter}"


class LightGlue:
    most_together = 1
    """A pair leaves the network when it is sure of it; in company it would stay for the slowest, and match otherwise."""

    def __init__(self, network: feature.LightGlue, compute: Compute) -> None:
        self._network = network.eval().to(compute.device)
        self._compute = compute

    @torch.inference_mode()
    def match(self, first: Side, second: Side) -> list[Matched]:
        with self._compute.autocast():
            found = self._network({"image0": _described(first), "image1": _described(second)})
        return [Matched(*pair) for pair in zip(found["matches"], [s.float() for s in found["scores"]], strict=True)]


def _described(side: Side) -> dict[str, Tensor]:
    return {"keypoints": side.keypoints_px, "descriptors": side.descriptors, "image_size": side.sizes_px}
