"""Cross-origin requests of browsers, for the origins in `access.cors_origins` (Fetch standard, CORS protocol)."""

from collections.abc import Iterable

from aiohttp import web

_METHODS = "GET, HEAD, POST, OPTIONS"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, X-API-Key, X-Request-ID, Range, If-Range, If-Match, If-None-Match, Last-Event-ID"
)
_EXPOSED = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Retry-After, WWW-Authenticate, X-Request-ID"
_MAX_AGE_S = 600


class Cors:
    """Answers preflights and marks answers. Credentials travel in headers, so cookies are never allowed."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def allowed_origin(self, request: web.Request) -> str | None:
        """What `Access-Control-Allow-Origin` says to this request, if anything."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a preflight from an allowed origin; None for every other request."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if self.allowed_origin(request) is None:
            return None
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": str(_MAX_AGE_S),
        }
        return web.Response(status=204, headers=headers)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """For `on_response_prepare`: streams are marked too."""
        if self._origins and "*" not in self._origins:
            response.headers.add("Vary", "Origin")
        origin = self.allowed_origin(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
