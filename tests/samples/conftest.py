"""One small capture for all tests of the samples."""

from pathlib import Path

import pytest

from samples.capture import CaptureSpec, make_capture
from samples.flat import Flat, make_flat
from samples.truth import CaptureTruth

SPEC = CaptureSpec(frames=6, seed=5, width_px=320, workers=1, light_rays=12)


@pytest.fixture(scope="session")
def capture_spec() -> CaptureSpec:
    return SPEC


@pytest.fixture(scope="session")
def capture_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample-capture")


@pytest.fixture(scope="session")
def capture_truth(capture_dir: Path) -> CaptureTruth:
    return make_capture(SPEC, capture_dir)


@pytest.fixture(scope="session")
def flat() -> Flat:
    return make_flat(SPEC.seed, SPEC.texture_scale)
