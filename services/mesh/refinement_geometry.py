"""Vertex offsets that stay smooth while they are optimised.

Nicolet, Jacobson and Jakob, "Large steps in inverse rendering of geometry", TOG 2021: optimise u = (I + λL) x instead of x, and scale
steps by one number for all vertices, so that what pulls at single vertices moves the surface round them.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags, identity
from scipy.sparse.linalg import splu
from torch import Tensor

from services.mesh.surface import Faces

Floats = NDArray[np.float64]
_MOMENTUM, _SPREAD = 0.9, 0.99


def laplacian(faces: Faces, count: int) -> csr_matrix:
    """The graph's Laplacian (count, count): degree on the diagonal, -1 for each edge."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    near = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    near.data[:] = 1.0
    return (diags(np.asarray(near.sum(axis=1)).ravel()) - near).tocsr()


class _Solver(Protocol):
    def solve(self, right: Floats) -> Floats: ...


class SmoothField:
    """A value for every vertex: zero at first, moved in steps that are smooth over the mesh."""

    def __init__(self, faces: Faces, count: int, stiffness: float, like: Tensor) -> None:
        system = identity(count, format="csc") + stiffness * laplacian(faces, count)
        self._solver: _Solver = splu(system.tocsc())
        self.values = like.new_zeros(count).requires_grad_()
        """The field (count,): what gradients are collected at."""
        self._latent = like.new_zeros(count)
        self._mean = like.new_zeros(count)
        self._largest = 0.0
        self._steps = 0

    def smoothed(self, right: Tensor) -> Tensor:
        """x of (I + λL) x = right (count,)."""
        found = self._solver.solve(right.detach().cpu().double().numpy())
        return torch.as_tensor(found, dtype=right.dtype, device=right.device)

    def descend(self, rate: float) -> None:
        """One step against the gradient, which is then forgotten. `rate`: how far the fastest vertex of a wide area goes."""
        assert self.values.grad is not None
        # The matrix is symmetric, so this is the derivative by u as well.
        gradient = self.smoothed(self.values.grad)
        self._steps += 1
        self._mean.mul_(_MOMENTUM).add_(gradient, alpha=1 - _MOMENTUM)
        self._largest = _SPREAD * self._largest + (1 - _SPREAD) * float((gradient**2).max())
        mean = self._mean / (1 - _MOMENTUM**self._steps)
        largest = self._largest / (1 - _SPREAD**self._steps)
        self._latent.sub_(mean, alpha=rate / max(largest**0.5, 1e-30))
        self.values = self.smoothed(self._latent).requires_grad_()
