"""Distant light as nine spherical harmonics for each colour (Ramamoorthi and Hanrahan, "An efficient representation for
irradiance environment maps", SIGGRAPH 2001). White light of strength one is 1 everywhere."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.mesh.rendering import Caster, Hits
from services.mesh.surface import TexturedMesh

Floats = NDArray[np.float64]
TERMS = 9
_SAMPLES = 60_000
_FAINT = 0.02
_PATCHES_NEEDED = 0.5
"""How strongly the variance of colours holds the light to white."""
# Normalisation of each real harmonic, over that of the constant one: so that the first coefficient is the mean over all directions.
_LINEAR = math.sqrt(3)
_PRODUCT = math.sqrt(15)
_ZONAL = math.sqrt(5) / 2
_TESSERAL = math.sqrt(15) / 2


def harmonics(normal: Tensor) -> Tensor:
    """The nine functions (n, 9) of unit directions (n, 3)."""
    x, y, z = normal.unbind(dim=1)
    return torch.stack(
        [
            torch.ones_like(x),
            _LINEAR * y,
            _LINEAR * z,
            _LINEAR * x,
            _PRODUCT * x * y,
            _PRODUCT * y * z,
            _ZONAL * (3 * z * z - 1),
            _PRODUCT * x * z,
            _TESSERAL * (x * x - y * y),
        ],
        dim=1,
    )


def irradiance(light: Tensor, normal: Tensor) -> Tensor:
    """Light (n, 3) that falls on surfaces facing `normal` (n, 3), of coefficients (9, 3). Never less than a twentieth."""
    return (harmonics(normal) @ light).clamp_min(0.05)


def white(like: Tensor) -> Tensor:
    """Coefficients (9, 3) of white light from everywhere."""
    light = like.new_zeros(TERMS, 3)
    light[0] = 1
    return light


def texel_normals(mesh: TexturedMesh) -> tuple[NDArray[np.int64], Floats]:
    """The texels within charts: flat index (n,), and the unit normals (n, 3) of the surface there."""
    side = mesh.texture.shape[0]
    flat = np.concatenate([mesh.uv * side, np.zeros((len(mesh.uv), 1))], axis=1)
    x, y = np.meshgrid(np.arange(side) + 0.5, side - np.arange(side) - 0.5)
    origins = np.stack([x.ravel(), y.ravel(), np.ones(side * side)], axis=1)
    hits = Caster(flat, mesh.faces).cast(origins, np.broadcast_to(np.array([0.0, 0.0, -1.0]), origins.shape))
    index = np.flatnonzero(hits.face >= 0)
    normal = Hits(hits.face[index], hits.weight[index], hits.depth[index]).mixed(mesh.faces, mesh.normals)
    return index, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Lit:
    """An appearance taken apart. light (9, 3); albedo (1, 3, t, t); shade (1, 3, t, t): what light falls on each texel."""

    light: Tensor
    albedo: Tensor
    shade: Tensor


def separated(mesh: TexturedMesh, texture: Tensor) -> Lit:
    """The light that explains by directions alone what can be so explained, held to white by as much as colours vary otherwise.

    On one uniformly coloured body that is all of its shading; on a painted one, the trend.
    """
    index, normal = texel_normals(mesh)
    chosen = np.random.default_rng(0).permutation(len(index))[:_SAMPLES]
    basis = harmonics(torch.as_tensor(normal[chosen], dtype=texture.dtype, device=texture.device))
    where = torch.as_tensor(index[chosen], device=texture.device)
    colour = texture[0].reshape(3, -1)[:, where].T
    relative = colour / colour.mean(dim=0).clamp_min(1e-3)
    noise = float((relative - relative.mean(dim=0)).square().mean())
    # Colours repeat over large patches: neighbours are no independent witnesses.
    ridge = basis.new_tensor([_PATCHES_NEEDED * noise] * TERMS)
    ridge[0] = 0
    gram = basis.T @ basis / len(basis) + torch.diag(ridge)
    light = torch.linalg.solve(gram, basis.T @ (relative - 1) / len(basis)) + white(texture)
    return relit(mesh, texture, light, index, normal)


def relit(mesh: TexturedMesh, texture: Tensor, light: Tensor, index: NDArray[np.int64], normal: Floats) -> Lit:
    """The appearance under that light, taken apart. Texels outside charts are lit by the mean."""
    side = mesh.texture.shape[0]
    where = torch.as_tensor(index, device=texture.device)
    shade = light[0].clamp_min(0.05).reshape(1, 3, 1, 1).expand(1, 3, side, side).reshape(3, -1).clone()
    shade[:, where] = irradiance(light, torch.as_tensor(normal, dtype=texture.dtype, device=texture.device)).T
    shade = shade.reshape(1, 3, side, side)
    return Lit(light, texture / shade, shade)


def described(light: Tensor) -> str:
    """Where most light comes from, for people."""
    y, z, x = (light[1:4].mean(dim=1) * _LINEAR / light[0].mean()).tolist()
    strength = math.sqrt(x * x + y * y + z * z)
    if strength < _FAINT:
        return "about the same from everywhere"
    return (
        f"{100 * strength:.0f} % more than the mean from ({x / strength:.2f}, {y / strength:.2f}, {z / strength:.2f})"
    )
