"""Every request gets an id, a line in the log and its place in the metrics."""

import re
import secrets
import time

import structlog
from aiohttp import web

from runtime import metrics
from runtime.logs import get_logger
from services.gateway.parts import PRINCIPAL, REQUEST_ID
from services.gateway.routes import Handler

log = get_logger(__name__)

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LEFT = 499
"""The client left before an answer could be given: nginx's number for it, seen in logs and metrics only."""


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: sees what was answered at last."""
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
    began = time.perf_counter()
    status = _LEFT
    with structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]):
        try:
            response = await handler(request)
            status = response.status
        finally:
            _record(request, status, time.perf_counter() - began)
    return response


async def mark_with_id(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: streams are marked too."""
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
    # Not aiohttp's own, which tells the versions of what runs here.
    response.headers["Server"] = "Alidade"
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def _record(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    # Only paths of ours: whoever tries out paths must not make metrics without end.
    endpoint = "unmatched" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    metrics.HTTP_REQUESTS.labels(method, endpoint, str(status)).inc()
    if status >= 400:
        metrics.HTTP_ERRORS.labels(endpoint).inc()
    principal = request.get(PRINCIPAL)
    log.info(
        "request",
        method=method,
        path=request.path,
        status=status,
        seconds=round(seconds, 4),
        owner=principal.owner if principal else None,
        job_id=request.match_info.get("job_id"),
        remote=request.remote,
    )
