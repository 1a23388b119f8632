"""What a worker can do besides SIFT and its nearest neighbours. Imports nothing heavy."""

from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from contracts.model import Frozen
from services.sfm.learned.catalogue import EXTRACTORS, MATCHERS
from services.sfm.weights.places import Found, Places, find


class Equipment(Frozen):
    """Decided once for a job, so that its recipes, its steps and its report speak of the same."""

    names: tuple[str, ...] = ()
    """Features and matchers by their names in a job's settings."""
    files: dict[str, Path] = Field(default_factory=dict)
    """Weights by `<weights>/<file>`, each checked."""


BUILT_IN = Equipment()
"""A worker without any weights and without torch."""


def equipment(places: Places) -> Equipment:
    """What can be done with the libraries that are installed and the weights that are in `places`."""
    return equipment_with(find(places))


def equipment_with(found: Found) -> Equipment:
    """What can be done with the libraries that are installed and these weights."""
    names = tuple(
        name
        for name, entry in {**EXTRACTORS, **MATCHERS}.items()
        if all(map(_installed, entry.libraries)) and all(map(found.has, entry.weights))
    )
    return Equipment(names=names, files=found.files)


def capabilities(places: Places) -> tuple[str, ...]:
    """The names alone: what a worker tells when it is asked what it can do."""
    return equipment(places).names


def spoilt(found: Found) -> str | None:
    """A sentence for the operator about files that are there and are not used; None where all are right."""
    if not found.wrong:
        return None
    paths = ", ".join(str(path) for path in found.wrong)
    return f"These weights are not what they should be and are not used: {paths}. `alidade weights verify` says more."


def _installed(module: str) -> bool:
    return find_spec(module) is not None
