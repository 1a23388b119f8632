"""The texture that gives the pictures back best, with geometry and cameras fixed.

A picture is linear in the texture, so the best texture solves a linear least-squares problem: conjugate gradients on its normal
equations, where the products are the picture of a texture and the derivative of that (torch's, of the same lookup).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.mesh.refinement_rendering import looked_up
from services.mesh.rendering import Caster, Footprint, footprint
from services.mesh.surface import TexturedMesh
from services.mesh.texture import ColourView

_WHOLE = 0.999
"""Pixels that the mesh fills less are mixed with white, and say more of the outline than of colours."""


@dataclass(frozen=True)
class _Picture:
    """One view: which of its pixels count, from where on the texture they come, and what they should show."""

    pixel: Tensor
    uv: Tensor
    share: Tensor
    wanted: Tensor

    def of(self, texture: Tensor) -> Tensor:
        """Colours (n, 3) of the pixels that count."""
        colour = looked_up(texture, self.uv) * self.share[:, None]
        return torch.zeros_like(self.wanted).index_add(0, self.pixel, colour)


def fitted(mesh: TexturedMesh, views: tuple[ColourView, ...], texture: Tensor, hold: float, rounds: int) -> Tensor:
    """The texture (1, 3, t, t), from which pictures of the mesh are nearest to the views'.

    texture: where to start, and what texels tend to that hardly any pixel shows: `hold` is the weight of that, in pixels a texel.
    """
    caster = Caster(mesh.vertices, mesh.faces)
    pictures = [_picture(footprint(mesh, caster, view.camera), view, texture) for view in views]

    def product(step: Tensor) -> Tensor:
        """(AᵀA + hold) of a change of the texture."""
        variable = step.detach().requires_grad_()
        total = hold * step
        for picture in pictures:
            shown = picture.of(variable)
            total = total + torch.autograd.grad(shown, variable, shown.detach())[0]
        return total

    variable = texture.detach().clone().requires_grad_()
    residual = torch.zeros_like(texture)
    for picture in pictures:
        shown = picture.of(variable)
        residual = residual + torch.autograd.grad(shown, variable, picture.wanted - shown.detach())[0]
    return (texture + _conjugate_gradients(product, residual, rounds)).clamp(0, 1)


def _picture(seen: Footprint, view: ColourView, like: Tensor) -> _Picture:
    counts = seen.covered >= _WHOLE
    slot = np.cumsum(counts) - 1
    kept = counts[seen.pixel]

    def tensor(values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=like.device)

    return _Picture(
        tensor(slot[seen.pixel[kept]], torch.int64),
        tensor(seen.uv[kept], like.dtype),
        tensor(seen.share[kept], like.dtype),
        tensor(view.colour.reshape(-1, 3)[counts], like.dtype),
    )


def _conjugate_gradients(product: Callable[[Tensor], Tensor], right: Tensor, rounds: int) -> Tensor:
    """x of product(x) = right, nearly (Hestenes and Stiefel 1952), from zero."""
    found, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    energy = (residual * residual).sum()
    for _ in range(rounds):
        if float(energy) <= 0:
            break
        image = product(direction)
        length = energy / (direction * image).sum()
        found = found + length * direction
        residual = residual - length * image
        before, energy = energy, (residual * residual).sum()
        direction = residual + energy / before * direction
    return found
