"""What `POST /process` takes and refuses. Whatever comes, it is never a crash."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.capture_settings import Approach, CaptureRequest, CaptureSettings, Colorspace
from contracts.errors import ErrorCode, UserError
from services.gateway.capture_requests import capture_request
from services.gateway.json_bodies import parse_json_object
from tests.services.gateway.running_gateway import Gateway

ID = "a1b2c3d4e5f6"

DOCUMENTED_EXAMPLE = {
    "dataset_id": ID,
    "input_colorspace": "srgb",
    "output_colorspace": "acescg",
    "settings": {
        "fps": 4.0,
        "feature_type": "superpoint_aachen",
        "matcher_type": "superpoint+lightglue",
        "max_keypoints": 4096,
        "camera_model": "OPENCV",
        "mapper_type": "COLMAP",
        "stray_approach": "full_sfm",
        "pairing_mode": "sequential",
        "num_threads": 8,
        "color_pipeline": "None",
        "stray_confidence": 2,
        "stray_depth_subsample": 2,
        "stray_gen_pointcloud": True,
    },
}


def parse_process_request(body: bytes) -> CaptureRequest:
    return capture_request(parse_json_object(body))


def refused(document: object) -> UserError:
    with pytest.raises(UserError) as caught:
        parse_process_request(json.dumps(document).encode())
    return caught.value


def parsed(document: object) -> CaptureSettings:
    return parse_process_request(json.dumps(document).encode()).settings


def test_the_documents_own_example_is_taken() -> None:
    asked = parsed(DOCUMENTED_EXAMPLE)
    assert asked.fps == 4.0
    assert asked.output_colorspace is Colorspace.ACESCG
    expected = DOCUMENTED_EXAMPLE["settings"]
    assert isinstance(expected, dict)
    assert {name: asked.model_dump(mode="json")[name] for name in expected} == expected


DOCUMENTED_VALUES = {
    "fps": [2, 2.0, 10, 20],
    "feature_type": ["superpoint_aachen", "superpoint_max", "disk", "aliked-n16", "sift"],
    "matcher_type": ["superpoint+lightglue", "superglue", "disk+lightglue", "adalam"],
    "max_keypoints": [4096, 8192],
    "camera_model": ["OPENCV", "PINHOLE", "SIMPLE_RADIAL", "OPENCV_FISHEYE"],
    "mapper_type": ["COLMAP", "GLOMAP"],
    "stray_approach": ["full_sfm", "known_poses"],
    "pairing_mode": ["sequential", "exhaustive"],
    "num_threads": [1, 8],
    "color_pipeline": ["None", None, "ACES"],
    "stray_confidence": [0, 1, 2],
    "stray_depth_subsample": [1, 2],
    "stray_gen_pointcloud": [True, False],
}


@pytest.mark.parametrize("name", DOCUMENTED_VALUES)
def test_every_documented_value_is_taken_as_it_is(name: str) -> None:
    for value in DOCUMENTED_VALUES[name]:
        assert parsed({"dataset_id": ID, "settings": {name: value}}).model_dump(mode="json")[name] == value


@pytest.mark.parametrize("name", ["input_colorspace", "output_colorspace"])
def test_every_documented_colorspace_is_taken_in_any_case_in_both_places(name: str) -> None:
    for value in ("linear", "srgb", "acescg", "aces2065-1", "rec709", "log", "raw"):
        for written in (value, value.upper(), value.title()):
            for document in ({"dataset_id": ID, name: written}, {"dataset_id": ID, "settings": {name: written}}):
                assert parsed(document).model_dump(mode="json")[name] == value


def test_the_documented_defaults_are_applied_where_nothing_is_said() -> None:
    for document in ({"dataset_id": ID}, {"dataset_id": ID, "settings": {}}, {"dataset_id": ID, "settings": None}):
        asked = parsed(document)
        assert (asked.fps, asked.max_keypoints, asked.num_threads) == (5.0, 8192, None)
        assert (asked.feature_type, asked.matcher_type) == ("superpoint_aachen", "superpoint+lightglue")
        assert (asked.camera_model, asked.mapper_type) == ("PINHOLE", "GLOMAP")
        assert (asked.stray_approach, asked.pairing_mode) == ("full_sfm", "exhaustive")
        assert (asked.input_colorspace, asked.output_colorspace) == (None, None)
        assert (asked.stray_confidence, asked.stray_depth_subsample, asked.stray_gen_pointcloud) == (2, 2, True)


def test_unknown_settings_are_named_and_the_valid_ones_listed() -> None:
    error = refused({"dataset_id": ID, "settings": {"fps": 2, "fsp": 3, "max_keypoint": 1}})
    assert "fsp, max_keypoint" in error.message
    for name in CaptureSettings.model_fields:
        assert name in error.message
    assert error.field == "settings.fsp"


def test_unknown_top_level_fields_are_named() -> None:
    error = refused({"dataset_id": ID, "fps": 5})
    assert "fps" in error.message
    assert "dataset_id, input_colorspace, output_colorspace, settings" in error.message


@pytest.mark.parametrize("document", [{}, {"dataset_id": None}, {"dataset_id": ""}, {"settings": {}}])
def test_a_missing_data_set_is_said(document: object) -> None:
    assert "dataset_id is missing" in refused(document).message


@pytest.mark.parametrize("dataset_id", [5, True, [], {}, 1.5])
def test_a_data_set_is_named_by_a_string(dataset_id: object) -> None:
    assert "dataset_id must be a string" in refused({"dataset_id": dataset_id}).message


@pytest.mark.parametrize("values", [[], "x", 5, True])
def test_settings_are_an_object(values: object) -> None:
    assert "settings must be a JSON object" in refused({"dataset_id": ID, "settings": values}).message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("fps", 0, "a number above 0 and at most 240"),
        ("fps", "5", "a number above 0 and at most 240"),
        ("fps", True, "a number above 0 and at most 240"),
        ("fps", None, "a number above 0 and at most 240"),
        ("fps", 1e999, "a number above 0 and at most 240"),
        ("fps", 10**400, "a number above 0 and at most 240"),
        ("max_keypoints", 12.5, "a whole number at least 64 and at most 65536"),
        ("max_keypoints", [1], "a whole number at least 64 and at most 65536"),
        ("stray_confidence", 3, "a whole number at least 0 and at most 2"),
        ("num_threads", 0, "a whole number at least 1 and at most 1024 or null"),
        ("feature_type", "orb", "one of superpoint_aachen, superpoint_max, disk, aliked-n16, sift"),
        ("matcher_type", {}, "one of superpoint+lightglue, superglue, disk+lightglue"),
        ("camera_model", "FULL", "one of PINHOLE, OPENCV, SIMPLE_RADIAL, OPENCV_FISHEYE"),
        ("mapper_type", "other", "one of GLOMAP, COLMAP"),
        ("stray_approach", "magic", "one of full_sfm, known_poses"),
        ("pairing_mode", "", "one of exhaustive, sequential, poses"),
        ("stray_gen_pointcloud", 1, "true or false"),
        ("color_pipeline", 1, "a string or null"),
        ("color_pipeline", "x" * 1000, "at most 200 characters"),
    ],
)
def test_wrong_values_name_the_field_and_what_is_allowed(name: str, value: object, allowed: str) -> None:
    body = json.dumps({"dataset_id": ID, "settings": {name: value}}).replace("Infinity", "1e999")
    with pytest.raises(UserError) as caught:
        parse_process_request(body.encode())
    assert f"settings.{name}" in caught.value.message
    assert allowed in caught.value.message


def test_every_wrong_value_is_told_at_once() -> None:
    message = refused({"dataset_id": ID, "settings": {"fps": -1, "max_keypoints": "many"}}).message
    assert "settings.fps is -1" in message
    assert 'settings.max_keypoints is "many"' in message


@pytest.mark.parametrize("top_level", [True, False])
@pytest.mark.parametrize("name", ["input_colorspace", "output_colorspace"])
def test_unsupported_colorspaces_list_the_supported_ones(name: str, *, top_level: bool) -> None:
    wrong = {name: "adobe"}
    error = refused({"dataset_id": ID, **wrong} if top_level else {"dataset_id": ID, "settings": wrong})
    assert error.code is ErrorCode.UNSUPPORTED_COLORSPACE
    for value in ("linear", "srgb", "acescg", "aces2065-1", "rec709", "log", "raw"):
        assert value in error.message
    assert name in error.message


def test_colorspaces_come_in_any_case_and_the_top_level_wins() -> None:
    within = {"input_colorspace": "RAW", "output_colorspace": "Rec709"}
    asked = parsed({"dataset_id": ID, "input_colorspace": "ACES2065-1", "output_colorspace": None, "settings": within})
    assert asked.input_colorspace is Colorspace.ACES2065_1
    assert asked.output_colorspace is Colorspace.REC709


def test_any_arkit_value_means_known_poses() -> None:
    assert (
        parsed({"dataset_id": ID, "settings": {"stray_approach": "ARKit (fast)"}}).stray_approach
        is Approach.KNOWN_POSES
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b'{"dataset_id": NaN}',
        b"[" * 100_000,
        b"9" * 5000,
        b"{'a': 1}",
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
    ],
)
def test_what_is_not_a_json_object_is_said(body: bytes) -> None:
    with pytest.raises(UserError) as caught:
        parse_process_request(body)
    assert caught.value.code is ErrorCode.INVALID_JSON


ANY_TEXT = st.text() | st.text(st.characters(categories=["Cs", "L"]), max_size=3)
"""Halves of surrogate pairs among it, which hypothesis leaves out of its own accord."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from([*CaptureSettings.model_fields]) | ANY_TEXT
TOP_NAMES = st.sampled_from(["input_colorspace", "output_colorspace", "settings", "other"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.dictionaries(TOP_NAMES, JSON, max_size=2))
def test_settings_are_either_taken_or_refused_with_a_sentence(
    values: dict[str, object], top: dict[str, object]
) -> None:
    body = json.dumps({"dataset_id": ID, "settings": values, **top}).encode()
    try:
        request = parse_process_request(body)
    except UserError as error:
        assert error.message.endswith((".", "…."))
        error.message.encode()
    else:
        assert CaptureSettings.model_validate_json(request.settings.model_dump_json()) == request.settings


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_the_endpoint_never_fails_on_what_is_sent(gateway: Gateway, data: st.DataObject) -> None:
    body = data.draw(
        st.binary(max_size=64)
        | st.builds(
            lambda values, top: json.dumps({"dataset_id": ID, "settings": values, **top}).encode(),
            st.dictionaries(NAMES, JSON, max_size=3),
            st.dictionaries(TOP_NAMES, JSON, max_size=2),
        )
    )
    url = f"{gateway.url}/api/v1/process"
    async with gateway.client.post(url, data=body, headers=gateway.key) as answer:
        # The data set does not exist: what passes validation ends in a 404.
        assert answer.status in (400, 404)
        assert list(await answer.json()) == ["error", "message"]
