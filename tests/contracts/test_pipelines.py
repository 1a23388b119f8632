"""Pipelines are consistent data."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pipelines import CAPTURE, PIPELINES, Pipeline


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: f"{p.kind}-{len(p.stages[-1].steps)}")
def test_steps_cover_the_whole_range_without_gaps(pipeline: Pipeline) -> None:
    steps = [step for stage in pipeline.stages for step in stage.steps]
    assert steps[0].from_percent == 0
    assert steps[-1].to_percent == 100
    for before, after in itertools.pairwise(steps):
        assert before.to_percent == after.from_percent
    assert len({step.name for step in steps}) == len(steps)


@given(st.sampled_from([step.name for stage in CAPTURE.stages for step in stage.steps]), st.floats(-1, 2))
def test_percent_stays_within_its_step(name: str, fraction: float) -> None:
    step = CAPTURE.step(name)
    assert step.from_percent <= CAPTURE.percent(name, fraction) <= step.to_percent


def test_documented_progress_of_the_remap_api() -> None:
    starts = {step.label: step.from_percent for stage in reversed(CAPTURE.stages) for step in reversed(stage.steps)}
    assert starts == {
        "Initializing": 0,
        "ReScan → COLMAP": 10,
        "Features": 30,
        "Pairs": 50,
        "Matching": 65,
        "SfM": 80,
    }


def test_stage_order() -> None:
    after_ingest = CAPTURE.stage_after("ingest")
    assert after_ingest is not None
    assert after_ingest.service == "sfm"
    assert CAPTURE.stage_after("sfm") is None
    with pytest.raises(KeyError):
        CAPTURE.stage("gateway")


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: f"{p.kind}-{len(p.stages[-1].steps)}")
def test_a_step_of_a_later_version_is_called_by_its_name(pipeline: Pipeline) -> None:
    assert pipeline.label("colouring") == "colouring"
    first = pipeline.stages[0].steps[0]
    assert pipeline.label(first.name) == first.label
