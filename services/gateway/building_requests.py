"""What `config_file` asks for: parsed, checked, and explained where it is wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue, ValidationError

from contracts.building_settings import BuildingSettings
from contracts.errors import UserError
from runtime.cloud2bim_errors import FieldRefusal, invalid
from services.gateway.allowed_values import allowed
from services.gateway.json_bodies import shown, shown_name
from services.gateway.yaml_documents import read_yaml_mapping

CONFIG_FIELD = "config_file"
_UNKNOWN_NAMES = 100

_Path = tuple[str, ...]


@dataclass(frozen=True)
class Configuration:
    """A configuration file. `unknown` are the dotted names that mean nothing here."""

    settings: BuildingSettings
    unknown: tuple[str, ...]


def read_configuration(content: bytes) -> Configuration:
    """The configuration that `content` is, with every default filled in.

    Raises FieldRefusal (422) that names the setting, what was found there, and what may be there.
    """
    try:
        document = read_yaml_mapping(content, CONFIG_FIELD)
    except UserError as error:
        raise invalid(error.message, CONFIG_FIELD) from None
    known, unknown = _split(document, BuildingSettings)
    if len(unknown) > _UNKNOWN_NAMES:
        raise invalid(
            f"{CONFIG_FIELD} has {len(unknown)} names that mean nothing here; it is no configuration of this service.",
            CONFIG_FIELD,
        )
    try:
        settings = BuildingSettings.model_validate(known)
    except ValidationError as error:
        raise _refusal(error, known) from None
    _refuse_impossible(settings)
    return Configuration(settings, tuple(".".join(shown_name(part) for part in path) for path in unknown))


def _split(document: Mapping[str, JsonValue], model: type[BaseModel]) -> tuple[dict[str, JsonValue], list[_Path]]:
    """What `model` knows of a document, and the paths of all else. An empty block is one with every default."""
    known: dict[str, JsonValue] = {}
    unknown: list[_Path] = []
    for name, value in document.items():
        block = _block(model, name)
        if name not in model.model_fields:
            unknown.append((name,))
        elif block is not None and isinstance(value, dict):
            known[name], within = _split(value, block)
            unknown += [(name, *path) for path in within]
        elif block is None or value is not None:
            known[name] = value
    return known, unknown


def _block(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = model.model_fields.get(name)
    annotation = None if field is None else field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _refusal(error: ValidationError, document: dict[str, JsonValue]) -> FieldRefusal:
    paths = list(dict.fromkeys(_setting(problem["loc"]) for problem in error.errors(include_url=False)))
    sentences = [f"{'.'.join(path)} is {shown(_at(document, path))}; it must be {_ALLOWED[path]}." for path in paths]
    return invalid(" ".join(sentences), CONFIG_FIELD, *paths[0])


def _setting(loc: tuple[int | str, ...]) -> _Path:
    """The setting of a problem. pydantic goes on to name the member of a union."""
    path: list[str] = []
    model: type[BaseModel] | None = BuildingSettings
    for part in loc:
        if model is None:
            break
        path.append(str(part))
        model = _block(model, str(part))
    return tuple(path)


def _at(document: dict[str, JsonValue], path: _Path) -> JsonValue:
    value: JsonValue = document
    for name in path:
        assert isinstance(value, dict)
        value = value[name]
    return value


def _refuse_impossible(settings: BuildingSettings) -> None:
    """What each setting may be, but not all of them together."""
    least, most = settings.min_wall_thickness, settings.max_wall_thickness
    if least > most:
        raise invalid(
            f"min_wall_thickness is {least:g} and max_wall_thickness {most:g}: no wall can be that. Raise the second, or "
            "lower the first.",
            CONFIG_FIELD,
            "min_wall_thickness",
        )


def _allowed_by_path() -> dict[_Path, str]:
    schema = BuildingSettings.model_json_schema()
    definitions: dict[str, JsonValue] = schema["$defs"]
    return dict(_walk(schema, definitions, ()))


def _walk(
    schema: Mapping[str, JsonValue], definitions: Mapping[str, JsonValue], above: _Path
) -> Iterator[tuple[_Path, str]]:
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for name, entry in properties.items():
        assert isinstance(entry, dict)
        yield (*above, name), allowed(entry, definitions)
        reference = entry.get("$ref")
        if isinstance(reference, str):
            block = definitions[reference.rsplit("/", 1)[1]]
            assert isinstance(block, dict)
            yield from _walk(block, definitions, (*above, name))


_ALLOWED = _allowed_by_path()
