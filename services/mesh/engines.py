"""Which engine does a model's work on this worker: the model's own where all that it needs is there, else the built-in one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.devices import Gpu
from contracts.errors import GpuUnavailable
from contracts.object_settings import ModelType
from services.mesh import packages, reconviagen
from services.mesh.builtin import BuiltinEngine
from services.mesh.engine import Engine
from services.mesh.nvdiffrec import NvdiffrecEngine

Otherwise = Literal["builtin", "fail"]
"""What happens where a model's own engine cannot run."""


@dataclass(frozen=True)
class Candidate:
    """The engine that a model is named for. missing: why it cannot run although its packages are there, as a sentence; None if
    it can."""

    label: str
    missing: Callable[[], str | None]
    make: Callable[[], Engine]


@dataclass(frozen=True)
class Chosen:
    """note: why another engine than the model's own does the work, for the job's owner; None if it is the model's own."""

    engine: Engine
    note: str | None


CANDIDATES: Mapping[ModelType, Candidate] = {
    ModelType.RECONVIAGEN: Candidate("ReconViaGen", reconviagen.missing, reconviagen.ReconViaGenEngine),
    ModelType.NVDIFFREC: Candidate("The differentiable refinement", lambda: None, NvdiffrecEngine),
}
"""Where an engine registers."""


def choose(model: ModelType, gpu: Gpu | None, otherwise: Otherwise) -> Chosen:
    """The engine for a model. Raises GpuUnavailable if the model's own cannot run and `otherwise` says that it must."""
    candidate = CANDIDATES[model]
    # Packages first: what they need besides is asked of PyTorch, which takes seconds to load.
    reason = packages.missing(model, gpu) or candidate.missing()
    if otherwise == "fail" and (reason is not None or gpu is None):
        raise GpuUnavailable(f"{candidate.label} cannot run on this worker: {reason or 'No graphics card answers.'}")
    if reason is None:
        return Chosen(candidate.make(), None)
    note = (
        f"{candidate.label} cannot run on this worker: {reason} The built-in reconstruction does the work of {model}."
    )
    return Chosen(BuiltinEngine(), note)
