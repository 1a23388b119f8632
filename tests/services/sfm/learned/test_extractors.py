"""Every extractor with random parameters through its real loading path."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from services.sfm.hloc_files import Features
from services.sfm.learned import aliked, superpoint
from services.sfm.learned.build import build_extractor
from services.sfm.learned.catalogue import EXTRACTORS
from services.sfm.learned.compute import Compute
from services.sfm.learned.extraction import extracted
from services.sfm.learned.loading import WeightsUnusable

MOST = 150
WIDTH, HEIGHT = 333, 250
DESCRIPTOR_SIZE = {"superpoint_aachen": 256, "superpoint_max": 256, "disk": 128, "aliked-n16": 128, "xfeat": 64}
Files = Mapping[str, Path]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    coarse = np.random.default_rng(1).uniform(0, 255, (HEIGHT // 5, WIDTH // 5, 3)).astype(np.float32)
    noise = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    cv2.imwrite(str(folder / "turned.png"), np.ascontiguousarray(noise.transpose(1, 0, 2)))
    cv2.imwrite(str(folder / "black.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return folder


def features(name: str, files: Files, compute: Compute, folder: Path, pictures: list[str]) -> dict[str, Features]:
    return dict(extracted(folder, pictures, build_extractor(name, files, MOST, compute), compute))


# superpoint_max enlarges to 1600 px, which takes seconds here.
QUICK = [pytest.param(name, marks=[pytest.mark.slow] if name == "superpoint_max" else []) for name in EXTRACTORS]


@pytest.mark.parametrize("name", QUICK)
def test_features_are_in_the_picture_described_and_limited(
    name: str, files: Files, compute: Compute, pictures: Path
) -> None:
    found = features(name, files, compute, pictures, ["noise.png", "turned.png"])
    assert list(found) == ["noise.png", "turned.png"]
    for picture, (width, height) in (("noise.png", (WIDTH, HEIGHT)), ("turned.png", (HEIGHT, WIDTH))):
        one = found[picture]
        assert one.size_px == (width, height)
        assert 20 < len(one.scores) <= MOST
        assert one.keypoints_px.shape == (len(one.scores), 2) and one.keypoints_px.dtype == np.float32
        assert (one.keypoints_px > 0).all() and (one.keypoints_px < (width, height)).all()
        # Both axes are used to their ends: none was scaled by the other's factor.
        assert (np.ptp(one.keypoints_px, axis=0) > 0.8 * np.array([width, height])).all()
        assert one.descriptors.shape == (len(one.scores), DESCRIPTOR_SIZE[name])
        norms = np.linalg.norm(one.descriptors.astype(np.float32), axis=1)
        assert norms == pytest.approx(np.ones(len(norms)), abs=2e-3)
        assert one.scales_px is None and one.orientations_rad is None


@pytest.mark.parametrize("name", QUICK)
def test_the_same_picture_gives_the_same_features(name: str, files: Files, compute: Compute, pictures: Path) -> None:
    runs = [features(name, files, compute, pictures, ["noise.png"])["noise.png"] for _ in range(2)]
    assert np.array_equal(runs[0].keypoints_px, runs[1].keypoints_px)
    assert np.array_equal(runs[0].descriptors, runs[1].descriptors)


@pytest.mark.parametrize("name", QUICK)
def test_a_black_picture_is_no_accident(name: str, files: Files, compute: Compute, pictures: Path) -> None:
    found = features(name, files, compute, pictures, ["black.png"])["black.png"]
    assert found.descriptors.shape == (len(found.scores), DESCRIPTOR_SIZE[name])
    assert np.isfinite(found.keypoints_px).all()


@pytest.mark.parametrize("name", [name for name in EXTRACTORS if name != "superpoint_max"])
def test_networks_run_in_half_precision(name: str, files: Files, pictures: Path) -> None:
    """bfloat16 on the processor, since there is no card: what comes out is in single precision again."""
    half = Compute(torch.device("cpu"), torch.bfloat16)
    extractor = build_extractor(name, files, MOST, half)
    channels = 1 if extractor.preparation.grey else 3
    (found,) = extractor.detect(torch.rand(1, channels, 96, 128, generator=torch.Generator().manual_seed(0)))
    assert len(found.scores) > 0
    assert {found.keypoints_px.dtype, found.scores.dtype, found.descriptors.dtype} == {torch.float32}
    whole = found.keypoints_px == found.keypoints_px.round()
    assert bool(whole.all()) is (name != "aliked-n16")


@pytest.mark.parametrize("name", [name for name in EXTRACTORS if name != "superpoint_max"])
def test_pictures_together_are_as_alone(name: str, files: Files, compute: Compute) -> None:
    extractor = build_extractor(name, files, MOST, compute)
    channels = 1 if extractor.preparation.grey else 3
    both = torch.rand(2, channels, 96, 128, generator=torch.Generator().manual_seed(3))
    together = extractor.detect(both)
    for index, found in enumerate(together):
        (alone,) = extractor.detect(both[index : index + 1])
        # Sums come in another order: a keypoint at the limit of the number may be another one.
        mine = {tuple(place) for place in found.keypoints_px.round().int().tolist()}
        theirs = {tuple(place) for place in alone.keypoints_px.round().int().tolist()}
        assert len(mine & theirs) > 0.95 * len(mine | theirs)


def test_superpoints_keypoints_move_with_the_picture(files: Files, compute: Compute) -> None:
    """By 8 px, its cell: places far from the border are found at exactly 8 px more, which an origin put wrong cannot hide."""
    extractor = superpoint.SuperPoint(
        superpoint.load(files["superpoint/model.safetensors"], -1), superpoint.AACHEN, compute
    )
    wide = torch.rand(1, 1, 160, 200, generator=torch.Generator().manual_seed(0))
    (here,), (there,) = extractor.detect(wide[..., 8:]), extractor.detect(wide[..., :-8])
    margin = 64

    def inner(places: torch.Tensor, shift: int) -> set[tuple[int, ...]]:
        moved = places + torch.tensor([shift, 0])
        kept = (moved[:, 0] > margin) & (moved[:, 0] < 200 - margin) & (moved[:, 1] > margin) & (moved[:, 1] < 96)
        return {tuple(place) for place in moved[kept].int().tolist()}

    assert len(inner(there.keypoints_px, 0)) > 10
    assert inner(here.keypoints_px, 8) == inner(there.keypoints_px, 0)


def test_aliked_finds_a_score_maximum_between_pixels() -> None:
    """Its soft maximum, on a score map with one peak at a known place."""
    truth = np.array([20.3, 14.8])
    v, u = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    peak = 0.9 * torch.exp(-((u - truth[0]) ** 2 + (v - truth[1]) ** 2) / (2 * 1.0**2))
    network = aliked.network(10)
    (places,), _, _ = network.dkd(peak[None, None])
    found = (places.numpy() + 1) / 2 * np.array([47, 31])
    assert found == pytest.approx(truth[None], abs=0.15)


@pytest.mark.parametrize(
    ("name", "of_another"),
    [
        ("disk", "aliked-n16/aliked-n16.pth"),
        ("aliked-n16", "xfeat/xfeat.pt"),
        ("xfeat", "disk/depth-save.pth"),
        ("superpoint_aachen", "superglue_outdoor/model.safetensors"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_of_another_network_are_refused(name: str, of_another: str, files: Files, compute: Compute) -> None:
    key = {"disk": "disk/depth-save.pth", "aliked-n16": "aliked-n16/aliked-n16.pth", "xfeat": "xfeat/xfeat.pt"}.get(
        name, "superpoint/model.safetensors"
    )
    with pytest.raises(WeightsUnusable):
        build_extractor(name, {**files, key: files[of_another]}, MOST, compute)


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, files: Files, compute: Compute) -> None:
    (tmp_path / "xfeat.pt").write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsUnusable, match=r"xfeat\.pt"):
        build_extractor("xfeat", {**files, "xfeat/xfeat.pt": tmp_path / "xfeat.pt"}, MOST, compute)
