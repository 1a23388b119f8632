"""Every network of the catalogue with random parameters, saved as its publisher saves it, and loaded by our own code."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from services.sfm.learned import aliked, disk, lightglue, superglue, superpoint, xfeat
from services.sfm.learned.catalogue import EXTRACTORS, MATCHERS
from services.sfm.learned.compute import Compute, best_compute
from services.sfm.learned.equipment import Equipment


def write_random_weights(folder: Path) -> None:
    """`<weights>/<file>` of all, in the layout and with the parameters' names that the publishers use."""
    torch.manual_seed(7)
    for entry in ("superpoint", "superglue_outdoor", "disk", "aliked-n16", "xfeat"):
        (folder / entry).mkdir(parents=True, exist_ok=True)
    superpoint.SuperPointForKeypointDetection(superpoint.configuration(-1)).save_pretrained(folder / "superpoint")
    superglue.SuperGlueForKeypointMatching(superglue.configuration()).save_pretrained(folder / "superglue_outdoor")
    torch.save({"extractor": disk.feature.DISK().state_dict()}, folder / "disk" / "depth-save.pth")
    _save_without(aliked.network(100), {"dkd.hw_grid"}, folder / "aliked-n16" / "aliked-n16.pth")
    small = xfeat.feature.XFeat().net
    # Trained ones are sure of their keypoints; random ones would all stay below the threshold.
    small.keypoint_head[-1].weight.data *= 100
    torch.save(small.state_dict(), folder / "xfeat" / "xfeat.pt")
    for features, size in lightglue.DESCRIPTOR_SIZES.items():
        (folder / f"{features}_lightglue").mkdir(exist_ok=True)
        state = lightglue.network(size).state_dict()
        del state["confidence_thresholds"]
        renamed = {_as_published(name): value for name, value in state.items()}
        torch.save(renamed, folder / f"{features}_lightglue" / f"{features}_lightglue.pth")


def _save_without(network: torch.nn.Module, left_out: set[str], path: Path) -> None:
    torch.save({name: value for name, value in network.state_dict().items() if name not in left_out}, path)


def _as_published(name: str) -> str:
    """LightGlue's authors name a layer's parts `self_attn.3.…` where the network has `transformers.3.self_attn.…`."""
    parts = name.split(".")
    return ".".join([parts[2], parts[1], *parts[3:]]) if parts[0] == "transformers" else name


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder)
    return folder


@pytest.fixture(scope="session")
def files(weights_folder: Path) -> Mapping[str, Path]:
    """By `<weights>/<file>`, as a worker finds them. Not found by digest: random parameters have none that is known."""
    return {
        path.relative_to(weights_folder).as_posix(): path
        for path in weights_folder.glob("*/*")
        if path.suffix in {".pth", ".pt", ".safetensors"}
    }


@pytest.fixture(scope="session")
def everything(files: Mapping[str, Path]) -> Equipment:
    """A worker that has all of the catalogue."""
    return Equipment(names=(*EXTRACTORS, *MATCHERS), files=dict(files))


@pytest.fixture(scope="session")
def compute() -> Compute:
    return best_compute(1)
