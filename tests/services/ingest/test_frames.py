from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.frames import frame_step, plan_slots, sharpest_per_slot, sharpness
from services.ingest.pictures import Picture


@dataclass(frozen=True)
class Plain:
    index: int
    pixels: npt.NDArray[np.uint8]

    def grey(self) -> npt.NDArray[np.uint8]:
        return self.pixels

    def rgb(self) -> Picture:
        return self.pixels


def blurred(sigma_px: float) -> npt.NDArray[np.uint8]:
    texture = np.random.default_rng(5).integers(0, 255, (60, 80), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(texture, (0, 0), sigma_px) if sigma_px else texture, dtype=np.uint8)


@pytest.mark.parametrize(("native", "fps", "step"), [(60, 5, 12), (60, 4, 15), (30, 60, 1), (59.94, 10, 6), (60, 7, 9)])
def test_the_step_is_the_documents(native: float, fps: float, step: int) -> None:
    assert frame_step(native, fps) == step


def test_step_one_keeps_every_usable_frame() -> None:
    usable = np.array([True, True, False, True])
    assert plan_slots(np.array([0, 0.2, 0.1, 0.4]), usable, 5.0, 5.0).tolist() == [0, 1, -1, 2]


@given(
    native=st.sampled_from([30.0, 59.94, 60.0]),
    fps=st.floats(0.5, 29),
    jitter=st.floats(0, 0.2),
    gaps=st.lists(st.integers(1, 299), max_size=40),
    seed=st.integers(0, 100),
)
def test_slots_follow_time_over_gaps_and_jitter(
    native: float, fps: float, jitter: float, gaps: list[int], seed: int
) -> None:
    kept = np.setdiff1d(np.arange(300), gaps)
    times_s = (kept + np.random.default_rng(seed).uniform(-jitter, jitter, len(kept))) / native
    slots = plan_slots(times_s, np.ones(len(kept), dtype=np.bool_), native, fps)
    chosen = slots[slots >= 0]
    assert (np.diff(chosen) >= 0).all()
    step_s = frame_step(native, fps) / native
    if step_s * native == 1:
        return
    offsets_s = np.abs((times_s - times_s[0])[slots >= 0] - chosen * step_s)
    assert offsets_s.max() <= max(0.3 * step_s, 0.5 / native) + 1e-6
    if not gaps and jitter < 0.01:
        # Unbroken recordings fill every slot but perhaps the last.
        assert set(range(int(300 / native / step_s))) <= set(chosen.tolist())


def test_after_a_gap_the_slots_stay_on_the_clock() -> None:
    times_s = np.concatenate([np.arange(60), np.arange(90, 150)]) / 60
    slots = plan_slots(times_s, np.ones(120, dtype=np.bool_), 60.0, 5.0)
    assert sorted(set(slots.tolist()) - {-1}) == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12]


def test_sharpness_falls_with_blur() -> None:
    values = [sharpness(blurred(sigma_px)) for sigma_px in (0, 0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


def test_the_sharpest_candidate_of_each_slot_is_kept_one_at_a_time() -> None:
    sigmas_px = [2.0, 0.0, 1.0, 3.0, 1.5, 2.0]
    slots = np.array([0, 0, 0, 1, 1, 3])
    alive: list[int] = []

    def source() -> Iterator[Plain]:
        for index, sigma_px in enumerate(sigmas_px):
            alive.append(index)
            yield Plain(index, blurred(sigma_px))

    seen = [(chosen.picture.index, len(alive)) for chosen in sharpest_per_slot(source(), slots)]
    # Each is handed on as soon as the next slot begins: nothing is piled up.
    assert seen == [(1, 4), (4, 6), (5, 6)]
