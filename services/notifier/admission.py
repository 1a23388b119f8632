"""Who may listen: a key or a token in the headers, or nobody in particular where that is allowed."""

from http import HTTPStatus

from aiohttp import web

from runtime.access import ANONYMOUS, Access, Principal
from services.notifier.refusals import Refusal

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="alidade"'}


def admit(request: web.Request, access: Access) -> Principal:
    """Raises Refusal: 401 if a credential is missing or malformed, 403 if it is not valid."""
    credential = _credential(request)
    if credential is None:
        if access.allows_anonymous:
            return ANONYMOUS
        raise Refusal(
            HTTPStatus.UNAUTHORIZED,
            "A key is missing. Send one of: Authorization: Bearer <API key>, X-API-Key: <API key>.",
            _CHALLENGE,
        )
    # Header bytes that are not UTF-8 arrive as lone surrogates, which nothing can hash.
    principal = access.by_bearer(credential.encode("utf-8", "replace").decode("utf-8"))
    if principal is None:
        raise Refusal(HTTPStatus.FORBIDDEN, "The API key or token is not valid, or the token has expired.")
    return principal


def _credential(request: web.Request) -> str | None:
    api_key = request.headers.get("X-API-Key", "").strip()
    if api_key:
        return api_key
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Refusal(
            HTTPStatus.UNAUTHORIZED,
            "The Authorization header is malformed. Send: Authorization: Bearer <API key>.",
            _CHALLENGE,
        )
    return credential
