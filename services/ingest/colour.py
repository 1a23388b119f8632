"""Colour: from what the phone recorded to display copies for matching, and to the colour space that was asked for.

OpenColorIO with a configuration built into its wheel; the internal linear space is linear light with Rec.709 (sRGB)
primaries. The two legs of the ReMap API are independent: an input space given means input -> linear, an output space
given means linear -> output, a space that is not given (or `raw`) leaves values as they are.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import PyOpenColorIO as ocio  # noqa: N813

from contracts.capture_settings import Colorspace
from services.ingest.pictures import Bytes8, Picture, to_8bit

CONFIG = "studio-config-v5.0.0_aces-v2.1_ocio-v2.6"
LINEAR = "Linear Rec.709 (sRGB)"
_NAMES = {
    Colorspace.LINEAR: LINEAR,
    Colorspace.SRGB: "sRGB Encoded Rec.709 (sRGB)",
    Colorspace.ACESCG: "ACEScg",
    Colorspace.ACES2065_1: "ACES2065-1",
    Colorspace.REC709: "Camera Rec.709",
    Colorspace.APPLE_LOG: "Apple Log",
}
# `log`: Kodak Cineon printing density (white at code 685, black at 95 of 1023, 0.002 density a code, negative gamma
# 0.6; Kennel 1995): log = 0.6/0.002/1023 * log10(lin * (1 - black) + black) + 685/1023, Rec.709 primaries.
_CINEON_SLOPE = 0.6 / 0.002 / 1023
_CINEON_WHITE = 685 / 1023
_CINEON_BLACK = 10 ** ((95 - 685) * 0.002 / 0.6)
_DISPLAY = frozenset({Colorspace.SRGB, Colorspace.REC709})
_SCENE = frozenset(Colorspace) - _DISPLAY - {Colorspace.RAW}
SHOULDER_START = 0.6
"""Linear light up to which display copies keep their exposure exactly; above, highlights roll off to white."""


@dataclass(frozen=True)
class ColourPlan:
    """What is done with the pictures of one source."""

    input: Colorspace | None
    output: Colorspace | None
    source_is_deep: bool
    """More than 8 bits a channel."""
    source_is_float: bool
    """Scene-linear floats (EXR)."""

    @property
    def passes_through(self) -> bool:
        """Delivered values are the recorded ones: the legs are empty, or cancel."""
        return not self._legs or self.input == self.output

    @property
    def delivered_bit_depth(self) -> int:
        """8 where an 8-bit source stays display-encoded or untouched, else 16."""
        if self.source_is_deep or self.source_is_float:
            return 16
        return 8 if self.passes_through or self.output in _DISPLAY else 16

    @property
    def display_source(self) -> Colorspace | None:
        """The scene-referred space that display copies are made from; None if the pictures are display-referred."""
        if self.input in _SCENE:
            return self.input
        return Colorspace.LINEAR if self.source_is_float and self.input not in _DISPLAY else None

    @property
    def delivers_matching_copies(self) -> bool:
        """The pictures to deliver would equal the copies for matching."""
        return self.passes_through and self.delivered_bit_depth == 8 and self.display_source is None

    @property
    def _legs(self) -> tuple[Colorspace, ...]:
        idle = (None, Colorspace.RAW, Colorspace.LINEAR)
        return tuple(space for space in (self.input, self.output) if space is not None and space not in idle)


@dataclass(frozen=True)
class Delivered:
    """A picture in the output colour space."""

    picture: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    clipped_pixels: int
    """Pixels with a channel outside 0..1, which a PNG cannot hold; they are clipped."""


class ColourConverter:
    """Converts (h, w, 3) RGB pictures; may be called from several threads."""

    def __init__(self, plan: ColourPlan) -> None:
        self.plan = plan
        self._to_display = None if plan.display_source is None else _processor(_display_legs(plan.display_source))
        legs = () if plan.passes_through else (*_to_linear(plan.input), *_from_linear(plan.output))
        self._to_delivered = _processor(tuple(legs)) if legs else None

    def matching(self, picture: Picture) -> Bytes8:
        """Display-referred 8-bit copy. Display-encoded and unknown input is taken as it is (Rec.709's camera curve is
        close enough to sRGB for features, and its tones stay unquantised)."""
        if self._to_display is None:
            if picture.dtype == np.float32:
                return np.asarray(np.rint(np.clip(picture, 0, 1) * 255), dtype=np.uint8)
            return to_8bit(picture)
        return _quantise_8(_apply(self._to_display, picture))

    def delivered(self, picture: Picture) -> Delivered:
        """The picture in the output colour space, 8 or 16 bit as the plan says; values outside 0..1 are clipped."""
        is_narrow = self.plan.delivered_bit_depth == 8
        if self._to_delivered is None and picture.dtype != np.float32:
            if is_narrow:
                return Delivered(to_8bit(picture), 0)
            if picture.dtype == np.uint16:
                return Delivered(picture.astype(np.uint16, copy=False), 0)
            return Delivered(picture.astype(np.uint16) * np.uint16(257), 0)
        values = _as_float(picture) if self._to_delivered is None else _apply(self._to_delivered, picture)
        # Half a step of the target: rounding alone does not count as clipping.
        slack = 0.5 / (255 if is_narrow else 65535)
        outside = ((values > 1 + slack) | (values < -slack)).any(axis=-1)
        clipped_pixels = int(np.count_nonzero(outside))
        return Delivered(_quantise_8(values) if is_narrow else _quantise_16(values), clipped_pixels)


def convert(
    values: npt.NDArray[np.float32], source: Colorspace | None, target: Colorspace | None
) -> npt.NDArray[np.float32]:
    """Convert (h, w, 3) float32 from `source` over linear to `target`; None and `raw` are idle legs."""
    legs = (*_to_linear(source), *_from_linear(target))
    return _apply(_processor(legs), values) if legs else values.copy()


@lru_cache(maxsize=1)
def _config() -> "ocio.Config":
    return ocio.Config.CreateFromBuiltinConfig(CONFIG)


def _to_linear(space: Colorspace | None) -> "tuple[ocio.Transform, ...]":
    if space in (None, Colorspace.RAW, Colorspace.LINEAR):
        return ()
    if space is Colorspace.LOG:
        return (_cineon(ocio.TRANSFORM_DIR_INVERSE),)
    assert space is not None
    return (ocio.ColorSpaceTransform(src=_NAMES[space], dst=LINEAR),)


def _from_linear(space: Colorspace | None) -> "tuple[ocio.Transform, ...]":
    if space in (None, Colorspace.RAW, Colorspace.LINEAR):
        return ()
    if space is Colorspace.LOG:
        return (_cineon(ocio.TRANSFORM_DIR_FORWARD),)
    assert space is not None
    return (ocio.ColorSpaceTransform(src=LINEAR, dst=_NAMES[space]),)


def _cineon(direction: "ocio.TransformDirection") -> "ocio.Transform":
    transform = ocio.LogAffineTransform(
        logSideSlope=[_CINEON_SLOPE] * 3,
        logSideOffset=[_CINEON_WHITE] * 3,
        linSideSlope=[1 - _CINEON_BLACK] * 3,
        linSideOffset=[_CINEON_BLACK] * 3,
        direction=direction,
    )
    transform.setBase(10)
    return transform


def _display_legs(space: Colorspace) -> "tuple[ocio.Transform, ...]":
    """To display sRGB: exposure kept up to `SHOULDER_START`, then a smooth roll-off, then the sRGB curve.

    The curve is a table over all half floats, so it has no upper end; its slope is continuous.
    """
    linear = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    linear = np.clip(np.nan_to_num(linear, nan=0.0, posinf=65504.0, neginf=0.0), 0, None)
    room = 1 - SHOULDER_START
    rolled = SHOULDER_START + room * (1 - np.exp(-np.maximum(linear - SHOULDER_START, 0) / room))
    display = srgb_encode(np.where(linear <= SHOULDER_START, linear, rolled))
    table = ocio.Lut1DTransform(65536, True)
    table.setInterpolation(ocio.INTERP_LINEAR)
    table.setData(np.repeat(display.astype(np.float32), 3))
    return (*_to_linear(space), table)


def srgb_encode(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sRGB curve of IEC 61966-2-1, for values in 0..1."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-12) ** (1 / 2.4) - 0.055)


def _processor(transforms: "tuple[ocio.Transform, ...]") -> "ocio.CPUProcessor":
    group = ocio.GroupTransform()
    for transform in transforms:
        group.appendTransform(transform)
    return _config().getProcessor(group).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)


def _apply(processor: "ocio.CPUProcessor", picture: Picture) -> npt.NDArray[np.float32]:
    values = np.ascontiguousarray(_as_float(picture))
    if values is picture:
        values = values.copy()
    processor.applyRGB(values)
    return values


def _as_float(picture: Picture) -> npt.NDArray[np.float32]:
    if picture.dtype == np.float32:
        return picture.astype(np.float32, copy=False)
    return picture.astype(np.float32) / np.float32(255 if picture.dtype == np.uint8 else 65535)


def _quantise_8(values: npt.NDArray[np.float32]) -> Bytes8:
    return np.asarray(np.rint(np.clip(values, 0, 1) * np.float32(255)), dtype=np.uint8)


def _quantise_16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    return np.asarray(np.rint(np.clip(values, 0, 1) * np.float32(65535)), dtype=np.uint16)
