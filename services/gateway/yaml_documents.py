"""YAML that strangers wrote: read within bounds, and taken only if it is unambiguous.

What is understood is YAML's JSON part: mappings, lists and scalars (YAML 1.2.2, core schema, section 10.3.2; `yes`, `no`,
`on` and `off` are truth values as in YAML 1.1). Aliases and tags are refused: nothing that a person sets needs them, and
they are how a short text becomes a long one, or a program.
"""

import re
from collections.abc import Iterator

import yaml
from pydantic import JsonValue

from contracts.errors import ErrorCode, UserError
from services.gateway.json_bodies import shown_name

YAML_LIMIT_BYTES = 1 << 20
_DEPTH = 16
_NODES = 10_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_QUOTES = ("'", '"', "|", ">")
"""Styles of scalars that are text whatever they look like."""
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read_yaml_mapping(content: bytes, name: str) -> dict[str, JsonValue]:
    """The settings in `content`, which sentences call `name`; no settings if there is nothing in it.

    Raises UserError(INVALID_REQUEST) that says what is wrong, and in which line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _invalid(name, f"line {line} is not UTF-8; save the file as UTF-8") from None
    try:
        _refuse_excess(text, name)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _invalid(name, f"{error.problem or 'unreadable text'}{_line_of(error.problem_mark)}") from None
    except yaml.YAMLError:
        raise _invalid(name, "it holds characters that cannot be in YAML") from None
    value = None if root is None else _value(root, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise UserError(
            ErrorCode.INVALID_REQUEST, f"{name} must hold settings as lines of `name: value`; it is {kind}.", field=name
        )
    return value


def _refuse_excess(text: str, name: str) -> None:
    """Look at the text piece by piece, before anything is built from it."""
    depth = 0
    for number, event in enumerate(_events(text)):
        if isinstance(event, yaml.AliasEvent):
            raise _invalid(name, f"aliases are not taken; write the value out{_line_of(event.start_mark)}")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag not in (None, "!"):
            raise _invalid(name, f"tags are not taken; write the plain value{_line_of(event.start_mark)}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH:
            raise _invalid(name, f"it is nested more than {_DEPTH} deep{_line_of(event.start_mark)}")
        if number > _NODES:
            raise _invalid(name, f"it has more than {_NODES} entries, which no configuration has")


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=yaml.CSafeLoader)


def _value(node: yaml.Node, name: str) -> JsonValue:
    """What a node stands for; its depth is bounded."""
    match node:
        case yaml.MappingNode():
            return _mapping(node, name)
        case yaml.SequenceNode():
            return [_value(entry, name) for entry in node.value]
        case _:
            return _scalar(node)


def _mapping(node: yaml.MappingNode, name: str) -> JsonValue:
    found: dict[str, JsonValue] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _invalid(name, f"a name of a setting is not a plain text{_line_of(key.start_mark)}")
        if key.value in found:
            raise _invalid(name, f"the name {shown_name(key.value)} comes twice{_line_of(key.start_mark)}")
        found[key.value] = _value(value, name)
    return found


def _scalar(node: yaml.Node) -> JsonValue:
    text = str(node.value)
    if getattr(node, "style", None) in _QUOTES:
        return text
    if text in _NULLS:
        return None
    if text in (text.lower(), text.upper(), text.capitalize()) and text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _line_of(mark: object) -> str:
    """For a mark of either of PyYAML's two parsers, which have no type in common."""
    line = getattr(mark, "line", None)
    return f" in line {line + 1}" if isinstance(line, int) else ""


def _invalid(name: str, why: str) -> UserError:
    return UserError(ErrorCode.INVALID_REQUEST, f"{name} is not a usable YAML file: {why}.", field=name)
