"""Pictures as people upload them for an object, whole and broken."""

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE_PX = 32


def png(pixels: NDArray[np.uint8 | np.uint16]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def view(seed: int = 0, size_px: int = SIZE_PX) -> bytes:
    """Any picture, RGB."""
    return png(np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), np.uint8))


def depth(seed: int = 0, size_px: int = SIZE_PX) -> bytes:
    """16-bit grey: something in the middle, 0 around it."""
    pixels = np.zeros((size_px, size_px), np.uint16)
    inner = slice(size_px // 4, 3 * size_px // 4)
    pixels[inner, inner] = 20_000 + np.random.default_rng(seed).integers(0, 999, pixels[inner, inner].shape)
    return png(pixels)


def jpeg() -> bytes:
    return cv2.imencode(".jpg", np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8))[1].tobytes()
