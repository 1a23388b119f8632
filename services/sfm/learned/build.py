"""Extractors and matchers by their names in a job's settings, with their weights in them.

The libraries of a model are imported when it is asked for: transformers takes seconds, and who wants DISK does not need it.
"""

from collections.abc import Mapping
from pathlib import Path

from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Extractor, Matcher

Files = Mapping[str, Path]


def build_extractor(name: str, files: Files, most_keypoints: int, compute: Compute) -> Extractor:
    """`files` are those of `Equipment`. Raises KeyError for a name or a file that is not there, and WeightsUnusable."""
    match name:
        case "superpoint_aachen" | "superpoint_max":
            from services.sfm.learned import superpoint  # noqa: PLC0415

            preparation = superpoint.AACHEN if name == "superpoint_aachen" else superpoint.MAX
            network = superpoint.load(files["superpoint/model.safetensors"], most_keypoints)
            return superpoint.SuperPoint(network, preparation, compute)
        case "disk":
            from services.sfm.learned import disk  # noqa: PLC0415

            return disk.Disk(disk.load(files["disk/depth-save.pth"]), most_keypoints, compute)
        case "aliked-n16":
            from services.sfm.learned import aliked  # noqa: PLC0415

            return aliked.Aliked(aliked.load(files["aliked-n16/aliked-n16.pth"], most_keypoints), compute)
        case "xfeat":
            from services.sfm.learned import xfeat  # noqa: PLC0415

            return xfeat.XFeat(xfeat.load(files["xfeat/xfeat.pt"], most_keypoints), compute)
        case _:
            raise KeyError(name)


def build_matcher(name: str, files: Files, compute: Compute) -> Matcher:
    """As `build_extractor`. `nearest` is the one for descriptors that pycolmap cannot compare."""
    match name:
        case "superpoint+lightglue" | "disk+lightglue" | "aliked+lightglue":
            from services.sfm.learned import lightglue  # noqa: PLC0415

            features = name.removesuffix("+lightglue")
            path = files[f"{features}_lightglue/{features}_lightglue.pth"]
            return lightglue.LightGlue(lightglue.load(path, lightglue.DESCRIPTOR_SIZES[features]), compute)
        case "superglue":
            from services.sfm.learned import superglue  # noqa: PLC0415

            return superglue.SuperGlue(superglue.load(files["superglue_outdoor/model.safetensors"]), compute)
        case "adalam":
            from services.sfm.learned import adalam  # noqa: PLC0415

            return adalam.AdaLam(compute)
        case "nearest":
            from services.sfm.learned import nearest  # noqa: PLC0415

            return nearest.NearestNeighbours()
        case _:
            raise KeyError(name)
