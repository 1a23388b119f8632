"""Pooling is exact, and drift is judged by the documented limits."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.drift import (
    RESOLUTION_FEATURES,
    Z_FEATURES,
    Level,
    Measurements,
    Statistic,
    compare,
    drift_severity,
    has_drift,
    measurements_of,
    merged,
    recommendation,
    statistic_of,
)
from contracts.photos import Photo

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def photo(number: int, value: float) -> Photo:
    return Photo(
        name=f"{number}.jpg",
        file=f"pictures/{number:06d}.jpg",
        width_px=100 + number,
        height_px=200 + number,
        camera="c",
        sharpness=value,
        brightness=value + 1,
        contrast=value + 2,
    )


def measured(rate: float | None = None, count: int = 10, **features: tuple[float, float]) -> Measurements:
    """Features by mean and standard deviation."""
    return Measurements(
        features={name: Statistic(mean=mean, std=std, count=count) for name, (mean, std) in features.items()},
        registration_rate=rate,
        registration_count=0 if rate is None else count,
    )


def level(baseline: Measurements, live: Measurements) -> Level:
    return compare(baseline, live, NOON).status


@given(st.lists(VALUES, min_size=2, max_size=5))
def test_pooling_is_measuring_all_at_once_in_any_order(groups: list[list[float]]) -> None:
    statistics = [Measurements(features={"sharpness": statistic_of(group)}) for group in groups]
    forwards, backwards = statistics[0], statistics[-1]
    for statistic in statistics[1:]:
        forwards = merged(forwards, statistic)
    for statistic in reversed(statistics[:-1]):
        backwards = merged(statistic, backwards)
    whole = statistic_of([value for group in groups for value in group])
    for pooled in (forwards, backwards):
        found = pooled.features["sharpness"]
        assert pooled.scenes == len(groups)
        assert found.count == whole.count
        assert found.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
        assert found.std == pytest.approx(whole.std, rel=1e-6, abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=6))
def test_the_pooled_rate_is_over_all_pictures(counts: list[tuple[int, int]]) -> None:
    made = [
        measurements_of([photo(n, n) for n in range(total)], registered=min(registered, total))
        for registered, total in counts
    ]
    pooled = made[0]
    for each in made[1:]:
        pooled = merged(pooled, each)
    assert pooled.registration_rate == pytest.approx(
        sum(min(registered, total) for registered, total in counts) / sum(total for _, total in counts)
    )


def test_what_only_one_side_has_is_kept_when_pooled() -> None:
    pooled = merged(measured(sharpness=(1, 2)), measured(rate=0.5, descriptor_norm=(3, 4)))
    assert pooled == measured(rate=0.5, sharpness=(1, 2), descriptor_norm=(3, 4)).model_copy(update={"scenes": 2})


def test_a_collection_measures_its_pictures() -> None:
    made = measurements_of([photo(0, 10), photo(2, 14)], descriptor_norms=[1.0, 3.0], registered=1)
    assert made.features == {
        "sharpness": Statistic(mean=12, std=2, count=2),
        "brightness": Statistic(mean=13, std=2, count=2),
        "contrast": Statistic(mean=14, std=2, count=2),
        "width": Statistic(mean=101, std=1, count=2),
        "height": Statistic(mean=201, std=1, count=2),
        "descriptor_norm": Statistic(mean=2, std=1, count=2),
    }
    assert made.registration_rate == 0.5
    with pytest.raises(ValueError, match="without pictures"):
        measurements_of([])
    with pytest.raises(ValueError, match="3 of 2"):
        measurements_of([photo(0, 1), photo(1, 1)], registered=3)


@pytest.mark.parametrize("feature", Z_FEATURES)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("z", "expected"),
    [(0, "ok"), (2.99, "ok"), (3, "ok"), (3.01, "warning"), (4.99, "warning"), (5, "critical"), (80, "critical")],
)
def test_z_counts_in_standard_deviations_of_the_baselines_pictures(
    feature: str, sign: int, z: float, expected: Level
) -> None:
    # The spread of the live pictures and the number of both play no part.
    report = compare(
        measured(**{feature: (120.3, 7.1)}), measured(count=3, **{feature: (120.3 + sign * z * 7.1, 99.0)}), NOON
    )
    assert report.status == expected
    assert report.checks[feature].difference == pytest.approx(sign * z, abs=1e-9)
    assert report.checks[feature].drift == (expected != "ok")
    assert [alert.feature for alert in report.alerts] == ([] if expected == "ok" else [feature])


@pytest.mark.parametrize("feature", RESOLUTION_FEATURES)
@pytest.mark.parametrize(
    ("live", "expected"),
    [(1000, "ok"), (1300, "ok"), (700, "ok"), (1301, "warning"), (699, "warning"), (9e4, "warning")],
)
def test_resolution_may_change_by_thirty_percent(feature: str, live: float, expected: Level) -> None:
    assert level(measured(**{feature: (1000, 0)}), measured(**{feature: (live, 0)})) == expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (0.9, 0.9, "ok"), (0.9, 0.72, "ok"), (1.0, 0.8, "ok"), (0.9, 0.71, "warning"), (0.9, 0.54, "warning"),
        (0.9, 0.53, "critical"), (1.0, 0.0, "critical"), (0.5, 1.0, "ok"), (0.0, 0.0, "ok"), (0.0, 1.0, "ok"),
    ],
)  # fmt: skip
def test_the_registration_rate_may_drop_by_a_fifth_of_itself(before: float, now: float, expected: Level) -> None:
    report = compare(measured(before), measured(now), NOON)
    assert report.status == expected
    assert report.n_features_checked == 1


def test_the_worst_feature_decides_and_every_alert_says_what_changed() -> None:
    report = compare(
        measured(0.95, sharpness=(100, 10), brightness=(120, 10), height=(1000, 5)),
        measured(0.5, sharpness=(140, 1), brightness=(121, 1), height=(2000, 0)),
        NOON,
    )
    assert [(alert.feature, alert.severity) for alert in report.alerts] == [
        ("sharpness", "warning"),
        ("height", "warning"),
        ("registration_rate", "critical"),
    ]
    assert (report.status, report.n_features_checked, report.n_scenes_checked) == ("critical", 4, 1)
    assert "4.0 standard deviations" in report.alerts[0].message
    assert "+100%" in report.alerts[1].message
    assert "47%" in report.alerts[2].message
    assert (report.alerts[0].baseline_val, report.alerts[0].live_val) == (100, 140)


def test_baseline_pictures_that_all_agree_have_a_least_spread() -> None:
    before = measured(descriptor_norm=(1.0, 0.0))
    assert level(before, measured(descriptor_norm=(1.0 + 1e-8, 0.0))) == "ok"
    report = compare(before, measured(descriptor_norm=(1.1, 0.0)), NOON)
    assert report.status == "critical"
    assert math.isfinite(report.checks["descriptor_norm"].difference)


def test_one_picture_is_no_baseline_for_z_and_what_one_side_lacks_is_not_compared() -> None:
    assert compare(measured(count=1, sharpness=(1, 0)), measured(sharpness=(9, 0)), NOON).n_features_checked == 0
    report = compare(measured(0.9, sharpness=(1, 1)), measured(contrast=(9, 1)), NOON)
    assert (report.n_features_checked, report.status, report.checks) == (0, "ok", {})
    assert "nothing was compared" in report.message


def test_without_a_baseline_nothing_is_compared_and_the_report_says_so() -> None:
    report = compare(None, measured(0.1, sharpness=(1, 1)), NOON)
    assert (report.status, report.n_features_checked, report.n_scenes_checked) == ("ok", 0, 1)
    assert report.alerts == ()
    assert report.message == "There is no baseline for this dataset name yet; nothing was compared."
    assert report.timestamp == NOON


@given(VALUES, VALUES)
def test_any_report_can_be_sent_and_flags_agree_with_it(before: list[float], now: list[float]) -> None:
    sides = [Measurements(features={name: statistic_of(v) for name in Z_FEATURES}) for v in (before, now)]
    report = compare(*sides, NOON)
    assert type(report).model_validate_json(report.model_dump_json()) == report
    assert has_drift(report) == bool(report.alerts) == any(check.drift for check in report.checks.values())
    assert compare(sides[0], sides[0], NOON).status == "ok"


def test_severities_and_recommendations_are_the_documents() -> None:
    base = measured(sharpness=(100, 10))
    words = {
        severity: recommendation(severity)
        for severity in (drift_severity(compare(base, measured(sharpness=(m, 1)), NOON)) for m in (100, 140, 200))
    }
    assert words == {
        "low": "No action needed.",
        "moderate": "Moderate drift detected. Monitor future submissions.",
        "high": "High drift detected. Evaluated auto-retraining trigger.",
    }
