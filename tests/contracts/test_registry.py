"""The register of messages is whole, and published schemas do not change under their readers."""

import copy
import inspect
import json
import pkgutil
from importlib import import_module

import jsonschema
import pytest

import contracts
from contracts import registry
from contracts.model import Message
from contracts.registry import EXAMPLES, SCHEMAS, TOPICS, Topic, breaking_changes, example_text, schema_text


def _topic_id(topic: Topic) -> str:
    return topic.file_name


@pytest.mark.parametrize("topic", TOPICS, ids=_topic_id)
def test_committed_schema_is_the_models_schema(topic: Topic) -> None:
    committed = (SCHEMAS / topic.file_name).read_text(encoding="utf-8")
    assert committed == schema_text(topic), "run `make schemas`; if it refuses, the change needs a new version"


@pytest.mark.parametrize("topic", TOPICS, ids=_topic_id)
def test_committed_example_fits_schema_and_model(topic: Topic) -> None:
    text = (EXAMPLES / topic.file_name).read_text(encoding="utf-8")
    assert text == example_text(topic)
    jsonschema.Draft202012Validator(json.loads(schema_text(topic))).validate(json.loads(text))
    assert topic.model.model_validate_json(text) == topic.example


@pytest.mark.parametrize("topic", TOPICS, ids=_topic_id)
def test_readers_survive_an_additive_change(topic: Topic) -> None:
    message = json.loads(example_text(topic))
    message["added_later"] = {"anything": 1}
    assert topic.model.model_validate(message) == topic.example


def test_no_schema_or_example_without_a_topic() -> None:
    names = {topic.file_name for topic in TOPICS}
    assert {path.name for path in SCHEMAS.iterdir()} == names
    assert {path.name for path in EXAMPLES.iterdir()} == names


def test_every_versioned_message_is_registered() -> None:
    registered = {topic.model for topic in TOPICS}
    embedded = {"Job"}  # travels inside JobEvent
    for module in pkgutil.iter_modules(contracts.__path__):
        if module.name == "registry":
            continue
        for name, model in inspect.getmembers(import_module(f"contracts.{module.name}"), inspect.isclass):
            if issubclass(model, Message) and "version" in model.model_fields and name not in embedded:
                assert model in registered, f"{name} has a version but is not in contracts.registry.TOPICS"


def test_version_in_the_model_is_the_topics() -> None:
    for topic in TOPICS:
        field = topic.model.model_fields.get("version")
        if field is not None:
            assert field.default == topic.version


def _mutated(topic: Topic, change: str) -> list[str]:
    old = json.loads(schema_text(topic))
    new = copy.deepcopy(old)
    name = next(iter(new["properties"]))
    match change:
        case "removed":
            del new["properties"][name]
        case "retyped":
            new["properties"][name] = {"type": "null"}
        case "added":
            new["properties"]["added_later"] = {"type": "string"}
        case "optional":
            new["required"] = new["required"][1:]
        case "reworded":
            new["properties"][name]["description"] = "In other words."
    return breaking_changes(old, new)


@pytest.mark.parametrize("topic", TOPICS, ids=_topic_id)
def test_breaking_changes_are_found_and_additive_ones_allowed(topic: Topic) -> None:
    assert _mutated(topic, "removed")
    assert _mutated(topic, "retyped")
    if "required" in json.loads(schema_text(topic)):
        assert _mutated(topic, "optional")
    assert not _mutated(topic, "added")
    assert not _mutated(topic, "reworded")


def test_a_property_may_be_called_like_a_word_of_the_schema() -> None:
    old = {"properties": {"title": {"type": "string", "title": "Title"}}}
    assert breaking_changes(old, {"properties": {}}) == ["/properties/title is gone"]
    assert breaking_changes(old, {"properties": {"title": {"type": "integer"}}})
    assert not breaking_changes(old, {"properties": {"title": {"type": "string"}}})


def test_error_codes_may_be_added_and_never_taken_away() -> None:
    old = {"$defs": {"ErrorCode": {"enum": ["INTERNAL"]}, "Axes": {"enum": ["y", "z"]}}}
    more = {"$defs": {"ErrorCode": {"enum": ["INTERNAL", "MODEL_OOM"]}, "Axes": {"enum": ["y", "z"]}}}
    assert not breaking_changes(old, more)
    assert breaking_changes(more, old)
    assert breaking_changes(old, {"$defs": {"ErrorCode": {"enum": ["INTERNAL"]}, "Axes": {"enum": ["x", "y", "z"]}}})


def test_writing_refuses_to_break_a_published_schema(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "SCHEMAS", tmp_path)
    monkeypatch.setattr(registry, "EXAMPLES", tmp_path)
    published = json.loads(schema_text(TOPICS[0]))
    published["properties"]["id"] = {"type": "integer"}
    (tmp_path / TOPICS[0].file_name).write_text(json.dumps(published))
    with pytest.raises(SystemExit, match="new version"):
        registry.main()
