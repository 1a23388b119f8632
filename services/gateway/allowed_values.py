"""What a JSON Schema allows, in words: for sentences that tell how to mend a setting."""

from collections.abc import Mapping

from pydantic import JsonValue

# pydantic writes bounds under its own names where they stand on a union.
_BOUNDS = (
    (("exclusiveMinimum", "gt"), "above"),
    (("minimum", "ge"), "at least"),
    (("maximum", "le"), "at most"),
)


def allowed(schema: Mapping[str, JsonValue], definitions: Mapping[str, JsonValue]) -> str:
    """What a value of `schema` may be. `definitions` are the document's `$defs`."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = definitions[reference.rsplit("/", 1)[1]]
        assert isinstance(target, dict)
        return allowed(target, definitions)
    options = schema.get("anyOf")
    if isinstance(options, list):
        entries = [option for option in options if isinstance(option, dict)]
        if {"type": "integer"} in entries and {"type": "number"} in entries:
            return _allowed_number({**schema, "type": "number"})
        return " or ".join(allowed(option, definitions) for option in entries)
    return _allowed_of_type(schema)


def _allowed_of_type(schema: Mapping[str, JsonValue]) -> str:
    values = schema.get("enum")
    if isinstance(values, list):
        return "one of " + ", ".join(str(value) for value in values)
    match schema["type"]:
        case "number" | "integer":
            return _allowed_number(schema)
        case "string":
            return _allowed_string(schema)
        case "object":
            return _allowed_object(schema)
        case kind:
            return {"boolean": "true or false", "null": "null"}[str(kind)]


def _allowed_number(schema: Mapping[str, JsonValue]) -> str:
    bounds = [
        f"{words} {bound:g}"
        for names, words in _BOUNDS
        for bound in (schema.get(name) for name in names)
        if isinstance(bound, int | float)
    ]
    name = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{name} {' and '.join(bounds)}".strip()


def _allowed_string(schema: Mapping[str, JsonValue]) -> str:
    least, most = schema.get("minLength"), schema.get("maxLength")
    if most is None:
        return "a string"
    return f"a string of at most {most} characters" if least is None else f"a string of {least} to {most} characters"


def _allowed_object(schema: Mapping[str, JsonValue]) -> str:
    properties = schema.get("properties")
    assert isinstance(properties, dict)
    return f"a block of settings ({', '.join(properties)})"
