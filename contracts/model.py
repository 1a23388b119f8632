"""The base of every model that crosses a process boundary."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable; refuses unknown fields, so that a misspelt one is an error and not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Message(BaseModel):
    """Immutable; ignores unknown fields, so that a reader of v1 survives an additive change to v1.

    Everything that is stored or sent between services is a `Message`. Whoever reads what users wrote refuses
    unknown names by itself, before it makes a message of it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
