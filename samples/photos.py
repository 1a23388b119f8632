"""Renders collections of photographs of several places, as people upload them, with exact truth.

    python -m samples.photos OUT --scenes 2 --images 20 --outliers 4 --seed 1

writes `photos.zip`, `truth.json` and `truth.csv` (the table of the Image Matching Challenge 2025). `--images` counts the pictures of
each scene. The same arguments give the same collection. Names of files tell nothing about scenes.
"""

import argparse
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from samples import photos_paint
from samples.photos_files import BODIES, QUARTER_TURNS, Body, Exif, developed, exif_tags, jpeg, write_archive
from samples.photos_render import PhotoCamera, PhotoRenderer
from samples.photos_scenes import KINDS, ORDINARY, SceneKind, make_scene
from samples.photos_truth import CollectionTruth, OutlierKind, PictureTruth, save_collection, write_table
from samples.photos_walk import Walk
from samples.surfaces import Floats

Layout = Literal["flat", "nested"]
_OUTLIER_KINDS: tuple[OutlierKind, ...] = ("elsewhere", "noise", "blurred")
_TURNED = (6, 8, 3)
_TRIES = 40


@dataclass(frozen=True)
class CollectionSpec:
    """What to photograph and how. `images` are taken in every scene; `width_px` is the sensor's, its height follows the camera."""

    scenes: tuple[SceneKind, ...] = ("house", "monument")
    images: int = 20
    outliers: int = 4
    seed: int = 1
    width_px: int = 800
    cameras: int = 2
    exif: Exif = "full"
    turned_share: float = 0.15
    """Share of pictures that are stored turned, with an EXIF orientation that says so."""
    layout: Layout = "nested"
    exposure_spread: float = 0.15
    """Spread of the logarithm of exposures."""
    noise: float = 0.01
    """Spread of the sensor's noise in shares of the picture's range."""
    distortion: float = 1.0
    """Times the cameras' own radial distortion: 0 for lenses without."""
    jpeg_quality: int = 92
    dataset: str = "generated"
    workers: int = 1

    def bodies(self) -> tuple[Body, ...]:
        """The cameras. Raises ValueError for more than there are."""
        if not 1 <= self.cameras <= len(BODIES):
            raise ValueError(f"between 1 and {len(BODIES)} cameras are possible")
        return tuple(replace(body, k1=body.k1 * self.distortion) for body in BODIES[: self.cameras])

    @property
    def texture_scale(self) -> float:
        """Small pictures see small textures only."""
        return next((scale for scale in (0.125, 0.25, 0.5) if scale >= 0.7 * self.width_px / 1600), 1.0)


@dataclass(frozen=True)
class _Subject:
    """What one process photographs: a scene of the collection, or something that is seen once."""

    kind: SceneKind
    outlier: OutlierKind | None
    name: str | None
    """Of the scene; None for an outlier."""
    seed: int
    images: int


@dataclass(frozen=True)
class _Taken:
    """One picture without its place in the archive."""

    content: bytes
    truth: PictureTruth


def make_collection(spec: CollectionSpec, folder: Path) -> CollectionTruth:
    """Writes `photos.zip`, `truth.json` and `truth.csv` into `folder`; returns the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([spec.seed, 21])
    taken = [picture for subject in _photograph_all(spec) for picture in subject]
    numbers = rng.permutation(len(taken)).tolist()
    pictures, files = [], []
    top = "" if spec.layout == "flat" else "holiday/"
    for number, picture in sorted(zip(numbers, taken, strict=True), key=lambda pair: pair[0]):
        below = "" if spec.layout == "flat" else f"day {1 + number * 3 // len(taken)}/"
        name = f"{below}IMG_{1001 + number}.{'JPG' if number % 5 == 0 else 'jpg'}"
        pictures.append(picture.truth.model_copy(update={"name": name}))
        files.append((top + name, picture.content))
    write_archive(files, folder / "photos.zip")
    ordered = tuple(sorted(pictures, key=lambda p: p.name))
    truth = CollectionTruth(dataset=spec.dataset, seed=spec.seed, top_folder=top.rstrip("/"), pictures=ordered)
    save_collection(truth, folder / "truth.json")
    write_table(truth.table(), folder / "truth.csv")
    return truth


def scene_names(spec: CollectionSpec) -> tuple[str, ...]:
    """Names of the scenes asked for, in order: a kind that occurs more than once is numbered."""
    return tuple(
        kind if spec.scenes.count(kind) == 1 else f"{kind}_{spec.scenes[:k].count(kind) + 1}"
        for k, kind in enumerate(spec.scenes)
    )


def scene_seeds(spec: CollectionSpec) -> tuple[int, ...]:
    """What `samples.photos_scenes.make_scene` needs to build the scenes of a collection again, with the spec's `texture_scale`."""
    return tuple(spec.seed * 1000 + k for k in range(len(spec.scenes)))


def _subjects(spec: CollectionSpec) -> list[_Subject]:
    scenes = [
        _Subject(kind, None, name, seed, spec.images)
        for kind, name, seed in zip(spec.scenes, scene_names(spec), scene_seeds(spec), strict=True)
    ]
    strays = [
        _Subject("elsewhere", _OUTLIER_KINDS[k % len(_OUTLIER_KINDS)], None, spec.seed * 1000 + 500 + k, 1)
        for k in range(spec.outliers)
    ]
    return scenes + strays


def _photograph_all(spec: CollectionSpec) -> Iterator[list[_Taken]]:
    subjects = _subjects(spec)
    if spec.workers <= 1:
        yield from (_photograph(spec, subject) for subject in subjects)
        return
    with ProcessPoolExecutor(spec.workers, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(_photograph, [spec] * len(subjects), subjects)


def _photograph(spec: CollectionSpec, subject: _Subject) -> list[_Taken]:
    rng = np.random.default_rng([subject.seed, 22])
    if subject.outlier == "noise":
        return [_noise(spec, rng)]
    # What is seen once and small, or blurred, needs no fine textures, whatever the size of the picture.
    scale = spec.texture_scale if subject.outlier is None else min(0.5, spec.texture_scale)
    scene = make_scene(subject.kind, subject.seed, scale)
    taken = []
    for k in range(subject.images):
        walk = scene.walks[k % len(scene.walks)]
        name = subject.name if walk.name is None else f"{subject.name}_{walk.name}"
        index = k // len(scene.walks)
        taken.append(_shot(spec, scene.renderer, walk, index=index, kind=subject.outlier, name=name, rng=rng))
    return taken


def _shot(
    spec: CollectionSpec,
    renderer: PhotoRenderer,
    walk: Walk,
    *,
    index: int,
    kind: OutlierKind | None,
    name: str | None,
    rng: np.random.Generator,
) -> _Taken:
    body, sensor, orientation = _chosen(spec, rng)
    camera = sensor.turned(QUARTER_TURNS[orientation])
    pose = _unobstructed(renderer, walk, camera, index, rng)
    radiance = renderer.view(camera, pose)
    if kind == "blurred":
        radiance = np.asarray(cv2.GaussianBlur(radiance, (0, 0), camera.width_px / 45), np.float32)
    exposure = float(np.exp(rng.normal(0, spec.exposure_spread)))
    picture = developed(radiance, exposure=exposure, noise=spec.noise, rng=rng)
    truth = _truth(
        body, camera, orientation=orientation, kind=kind, name=name, world_from_camera=pose if kind is None else None
    )
    return _Taken(jpeg(picture, orientation, spec.jpeg_quality, exif_tags(body, sensor, spec.exif)), truth)


def _noise(spec: CollectionSpec, rng: np.random.Generator) -> _Taken:
    body, sensor, orientation = _chosen(spec, rng)
    camera = sensor.turned(QUARTER_TURNS[orientation])
    painted = photos_paint.static(rng, camera.width_px, camera.height_px)
    picture: NDArray[np.uint8] = np.clip(np.rint(painted * 255), 0, 255).astype(np.uint8)
    truth = _truth(body, camera, orientation=orientation, kind="noise")
    return _Taken(jpeg(picture, orientation, spec.jpeg_quality, exif_tags(body, sensor, spec.exif)), truth)


def _chosen(spec: CollectionSpec, rng: np.random.Generator) -> tuple[Body, PhotoCamera, int]:
    """Who takes the picture, and how the camera is held."""
    bodies = spec.bodies()
    body = bodies[int(rng.integers(len(bodies)))]
    orientation = int(rng.choice(_TURNED)) if rng.random() < spec.turned_share else 1
    return body, body.camera(spec.width_px), orientation


def _unobstructed(
    renderer: PhotoRenderer, walk: Walk, camera: PhotoCamera, index: int, rng: np.random.Generator
) -> Floats:
    """A pose of the walk with nothing close before the lens. Raises RuntimeError if there is none."""
    x, y = np.meshgrid(np.linspace(0.05, 0.95, 9) * camera.width_px, np.linspace(0.05, 0.8, 7) * camera.height_px)
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2)
    for _ in range(_TRIES):
        pose = walk.pose(index, rng)
        depth = renderer.depth(camera, pose, pixels)
        seen = depth[depth > 0]
        if len(seen) > 20 and seen.min() > 0.3 * walk.radius_m[0] and pose[2, 3] > 0.4:
            return pose
    raise RuntimeError("no free place to stand was found")


def _truth(
    body: Body,
    camera: PhotoCamera,
    *,
    orientation: int,
    kind: OutlierKind | None,
    name: str | None = None,
    world_from_camera: Floats | None = None,
) -> PictureTruth:
    return PictureTruth(
        name="",
        scene=name,
        outlier=kind,
        camera=f"{body.make} {body.model}",
        width_px=camera.width_px,
        height_px=camera.height_px,
        focal_px=camera.focal_px,
        cx_px=camera.cx_px,
        cy_px=camera.cy_px,
        k1=camera.k1,
        camera_from_world=None if world_from_camera is None else np.linalg.inv(world_from_camera).tolist(),
        exif_orientation=orientation,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=2, help="how many of the ordinary kinds, in order")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="these kinds instead")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--outliers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--exif", choices=("full", "camera", "none"), default="full")
    parser.add_argument("--layout", choices=("flat", "nested"), default="nested")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    ordinary = tuple(ORDINARY[k % len(ORDINARY)] for k in range(given.scenes))
    spec = CollectionSpec(
        scenes=tuple(given.kinds) if given.kinds else ordinary,
        images=given.images,
        outliers=given.outliers,
        seed=given.seed,
        width_px=given.width,
        cameras=given.cameras,
        exif=given.exif,
        layout=given.layout,
        workers=given.workers,
    )
    truth = make_collection(spec, given.out)
    print(f"{len(truth.pictures)} pictures of {len(truth.scenes())} scenes in {given.out / 'photos.zip'}")


if __name__ == "__main__":
    main()
