"""Features of pictures by an extractor, as hloc stores them."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.sfm.hloc_files import Features
from services.sfm.learned.compute import Compute
from services.sfm.learned.interface import Detected, Extractor
from services.sfm.learned.preparation import FloatImage, read_picture, to_picture_px


def extracted(
    folder: Path, names: Sequence[str], extractor: Extractor, compute: Compute
) -> Iterator[tuple[str, Features]]:
    """Name and features of every picture, in the order of `names`.

    Pictures of the same prepared size that follow each other go through the network together, on a graphics card.
    Raises UserError(INVALID_IMAGE) for a picture that cannot be read.
    """
    pictures = ((name, read_picture(folder / name, grey=extractor.preparation.grey)) for name in names)
    for _, alike in groupby(pictures, key=lambda named: named[1].shape):
        while batch := list(islice(alike, compute.pictures_at_once)):
            prepared = [extractor.preparation.prepare(picture) for _, picture in batch]
            found = extractor.detect(compute.send(np.stack(prepared)))
            for (name, picture), values, detected in zip(batch, prepared, found, strict=True):
                yield name, _as_features(detected, values, picture)


def _as_features(detected: Detected, prepared: FloatImage, picture: NDArray[np.uint8]) -> Features:
    size_px = (picture.shape[1], picture.shape[0])
    return Features(
        keypoints_px=to_picture_px(
            detected.keypoints_px.cpu().numpy(), (prepared.shape[2], prepared.shape[1]), size_px
        ),
        descriptors=detected.descriptors.cpu().numpy().astype(np.float16),
        scores=detected.scores.cpu().numpy(),
        size_px=size_px,
    )
