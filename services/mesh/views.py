"""Six pictures and six depth renders as they were uploaded."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ErrorCode, UserError
from contracts.object_settings import VIEWS

Raw = NDArray[np.uint8 | np.uint16]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class SixViews:
    """colours: six (h, w, 3) float32 in 0..1, gamma-encoded RGB. alphas: six (h, w) float32, or None where the pictures have
    none. depths: six (h, w) uint8 or uint16 as stored. Colours and depths may differ in size."""

    colours: tuple[Image, ...]
    alphas: tuple[Image | None, ...]
    depths: tuple[Raw, ...]

    @property
    def depth_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each depth render."""
        return tuple((depth.shape[1], depth.shape[0]) for depth in self.depths)


def view_name(index: int) -> str:
    """File name of picture 0 to 5 in a folder of checked pictures."""
    return f"view_{index}.png"


def depth_name(index: int) -> str:
    """File name of depth render 0 to 5."""
    return f"depth_{index}.png"


def read_views(folder: Path) -> SixViews:
    """Read view_0.png … depth_5.png. Raises UserError for a file that is no picture."""
    colours, alphas = zip(*(_colour(folder / view_name(i)) for i in range(VIEWS)), strict=True)
    return SixViews(colours, alphas, tuple(_depth(folder / depth_name(i)) for i in range(VIEWS)))


def _read(path: Path) -> Raw:
    stored = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(stored, cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise UserError(ErrorCode.INVALID_IMAGE, f"{path.name} cannot be decoded as a PNG image.", field=path.stem)
    return np.asarray(image)


def _colour(path: Path) -> tuple[Image, Image | None]:
    image = _read(path)
    whole = np.float32(255 if image.dtype == np.uint8 else 65535)
    values = image.astype(np.float32) / whole
    if values.ndim == 2:
        values = values[..., None]
    channels = values.shape[2]
    alpha = np.ascontiguousarray(values[..., -1]) if channels in (2, 4) else None
    colour = np.repeat(values[..., :1], 3, axis=2) if channels < 3 else values[..., 2::-1]
    return np.ascontiguousarray(colour), alpha


def _depth(path: Path) -> Raw:
    image = _read(path)
    if image.ndim == 3:
        # A grey picture that was stored as RGB: all channels say the same, and alpha says nothing of depth.
        image = image[..., 0]
    return np.ascontiguousarray(image)
