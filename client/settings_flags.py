"""`--set name=value`, parsed to what the setting takes and checked before anything is uploaded.

The settings of each kind of job are the fields of a model.
"""

import difflib
import json
from collections.abc import Iterable

from pydantic import BaseModel, JsonValue, ValidationError

from client.errors import InvalidSetting
from contracts.capture_settings import CaptureSettings
from contracts.jobs import JobKind
from contracts.model import Frozen
from contracts.object_settings import ModelType
from contracts.scene_settings import Name

_WORDS: dict[str, JsonValue] = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "none": None,
    "null": None,
}


class ObjectFlags(Frozen):
    """What `--set` takes for six views of an object."""

    model_type: ModelType = ModelType.RECONVIAGEN


class SceneFlags(Frozen):
    """What `--set` takes for photographs."""

    dataset_name: Name = "custom"
    scene_name: Name = "scene_01"


class NoFlags(Frozen):
    """For point clouds, whose settings are a YAML file."""


SETTINGS: dict[JobKind, type[BaseModel]] = {
    JobKind.CAPTURE: CaptureSettings,
    JobKind.BUILDING: NoFlags,
    JobKind.OBJECT: ObjectFlags,
    JobKind.SCENE: SceneFlags,
}


def parse_settings(flags: Iterable[str], model: type[BaseModel]) -> dict[str, JsonValue]:
    """The settings that were given, and only those. Raises InvalidSetting with what there is instead."""
    settings: dict[str, JsonValue] = {}
    for flag in flags:
        name, equals, text = flag.partition("=")
        name = name.strip()
        if not equals:
            raise InvalidSetting(f"--set {flag}: a setting is given as name=value, for instance --set fps=4.")
        if name not in model.model_fields:
            raise InvalidSetting(_unknown(name, model))
        if name in settings:
            raise InvalidSetting(f"--set {name} is given twice.")
        settings[name] = _parse(name, text.strip(), model)
    return settings


def _parse(name: str, text: str, model: type[BaseModel]) -> JsonValue:
    """The first reading of `text` that the setting takes. Raises InvalidSetting."""
    for reading in _readings(text):
        try:
            model.model_validate({name: reading})
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
        else:
            return reading
    raise InvalidSetting(f"--set {name}={text}: {problem.removeprefix('Value error, ')}.{_meant(name, text, model)}")


def _readings(text: str) -> list[JsonValue]:
    if text.lower() in _WORDS:
        return [text, _WORDS[text.lower()]]
    try:
        number = json.loads(text)
    except ValueError:
        return [text]
    return [text, number] if isinstance(number, int | float) else [text]


def _unknown(name: str, model: type[BaseModel]) -> str:
    known = sorted(model.model_fields)
    if not known:
        return f"There is no setting {name}: the settings of a point cloud are a YAML file, given with --config."
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3)
    if close:
        return f"There is no setting {name}. Did you mean {' or '.join(close)}?"
    return f"There is no setting {name}. There are: {', '.join(known)}."


def _meant(name: str, text: str, model: type[BaseModel]) -> str:
    """Close matches among the values of a setting that has a list of them."""
    schema = model.model_json_schema()
    described = schema["properties"][name]
    options = [described, *described.get("anyOf", ()), *described.get("allOf", ())]
    references = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
    values = [value for reference in references for value in schema["$defs"][reference].get("enum", ())]
    close = difflib.get_close_matches(text.lower(), values, n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""
