"""What a worker computes on, as it says itself when it is asked over the bus."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.model import Message

Gigabytes = Annotated[float, Field(ge=0)]


class Gpu(Message):
    """A graphics card, as its driver describes it."""

    name: str
    driver_version: str
    memory_total_gb: Gigabytes
    memory_free_gb: Gigabytes
    memory_used_gb: Gigabytes


class WorkerDevice(Message):
    """The answer of one worker to the question what it computes on."""

    version: Literal[1] = 1
    service: str
    ready: bool
    """Whether it takes work: its models are loaded, and a card that it must have answers."""
    device: str
    """For people: `CPU (8 cores)` or `NVIDIA A100 (40.0 GB)`."""
    gpu: Gpu | None = None
    gpu_required: bool = False
    models: tuple[str, ...] = ()
    """What this worker can do besides what needs no weights."""
