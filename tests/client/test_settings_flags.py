"""Settings from the command line: right types, and errors that help."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from client.errors import InvalidSetting
from client.settings_flags import parse_settings
from contracts.capture_settings import CaptureSettings


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("fps=4", 4),
        ("fps=2.5", 2.5),
        ("max_keypoints=4096", 4096),
        ("stray_approach=known_poses", "known_poses"),
        ("stray_approach=ARKit poses", "ARKit poses"),
        ("camera_model=opencv", "opencv"),
        ("stray_gen_pointcloud=false", False),
        ("stray_gen_pointcloud=Yes", True),
        ("strict_features=on", True),
        ("num_threads=none", None),
        ("num_threads=8", 8),
        ("color_pipeline=5", "5"),
        ("matcher_type=superpoint+lightglue", "superpoint+lightglue"),
        (" fps = 4 ", 4),
    ],
)
def test_a_value_gets_the_setting_s_type(flag: str, value: JsonValue) -> None:
    [parsed] = parse_settings([flag], CaptureSettings).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("fsp=4", r"no setting fsp\. Did you mean fps\?"),
        ("pairing-mode=poses", "Did you mean pairing_mode"),
        ("qqq=1", "There are: camera_model, color_pipeline"),
        ("fps", "name=value"),
        ("fps=fast", "fps=fast: must be a number"),
        ("fps=0", "greater than 0"),
        ("fps=nan", "fps=nan"),
        ("fps=NaN", "fps=NaN"),
        ("fps=true", "must be a number"),
        ("max_keypoints=1e9", "max_keypoints"),
        ("max_keypoints=4096.5", "max_keypoints"),
        ("stray_gen_pointcloud=1", "must be true or false"),
        ("feature_type=siftt", "Did you mean sift"),
        ("mapper_type=", "mapper_type"),
        ("num_threads=[1]", "number"),
    ],
)
def test_what_cannot_be_is_refused_with_what_could(flag: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says):
        parse_settings([flag], CaptureSettings)


def test_a_setting_is_given_once() -> None:
    with pytest.raises(InvalidSetting, match="twice"):
        parse_settings(["fps=4", "fps=5"], CaptureSettings)


@given(st.sampled_from(sorted(CaptureSettings.model_fields)), st.text(max_size=30))
def test_what_is_let_through_the_server_takes_too(name: str, text: str) -> None:
    try:
        parsed = parse_settings([f"{name}={text}"], CaptureSettings)
    except InvalidSetting:
        return
    CaptureSettings.model_validate(parsed)


def test_nothing_is_added_to_what_was_given() -> None:
    assert parse_settings([], CaptureSettings) == {}
