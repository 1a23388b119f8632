"""Generated objects with exact truth: fourteen shapes of varied topology, painted by code.

    python -m samples.objects OUT_DIR [--objects mug gear] [--seed 1] [--size 512] [--degraded]

writes, for every object, six views and six 16-bit depth renders as one uploads them, `cameras.json`, and `truth.ply`.
"""

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samples import objects_paint as paints
from samples.objects_paint import Paint
from samples.objects_shapes import SHAPES, Shape

_PAINT: dict[str, Callable[[np.random.Generator], Paint]] = {
    "pebble": paints.fine_grain,
    "torus": paints.stripes,
    "knot": paints.clouds,
    "box": paints.tiles,
    "bracket": paints.clouds,
    "mug": paints.stripes,
    "vase": paints.fine_grain,
    "gear": paints.clouds,
    "frame": paints.tiles,
    "chair": paints.wood,
    "robot": paints.enamel,
    "leaf": paints.clouds,
    "figurine": paints.fine_grain,
    "stairs": paints.wood,
}
CATALOGUE = tuple(SHAPES)
"""Names of all objects."""


@dataclass(frozen=True)
class SampleObject:
    """A shape and its colours."""

    name: str
    shape: Shape
    paint: Paint


def make_object(name: str, seed: int) -> SampleObject:
    """The object of the catalogue called `name`. The same arguments give the same object. Raises KeyError."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return SampleObject(name, SHAPES[name](rng), _PAINT[name](rng))


def main() -> None:
    # The files' module needs this one.
    from samples.objects_files import write_upload  # noqa: PLC0415
    from samples.objects_views import degraded_spec, exact_spec  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--objects", nargs="+", choices=CATALOGUE, default=list(CATALOGUE))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--degraded", action="store_true")
    options = parser.parse_args()
    for name in options.objects:
        made = make_object(name, options.seed)
        spec = degraded_spec(options.size, options.seed, name) if options.degraded else exact_spec(options.size)
        write_upload(made, spec, options.out / name)
        print(options.out / name)


if __name__ == "__main__":
    main()
