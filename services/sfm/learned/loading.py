"""Weights into networks. Nothing is downloaded, no code in a file is run, and no parameter is left at random."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from contracts.errors import AlidadeError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

State = Mapping[str, Tensor]
Model = TypeVar("Model", bound="PreTrainedModel")


class WeightsUnusable(AlidadeError):
    """A file of weights does not belong to the network that it was named for."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Parameters by name, on the processor, from what torch.save wrote: at the top level or below one name.

    Raises WeightsUnusable if there is nothing of the kind in the file.
    """
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, none of them documented
        raise WeightsUnusable(f"{path.name} cannot be read as weights.", detail=str(error)) from error
    if isinstance(content, Mapping) and "extractor" in content:
        content = content["extractor"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsUnusable(f"{path.name} holds no weights.")
    return {str(name): value for name, value in content.items()}


def fill(network: nn.Module, state: State, *, derived: Set[str] = frozenset()) -> None:
    """Set every parameter. `derived` are buffers that the network computes by itself and files may lack.

    Raises WeightsUnusable if a name is missing or left over, or a shape is another one.
    """
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise WeightsUnusable("The weights have other shapes than the network.", detail=str(error)) from error
    missing, left_over = set(result.missing_keys) - derived, set(result.unexpected_keys) - derived
    if missing or left_over:
        raise WeightsUnusable(
            f"The weights do not belong to the network: {len(missing)} names are missing and {len(left_over)} unknown.",
            detail=f"missing {sorted(missing)[:5]}, unknown {sorted(left_over)[:5]}",
        )


def pretrained(kind: type[Model], path: Path, configuration: "PreTrainedConfig") -> Model:
    """A network of transformers with the parameters of a safetensors file.

    Raises WeightsUnusable where transformers would only warn, and leave at random what it did not find.
    """
    # Only networks of transformers need it, and it takes seconds.
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded: object = kind.from_pretrained(
        path.parent,
        config=configuration,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    assert isinstance(loaded, tuple)
    network, info = loaded
    wrong = {name: info[name] for name in ("missing_keys", "mismatched_keys") if info[name]}
    if wrong:
        raise WeightsUnusable(f"{path.name} does not belong to the network.", detail=str(wrong))
    assert isinstance(network, kind)
    return network
