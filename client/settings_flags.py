"""`--set name=value`, parsed to what the setting takes and checked before anything is uploaded."""

import difflib
import json
from collections.abc import Iterable

from pydantic import JsonValue, ValidationError

from client.errors import InvalidSetting
from contracts.capture_settings import CaptureSettings

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


def parse_capture_settings(flags: Iterable[str]) -> dict[str, JsonValue]:
    """The settings that were given, and only those. Raises InvalidSetting with what there is instead."""
    settings: dict[str, JsonValue] = {}
    for flag in flags:
        name, equals, text = flag.partition("=")
        name = name.strip()
        if not equals:
            raise InvalidSetting(f"--set {flag}: a setting is given as name=value, for instance --set fps=4.")
        if name not in CaptureSettings.model_fields:
            raise InvalidSetting(_unknown(name))
        if name in settings:
            raise InvalidSetting(f"--set {name} is given twice.")
        settings[name] = _parse(name, text.strip())
    return settings


def _parse(name: str, text: str) -> JsonValue:
    """The first reading of `text` that the setting takes. Raises InvalidSetting."""
    for reading in _readings(text):
        try:
            CaptureSettings.model_validate({name: reading})
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
        else:
            return reading
    raise InvalidSetting(f"--set {name}={text}: {problem.removeprefix('Value error, ')}.{_meant(name, text)}")


def _readings(text: str) -> list[JsonValue]:
    if text.lower() in _WORDS:
        return [text, _WORDS[text.lower()]]
    try:
        number = json.loads(text)
    except ValueError:
        return [text]
    return [text, number] if isinstance(number, int | float) else [text]


def _unknown(name: str) -> str:
    known = sorted(CaptureSettings.model_fields)
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3)
    if close:
        return f"There is no setting {name}. Did you mean {' or '.join(close)}?"
    return f"There is no setting {name}. There are: {', '.join(known)}."


def _meant(name: str, text: str) -> str:
    """Close matches among the values of a setting that has a list of them."""
    schema = CaptureSettings.model_json_schema()
    described = schema["properties"][name]
    options = [described, *described.get("anyOf", ()), *described.get("allOf", ())]
    references = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
    values = [value for reference in references for value in schema["$defs"][reference].get("enum", ())]
    close = difflib.get_close_matches(text.lower(), values, n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(close)}?" if close else ""
