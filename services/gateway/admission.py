"""Who may come in: keys and tokens in the request's headers (RFC 6750)."""

from http import HTTPStatus

from aiohttp import web

from runtime.access import ANONYMOUS, Access, Principal
from services.gateway.refusals import Refusal
from services.gateway.routes import Admission

_CHALLENGE = 'Bearer realm="alidade"'


def admit(request: web.Request, access: Access, admission: Admission) -> Principal | None:
    """Who sent the request; None where nobody needs a name.

    Raises Refusal: 401 if a credential is missing or malformed, 403 if it is not valid.
    """
    match admission:
        case Admission.EVERYBODY:
            return None
        case Admission.BEARER:
            return _by_bearer(request, access)
        case Admission.KEY_UNLESS_ANONYMOUS:
            return _by_any_key(request, access)


def _by_bearer(request: web.Request, access: Access) -> Principal:
    header = request.headers.get("Authorization")
    if header is None:
        raise _unauthorized("The Authorization header is missing. Send: Authorization: Bearer <API key>.")
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or " " in credential:
        raise _unauthorized("The Authorization header is malformed. Send: Authorization: Bearer <API key>.")
    return _known(access.by_bearer(_encodable(credential)))


def _by_any_key(request: web.Request, access: Access) -> Principal:
    api_key = request.headers.get("X-API-Key")
    if api_key is not None:
        return _known(access.by_api_key(_encodable(api_key.strip())))
    if "Authorization" not in request.headers and access.allows_anonymous:
        return ANONYMOUS
    return _by_bearer(request, access)


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise Refusal(HTTPStatus.FORBIDDEN, "The API key or token is not valid, or the token has expired.")
    return principal


def _encodable(credential: str) -> str:
    """Header bytes that are not UTF-8 arrive as lone surrogates, which nothing can hash."""
    return credential.encode("utf-8", "replace").decode("utf-8")


def _unauthorized(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": _CHALLENGE})
