"""On what a network runs: the graphics card with half precision, else the processor with as many threads as were asked for."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PICTURES_AT_ONCE_ON_GPU = 8


@dataclass(frozen=True)
class Compute:
    device: torch.device
    half: torch.dtype | None = None
    """What autocast lowers convolutions and products to; None for full precision."""

    @property
    def pictures_at_once(self) -> int:
        """On a processor one picture keeps all cores busy, and more would only take memory."""
        return PICTURES_AT_ONCE_ON_GPU if self.device.type == "cuda" else 1

    def send(self, array: NDArray[np.float32]) -> Tensor:
        """To the device; from pinned memory, so that a graphics card fetches it while it computes."""
        tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[None]:
        """Networks run inside it."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.half)


def best_compute(num_threads: int | None) -> Compute:
    """The first graphics card that torch finds, else the processor. None threads are as many as this process may use.

    Sets torch's threads and its seed: the same pictures give the same result in every job.
    """
    torch.manual_seed(0)
    torch.set_num_threads(num_threads or len(os.sched_getaffinity(0)))
    if torch.cuda.is_available():
        return Compute(torch.device("cuda", 0), torch.float16)
    return Compute(torch.device("cpu"))
