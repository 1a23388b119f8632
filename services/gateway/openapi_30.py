"""OpenAPI 3.1 said in OpenAPI 3.0.3, for readers that do not know JSON Schema 2020-12: the page at `/docs` is one."""

from pydantic import JsonValue

_NAMES_ARE_KEYS = ("properties", "schemas", "paths", "responses", "headers", "content", "securitySchemes")
_NOT_SCHEMAS = ("example", "security", "required")


def as_openapi_30(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A copy of a 3.1 document in the words of 3.0.3: null types, constants, bounds, examples and binary bodies differ."""
    lowered = _lower(document)
    assert isinstance(lowered, dict)
    info = lowered["info"]
    assert isinstance(info, dict)
    license_ = info["license"]
    assert isinstance(license_, dict)
    info.pop("summary", None)
    license_.pop("identifier", None)
    return {**lowered, "openapi": "3.0.3"}


def _lower(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_lower(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _lower_member(name, member) for name, member in value.items()}
    return _lower_schema(copy)


def _lower_member(name: str, member: JsonValue) -> JsonValue:
    if name in _NOT_SCHEMAS:
        return member
    if name in _NAMES_ARE_KEYS and isinstance(member, dict):
        return {key: _lower(entry) for key, entry in member.items()}
    return _lower(member)


def _lower_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    examples = schema.pop("examples", None)
    if isinstance(examples, list) and examples:
        schema["example"] = examples[0]
    if schema.pop("contentMediaType", None) is not None:
        schema["format"] = "binary"
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        limit = schema.get(exclusive)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            schema[bound] = limit
            schema[exclusive] = True
    return _lower_null(_lower_reference(schema))


def _lower_reference(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """In 3.0 nothing may stand beside `$ref`."""
    if "$ref" in schema and len(schema) > 1:
        return {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
    return schema


def _lower_null(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    options = schema.get("anyOf")
    if not isinstance(options, list) or {"type": "null"} not in options:
        return schema
    rest = [option for option in options if option != {"type": "null"}]
    schema.pop("anyOf")
    if len(rest) > 1:
        return {**schema, "anyOf": rest, "nullable": True}
    (only,) = rest
    assert isinstance(only, dict)
    if "$ref" in only:
        return {**schema, "allOf": [only], "nullable": True}
    return {**only, **schema, "nullable": True}
