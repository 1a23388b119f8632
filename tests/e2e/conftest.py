"""A whole system, started as a user starts it, and a small capture with exact truth."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.api import Alidade
from deploy.local.system import System, running_system
from samples.capture import CaptureSpec, make_capture
from samples.truth import CaptureTruth


@dataclass(frozen=True)
class SmallCapture:
    """A capture of a few seconds in both conventions."""

    stray: Path
    rescan: Path
    truth: CaptureTruth


@pytest.fixture(scope="session")
def small_capture() -> Iterator[SmallCapture]:
    with tempfile.TemporaryDirectory(prefix="alidade-capture-") as folder:
        out = Path(folder)
        truth = make_capture(CaptureSpec(frames=16, width_px=640, seed=5), out)
        yield SmallCapture(out / "capture_stray.zip", out / "capture_rescan.zip", truth)


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="alidade-state-") as state, running_system(Path(state)) as running:
        yield running


@pytest.fixture
def alidade(system: System) -> Iterator[Alidade]:
    with Alidade(system.url, system.api_key) as connected:
        yield connected
