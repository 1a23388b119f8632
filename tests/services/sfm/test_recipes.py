"""Recipes of the steps: what makes a job compute a step again, and what does not."""

import pytest

from contracts.capture_settings import (
    Approach,
    CameraModel,
    CaptureSettings,
    FeatureType,
    MapperType,
    MatcherType,
    PairingMode,
)
from contracts.errors import ErrorCode, UserError
from contracts.pipelines import CAPTURE
from services.sfm.pipeline import COMPUTE
from services.sfm.plan import STEPS
from services.sfm.step import recipes_of

BASE = CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.NEAREST)
ORDER = tuple(step.name for step in STEPS)


def anew(change: dict[str, object], frames: str = "f", conversion: str = "c", base: CaptureSettings = BASE) -> set[str]:
    """The steps that are computed again after a change of settings or inputs."""
    before = recipes_of(base, "f", "c")
    after = recipes_of(base.model_copy(update=change), frames, conversion)
    return {step for step in ORDER if before[step] != after[step]}


def test_the_plan_is_what_is_computed_in_the_order_of_the_pipeline() -> None:
    pipeline = tuple(step.name for step in CAPTURE.stage("sfm").steps)
    assert (*ORDER, "packaging") == pipeline
    assert tuple(COMPUTE) == ORDER


def test_steps_depend_on_settings_that_exist_and_on_steps_before_them() -> None:
    known = {"frames", "conversion"}
    for step in STEPS:
        assert set(step.settings) <= set(CaptureSettings.model_fields)
        assert set(step.inputs) <= known
        known.add(step.name)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"max_keypoints": 1000}, set(ORDER)),
        ({"feature_type": FeatureType.DISK}, set(ORDER)),
        ({"pairing_mode": PairingMode.POSES}, {"pairs", "matching", "mapping", "cloud"}),
        ({"matcher_type": MatcherType.ADALAM}, {"matching", "mapping", "cloud"}),
        ({"camera_model": CameraModel.OPENCV}, {"matching", "mapping", "cloud"}),
        ({"mapper_type": MapperType.COLMAP}, {"mapping", "cloud"}),
        ({"stray_approach": Approach.KNOWN_POSES}, {"mapping", "cloud"}),
        ({"stray_confidence": 1}, {"cloud"}),
        ({"stray_depth_subsample": 3}, {"cloud"}),
        ({"stray_gen_pointcloud": False}, {"cloud"}),
        ({"num_threads": 3}, set()),
        ({"strict_features": True}, set()),
        ({"color_pipeline": "any"}, set()),
    ],
)  # fmt: skip
def test_a_setting_computes_again_what_depends_on_it_and_no_more(change: dict[str, object], steps: set[str]) -> None:
    assert anew(change) == steps


def test_other_pictures_compute_everything_again_and_other_colours_only_the_cloud() -> None:
    assert anew({}) == set()
    assert anew({}, frames="g") == set(ORDER)
    assert anew({}, conversion="d") == {"cloud"}


def test_every_setting_is_a_steps_or_a_matter_of_indifference_or_of_ingest() -> None:
    """A new setting has to be thought about: forgotten here, an old output would be taken for what was asked for."""
    ingest = {"fps", "input_colorspace", "output_colorspace"}
    indifferent = {"num_threads", "strict_features", "color_pipeline"}
    ours = {name for step in STEPS for name in step.settings}
    assert ours | ingest | indifferent == set(CaptureSettings.model_fields)
    assert not ours & (ingest | indifferent)


def test_features_made_instead_of_others_are_not_taken_for_those() -> None:
    """`disk` on a worker without it is sift, but one that has it must not take that over for a job that asks for disk."""
    assert recipes_of(BASE, "f", "c") != recipes_of(
        BASE.model_copy(update={"feature_type": FeatureType.DISK}), "f", "c"
    )


def test_strict_features_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(UserError) as error:
        recipes_of(CaptureSettings(strict_features=True), "f", "c")
    assert error.value.code is ErrorCode.FEATURES_UNAVAILABLE
