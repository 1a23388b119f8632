"""What a cloud's size tells: its unit, and whether it is a building's cloud at all."""

import numpy as np
import numpy.typing as npt

from services.ingest.clouds.source import Floats

MILLIMETRE_M = 0.001
MIN_THICKNESS_M = 0.10
"""A plane with 5 mm of noise is 3 cm thick, the shallowest relief of a façade more than this."""
_MIN_SIZE_M = 0.5
_LARGE = 1000.0
"""No building is a kilometre wide; in millimetres one metre has as many."""
_WHOLE_HEIGHT = 500.0
_WHOLE_TOLERANCE = 0.02
_WHOLE_SHARE = 0.99
_OUTER_PERCENT = 1.0


def robust_extent(points: npt.NDArray[np.floating]) -> Floats:
    """(3,) sizes along the axes of the inner 98 per cent of points (n, 3): strays do not count."""
    low, high = np.percentile(points, (_OUTER_PERCENT, 100 - _OUTER_PERCENT), axis=0)
    return np.asarray(high - low, np.float64)


def is_in_millimetres(sample: npt.NDArray[np.float32]) -> bool:
    """Whether points (n, 3), less a whole origin, are a building in millimetres.

    In metres they would be over a kilometre wide, and either half a kilometre high with whole numbers only, or more than a
    kilometre in each direction. Terrain is wide but flat.
    """
    extent = robust_extent(sample)
    if extent.max() <= _LARGE:
        return False
    whole = np.abs(sample - np.round(sample)) < _WHOLE_TOLERANCE
    return bool(extent.min() >= (_WHOLE_HEIGHT if whole.mean() > _WHOLE_SHARE else _LARGE))


def find_degeneracy(sample_m: npt.NDArray[np.float32]) -> str | None:
    """What points (n, 3) in metres are if they are no room or building, in words; None if they may be one."""
    low, high = np.percentile(sample_m, (_OUTER_PERCENT, 100 - _OUTER_PERCENT), axis=0)
    inner = sample_m[((sample_m >= low) & (sample_m <= high)).all(axis=1)].astype(np.float64)
    if len(inner) < 3:
        inner = sample_m.astype(np.float64)
    centred = inner - inner.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    small, middle, large = np.sort(robust_extent(centred @ axes))
    if large < MIN_THICKNESS_M:
        return f"all points lie within {_length(large)} of one place"
    if middle < MIN_THICKNESS_M:
        return f"all points lie on one line, {_length(large)} long"
    if small < MIN_THICKNESS_M:
        return f"all points lie on one plane, {_length(large)} by {_length(middle)}"
    if large < _MIN_SIZE_M:
        return f"all points lie within {_length(large)} of each other"
    return None


def _length(metres: float) -> str:
    return f"{metres:,.2f} m" if metres >= 0.01 else f"{metres * 1000:.3g} mm"
