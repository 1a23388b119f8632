"""Whether the packages of a model's own engine are installed. Loads none of them, for the worker itself asks too."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.devices import Gpu
from contracts.object_settings import ModelType


@dataclass(frozen=True)
class Needs:
    """The package of an engine, and whether it does nothing without a graphics card."""

    package: str
    gpu: bool


NEEDS: Mapping[ModelType, Needs] = {
    ModelType.RECONVIAGEN: Needs("trellis", gpu=True),
    ModelType.NVDIFFREC: Needs("torch", gpu=False),
}


def missing(model: ModelType, gpu: Gpu | None) -> str | None:
    """What is not there, as a sentence; None if nothing is missed so far."""
    needs = NEEDS[model]
    if needs.gpu and gpu is None:
        return "No graphics card answers."
    if importlib.util.find_spec(needs.package) is None:
        return f"The package {needs.package} is not installed."
    return None


def own_models(gpu: Gpu | None) -> tuple[str, ...]:
    """Models that their own engine does on this card; weights are looked for only when a job asks for the model."""
    return tuple(model for model in NEEDS if missing(model, gpu) is None)
