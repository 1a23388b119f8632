"""The form of errors in the Cloud2BIM document. Its routes are the gateway's, its streams the notifier's."""

from http import HTTPStatus

from contracts.errors import UserError
from contracts.model import Frozen
from runtime.refusals import Refusal, refusal_of

# Words of our own where the document has none: Python's phrases change with its versions.
_TYPES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "range_not_satisfiable",
    HTTPStatus.UNPROCESSABLE_ENTITY: "validation_error",
}


class Cloud2bimError(Frozen):
    """The form of every error of the Cloud2BIM API."""

    detail: str
    """What went wrong, and how to mend it."""
    type: str
    """`validation_error` for what the request says; otherwise a name of the error, for instance `not_found`."""
    loc: tuple[str, ...]
    """Where the fault is: the form's field, and the setting within it. Empty where no field is at fault."""


class FieldRefusal(Refusal):
    """A refusal that knows which field is at fault. `kind` names the error where its status does not say enough."""

    def __init__(self, status: HTTPStatus, message: str, loc: tuple[str, ...], kind: str | None = None) -> None:
        super().__init__(status, message)
        self.loc = loc
        self.kind = kind


def invalid(message: str, *loc: str) -> FieldRefusal:
    """What the request says cannot be (422)."""
    return FieldRefusal(HTTPStatus.UNPROCESSABLE_ENTITY, message, loc)


def refusal_of_user_error(error: UserError, path: str) -> Refusal:
    """As `refusal_of`, with the field that the error names."""
    refusal = refusal_of(error, path)
    if error.field is None:
        return refusal
    return FieldRefusal(refusal.status, refusal.message, tuple(error.field.split(".")), error.code.lower())


def cloud2bim_error(refusal: Refusal) -> Cloud2bimError:
    """The body of a refusal."""
    kind = _TYPES.get(refusal.status) or refusal.status.phrase.lower().replace(" ", "_").replace("-", "_")
    if isinstance(refusal, FieldRefusal):
        return Cloud2bimError(detail=refusal.message, type=refusal.kind or kind, loc=refusal.loc)
    return Cloud2bimError(detail=refusal.message, type=kind, loc=())
