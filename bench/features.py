"""Time of every extractor and matcher on this machine, with random weights: time does not hang on them, except that
LightGlue never stops early and never prunes much, so its figures are upper bounds.

    python bench/features.py [--keypoints 1024] [--threads 1] [--repeats 2]

Ends with one figure: seconds per megapixel of the fastest learned features.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pycolmap
import torch

from contracts.capture_settings import CaptureSettings
from services.sfm.features import extraction_options
from services.sfm.learned import adalam, aliked, disk, lightglue, nearest, superglue, superpoint, xfeat
from services.sfm.learned.compute import Compute, best_compute
from services.sfm.learned.interface import Extractor, Matcher, Side

WIDTH, HEIGHT = 1920, 1440
"""Of a phone's picture; megapixels are counted before it is resized."""


def extractors(most: int, compute: Compute) -> dict[str, Extractor]:
    network = superpoint.SuperPointForKeypointDetection(superpoint.configuration(most))
    return {
        "superpoint_aachen": superpoint.SuperPoint(network, superpoint.AACHEN, compute),
        "superpoint_max": superpoint.SuperPoint(network, superpoint.MAX, compute),
        "disk": disk.Disk(disk.feature.DISK(), most, compute),
        "aliked-n16": aliked.Aliked(aliked.network(most), compute),
        "xfeat": xfeat.XFeat(xfeat.feature.XFeat(top_k=most), compute),
    }


def matchers(compute: Compute) -> dict[str, tuple[Matcher, int]]:
    """With the length of the descriptors that each takes."""
    glue = superglue.SuperGlueForKeypointMatching(superglue.configuration())
    return {
        **{
            f"{name}+lightglue": (lightglue.LightGlue(lightglue.network(size), compute), size)
            for name, size in lightglue.DESCRIPTOR_SIZES.items()
        },
        "superglue": (superglue.SuperGlue(glue, compute), 256),
        "adalam": (adalam.AdaLam(compute), 128),
        "nearest (torch)": (nearest.NearestNeighbours(), 128),
    }


def picture() -> np.ndarray:
    """Noise of several octaves, (h, w, 3): something to find in every place."""
    made = torch.Generator().manual_seed(0)
    total = torch.zeros(1, 3, HEIGHT, WIDTH)
    for cells in (16, 64, 256):
        noise = torch.rand(1, 3, cells, cells, generator=made)
        total += torch.nn.functional.interpolate(noise, (HEIGHT, WIDTH), mode="bicubic")
    return np.asarray((total[0].permute(1, 2, 0) / 3).clamp(0, 1).numpy() * 255, np.uint8)


def side(count: int, size: int, seed: int, compute: Compute) -> Side:
    made = np.random.default_rng(seed)
    descriptors = made.normal(size=(1, count, size)).astype(np.float32)
    return Side(
        keypoints_px=compute.send((made.random((1, count, 2)) * (WIDTH - 1, HEIGHT - 1)).astype(np.float32)),
        scores=compute.send(made.random((1, count)).astype(np.float32)),
        descriptors=compute.send(descriptors / np.linalg.norm(descriptors, axis=-1, keepdims=True)),
        sizes_px=compute.send(np.array([[WIDTH, HEIGHT]], np.float32)),
        scales_px=compute.send(1 + made.random((1, count)).astype(np.float32)),
        orientations_rad=compute.send(made.random((1, count)).astype(np.float32)),
    )


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The best of `repeats`, after one that warms up."""
    best = float("inf")
    for number in range(repeats + 1):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number:
            best = min(best, time.perf_counter() - began)
    return best


def time_sift(image: np.ndarray, keypoints: int, threads: int) -> Callable[[], object]:
    options = extraction_options(CaptureSettings(max_keypoints=keypoints, num_threads=threads), WIDTH, HEIGHT)
    sift = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    grey = np.ascontiguousarray(image.mean(axis=2).astype(np.float32) / 255)
    # Shrunk to 1600 px as in a job.
    small = torch.nn.functional.interpolate(torch.from_numpy(grey)[None, None], (1200, 1600), mode="area")[0, 0].numpy()
    return lambda: sift.extract_from_float32_array(small)


def extract(extractor: Extractor, image: np.ndarray, compute: Compute) -> object:
    return extractor.detect(compute.send(extractor.preparation.prepare(image)[None]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keypoints", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    compute = best_compute(options.threads)
    image, megapixels = picture(), WIDTH * HEIGHT / 1e6
    print(f"{compute.device}, {options.threads} threads, {WIDTH}x{HEIGHT}, {options.keypoints} keypoints")
    taken = seconds(time_sift(image, options.keypoints, options.threads), options.repeats) / megapixels
    print(f"  {'sift':18} {taken:7.2f} s/MP", flush=True)
    grey = image.mean(axis=2).astype(np.uint8)
    fastest = float("inf")
    for name, extractor in extractors(options.keypoints, compute).items():
        source = grey if extractor.preparation.grey else image
        taken = seconds(partial(extract, extractor, source, compute), options.repeats) / megapixels
        fastest = min(fastest, taken)
        print(f"  {name:18} {taken:7.2f} s/MP", flush=True)
    for name, (matcher, size) in matchers(compute).items():
        first, second = (side(options.keypoints, size, seed, compute) for seed in (0, 1))
        taken = seconds(partial(matcher.match, first, second), options.repeats)
        print(f"  {name:22} {taken:9.4f} s/pair", flush=True)
    print(f"fastest_learned_s_per_mp {fastest:.3f}")


if __name__ == "__main__":
    main()
