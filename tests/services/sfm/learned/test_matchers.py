"""Every matcher: against truth where there is one, else against what its library computes for the same pair."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from services.sfm.hloc_files import FeatureReader
from services.sfm.learned import lightglue, superglue
from services.sfm.learned.build import build_matcher
from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Side
from services.sfm.learned.matching import matched, stack
from tests.services.sfm.room_views import RoomViews

Files = Mapping[str, Path]
NETWORKS = {"superpoint+lightglue": 256, "disk+lightglue": 128, "aliked+lightglue": 128, "superglue": 256}
ALL = {**NETWORKS, "nearest": 128, "adalam": 128}
WIDTH, HEIGHT = 320.0, 240.0


def random_side(count: int, size: int, seed: int) -> Side:
    made = torch.Generator().manual_seed(seed)
    return Side(
        keypoints_px=torch.rand(1, count, 2, generator=made) * torch.tensor([WIDTH - 1, HEIGHT - 1]),
        scores=torch.rand(1, count, generator=made),
        descriptors=torch.nn.functional.normalize(torch.randn(1, count, size, generator=made), dim=-1),
        sizes_px=torch.tensor([[WIDTH, HEIGHT]]),
        scales_px=1 + torch.rand(1, count, generator=made),
        orientations_rad=torch.rand(1, count, generator=made),
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("counts", [(0, 30), (30, 0), (0, 0), (1, 1), (1, 40), (40, 1)])
def test_few_keypoints_are_no_accident(name: str, counts: tuple[int, int], files: Files, compute: Compute) -> None:
    matcher = build_matcher(name, files, compute)
    (found,) = matcher.match(random_side(counts[0], ALL[name], 0), random_side(counts[1], ALL[name], 1))
    assert found.indices.shape == (len(found.scores), 2)
    assert len(found.scores) <= min(counts)


@pytest.mark.parametrize("name", ALL)
def test_a_pair_in_company_is_matched_as_alone(name: str, files: Files, compute: Compute) -> None:
    matcher = build_matcher(name, files, compute)
    firsts = [random_side(60, ALL[name], seed) for seed in range(3)]
    # The second pictures hold what the first ones do, shuffled and blurred: there is something to match.
    seconds = [_seen_again(side, seed) for seed, side in enumerate(firsts)]
    alone = [matcher.match(first, second)[0] for first, second in zip(firsts, seconds, strict=True)]
    together = min(3, matcher.most_together)
    company = matcher.match(stack(firsts[:together]), stack(seconds[:together]))
    for one, other in zip(company, alone, strict=False):
        assert torch.equal(one.indices, other.indices)
        assert torch.allclose(one.scores, other.scores, atol=1e-5)


def _seen_again(side: Side, seed: int) -> Side:
    made = torch.Generator().manual_seed(100 + seed)
    order = torch.randperm(side.scores.shape[1], generator=made)
    noisy = side.descriptors[:, order] + 0.05 * torch.randn(side.descriptors.shape, generator=made)
    assert side.scales_px is not None and side.orientations_rad is not None
    return Side(
        keypoints_px=side.keypoints_px[:, order],
        scores=side.scores[:, order],
        descriptors=torch.nn.functional.normalize(noisy, dim=-1),
        sizes_px=side.sizes_px,
        scales_px=side.scales_px[:, order],
        orientations_rad=side.orientations_rad[:, order],
    )


def test_nearest_neighbours_find_every_descriptor_again(files: Files, compute: Compute) -> None:
    first = random_side(200, 128, 5)
    second = _seen_again(first, 5)
    (found,) = build_matcher("nearest", files, compute).match(first, second)
    assert len(found.indices) == 200
    assert torch.equal(first.keypoints_px[0, found.indices[:, 0]], second.keypoints_px[0, found.indices[:, 1]])
    cosines = (first.descriptors[0, found.indices[:, 0]] * second.descriptors[0, found.indices[:, 1]]).sum(1)
    assert torch.allclose(found.scores, (1 + cosines) / 2, atol=1e-5)


def test_what_looks_like_two_things_is_not_matched(files: Files, compute: Compute) -> None:
    first = random_side(20, 128, 6)
    again = _seen_again(first, 1)
    twice = stack_points(again, again)
    matcher = build_matcher("nearest", files, compute)
    (once,), (found,) = matcher.match(first, again), matcher.match(first, twice)
    assert len(once.indices) == 20
    assert len(found.indices) == 0


def stack_points(one: Side, other: Side) -> Side:
    def joined(a: Tensor | None, b: Tensor | None) -> Tensor:
        assert a is not None and b is not None
        return torch.cat([a, b], dim=1)

    return Side(
        joined(one.keypoints_px, other.keypoints_px),
        joined(one.scores, other.scores),
        joined(one.descriptors, other.descriptors),
        one.sizes_px,
        joined(one.scales_px, other.scales_px),
        joined(one.orientations_rad, other.orientations_rad),
    )


def test_adalam_keeps_what_agrees_with_its_surroundings(room: RoomViews, files: Files, compute: Compute) -> None:
    matcher = build_matcher("adalam", files, compute)
    with FeatureReader(room.features / "features.h5") as reader:
        pairs = [(room.names[0], room.names[1]), (room.names[0], room.names[2]), (room.names[0], room.names[3])]
        apart, turned, opposite = matched(pairs, reader, matcher, compute)
        for found, second in ((apart, 1), (turned, 2)):
            assert len(found.indices) > 300
            places = reader.read(room.names[0]).keypoints_px[found.indices[:, 0]].astype(np.float64)
            seen = reader.read(room.names[second]).keypoints_px[found.indices[:, 1]]
            assert np.mean(np.linalg.norm(room.carried(0, second, places) - seen, axis=1) < 2) > 0.97
        assert len(opposite.indices) < 10


def test_adalam_refuses_features_without_shape(files: Files, compute: Compute) -> None:
    plain = random_side(30, 128, 0)
    plain = Side(plain.keypoints_px, plain.scores, plain.descriptors, plain.sizes_px)
    with pytest.raises(ValueError, match="scales"):
        build_matcher("adalam", files, compute).match(plain, plain)


def test_superglue_is_transformers_own_where_both_pictures_have_as_many_keypoints(
    files: Files, compute: Compute
) -> None:
    network = superglue.load(files["superglue_outdoor/model.safetensors"])
    # Random parameters are sure of nothing: every mutual best counts.
    network.config.matching_threshold = 0.0
    first, second = random_side(50, 256, 1), random_side(50, 256, 2)
    with torch.inference_mode():
        theirs, scores, _, _ = network.eval()._match_image_pair(
            torch.stack([first.keypoints_px, second.keypoints_px], dim=1),
            torch.stack([first.descriptors, second.descriptors], dim=1),
            torch.stack([first.scores, second.scores], dim=1),
            int(HEIGHT),
            int(WIDTH),
        )
    (ours,) = superglue.SuperGlue(network, compute).match(first, second)
    rows = torch.full((50,), -1)
    rows[ours.indices[:, 0]] = ours.indices[:, 1]
    assert len(ours.indices) > 0
    assert torch.equal(rows, theirs[0, 0].long())
    assert torch.allclose(ours.scores, scores[0, 0][rows >= 0], atol=1e-5)


def test_superglue_takes_pictures_of_different_sizes(files: Files, compute: Compute) -> None:
    """What is scaled with its picture is the same to it."""
    network = superglue.load(files["superglue_outdoor/model.safetensors"])
    network.config.matching_threshold = 0.0
    matcher = superglue.SuperGlue(network, compute)
    first, second = random_side(30, 256, 1), random_side(40, 256, 2)
    larger = Side(second.keypoints_px * 2, second.scores, second.descriptors, second.sizes_px * 2)
    (one,), (other,) = matcher.match(first, second), matcher.match(first, larger)
    assert len(one.indices) > 0
    assert torch.equal(one.indices, other.indices)


def test_lightglue_reads_the_authors_names(files: Files) -> None:
    """Every parameter of the file is in the network: loading fails on any that is left over."""
    state = torch.load(files["disk_lightglue/disk_lightglue.pth"], weights_only=True)
    assert any(name.startswith("self_attn.3.") for name in state)
    network = lightglue.load(files["disk_lightglue/disk_lightglue.pth"], 128)
    assert torch.equal(network.transformers[3].self_attn.Wqkv.weight, state["self_attn.3.Wqkv.weight"])
