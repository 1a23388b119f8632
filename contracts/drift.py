"""How a collection of photographs differs from those that came before under the same name."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from contracts.jobs import Failure
from contracts.model import Message
from contracts.photos import Photo

Finite = Annotated[float, Field(allow_inf_nan=False)]
Level = Literal["ok", "warning", "critical"]
Severity = Literal["low", "moderate", "high"]

SHARPNESS = "sharpness"
BRIGHTNESS = "brightness"
CONTRAST = "contrast"
HEIGHT = "height"
WIDTH = "width"
DESCRIPTOR_NORM = "descriptor_norm"
REGISTRATION_RATE = "registration_rate"

Z_FEATURES = (SHARPNESS, BRIGHTNESS, CONTRAST, DESCRIPTOR_NORM)
RESOLUTION_FEATURES = (HEIGHT, WIDTH)

Z_WARNING = 3.0
Z_CRITICAL = 5.0
RESOLUTION_CHANGE = 0.30
REGISTRATION_DROP_WARNING = 0.20
REGISTRATION_DROP_CRITICAL = 0.40

MEASURING_LIMIT_S = 240.0
"""How long ingest measures one upload at most. Whoever asks waits a little longer."""

_ROUNDING = 1e-9
"""A limit that is met exactly must not be passed by the last bit of a division."""
_LEAST_RELATIVE_STD = 1e-6
"""Baseline pictures that all agree have no spread to count in: this share of their mean stands in for it."""


class Statistic(Message):
    """Of one feature over pictures."""

    mean: Finite
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Of the pictures themselves (divided by their number, not by one less)."""
    count: Annotated[int, Field(ge=1)]


class Measurements(Message):
    """What was measured of one collection, or of all accepted ones together (a baseline)."""

    version: Literal[1] = 1
    scenes: Annotated[int, Field(ge=1)] = 1
    """How many collections went in."""
    features: dict[str, Statistic]
    """`sharpness`, `brightness`, `contrast`, `height`, `width` (pixels), `descriptor_norm`."""
    registration_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    registration_count: Annotated[int, Field(ge=0)] = 0
    """How many pictures the rate is over."""


class Measured(Message):
    """Ingest's answer to "what would this upload's statistics be?": measurements, or why there are none."""

    version: Literal[1] = 1
    measurements: Measurements | None = None
    images: Annotated[int, Field(ge=0)] = 0
    """Pictures that could be read, duplicates counted once."""
    error: Failure | None = None


class Baseline(Message):
    """`baselines/<owner>/<name>/<number>.json`: all accepted collections of one owner under one name."""

    version: Literal[1] = 1
    owner: str
    dataset_name: str
    number: Annotated[int, Field(ge=1)]
    """Counts up by one with every accepted collection."""
    measurements: Measurements
    jobs: tuple[str, ...]
    """Whose collections went in, newest last; only the newest are kept."""
    updated_at: AwareDatetime


class DriftAlert(Message):
    """One feature that is not as it was."""

    feature: str
    stat_name: str
    baseline_val: float
    live_val: float
    severity: Literal["warning", "critical"]
    message: str


class DriftCheck(Message):
    """One feature that was compared, whatever came of it."""

    drift: bool
    stat_name: str
    baseline_val: float
    live_val: float
    difference: float
    """In the unit that the limits are given in: baseline standard deviations, or a share of the baseline's value."""
    severity: Level


class DriftReport(Message):
    """All that was compared."""

    timestamp: AwareDatetime
    n_scenes_checked: int
    n_features_checked: int
    alerts: tuple[DriftAlert, ...] = ()
    status: Level = "ok"
    checks: dict[str, DriftCheck] = Field(default_factory=dict)
    """By feature; those that only one side has are not in it."""
    message: str = ""
    """In a sentence, for people."""


def measurements_of(
    photos: Sequence[Photo], *, descriptor_norms: Sequence[float] = (), registered: int | None = None
) -> Measurements:
    """What one collection's pictures measure.

    `descriptor_norms` holds one mean norm per picture that has descriptors; `registered` is how many of the pictures
    are in a model, or None where none was made. Raises ValueError without pictures, or if more were registered than
    there are.
    """
    if not photos:
        raise ValueError("a collection without pictures has no statistics")
    if registered is not None and not 0 <= registered <= len(photos):
        raise ValueError(f"{registered} of {len(photos)} pictures cannot be registered")
    features = {
        SHARPNESS: statistic_of([photo.sharpness for photo in photos]),
        BRIGHTNESS: statistic_of([photo.brightness for photo in photos]),
        CONTRAST: statistic_of([photo.contrast for photo in photos]),
        HEIGHT: statistic_of([photo.height_px for photo in photos]),
        WIDTH: statistic_of([photo.width_px for photo in photos]),
    }
    if descriptor_norms:
        features[DESCRIPTOR_NORM] = statistic_of(descriptor_norms)
    return Measurements(
        features=features,
        registration_rate=None if registered is None else registered / len(photos),
        registration_count=0 if registered is None else len(photos),
    )


def statistic_of(values: Sequence[float]) -> Statistic:
    """Mean and standard deviation of one value per picture. Raises ValueError without values or if one is not finite."""
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return Statistic(mean=mean, std=math.sqrt(variance), count=len(values))


def merged(baseline: Measurements, live: Measurements) -> Measurements:
    """The measurements of both sets of collections together, as if all their pictures had been measured at once.

    Means and variances are pooled exactly (T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979); the rate is over all pictures of both.
    """
    features = dict(baseline.features)
    for name, statistic in live.features.items():
        features[name] = _pooled(features[name], statistic) if name in features else statistic
    count = baseline.registration_count + live.registration_count
    registered = _registered(baseline) + _registered(live)
    return Measurements(
        scenes=baseline.scenes + live.scenes,
        features=features,
        registration_rate=min(registered / count, 1.0) if count else None,
        registration_count=count,
    )


def compare(baseline: Measurements | None, live: Measurements, moment: datetime) -> DriftReport:
    """What differs between a collection and the baseline of its name.

    Sharpness, brightness, contrast and descriptor norm are judged by z: how far the mean over the live pictures lies
    from the mean over the baseline's pictures, in standard deviations of the baseline's pictures. (Of single pictures,
    not of their mean: a collection is one place and one light, and its pictures are not independent.) z > 3 is a
    warning, z >= 5 critical. Height and width are a warning when their mean changes by more than 30 % of the
    baseline's. The registration rate is a warning when it drops by more than 20 % of the baseline's, critical by
    more than 40 %; that it rises is no drift.

    Only what both sides have is compared, and a baseline of one picture has no spread to judge z by. Without a
    baseline the report is `ok`, with nothing compared, and says so.
    """
    if baseline is None:
        return DriftReport(
            timestamp=moment,
            n_scenes_checked=live.scenes,
            n_features_checked=0,
            message="There is no baseline for this dataset name yet; nothing was compared.",
        )
    checks = _checks(baseline, live)
    alerts = tuple(alert for name, check in checks.items() if (alert := _alert(name, check)) is not None)
    return DriftReport(
        timestamp=moment,
        n_scenes_checked=live.scenes,
        n_features_checked=len(checks),
        alerts=alerts,
        status=_worst(alerts),
        checks=checks,
        message=_summary(baseline, checks, alerts),
    )


def has_drift(report: DriftReport) -> bool:
    """Whether anything is not as it was."""
    return report.status != "ok"


def drift_severity(report: DriftReport) -> Severity:
    """The report's status in the words of a job's status."""
    severities: Mapping[Level, Severity] = {"ok": "low", "warning": "moderate", "critical": "high"}
    return severities[report.status]


def recommendation(severity: Severity) -> str:
    """What to do about it, in the words of the API."""
    texts: Mapping[Severity, str] = {
        "low": "No action needed.",
        "moderate": "Moderate drift detected. Monitor future submissions.",
        "high": "High drift detected. Evaluated auto-retraining trigger.",
    }
    return texts[severity]


def _pooled(first: Statistic, second: Statistic) -> Statistic:
    count = first.count + second.count
    apart = second.mean - first.mean
    squares = math.fsum(
        (
            first.count * first.std**2,
            second.count * second.std**2,
            apart**2 * (first.count * second.count / count),
        )
    )
    mean = math.fsum((first.count * first.mean, second.count * second.mean)) / count
    return Statistic(mean=mean, std=math.sqrt(squares / count), count=count)


def _registered(measurements: Measurements) -> float:
    return (measurements.registration_rate or 0.0) * measurements.registration_count


def _checks(baseline: Measurements, live: Measurements) -> dict[str, DriftCheck]:
    checks: dict[str, DriftCheck] = {}
    for name in (*Z_FEATURES, *RESOLUTION_FEATURES):
        before, now = baseline.features.get(name), live.features.get(name)
        if before is None or now is None:
            continue
        if name in RESOLUTION_FEATURES:
            if before.mean > 0:
                checks[name] = _resolution_check(before, now)
        elif before.count > 1:
            checks[name] = _z_check(before, now)
    if baseline.registration_rate is not None and live.registration_rate is not None:
        checks[REGISTRATION_RATE] = _registration_check(baseline.registration_rate, live.registration_rate)
    return checks


def _z_check(before: Statistic, now: Statistic) -> DriftCheck:
    std = max(before.std, _LEAST_RELATIVE_STD * max(abs(before.mean), 1.0))
    z = (now.mean - before.mean) / std
    distance = abs(z)
    severity: Level = "ok"
    if distance >= Z_CRITICAL - _ROUNDING:
        severity = "critical"
    elif distance > Z_WARNING + _ROUNDING:
        severity = "warning"
    return _check("mean", before.mean, now.mean, difference=z, severity=severity)


def _resolution_check(before: Statistic, now: Statistic) -> DriftCheck:
    change = (now.mean - before.mean) / before.mean
    severity: Level = "warning" if abs(change) > RESOLUTION_CHANGE + _ROUNDING else "ok"
    return _check("mean", before.mean, now.mean, difference=change, severity=severity)


def _registration_check(before: float, now: float) -> DriftCheck:
    change = (now - before) / before if before > 0 else 0.0
    severity: Level = "ok"
    if -change > REGISTRATION_DROP_CRITICAL + _ROUNDING:
        severity = "critical"
    elif -change > REGISTRATION_DROP_WARNING + _ROUNDING:
        severity = "warning"
    return _check("rate", before, now, difference=change, severity=severity)


def _check(stat_name: str, before: float, now: float, *, difference: float, severity: Level) -> DriftCheck:
    return DriftCheck(
        drift=severity != "ok",
        stat_name=stat_name,
        baseline_val=before,
        live_val=now,
        difference=difference,
        severity=severity,
    )


def _alert(feature: str, check: DriftCheck) -> DriftAlert | None:
    if check.severity == "ok":
        return None
    return DriftAlert(
        feature=feature,
        stat_name=check.stat_name,
        baseline_val=check.baseline_val,
        live_val=check.live_val,
        severity=check.severity,
        message=_sentence(feature, check),
    )


def _sentence(feature: str, check: DriftCheck) -> str:
    before, now = f"{check.baseline_val:.4g}", f"{check.live_val:.4g}"
    if feature == REGISTRATION_RATE:
        return f"The registration rate fell by {-check.difference:.0%}, from {before} to {now}."
    if feature in RESOLUTION_FEATURES:
        return f"The mean {feature} changed by {check.difference:+.0%}, from {before} to {now} pixels."
    name = feature.replace("_", " ")
    return (
        f"The mean {name} is {now}, {abs(check.difference):.1f} standard deviations from the baseline's {before} "
        f"({'above' if check.difference > 0 else 'below'})."
    )


def _worst(alerts: Sequence[DriftAlert]) -> Level:
    if any(alert.severity == "critical" for alert in alerts):
        return "critical"
    return "warning" if alerts else "ok"


def _summary(baseline: Measurements, checks: Mapping[str, DriftCheck], alerts: Sequence[DriftAlert]) -> str:
    if not checks:
        return "The baseline has no feature in common with these pictures; nothing was compared."
    compared = f"{len(checks)} features were compared with {baseline.scenes} earlier collections"
    if not alerts:
        return f"{compared}; none has drifted."
    return f"{compared}; drifted: {', '.join(alert.feature for alert in alerts)}."
