"""Answers that are not streams."""

from aiohttp import web
from aiohttp.typedefs import Handler

from runtime.cloud2bim_errors import cloud2bim_error
from runtime.refusals import Refusal, refusal_of, refusal_of_http


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in the Cloud2BIM document's form."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        allowed = error.headers.get("Allow", "")
        return _answer(refusal_of_http(error.status, error.reason, request.method, request.path, allowed))
    except Exception as error:
        return _answer(refusal_of(error, request.path))


def _answer(refusal: Refusal) -> web.Response:
    body = cloud2bim_error(refusal).model_dump(mode="json")
    return web.json_response(body, status=refusal.status, headers=refusal.headers)
