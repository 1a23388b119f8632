"""Answers that are not streams."""

from aiohttp import web
from aiohttp.typedefs import Handler

from runtime.refusals import Detail, Refusal, refusal_of, refusal_of_http


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in the Cloud2BIM document's form."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allowed = error.headers.get("Allow", "")
        return _detail(refusal_of_http(error.status, error.reason, request.method, request.path, allowed))
    except Exception as error:
        return _detail(refusal_of(error, request.path))


def _detail(refusal: Refusal) -> web.Response:
    body = Detail(detail=refusal.message).model_dump()
    return web.json_response(body, status=refusal.status, headers=refusal.headers)
