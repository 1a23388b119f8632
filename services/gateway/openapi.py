"""`/openapi.json`: OpenAPI 3.1 from the route table and the pydantic models, so that it cannot say anything else."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from aiohttp import web
from pydantic import BaseModel, JsonValue
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from runtime.admission import Admission
from services.gateway.dialects import dialect_of
from services.gateway.routes import Answer, FormBody, FormFile, JsonBody, Route

DOCUMENT = web.AppKey("openapi", dict[str, JsonValue])

_REFS = "#/components/schemas/{model}"
_PARAMETERS = {
    "job_id": "As answered when the job was started",
    "file": "Name of a file that the job delivers",
    "filename": "Name of a file that the job delivers",
    "asset": "Name of a file that the documentation page needs",
}
_SECURITY: dict[Admission, list[JsonValue]] = {
    Admission.EVERYBODY: [],
    Admission.BEARER: [{"bearer": []}],
    Admission.KEY_UNLESS_ANONYMOUS: [{"bearer": []}, {"apiKey": []}, {}],
    Admission.KEY: [{"bearer": []}, {"apiKey": []}],
    Admission.BY_JOB: [{"bearer": []}, {"apiKey": []}, {}],
}
_REFUSED: dict[Admission, tuple[Answer, ...]] = {
    Admission.EVERYBODY: (),
    Admission.KEY: (Answer(401, "The credential is missing, malformed or not valid"),),
}
_REFUSED_OTHERWISE = (
    Answer(401, "The credential is missing or malformed"),
    Answer(403, "The credential is not valid"),
)
_OUR_FAULT = (Answer(500, "Internal server error"), Answer(503, "A service behind does not answer; try again"))

_ModelKey = tuple[type[BaseModel], JsonSchemaMode]


async def openapi_document(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return web.json_response(request.app[DOCUMENT])


def build_document(routes: Iterable[Route]) -> dict[str, JsonValue]:
    """The whole document, as plain JSON values."""
    table = tuple(routes)
    refs, definitions = _schemas(table)
    paths: dict[str, JsonValue] = {}
    for route in table:
        operations = paths.setdefault(route.path, {})
        assert isinstance(operations, dict)
        operations[route.method.lower()] = _operation(route, refs)
    tags: list[JsonValue] = [{"name": tag} for tag in dict.fromkeys(route.tag for route in table)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Alidade",
            "version": version("alidade"),
            "summary": "Captures become COLMAP models, laser scans become IFC buildings.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of /auth/token."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _schemas(routes: tuple[Route, ...]) -> tuple[Mapping[_ModelKey, JsonValue], dict[str, JsonValue]]:
    wanted: dict[_ModelKey, None] = {}
    for route in routes:
        if isinstance(route.body, JsonBody):
            wanted[route.body.model, "validation"] = None
        for answer in _answers(route):
            if isinstance(answer.content, type):
                wanted[answer.content, "serialization"] = None
    generated, document = models_json_schema(list(wanted), ref_template=_REFS)
    refs: dict[_ModelKey, JsonValue] = {key: generated[key] for key in wanted}
    return refs, document.get("$defs", {})


def _answers(route: Route) -> list[Answer]:
    """What the route answers, with what every route of its kind may answer; errors have their API's form."""
    refused = _REFUSED.get(route.admission, _REFUSED_OTHERWISE)
    said = {answer.status: answer for answer in (*_OUR_FAULT, *refused, *route.answers)}
    model = dialect_of(route.path).error_model
    return [
        Answer(answer.status, answer.description, answer.content or model, answer.headers)
        if answer.status >= 400
        else answer
        for _, answer in sorted(said.items())
    ]


def _operation(route: Route, refs: Mapping[_ModelKey, JsonValue]) -> dict[str, JsonValue]:
    operation: dict[str, JsonValue] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "security": _SECURITY[route.admission],
        "responses": {str(answer.status): _response(answer, refs) for answer in _answers(route)},
    }
    parameters: list[JsonValue] = [
        {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": {"type": "string"}}
        for name in route.path_parameters
    ]
    parameters += [
        {"name": header.name, "in": "header", "description": header.description, "schema": {"type": "string"}}
        for header in route.request_headers
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body, refs)
    return operation


def _response(answer: Answer, refs: Mapping[_ModelKey, JsonValue]) -> JsonValue:
    response: dict[str, JsonValue] = {"description": answer.description}
    if isinstance(answer.content, str):
        response["content"] = {answer.content: {}}
    elif answer.content is not None:
        response["content"] = {"application/json": {"schema": refs[answer.content, "serialization"]}}
    if answer.headers:
        response["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    return response


def _request_body(body: JsonBody | FormBody, refs: Mapping[_ModelKey, JsonValue]) -> JsonValue:
    match body:
        case JsonBody(model, example):
            media: JsonValue = {"schema": refs[model, "validation"], "example": _plain(example)}
            return {"required": True, "content": {"application/json": media}}
        case FormBody(files, texts):
            properties: dict[str, JsonValue] = {file.field: _form_file(file) for file in files}
            required: list[JsonValue] = list(properties)
            for text in texts:
                properties[text.field] = {"type": "string", "description": text.description, "default": text.default}
            schema: JsonValue = {"type": "object", "required": required, "properties": properties}
            return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _form_file(file: FormFile) -> JsonValue:
    one: dict[str, JsonValue] = {"type": "string", "contentMediaType": "application/octet-stream"}
    if file.count == 1:
        return {**one, "description": file.description}
    several: dict[str, JsonValue] = {"type": "array", "items": one, "minItems": file.count, "maxItems": file.count}
    return {**several, "description": file.description}


def _plain(example: Mapping[str, JsonValue]) -> JsonValue:
    return dict(example)
