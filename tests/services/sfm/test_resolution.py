"""What is used instead of features and matchers that are not there, and what people are told."""

import itertools
import re

import pytest

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.errors import ErrorCode, UserError
from services.sfm.learned.equipment import Equipment
from services.sfm.resolution import AVAILABLE_FEATURES, AVAILABLE_MATCHERS, GOES_WITH, resolve

EVERY = list(itertools.product(FeatureType, MatcherType))
HERE = (FeatureType.SIFT, MatcherType.NEAREST)


@pytest.mark.parametrize(("feature", "matcher"), EVERY)
def test_every_name_of_the_document_yields_something_that_is_there(feature: FeatureType, matcher: MatcherType) -> None:
    found = resolve(CaptureSettings(feature_type=feature, matcher_type=matcher))
    assert (found.asked_features, found.asked_matcher) == (feature, matcher)
    assert found.used_features in AVAILABLE_FEATURES
    assert found.used_matcher in AVAILABLE_MATCHERS
    assert found.used_features in GOES_WITH[found.used_matcher]
    if feature in AVAILABLE_FEATURES:
        assert found.used_features is feature


@pytest.mark.parametrize(("feature", "matcher"), EVERY)
def test_a_replacement_says_what_was_asked_for_what_is_used_and_how_to_mend_it(
    feature: FeatureType, matcher: MatcherType
) -> None:
    found = resolve(CaptureSettings(feature_type=feature, matcher_type=matcher))
    said = {
        ("feature_type", feature, found.used_features): found.feature_warnings,
        ("matcher_type", matcher, found.used_matcher): found.matcher_warnings,
    }
    for (setting, asked, used), warnings in said.items():
        if asked is used:
            assert warnings == ()
            continue
        (warning,) = warnings
        assert warning.startswith(f"{setting} `{asked}` was asked for and `{used}` ")
        assert f"Set {setting} to `{used}`" in warning
        assert "strict_features" in warning
    assert found.warnings == found.feature_warnings + found.matcher_warnings


def test_what_is_said_of_the_features_does_not_hang_on_the_matcher() -> None:
    """The features step is taken over by jobs with another matcher, and says again what it said."""
    for feature in FeatureType:
        said = {resolve(CaptureSettings(feature_type=feature, matcher_type=m)).feature_warnings for m in MatcherType}
        assert len(said) == 1


def test_a_matcher_of_other_features_is_told_from_one_that_is_missing() -> None:
    other = resolve(CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.DISK_LIGHTGLUE))
    missing = resolve(CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.ADALAM))
    assert "does not work on `sift` features" in other.matcher_warnings[0]
    assert "this worker does not have it" in missing.matcher_warnings[0]


@pytest.mark.parametrize(("feature", "matcher"), EVERY)
def test_strict_features_refuses_and_names_what_is_missing(feature: FeatureType, matcher: MatcherType) -> None:
    settings = CaptureSettings(feature_type=feature, matcher_type=matcher, strict_features=True)
    if (feature, matcher) == HERE:
        assert resolve(settings).warnings == ()
        return
    with pytest.raises(UserError) as error:
        resolve(settings)
    assert error.value.code is ErrorCode.FEATURES_UNAVAILABLE
    missing, advice = error.value.message.split(". ", 1)
    assert (f"feature_type `{feature}`" in missing) == (feature not in AVAILABLE_FEATURES)
    assert (f"matcher_type `{matcher}`" in missing) == (matcher not in AVAILABLE_MATCHERS)
    assert error.value.field == ("matcher_type" if feature in AVAILABLE_FEATURES else "feature_type")
    assert "feature_type `sift` with matcher_type `nearest`" in advice


def test_the_advice_of_the_refusal_works() -> None:
    resolve(CaptureSettings(feature_type=FeatureType.SIFT, matcher_type=MatcherType.NEAREST, strict_features=True))


def test_the_documents_own_defaults_are_resolved_with_two_warnings() -> None:
    found = resolve(CaptureSettings())
    assert (found.asked_features, found.asked_matcher) == ("superpoint_aachen", "superpoint+lightglue")
    assert (found.used_features, found.used_matcher) == HERE
    assert len(found.warnings) == 2


@pytest.mark.parametrize(("feature", "matcher"), EVERY)
def test_a_worker_that_has_everything_uses_what_was_asked_for(feature: FeatureType, matcher: MatcherType) -> None:
    everything = Equipment(names=(*FeatureType, *MatcherType))
    found = resolve(CaptureSettings(feature_type=feature, matcher_type=matcher), everything)
    assert found.used_features is feature and found.feature_warnings == ()
    goes = feature in GOES_WITH[matcher]
    assert found.used_matcher is (matcher if goes else MatcherType.NEAREST)
    assert bool(found.matcher_warnings) is not goes
    strict = CaptureSettings(feature_type=feature, matcher_type=matcher, strict_features=True)
    if goes:
        assert resolve(strict, everything).warnings == ()
        return
    with pytest.raises(UserError, match=f"`{re.escape(matcher)}` does not work on `{feature}`") as error:
        resolve(strict, everything)
    assert error.value.code is ErrorCode.FEATURES_UNAVAILABLE and error.value.field == "matcher_type"


def test_features_without_their_matcher_are_used_with_the_nearest() -> None:
    settings = CaptureSettings(feature_type=FeatureType.DISK, matcher_type=MatcherType.DISK_LIGHTGLUE)
    found = resolve(settings, Equipment(names=("disk",)))
    assert (found.used_features, found.used_matcher) == (FeatureType.DISK, MatcherType.NEAREST)
    assert found.feature_warnings == ()
    assert "alidade weights pull disk+lightglue" in found.matcher_warnings[0]


@pytest.mark.parametrize("feature", [feature for feature in FeatureType if feature is not FeatureType.SIFT])
def test_a_replacement_names_the_command_that_brings_the_weights(feature: FeatureType) -> None:
    (warning,) = resolve(CaptureSettings(feature_type=feature)).feature_warnings
    assert f"`alidade weights pull {feature}`" in warning
