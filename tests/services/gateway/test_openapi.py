"""`/openapi.json` says every route and nothing else, is sound, and what is answered is what it says."""

import json
import re
from collections.abc import Iterator

import jsonschema
import pytest
from pydantic import JsonValue

from services.gateway.app import ROUTES, build_app
from services.gateway.cloud2bim_views import Converting, Submitted
from services.gateway.openapi import build_document
from services.gateway.openapi_30 import as_openapi_30
from tests.services.gateway.running_gateway import Gateway, capture_zip

DOCUMENT = build_document(ROUTES)


def at(*path: str) -> dict[str, JsonValue]:
    """The object at a path of the document."""
    found: JsonValue = DOCUMENT
    for name in path:
        assert isinstance(found, dict)
        found = found[name]
    assert isinstance(found, dict)
    return found


def objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from objects(member)
    elif isinstance(value, list):
        for member in value:
            yield from objects(member)


def operations() -> list[tuple[str, str, dict[str, JsonValue]]]:
    return [(method, path, at("paths", path, method)) for path in at("paths") for method in at("paths", path)]


async def test_every_registered_route_is_documented_and_the_reverse(gateway: Gateway) -> None:
    registered = {
        (route.method.lower(), route.resource.canonical)
        for route in build_app(gateway.parts).router.routes()
        if route.resource is not None
    }
    # HEAD is what every GET answers too (RFC 9110, 9.3.2), streams without an end excepted.
    heads = {("head", route.path) for route in ROUTES if route.method == "GET" and route.answers_head}
    assert registered - heads == {(method, path) for method, path, _ in operations()}
    assert heads <= registered


def test_references_lead_somewhere_and_schemas_are_schemas() -> None:
    schemas = at("components", "schemas")
    references = {str(found["$ref"]) for found in objects(DOCUMENT) if "$ref" in found}
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        assert isinstance(schema, dict)
        jsonschema.Draft202012Validator.check_schema(schema)


def test_operations_are_whole() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    tags = {str(tag["name"]) for tag in DOCUMENT["tags"]}  # type: ignore[index, union-attr, call-overload]
    for method, path, operation in operations():
        parameters = operation.get("parameters", [])
        assert isinstance(parameters, list)
        inside = {str(p["name"]) for p in parameters if isinstance(p, dict) and p["in"] == "path"}
        assert inside == set(re.findall(r"{(\w+)}", path))
        responses = operation["responses"]
        assert isinstance(responses, dict)
        assert {"500", "503"} <= set(responses), (method, path)
        assert all(isinstance(answer, dict) and answer["description"] for answer in responses.values())
        assert set(operation["tags"]) <= tags  # type: ignore[arg-type]
        assert operation["summary"]


def test_every_status_of_the_remap_document_is_there() -> None:
    documented = {
        ("post", "/api/v1/upload"): {"201", "400", "401", "403", "413"},
        ("post", "/api/v1/process"): {"202", "400", "401", "403", "404"},
        ("get", "/api/v1/jobs/{job_id}/status"): {"200", "401", "403", "404"},
        ("get", "/api/v1/jobs/{job_id}/result"): {"200", "206", "304", "404", "409", "416"},
        ("post", "/api/v1/jobs/{job_id}/cancel"): {"200", "404", "409"},
    }
    for (method, path), statuses in documented.items():
        assert statuses <= set(at("paths", path, method, "responses"))
    assert at("paths", "/api/v1/health", "get")["security"] == []
    assert at("paths", "/api/v1/jobs", "get")["security"] == [{"bearer": []}]


def test_unknown_settings_are_not_allowed_by_the_schema() -> None:
    settings = at("components", "schemas", "RequestedSettings")
    assert settings["additionalProperties"] is False
    properties = settings["properties"]
    assert isinstance(properties, dict)
    assert properties["fps"]["default"] == 5.0  # type: ignore[index, call-overload]


def validate(answer: object, path: str, method: str, status: str) -> None:
    schema = at("paths", path, method, "responses", status, "content", "application/json", "schema")
    jsonschema.Draft202012Validator({**schema, "components": at("components")}).validate(answer)


async def test_what_is_answered_is_what_the_document_says(gateway: Gateway) -> None:
    _, health = await gateway.get("/api/v1/health")
    validate(health, "/api/v1/health", "get", "200")
    _, uploaded = await gateway.upload(capture_zip())
    validate(uploaded, "/api/v1/upload", "post", "201")
    _, started = await gateway.post("/api/v1/process", {"dataset_id": uploaded["dataset_id"]})
    validate(started, "/api/v1/process", "post", "202")
    job = f"/api/v1/jobs/{started['job_id']}"
    validate((await gateway.get(f"{job}/status"))[1], "/api/v1/jobs/{job_id}/status", "get", "200")
    validate((await gateway.get(f"{job}/logs"))[1], "/api/v1/jobs/{job_id}/logs", "get", "200")
    validate((await gateway.get(f"{job}/result"))[1], "/api/v1/jobs/{job_id}/result", "get", "409")
    validate((await gateway.get("/api/v1/jobs"))[1], "/api/v1/jobs", "get", "200")
    validate((await gateway.post(f"{job}/cancel"))[1], "/api/v1/jobs/{job_id}/cancel", "post", "200")
    with pytest.raises(jsonschema.ValidationError):
        validate(health | {"status": 5}, "/api/v1/health", "get", "200")


def test_every_path_of_the_cloud2bim_document_is_there() -> None:
    submitted = {"202", "400", "401", "403", "413", "422", "429", "500"}
    documented = {
        ("get", "/"): {"200"},
        ("post", "/submit"): submitted,
        ("post", "/convert"): submitted,
        ("get", "/status/{job_id}"): {"200", "404"},
        ("get", "/results/{job_id}/model.ifc"): {"200", "206", "304", "404", "416"},
        ("get", "/results/{job_id}/point_mapping.json"): {"200", "206", "304", "404", "416"},
        ("get", "/results/{job_id}/{file}"): {"200", "404"},
        ("get", "/api/progress/{job_id}/stream"): {"200", "404"},
        ("get", "/api/progress/{job_id}/stream/basic"): {"200", "404"},
        ("get", "/api/stream/progress/{job_id}"): {"200", "404"},
    }
    for (method, path), statuses in documented.items():
        assert statuses <= set(at("paths", path, method, "responses"))
        error = at("paths", path, method, "responses", "500", "content", "application/json", "schema")
        assert error == {"$ref": "#/components/schemas/Cloud2bimError"}
    form = at("paths", "/submit", "post", "requestBody", "content", "multipart/form-data", "schema")
    assert form["required"] == ["point_cloud_file", "config_file"]
    assert at("paths", "/", "get")["security"] == []


async def test_what_the_cloud2bim_api_answers_is_what_the_document_says(gateway: Gateway) -> None:
    validate((await gateway.get("/"))[1], "/", "get", "200")
    job = await gateway.building_job(unknown=("cell",))
    path = f"/status/{job.job.job_id}"
    validate((await gateway.get(path))[1], "/status/{job_id}", "get", "200")
    result = f"/results/{job.job.job_id}/model.ifc"
    validate((await gateway.get(result))[1], "/results/{job_id}/model.ifc", "get", "404")
    validate((await gateway.post("/convert", {}))[1], "/convert", "post", "422")
    mapping = {
        "total_points": 2777608,
        "mapped_points": 2456789,
        "elements": [
            {
                "element_id": "wall_001",
                "element_type": "IfcWall",
                "point_indices": [1, 2, 3, 156, 157, 158],
                "point_count": 125678,
            }
        ],
    }
    validate(mapping, "/results/{job_id}/point_mapping.json", "get", "200")
    for answer, where in ((Submitted(job_id=job.job.job_id), "/submit"), (Converting(job_id="x"), "/convert")):
        validate(answer.model_dump(mode="json"), where, "post", "202")


async def test_the_page_loads_nothing_from_elsewhere(gateway: Gateway) -> None:
    async with gateway.client.get(f"{gateway.url}/docs") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        page = await answer.text()
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "://" not in page
    links = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert len(links) >= 6
    for link in links:
        async with gateway.client.get(gateway.url + link) as answer:
            assert answer.status == 200, link
            assert await answer.read()
    for wrong in ("index.html", "..%2F__init__.py", "%2Fetc%2Fpasswd"):
        status, body = await gateway.get(f"/docs/{wrong}")
        assert (status, list(body)) == (404, ["detail"])


async def test_the_documents_are_served_as_built(gateway: Gateway) -> None:
    assert (await gateway.get("/openapi.json", headers={}))[1] == json.loads(json.dumps(DOCUMENT))
    assert (await gateway.get("/docs/openapi-3.0.json", headers={}))[1] == json.loads(
        json.dumps(as_openapi_30(DOCUMENT))
    )


def test_the_older_document_has_no_words_of_the_newer_one() -> None:
    older = as_openapi_30(DOCUMENT)
    assert older["openapi"] == "3.0.3"
    newer_words = {"const", "examples", "contentMediaType", "prefixItems", "$defs"}
    for found in objects(older):
        assert not newer_words & set(found)
        assert found != {"type": "null"}
        assert not isinstance(found.get("type"), list)
        assert "$ref" not in found or len(found) == 1
        assert isinstance(found.get("exclusiveMinimum", True), bool)
    schemas = older["components"]["schemas"]  # type: ignore[index, call-overload]
    threads = schemas["RequestedSettings"]["properties"]["num_threads"]  # type: ignore[index, call-overload]
    assert threads["nullable"] is True  # type: ignore[index, call-overload]
    assert threads["minimum"] == 1  # type: ignore[index, call-overload]
    assert DOCUMENT["openapi"] == "3.1.0"
    assert any("const" in found for found in objects(DOCUMENT))
