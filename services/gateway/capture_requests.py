"""What `POST /api/v1/process` asks for: parsed, checked, and explained where it is wrong."""

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from contracts.capture_settings import CaptureRequest, CaptureSettings, Colorspace
from contracts.errors import ErrorCode, UserError
from contracts.model import Frozen
from services.gateway.allowed_values import allowed
from services.gateway.json_bodies import shown, shown_name

COLORSPACE_FIELDS = ("input_colorspace", "output_colorspace")
_FREE_TEXT_LIMIT = 200
_SHOWN_NAMES = 10


class RequestedSettings(CaptureSettings):
    """Processing settings. Each may be left out; a name that is not here is refused."""

    model_config = ConfigDict(extra="forbid")


class ProcessRequest(Frozen):
    """Starts the pipeline on an uploaded data set."""

    dataset_id: Annotated[str, Field(examples=["a1b2c3d4e5f6"])]
    """As returned by the upload."""
    input_colorspace: Colorspace | None = None
    """Colour space of the captured images, in any case. Wins over the setting of the same name."""
    output_colorspace: Colorspace | None = None
    """Colour space of the delivered images, in any case. Wins over the setting of the same name."""
    settings: RequestedSettings | None = None


def capture_request(document: dict[str, JsonValue]) -> CaptureRequest:
    """The request that `document` is, with every default filled in.

    Raises UserError that names the field, what was found there, and what may be there.
    """
    _refuse_unknown(document, tuple(ProcessRequest.model_fields), "fields of the request", "")
    dataset_id = _dataset_id(document)
    asked = _settings_object(document)
    _refuse_unknown(asked, tuple(CaptureSettings.model_fields), "settings", "settings.")
    top_level = {name: document[name] for name in COLORSPACE_FIELDS if document.get(name) is not None}
    return CaptureRequest(dataset_id=dataset_id, settings=_settings({**asked, **top_level}, frozenset(top_level)))


def _dataset_id(document: dict[str, JsonValue]) -> str:
    dataset_id = document.get("dataset_id")
    if dataset_id is None or dataset_id == "":
        raise UserError(
            ErrorCode.INVALID_REQUEST,
            "dataset_id is missing: give the one that the upload answered with.",
            field="dataset_id",
        )
    if not isinstance(dataset_id, str):
        raise UserError(
            ErrorCode.INVALID_REQUEST, f"dataset_id must be a string; it is {shown(dataset_id)}.", field="dataset_id"
        )
    return dataset_id


def _settings_object(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    settings = document.get("settings")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(
            ErrorCode.INVALID_SETTING, f"settings must be a JSON object; it is {shown(settings)}.", field="settings"
        )
    return settings


def _refuse_unknown(found: dict[str, JsonValue], valid: tuple[str, ...], what: str, prefix: str) -> None:
    unknown = [name for name in found if name not in valid]
    if not unknown:
        return
    names = ", ".join(shown_name(name) for name in unknown[:_SHOWN_NAMES])
    if len(unknown) > _SHOWN_NAMES:
        names += f" and {len(unknown) - _SHOWN_NAMES} more"
    raise UserError(
        ErrorCode.INVALID_SETTING if prefix else ErrorCode.INVALID_REQUEST,
        f"Unknown {what}: {names}. Valid names: {', '.join(valid)}.",
        field=prefix + shown_name(unknown[0]),
    )


def _settings(values: dict[str, JsonValue], top_level: frozenset[str]) -> CaptureSettings:
    pipeline = values.get("color_pipeline")
    if isinstance(pipeline, str) and len(pipeline) > _FREE_TEXT_LIMIT:
        raise UserError(
            ErrorCode.INVALID_SETTING,
            f"settings.color_pipeline must have at most {_FREE_TEXT_LIMIT} characters; it has {len(pipeline)}.",
            field="settings.color_pipeline",
        )
    try:
        return CaptureSettings.model_validate(values)
    except ValidationError as error:
        fields = list(dict.fromkeys(str(problem["loc"][0]) for problem in error.errors(include_url=False)))
        sentences = [_complaint(name, values[name], top_level) for name in fields]
        is_colorspace = fields[0] in COLORSPACE_FIELDS
        code = ErrorCode.UNSUPPORTED_COLORSPACE if is_colorspace else ErrorCode.INVALID_SETTING
        raise UserError(code, " ".join(sentences), field=fields[0]) from None


def _complaint(name: str, value: JsonValue, top_level: frozenset[str]) -> str:
    where = name if name in top_level else f"settings.{name}"
    if name in COLORSPACE_FIELDS:
        values = ", ".join(Colorspace)
        return f"Unsupported colorspace {shown(value)} in {where}; supported are (in any case): {values}."
    return f"{where} is {shown(value)}; it must be {_ALLOWED[name]}."


def _allowed_by_name() -> dict[str, str]:
    schema = CaptureSettings.model_json_schema()
    return {name: allowed(entry, schema.get("$defs", {})) for name, entry in schema["properties"].items()}


_ALLOWED = _allowed_by_name()
