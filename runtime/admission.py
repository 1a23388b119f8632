"""Who sent an HTTP request, by the credentials in its headers (RFC 6750). Knows no web framework.

Headers are a mapping that finds names in any case, as those of HTTP libraries do.
"""

from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus

from runtime.access import ANONYMOUS, Access, Principal
from runtime.refusals import Refusal

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="alidade"'}
_HOW_BEARER = "Send: Authorization: Bearer <API key>."
_HOW_ANY = "Send one of: Authorization: Bearer <API key>, X-API-Key: <API key>."


class Admission(Enum):
    """Who may use a route."""

    EVERYBODY = "everybody"
    BEARER = "bearer"
    """An API key or a token in `Authorization: Bearer`."""
    KEY_UNLESS_ANONYMOUS = "key unless anonymous"
    """A key or a token, unless the APIs documented without authentication are open (`access.anonymous`)."""
    KEY = "key"
    """A key or a token in either header; 401 also for one that is not valid."""
    BY_JOB = "by job"
    """As the API of the job asks: the route's handler decides."""


def admit(headers: Mapping[str, str], access: Access, admission: Admission) -> Principal | None:
    """Who sent the request; None where nobody needs a name. Raises as `by_bearer`, `by_any_key` and `by_valid_key`."""
    match admission:
        case Admission.EVERYBODY | Admission.BY_JOB:
            return None
        case Admission.BEARER:
            return by_bearer(headers, access)
        case Admission.KEY_UNLESS_ANONYMOUS:
            return by_any_key(headers, access)
        case Admission.KEY:
            return by_valid_key(headers, access)


def by_bearer(headers: Mapping[str, str], access: Access) -> Principal:
    """Who sent `Authorization: Bearer <API key or token>`.

    Raises Refusal: 401 if the credential is missing or malformed, 403 if it is not valid; ConfigurationError if the
    access file is gone.
    """
    header = headers.get("Authorization")
    if header is None:
        raise _unauthorized(f"The Authorization header is missing. {_HOW_BEARER}")
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or " " in credential:
        raise _unauthorized(f"The Authorization header is malformed. {_HOW_BEARER}")
    return _known(access.by_bearer(_encodable(credential)))


def by_any_key(headers: Mapping[str, str], access: Access) -> Principal:
    """Who sent an API key in `X-API-Key`, which counts first, or a key or token in `Authorization`.

    `ANONYMOUS` who sent neither, if the service allows that. A credential that is not valid is never taken for none.
    Raises as `by_bearer` does.
    """
    api_key = headers.get("X-API-Key")
    if api_key is not None:
        if not api_key.strip():
            raise _unauthorized(f"The X-API-Key header is empty. {_HOW_ANY}")
        return _known(access.by_api_key(_encodable(api_key.strip())))
    if "Authorization" in headers:
        return by_bearer(headers, access)
    if access.allows_anonymous:
        return ANONYMOUS
    raise _unauthorized(f"A key is missing. {_HOW_ANY}")


def by_valid_key(headers: Mapping[str, str], access: Access) -> Principal:
    """Who sent a key or token as `by_any_key` takes it, and never nobody.

    Raises Refusal (401) whether the credential is missing, malformed, not valid or expired; ConfigurationError if the
    access file is gone.
    """
    if "X-API-Key" not in headers and "Authorization" not in headers:
        raise _unauthorized(f"A key or token is missing. {_HOW_ANY}")
    try:
        return by_any_key(headers, access)
    except Refusal as refusal:
        raise _unauthorized(refusal.message) from None


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise Refusal(HTTPStatus.FORBIDDEN, "The API key or token is not valid, or the token has expired.")
    return principal


def _encodable(credential: str) -> str:
    """Header bytes that are not UTF-8 arrive as lone surrogates, which nothing can hash."""
    return credential.encode("utf-8", "replace").decode("utf-8")


def _unauthorized(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, message, _CHALLENGE)
