"""Which features and which matcher a worker uses for those asked for. Imports nothing heavy."""

from dataclasses import dataclass

from contracts.capture_settings import CaptureSettings, FeatureType, MatcherType
from contracts.errors import ErrorCode, UserError
from contracts.weights import weights_for
from services.sfm.learned.equipment import BUILT_IN, Equipment

AVAILABLE_FEATURES = frozenset({FeatureType.SIFT})
AVAILABLE_MATCHERS = frozenset({MatcherType.NEAREST})
"""What every worker has, without weights."""

GOES_WITH: dict[MatcherType, frozenset[FeatureType]] = {
    MatcherType.SUPERPOINT_LIGHTGLUE: frozenset({FeatureType.SUPERPOINT_AACHEN, FeatureType.SUPERPOINT_MAX}),
    MatcherType.SUPERGLUE: frozenset({FeatureType.SUPERPOINT_AACHEN, FeatureType.SUPERPOINT_MAX}),
    MatcherType.DISK_LIGHTGLUE: frozenset({FeatureType.DISK}),
    MatcherType.ALIKED_LIGHTGLUE: frozenset({FeatureType.ALIKED_N16}),
    MatcherType.ADALAM: frozenset({FeatureType.SIFT}),
    MatcherType.NEAREST: frozenset(FeatureType),
}
"""The features whose descriptors a matcher understands."""


@dataclass(frozen=True)
class Resolution:
    """What was asked for, what is used instead, and what to tell the job's owner about the difference.

    Each step says what concerns its own output: a step that is taken over from another job says again what it said then,
    and that job may have asked for another matcher.
    """

    asked_features: FeatureType
    used_features: FeatureType
    asked_matcher: MatcherType
    used_matcher: MatcherType
    feature_warnings: tuple[str, ...]
    matcher_warnings: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.feature_warnings + self.matcher_warnings


def resolve(settings: CaptureSettings, equipment: Equipment = BUILT_IN) -> Resolution:
    """Decide on features and matcher for a worker that has `equipment`.

    Raises UserError(FEATURES_UNAVAILABLE) where `strict_features` is set and what is asked for cannot be had.
    """
    asked_features, asked_matcher = settings.feature_type, settings.matcher_type
    feature_warnings: tuple[str, ...] = ()
    matcher_warnings: tuple[str, ...] = ()
    used_features, used_matcher = asked_features, asked_matcher
    if not _has(asked_features, equipment):
        used_features = FeatureType.SIFT
        feature_warnings = (
            f"feature_type `{asked_features}` was asked for and `{used_features}` is used: this worker has no network "
            f"and weights for `{asked_features}`. {_how_to_have(asked_features)} Set feature_type to `sift` to ask for "
            "what is used, or strict_features to refuse the job instead.",
        )
    if used_features not in GOES_WITH[asked_matcher] or not _has(asked_matcher, equipment):
        used_matcher = MatcherType.NEAREST
        matcher_warnings = (
            f"matcher_type `{asked_matcher}` was asked for and `{used_matcher}` (mutual nearest neighbours with a ratio "
            f"test) is used: {_why_not(asked_matcher, used_features)} Set matcher_type to `nearest` to ask for what "
            "is used, or strict_features to refuse the job instead.",
        )
    if settings.strict_features and (feature_warnings or matcher_warnings):
        raise _unavailable(asked_features, asked_matcher, equipment)
    return Resolution(asked_features, used_features, asked_matcher, used_matcher, feature_warnings, matcher_warnings)


def _has(name: FeatureType | MatcherType, equipment: Equipment) -> bool:
    return name in AVAILABLE_FEATURES or name in AVAILABLE_MATCHERS or name in equipment.names


def _why_not(matcher: MatcherType, features: FeatureType) -> str:
    if features not in GOES_WITH[matcher]:
        return f"it does not work on `{features}` features."
    return f"this worker does not have it. {_how_to_have(matcher)}"


def _how_to_have(name: FeatureType | MatcherType) -> str:
    """The command that whoever runs the worker has to give."""
    try:
        weights_for(name)
    except KeyError:
        return "Whoever runs it installs `alidade[learned]`."
    return f"Whoever runs it installs `alidade[learned]` and runs `alidade weights pull {name}` there."


def _unavailable(features: FeatureType, matcher: MatcherType, equipment: Equipment) -> UserError:
    missing, mismatched = [], ""
    if not _has(features, equipment):
        missing.append(f"feature_type `{features}`")
    if not _has(matcher, equipment):
        missing.append(f"matcher_type `{matcher}`")
    if not missing:
        mismatched = f"matcher_type `{matcher}` does not work on `{features}` features"
    reason = mismatched or f"no worker here has {' and '.join(missing)}"
    return UserError(
        ErrorCode.FEATURES_UNAVAILABLE,
        f"strict_features is set and {reason}. Use feature_type `sift` with matcher_type `nearest`, or leave "
        "strict_features out to have them used instead.",
        field="matcher_type" if _has(features, equipment) else "feature_type",
    )
