import numpy as np
import numpy.typing as npt
import pytest

from contracts.capture_settings import Colorspace
from services.ingest.colour import SHOULDER_START, ColourConverter, ColourPlan, convert

STEP_16 = 1 / 65535
ENCODED = tuple(space for space in Colorspace if space is not Colorspace.RAW)


def grey(value: float) -> npt.NDArray[np.float32]:
    return np.full((1, 1, 3), value, dtype=np.float32)


def pixel(*rgb: float) -> npt.NDArray[np.float32]:
    return np.array([[rgb]], dtype=np.float32)


def plan(
    source: Colorspace | None = None, target: Colorspace | None = None, *, deep: bool = False, floats: bool = False
) -> ColourPlan:
    return ColourPlan(source, target, deep, floats)


def srgb(linear: float) -> float:
    return linear * 12.92 if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


@pytest.mark.parametrize(
    ("space", "encoded", "linear"),
    [
        (Colorspace.SRGB, 0.5, ((0.5 + 0.055) / 1.055) ** 2.4),
        (Colorspace.SRGB, 0.04, 0.04 / 12.92),
        (Colorspace.REC709, 0.5, ((0.5 + 0.099) / 1.099) ** (1 / 0.45)),
        (Colorspace.REC709, 0.045, 0.01),
        # Apple Log puts 18 % grey at 48.8 % and black at 15.0 % of the signal.
        (Colorspace.APPLE_LOG, 0.488272, 0.18),
        (Colorspace.APPLE_LOG, 0.150477, 0.0),
        # Cineon: code 685 of 1023 is white, 95 black, and 470 very nearly 18 %.
        (Colorspace.LOG, 685 / 1023, 1.0),
        (Colorspace.LOG, 95 / 1023, 0.0),
        (Colorspace.LOG, 470 / 1023, 0.18),
        (Colorspace.LINEAR, 0.18, 0.18),
        (Colorspace.RAW, 0.3, 0.3),
    ],
)
def test_known_greys(space: Colorspace, encoded: float, linear: float) -> None:
    # OpenColorIO takes BT.709's toe with the slope that makes the curve continuous, 4.514 instead of 4.5.
    tolerance = {470 / 1023: 0.004, 0.045: 2e-4}.get(encoded, 2e-5)
    np.testing.assert_allclose(convert(grey(encoded), space, None), grey(linear), atol=tolerance)
    np.testing.assert_allclose(convert(grey(linear), None, space), grey(encoded), atol=max(tolerance, 1e-4))


def test_srgb_half_is_0_21404_linear() -> None:
    assert float(convert(grey(0.5), Colorspace.SRGB, None)[0, 0, 1]) == pytest.approx(0.21404, abs=5e-6)


@pytest.mark.parametrize(
    ("space", "matrix"),
    [
        # Rec.709 to AP1 and AP0, Bradford from D65 to the ACES white: columns are the images of red, green, blue.
        (
            Colorspace.ACESCG,
            [[0.613097, 0.339523, 0.047379], [0.070194, 0.916354, 0.013452], [0.020616, 0.109570, 0.869815]],
        ),
        (
            Colorspace.ACES2065_1,
            [[0.439633, 0.382989, 0.177378], [0.089776, 0.813439, 0.096784], [0.017541, 0.111547, 0.870912]],
        ),
    ],
)
def test_aces_primaries(space: Colorspace, matrix: list[list[float]]) -> None:
    for column in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[column] = 1.0
        np.testing.assert_allclose(convert(pixel(*unit), None, space)[0, 0], np.array(matrix)[:, column], atol=2e-5)


@pytest.mark.parametrize("space", ENCODED)
def test_round_trips_stay_within_one_16_bit_step(space: Colorspace) -> None:
    colours = np.random.default_rng(0).uniform(0.01, 0.9, (20, 20, 3)).astype(np.float32)
    there_and_back = convert(convert(colours, None, space), space, None)
    assert np.abs(there_and_back - colours).max() <= STEP_16


@pytest.mark.parametrize("space", [Colorspace.APPLE_LOG, Colorspace.LOG])
def test_log_spaces_carry_highlights(space: Colorspace) -> None:
    encoded = convert(grey(6.0), None, space)
    assert 0.7 < float(encoded[0, 0, 0]) <= 1.0
    np.testing.assert_allclose(convert(encoded, space, None), grey(6.0), rtol=1e-4)


def test_the_legs_of_the_document() -> None:
    colours = np.random.default_rng(1).uniform(0, 1, (8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(convert(colours, None, None), colours)
    np.testing.assert_array_equal(convert(colours, Colorspace.RAW, Colorspace.RAW), colours)
    linear = convert(colours, Colorspace.SRGB, None)
    np.testing.assert_allclose(
        convert(colours, Colorspace.SRGB, Colorspace.ACESCG), convert(linear, None, Colorspace.ACESCG), atol=2e-6
    )


ALL = (None, *Colorspace)


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("target", ALL)
def test_every_pair_converts_8_and_16_bit_pictures_alike(source: Colorspace | None, target: Colorspace | None) -> None:
    eight = np.random.default_rng(2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    narrow = ColourConverter(plan(source, target))
    wide = ColourConverter(plan(source, target, deep=True))
    sixteen = eight.astype(np.uint16) * np.uint16(257)
    assert narrow.matching(eight).dtype == np.uint8
    np.testing.assert_array_equal(narrow.matching(eight), wide.matching(sixteen))
    assert wide.delivered(sixteen).picture.dtype == np.uint16
    delivered = narrow.delivered(eight).picture
    assert delivered.dtype == (np.uint8 if narrow.plan.delivered_bit_depth == 8 else np.uint16)
    exact = np.clip(convert(eight.astype(np.float32) / np.float32(255), source, target), 0, 1)
    scale = 255 if delivered.dtype == np.uint8 else 65535
    # The same space in and out is passed through; converting there and back agrees to rounding.
    out_of_range = source == target
    assert np.abs(delivered / scale - exact).max() <= (2e-3 if out_of_range else 0.51 / scale + 1e-6)


@pytest.mark.parametrize(
    ("case", "same", "bits"),
    [
        (plan(), True, 8),
        (plan(Colorspace.RAW), True, 8),
        (plan(Colorspace.SRGB, Colorspace.SRGB), True, 8),
        (plan(Colorspace.REC709, Colorspace.SRGB), False, 8),
        (plan(Colorspace.LINEAR), False, 8),
        (plan(Colorspace.SRGB), False, 16),
        (plan(Colorspace.SRGB, Colorspace.ACESCG), False, 16),
        (plan(None, Colorspace.LOG), False, 16),
        (plan(deep=True), False, 16),
        (plan(Colorspace.APPLE_LOG, Colorspace.SRGB, deep=True), False, 16),
        (plan(floats=True), False, 16),
    ],
)
def test_what_is_delivered_and_how_deep(case: ColourPlan, same: bool, bits: int) -> None:
    assert case.delivers_matching_copies is same
    assert case.delivered_bit_depth == bits


@pytest.mark.parametrize("source", [None, Colorspace.RAW, Colorspace.SRGB, Colorspace.REC709])
def test_display_input_is_matched_as_it_is(source: Colorspace | None) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(ColourConverter(plan(source)).matching(picture), picture)


@pytest.mark.parametrize(
    "source", [Colorspace.LINEAR, Colorspace.ACESCG, Colorspace.ACES2065_1, Colorspace.LOG, Colorspace.APPLE_LOG]
)
@pytest.mark.parametrize("linear", [0.002, 0.02, 0.18, 0.5])
def test_scene_input_keeps_its_exposure_on_display(source: Colorspace, linear: float) -> None:
    encoded = convert(grey(linear), None, source)
    picture = np.rint(encoded * 65535).astype(np.uint16)
    shown = ColourConverter(plan(source, deep=True)).matching(picture)
    assert np.abs(shown[0, 0] - srgb(linear) * 255).max() <= 1


def test_highlights_roll_off_smoothly_to_white() -> None:
    linear = np.concatenate([np.linspace(0, 1.5, 400), [3.0, 8.0, 1000.0]]).astype(np.float32)
    picture = np.repeat(linear[None, :, None], 3, axis=2)
    shown = ColourConverter(plan(Colorspace.LINEAR, floats=True)).matching(picture)[0, :, 0].astype(int)
    steps = np.diff(shown)
    assert (steps >= 0).all()
    assert steps[20:399].max() <= 2
    assert shown[-1] == 255
    below = linear <= SHOULDER_START
    assert np.abs(shown[below] - np.array([srgb(float(value)) for value in linear[below]]) * 255).max() <= 0.51
    assert 225 <= shown[266] < 255


def test_values_a_png_cannot_hold_are_clipped_and_counted() -> None:
    picture = np.array([[[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [1.5, 0.2, 0.2], [0.1, -0.2, 0.1]]], dtype=np.float32)
    delivered = ColourConverter(plan(floats=True)).delivered(picture)
    assert delivered.clipped_pixels == 2
    assert delivered.picture[0, 2].tolist() == [65535, 13107, 13107]
    assert delivered.picture[0, 3].tolist() == [6554, 0, 6554]
