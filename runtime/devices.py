"""What a worker computes on: a graphics card, as its driver describes it, or the processor."""

import importlib
import os
from types import ModuleType

from contracts.devices import Gpu, WorkerDevice

_GIB = 1 << 30
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def find_gpu() -> Gpu | None:
    """The card that CUDA would use first; None without the package nvidia-ml-py, a driver that answers, or a card.

    Asked of NVIDIA's management library (NVML), which neither takes memory on the card nor needs CUDA. Takes some
    milliseconds: call it in a thread.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return _described(nvml)
    except nvml.NVMLError:
        # A card that fell off the bus, or one that the driver does not support.
        return None
    finally:
        nvml.nvmlShutdown()


def _described(nvml: ModuleType) -> Gpu | None:
    """Raises NVMLError."""
    first = os.environ.get(_VISIBLE, "0").split(",")[0].strip()
    if first.isdecimal():
        if int(first) >= int(nvml.nvmlDeviceGetCount()):
            return None
        handle = nvml.nvmlDeviceGetHandleByIndex(int(first))
    elif first.startswith(("GPU-", "MIG-")):
        handle = nvml.nvmlDeviceGetHandleByUUID(first)
    else:
        # Empty or -1: CUDA is told to use none.
        return None
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        driver_version=_text(nvml.nvmlSystemGetDriverVersion()),
        memory_total_gb=round(memory.total / _GIB, 1),
        memory_free_gb=round(memory.free / _GIB, 1),
        memory_used_gb=round(memory.used / _GIB, 1),
    )


def _text(value: str | bytes) -> str:
    """Older versions of the package answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value


def describe(service: str, gpu: Gpu | None, *, gpu_required: bool, models: tuple[str, ...] = ()) -> WorkerDevice:
    """What a worker of `service` says of itself. `models`: what it can do besides what needs no weights."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processor = f"CPU ({cores} {'core' if cores == 1 else 'cores'})"
    return WorkerDevice(
        service=service,
        ready=gpu is not None or not gpu_required,
        device=processor if gpu is None else f"{gpu.name} ({gpu.memory_total_gb:.1f} GB)",
        gpu=gpu,
        gpu_required=gpu_required,
        models=models,
    )
