"""`/docs`: the API, readable, with Swagger UI served from its installed package. Nothing is loaded from elsewhere."""

import asyncio
from pathlib import Path

from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from runtime.admission import Admission
from runtime.refusals import not_found
from services.gateway.openapi import DOCUMENT, openapi_document
from services.gateway.openapi_30 import as_openapi_30
from services.gateway.routes import Answer, Route

_TAG = "Documentation"
_PAGE = Path(__file__).with_name("docs.html")
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_START = """\
SwaggerUIBundle({
  url: "/docs/openapi-3.0.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
});
"""
# Swagger UI sets styles and data-URL pictures from its script; everything else comes from here or not at all.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_KEEP = {"Cache-Control": "public, max-age=3600"}


async def page(_: web.Request) -> web.Response:
    text = await asyncio.to_thread(_PAGE.read_text, encoding="utf-8")
    return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def asset(request: web.Request) -> web.StreamResponse:
    name = request.match_info["asset"]
    if name == "start.js":
        return web.Response(text=_START, content_type="text/javascript", headers=_KEEP)
    if name == "openapi-3.0.json":
        return web.json_response(as_openapi_30(request.app[DOCUMENT]))
    if name not in _ASSETS:
        raise not_found("The documentation has no such file.")
    return web.FileResponse(Path(swagger_ui_path) / name, headers=_KEEP)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/openapi.json",
        openapi_document,
        _TAG,
        "This document",
        "OpenAPI 3.1 of every route.",
        (Answer(200, "The document", "application/json"),),
        admission=Admission.EVERYBODY,
    ),
    Route(
        "GET",
        "/docs",
        page,
        _TAG,
        "The API, readable",
        "A page that shows this document and lets you try it.",
        (Answer(200, "The page", "text/html"),),
        admission=Admission.EVERYBODY,
    ),
    Route(
        "GET",
        "/docs/{asset}",
        asset,
        _TAG,
        "What the page needs",
        "Style, script and icon of the page, and this document in OpenAPI 3.0 (`openapi-3.0.json`).",
        (Answer(200, "The file", "application/octet-stream"), Answer(404, "There is no such file")),
        admission=Admission.EVERYBODY,
    ),
)
